"""Figures made of images: reconstructions against the input (Figs. 2, 3, 5), prior samples, two-dimensional codes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import count as count_from
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.cells import cells, counted, paper_cells
from analysis.figures.base import NotApplicableError
from analysis.figures.style import DIGITS, GREY, INK, blank, theme
from analysis.formats import in_words
from study.table import Tables
from trainables.shape import Shape

SIDE = 28
"""Pixels along the longer side of an image that the lengths below are for; other images are drawn at the same size."""
_GROUND, _GROUND_SHARE = 26, 1 / 3
"""Grey images whose values lie below the first in this share are light on black: digits, say, and no photographs."""
_GAP, _GROUP_GAP, _RIGHT, _TOP, _CHARACTER = 3, 9, 52, 26, 4.4
_UNITS_PER_INCH = 62.0
_SAMPLES_A_ROW = 10
MOST_RECONSTRUCTED, MOST_SAMPLED, MOST_PLANES = 16, 8, 4
"""Networks that a figure shows; of more, some of each dataset and latent dimension."""


def slot(images: pd.DataFrame) -> Shape:
    """The shape that holds each of the images."""
    return Shape(*map(max, zip(*map(json.loads, images["shape"].unique()), strict=True)))


def canvas(images: pd.DataFrame, places: Sequence[tuple[int, int]]) -> np.ndarray:
    """Draws images on one picture on white. Those light on black are drawn dark on white; smaller ones are enlarged.

    Args:
        images: Columns `shape` and `pixels`, as in the table of images.
        places: The top and left of each, in pixels, `slot` apart or more.

    Returns:
        uint8 `(height, width)` if all are grey, else `(height, width, 3)`.
    """
    room = slot(images)
    height, width = (max(ends) + side for ends, side in zip(zip(*places, strict=True), room, strict=False))
    picture = np.full((height, width, room.channels), 255, np.uint8)
    for text, alike in images.groupby("shape", sort=False).indices.items():
        shape = Shape(*json.loads(str(text)))
        drawn = np.frombuffer(b"".join(images["pixels"].iloc[alike]), np.uint8).reshape(-1, *shape)
        if shape.channels == 1 and (drawn < _GROUND).mean() >= _GROUND_SHARE:
            drawn = 255 - drawn
        times = max(1, min(room.height // shape.height, room.width // shape.width))
        drawn = drawn.repeat(times, 1).repeat(times, 2)
        for image, (top, left) in zip(drawn, [places[index] for index in alike], strict=True):
            picture[top : top + len(image), left : left + image.shape[1]] = image
    return picture if room.channels > 1 else picture[..., 0]


def _draw(ax: Axes, images: pd.DataFrame, places: Sequence[tuple[int, int]], **placed: Any) -> None:
    """Draws a canvas of images on axes."""
    ink = 1 - canvas(images, places) / 255
    if ink.ndim == 2:
        ax.imshow(ink, cmap="gray_r", vmin=0, vmax=1, interpolation="none", **placed)
    else:
        ax.imshow(1 - ink, interpolation="none", **placed)


def reconstructions_data(
    tables: Tables, select: Iterable[str] | None = None, *, every_step: bool = False
) -> pd.DataFrame:
    """The fixed test images and the cells' reconstructions of them: one row per image.

    Columns: `row` (of the figure), `group`, `label`, `cell` (empty for the input), `seed`, `step`, `index` (digit),
    `test_nll_mean` (nats per image, of the whole test set, at that step, a VAE at its posterior mean), `shape` and
    `pixels` (as in the table of images). Each cell is shown by the smallest seed that counts.

    Args:
        tables: A run's tables.
        select: Networks (see `analysis.cells.network`) at the paper's latent dimension; None for every cell.
        every_step: Whether all recorded steps are shown, or the last one.

    Raises:
        NotApplicableError: No such cell has left a reconstruction.
    """
    chosen = cells(tables)
    if select is not None:
        at_paper = paper_cells(tables)
        chosen = at_paper[at_paper["network"].isin(list(select))]
    shown, count = _shown(tables, chosen, "reconstruction", MOST_RECONSTRUCTED)
    kept = _images(tables, shown, "input", "reconstruction")
    nlls = _nlls(tables, shown)
    rows: list[dict[str, Any]] = []
    number, group, dataset = count_from(0), -1, None
    for cell, seed, replicate in shown:
        mine = kept[kept["replicate"] == replicate].sort_values(["step", "index"])
        if tables.configs[cell].dataset != dataset:  # each data set has test images of its own
            dataset, group = tables.configs[cell].dataset, group + 1
            rows += _image_rows(mine[mine["kind"] == "input"], next(number), group, "input", "")
        drawn, group = mine[mine["kind"] == "reconstruction"], group + 1
        for step in sorted(drawn["step"].unique())[0 if every_step else -1 :]:
            images, nll = drawn[drawn["step"] == step], nlls.get((replicate, int(step)))
            label = f"{in_words(cell)}\n{_steps_text(int(step))}"
            rows += _image_rows(images, next(number), group, label, cell, seed, nll)
    if not rows:
        raise NotApplicableError(
            f"no reconstruction of {'any cell' if select is None else ', '.join(select)} is in the tables"
        )
    return _of_so_many(pd.DataFrame(rows), count)


def reconstructions_caption(frame: pd.DataFrame) -> str:
    """The caption: the images and their seeds."""
    return (
        f"The same {_count(frame)}, and their reconstructions (a VAE at its posterior mean). "
        f"{_seeds_text(frame)}, one per network. At the right: the network's test NLL at that step, over all test "
        f"images (a VAE's at its posterior mean too). "
        f"{'' if slot(frame).channels > 1 else 'Light ink on black is drawn dark on white.'}{_part_text(frame)}"
    )


def _count(frame: pd.DataFrame) -> str:
    """The number of test images in the first input row, in words."""
    inputs = int(((frame["cell"] == "") & (frame["row"] == frame["row"].min())).sum())
    return "ten test images" if inputs == 10 else f"{inputs} test image{'s' * (inputs != 1)}"


def samples_data(tables: Tables) -> pd.DataFrame:
    """Images that each variational cell decodes from the prior, ten a row; columns as in `reconstructions_data`.

    Raises:
        NotApplicableError: No variational network has left samples.
    """
    rows: list[dict[str, Any]] = []
    number = count_from(0)
    shown, count = _shown(tables, cells(tables), "sample", MOST_SAMPLED)
    kept = _images(tables, shown, "sample")
    for group, (cell, seed, replicate) in enumerate(shown):
        mine = kept[kept["replicate"] == replicate]
        last = mine[mine["step"] == mine["step"].max()].sort_values("index")
        label = f"{in_words(cell)}\n{_steps_text(int(last['step'].iloc[0]))}"
        for part in range(0, len(last), _SAMPLES_A_ROW):
            ten = last.iloc[part : part + _SAMPLES_A_ROW]
            rows += _image_rows(ten, next(number), group, label if part == 0 else "", cell, seed)
    if not rows:
        raise NotApplicableError("no variational network has left samples of the prior")
    return _of_so_many(pd.DataFrame(rows), count)


def samples_caption(frame: pd.DataFrame) -> str:
    """The caption: the source of the images."""
    return (
        "Images decoded from z drawn from the prior N(0, I): the decoder's mean, not a draw of pixels. "
        f"{_seeds_text(frame)}.{_part_text(frame)}"
    )


@theme()
def plot_mosaic(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Draws rows of images with their labels, and the test NLL at the right where there is one."""
    groups, room = frame.drop_duplicates("row")["group"].tolist(), slot(frame)
    unit = max(room.height, room.width) / SIDE
    gap, group_gap = (max(1, round(length * unit)) for length in (_GAP, _GROUP_GAP))
    tops = [number * (room.height + gap) + group_gap * (groups[number] - groups[0]) for number in range(len(groups))]
    columns = int(frame.groupby("row").size().max())
    width, height = columns * (room.width + gap) - gap, tops[-1] + room.height
    measured = bool(frame["test_nll_mean"].notna().any())
    longest = max(len(line) for label in frame["label"].unique() for line in label.splitlines() or [""])
    margins = 14 + _CHARACTER * longest, _RIGHT if measured else 6, _TOP if measured else 6, 6
    left, right, top, bottom = (unit * length for length in margins)
    if ax is None:
        inch = unit * _UNITS_PER_INCH
        ax = blank((left + width + right) / inch, (top + height + bottom) / inch)
    places = [
        (tops[number], column * (room.width + gap))
        for number, (_, row) in enumerate(frame.groupby("row"))
        for column in range(len(row))
    ]
    for number, (_, row) in enumerate(frame.groupby("row")):
        middle = tops[number] + room.height / 2
        ax.text(-7 * unit, middle, row["label"].iloc[0], ha="right", va="center", fontsize=8.5, color=INK)
        nll = row["test_nll_mean"].iloc[0]
        if pd.notna(nll):
            ax.text(width + 7 * unit, middle, f"{nll:,.1f}", ha="left", va="center", fontsize=8.5, color=INK)
    if measured:
        ax.text(width + 7 * unit, -6 * unit, "test NLL,\nnats/image", ha="left", va="bottom", fontsize=7.5, color=GREY)
    rows = frame.sort_values("row", kind="stable")
    _draw(ax, rows, places, extent=(0, width, height, 0), aspect="equal")
    ax.set(xlim=(-left, width + right), ylim=(height + bottom, -top))
    ax.set_axis_off()
    return ax


