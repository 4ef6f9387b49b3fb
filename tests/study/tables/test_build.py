"""Tables are built from the run folder, belong together, and are never replaced by older ones."""

import pyarrow.parquet as pq
import pytest

from study import spec
from study.plan import Plan
from study.runfolder import write_run
from study.table import TableError, load_tables
from study.tables import build as building
from study.tables.build import Builder, build
from study.tables.columns import SCHEMAS
from study.tables.files import open_table
from tests.support import tiny
from trainables import checkpoint
from trainables.records import Record
from trainables.registry import DATASETS
from trainables.storage import Folder


@pytest.fixture
def study(monkeypatch):
    monkeypatch.setitem(DATASETS, "tiny", "tests.support.tiny:load")
    return spec.parse(tiny.SPEC, "tiny")


@pytest.fixture
def run(study, tmp_path):
    folder = Folder(str(tmp_path / "run")).create()
    folder.child("replicates").create()
    write_run(folder, study, {"data_digests": {"tiny": "d"}})
    return folder


def finish(run, study, count):
    """Lets the first replicates of the study end."""
    for replicate in Plan(study, {"tiny": "d"}).replicates[:count]:
        record = Record(replicate.described(), rows=[{"step": 0, "test_nll": 1.0}])
        checkpoint.finish(run.child("replicates").child(replicate.hash), "aaaaaaaa", "finished", record, images=None)


def statuses(run):
    return sorted(load_tables(run.url).ends["status"])


def test_build_that_is_overtaken_by_a_newer_one_does_not_replace_it(run, study, monkeypatch):
    build(run)
    finish(run, study, 2)
    encode, overtaken = building.encode, []

    def slow(blocks, source):
        contents = encode(blocks, source)
        if not overtaken:  # the launch goes on, ends and builds meanwhile
            overtaken.append(True)
            finish(run, study, 3)
            monkeypatch.setattr(building, "encode", encode)
            Builder(run).build()
        return contents

    monkeypatch.setattr(building, "encode", slow)
    tables = build(run)
    assert overtaken
    assert statuses(run) == sorted(tables.ends["status"]) == ["finished"] * 3 + ["pending"] * 2


def test_tables_name_one_build_and_the_same_content_the_same_build(run, study):
    finish(run, study, 2)
    build(run)
    first = {name: (open_table(run, name).metadata.metadata or {})[b"build"] for name in SCHEMAS}
    build(run)
    assert len(set(first.values())) == 1
    assert first == {name: (open_table(run, name).metadata.metadata or {})[b"build"] for name in SCHEMAS}


def test_load_tables_of_several_builds_is_refused_and_without_a_build_read(run, study):
    build(run)
    old = run.read("images.parquet")
    finish(run, study, 2)
    build(run)
    new = run.read("images.parquet")
    run.write("images.parquet", old)
    with pytest.raises(TableError, match=r"must be of one build.*`study table` builds them again"):
        load_tables(run.url)
    run.write("images.parquet", new)
    for name in SCHEMAS:
        path = f"{run.url}/{name}.parquet"
        pq.write_table(pq.read_table(path).replace_schema_metadata(None), path)
    assert statuses(run) == ["finished"] * 2 + ["pending"] * 3
