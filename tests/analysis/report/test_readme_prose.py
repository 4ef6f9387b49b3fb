"""The numbers in the sentences of README.md and docs/ are those of the tables under results/.

Its blocks are generated (test_readme); a sentence is written by hand. Each here stands with its numbers left out, and
with a function that takes them from the tables; a sentence that is reworded is reworded here too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.dimension import estimate_table
from analysis.dimension.curve_shapes import saturation
from analysis.evidence import Evidence
from analysis.formats import frame_of
from analysis.search.pareto import REFERENCE, front_data, hypervolume
from study.table import Tables, load_tables

ROOT = Path(__file__).resolve().parents[3]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXT = " ".join(" ".join(page.read_text() for page in PAGES).split())


@cache
def evaluated(run: str) -> pd.DataFrame:
    """The rows of a run that have a test NLL, by rising step."""
    rows = pd.read_parquet(ROOT / "results" / run / "results.parquet")
    return rows[rows["test_nll"].notna()].sort_values("step")


def finished(run: str) -> pd.DataFrame:
    rows = evaluated(run)
    return rows[rows["final"] & (rows["status"] == "finished")]


def by_cell(run: str) -> pd.DataFrame:
    """Final test NLL: a row per seed, a column per cell."""
    return finished(run).pivot(index="seed", columns="cell", values="test_nll")


@cache
def over_dims(name: str) -> pd.Series:
    """Mean final test NLL of `latent` by N, of the cells of this name."""
    rows = finished("latent")
    return rows[rows["cell"].str.startswith(name)].groupby("config/latent_dim")["test_nll"].mean()


def value_of(frame: pd.DataFrame, row: str) -> float:
    value: Any = frame.loc[row, "value"]
    return float(value)


def clipped() -> list[pd.DataFrame]:
    """The evaluations of the linear network with the clipped output, a frame per seed."""
    rows = evaluated("paper")
    return [group for _, group in rows[rows["cell"] == "linear clipped"].groupby("seed")]


def sigmoid_ahead() -> list[float]:
    nll = by_cell("paper")
    ahead = nll[["relu", "elu"]].sub(nll["sigmoid"], axis=0)
    assert (ahead > 0).all(axis=None), "not in every seed"
    return list(ahead.mean())


def sigmoid_behind() -> list[float]:
    """After 10,000 steps, how far sigmoid is behind ELU, at three N."""
    means = by_cell("activations").mean()
    dims = (5, 20, 50)
    last = [means[[f"{name} latent_dim={dim}" for name in ("sigmoid", "relu", "elu")]].idxmax() for dim in dims]
    assert last == [f"sigmoid latent_dim={dim}" for dim in dims]
    return [means[f"sigmoid latent_dim={dim}"] - means[f"elu latent_dim={dim}"] for dim in dims]


def collapses() -> list[float]:
    first = [rows.loc[rows["collapsed"].eq(True), "step"].min() for rows in clipped()]
    assert sum(not rows["collapsed"].iloc[-1] for rows in clipped()) == 1, "one has left the image at the end"
    return [min(first), max(first)]


def least_and_last() -> list[float]:
    least = [rows.nsmallest(1, "test_nll").iloc[0] for rows in clipped()]
    lowest, last = ([row["test_nll"] for row in each] for each in (least, [rows.iloc[-1] for rows in clipped()]))
    return [max(row["step"] for row in least), min(lowest), max(lowest), min(last), max(last)]


def active_units() -> list[float]:
    rows = evaluated("latent")
    units = rows[(rows["cell"] == "vae latent_dim=200") & (rows["seed"] == 0)].set_index("step")["test_active_units"]
    return [units[3000], units[7000], units[11_000], units.iloc[-1]]


def linear_catches_up() -> list[float]:
    gaps = over_dims("linear") - over_dims("elu")
    pca = over_dims("pca") - over_dims("elu")
    return [gaps[8], gaps[100], gaps[200], pca[200]]


@cache
def tables(*runs: str) -> list[Tables]:
    return [load_tables(str(ROOT / "results" / run)) for run in runs]


@cache
def mnist() -> pd.DataFrame:
    """Every estimate of MNIST's dimension, by its key."""
    return estimate_table.to_frame(Evidence(tables("latent", "intrinsic", "controls")).estimates).set_index("key")