def _seeds_text(frame: pd.DataFrame) -> str:
    seeds = sorted({int(seed) for seed in frame["seed"].dropna()})
    return f"{'Seed' if len(seeds) == 1 else 'Seeds'} {', '.join(map(str, seeds))}"


def plane_data(tables: Tables) -> pd.DataFrame:
    """Two-dimensional codes of test images and images decoded on a grid over them, one row each.

    Columns: `kind` (code or decoded), `cell`, `seed`, `step`, `z1`, `z2` (no unit), `digit` (of a code, its
    class), `shape` and `pixels` (of a decoded image). The last recorded step of each cell's smallest seed that counts.

    Raises:
        NotApplicableError: No network has two latents, or none has left its codes.
    """
    chosen = cells(tables)
    chosen = chosen[chosen["latent_dim"] == 2]
    if not len(chosen):
        raise NotApplicableError("no cell has latent_dim 2")
    shown, count = _shown(tables, chosen, "grid", MOST_PLANES)
    if not shown:
        raise NotApplicableError("no cell with latent_dim 2 has left its codes")
    images = _images(tables, shown, "grid")
    profiles = tables.rows("profiles", where={"replicate": [replicate for _, _, replicate in shown]})
    return _of_so_many(pd.concat([_plane(profiles, images, *one) for one in shown], ignore_index=True), count)


