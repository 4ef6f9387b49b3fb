"""Searches through the whole path: spec, Optuna, its journal in the run folder, both runners, the tables."""

import itertools
import json
import shutil
import warnings

import optuna
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState

from study import spec
from study.cluster import token
from study.cost import search_core_hours
from study.plan import Plan
from study.run import ray_cluster
from study.run.backlog import Counts
from study.run.job import Options
from study.run.lock import RunError
from study.search.journal_reader import FIELDS, JOURNAL, SearchError, read_asked
from study.search.optuna_search import ERROR, OptunaSearch, pruner, suggest
from study.searchspace import Parameter, Range, SearchSpec
from study.spec import SpecError
from study.table import TableError, load_tables
from study.tables import trials
from study.tables.build import build
from study.tables.merge import merge
from tests.support.searches import ASHA, REAL, assert_agree, hunt, optunas, run
from trainables import trial
from trainables.checkpoint import standing
from trainables.registry import DATASETS
from trainables.storage import Folder, StorageError


@pytest.fixture(autouse=True)
def tiny_dataset(monkeypatch):
    monkeypatch.setitem(DATASETS, "tiny", "tests.support.tiny:load")


# What may be searched


def test_every_builtin_study_is_valid_and_says_what_its_search_costs():
    searched = [study for study in map(spec.load, spec.names()) if study.search]
    assert {"vae", "vae-random", "rate-distortion"} <= {study.name for study in searched}
    for study in searched:
        Plan(study).check()
        assert search_core_hours(Plan(study)) > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sampler": "tep"}, r"`sampler` must be one of .*tpe.*, but got 'tep'. Did you mean 'tpe'\?"),
        ({"objectives": "val_nlll"}, r"`objectives` must be one of .* Did you mean 'val_nll'\?"),
        ({"objectives": "val_active_units"}, r"better when smaller or larger, but 'val_active_units' is neither"),
        ({"objectives": "val_kl"}, r"`val_kl` needs a posterior, but the search may draw 'flat'"),
        ({"objectives": "val_nll, val_sse", "more": ASHA}, r"asha` ranks trials by one objective, but got 2 .*none"),
        ({"more": "scheduler: asha"}, r"needs `first_rung`, the steps up to the first rung"),
        ({"more": ASHA.replace("first_rung: 1", "first_rung: 9")}, r"`first_rung` \(9\) must be less than .* 9 steps"),
        (
            {"more": ASHA, "fields": "evaluations: 1"},
            r"rungs \[1, 3\] must be steps at which a trial is evaluated, but",
        ),
        ({"more": ASHA, "fields": "steps: [9, 18]"}, r"asha compares trials of one length"),
        ({"fields": "momentum: 1"}, r"`field of search.space` must be one of .*, but got 'momentum'"),
        ({"fields": "beta: 2"}, r"`search.space` names beta, which applies to nothing that it may draw"),
        ({"fields": "grad_clip: {low: 3, high: 1}"}, r"the range of grad_clip: `low < high` must hold, but got low=3"),
        ({"fields": "grad_clip: {low: 0, high: 1, log: true}"}, r"`low > 0` must hold where log is true"),
        ({"fields": "grad_clip: {low: 1, high: 2, log: true, step: 1}"}, r"`step` does not go with log: true"),
        ({"fields": "grad_clip: {low: 1, hihg: 2}"}, r"the range of grad_clip: `"),
        ({"fields": "batch_size: {low: 1, high: 2.5}"}, r"the range of batch_size must be of whole numbers"),
        ({"fields": "batch_size: {low: 0, high: 20}"}, r"`batch_size`: .*greater than or equal to 1, but got 0"),
        ({"fields": "activation: {low: 1, high: 2}"}, r"only a number a range, but activation is none"),
        ({"fields": "activation: []"}, r"must give activation at least one value"),
        ({"fields": "activation: [elu, elu]"}, r"must not give activation the same value twice"),
        ({"fields": "grad_clip: [1.5, {low: 1, high: 2}]"}, r"must not give grad_clip the same value twice"),
        ({"fields": "activation: [elu, relo]"}, r"`activation` must be one of .*, but got 'relo'"),
        ({"fields": "task: [train, pca]"}, r"a search must train networks, but may draw task='pca'"),
        ({"trials": 0}, r"`search.trials`: .*greater than or equal to 1, but got 0"),
    ],
)
def test_search_that_cannot_be_run_is_refused_in_one_line(changes, message):
    with pytest.raises(SpecError, match=message) as error:
        Plan(hunt(**changes)).check()
    assert "\n" not in str(error.value)