def class_cost() -> list[float]:
    """By how many units, at most, a VAE of ten classes keeps more than there are factors."""
    found = frame_of(estimate_table.ControlEstimate, Evidence(tables("latent", "intrinsic", "controls")).controls)
    found = found[(found["estimator"] == "c") & ~found["dataset"].str.endswith("-one") & found["settled"]]
    return [found["error"].max()]


def ruler(estimator: str) -> pd.DataFrame:
    """What an estimator reads on strokes of ten classes: `value, known, error, settled`."""
    found = frame_of(estimate_table.ControlEstimate, Evidence(tables("latent", "intrinsic", "controls")).controls)
    return found[(found["estimator"] == estimator) & found["dataset"].str.fullmatch(r"strokes(-\d+)?")]


def shorter_grids() -> list[object]:
    means, best = over_dims("elu"), {}
    for end in (64, 100, 128):
        part = means[means.index <= end]
        best[end] = saturation(part.index.to_numpy(), part.to_numpy(), 1.0)
    return [*best, *best.values()]


def beyond_the_factors() -> list[float]:
    """How far the loss of one class falls beyond N = k: the most for k up to 16, and for 32."""
    rows = finished("controls")
    rows = rows[rows["cell"].str.startswith("elu ")]
    falls = {}
    for k in (2, 4, 8, 16, 32):
        means = rows[rows["config/dataset"] == f"strokes-{k}-one"].groupby("config/latent_dim")["test_nll"].mean()
        falls[k] = means[k] - means[means.index > k].min()
    *few, many = falls.values()
    return [math.ceil(10 * max(few)) / 10, many]


def near_its_points(corrected: bool) -> list[float]:
    keys = mnist().index.str.fullmatch(r"e (?!.* digit )\S+( \d+)?" + " corrected" * corrected)
    values = mnist()[keys]["value"].dropna()
    return [values.min(), values.max()]


def seeds_of_the_sweep() -> list[object]:
    counts = finished("latent").groupby("cell")["seed"].nunique()
    assert {5} == set(counts[counts.index.str.match("elu|vae")])
    assert {3} == set(counts[counts.index.str.match("linear")])
    return []


def digits() -> list[float]:
    values = {digit: value_of(mnist(), f"e MLE 20 digit {digit}") for digit in range(10)}
    assert min(values, key=values.__getitem__) == 1 and max(values, key=values.__getitem__) == 8
    return [values[1], values[8]]


def front() -> list[object]:
    found = front_data(tables("rate-distortion")[0])
    return [int(found["front"].sum())]


def hypervolumes() -> list[float]:
    """Of the beta line, the search, and both."""
    found = front_data(tables("rate-distortion")[0])
    found = found[found["val_kl"].notna()]
    line = found["name"].str.startswith("beta ")
    values = found[["val_nll", "val_kl"]].to_numpy(float)
    parts = [values[line], values[found["kind"] == "trial"], values[line | (found["kind"] == "trial")]]
    return [hypervolume(part, (REFERENCE["nll"], REFERENCE["kl"])) for part in parts]


def clipped_readings() -> list[float]:
    """The linear network with the clipped output, with L2: from each initialisation, and without gradient clipping."""
    means = finished("readings").groupby("cell")["test_nll"].mean()
    cells = [(init, 5.0) for init in ("he", "default", "xavier")] + [(init, 0.0) for init in ("default", "xavier")]
    name = "linear output=clipped init={} grad_clip={} l2=1e-05 weight_dropout=0.0"
    return [means[name.format(*cell)] for cell in cells]


def linear_with_a_sigmoid_output() -> list[float]:
    """The largest ratio of its loss to ELU's, over initialisations: of `readings`, and of `paper`, from He's."""
    means = finished("readings").groupby("cell")["test_nll"].mean()
    name = "{} output=sigmoid init={} grad_clip=5.0 l2=1e-05 weight_dropout=0.0"
    ratios = [means[name.format("linear", init)] / means[name.format("elu", init)] for init in ("default", "xavier")]
    paper = by_cell("paper").mean()
    return [max(*ratios, paper["linear"] / paper["elu"])]