def plane_caption(frame: pd.DataFrame) -> str:
    """The caption: the two panels."""
    codes = int((frame["kind"] == "code").sum() / frame["cell"].nunique())
    labelled = ", coloured by class, whose number also stands at the median of its codes"
    labelled = labelled if frame["digit"].notna().any() else ""
    return (
        f"Left: codes (a VAE's posterior means) of {codes:,} test images{labelled}; the frame leaves out "
        "those far from the rest. Right: images decoded on a grid over the "
        f"1 % to 99 % range of the codes, at the place of their code. One seed.{_part_text(frame)}"
    )


@theme()
def plot_plane(frame: pd.DataFrame) -> Figure:
    """A row per cell: its codes, and beside them the decoded grid."""
    names = list(dict.fromkeys(frame["cell"]))
    figure = Figure(figsize=(9.2, 4.5 * len(names)), layout="constrained")
    axes = figure.subplots(len(names), 2, squeeze=False)
    for (left, right), name in zip(axes, names, strict=True):
        mine = frame[frame["cell"] == name]
        plot_codes(mine, left).set_title(f"{name}\ncodes of test images")
        plot_decoded(mine, right).set_title(f"{name}\ndecoded from a grid of codes")
    return figure


@theme()
def plot_codes(frame: pd.DataFrame, ax: Axes) -> Axes:
    """Scatter of one cell's codes, coloured by class where the images have one."""
    codes = frame[frame["kind"] == "code"]
    if codes["digit"].isna().all():
        codes = codes.assign(digit=-1)
    colors = {digit: DIGITS[int(digit) % len(DIGITS)] for digit in codes["digit"].unique()}
    style: dict[str, Any] = {"palette": colors, "legend": False, "s": 7, "alpha": 0.65, "linewidth": 0}
    sns.scatterplot(codes, x="z1", y="z2", hue="digit", rasterized=True, ax=ax, **style)
    for digit, rows in codes[codes["digit"] >= 0].groupby("digit"):
        text = ax.text(
            rows["z1"].median(), rows["z2"].median(), f"{digit:.0f}", weight="bold", ha="center", va="center"
        )
        text.set(fontsize=11, path_effects=[patheffects.withStroke(linewidth=2.5, foreground="white")])
    ax.set(xlabel="z₁ (no unit)", ylabel="z₂ (no unit)", xlim=_frame(codes["z1"]), ylim=_frame(codes["z2"]))
    ax.spines[["top", "right"]].set_visible(False)
    return ax