NUMBERS = st.builds(
    lambda low, width, log: {"low": low, "high": low + width, "log": log},
    st.floats(1e-6, 1e3),
    st.floats(1e-3, 1e3),
    st.booleans(),
)


@given(
    beta=NUMBERS,
    warmup=st.lists(st.integers(0, 5), unique=True, min_size=1),
    seed=st.integers(0, 2**31),
    ranged=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_parameters_are_the_reverse_of_draw(beta, warmup, seed, ranged):
    steps = [*warmup, {"low": 6, "high": 90, "log": True}] if ranged else warmup
    fields = {"model": ["autoencoder", "vae"], "beta": beta, "kl_warmup_steps": steps, "hidden_dims": [[8], [8, 8]]}
    given = SearchSpec(space=fields, objectives=["val_nll"], trials=1)
    for drawn in given.samples({}, 5):
        assert drawn.keys() == {"model", "hidden_dims"} | (
            {"beta", "kl_warmup_steps"} if drawn["model"] == "vae" else set()
        )
        known = given.parameters(drawn)
        again = given.draw({}, lambda parameter, known=known: known[parameter.name][1])
        assert again == drawn


def test_range_among_choices_is_drawn_only_where_it_is_chosen():
    given = SearchSpec(space={"l2": [0.0, {"low": 1, "high": 2}]}, objectives=["val_nll"], trials=1)
    names = {tuple(given.parameters(drawn)) for drawn in given.samples({}, 30)}
    assert names == {("l2",), ("l2", "l2 in 1..2")}


@pytest.mark.parametrize(
    ("first", "factor", "steps", "rungs", "share"),
    [(1, 3, 9, [1, 3], (1 + 2 / 3 + 6 / 9) / 9), (300, 3, 2700, [300, 900], 7 / 27), (4, 2, 7, [4], (4 + 3 / 2) / 7)],
)
def test_rungs_and_their_expected_share_of_steps(first, factor, steps, rungs, share):
    given = {"scheduler": "asha", "first_rung": first, "reduction_factor": factor}
    search = SearchSpec(space={"l2": 0.0}, objectives=["val_nll"], trials=1, **given)
    assert search.rungs(steps) == rungs
    assert search.expected_share(steps) == pytest.approx(share)


# The journal


def test_journal_opens_as_optunas_own_file(tmp_path):
    run(hunt(trials=2), tmp_path)
    backend = optuna.storages.journal.JournalFileBackend(str(tmp_path / JOURNAL))
    again = optuna.load_study(study_name="hunt", storage=optuna.storages.JournalStorage(backend))
    assert [t.state for t in again.trials] == [TrialState.COMPLETE] * 2


# A run


@pytest.mark.parametrize("sampler", ["tpe", "random", "gp", "nsgaii"])
def test_same_seed_gives_the_same_sequence_and_another_one_another(tmp_path, sampler):
    study = hunt(trials=12, sampler=sampler)
    other = study.model_copy(update={"search": study.search.model_copy(update={"seed": 1})})
    for name, searched in {"a": study, "b": study, "other": other}.items():
        assert run(searched, tmp_path / name)[0] == Counts(finished=12)
    a, b, c = (read_asked(Folder(str(tmp_path / name))) for name in ("a", "b", "other"))
    assert a == b and len(a) == 12 and all(x != y for x, y in zip(a, c, strict=True))
    assert len({tuple(fields.values()) for fields in a}) == 12, "no point is drawn twice"


def test_run_launched_in_parts_asks_the_same_and_goes_on(tmp_path):
    run(hunt(trials=8, more=ASHA, fields=REAL, model="vae"), tmp_path / "whole")
    for count in (3, 4, 8, 8):
        counts, text = run(hunt(trials=count, more=ASHA, fields=REAL, model="vae"), tmp_path / "parts")
        assert counts.total == count
    assert "8 of the search's 8 trials done" in text
    whole, parts = (load_tables(str(tmp_path / name)).results for name in ("whole", "parts"))
    pd.testing.assert_frame_equal(
        whole.drop(columns=["train_s", "evaluate_s"]), parts.drop(columns=["train_s", "evaluate_s"])
    )
    counts, _ = run(hunt(trials=2, more=ASHA, fields=REAL, model="vae"), tmp_path / "parts")
    assert counts.total == 8, "fewer trials than there are drop none"


def test_asha_stops_what_optunas_own_rule_stops(tmp_path):
    study = hunt(trials=20, more=ASHA, fields=REAL, model="vae", objectives="val_neg_elbo")
    counts, text = run(study, tmp_path)
    assert counts.stopped > counts.finished > 0 and "stopped by asha at step" in text
    held, found = assert_agree(tmp_path)
    values = trials.curves(load_tables(str(tmp_path)), "val_neg_elbo").pivot(
        index="trial", columns="step", values="value"
    )
    seen = {1: [], 3: []}
    for number, one in enumerate(held):
        stopped = None
        for rung in (1, 3):
            value = values.loc[number, rung]
            seen[rung].append(value)
            assert one.intermediate_values[rung] == value
            if sorted(seen[rung]).index(value) >= max(len(seen[rung]) // 3, 1):
                stopped = rung
                break
        assert (found.loc[number, "step"] if stopped else None) == stopped, f"trial {number}"
        assert (one.state == TrialState.PRUNED) == (stopped is not None)


def test_trial_with_two_seeds_is_judged_by_their_mean(tmp_path):
    run(hunt(trials=6, seeds=2, more=ASHA, fields=REAL, model="vae"), tmp_path)
    held, found = assert_agree(tmp_path)
    rows = load_tables(str(tmp_path)).results
    for number, one in enumerate(held):
        mine = rows[rows["cell"] == f"trial-{number:04d}"]
        assert set(mine["seed"]) == {0, 1}
        for step, value in one.intermediate_values.items():
            assert value == pytest.approx(mine[mine["step"] == step]["val_sse"].mean(), rel=1e-12)
    assert (found["state"] == "finished").any()


@pytest.fixture
def callers_ray():
    """The options of a launch by one who has started Ray already."""
    options = Options(device="cpu", concurrency=1)
    with token.environment(token.variables(None)):
        ray_cluster.ray.init(address="local", num_cpus=1, include_dashboard=False, logging_level="ERROR")
        yield options
        ray_cluster.ray.shutdown()


def test_run_through_a_callers_ray_holds_what_it_says_and_equals_inline_with_one_worker(tmp_path, callers_ray):
    study = hunt(trials=4, more=ASHA, fields=REAL, model="vae")
    run(study, tmp_path / "inline")
    counts, text = run(study, tmp_path / "one", callers_ray)
    assert ray_cluster.ray.is_initialized(), "it is the caller's to end"
    assert counts.total == 4 and counts.stopped and "stopped by asha" in text
    assert read_asked(Folder(str(tmp_path / "one"))) == read_asked(Folder(str(tmp_path / "inline")))
    a, b = (load_tables(str(tmp_path / name)).results for name in ("inline", "one"))
    pd.testing.assert_frame_equal(a.drop(columns=["train_s", "evaluate_s"]), b.drop(columns=["train_s", "evaluate_s"]))
    assert_agree(tmp_path / "one")


@pytest.mark.recovery
def test_search_through_ray_with_failures_copies_seeds_and_asha_agrees_with_optuna(tmp_path):
    study = hunt(trials=10, seeds=2, sampler="random", model="fragile", more=ASHA)
    drawn = {"model": "fragile", "learning_rate": [1e-4, 1e-3, 0.1], "l2": [0.0, 0.3], "beta": 0.5}
    study = study.model_copy(update={"search": study.search.model_copy(update={"space": drawn, "seed": 3})})
    counts, text = run(study, tmp_path, Options(device="cpu", concurrency=2))
    held, found = assert_agree(tmp_path)
    assert len(held) == 10 and found["cell"].nunique() < 10, "some were drawn again"
    assert {one.state for one in held} == {TrialState.COMPLETE, TrialState.FAIL, TrialState.PRUNED}
    assert counts.failed and "`learning_rate <= 0.01` must hold" in text
    assert run(study, tmp_path)[0] == counts


def test_diverged_and_failed_trials_reach_optuna_as_failed(tmp_path, monkeypatch):
    wild = "activation: [linear]\n    hidden_dims: [[8], [500, 500]]"
    study = hunt(trials=8, model="autoencoder", fields=wild, sampler="random")
    study = study.model_copy(
        update={
            "search": study.search.model_copy(update={"space": study.search.space | {"learning_rate": [1e-3, 1e30]}})
        }
    )
    real = trial.run

    def fails(pack, *args, **kwargs):
        if pack[0].cell == "trial-0002":
            raise RuntimeError("no such luck")
        yield from real(pack, *args, **kwargs)

    monkeypatch.setattr(trial, "run", fails)
    counts, _ = run(study, tmp_path)
    assert counts.failed == 1 and counts.diverged_in_search and counts.finished
    held, _ = assert_agree(tmp_path)
    failed = [one for one in held if one.state == TrialState.FAIL]
    assert len(failed) == 1 + counts.diverged_in_search and all(one.values is None for one in failed)
    assert "RuntimeError: no such luck" in held[2].user_attrs[ERROR]
    monkeypatch.setattr(trial, "run", lambda *_, **__: pytest.fail("a trial that Optuna knows was run again"))
    again, _ = run(study, tmp_path)
    assert again == counts
    assert_agree(tmp_path)


def test_trials_with_one_configuration_share_its_replicates(tmp_path):
    study = hunt(trials=6, sampler="random")
    drawn = {"model": "flat", "learning_rate": [1e-3, 1e-2], "l2": 0.3}
    study = study.model_copy(update={"search": study.search.model_copy(update={"space": drawn})})
    counts, _ = run(study, tmp_path)
    assert counts == Counts(finished=2)
    held, found = assert_agree(tmp_path)
    second = next(
        number
        for number, fields in enumerate(found["field/learning_rate"])
        if fields != held[0].params["learning_rate"]
    )
    assert len(held) == 6 and set(found["cell"]) == {"trial-0000", f"trial-{second:04d}"}
    assert found["val_sse"].nunique() == 2


def test_arm_and_search_in_one_study_and_an_arm_that_is_also_drawn(tmp_path):
    study = hunt(trials=3)
    arms = {"known": {"model": "flat", "learning_rate": 1e-3, "l2": 0.3}}
    study = study.model_copy(update={"arms": arms})
    assert run(study, tmp_path, Options(runner="inline", device="cpu", cells="known"))[0] == Counts(finished=1)
    assert not read_asked(Folder(str(tmp_path))), "a part of a study runs no search"
    counts, _ = run(study, tmp_path)
    assert counts == Counts(finished=4)
    ends = load_tables(str(tmp_path)).ends.set_index("cell")["val_sse"]
    assert ends["known"] == ends.min()


def test_search_that_cannot_write_its_journal_asks_for_nothing(tmp_path, monkeypatch):
    real = Folder.append

    def full(self, name, content, *, at):
        if at > 3_000:
            raise StorageError("it is full")
        real(self, name, content, at=at)

    monkeypatch.setattr(Folder, "append", full)
    with pytest.raises(StorageError, match="it is full"):
        run(hunt(trials=12), tmp_path)
    monkeypatch.undo()
    monkeypatch.setitem(DATASETS, "tiny", "tests.support.tiny:load")
    assert run(hunt(trials=12), tmp_path)[0] == Counts(finished=12)
    run(hunt(trials=12), tmp_path.with_name("whole"))
    assert read_asked(Folder(str(tmp_path))) == read_asked(Folder(str(tmp_path.with_name("whole"))))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sampler": "random"}, "search.sampler: 'tpe' there, 'random' here"),
        ({"more": ASHA}, "search.first_rung: None there, 1 here"),
        ({"fields": "batch_size: [10, 20]"}, "search.space: .*"),
        ({"steps": 2}, "base.evaluations: 1 there, 2 here; base.steps: 1 there, 2 here"),
        ({"seeds": 2}, "seeds: 1 there, 2 here"),
    ],
)
def test_launch_of_another_search_is_refused_with_the_difference(tmp_path, changes, message):
    run(hunt(trials=1), tmp_path)
    with pytest.raises(RunError, match=f"belongs to another spec: .*{message}"):
        run(hunt(trials=1, **changes), tmp_path)


