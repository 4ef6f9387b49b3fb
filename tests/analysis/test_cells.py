"""The final table and the choice of cells."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from scipy import stats

from analysis import cells as summary
from analysis.report.sentences import overfit_sentences
from study import spec
from study.tables.columns import SCHEMAS
from tests.support.tables import FLOOR, make_tables, replaced, stored


def test_summarise_three_seeds_gives_mean_t_interval_and_ratios() -> None:
    table = summary.summarise(make_tables(seeds=3)).set_index("cell")
    half = float(stats.t.ppf(0.975, 2)) * 2.0 / 3**0.5  # the seeds 100, 102, 104 have a standard deviation of 2
    assert table.loc["elu", "test_nll"] == pytest.approx(102.0)
    assert table.loc["elu", "test_nll_low"] == pytest.approx(102.0 - half)
    assert table.loc["elu", "test_nll_high"] == pytest.approx(102.0 + half)
    assert table.loc["linear clipped", "ratio"] == pytest.approx(1547.0 / 102.0)
    assert table.loc["linear clipped", "excess_ratio"] == pytest.approx((1547.0 - FLOOR) / (102.0 - FLOOR))
    assert table.loc["elu", "finished"] == 3
    assert table.loc["pca", "finished"] == 1


def test_mean_of_counts_is_known_to_their_step_and_of_other_numbers_to_their_spread() -> None:
    half = float(stats.t.ppf(0.975, 2)) / 12**0.5
    units = pd.Series([22.0, 22.0, 22.0], name="test_active_units")
    assert summary.mean_and_interval(units) == pytest.approx((22.0, 22.0 - half, 22.0 + half))
    assert summary.mean_and_interval(units.rename("test_nll")) == (22.0, 22.0, 22.0)


def test_interval_of_what_cannot_be_negative_ends_at_0_and_no_other_does() -> None:
    values = pd.Series([5.0, 7.0, 228.0], name="test_kl")
    mean, low, high = summary.mean_and_interval(values)
    assert (mean, low) == (80.0, 0.0) and high == pytest.approx(80 + 4.302653 * values.std() / 3**0.5)
    assert (summary.mean_and_interval(values.rename("val_neg_elbo"))[1] or 0) < 0, "a density may exceed 1"


def test_summarise_one_seed_has_no_interval() -> None:
    table = summary.summarise(make_tables(seeds=1))
    assert table["test_nll"].notna().all()
    assert table["test_nll_low"].isna().all()


def test_summarise_failed_and_diverged_replicates_are_counted_but_not_averaged() -> None:
    tables = replaced(make_tables(seeds=3), "elu", 2, status="diverged", test_nll=9999.0)
    tables = replaced(tables, "relu", 0, status="failed", final=False)
    table = summary.summarise(tables).set_index("cell")
    assert table.loc["elu", "test_nll"] == pytest.approx(101.0)
    assert (table.loc["elu", "finished"], table.loc["elu", "diverged"]) == (2, 1)
    assert (table.loc["relu", "finished"], table.loc["relu", "failed"]) == (2, 1)


def test_summarise_collapsed_replicates_are_averaged_and_counted() -> None:
    table = summary.summarise(replaced(make_tables(seeds=2), "relu", 1, collapsed=True)).set_index("cell")
    assert (table.loc["relu", "collapsed"], table.loc["relu", "finished"]) == (1, 2)
    assert table["collapsed"].sum() == 1


def test_summarise_study_without_elu_has_no_ratio() -> None:
    table = summary.summarise(make_tables(arms=("relu", "pca")))
    assert table[["ratio", "excess_ratio"]].isna().all(axis=None)


def test_network_is_told_by_the_config_and_not_by_the_name_of_the_cell() -> None:
    plain = {"task": "train", "model": "autoencoder", "activation": "linear", "output": "clipped"}
    assert summary.network(plain) == "linear clipped"
    assert summary.network(plain | {"output": "sigmoid"}) == "linear"
    assert summary.network(plain | {"model": "vae"}) == "vae"
    assert summary.network(plain | {"model": "a plugin's"}) == "a plugin's"
    assert summary.network({"task": "pca"}) == "pca"


def test_paper_cells_of_a_sweep_are_those_at_the_latent_dim_nearest_to_5() -> None:
    tables = make_tables(seeds=1, grid={"latent_dim": [2, 4, 50]})
    assert set(summary.paper_cells(tables)["latent_dim"]) == {4}
    assert len(summary.cells(tables)) == 21


def test_counted_takes_unfinished_replicates_only_where_none_has_finished() -> None:
    tables = replaced(make_tables(seeds=2), "elu", 0, status="running")
    tables = replaced(replaced(tables, "vae", 0, status="running"), "vae", 1, status="running")
    rows = summary.counted(tables, ["elu", "vae"])
    assert set(rows[rows["cell"] == "elu"]["seed"]) == {1}
    assert set(rows[rows["cell"] == "vae"]["seed"]) == {0, 1}
    assert set(rows[rows["cell"] == "vae"]["note"]) == {"running"}


@pytest.mark.parametrize("where", [{"cell": ["elu", "vae"]}, {"cell": ["elu"], "seed": [0, 2]}, {"cell": []}])
def test_rows_are_those_of_the_whole_table_that_have_the_values(where: dict[str, list[Any]]) -> None:
    tables = make_tables(seeds=3)
    whole = tables.results
    kept = whole[[all(row[column] in values for column, values in where.items()) for _, row in whole.iterrows()]]
    rows = tables.rows("results", ["step", "cell"], where)
    pd.testing.assert_frame_equal(rows, kept[["step", "cell"]].reset_index(drop=True))


def test_ends_are_the_last_rows_also_of_replicates_that_row_groups_cut() -> None:
    tables = make_tables(seeds=3)
    assert tables.files["results"].num_row_groups > 1
    last = tables.results.drop_duplicates("replicate", keep="last").reset_index(drop=True)
    pd.testing.assert_frame_equal(tables.ends, last)


def test_ends_of_no_rows_are_none() -> None:
    frames = {name: pd.DataFrame(columns=schema.names) for name, schema in SCHEMAS.items()}
    tables = stored(frames, spec.load("paper"), {})
    assert not len(tables.ends) and "test_nll" in tables.ends
    assert not len(summary.counted(tables, ["elu"]))
    assert summary.references(tables, "test_nll_floor") == {}


def test_references_are_by_cell_and_leave_out_what_is_null() -> None:
    tables = make_tables(seeds=2, arms=("elu", "relu"))
    profiles = tables.profiles
    first = profiles["replicate"] == profiles["replicate"].iloc[0]  # of elu
    profiles.loc[first, "value"] = None
    profiles.loc[~first & (profiles["replicate"] == profiles["replicate"].iloc[-1]), "value"] = 9.0  # relu's second
    frames = {"results": tables.results, "profiles": profiles, "images": tables.images}
    changed = stored(frames, tables.spec, tables.provenance)
    assert summary.references(changed, "test_nll_floor") == {"elu": FLOOR, "relu": FLOOR}
    assert summary.references(changed, "none") == {}


def _rising(share: float) -> Any:
    """Tables whose `elu`, seed 0, has at step 900 a test NLL which then rises by this share, and 300 at its start."""
    tables = make_tables(seeds=1)
    rows = tables.results
    own = rows[rows["cell"] == "elu"].sort_values("step")
    late = own.iloc[[-1]].assign(step=900, final=False, test_nll=own["test_nll"].iloc[-1] / (1 + share))
    every = pd.concat([rows[rows["cell"] != "elu"], own.iloc[:-1], late, own.iloc[[-1]]], ignore_index=True)
    return stored(
        {"results": every, "profiles": tables.profiles, "images": tables.images}, tables.spec, tables.provenance
    )


def test_overfitting_is_a_test_loss_that_rises_over_the_last_fifth() -> None:
    assert summary.overfitting(make_tables(seeds=2)) == {}, "it falls, and PCA has one evaluation"
    assert summary.overfitting(_rising(0.05)) == pytest.approx({"elu": 0.05})
    assert summary.overfitting(_rising(0.005)) == {}, "that is noise"
    assert summary.overfitting(replaced(_rising(0.05), "elu", 0, status="running")) == {}


def test_overfit_sentence_names_the_worst_first() -> None:
    assert overfit_sentences({}) == []
    (text,) = overfit_sentences({"elu": 0.02, "vae": 0.113} | {f"n{i}": 0.011 for i in range(9)})
    assert (
        text.startswith("Overfits: the test NLL of vae (by 11.3%), elu (by 2.0%), n0")
        and "n5 (by 1.1%) and 3 more" in text
    )
