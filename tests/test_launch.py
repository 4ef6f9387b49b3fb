"""Launching: inline and through Ray, again, grown, refused, interrupted, failing; and the tables that come of it."""

import io
import re

import pandas as pd
import pyarrow.parquet as pq
import pytest
import tiny
from filelock import FileLock
from rich.console import Console

from study import launch, space, spec, table
from study.launch import Options, RunError
from study.table import TableError
from trainables import trial
from trainables.registry import DATASETS
from trainables.schema import METRICS
from trainables.storage import Folder

INLINE = Options(runner="inline", device="cpu")
CLOCKS = ["train_s", "evaluate_s"]


@pytest.fixture(autouse=True)
def tiny_dataset(monkeypatch):
    monkeypatch.setitem(DATASETS, "tiny", "tiny:load")


@pytest.fixture
def study():
    return spec.parse(tiny.SPEC, "tiny")


def run(study, folder, options=INLINE):
    text = io.StringIO()
    counts = launch.launch(study, str(folder), options, Console(file=text, width=200))
    return counts, text.getvalue()


def replaced(stored, name, values):
    return stored.set_column(stored.column_names.index(name), name, values)


def results(folder):
    return table.load_tables(str(folder)).results


def test_launch_inline_finishes_every_replicate(study, tmp_path):
    counts, text = run(study, tmp_path / "run")
    assert counts == {"finished": 5}
    assert "5 replicates, 5 to start" in text and "vae, seed 1: finished at step 6" in text
    frame = results(tmp_path / "run")
    assert frame.groupby("replicate")["final"].sum().eq(1).all()
    trained = frame[frame["config/task"] == "train"]
    assert sorted(trained["step"].unique()) == [0, 1, 3, 4, 6]
    assert trained["test_kl"].notna().equals(trained["config/model"] == "vae")
    assert frame.loc[frame["cell"] == "pca", "config/steps"].isna().all()


def test_launch_again_runs_nothing_and_changes_nothing(study, tmp_path, monkeypatch):
    run(study, tmp_path / "run")
    before = results(tmp_path / "run")
    monkeypatch.setattr(trial, "run", lambda *_, **__: pytest.fail("a finished replicate was run again"))
    counts, text = run(study, tmp_path / "run")
    assert counts == {"finished": 5} and "5 finished" in text
    pd.testing.assert_frame_equal(before, results(tmp_path / "run"))


def test_launch_with_more_seeds_adds_only_those(study, tmp_path):
    run(study.model_copy(update={"seeds": 1}), tmp_path / "run")
    _, text = run(study, tmp_path / "run")
    assert "3 finished" in text and "2 to start" in text
    assert set(results(tmp_path / "run")["seed"]) == {0, 1}
    counts, _ = run(study.model_copy(update={"seeds": 1}), tmp_path / "run")
    assert counts == {"finished": 3}
    assert set(results(tmp_path / "run")["seed"]) == {0, 1}, "a smaller launch must not drop rows"


def test_launch_of_another_spec_is_refused_with_the_difference(study, tmp_path):
    run(study, tmp_path / "run")
    other = study.model_copy(update={"base": study.base | {"steps": 7}})
    with pytest.raises(RunError, match=r"belongs to another spec: cell 'linear', steps: 6 there, 7 here.*--run"):
        run(other, tmp_path / "run")