def test_tables_merge_as_the_search_goes_on_and_hold_what_was_asked(tmp_path):
    target = Folder(str(tmp_path / "results"))
    for count in (2, 5):
        run(hunt(trials=count), tmp_path / "run")
        merged = merge(load_tables(str(tmp_path / "run")), target)
    assert len(trials.trials(merged)) == 5 and merged.spec.search.asked == read_asked(Folder(str(tmp_path / "run")))
    pd.testing.assert_frame_equal(
        trials.trials(load_tables(target.url)), trials.trials(load_tables(str(tmp_path / "run")))
    )
    run(hunt(trials=2, sampler="random"), tmp_path / "other")
    with pytest.raises(TableError, match="belong to another spec"):
        merge(load_tables(str(tmp_path / "other")), target)


def test_trials_asked_for_since_the_tables_were_built_are_running(tmp_path):
    run(hunt(trials=3), tmp_path)
    stale = {name: (tmp_path / f"{name}.parquet").read_bytes() for name in ("results", "profiles", "images")}
    run(hunt(trials=5), tmp_path)
    for name, content in stale.items():
        (tmp_path / f"{name}.parquet").write_bytes(content)
    found = trials.trials(load_tables(str(tmp_path)))
    assert list(found["state"]) == ["finished"] * 3 + ["running"] * 2 and found["cell"].iloc[4] == "trial-0004"


