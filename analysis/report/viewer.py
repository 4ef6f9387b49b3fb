"""The viewer's data: the images of each network as strips, by latent dimension and training step."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd
from PIL import Image

from analysis.cells import cells, counted
from analysis.figures.mosaics import canvas, slot
from analysis.formats import in_words
from analysis.report.pictures import png_uri, smaller
from study.table import Tables

KINDS = {
    "reconstruction": "Test images, one of each class where they have classes; below them what the network makes of "
    "them (a VAE from its posterior mean, of which its test NLL is too).",
    "sample": "Images decoded from codes that are drawn from the prior N(0, I).",
    "traversal": "Each row moves one latent from 3 standard deviations below its mean to 3 above; the others stay as "
    "in the code of the first test image. The latents that vary most come first.",
    "interpolation": "Each row leads in a straight line from the code of one test image to that of the next.",
}
"""Kinds of images, in the order of the choice, and what a strip of them shows."""
FIGURE_OF = {"reconstruction": "reconstructions", "sample": "vae_samples"}
"""The figure, of `analysis.figures.catalogue`, that draws images of a kind; the others have none."""
LARGEST = 100
"""Pixels of an image's side in a strip; larger images are made smaller by a whole factor."""
_GAP = 3
_COLUMNS = {"sample": 10, "traversal": 7, "interpolation": 7}


@dataclass(frozen=True)
class Network:
    """A network's images: by kind and step a strip, as a data URI; `nll` by step, at a VAE's posterior mean.

    `inputs` is the strip of the test images that it reconstructs.
    """

    cell: str
    dim: int
    seed: int
    nll: Mapping[int, float]
    inputs: str
    strips: Mapping[str, Mapping[int, str]]


@dataclass(frozen=True)
class Viewer:
    """The viewer's data: captions by kind, figures by kind, and by arm its networks by rising N."""

    kinds: Mapping[str, str]
    figures: Mapping[str, str]
    arms: Mapping[str, Sequence[Network]]

    def plain(self) -> dict[str, Any]:
        """The same as dictionaries and lists, ready for JSON, with the networks' names in words.

        Most networks have the same `inputs`: `inputs` of the whole holds each strip once, and a network's is its place.
        """
        inputs = list(dict.fromkeys(one.inputs for networks in self.arms.values() for one in networks))
        arms = {
            in_words(arm): [
                asdict(one) | {"cell": in_words(one.cell), "inputs": inputs.index(one.inputs)} for one in networks
            ]
            for arm, networks in self.arms.items()
        }
        return {"kinds": dict(self.kinds), "figures": dict(self.figures), "inputs": inputs, "arms": arms}


def viewer(tables: Tables) -> Viewer | None:
    """Collects the images of a run; None if no network has left a reconstruction.

    A network is shown by the seed that left most kinds of images, the smallest of those that count. Cells of one arm
    have the same name but for their latent dimension.
    """
    every = tables.rows("images", where={"kind": ["input", *KINDS]})
    rows = _replicates(tables, every)
    images = dict(iter(every.groupby("replicate")))
    losses = tables.rows("results", ["replicate", "step", "test_nll_mean"], {"replicate": list(rows["replicate"])})
    first = {row["cell"]: row for row in rows.to_dict("records")}
    arms: dict[str, list[Network]] = {}
    for cell in cells(tables).to_dict("records"):
        if (row := first.get(cell["cell"])) is None:
            continue
        own, nll = images[row["replicate"]], losses[losses["replicate"] == row["replicate"]].dropna()
        network = Network(
            cell=cell["cell"],
            dim=int(cell["latent_dim"]),
            seed=int(row["seed"]),
            nll={int(step): round(value, 1) for step, value in zip(nll["step"], nll["test_nll_mean"], strict=True)},
            inputs=dict(_strips(own, "input"))[0],
            strips={kind: dict(_strips(own, kind)) for kind in KINDS if (own["kind"] == kind).any()},
        )
        arms.setdefault(_arm(cell["cell"]), []).append(network)
    if not arms:
        return None
    used = [kind for kind in KINDS if any(kind in one.strips for arm in arms.values() for one in arm)]
    ordered = {name: sorted(arm, key=lambda network: network.dim) for name, arm in arms.items()}
    return Viewer({kind: KINDS[kind] for kind in used}, FIGURE_OF, ordered)


def _replicates(tables: Tables, images: pd.DataFrame) -> pd.DataFrame:
    """A row of the replicate that stands for each cell with a reconstruction."""
    rows = counted(tables, cells(tables)["cell"])
    rows = rows[rows["replicate"].isin(images.loc[images["kind"] == "reconstruction", "replicate"].unique())]
    kinds = images[images["kind"] != "input"].groupby("replicate")["kind"].nunique()
    rows = rows.assign(kinds=rows["replicate"].map(kinds))
    return rows.sort_values(["kinds", "seed"], ascending=[False, True], kind="stable").drop_duplicates("cell")


def _arm(cell: str) -> str:
    return re.sub(r" ?\blatent_dim=\d+", "", cell).strip() or cell


def _strips(images: pd.DataFrame, kind: str) -> Iterator[tuple[int, str]]:
    """Each step's images of a kind, as one picture."""
    for step, rows in images[images["kind"] == kind].groupby("step"):
        drawn = rows.sort_values(["index", "value"], kind="stable").reset_index(drop=True)
        yield int(str(step)), _png(drawn, _COLUMNS.get(kind, len(drawn)))


def _png(images: pd.DataFrame, columns: int) -> str:
    """Images in rows as a data URI; one pixel of an image is one of the picture, unless it has more than LARGEST."""
    down, right = (side + _GAP for side in slot(images)[:2])
    places = [(index // columns * down, index % columns * right) for index in range(len(images))]
    buffer = io.BytesIO()
    Image.fromarray(canvas(images, places)).reduce(-(-max(down, right) // LARGEST)).save(buffer, "PNG")
    return png_uri(smaller(buffer.getvalue()))
