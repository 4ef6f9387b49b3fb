"""Figures 1 and 4 of the paper: a network's layers drawn from its config, with widths, activations and parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch, Polygon

from analysis.cells import paper_cells
from analysis.figures.base import NotApplicableError
from analysis.figures.style import GREY, INK, blank, theme
from study.table import Tables
from trainables.shape import MNIST, Shape

_PART_COLORS = {"input": "#D9D9D9", "encoder": "#A9CCE3", "code": "#F2B134", "decoder": "#A9D8C3", "output": "#D9D9D9"}
Box = tuple[float, float, float]
"""Centre x, centre y and height of a box."""
_STEP = 1.55
_BAR = 0.44


def architecture_data(tables: Tables, *, variational: bool) -> pd.DataFrame:
    """The layers of the study's auto-encoder, or of its variational one: a row per box, in order of the computation.

    Columns: `cell` (all that share the architecture), `position`, `part` (input, encoder, code, decoder, output),
    `name`, `width`, `function` (what follows the layer's weights), `parameters` (weights and biases into the box).

    Raises:
        NotApplicableError: The study has no such network.
    """
    cells = paper_cells(tables)
    cells = cells[cells["model"] == ("vae" if variational else "autoencoder")]
    if not len(cells):
        raise NotApplicableError(f"no cell trains {'a variational' if variational else 'an'} auto-encoder")
    same = cells[[dims == cells["hidden_dims"].iloc[0] for dims in cells["hidden_dims"]]]
    config = {str(name): value for name, value in same.iloc[0].items()} | {
        "activation": " | ".join(dict.fromkeys(same["activation"])),
        "output": " | ".join(dict.fromkeys(same["output"])),
    }
    shape = tables.shapes.get(config["dataset"], MNIST)
    return pd.DataFrame(layers(config, variational=variational, shape=shape)).assign(cell=", ".join(same["cell"]))


def layers(config: dict[str, Any], *, variational: bool, shape: Shape = MNIST) -> list[dict[str, Any]]:
    """The boxes of a network with these TrialConfig fields, for images of this shape."""
    hidden, latent_dim, activation = list(config["hidden_dims"]), int(config["latent_dim"]), config["activation"]
    rows: list[dict[str, Any]] = []

    def add(part: str, name: str, width: int, function: str, fan_in: int) -> None:
        parameters = fan_in * width + width if fan_in else 0
        row = {"position": len(rows), "part": part, "name": name, "width": width}
        rows.append(row | {"function": function, "parameters": parameters})

    add("input", "image", shape.pixels, str(shape).replace("x", "×"), 0)
    for fan_in, width in zip([shape.pixels, *hidden], hidden, strict=False):
        add("encoder", "hidden", width, activation, fan_in)
    last = [shape.pixels, *hidden][-1]
    if variational:
        add("code", "μ", latent_dim, "mean of q(z|x)", last)
        add("code", "log σ", 1 if config["posterior"] == "spherical" else latent_dim, "its log sd", last)
        add("code", "z", latent_dim, "z = μ + σ ε", 0)
    else:
        add("code", "code z", latent_dim, "no activation", last)
    for fan_in, width in zip([latent_dim, *reversed(hidden)], reversed(hidden), strict=False):
        add("decoder", "hidden", width, activation, fan_in)
    add("output", "reconstruction", shape.pixels, str(config["output"]), [latent_dim, *reversed(hidden)][-1])
    if config["likelihood"] == "gaussian":
        rows[-1]["parameters"] += 1  # its learned scale
    return rows


def architecture_caption(frame: pd.DataFrame) -> str:
    """The caption: the parts drawn, and the number of parameters."""
    latent = frame[(frame["part"] == "code") & frame["name"].isin(["code z", "z"])]["width"].iloc[0]
    total = int(frame["parameters"].sum())
    return (
        f"The network of {frame['cell'].iloc[0]}, drawn from its config: {total:,} parameters (weights and biases), "
        f"N = {latent} latents, highlighted. Numbers above a bar are its width, those between bars the parameters "
        "between them; a bar's height grows with the logarithm of its width. The activation is applied to the hidden "
        "layers only."
    )


@theme()
def plot_architecture(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Draws `architecture_data` from left to right."""
    columns = _columns(frame)
    span = _STEP * (max(columns.values()) + 1)
    ax = blank(max(7.2, 0.92 * span), 3.5) if ax is None else ax
    widest = int(frame["width"].max())
    boxes = {row["position"]: _box(row, columns[row["position"]], widest) for row in frame.to_dict("records")}
    for left, right in _links(frame):
        shift = {"μ": 0.2, "log σ": -0.2}.get(frame["name"].iloc[right], 0.0)
        _link(ax, boxes[left], boxes[right], frame["parameters"].iloc[right], shift)
    for row in frame.to_dict("records"):
        _draw_box(ax, row, boxes[row["position"]])
    _braces(ax, frame, columns)
    total = int(frame["parameters"].sum())
    ax.text(span / 2 - _STEP / 2, -2.02, f"{total:,} parameters", ha="center", va="center", color=INK, weight="bold")
    ax.set_xlim(-0.75, span - _STEP + 0.75)
    ax.set_ylim(-2.25, 2.35)
    ax.set_axis_off()
    return ax


def _columns(frame: pd.DataFrame) -> dict[int, int]:
    """Each box's column: log sigma is drawn below mu, in the same one."""
    columns: dict[int, int] = {}
    column = -1
    for position, name in zip(frame["position"], frame["name"], strict=True):
        column += name != "log σ"
        columns[position] = column
    return columns


def _box(row: Mapping[Any, Any], column: int, widest: int) -> Box:
    """The place of a box; `widest`: the width of the widest layer."""
    height = 0.32 + (0.7 if row["part"] == "code" else 2.1) * math.log(row["width"] + 1) / math.log(widest + 1)
    offset = {"μ": 0.78, "log σ": -0.78}.get(row["name"], 0.0)
    return column * _STEP, offset, height


def _links(frame: pd.DataFrame) -> list[tuple[int, int]]:
    """Positions of the boxes that are joined."""
    at = {name: position for position, name in zip(frame["position"], frame["name"], strict=True)}
    if "μ" not in at:
        return [(position, position + 1) for position in frame["position"][:-1]]
    mu, log_sigma, z = at["μ"], at["log σ"], at["z"]
    chain = [(position, position + 1) for position in frame["position"][:-1] if position + 1 not in (log_sigma, z)]
    return [*(pair for pair in chain if pair[0] not in (mu, log_sigma)), (mu - 1, log_sigma), (mu, z), (log_sigma, z)]


def _link(ax: Axes, left: Box, right: Box, parameters: int, shift: float) -> None:
    """The weights between two boxes: a pale trapezoid with their number, shifted where two boxes lie in a column."""
    (x0, y0, h0), (x1, y1, h1) = left, right
    corners = [(x0 + _BAR / 2, y0 + h0 / 2), (x1 - _BAR / 2, y1 + h1 / 2)]
    corners += [(x1 - _BAR / 2, y1 - h1 / 2), (x0 + _BAR / 2, y0 - h0 / 2)]
    ax.add_patch(Polygon(corners, closed=True, facecolor="#EFEFEFB0" if shift else "#EFEFEF", edgecolor="none"))
    if parameters:
        middle = (x0 + x1) / 2, (y0 + y1) / 2 + shift
        ax.text(*middle, f"{parameters:,}", ha="center", va="center", fontsize=8, color=GREY)


def _draw_box(ax: Axes, row: Mapping[Any, Any], box: Box) -> None:
    x, y, height = box
    code = row["part"] == "code"
    ax.add_patch(
        FancyBboxPatch(
            (x - _BAR / 2, y - height / 2),
            _BAR,
            height,
            boxstyle="round,pad=0,rounding_size=0.08",
            facecolor=_PART_COLORS[row["part"]],
            edgecolor="#8A5A00" if code else "#5A5A5A",
            linewidth=1.6 if code else 0.9,
        )
    )
    ax.text(x, y + height / 2 + 0.13, f"{row['width']}", ha="center", va="center", weight="bold", fontsize=10)
    ax.text(x, y - height / 2 - 0.15, row["name"], ha="center", va="center", fontsize=9)
    ax.text(x, y - height / 2 - 0.36, _wrapped(row["function"]), ha="center", va="top", fontsize=7.5, color=GREY)


def _wrapped(text: str) -> str:
    """Alternatives one below the other, two a line."""
    parts = text.split(" | ")
    return "\n".join(" | ".join(parts[index : index + 2]) for index in range(0, len(parts), 2))


def _braces(ax: Axes, frame: pd.DataFrame, columns: dict[int, int]) -> None:
    """A line with a name over the encoder and over the decoder."""
    last = frame["position"].iloc[-1]
    code = [columns[p] for p, part in zip(frame["position"], frame["part"], strict=True) if part == "code"]
    spans = {"encoder": (0, min(code)), "decoder": (max(code), columns[last])}
    for name, (start, stop) in spans.items():
        x0, x1 = (
            start * _STEP + (0.3 if name == "decoder" else -0.2),
            stop * _STEP - (0.3 if name == "encoder" else -0.2),
        )
        ax.plot([x0, x0, x1, x1], [1.82, 1.92, 1.92, 1.82], color=GREY, linewidth=1.0)
        ax.text((x0 + x1) / 2, 2.1, name, ha="center", va="center", color=INK)
