"""The figure of final values chooses its axes by what the run varies, and shows the right numbers."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.figures.axes import log_spaced
from analysis.figures.base import Drawn, NotApplicableError
from analysis.figures.catalogue import FIGURES, draw
from analysis.figures.sweep import MOST_ROWS, sweep_caption, sweep_data
from analysis.intervals import t_interval
from study.table import Tables
from tests.support.moments import first_second
from tests.support.tables import FINAL, make_tables


def drawn(tables: Tables) -> Drawn:
    (figure,) = draw(tables, ["sweep"])
    assert isinstance(figure, Drawn)
    return figure


def test_sweep_is_the_first_figure_of_a_run() -> None:
    assert next(iter(FIGURES)) == "sweep"


def test_sweep_of_arms_alone_has_a_row_for_each_network_with_its_interval() -> None:
    figure = drawn(make_tables(seeds=3))
    nll = figure.frame[figure.frame["metric"] == "test_nll"].set_index("series")
    assert set(nll.index) == {*FINAL, "pca"} and nll["field"].isna().all()
    assert nll.loc["elu", "mean"] == pytest.approx(102.0)
    assert (nll.loc["elu", "low"], nll.loc["elu", "high"]) == pytest.approx(t_interval([100.0, 102.0, 104.0]))
    (ax,) = figure.figure.axes  # only one network has a KL, so that it has no panel
    assert [label.get_text() for label in ax.get_yticklabels()][:2] == ["elu", "vae"], "the best first"
    assert ax.get_xscale() == "log", "from 102 to 1,547"


def test_sweep_of_a_field_has_a_line_for_each_arm_on_a_logarithmic_axis() -> None:
    rates = [1e-4, 3e-4, 1e-3, 3e-3]
    figure = drawn(make_tables(seeds=2, arms=("elu", "vae"), grid={"learning_rate": rates}))
    nll = figure.frame[figure.frame["metric"] == "test_nll"]
    assert set(nll["field"]) == {"learning_rate"} and set(nll["series"]) == {"elu", "vae"}
    ax = figure.figure.axes[0]
    assert ax.get_xscale() == "log" and ax.get_xlabel() == "learning rate"
    assert [list(line.get_xdata()) for line in ax.lines] == [rates, rates]  # type: ignore[arg-type]
    assert "against learning rate: over 2 seeds" in figure.caption


def test_sweep_of_n_is_against_n_even_if_more_values_of_steps_follow_from_it() -> None:
    grid = [{"latent_dim": [2, 4], "steps": [100]}, {"latent_dim": [8, 16], "steps": [1000]}]
    frame = sweep_data(make_tables(seeds=1, arms=("elu",), grid=grid))
    assert set(frame["field"]) == {"latent_dim"} and set(frame["series"]) == {"elu"}, "one line through all N"
    assert "latent dimension N" in sweep_caption(frame)


def test_sweep_of_two_numbers_is_a_heat_map_of_their_means() -> None:
    grid = {"learning_rate": [1e-4, 1e-3, 1e-2], "batch_size": [20, 50, 100, 200]}
    figure = drawn(make_tables(seeds=1, arms=("elu",), grid=grid))
    assert (figure.frame["field"].iloc[0], figure.frame["other_field"].iloc[0]) == ("batch_size", "learning_rate")
    mesh = figure.figure.axes[0].collections[0].get_array()
    assert mesh is not None and mesh.shape == (3, 4)


def test_sweep_of_a_number_and_a_word_tells_lines_apart_by_the_word() -> None:
    grid = {"latent_dim": [2, 4, 8], "init": ["he", "xavier"]}
    frame = sweep_data(make_tables(seeds=1, arms=("elu",), grid=grid))
    assert set(frame["series"]) == {"elu init=he", "elu init=xavier"} and frame["other_field"].isna().all()


def test_sweep_of_more_networks_than_rows_shows_some_from_the_best_to_the_worst() -> None:
    grid = {"init": ["he", "xavier", "default"], "weight_dropout": [0.0, 0.1], "output": ["sigmoid", "clipped"],
            "grad_clip": [0.0, 5.0], "l2": [0.0, 1e-5]}  # fmt: skip
    figure = drawn(make_tables(seeds=1, arms=("elu",), grid=grid))
    assert len(figure.frame) == 48 and len(figure.figure.axes[0].get_yticklabels()) == MOST_ROWS


def test_sweep_before_anything_finished_is_not_applicable() -> None:
    with pytest.raises(NotApplicableError, match="no replicate has finished"):
        sweep_data(first_second(make_tables(seeds=1, arms=("elu",))))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 2, 5, 10, 20, 50], True),
        ([0, 1e-5, 1e-4, 1e-3], True),
        ([10, 20, 30, 40, 50], False),
        ([1, 10], False),
        ([-1, 1, 10, 100], False),
        ([5, 5, 5], False),
        ([np.nan, 1, 10, 100], True),
    ],
)
def test_log_spaced_values_are_those_that_span_much_in_even_ratios(values: list[float], expected: bool) -> None:
    assert log_spaced(np.array(values, float)) is expected