def done(run: str) -> list[int]:
    """Replicates that have finished, and all."""
    ends = tables(run)[0].ends
    return [int((ends["status"] == "finished").sum()), len(ends)]


SENTENCES: dict[str, Callable[[], Iterable[object]]] = {
    "sigmoid beats ReLU by {:.1f} and ELU by {:.1f} nats on average, and in every seed": sigmoid_ahead,
    "it collapses, between steps {:,.0f} and {:,.0f}, to one image": collapses,
    "Its loss is least by step {:,.0f}, at {:,.0f} to {:,.0f}, then rises to {:,.0f} to {:,.0f}": least_and_last,
    "of five seeds (the linear net: three)": seeds_of_the_sweep,
    "(a) The auto-encoder* needs {:.0f} latents or more": lambda: [value_of(mnist(), "a")],
    "its loss still falls at the largest N, by {:.1f} nats from 128 to 200": lambda: [
        over_dims("elu")[128] - over_dims("elu")[200]
    ],
    "had the grid ended at N = {}, {}, {}, (a) would be {:.0f}, {:.0f}, {:.0f}": shorter_grids,
    "it reads {:.1f} to {:.1f} times the number of factors": lambda: [
        getattr(ruler("a")["value"] / ruler("a")["known"], end)() for end in ("min", "max")
    ],
    "beyond it by less than {:.1f} nats up to k = 16, and by {:.1f} for 32": beyond_the_factors,
    "Near its points MNIST has {:.0f} to {:.0f} dimensions": lambda: near_its_points(corrected=False),
    "and {:.0f} to {:.0f} after each is set against flat cubes": lambda: near_its_points(corrected=True),
    "the first seed had {:.0f} active units after 3,000 steps, {:.0f} after 7,000, {:.0f} after 11,000, {:.0f} at the "
    "end": active_units,
    "At N = 8 it is {:.0f} nats worse than ELU, at 100 {:.1f} nats, at 200 {:.1f}": lambda: linear_catches_up()[:3],
    "PCA, with no sigmoid, is {:.1f} nats worse than ELU there": lambda: linear_catches_up()[3:],
    "TwoNN {:.1f} [{:.1f}, {:.1f}], MLE at 20 neighbours {:.1f})": lambda: [
        *mnist().loc["e TwoNN", ["value", "low", "high"]],
        value_of(mnist(), "e MLE 20"),
    ],
    "Digit 1 reads least (MLE {:.1f}), digit 8 most ({:.1f})": digits,
    "where the class is a factor too, it keeps up to {:.1f} units more": class_cost,
    "*PCA* needs {:.0f}, {:.0f}, {:.0f} components for 90, 95, 99 %": lambda: [
        value_of(mnist(), f"g {share} %") for share in (90, 95, 99)
    ],
    "From N = {:.0f} on the reference classifiers read its images within 1 %": lambda: [value_of(mnist(), "f")],
    "From {} trials on the front": front,
    "nats: beta line {:,.0f}, search {:,.0f}, both {:,.0f} nats²": hypervolumes,
    "Of `activations` {} of {} replicates have (N = 5, 20, 50), of `readings` {} of {}.": lambda: [
        *done("activations"),
        *done("readings"),
    ],
    "is the last of the three at N = 5, 20 and 50, by {:.1f}, {:.1f} and {:.1f} nats behind ELU": sigmoid_behind,
    "network ends at {:,.0f} nats from He's initialisation, but at {:,.0f} from PyTorch's and {:,.0f} from Xavier's; "
    "with free gradients at {:,.0f} and {:,.0f} from these two as well": clipped_readings,
    "With a sigmoid output it is at most {:.1f} times as bad as ELU from any": linear_with_a_sigmoid_output,
    "It ends at the same loss: {:.2f} against {:.2f} nats after 10,000 steps": lambda: by_cell("precision").mean(),
}


@pytest.mark.parametrize("sentence", SENTENCES)
def test_numbers_of_a_sentence_are_those_of_the_tables(sentence: str) -> None:
    assert sentence.format(*SENTENCES[sentence]()) in TEXT
