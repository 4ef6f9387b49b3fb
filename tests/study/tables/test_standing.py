"""How far replicates have come, read from the tables where these know it and from the run folder else."""

import pytest

from study import spec
from study.plan import Plan
from study.runfolder import write_run
from study.tables.build import build
from study.tables.standing import standing
from tests.support import tiny
from trainables import checkpoint
from trainables.records import Record
from trainables.registry import DATASETS
from trainables.storage import Folder


@pytest.fixture
def plan(monkeypatch):
    monkeypatch.setitem(DATASETS, "tiny", "tests.support.tiny:load")
    return Plan(spec.parse(tiny.SPEC, "tiny"), {"tiny": "d"})


@pytest.fixture
def run(plan, tmp_path):
    folder = Folder(str(tmp_path / "run")).create()
    folder.child("replicates").create()
    write_run(folder, plan.spec, {"data_digests": {"tiny": "d"}})
    return folder


def finish(run, replicate, **row):
    record = Record(replicate.described(), rows=[{"step": 0, "test_nll": 9.0}, {"step": 10, "test_nll": 1.5} | row])
    checkpoint.finish(run.child("replicates").child(replicate.hash), "aaaaaaaa", "finished", record, images=None)


def read(run, plan):
    return [standing(run, plan.replicates)[replicate.hash] for replicate in plan.replicates]


def test_standing_is_the_same_with_and_without_tables(run, plan):
    for replicate in plan.replicates[:3]:
        finish(run, replicate)
    before = read(run, plan)
    build(run)
    after = read(run, plan)
    assert [s.status for s in after] == [s.status for s in before] == ["finished"] * 3 + ["pending"] * 2
    assert [s.record.rows[-1]["test_nll"] for s in after[:3]] == [1.5] * 3
    assert {s.record.rows[-1]["step"] for s in before[:3]} == {s.record.rows[-1]["step"] for s in after[:3]} == {10}


def test_standing_reads_no_folder_of_what_the_tables_know(run, plan, monkeypatch):
    for replicate in plan.replicates[:3]:
        finish(run, replicate)
    build(run)
    monkeypatch.setattr(checkpoint, "standing", lambda folder: pytest.fail(f"{folder.url} was read"))
    assert [s.status for s in read(run, plan)].count("finished") == 3


def test_standing_of_what_ended_after_the_tables_or_lost_its_end_is_read_from_its_folder(run, plan):
    finish(run, plan.replicates[0])
    build(run)
    finish(run, plan.replicates[1])
    for path in (run.local / "replicates" / plan.replicates[0].hash).glob("*.done.json"):
        path.unlink()
    assert [s.status for s in read(run, plan)] == ["pending", "finished", "pending", "pending", "pending"]


@pytest.mark.parametrize("content", [b"", b"PAR1 no"])
def test_standing_beside_a_damaged_table_is_read_from_the_folders(run, plan, content):
    finish(run, plan.replicates[0])
    run.write("results.parquet", content)
    assert [s.status for s in read(run, plan)] == ["finished"] + ["pending"] * 4