def test_launch_into_a_foreign_folder_is_refused(study, tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(RunError, match="not empty and no run folder"):
        run(study, tmp_path)


def test_launch_into_a_folder_in_use_is_refused(study, tmp_path):
    with FileLock(tmp_path / ".lock"), pytest.raises(RunError, match="in use"):
        run(study, tmp_path)


def test_launch_interrupted_continues_bit_for_bit(study, tmp_path, monkeypatch):
    run(study, tmp_path / "whole")
    real, calls = trial.run, []

    def cut_short(*args, **kwargs):
        calls.append(1)
        for count, progress in enumerate(real(*args, checkpoint_every_s=0, **kwargs)):
            yield progress
            if len(calls) == 2 and count == 0:
                raise KeyboardInterrupt

    monkeypatch.setattr(trial, "run", cut_short)
    monkeypatch.setattr(trial, "REPORT_EVERY_S", 0)
    with pytest.raises(KeyboardInterrupt):
        run(study, tmp_path / "cut")
    monkeypatch.setattr(trial, "run", real)
    _, text = run(study, tmp_path / "cut")
    assert "1 finished" in text
    whole, again = results(tmp_path / "whole"), results(tmp_path / "cut")
    pd.testing.assert_frame_equal(whole.drop(columns=CLOCKS), again.drop(columns=CLOCKS), check_exact=True)


def test_launch_with_a_failing_trial_keeps_the_others_and_the_reason(study, tmp_path, monkeypatch):
    real, tries = trial.run, []

    def fails_for_vae(pack, *args, **kwargs):
        if pack[0].cell == "vae":
            tries.append(1)
            raise RuntimeError("no such luck")
        yield from real(pack, *args, **kwargs)

    monkeypatch.setattr(trial, "run", fails_for_vae)
    counts, text = run(study, tmp_path / "run")
    assert counts == {"finished": 3, "failed": 2}
    assert len(tries) == 2 * (launch.MAX_RETRIES + 1) and "no such luck" in text
    frame = results(tmp_path / "run")
    failed = frame[frame["status"] == "failed"]
    assert len(failed) == 2 and failed["step"].isna().all() and (failed["error"] == "RuntimeError: no such luck").all()
    monkeypatch.setattr(trial, "run", real)
    counts, text = run(study, tmp_path / "run")
    assert "2 to retry" in text and counts == {"finished": 5}


def test_launch_diverging_trial_ends_as_diverged(study, tmp_path):
    wild = study.model_copy(
        update={
            "arms": {"wild": {"activation": "linear", "output": "sigmoid", "learning_rate": 1e30, "grad_clip": 0.0}}
        }
    )
    counts, _ = run(wild, tmp_path / "run")
    assert counts == {"diverged": 2}
    last = results(tmp_path / "run").query("final")
    assert (last["status"] == "diverged").all() and last["error"].str.contains("not finite at step").all()


def test_launch_packed_gives_nearly_the_numbers_of_one_at_a_time(study, tmp_path):
    run(study, tmp_path / "one")
    counts, text = run(study, tmp_path / "packed", Options(runner="inline", device="cpu", pack=8))
    assert counts == {"finished": 5} and "and 1 more" in text
    one, packed = results(tmp_path / "one"), results(tmp_path / "packed")
    numbers = list(METRICS)
    pd.testing.assert_frame_equal(one[numbers], packed[numbers], rtol=1e-5)


def test_launch_through_ray_equals_inline_bit_for_bit(study, tmp_path, capfd):
    strokes = study.model_copy(update={"base": study.base | {"dataset": "strokes"}, "seeds": 1})
    run(strokes, tmp_path / "inline")
    counts, text = run(strokes, tmp_path / "through", Options(device="cpu", concurrency=2))
    assert counts == {"finished": 3}
    printed = text.replace(str(tmp_path), "") + "".join(capfd.readouterr())
    assert not re.search("ray|tune", printed, re.IGNORECASE), "Ray's chatter is off"
    inline, through_ray = results(tmp_path / "inline"), results(tmp_path / "through")
    pd.testing.assert_frame_equal(inline.drop(columns=CLOCKS), through_ray.drop(columns=CLOCKS), check_exact=True)


def test_plan_packs_only_what_is_compatible(study):
    plan = space.replicates(study, {"tiny": "d"})
    assert [len(pack) for pack in launch.plan(plan, 1)] == [1] * 5
    packs = launch.plan(plan, 64)
    assert [[(r.cell, r.seed) for r in pack] for pack in packs] == [
        [("linear", 0), ("linear", 1)], [("vae", 0), ("vae", 1)], [("pca", 0)],
    ]  # fmt: skip


def test_build_while_a_replicate_runs_shows_it_as_running(study, tmp_path, monkeypatch):
    monkeypatch.setattr(trial, "REPORT_EVERY_S", 0)
    real = trial.run

    def stop_soon(*args, **kwargs):
        for count, progress in enumerate(real(*args, checkpoint_every_s=0, **kwargs)):
            yield progress
            if count == 3:
                raise KeyboardInterrupt

    monkeypatch.setattr(trial, "run", stop_soon)
    with pytest.raises(KeyboardInterrupt):
        run(study, tmp_path)
    frame = table.build(Folder(str(tmp_path))).results
    running = frame[frame["status"] == "running"]
    assert running["replicate"].nunique() == 1 and not running["final"].any() and running["test_nll"].notna().any()
    assert frame["replicate"].nunique() == 5, "pending replicates keep a row"


def test_merge_by_seed_gives_the_table_of_one_run(study, tmp_path):
    run(study, tmp_path / "whole")
    run(study.model_copy(update={"seeds": 1}), tmp_path / "part")
    target = Folder(str(tmp_path / "results"))
    table.merge(table.load_tables(str(tmp_path / "part")), target)
    merged = table.merge(table.load_tables(str(tmp_path / "whole")), target)
    again = table.merge(table.load_tables(str(tmp_path / "whole")), target)
    pd.testing.assert_frame_equal(merged.results, again.results)
    assert merged.spec.seeds == 2 and len(merged.results) == len(results(tmp_path / "whole"))
    assert merged.images.groupby("replicate").size().equals(again.images.groupby("replicate").size())


def test_merge_of_another_study_is_refused(study, tmp_path):
    run(study, tmp_path / "run")
    run(study.model_copy(update={"base": study.base | {"l2": 0.5}}), tmp_path / "other")
    table.merge(table.load_tables(str(tmp_path / "run")), Folder(str(tmp_path / "results")))
    with pytest.raises(TableError, match=r"belong to another spec.*l2"):
        table.merge(table.load_tables(str(tmp_path / "other")), Folder(str(tmp_path / "results")))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop_columns("test_nll"), "must have the column `test_nll`, but it is missing"),
        (lambda t: t.append_column("surprise", t["seed"]), "unknown column `surprise`"),
        (lambda t: replaced(t, "seed", t["cell"]), "column `seed` must be int64, but it is string"),
        (lambda t: replaced(t, "results_version", t["seed"]), "`results_version == 1` must hold, but got"),
    ],
)
def test_load_tables_of_another_schema_is_refused_by_name(study, tmp_path, change, message):
    run(study.model_copy(update={"seeds": 1}), tmp_path)
    pq.write_table(change(pq.read_table(tmp_path / "results.parquet")), tmp_path / "results.parquet")
    with pytest.raises(TableError, match=message):
        table.load_tables(str(tmp_path))


def test_load_tables_cut_short_or_absent_is_refused_by_name(study, tmp_path):
    run(study.model_copy(update={"seeds": 1}), tmp_path)
    content = (tmp_path / "results.parquet").read_bytes()
    (tmp_path / "results.parquet").write_bytes(content[: len(content) // 2])
    with pytest.raises(TableError, match=r"results\.parquet cannot be read"):
        table.load_tables(str(tmp_path))
    (tmp_path / "results.parquet").unlink()
    with pytest.raises(TableError, match="absent"):
        table.load_tables(str(tmp_path))
    with pytest.raises(TableError, match="no run folder"):
        table.load_tables(str(tmp_path / "elsewhere"))


def test_plugin_columns_pass(study, tmp_path):
    run(study.model_copy(update={"seeds": 1}), tmp_path)
    stored = pq.read_table(tmp_path / "results.parquet")
    pq.write_table(stored.append_column("x/mine", stored["test_nll"]), tmp_path / "results.parquet")
    assert "x/mine" in results(tmp_path)
