"""Launching: inline and through Ray, again, grown, refused, interrupted, failing; and the tables that come of it."""

import dataclasses
import io
import itertools
import json
import os
import re
import signal

import pandas as pd
import pyarrow.parquet as pq
import pytest
from filelock import FileLock
from rich.console import Console

from study import spec
from study.plan import Plan
from study.run import launch, provenance
from study.run.backlog import Counts
from study.run.display import Display
from study.run.job import MAX_RETRIES, Options, make_packs
from study.run.lock import RunError
from study.runfolder import read_provenance, write_run
from study.spec import SpecError
from study.table import TableError, load_tables
from study.tables.build import build
from study.tables.merge import merge
from tests.support import tiny
from tests.support.faults import checkpoints
from trainables import datasets, trial
from trainables.pack import Pack
from trainables.registry import DATASETS, MODELS, ModelEntry
from trainables.schema import METRICS
from trainables.storage import Folder, StorageError

INLINE = Options(runner="inline", device="cpu")
CLOCKS = ["train_s", "evaluate_s"]


@pytest.fixture(autouse=True)
def tiny_dataset(monkeypatch):
    monkeypatch.setitem(DATASETS, "tiny", "tests.support.tiny:load")
    monkeypatch.setitem(MODELS, "raises", ModelEntry("tests.support.tiny:Raises", variational=False))


@pytest.fixture
def study():
    return spec.parse(tiny.SPEC, "tiny")


def run(study, folder, options=INLINE):
    text = io.StringIO()
    counts = launch.launch(study, str(folder), options, Console(file=text, width=200))
    return counts, text.getvalue()


def counted(function, calls):
    def call(*args):
        calls.append(1)
        return function(*args)

    return call


def replaced(stored, name, values):
    return stored.set_column(stored.column_names.index(name), name, values)


def results(folder):
    return load_tables(str(folder)).results


def test_launch_inline_finishes_every_replicate(study, tmp_path):
    counts, text = run(study, tmp_path / "run")
    assert counts == Counts(finished=5)
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
    assert counts == Counts(finished=5) and "5 finished" in text
    pd.testing.assert_frame_equal(before, results(tmp_path / "run"))


def test_launch_with_more_seeds_adds_only_those(study, tmp_path):
    run(study.model_copy(update={"seeds": 1}), tmp_path / "run")
    _, text = run(study, tmp_path / "run")
    assert "3 finished" in text and "2 to start" in text
    assert set(results(tmp_path / "run")["seed"]) == {0, 1}
    counts, _ = run(study.model_copy(update={"seeds": 1}), tmp_path / "run")
    assert counts == Counts(finished=3)
    assert set(results(tmp_path / "run")["seed"]) == {0, 1}, "a smaller launch must not drop rows"


def test_launch_of_a_part_leaves_the_rest_and_parts_merge_into_the_whole(study, tmp_path):
    run(study, tmp_path / "whole")
    counts, text = run(study, tmp_path / "vae", dataclasses.replace(INLINE, cells="vae*", first_seed=1))
    assert counts == Counts(finished=1) and "1 replicate, " in text
    counts, _ = run(study, tmp_path / "rest", dataclasses.replace(INLINE, cells="[!v]*"))
    assert counts == Counts(finished=3)
    run(study, tmp_path / "rest", dataclasses.replace(INLINE, cells="vae"))
    for part in ("vae", "rest"):
        merge(load_tables(str(tmp_path / part)), Folder(str(tmp_path / "merged")))
    whole, merged = (results(tmp_path / name).drop(columns=CLOCKS) for name in ("whole", "merged"))
    order = ["seed", "cell", "step"]
    whole, merged = (frame.sort_values(order, ignore_index=True) for frame in (whole, merged))
    pd.testing.assert_frame_equal(whole, merged, check_exact=True)


def test_launch_of_a_part_that_holds_nothing_is_refused_with_the_cells(study, tmp_path):
    for options in (dataclasses.replace(INLINE, cells="vea*"), dataclasses.replace(INLINE, first_seed=2)):
        with pytest.raises(SpecError, match=r"no cell matches '.*' with a seed from . on; .* linear, vae, pca"):
            run(study, tmp_path, options)


def test_launch_of_another_spec_is_refused_with_the_difference(study, tmp_path):
    run(study, tmp_path / "run")
    other = study.model_copy(update={"base": study.base | {"steps": 7}})
    with pytest.raises(RunError, match=r"belongs to another spec: cell 'linear', steps: 6 there, 7 here.*--run"):
        run(other, tmp_path / "run")


