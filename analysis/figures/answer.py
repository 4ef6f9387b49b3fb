"""The answer to "how many latent dimensions?" in a few rows that need no glossary: as a table and as a picture."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.dimension.conclusion import AFTER, BEFORE, concluded
from analysis.dimension.estimate import BAND
from analysis.dimension.estimate_table import to_frame, turning
from analysis.dimension.panels import SHADE, mark, number
from analysis.evidence import Evidence
from analysis.figures.base import Drawn, FigureEntry, Skipped
from analysis.figures.style import GREY, theme
from analysis.verdict import Verdict, combine

ROWS = {
    "L": ("Description length (L)", "all further latents save less than 1 nat"),
    "U": ("Active units (U)", "kept in use by a VAE with room to spare"),
    "I": ("The images themselves (I)", "directions near an image, on average"),
    "a": ("A plain auto-encoder (a)", "within 1 nat of its best: has no answer"),
    "c": ("The largest VAE (c)", "latents kept in use"),
    "g 90 %": ("PCA", "90 % of the variance"),
}
"""The estimates that the picture shows, by their key: whose N it is, and what it means."""
_LEFT = -0.95
"""The left end of the labels, in widths of the axis."""
_TICKS = (5, 10, 20, 50, 100, 200)


def answer_data(evidence: Evidence) -> pd.DataFrame:
    """The rows of ROWS in its order: `who, label`, and the columns of `estimate_table.to_frame`."""
    rows = to_frame(evidence.estimates).set_index("key", drop=False).loc[list(ROWS)]
    return pd.DataFrame(ROWS, index=["who", "label"]).T.join(rows)


def markdown(evidence: Evidence) -> str:
    """The answer in words, the table of its rows, what was chosen when, and an N for each purpose."""
    found = concluded(evidence)
    parts = [found.paragraph, found.table()]
    if found.papers:
        parts.append(f"(L), (U), (I) and the law were *{AFTER}*. {beforehand(evidence)}")
    parts.append(" ".join(found.purposes))
    return "\n\n".join(parts)


def beforehand(evidence: Evidence) -> str:
    """The verdict on the two estimates that were fixed beforehand, and why (a) has no answer to give."""
    by_key = {one.key: one for one in evidence.estimates}
    verdict = combine((by_key[key].verdict for key in "ac"), "split")
    says = {Verdict.CONFIRMED: "says yes", Verdict.REFUTED: "says no"}
    answers = ", ".join(f"({key}) {says.get(by_key[key].verdict, f'is {by_key[key].verdict}')}" for key in "ac")
    text = f"Two estimates were *{BEFORE}*: {answers}, so the verdict on them is {verdict}."
    turns = [share for share, _ in turning(by_key["a"].margins)] if by_key["a"].margins else []
    if not turns:
        return text
    near = min(turns, key=lambda share: abs(np.log(share)))
    return (
        f"{text} But (a) cannot answer: the loss goes on falling up to the largest N that was trained, so its "
        f"verdict turns with the margin (at {near:.3g} nats instead of 1) and with the end of the grid."
    )


def draw_answer(evidence: Evidence) -> Drawn | Skipped:
    """Draws the picture of the answer, with its data and caption."""
    entry = FigureEntry(
        "How many latent dimensions do the images need?",
        answer_data,
        plot_answer,
        lambda _: (
            "The latent dimensions that the data need, by who uses them. Lines are 95 % intervals over training seeds, "
            "or over subsamples of the images; of (U) and (I), which are ranges, the hull of all. Shaded: the paper's "
            "10 < N < 100. Bold: the answer, chosen after MNIST's tables had been seen; (a) and (c) were fixed "
            "beforehand."
        ),
    )
    return entry.draw("answer", evidence)


@theme()
def plot_answer(frame: pd.DataFrame) -> Figure:
    """Draws `answer_data`: a line for each estimate, its number beside it, the paper's range as a band."""
    figure = Figure(figsize=(8.0, 3.7))
    ax = figure.add_axes((0.39, 0.13, 0.4, 0.75))
    ax.axvspan(*BAND, color=SHADE, zorder=0, linewidth=0)
    ax.text(np.sqrt(BAND[0] * BAND[1]), -0.75, "the paper: 10 < N < 100", ha="center", fontsize=9.5, color=GREY)
    for line, row in enumerate(frame.to_dict("records")):
        weight = "bold" if row["headline"] else "normal"
        ax.annotate(row["who"], (_LEFT, line - 0.18), xycoords=("axes fraction", "data"), fontsize=10.5, weight=weight)
        ax.annotate(row["label"], (_LEFT, line + 0.24), xycoords=("axes fraction", "data"), fontsize=9, color=GREY)
        text = number(row)
        ax.annotate(text, (1.04, line), xycoords=("axes fraction", "data"), fontsize=10.5, weight=weight, va="center")
        if np.isfinite(row["value"]):
            mark(row, line, ax, width=2, size=9)
    ax.set(xscale="log", xlim=(4, 250), ylim=(len(frame) - 0.5, -0.5), xlabel="latent dimensions N")
    ax.xaxis.label.set_fontsize(10)
    ax.set_xticks(_TICKS, [f"{tick}" for tick in _TICKS], fontsize=10)
    ax.xaxis.minorticks_off()
    ax.set_yticks([])
    ax.grid(visible=False, axis="y")
    ax.spines[["left", "top", "right"]].set_visible(False)
    return figure