def test_merge_of_an_older_copy_keeps_what_was_stopped(tmp_path):
    run(hunt(trials=8, more=ASHA, fields=REAL, model="vae"), tmp_path / "run")
    tables = load_tables(str(tmp_path / "run"))
    target = Folder(str(tmp_path / "results"))
    merge(tables, target)
    for path in (tmp_path / "run" / "replicates").glob("*/*.done.json"):
        path.unlink()
    merge(build(Folder(str(tmp_path / "run"))), target)
    assert set(load_tables(target.url).ends["status"]) == set(tables.ends["status"]) == {"finished", "stopped"}


def test_hear_waits_for_every_seed_and_decides_once(tmp_path):
    study = hunt(trials=3, seeds=2, more=ASHA, fields=REAL, model="vae")
    folder = Folder(str(tmp_path)).create()
    folder.child("replicates").create()
    search = OptunaSearch(folder, Plan(study, {"tiny": "d"}))
    for value in (1.0, 2.0):
        number = search.next()
        first, second = (replicate.hash for replicate in search.state.members(number))
        said = [
            search.report(number, trial.Progress(1, 9, 2, {}, {hash_: {"step": 1, "val_sse": value}}))
            for hash_ in (first, first, second, second)
        ]
        stops = value == 2.0
        assert [bool(reason) for reason in said] == [False, False, stops, stops], "decided once, and said again"
        assert said[2] == said[3]
    assert standing(folder.child("replicates").child(first)).status == "stopped"
    again = OptunaSearch(folder, Plan(study, {"tiny": "d"}))
    again.catch_up()
    assert [t.state for t in optunas(tmp_path)] == [TrialState.RUNNING, TrialState.PRUNED]
    assert (again.next(), again.next(), again.next(), again.next()) == (0, 2, None, None)


