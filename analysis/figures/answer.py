"""The answer to "how many latent dimensions?" in a few rows that need no glossary: as a table and as a picture."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.dimension.estimate_table import BAND, to_frame
from analysis.dimension.panels import SHADE, VERDICTS
from analysis.evidence import Evidence
from analysis.figures.base import Drawn, FigureEntry, Skipped
from analysis.figures.style import GREY, theme
from analysis.formats import with_interval
from analysis.verdict import combine

ROWS = {
    "c": ("A VAE with latents to spare", "latents kept in use"),
    "a": ("A plain auto-encoder", "loss within 1 nat of its best"),
    "f": ("A plain auto-encoder", "images that a classifier can read"),
    "e TwoNN": ("The images themselves", "dimension near each point (TwoNN)"),
    "e MLE 20": ("The images themselves", "dimension near each point (MLE)"),
    "g 90 %": ("PCA", "90 % of the variance"),
}
"""The estimates that the picture shows, by their key: whose N it is, and what it means."""
SAYS = {
    "c": "A VAE with latents to spare keeps {} of them in use",
    "a": "A plain auto-encoder is within one nat of its best loss from N = {} on",
}
"""The estimates that were chosen beforehand, in a sentence."""
_LEFT = -0.95
"""The left end of the labels, in widths of the axis."""
_TICKS = (5, 10, 20, 50, 100, 200)


def answer_data(evidence: Evidence) -> pd.DataFrame:
    """The rows of ROWS in its order: `who, label`, and the columns of `estimate_table.to_frame`."""
    rows = to_frame(evidence.estimates).set_index("key", drop=False).loc[list(ROWS)]
    return pd.DataFrame(ROWS, index=["who", "label"]).T.join(rows)


def markdown(evidence: Evidence) -> str:
    """The verdict on 10 < N < 100, and the two estimates that were chosen beforehand, in words."""
    main = [estimate for estimate in evidence.estimates if estimate.headline]
    main.sort(key=lambda estimate: list(ROWS).index(estimate.key))
    verdict = combine((estimate.verdict for estimate in main), "split")
    lines = [f"**Is N between 10 and 100, as the paper supposes? The verdict is {verdict}.**", ""]
    for estimate in main:
        reason = f" ({estimate.reason})" if estimate.reason else ""
        lines.append(f"- {SAYS[estimate.key].format(f'**{estimate.text}**')}: *{estimate.verdict}*{reason}.")
    return "\n".join(lines)


def draw_answer(evidence: Evidence) -> Drawn | Skipped:
    """Draws the picture of the answer, with its data and caption."""
    entry = FigureEntry(
        "How many latent dimensions do the images need?",
        answer_data,
        plot_answer,
        lambda _: (
            "The latent dimensions that the data need, by who asks. Points have 95 % intervals over training seeds, "
            "or over subsamples of the images; shaded: the paper's 10 < N < 100; bold: chosen beforehand as the answer."
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
        text = with_interval(row["value"], row["low"], row["high"])
        ax.annotate(text, (1.04, line), xycoords=("axes fraction", "data"), fontsize=10.5, weight=weight, va="center")
        if np.isfinite(row["value"]):
            color, face, marker, _ = VERDICTS[row["verdict"]]
            low, high = (row[end] if np.isfinite(row[end]) else row["value"] for end in ("low", "high"))
            ax.plot([low, high], [line, line], color=color, linewidth=2)
            ax.plot(row["value"], line, marker, color=color, markerfacecolor=face, markersize=9)
    ax.set(xscale="log", xlim=(4, 250), ylim=(len(frame) - 0.5, -0.5), xlabel="latent dimensions N")
    ax.xaxis.label.set_fontsize(10)
    ax.set_xticks(_TICKS, [f"{tick}" for tick in _TICKS], fontsize=10)
    ax.xaxis.minorticks_off()
    ax.set_yticks([])
    ax.grid(visible=False, axis="y")
    ax.spines[["left", "top", "right"]].set_visible(False)
    return figure
