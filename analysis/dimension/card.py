"""The dimension card: one page with every estimate of the latent dimension and the curves that they are read from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.dimension import panels
from analysis.dimension.description_length import MARGIN
from analysis.dimension.estimate import Estimate, first_reason
from analysis.dimension.estimate_table import headline, history, to_frame
from analysis.dimension.intrinsic_estimates import ALL_DIGITS, NO_SCALE, Intrinsic, label
from analysis.dimension.network_estimates import plateau_of
from analysis.dimension.seed_estimates import Sweeps
from analysis.dimension.sweeps import COUNTS, DATA, LEAST_DIMS, NETWORKS, PAPERS, Sweep
from analysis.evidence import Evidence
from analysis.figures.base import Drawn, FigureEntry, Skipped
from analysis.figures.style import theme
from analysis.intervals import least_error, t_interval

PANELS = {
    "estimate": "",
    "nll": "needs study latent",
    "length": "needs study latent",
    "active": "needs study latent",
    "training": "needs study latent",
    "scale": "needs study intrinsic",
    "control": "needs the studies\ncontrols and intrinsic",
}
"""Parts of the card, and what one without data needs."""
READ_FROM = {"nll": "a", "length": "L", "active": "U", "training": "a", "scale": "I"}
"""The key of the estimate that is read from a panel."""
COLUMNS = "panel dataset key series x value low high least most seeds verdict reason headline".split()
TRAINED_KEYS = ("L", "U", "a", "c")
"""Estimates drawn against training."""
CONTROL_SERIES = ("L", "U", "a", "TwoNN", "MLE 20")
"""Estimates drawn against the known dimension."""
_LONG_NAME = 10
"""Letters from which on a data set's name is written smaller."""
_WIDTH, _HEIGHT = 11.0, 8.5


def draw_card(evidence: Evidence, title: str = "") -> Drawn | Skipped:
    """Draws the card of these runs, with its caption and data."""
    caption = partial(card_caption, estimates=evidence.estimates)
    return FigureEntry(title, card_data, plot_card, caption).draw("dimension_card", evidence)


def card_data(evidence: Evidence) -> pd.DataFrame:
    """Collects what the card shows, a row for each point or estimate; COLUMNS.

    By `panel`: `estimate` (`key`, `series` is its name, `value` with interval, `verdict`), `nll` (test NLL in nats per
    image against N in `x`, by network; reference levels without `x`), `active` (units against N, by threshold),
    `training` (estimates against the share of training), `scale` (dimension against neighbours, by
    estimator), `length` (description length against N; plateau and margin without `x`), `control` (returned against
    known dimension, `reason` is the dataset). A panel without data is one row with a `reason`.
    """
    dataset, sweeps = evidence.dataset, evidence.sweeps
    images = [one for one in evidence.intrinsic_of(dataset) if one.digit == ALL_DIGITS]
    rows = _records(to_frame(evidence.estimates))
    judged = {estimate.key: estimate.value for estimate in evidence.estimates}
    reasons = {estimate.key: first_reason(estimate.reason) for estimate in evidence.estimates}
    parts: dict[str, list[dict[str, Any]]] = {
        "estimate": [row | {"series": row["name"]} for row in rows],
        "nll": [*_nll(sweeps, judged["a"]), *_levels(sweeps, evidence.pca[0])],
        "length": list(_length(sweeps, judged["L"])),
        "active": list(_active(sweeps, judged["c"])),
        "training": [
            {"key": row["key"], "series": row["name"], "x": row["fraction"], "value": row["value"]}
            for row in _records(history(sweeps))
            if row["key"] in TRAINED_KEYS
        ],
        "scale": list(_by_scale(_corrected_sample([one for one in images if one.scale != NO_SCALE]))),
        "control": [
            {"x": one.known, "reason": one.dataset, "series": one.estimator}
            | {"value": one.value, "low": one.low, "high": one.high}
            for one in evidence.controls
            if one.estimator in CONTROL_SERIES
        ],
    }
    given = [
        {"panel": panel, "dataset": dataset} | row
        for panel, mine in parts.items()
        for row in mine or [{"reason": _lacking(panel, reasons)}]
    ]
    return pd.DataFrame(given, columns=COLUMNS)