# Lost and damaged files


CLOCKS = ["train_s", "evaluate_s"]


def rows(folder):
    found = load_tables(str(folder)).results.drop(columns=CLOCKS)
    return found.sort_values(["replicate", "step"], ignore_index=True)


SEARCHED = {"trials": 6, "more": ASHA, "fields": REAL, "model": "vae"}


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """The folder of a finished search with trials that finished and others that ASHA stopped."""
    folder = tmp_path_factory.mktemp("searched")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DATASETS, "tiny", "tests.support.tiny:load")
        counts, _ = run(hunt(**SEARCHED), folder)
    assert counts.finished and counts.stopped
    return folder


@pytest.fixture
def copied(searched, tmp_path):
    shutil.copytree(searched, tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize(
    ("status", "kind"),
    [*itertools.product(["finished", "stopped"], ["record", "done"]), ("finished", "weights")],
)
def test_trial_with_a_damaged_file_is_trained_again_to_the_same_rows(searched, copied, caplog, status, kind):
    ends = load_tables(str(copied)).ends
    name = ends.loc[ends["status"] == status, "replicate"].iloc[0]
    path = next((copied / "replicates" / name).glob(f"*{kind}*"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    counts, text = run(hunt(**SEARCHED), copied)
    assert path.name in caplog.text and "1 to start" in text
    assert counts == run(hunt(**SEARCHED), searched)[0] and not counts.left
    pd.testing.assert_frame_equal(rows(searched), rows(copied), check_exact=True)
    assert_agree(copied)


def test_trial_of_two_seeds_that_lost_one_stops_that_one_where_it_was(tmp_path):
    study = hunt(**SEARCHED, seeds=2)
    counts, _ = run(study, tmp_path)
    before = rows(tmp_path)
    name = before.loc[before["status"] == "stopped", "replicate"].iloc[0]
    shutil.rmtree(tmp_path / "replicates" / name)
    assert run(study, tmp_path)[0] == counts
    pd.testing.assert_frame_equal(before, rows(tmp_path), rtol=1e-4)  # alone it rounds otherwise than in a pack


def test_failed_trial_with_a_damaged_file_stays_failed(tmp_path, monkeypatch):
    def fails(*_, **__):
        raise RuntimeError("no such luck")
        yield

    with monkeypatch.context() as patch:
        patch.setattr(trial, "run", fails)
        counts, _ = run(hunt(trials=1), tmp_path)
    for path in tmp_path.glob("replicates/*/*"):
        path.write_bytes(b"")
    assert run(hunt(trials=1), tmp_path)[0] == counts == Counts(failed=1)
    assert load_tables(str(tmp_path)).ends["error"].iloc[0] == "RuntimeError: no such luck"
    assert_agree(tmp_path)


@pytest.mark.parametrize("fault", ["absent", "empty", "flipped", "its end"])
def test_journal_that_is_lost_is_made_good_from_the_replicates_and_nothing_is_trained(
    searched, copied, monkeypatch, caplog, fault
):
    path = copied / JOURNAL
    content = bytearray(path.read_bytes())
    if fault == "absent":
        path.unlink()
    elif fault == "flipped":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    else:
        path.write_bytes(b"" if fault == "empty" else b"".join(content.splitlines(keepends=True)[:30]))
    if fault != "its end":
        with pytest.raises(TableError, match=r"search\.jsonl is .*: trials that it has lost are taken from their"):
            load_tables(str(copied))
    monkeypatch.setattr(trial, "run", lambda *_, **__: pytest.fail("a trial was trained again"))
    counts, _ = run(hunt(**SEARCHED), copied)
    assert counts == run(hunt(**SEARCHED), searched)[0] and "taken from their replicates" in caplog.text
    pd.testing.assert_frame_equal(rows(searched), rows(copied))
    assert_agree(copied)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("op_code", 99),
        ("user_attr", "fields"),
        ("directions", [7]),
        ("distribution", "{"),
        ("user_attr", {FIELDS: {"zzz": 3}}),
    ],
)
def test_journal_of_an_earlier_version_that_optuna_cannot_read_is_made_good(
    searched, copied, monkeypatch, caplog, key, value
):
    operations = [json.loads(line) for line in (copied / JOURNAL).read_bytes().splitlines()]
    harmed = next(operation for operation in operations if key in operation)
    harmed[key] = value
    lines = [json.dumps({k: v for k, v in operation.items() if k != "seal"}) for operation in operations]
    (copied / JOURNAL).write_text("\n".join(lines) + "\n")
    monkeypatch.setattr(trial, "run", lambda *_, **__: pytest.fail("a trial was trained again"))
    run(hunt(**SEARCHED), copied)
    assert "search.jsonl is damaged" in caplog.text
    pd.testing.assert_frame_equal(rows(searched), rows(copied))
    assert_agree(copied)


RECORD, MARKER, WEIGHTS = "*-record.*", "*.done.json", "*-weights.*"


@pytest.mark.parametrize("journal", ["lost", "cut after the trial was drawn"])
@pytest.mark.parametrize(
    ("status", "harmed"),
    [
        ("stopped", [RECORD]),
        ("stopped", [MARKER]),
        ("finished", [RECORD]),
        ("finished", [MARKER]),
        ("finished", [WEIGHTS]),
        ("finished", [RECORD, MARKER]),
        ("finished", [RECORD, WEIGHTS]),
        ("finished", [MARKER, WEIGHTS]),
    ],
)
def test_journal_and_files_of_a_trial_lost_together_change_no_row(searched, tmp_path, journal, status, harmed):
    before = rows(searched)
    for name in before.loc[before["status"] == status, "replicate"].unique():
        copy = shutil.copytree(searched, tmp_path / name)
        lines = (copy / JOURNAL).read_bytes().splitlines(keepends=True)
        ends = [place + 1 for place, line in enumerate(lines) if b'"fields"' in line]
        number = int(before.loc[before["replicate"] == name, "cell"].iloc[0].removeprefix("trial-"))
        (copy / JOURNAL).write_bytes(
            b"".join(lines[: ends[number] if journal == "cut after the trial was drawn" else 0])
        )
        for path in itertools.chain(*((copy / "replicates" / name).glob(pattern) for pattern in harmed)):
            path.write_bytes(path.read_bytes()[:-9])
        run(hunt(**SEARCHED), copy)
        pd.testing.assert_frame_equal(before, rows(copy))


@pytest.mark.parametrize("harmed", [[RECORD], [MARKER], [RECORD, MARKER]])
def test_trial_that_was_stopped_unheard_and_lost_files_is_stopped_where_it_was(searched, copied, harmed):
    before = rows(searched)
    name = before.loc[before["status"] == "stopped", "replicate"].iloc[0]
    number = int(before.loc[before["replicate"] == name, "cell"].iloc[0].removeprefix("trial-"))
    lines = (copied / JOURNAL).read_bytes().splitlines(keepends=True)
    decided = [place for place, line in enumerate(lines) if b'"stopped by asha' in line and b'"seal"' in line]
    place = next(place for place in decided if f'"trial_id":{number},'.encode() in lines[place])
    (copied / JOURNAL).write_bytes(b"".join(lines[: place + 1]))  # the driver died before it told Optuna
    for path in itertools.chain(*((copied / "replicates" / name).glob(pattern) for pattern in harmed)):
        path.unlink()
    run(hunt(**SEARCHED), copied)
    pd.testing.assert_frame_equal(before, rows(copied))


@pytest.mark.parametrize("harmed", [[RECORD, MARKER], ["*"]])
def test_journal_and_all_files_of_a_trial_lost_together_are_refused_with_the_remedy(searched, copied, harmed):
    (copied / JOURNAL).unlink()
    before = rows(searched)
    stopped = before.loc[before["status"] == "stopped", "replicate"].iloc[0]
    for path in itertools.chain(*((copied / "replicates" / stopped).glob(pattern) for pattern in harmed)):
        path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(SearchError, match=rf"{stopped} belongs to a trial that .* are lost\. Delete \S+{stopped} and"):
        run(hunt(**SEARCHED), copied)
    shutil.rmtree(copied / "replicates" / stopped)
    run(hunt(**SEARCHED), copied)
    pd.testing.assert_frame_equal(before, rows(copied))
    assert_agree(copied)


# Small parts


def test_pruner_is_optunas_asha_without_warm_up():
    made = pruner(hunt(more=ASHA).search)
    assert isinstance(made, optuna.pruners.SuccessiveHalvingPruner)
    assert isinstance(pruner(hunt().search), optuna.pruners.NopPruner)


@pytest.mark.parametrize(
    ("low", "high", "step", "last"),
    [(1, 10, 4, 9), (1, 9, 4, 9), (1, 10, 40, 1), (0.1, 0.7, 0.2, 0.7), (0.1, 0.75, 0.2, 0.7), (1, 10, None, 10)],
)
def test_range_whose_end_no_step_reaches_ends_before_it(low, high, step, last):
    limits = Range(low=low, high=high, step=step)
    assert limits.last == last
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    with warnings.catch_warnings(action="error"):
        drawn = {suggest(study.ask(), Parameter("N", range=limits, whole=isinstance(low, int))) for _ in range(60)}
    assert min(drawn) >= low and max(drawn) <= last


def test_range_reads_as_a_person_would_write_it():
    assert [str(Range(low=1, high=2)), str(Range(low=0.1, high=10, log=True)), str(Range(low=1, high=9, step=2))] == [
        "1..2",
        "0.1..10 log",
        "1..9 by 2",
    ]
    assert list(itertools.chain(*[[2 in Range(low=1, high=2), True in Range(low=0, high=2)]])) == [True, False]