def test_launch_into_a_foreign_folder_is_refused(study, tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(RunError, match=r"no run folder.*thesis\.tex"):
        run(study, tmp_path)


def test_launch_into_a_folder_in_use_is_refused(study, tmp_path):
    with FileLock(tmp_path / ".lock"), pytest.raises(RunError, match="in use"):
        run(study, tmp_path)


@pytest.fixture
def signal_at(monkeypatch):
    """Sends this process signals at chosen reports of a launch, and has a trial report each step."""

    def at(*reports):
        seen, real = [], Display.report

        def report(self, pack, progress):
            real(self, pack, progress)
            seen.append(progress)
            for _ in range(reports.count(len(seen))):
                os.kill(os.getpid(), signal.SIGINT)

        monkeypatch.setattr(Display, "report", report)
        monkeypatch.setattr(trial, "REPORT_EVERY_S", 0)

    yield at
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler, "the handler is put back"


@pytest.mark.parametrize("at", [1, 6, 7, 10])
def test_launch_stopped_once_saves_every_step_and_goes_on_bit_for_bit(study, tmp_path, monkeypatch, signal_at, at):
    study = study.model_copy(update={"arms": {"vae": study.arms["vae"]}})
    run(study, tmp_path / "whole")
    steps = []
    signal_at(at)
    monkeypatch.setattr(Pack, "step", counted(Pack.step, steps))
    counts, text = run(study, tmp_path / "cut")
    assert counts.pending + counts.running and "SIGINT received: stopping" in text
    monkeypatch.setattr(Display, "report", lambda *_: None)
    counts, text = run(study, tmp_path / "cut")
    assert counts == Counts(finished=2)
    assert len(steps) == 2 * 6, "no step was trained twice"
    whole, again = results(tmp_path / "whole"), results(tmp_path / "cut")
    pd.testing.assert_frame_equal(whole.drop(columns=CLOCKS), again.drop(columns=CLOCKS), check_exact=True)


def test_launch_stopped_twice_ends_at_once_and_goes_on(study, tmp_path, monkeypatch, signal_at):
    signal_at(3, 3)
    with pytest.raises(KeyboardInterrupt):
        run(study, tmp_path)
    monkeypatch.undo()
    monkeypatch.setitem(DATASETS, "tiny", "tests.support.tiny:load")
    assert run(study, tmp_path)[0] == Counts(finished=5)


def test_launch_with_a_failing_trial_keeps_the_others_and_the_reason(study, tmp_path, monkeypatch):
    real, tries = trial.run, []

    def fails_for_vae(pack, *args, **kwargs):
        if pack[0].cell == "vae":
            tries.append(1)
            raise RuntimeError("no such luck")
        yield from real(pack, *args, **kwargs)

    monkeypatch.setattr(trial, "run", fails_for_vae)
    counts, text = run(study, tmp_path / "run")
    assert counts == Counts(finished=3, failed=2)
    assert len(tries) == 2 * (MAX_RETRIES + 1) and "no such luck" in text
    frame = results(tmp_path / "run")
    failed = frame[frame["status"] == "failed"]
    assert len(failed) == 2 and failed["step"].isna().all() and (failed["error"] == "RuntimeError: no such luck").all()
    monkeypatch.setattr(trial, "run", real)
    counts, text = run(study, tmp_path / "run")
    assert "2 to retry" in text and counts == Counts(finished=5)


def test_launch_that_cannot_write_ends_at_once_and_fails_no_trial(study, tmp_path, monkeypatch):
    def full(*_, **__):
        tries.append(1)
        raise StorageError("it is full")
        yield

    tries = []
    monkeypatch.setattr(trial, "run", full)
    with pytest.raises(StorageError, match="it is full"):
        run(study, tmp_path)
    assert len(tries) == 1
    assert set(build(Folder(str(tmp_path))).results["status"]) == {"pending"}


def test_launch_diverging_trial_ends_as_diverged(study, tmp_path):
    wild = study.model_copy(
        update={
            "arms": {"wild": {"activation": "linear", "output": "sigmoid", "learning_rate": 1e30, "grad_clip": 0.0}}
        }
    )
    counts, _ = run(wild, tmp_path / "run")
    assert counts == Counts(diverged=2)
    last = results(tmp_path / "run").query("final")
    assert (last["status"] == "diverged").all() and last["error"].str.contains("not finite at step").all()


def test_launch_packed_gives_nearly_the_numbers_of_one_at_a_time(study, tmp_path):
    run(study, tmp_path / "one")
    counts, text = run(study, tmp_path / "packed", Options(runner="inline", device="cpu", pack=8))
    assert counts == Counts(finished=5) and "and 1 more" in text
    one, packed = results(tmp_path / "one"), results(tmp_path / "packed")
    numbers = list(METRICS)
    pd.testing.assert_frame_equal(one[numbers], packed[numbers], rtol=1e-5)


def test_launch_through_ray_equals_inline_bit_for_bit(study, tmp_path, capfd):
    once = study.model_copy(update={"seeds": 1})
    run(once, tmp_path / "inline")
    counts, text = run(once, tmp_path / "through", Options(device="cpu", concurrency=2))
    assert counts == Counts(finished=3)
    printed = text.replace(str(tmp_path), "") + "".join(capfd.readouterr())
    chatter = [line for line in printed.splitlines() if re.search("ray|tune", line, re.IGNORECASE)]
    assert [line.partition(";")[0] for line in chatter] == ["Starting Ray"], "one line is ours, Ray's own are off"
    inline, through_ray = results(tmp_path / "inline"), results(tmp_path / "through")
    pd.testing.assert_frame_equal(inline.drop(columns=CLOCKS), through_ray.drop(columns=CLOCKS), check_exact=True)


def test_plan_packs_only_what_is_compatible(study):
    plan = Plan(study, {"tiny": "d"}).replicates
    assert [len(pack) for pack in make_packs(plan, 1, {})] == [1] * 5
    packs = make_packs(plan, 64, {})
    assert [[(r.cell, r.seed) for r in pack] for pack in packs] == [
        [("linear", 0), ("linear", 1)], [("vae", 0), ("vae", 1)], [("pca", 0)],
    ]  # fmt: skip
    starts = {replicate.hash: 3 for replicate in plan if (replicate.cell, replicate.seed) == ("vae", 1)}
    assert [len(pack) for pack in make_packs(plan, 64, starts)] == [2, 1, 1, 1], "who shares a pack starts together"


def test_build_while_a_replicate_runs_shows_it_as_running(study, tmp_path, signal_at):
    signal_at(3)
    run(study, tmp_path)
    frame = build(Folder(str(tmp_path))).results
    running = frame[frame["status"] == "running"]
    assert running["replicate"].nunique() == 1 and not running["final"].any() and running["test_nll"].notna().any()
    assert frame["replicate"].nunique() == 5, "pending replicates keep a row"
    pd.testing.assert_frame_equal(frame, build(Folder(str(tmp_path))).results)


def test_launch_with_every_kind_of_bad_end_leaves_the_others_alone(study, tmp_path):
    bad = {
        "raises": {"model": "raises"},
        "diverges": {"activation": "linear", "learning_rate": 1e6, "hidden_dims": [500, 500]},
        "collapses": {"activation": "sigmoid", "latent_dim": 1, "hidden_dims": [1], "learning_rate": 1e-12},
    }
    run(study, tmp_path / "good")
    counts, _ = run(study.model_copy(update={"arms": study.arms | bad}), tmp_path / "run")
    assert counts == Counts(finished=7, failed=2, diverged=2)
    frame = results(tmp_path / "run")
    last = frame.groupby(["cell", "seed"]).tail(1).set_index("cell")
    assert (last.loc["raises", "error"] == "ValueError: `images <= 4` must hold, but got 20.").all()
    assert last.loc["diverges", "error"].str.contains("not finite at step").all()
    assert last.loc["collapses", "collapsed"].all() and (last.loc["collapses", "status"] == "finished").all()
    good = frame[~frame["cell"].isin(bad)].reset_index(drop=True)
    unharmed = results(tmp_path / "good").drop(columns=CLOCKS)
    pd.testing.assert_frame_equal(good.drop(columns=CLOCKS), unharmed, check_dtype=False, check_exact=True)
    counts, text = run(study.model_copy(update={"arms": study.arms | bad}), tmp_path / "run")
    assert "2 to retry" in text and "2 diverged" in text and counts.failed == 2, "a divergence is not retried"


def test_two_attempts_of_one_replicate_at_once_do_no_harm(study, tmp_path, monkeypatch):
    study = study.model_copy(update={"arms": {"vae": study.arms["vae"]}})
    run(study, tmp_path / "whole")
    monkeypatch.setattr(trial, "REPORT_EVERY_S", 0)
    data = datasets.load("tiny")
    plan = Plan(study, {"tiny": data.digest}).replicates
    folder = Folder(str(tmp_path / "both"))
    write_run(folder.create(), study, {"data_digests": {"tiny": data.digest}})
    replicates = folder.child("replicates").create()
    for replicate in plan:
        origin = {"git_commit": provenance.git_commit()}
        attempts = [
            trial.run([replicate], data, replicates, checkpoint_every_s=every, provenance=origin)
            for every in (0, 1e9, 0)
        ]
        for reports in itertools.zip_longest(*attempts):  # in turn, so that each meets the others' half-done work
            assert reports
    both = build(folder).results
    assert (both.groupby("replicate")["final"].sum() == 1).all()
    pd.testing.assert_frame_equal(results(tmp_path / "whole").drop(columns=CLOCKS), both.drop(columns=CLOCKS))
    assert not checkpoints(tmp_path / "both"), "no checkpoint stays behind"


def test_merge_by_seed_gives_the_table_of_one_run(study, tmp_path):
    run(study, tmp_path / "whole")
    run(study.model_copy(update={"seeds": 1}), tmp_path / "part")
    target = Folder(str(tmp_path / "results"))
    merge(load_tables(str(tmp_path / "part")), target)
    merged = merge(load_tables(str(tmp_path / "whole")), target)
    again = merge(load_tables(str(tmp_path / "whole")), target)
    pd.testing.assert_frame_equal(merged.results, again.results)
    assert merged.spec.seeds == 2 and len(merged.results) == len(results(tmp_path / "whole"))
    assert merged.images.groupby("replicate").size().equals(again.images.groupby("replicate").size())


def test_merge_keeps_where_each_part_came_from_once(study, tmp_path):
    target = Folder(str(tmp_path / "results"))
    for seeds, command in enumerate(["first", "second", "second", "third"], start=1):
        folder = Folder(str(tmp_path / command))
        run(study.model_copy(update={"seeds": min(seeds, 2)}), tmp_path / command)
        origin = read_provenance(folder) | {"command": command}
        folder.write("provenance.json", json.dumps(origin).encode())
        merged = merge(load_tables(folder.url), target)
    assert merged.provenance == read_provenance(target)
    assert merged.provenance["command"] == "third" and merged.provenance["data_digests"] == origin["data_digests"]
    assert [part["command"] for part in merged.provenance["merged"]] == ["first", "second"]
    assert set(merged.provenance["merged"][0]) == set(origin) - {"data_digests"}


def test_merge_keeps_the_images_that_are_wanted(study, tmp_path):
    run(study, tmp_path / "run")
    tables = load_tables(str(tmp_path / "run"))
    every = tables.images.merge(tables.ends[["replicate", "cell", "seed"]], on="replicate")
    first = every[every["seed"] == 0]
    last = first[(first["kind"] == "input") | (first["step"] == first.groupby("replicate")["step"].transform("max"))]
    assert 0 < len(last) < len(first) < len(every)
    for images, expected in [("all", every), ("one", first), ("last", last)]:
        merged = merge(tables, Folder(str(tmp_path / images)), images)
        pd.testing.assert_frame_equal(merged.images, expected[merged.images.columns].reset_index(drop=True))
        assert len(merged.profiles) == len(tables.profiles) and len(merged.results) == len(tables.results)
    again = merge(tables, Folder(str(tmp_path / "one")), "last")
    assert len(again.images) == len(last), "what was there is thinned too"
    none = merge(tables, Folder(str(tmp_path / "one")), "none")
    assert not len(none.images) and len(none.profiles) == len(tables.profiles)


def test_merge_of_another_study_is_refused(study, tmp_path):
    run(study, tmp_path / "run")
    run(study.model_copy(update={"base": study.base | {"l2": 0.5}}), tmp_path / "other")
    merge(load_tables(str(tmp_path / "run")), Folder(str(tmp_path / "results")))
    with pytest.raises(TableError, match=r"belong to another spec.*l2"):
        merge(load_tables(str(tmp_path / "other")), Folder(str(tmp_path / "results")))


def test_merge_of_other_data_of_one_name_is_refused_and_changes_nothing(study, tmp_path):
    run(study, tmp_path / "run")
    tables, target = load_tables(str(tmp_path / "run")), Folder(str(tmp_path / "results"))
    merge(tables, target)
    (name,) = tables.provenance["data_digests"]
    other = dataclasses.replace(tables, provenance=tables.provenance | {"data_digests": {name: "0" * 16}})
    with pytest.raises(TableError, match=f"other data: {name} must have the digest .* but has 0000000000000000"):
        merge(other, target)
    assert len(load_tables(target.url).results) == len(tables.results)


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
        load_tables(str(tmp_path))


def test_load_tables_cut_short_or_absent_is_refused_by_name(study, tmp_path):
    run(study.model_copy(update={"seeds": 1}), tmp_path)
    content = (tmp_path / "results.parquet").read_bytes()
    (tmp_path / "results.parquet").write_bytes(content[: len(content) // 2])
    with pytest.raises(TableError, match=r"results\.parquet cannot be read"):
        load_tables(str(tmp_path))
    (tmp_path / "results.parquet").unlink()
    with pytest.raises(TableError, match="absent"):
        load_tables(str(tmp_path))
    with pytest.raises(TableError, match="no run folder"):
        load_tables(str(tmp_path / "elsewhere"))
