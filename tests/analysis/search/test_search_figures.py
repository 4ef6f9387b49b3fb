"""What a search's page shows: figures, tables and captions of real searches, small ones, drawn from their tables."""

import io
import math

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from analysis.cli import main
from analysis.figures.axes import log_ticks
from analysis.figures.base import Drawn, NotApplicableError, Skipped
from analysis.search import best, history, importance, parallel, pareto, search_figures, search_page, slices
from analysis.search.as_optuna import common_step
from study import spec, table
from study.run import launch
from study.run.job import Options
from study.table import TableError
from study.tables.trials import spec_of_best
from tests.support.command import call
from trainables.registry import DATASETS

ONE = """
name: one
base: {dataset: tiny, model: vae, latent_dim: 2, steps: 9, evaluations: 9, batch_size: 20}
arms: {known: {hidden_dims: [8]}}
search:
  objectives: [val_neg_elbo]
  trials: 24
  sampler: random
  scheduler: asha
  first_rung: 1
  space:
    learning_rate: {low: 1.0e-4, high: 1.0e-1, log: true}
    hidden_dims: [[8], [8, 8]]
    kl_warmup_steps: [0, {low: 2, high: 9, log: true}]
    l2: {low: 0.0, high: 0.1}
"""
TWO = """
name: two
base: {dataset: tiny, latent_dim: 2, hidden_dims: [8], steps: 2, evaluations: 1, batch_size: 20}
arms: {beta: {model: vae}, autoencoder: {model: autoencoder}, pca: {task: pca}}
grid: {beta: [0.1, 10]}
search:
  objectives: [val_nll, val_kl]
  trials: 6
  sampler: random
  space: {model: vae, beta: {low: 0.1, high: 10, log: true}}
"""
NONE = "name: none\nbase: {dataset: tiny}\narms: {pca: {task: pca}}"


def made(study, folder, **changes):
    launch.launch(study, str(folder), Options(runner="inline", device="cpu", **changes), Console(file=io.StringIO()))
    return table.load_tables(str(folder))


@pytest.fixture(scope="module", autouse=True)
def runs(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DATASETS, "tiny", "tests.support.tiny:load")
        patch.setattr(importance, "RESAMPLES", 3)  # how good its shares and intervals are is tested elsewhere
        patch.setattr(importance, "TREES", 8)
        yield tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def one(runs):
    return made(spec.parse(ONE, "one"), runs / "one")


@pytest.fixture(scope="module")
def two(runs):
    return made(spec.parse(TWO, "two"), runs / "two")


@pytest.fixture(scope="module")
def again(one, runs):
    """The two best trials of `one` and its arm, on two fresh seeds."""
    return made(spec_of_best(one, 2, 2), runs / "again", first_seed=one.spec.seeds)


def test_every_figure_of_a_search_is_drawn_and_the_same_again(one, two):
    for tables, names in (
        (one, {"parallel", "history", "importance", "slices", "pairs"}),
        (two, {"parallel", "history", "slices", "front", "hypervolume"}),
    ):
        found, same = search_figures.draw(tables), search_figures.draw(tables)
        drawn = [figure for figure in found if isinstance(figure, Drawn)]
        assert {figure.name.removeprefix(f"{tables.spec.name}_") for figure in drawn} == names
        assert [f.svg() for f in drawn] == [f.svg() for f in same if isinstance(f, Drawn)]
        assert all(figure.caption.endswith(".") and len(figure.frame) for figure in drawn)


