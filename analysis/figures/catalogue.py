"""The figures of a study, by name. To add one, write its `*_data`, `plot_*` and `*_caption`, and an entry here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial

import pandas as pd

from analysis.cells import cells, is_papers, paper_cells
from analysis.figures import architecture, curves, mosaics, sweep
from analysis.figures.base import Drawn, FigureEntry, Skipped
from study.table import Tables


def _plain(tables: Tables, *, linear: bool) -> pd.DataFrame:
    """The reconstructions of the plain auto-encoders that are linear, at every step, or of the others at the last."""
    chosen = paper_cells(tables)
    trained = chosen[(chosen["task"] == "train") & (chosen["model"] == "autoencoder")]
    names = trained[(trained["activation"] == "linear") == linear]["network"].unique()
    absent = "a linear auto-encoder" if linear else "a non-linear auto-encoder"  # for the message
    return mosaics.reconstructions_data(tables, list(names) or [absent], every_step=linear)


_MOSAIC = mosaics.plot_mosaic, mosaics.reconstructions_caption
_ARCHITECTURE = architecture.plot_architecture, architecture.architecture_caption
FIGURES: dict[str, FigureEntry] = {
    "sweep": FigureEntry(
        "Final values against what the run varies", sweep.sweep_data, sweep.plot_sweep, sweep.sweep_caption
    ),
    "f1_autoencoder": FigureEntry(
        "The auto-encoder",
        partial(architecture.architecture_data, variational=False),
        *_ARCHITECTURE,
        paper="The paper draws 784-500-500-5-500-500-784; here the sizes are those of the config that was trained.",
    ),
    "f2_linear": FigureEntry(
        "The linear network while it learns, against the input",
        partial(_plain, linear=True),
        *_MOSAIC,
        paper='The paper shows it at 10,000, 30,000 and 50,000 steps: "quite bad", a few can be identified (C4).',
    ),
    "f3_non_linear": FigureEntry(
        "The non-linear auto-encoders against the input",
        partial(_plain, linear=False),
        *_MOSAIC,
        paper="The paper shows the three nets against the input and finds them virtually indistinguishable (C9).",
    ),
    "f4_vae": FigureEntry(
        "The variational auto-encoder",
        partial(architecture.architecture_data, variational=True),
        *_ARCHITECTURE,
        paper="The paper draws two layers of 500 ELU on both sides and a sampled z between them.",
    ),
    "f5_vae_reconstructions": FigureEntry(
        "The variational auto-encoder against the input",
        partial(mosaics.reconstructions_data, select=("vae",)),
        *_MOSAIC,
        paper="The paper shows the VAE against the input and finds it comparable to the simple nets (C10).",
    ),
    "f6_loss_all": FigureEntry(
        "Loss against training step, all networks",
        partial(curves.curves_data, linear=True),
        curves.plot_two_scales,
        partial(curves.curves_caption, linear=True),
        paper="The paper reads: the linear net is orders of magnitude worse (C7) and takes much longer (C5).",
    ),
    "f7_loss_non_linear": FigureEntry(
        "Loss against training step, all but the linear networks",
        partial(curves.curves_data, linear=False),
        curves.plot_zoom,
        partial(curves.curves_caption, linear=False),
        paper="The paper reads: very similar while converging (C11), and each net leads some of the time (C12).",
    ),
    "reconstructions": FigureEntry("Reconstructions of every network", mosaics.reconstructions_data, *_MOSAIC),
    "vae_samples": FigureEntry(
        "Samples from the variational auto-encoder's prior",
        mosaics.samples_data,
        mosaics.plot_mosaic,
        mosaics.samples_caption,
    ),
    "latent_plane": FigureEntry(
        "Two-dimensional codes and what they decode to", mosaics.plane_data, mosaics.plot_plane, mosaics.plane_caption
    ),
}
"""Figures of a run, in the order of the report. F1 to F7 are the paper's, at the latent dimension nearest to its 5."""


def draw(tables: Tables, names: Iterable[str] = FIGURES) -> list[Drawn | Skipped]:
    """Draws these figures of a run, all by default; those that do not apply come back as Skipped."""
    return [
        _entry(name, tables).draw(name, tables, note=_restriction(tables) if FIGURES[name].paper else "")
        for name in names
    ]


def _entry(name: str, tables: Tables) -> FigureEntry:
    """The figure's entry; the title of one of the paper's has its number there, where the study has its networks."""
    entry = FIGURES[name]
    return replace(entry, title=f"{entry.title} (Fig. {name[1]})") if entry.paper and is_papers(tables) else entry


def _restriction(tables: Tables) -> str:
    """Says which cells a paper's figure leaves out, if any."""
    every, shown = cells(tables), paper_cells(tables)
    if len(every) == len(shown):
        return ""
    left_out = len(every) - len(shown)
    return (
        f" Shown: {shown['dataset'].iloc[0]} at N = {shown['latent_dim'].iloc[0]}, the nearest to the paper's 5; "
        f"{left_out} other {'cell' if left_out == 1 else 'cells'} of this study are not."
    )