@theme()
def plot_decoded(frame: pd.DataFrame, ax: Axes) -> Axes:
    """One cell's decoded images, each at the place of its code."""
    decoded = frame[frame["kind"] == "decoded"]
    z1, z2 = np.unique(decoded["z1"]), np.unique(decoded["z2"])
    columns, rows = np.searchsorted(z1, decoded["z1"]), len(z2) - 1 - np.searchsorted(z2, decoded["z2"])
    room = slot(decoded)
    places = list(zip(rows * room.height, columns * room.width, strict=True))
    half = [(axis[-1] - axis[0]) / max(len(axis) - 1, 1) / 2 or 0.5 for axis in (z1, z2)]
    extent = (z1[0] - half[0], z1[-1] + half[0], z2[0] - half[1], z2[-1] + half[1])
    _draw(ax, decoded, places, extent=extent, aspect="auto")
    ax.grid(visible=False)
    ax.set(xlabel="z₁ (no unit)", ylabel="z₂ (no unit)")
    return ax


def _shown(tables: Tables, chosen: pd.DataFrame, kind: str, most: int) -> tuple[list[tuple[str, int, str]], int]:
    """`(cell, seed, replicate)` of each cell's smallest seed that counts and has images of this kind.

    Those of at most `most` cells, and the number of all.
    """
    have = tables.rows("images", ["replicate"], {"kind": [kind]})["replicate"].unique()
    rows = counted(tables, chosen["cell"])
    rows = rows[rows["replicate"].isin(have)].sort_values("seed", kind="stable").drop_duplicates("cell")
    first = {row["cell"]: (row["cell"], int(row["seed"]), row["replicate"]) for row in rows.to_dict("records")}
    chosen = chosen[chosen["cell"].isin(first)]
    return [first[name] for name in _thinned(chosen, most)["cell"]], len(chosen)


def _thinned(chosen: pd.DataFrame, most: int) -> pd.DataFrame:
    """Thins cells to `most`: fewer datasets and latent dimensions, evenly spread, with the outermost."""
    every = {name: sorted(chosen[name].dropna().unique()) for name in ("dataset", "latent_dim")}
    kept, counts = chosen, {name: len(values) for name, values in every.items()}
    while len(kept) > most and max(counts.values()) > 1:
        counts[max(counts, key=lambda name: counts[name])] -= 1
        spread = {name: np.linspace(0, len(every[name]) - 1, count).round() for name, count in counts.items()}
        wanted = {name: [every[name][int(place)] for place in places] for name, places in spread.items()}
        kept = chosen[chosen["dataset"].isin(wanted["dataset"]) & chosen["latent_dim"].isin(wanted["latent_dim"])]
    return kept.head(most)