def test_parallel_coordinates_put_the_best_trial_last_and_each_value_on_its_axis(one):
    data = parallel.parallel_data(one)
    assert (data["kind"] == "best").sum() == 1 and set(data["kind"]) <= {
        "best",
        "among the best",
        "finished",
        "stopped",
    }
    best = data[data["kind"] == "best"].iloc[0]
    assert best["val_neg_elbo"] == data["val_neg_elbo"].min()
    assert data.loc[data["kind"] == "stopped", "val_neg_elbo"].isna().all(), "what was stopped has no last value"
    (ax,) = parallel.plot_parallel(data, one.spec.search).axes
    highlighted = ax.lines[-1]
    assert highlighted.get_color() == "#D55E00" and len(np.asarray(highlighted.get_ydata())) == len(data.columns) - 2
    places = np.concatenate([np.asarray(line.get_ydata(), float) for line in ax.lines])
    assert places.max() <= 1 + 1e-9 and ((places >= -1e-9) | np.isclose(places, -0.12)).all()


def test_no_figure_shows_the_markup_of_a_number(one, two):
    drawn = [figure for tables in (one, two) for figure in search_figures.draw(tables) if isinstance(figure, Drawn)]
    assert [figure.name for figure in drawn if "$\\math" in figure.svg()] == []


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([2, 15, 9], [3, 10]),
        ([1.1e-4, 5e-3], [3e-4, 1e-3, 3e-3]),
        ([0.03, 10], [0.1, 1, 10]),
        ([1e-8, 1e-3], [1e-8, 1e-6, 1e-4]),
        ([0, 700, 4000], [0, 1000, 3000]),
        ([np.nan, 2.31, 4.44], [2.3, 4.4]),
    ],
)
def test_logarithmic_axes_have_few_round_ticks(values, ticks):
    assert log_ticks(np.array(values, float)) == ticks


def test_figures_say_why_they_are_not_drawn(two):
    reasons = {f.name: f.reason for f in search_figures.draw(two) if isinstance(f, Skipped)}
    assert reasons == {
        "two_importance": "fewer than 20 trials have a value",
        "two_pairs": "fewer than two settings vary",
    }


def test_importance_is_of_the_common_rung_where_too_few_finished_and_names_what_it_left_out(one):
    data = importance.importance_data(one)
    assert common_step(one) == 1 and set(data["at"]) == {"after 1 steps"} and set(data["trials"]) == {24}
    shown = data[data["left_out"].isna()]
    assert set(shown["parameter"]) == {"learning_rate", "hidden_dims", "kl_warmup_steps", "l2"}
    assert 0 < shown["importance"].sum() < 1.01
    assert "kl_warmup_steps in 2..9 log: not drawn for every trial" in importance.importance_caption(data)


def test_history_counts_steps_and_the_best_so_far(one):
    data = history.history_data(one)
    finished = data[data["state"] == "finished"]
    assert data["steps_so_far"].iloc[-1] == data["step"].sum() and len(data) == 24
    assert (
        data["best"].dropna()
        == finished.set_index("trial")["value"].cummin().reindex(data["trial"]).ffill().dropna().to_numpy()
    ).all()
    rungs = history.rungs_data(one)
    assert list(rungs["rung"]) == [1, 3] and rungs["reached"].iloc[0] == 24
    assert rungs["reached"].iloc[1] == 24 - rungs["stopped"].iloc[0]
    assert rungs["reached"].iloc[1] - rungs["stopped"].iloc[1] == len(finished)


def test_slices_hold_every_trial_at_the_common_step(one):
    data = slices.slices_data(one)
    assert len(data) == 24 and set(data["step"]) == {1} and data["field/kl_warmup_steps"].notna().all()
    assert set(slices.varying(data)) == {"learning_rate", "hidden_dims", "kl_warmup_steps", "l2"}


def test_front_holds_what_no_other_beats_and_every_reference(two):
    data = pareto.front_data(two)
    tried = data[data["kind"] == "trial"]
    for row in tried.to_dict("records"):
        better = tried[(tried["val_nll"] <= row["val_nll"]) & (tried["val_kl"] <= row["val_kl"])]
        assert row["front"] == (len(better) == 1)
    others = data[data["kind"] == "reference"].set_index("name")
    assert set(others.index) == {"beta beta=0.1", "beta beta=10", "autoencoder", "pca"}
    assert others.loc["autoencoder":"pca", "val_kl"].isna().all()


