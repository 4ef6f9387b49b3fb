"""What the viewer steps through: the images of each network, by latent dimension and training step, as strips."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from PIL import Image

from analysis.cells import cells, counted
from analysis.figures.mosaics import SIDE

if TYPE_CHECKING:
    from study.table import Tables

KINDS = {
    "reconstruction": "Ten test images, the first of each digit; below them what the network makes of them (a VAE from "
    "its posterior mean, of which its test NLL is too).",
    "sample": "Images decoded from codes that are drawn from the prior N(0, I).",
    "traversal": "Each row moves one latent from 3 standard deviations below its mean to 3 above; the others stay as "
    "in the code of the first test image. The latents that vary most come first.",
    "interpolation": "Each row leads in a straight line from the code of one test image to that of the next digit.",
}
"""Kinds of images, in the order of the choice, and what a strip of them shows."""
FIGURE_OF = {"reconstruction": "reconstructions", "sample": "vae_samples"}
"""The figure, of `analysis.figures.catalogue`, that draws images of a kind; the others have none."""
_GAP = 3
_COLUMNS = {"reconstruction": 10, "sample": 10, "traversal": 7, "interpolation": 7}


def viewer(tables: Tables) -> dict[str, Any] | None:
    """The viewer's data, ready for JSON; None if no network has left a reconstruction.

    `kinds`: caption by kind; `figures`: FIGURE_OF; `arms`: by arm, a list of networks by rising N, each with `cell`,
    `dim`, `seed`, `nll` (at the posterior mean) by step, and `strips`, by kind and step a data URI of a PNG. A network
    is shown by the seed that left most kinds of images, the smallest of those that count; an arm is what has the same
    name but for its latent dimension.
    """
    every = tables.rows("images", where={"kind": ["input", *KINDS]})
    shown = counted(tables, cells(tables)["cell"])
    shown = shown[shown["replicate"].isin(every.loc[every["kind"] == "reconstruction", "replicate"].unique())]
    kinds = every[every["kind"] != "input"].groupby("replicate")["kind"].nunique()
    shown = shown.assign(kinds=-shown["replicate"].map(kinds)).sort_values(["kinds", "seed"], kind="stable")
    shown = shown.drop_duplicates("cell")
    first = {row["cell"]: row for row in shown.to_dict("records")}
    images = dict(iter(every.groupby("replicate")))
    losses = tables.rows("results", ["replicate", "step", "test_nll_mean"], {"replicate": list(shown["replicate"])})
    arms: dict[str, list[dict[str, Any]]] = {}
    for cell in cells(tables).to_dict("records"):
        if (row := first.get(cell["cell"])) is None:
            continue
        own, nll = images[row["replicate"]], losses[losses["replicate"] == row["replicate"]].dropna()
        network = {
            "cell": cell["cell"],
            "dim": int(cell["latent_dim"]),
            "seed": int(row["seed"]),
            "nll": {int(step): round(value, 1) for step, value in zip(nll["step"], nll["test_nll_mean"], strict=True)},
            "strips": {kind: dict(_strips(own, kind)) for kind in KINDS if (own["kind"] == kind).any()},
        }
        arms.setdefault(_arm(cell["cell"]), []).append(network)
    if not arms:
        return None
    used = [kind for kind in KINDS if any(kind in one["strips"] for arm in arms.values() for one in arm)]
    ordered = {name: sorted(arm, key=lambda network: network["dim"]) for name, arm in arms.items()}
    return {"kinds": {kind: KINDS[kind] for kind in used}, "figures": FIGURE_OF, "arms": ordered}


def _arm(cell: str) -> str:
    return re.sub(r" ?\blatent_dim=\d+", "", cell).strip() or cell


def _strips(images: pd.DataFrame, kind: str) -> Iterator[tuple[int, str]]:
    """Each step's images of a kind, as one picture."""
    above = images[images["kind"] == "input"].sort_values("index")["pixels"].tolist()
    for step, rows in images[images["kind"] == kind].groupby("step"):
        pixels = rows.sort_values(["index", "value"], kind="stable")["pixels"].tolist()
        yield int(str(step)), _png([*above, *pixels] if kind == "reconstruction" else pixels, _COLUMNS[kind])


def _png(pixels: list[bytes], columns: int) -> str:
    """Images of 784 bytes in rows, ink dark, as a data URI; one pixel of a digit is one of the picture."""
    rows, step = -(-len(pixels) // columns), SIDE + _GAP
    canvas = np.full((rows * step - _GAP, columns * step - _GAP), 255, np.uint8)
    for index, image in enumerate(pixels):
        top, left = index // columns * step, index % columns * step
        canvas[top : top + SIDE, left : left + SIDE] = 255 - np.frombuffer(image, np.uint8).reshape(SIDE, SIDE)
    buffer = io.BytesIO()
    Image.fromarray(canvas).save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