def _of_so_many(frame: pd.DataFrame, count: int) -> pd.DataFrame:
    """The frame, which knows how many networks it could show."""
    frame.attrs["networks"] = count
    return frame


def _part_text(frame: pd.DataFrame) -> str:
    """A note on the number of networks that are left out, if any are."""
    shown = frame["cell"].replace("", np.nan).nunique()
    count = frame.attrs.get("networks", shown)
    return f" {shown} of {count} networks: the others are in the tables." if count > shown else ""


def _image_rows(
    images: pd.DataFrame, row: int, group: int, label: str, cell: str, seed: int | None = None, nll: float | None = None
) -> list[dict[str, Any]]:
    common = {"row": row, "group": group, "label": label, "cell": cell, "seed": seed, "test_nll_mean": nll}
    return [
        common | {"step": int(step), "index": int(index), "shape": shape, "pixels": pixels}
        for step, index, shape, pixels in images[["step", "index", "shape", "pixels"]].itertuples(index=False)
    ]


def _images(tables: Tables, shown: Iterable[tuple[str, int, str]], *kinds: str) -> pd.DataFrame:
    """Images of these kinds of the replicates that are shown."""
    return tables.rows("images", where={"replicate": [replicate for _, _, replicate in shown], "kind": kinds})


def _nlls(tables: Tables, shown: Iterable[tuple[str, int, str]]) -> dict[tuple[str, int], float]:
    """The test NLL, by replicate and step, of the replicates that are shown."""
    wanted = {"replicate": [replicate for _, _, replicate in shown]}
    rows = tables.rows("results", ["replicate", "step", "test_nll_mean"], wanted).dropna(subset="step")
    keys = zip(rows["replicate"], rows["step"].astype("int64"), strict=True)
    return dict(zip(keys, rows["test_nll_mean"], strict=True))


def _plane(profiles: pd.DataFrame, images: pd.DataFrame, cell: str, seed: int, replicate: str) -> pd.DataFrame:
    profiles = profiles[profiles["replicate"] == replicate]
    step = profiles.loc[profiles["quantity"] == "code_0", "step"].max()
    profiles = profiles[profiles["step"] == step].sort_values("index")
    value = {str(name): rows["value"].to_numpy() for name, rows in profiles.groupby("quantity")}
    if missing := {"code_0", "code_1", "grid_axis_0", "grid_axis_1"} - value.keys():
        raise NotApplicableError(f"{cell} has left no {' or '.join(sorted(missing))}")
    codes = pd.DataFrame(
        {"z1": value["code_0"].round(4), "z2": value["code_1"].round(4), "digit": value.get("code_label", np.nan)}
    )
    images = images[(images["replicate"] == replicate) & (images["step"] == step)].sort_values("index")
    first, second = value["grid_axis_0"], value["grid_axis_1"]
    grid = pd.DataFrame(
        {
            "z1": [first[index // len(second)] for index in images["index"]],
            "z2": [second[index % len(second)] for index in images["index"]],
            "shape": images["shape"].tolist(),
            "pixels": images["pixels"].tolist(),
        }
    )
    both = pd.concat([codes.assign(kind="code"), grid.assign(kind="decoded")], ignore_index=True)
    return both.assign(cell=cell, seed=seed, step=int(step))


def _frame(values: pd.Series[float]) -> tuple[float, float]:
    """The range that the decoded grid spans, and a tenth of it on each side."""
    low, high = float(values.quantile(0.01)), float(values.quantile(0.99))
    margin = 0.1 * (high - low) or 1.0
    return low - margin, high + margin


def _steps_text(step: int) -> str:
    return f"{step:,} steps" if step else "closed form"