@pytest.mark.parametrize(
    ("points", "area"),
    [
        ([], 0),
        ([[3, 1]], 0),
        ([[1, 1]], 1),
        ([[0, 1], [1, 0]], 3),
        ([[0, 1], [1, 0], [1, 1], [0, 1]], 3),
        ([[0, 0]], 4),
    ],
)
def test_hypervolume_of_known_points(points, area):
    assert pareto.hypervolume(np.array(points, float).reshape(-1, 2), (2.0, 2.0)) == area


def test_hypervolume_agrees_with_a_count_of_dominated_points():
    rng = np.random.default_rng(0)
    points, where = rng.random((30, 2)), rng.random((40_000, 2))
    dominated = (points[:, None] <= where).all(2).any(0).mean()
    assert pareto.hypervolume(points, (1.0, 1.0)) == pytest.approx(dominated, abs=0.01)


def test_hypervolume_grows_and_needs_a_reference_point(two, one):
    data = pareto.hypervolume_data(two)
    assert data["hypervolume"].is_monotonic_increasing and len(data) == 6
    with pytest.raises(NotApplicableError, match="two objectives of which less is better"):
        pareto.front_data(one)


def test_best_is_judged_on_fresh_seeds_only(one, again):
    alone, judged = best.best_data(one), best.best_data(one, [again])
    assert (alone["val_neg_elbo/fresh_seeds"] == 0).all() and alone["val_neg_elbo/test"].isna().all()
    fresh = judged[judged["val_neg_elbo/fresh_seeds"] == 2]
    assert set(fresh["cell"]) == {"known", *judged["cell"][:2]}
    ends = again.ends[again.ends["seed"] >= 1].groupby("cell")["test_neg_elbo"].mean()
    for row in fresh.to_dict("records"):
        assert row["val_neg_elbo/test"] == pytest.approx(ends[row["cell"]])
        assert row["val_neg_elbo/low"] < row["val_neg_elbo/test"] < row["val_neg_elbo/high"]
    assert set(best_column(search_page.best_text(alone))) == {"–"}
    assert all(value.endswith("(2 seeds)") for value in best_column(search_page.best_text(judged))[:2])


def test_best_of_an_arm_without_the_metric_shows_a_dash(one):
    found = best.best_data(one).assign(val_neg_elbo=[math.nan, *[7.0] * (len(best.best_data(one)) - 1)])
    assert search_page.best_text(found)["validation negative ELBO"].tolist()[:2] == ["–", "7.00"]


def best_column(text: pd.DataFrame) -> list[str]:
    return [value for column in text.columns if "fresh seeds" in column for value in text[column]]


def test_study_without_a_search_is_refused(runs):
    tables = made(spec.parse(NONE, "none"), runs / "none")
    with pytest.raises(TableError, match="must have a `search`"):
        search_figures.draw(tables)
    result = call(main, ["search", str(runs / "none")])
    assert result.exit_code == 2 and "none of these runs is of a study with a search" in result.stderr


def test_command_writes_the_page_its_tables_and_figures(one, again, runs, tmp_path):
    result = call(main, ["search", str(runs / "one"), str(runs / "again"), "-o", str(tmp_path)])
    assert result.exit_code == 0, result.stdout
    written = (tmp_path / "one_search.md").read_text()
    assert "# Best configurations".strip("# ") in written and "What early stopping did" in written
    for name in ("parallel", "history", "importance", "slices", "pairs"):
        assert f"(one_{name}.png)" in written
        assert all((tmp_path / f"one_{name}.{kind}").stat().st_size for kind in ("png", "svg", "csv"))
    assert list(pd.read_csv(tmp_path / "one_best.csv")["cell"])[-1] == "known"
    assert not math.isnan(pd.read_csv(tmp_path / "one_best.csv")["val_neg_elbo/test"].iloc[0])
