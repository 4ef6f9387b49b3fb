"""Short runs on MNIST's files and on other images: known and open differences to all runs."""

from __future__ import annotations

import numpy as np
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


def all_runs(known: int = 16) -> Tables:
    return _tables(known, "mnist", "latent", 50_000)


def short(known: int, dataset: str = short_run.AS_OWN, learning: float = 0.0) -> Tables:
    return _tables(known, dataset, short_run.STUDY, 2000, learning)


def _tables(known: int, dataset: str, study: str, steps: int, learning: float = 0.0) -> Tables:
    """A VAE whose description length ends falling at a known N, and an auto-encoder whose loss falls like 1 / N."""

    def curve(network: str, n: int, seed: int, fraction: float) -> float:
        if network == "vae":
            return 75.0 + 30.0 * max(np.log(known / n), 0.0) + 0.01 * seed
        return FLOOR + 3.0 + (240.0 + learning * (1 - fraction)) / n + 0.01 * seed

    return sweep_tables(dims=DIMS, dataset=dataset, nll=curve, steps=steps, name=study)


def compared(*runs: Tables) -> tuple[str, dict[str, dict[str, str]]]:
    """The text on the runs, and the rows of the table by estimate."""
    found = short_run.short_runs(Evidence(runs))
    assert found is not None
    text, frame = found
    return text, {row[0]: dict(zip(frame.columns, row, strict=True)) for row in frame.to_numpy()}


def test_short_run_is_read_by_the_rules_of_own_images_and_compared_row_by_row() -> None:
    text, rows = compared(all_runs(16), short(8))
    assert text.startswith("MNIST: 10 N from 2 to 200, 2,000 steps, 3 seeds, ") and text.count(";") == 0
    length = rows["Description length (L)"]
    assert length["MNIST, short run"].startswith("7.7") and length["MNIST, all runs"].startswith("15.5")
    assert length["difference"] == "-7.7"
    law = rows["A plain auto-encoder, for 4 nats"]
    assert law["MNIST, short run"].startswith("60") and law["difference"] == "+0.0"
    assert rows["The images' own dimension (I)"]["MNIST, short run"] == "–"
    assert rows["PCA, 90 % of the variance (g)"]["difference"] == "–"


def test_all_runs_are_read_after_the_steps_of_the_short_one_too() -> None:
    def learning(network: str, n: int, seed: int, fraction: float) -> float:
        """A description length that ends falling at N = 16, and until 20 % of its training at N = 64."""
        known = 16 if fraction > 0.2 else 64
        return 75.0 + 30.0 * max(np.log(known / n), 0.0) + 0.01 * seed

    full = sweep_tables(dims=DIMS, nll=learning, steps=10_000)
    _, rows = compared(full, short(64))
    length = rows["Description length (L)"]
    late, early, mine = (length[f"MNIST, {run}"] for run in ("all runs", "all runs after 2,000 steps", "short run"))
    assert late.startswith("15.5") and early.startswith("61.") and early.split(";")[0] == mine.split(";")[0]
    assert rows["PCA, 90 % of the variance (g)"]["MNIST, all runs after 2,000 steps"] == "–"


def test_what_a_short_run_cannot_settle_is_said_to_be_open() -> None:
    _, rows = compared(all_runs(), short(16, learning=300.0))
    law = rows["A plain auto-encoder, for 4 nats"]
    assert law["MNIST, short run"] == "– (not settled: not converged)" and law["difference"] == "–"


def test_other_images_have_a_column_each_and_a_run_of_the_built_in_mnist_has_none() -> None:
    text, rows = compared(all_runs(), short(8, "fashion_mnist"), short(16), short(4, "mnist"))
    assert "; Fashion-MNIST: 10 N" in text
    assert rows["Description length (L)"]["Fashion-MNIST, short run"].startswith("7.7")
    assert list(rows["Active units (U)"])[4:] == ["difference", "Fashion-MNIST, short run"]


def test_without_a_short_run_on_mnists_files_there_is_nothing_to_compare() -> None:
    for runs in ([all_runs()], [all_runs(), short(8, "fashion_mnist")]):
        evidence = Evidence(runs)
        assert short_run.short_runs(evidence) is None and not short_run.grid(evidence).rows
        assert short_run.markdown(evidence) == "Not measured."