@theme()
def plot_card(frame: pd.DataFrame) -> Figure:
    """Draws the card of `card_data`: the estimates at the left, what they are read from at the right."""
    figure = Figure(figsize=(_WIDTH, _HEIGHT))
    dataset = str(frame["dataset"].iloc[0])
    name = DATA.get(dataset, dataset)
    size = 14 if len(name) < _LONG_NAME else 11
    figure.text(0.012, 0.966, f"How many latent dimensions does {name} need?", fontsize=size, fontweight="bold")
    forest = figure.add_axes((0.168, 0.06, 0.215, 0.87))
    panels.plot_estimates(_of(frame, "estimate"), forest)
    grid = figure.add_gridspec(3, 2, left=0.552, right=0.985, top=0.938, bottom=0.06, hspace=0.42, wspace=0.3)
    for index, (panel, (title, draw)) in enumerate(panels.PANELS.items()):
        ax = figure.add_subplot(grid[index // 2, index % 2])
        rows = _of(frame, panel)
        ax.set_title(title, loc="left", fontsize=9.5, fontweight="bold")
        if rows["value"].notna().any():
            draw(rows, ax)
            ax.spines[["top", "right"]].set_visible(False)
        else:
            panels.say(rows["reason"].iloc[0], ax)
    return figure


def card_caption(frame: pd.DataFrame, estimates: list[Estimate]) -> str:
    """The headline, and what the card's marks mean."""
    rows = _of(frame, "estimate")
    intrinsic_ones = rows["key"].str.match("e |I")
    trained, subsampled = (_range(rows.loc[chosen, "seeds"]) for chosen in (~intrinsic_ones, intrinsic_ones))
    papers = (rows["dataset"] == PAPERS).any()
    band = "the paper's 10 < N < 100 is shaded; " if papers else ""
    when = ", which were chosen after MNIST's tables had been seen," if papers else ""
    return (
        f"{headline(estimates)} Left: every estimate with its 95 % t interval, over {trained}training seeds or, for "
        f"intrinsic dimensions, over {subsampled}subsamples (PCA is a closed form), or both ends of a range with the "
        f"hull of the intervals; {band}the answer's rows (L), (U) and (I){when} are bold; an open ring has no "
        "verdict, and a word says why. Right: the test NLL by latent dimension N, a VAE's at one sampled z, with "
        "what it is read against; the description length of the VAE, with its plateau and the margin above it; the "
        "active units of the VAE, dotted if all were; the estimates over the share of each network's own training, "
        "its last fifth shaded, in which they may move by 5 % at most; what estimators return where the dimension is"
        " known (filled: strokes of one class; open: of ten classes, one discrete factor more; half filled: made "
        "from MNIST, where a plane of k components only bounds the dimension from above); intrinsic dimensions by "
        "number of neighbours, dashed where corrected by flat cubes of as many points. Bands and bars are 95 % t "
        "intervals; where there is one seed, none."
    )


def _range(counts: pd.Series[Any]) -> str:
    """How many there are, from least to most: "2 to 5 "; nothing where there are none."""
    some = counts[counts > 0]
    return "" if not len(some) else f"{some.min():.0f}{f' to {some.max():.0f}' if some.max() > some.min() else ''} "


def _lacking(panel: str, reasons: Mapping[str, str]) -> str:
    """The reason of a panel without data: of the estimate that is read from it, by its key, or what the panel needs."""
    return (reasons[READ_FROM[panel]] if panel in READ_FROM else "").replace(": ", ":\n") or PANELS[panel]


def _nll(sweeps: Sweeps, headline: float) -> Iterator[dict[str, Any]]:
    for network in NETWORKS:
        found = sweeps.by_network[network]
        if isinstance(found, Sweep):
            yield from _by_dim(found, "test_nll", network)
            if network == "elu" and np.isfinite(headline):
                best = found.values["test_nll"][-1].mean(0).min()
                yield {"series": "(a)", "x": headline, "value": best + MARGIN}


def _active(sweeps: Sweeps, headline: float) -> Iterator[dict[str, Any]]:
    found = sweeps.by_network["vae"]
    if isinstance(found, Sweep):
        yield from _by_dim(found, "test_active_units", "0.01")
        yield from _by_dim(found, "active_units_0.1", "0.1")
    if isinstance(sweeps.largest, Sweep) and np.isfinite(headline):
        yield {"series": "(c)", "x": sweeps.largest.latent_dims[-1], "value": headline}


def _length(sweeps: Sweeps, headline: float) -> Iterator[dict[str, Any]]:
    found = sweeps.by_network["vae"]
    if not isinstance(found, Sweep) or not np.isfinite(headline):
        return
    settled = plateau_of(sweeps)
    level = settled.level(found.values["test_neg_elbo"][-1].mean(0))
    for metric, series in (("test_neg_elbo", "negative ELBO"), ("neg_iw_bound", "importance-weighted")):
        shown = _by_dim(found, metric, series)
        yield from (row for row in shown if row["value"] < level + panels.SHOWN * settled.margin)
    yield {"series": "plateau", "value": level}
    yield {"series": "margin", "value": settled.margin}
    yield {"series": "(L)", "x": headline, "value": level + settled.margin}


def _by_dim(found: Sweep, metric: str, series: str) -> Iterator[dict[str, Any]]:
    """Seed mean and interval of a metric at the end of training, by latent dimension, if there is a curve of it."""
    if len(found.latent_dims) < LEAST_DIMS:
        return
    for latent_dim, values in zip(found.latent_dims, found.values[metric][-1].T, strict=True):
        values = values[np.isfinite(values)]
        if len(values):
            low, high = np.nan, np.nan
            if len(values) > 1:
                low, high = t_interval(values, least_error=least_error(values, float(metric in COUNTS)))
                low = max(low, 0.0)  # a loss, a KL and a count are not negative
            yield {"series": series, "x": latent_dim, "value": values.mean(), "low": low, "high": high}


def _levels(sweeps: Sweeps, closed_form: pd.Series) -> Iterator[dict[str, Any]]:
    """PCA's curve, the entropy floor and the mean image's NLL, if there is a network's curve to read against them."""
    recorded = [found for found in sweeps.by_network.values() if isinstance(found, Sweep)]
    if not any(len(found.latent_dims) >= LEAST_DIMS for found in recorded):
        return
    for latent_dim, value in closed_form.items():
        yield {"series": "pca", "x": latent_dim, "value": value}
    for series, value in (("entropy floor", recorded[0].floor), ("mean image", recorded[0].mean_image)):
        if value is not None:
            yield {"series": series, "value": value}


def _corrected_sample(images: list[Intrinsic]) -> list[Intrinsic]:
    """The estimates from the largest sample with corrected values, or else from the largest."""
    having = [one for one in images if np.isfinite(one.corrected)] or images
    size = max((one.sample_size for one in having), default=0)
    return [one for one in images if one.sample_size == size]


def _by_scale(images: list[Intrinsic]) -> Iterator[dict[str, Any]]:
    """Raw and corrected estimates on all digits, along the scale."""
    for one in images:
        name = label(one.estimator, NO_SCALE)
        common = {"x": one.scale, "reason": f"{one.sample_size:,} images", "series": name}
        yield common | {"value": one.value, "low": one.low, "high": one.high}
        if np.isfinite(one.corrected):
            corrected = {"value": one.corrected, "low": one.corrected_low, "high": one.corrected_high}
            yield common | corrected | {"series": f"{name} corrected"}


def _of(frame: pd.DataFrame, panel: str) -> pd.DataFrame:
    return frame[frame["panel"] == panel]


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]
