"""A short run on the paper's images as anyone's own, beside all runs: known and open differences."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.evidence import Evidence
from analysis.report import short_run
from study.table import Tables
from tests.support.sweeps import FLOOR, sweep_tables
from trainables.registry import register

pytestmark = pytest.mark.usefixtures("own_images")
DIMS = (2, 4, 8, 16, 32, 50, 64, 100, 128, 200)


@pytest.fixture
def own_images() -> None:
    """Makes the name that a path to MNIST's files gives them a data set of the user's own."""
    register({"DATASETS": {short_run.AS_OWN: ""}})


def tables(known: int, *, dataset: str = "mnist", learning: float = 0.0, steps: int = 50_000) -> Tables:
    """A VAE whose description length ends falling at a known N, and an auto-encoder whose loss falls like 1 / N."""

    def curve(network: str, n: int, seed: int, fraction: float) -> float:
        if network == "vae":
            return 75.0 + 30.0 * max(np.log(known / n), 0.0) + 0.01 * seed
        return FLOOR + 3.0 + (240.0 + learning * (1 - fraction)) / n + 0.01 * seed

    return sweep_tables(dims=DIMS, dataset=dataset, nll=curve, steps=steps)


def compared(*runs: Tables) -> tuple[str, pd.DataFrame]:
    found = short_run.short_run(Evidence(runs))
    assert found is not None
    return found


def test_short_run_is_read_by_the_rules_of_own_images_and_compared_row_by_row() -> None:
    text, frame = compared(tables(16), tables(8, dataset="MNIST", steps=2000))
    assert text.startswith("10 N from 2 to 200, 2,000 steps, 3 seeds: ")
    rows = frame.set_index("estimate")
    length = rows.loc["Description length (L)"]
    assert (
        length["short run"].startswith("7.7")
        and length["all runs"].startswith("15.5")
        and length["difference"] == "-7.7"
    )
    law = rows.loc["A plain auto-encoder, for 4 nats"]
    assert law["short run"].startswith("60") and law["difference"] in ("+0.0", "-0.0")
    assert rows.loc["The images' own dimension (I)", "short run"] == "–"
    assert rows.loc["PCA, 90 % of the variance", "difference"] == "–"


def test_what_a_short_run_cannot_settle_is_said_to_be_open() -> None:
    _, frame = compared(tables(16), tables(16, dataset="MNIST", learning=300.0))
    law = frame.set_index("estimate").loc["A plain auto-encoder, for 4 nats"]
    assert law["short run"] == "– (not settled: not converged)" and law["difference"] == "–"


def test_without_such_a_run_there_is_nothing_to_compare() -> None:
    evidence = Evidence([tables(16)])
    assert short_run.short_run(evidence) is None and not short_run.grid(evidence).rows
    assert short_run.markdown(evidence) == "Not measured."
