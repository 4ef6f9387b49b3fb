"""The final table and the choice of cells; also `make_tables`: the paper's tables, in small."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import stats

from analysis import summary
from study import space, spec
from study.columns import SCHEMAS
from study.spec import StudySpec
from study.table import Tables
from trainables.schema import Replicate

STEPS = (0, 10, 200, 600, 1000)
FINAL = {"linear": 148.0, "linear clipped": 1545.0, "sigmoid": 120.0, "relu": 111.0, "elu": 100.0, "vae": 105.0}
FLOOR, MEAN_IMAGE = 45.5, 205.8
SEED_STEP = 2.0
"""How much the test NLL of one seed exceeds that of the seed before it."""


def make_tables(seeds: int = 3, *, arms: tuple[str, ...] = (*FINAL, "pca"), **changes: Any) -> Tables:
    """Tables of the built-in study `paper`, finished: at the last step `FINAL[cell] + SEED_STEP * seed`.

    `changes` replaces keys of the spec (`base`, `grid`, `title`, ...).
    """
    study = spec.load("paper")
    base = study.base | {"steps": STEPS[-1]} | changes.pop("base", {})
    chosen = {name: study.arms[name] for name in arms}
    study = study.model_copy(update={"base": base, "arms": chosen, "seeds": seeds} | changes)
    results, profiles, images = [], [], []
    for replicate in space.replicates(study, {"mnist": "d1"}):
        pca = replicate.config.task == "pca"
        steps = (0,) if pca else STEPS
        results += [_row(study.name, replicate, step, final=step == steps[-1]) for step in steps]
        profiles += _profiles(replicate)
        images += _images(replicate)
    rows = {"results": results, "profiles": profiles, "images": images}
    frames = {name: pd.DataFrame(rows[name], columns=SCHEMAS[name].names) for name in SCHEMAS}
    provenance = {
        "git_commit": "abc",
        "versions": {"torch": "2.14"},
        "command": "study launch paper",
        "data_digests": {"mnist": "d1"},
    }
    return stored(frames, study, provenance)


def stored(frames: dict[str, pd.DataFrame], study: StudySpec, provenance: dict[str, Any]) -> Tables:
    """Tables of these frames, in parquet files that lie in memory."""
    files = {}
    for name, frame in frames.items():
        content = io.BytesIO()
        pq.write_table(pa.Table.from_pandas(frame, SCHEMAS[name], preserve_index=False), content, row_group_size=50)
        files[name] = pq.ParquetFile(content)
    return Tables(files, study, provenance)


def replaced(tables: Tables, cell: str, seed: int, **values: Any) -> Tables:
    """The same tables with these values in all rows of a replicate."""
    results = tables.results.copy()
    mask = (results["cell"] == cell) & (results["seed"] == seed)
    for column, value in values.items():
        results.loc[mask, column] = value
    frames = {"results": results, "profiles": tables.profiles, "images": tables.images}
    return stored(frames, tables.spec, tables.provenance)


def _row(study: str, replicate: Replicate, step: int, *, final: bool) -> dict[str, Any]:
    config = {f"config/{k}": str(list(v)) if isinstance(v, tuple) else v for k, v in replicate.config}
    progress = 1.0 if replicate.config.task == "pca" else step / STEPS[-1]
    end = FINAL.get(replicate.cell.partition(" latent_dim")[0], 157.7) + SEED_STEP * replicate.seed
    nll = end + (1 - progress) * 300.0
    kl = 11.0 if replicate.config.variational else None
    return config | {
        "study": study, "cell": replicate.cell, "replicate": replicate.hash, "seed": replicate.seed,
        "status": "finished", "error": None, "collapsed": False, "final": final, "step": step, "epoch": step / 550,
        "test_nll": nll, "test_nll_mean": nll, "test_kl": kl, "test_sse": 20.0,
        "train_nll": 108.0 if step == 600 else 100.0, "train_s": 60.0,
        "evaluate_s": 1.0, "device": "cpu", "data_digest": "d1", "git_commit": "abc", "results_version": 1,
    }  # fmt: skip


def _profiles(replicate: Replicate) -> list[dict[str, Any]]:
    config = replicate.config
    last = 0 if config.task == "pca" else STEPS[-1]
    values = {(0, "test_nll_floor"): [FLOOR], (0, "test_nll_mean_image"): [MEAN_IMAGE]}
    if config.latent_dim == 2 and config.task == "train":
        rng = np.random.default_rng(replicate.seed)
        values |= {(last, f"code_{axis}"): rng.normal(size=40).tolist() for axis in range(2)}
        values |= {(last, f"grid_axis_{axis}"): np.linspace(-2, 2, 3).tolist() for axis in range(2)}
        values[last, "code_label"] = [float(index % 10) for index in range(40)]
    return [
        {"replicate": replicate.hash, "step": step, "quantity": quantity, "index": index, "value": value}
        for (step, quantity), numbers in values.items()
        for index, value in enumerate(numbers)
    ]


def _images(replicate: Replicate) -> list[dict[str, Any]]:
    config = replicate.config
    steps = (0,) if config.task == "pca" else STEPS[2:]
    kinds = [(0, "input", 10), *((step, "reconstruction", 10) for step in steps)]
    kinds += [(steps[-1], "sample", 20)] if config.variational else []
    kinds += [(steps[-1], "grid", 9)] if config.latent_dim == 2 and config.task == "train" else []
    return [
        {"replicate": replicate.hash, "step": step, "kind": kind, "index": index, "pixels": bytes([index * 9]) * 784}
        for step, kind, count in kinds
        for index in range(count)
    ]


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
