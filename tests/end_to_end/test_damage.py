"""Damaged files in a run folder: the study completes with the same table, or one line says how to mend it."""

import io
import logging
import os
import shutil
import signal
import uuid

import pandas as pd
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from study import spec, table
from study.run import launch
from study.run.backlog import Counts
from study.run.display import Display
from study.run.job import Options
from study.table import TableError
from study.tables.build import Builder, build
from study.tables.columns import SCHEMAS
from study.tables.merge import merge
from tests.support import tiny
from tests.support.faults import checkpoints
from trainables import checkpoint, trial
from trainables.registry import DATASETS
from trainables.storage import Folder

CLOCKS = ["train_s", "evaluate_s"]


@pytest.fixture(scope="module", autouse=True)
def tiny_dataset():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DATASETS, "tiny", "tests.support.tiny:load")
        patch.setattr(trial, "REPORT_EVERY_S", 0)
        yield


@pytest.fixture(scope="module")
def study():
    study = spec.parse(tiny.SPEC, "tiny")
    return study.model_copy(update={"arms": {name: study.arms[name] for name in ("linear", "vae")}})


def run(study, folder):
    options = Options(runner="inline", device="cpu", checkpoint_every_s=0)
    return launch.launch(study, str(folder), options, Console(file=io.StringIO()))


@pytest.fixture(scope="module")
def whole(study, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    run(study, folder)
    return table.load_tables(str(folder)).results


@pytest.fixture(scope="module")
def template(study, tmp_path_factory):
    """A run folder, stopped while its last replicate runs, which has two checkpoints."""
    real, seen = Display.report, []

    def report(self, pack, progress):
        real(self, pack, progress)
        seen.append(progress)
        if len(seen) == 3 * 7 + 5:
            os.kill(os.getpid(), signal.SIGINT)

    folder = tmp_path_factory.mktemp("stopped")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Display, "report", report)
        assert run(study, folder) == Counts(finished=3, running=1)
    return folder


@pytest.fixture
def stopped(template, tmp_path):
    """A copy of it to damage."""
    shutil.copytree(template, tmp_path / "run")
    return tmp_path / "run"


def assert_same(whole, folder):
    again = table.load_tables(str(folder)).results
    pd.testing.assert_frame_equal(whole.drop(columns=CLOCKS), again.drop(columns=CLOCKS), check_exact=True)


def newest(folder):
    return max(checkpoints(folder), key=lambda path: path.stem[-9:])


@pytest.mark.parametrize("place", [0, 3, 8, 40, 300, 0.2, 0.5, 0.8, 0.95, -2, -1])
def test_checkpoint_with_a_flipped_byte_falls_back_and_gives_the_same_table(whole, stopped, study, caplog, place):
    path = newest(stopped)
    assert len(list(path.parent.glob("*.safetensors"))) == 2
    content = bytearray(path.read_bytes())
    content[int(place * len(content)) if isinstance(place, float) else place] ^= 0x20
    path.write_bytes(content)
    assert run(study, stopped) == Counts(finished=4)
    assert f"{path.name} is damaged" in caplog.text
    assert_same(whole, stopped)


@pytest.mark.parametrize("length", [0, 5, 200, -100])
def test_checkpoints_cut_short_one_or_all_give_the_same_table(whole, stopped, study, caplog, length):
    path = newest(stopped)
    path.write_bytes(path.read_bytes()[:length])
    if length == 5:
        for other in path.parent.glob("*.safetensors"):
            other.write_bytes(b"")
    assert run(study, stopped) == Counts(finished=4)
    assert f"{path.name} is damaged" in caplog.text
    assert_same(whole, stopped)


@pytest.mark.parametrize("kind", ["*.done.json", "*-record.safetensors"])
def test_finished_replicate_with_a_damaged_file_is_run_again_and_only_that(whole, stopped, study, caplog, kind):
    run(study, stopped)
    marker = next(stopped.glob(f"replicates/*/{kind}"))
    marker.write_bytes(marker.read_bytes()[:-20])
    others = {path: path.stat().st_mtime_ns for path in stopped.glob("replicates/*/*") if path.parent != marker.parent}
    assert run(study, stopped) == Counts(finished=4)
    assert f"/{marker.name[:8]}-" in caplog.text and ".done.json does not count" in caplog.text
    assert others == {path: path.stat().st_mtime_ns for path in others}
    assert_same(whole, stopped)
    caplog.clear()
    run(study, stopped)
    assert not caplog.records, "what was damaged is gone"


@pytest.mark.parametrize("name", ["results", "profiles", "images"])
@pytest.mark.parametrize("place", [None, "data", "footer"])
def test_table_that_is_damaged_is_refused_by_name_and_made_anew(whole, stopped, study, caplog, name, place):
    run(study, stopped)
    path = stopped / f"{name}.parquet"
    content = bytearray(path.read_bytes())
    if place is not None:
        chunk = pq.read_metadata(path).row_group(0).column(2)
        start = chunk.dictionary_page_offset if chunk.has_dictionary_page else chunk.data_page_offset
        content[start + chunk.total_compressed_size - 3 if place == "data" else -6] ^= 0x20
    path.write_bytes(content if place is not None else content[:-30])
    with pytest.raises(TableError, match=rf"{name}\.parquet"):
        table.load_tables(str(stopped))
    with caplog.at_level(logging.WARNING):
        assert run(study, stopped) == Counts(finished=4)
    assert f"{name}.parquet" in caplog.text and "made anew" in caplog.text
    assert_same(whole, stopped)


@pytest.mark.parametrize("content", [b"", b"name: [", b"\xff\xfe", b"[]", b"{}", b'{"data_digests": 3}'])
@pytest.mark.parametrize("name", ["spec.yaml", "provenance.json"])
def test_spec_or_provenance_that_is_damaged_is_named_and_mended_by_the_next_launch(
    whole, stopped, study, name, content, caplog
):
    (stopped / name).write_bytes(content)
    with pytest.raises(TableError, match=rf"run/{name} is damaged: .*`study launch` with the study"):
        table.load_tables(str(stopped))
    assert run(study, stopped) == Counts(finished=4)
    assert f"run/{name} is damaged" in caplog.text
    assert_same(whole, stopped)


def test_spec_that_is_damaged_stops_the_launch_of_another_and_deleting_it_mends_all(whole, stopped, study):
    (stopped / "spec.yaml").write_bytes(b"name: [")
    before = {path: path.read_bytes() for path in stopped.rglob("*.*") if path.is_file()}
    with pytest.raises(TableError, match=r"run/spec\.yaml is damaged"):
        run(study.with_changes(seeds=3), stopped)
    assert before == {path: path.read_bytes() for path in before}
    (stopped / "spec.yaml").unlink()
    (stopped / "report").mkdir()
    assert run(study, stopped) == Counts(finished=4)
    assert_same(whole, stopped)


def assert_as_built(folder):
    """The tables equal those that a builder without a memory makes of the run folder, bit for bit."""
    found = {name: (folder / f"{name}.parquet").read_bytes() for name in SCHEMAS}
    for name in SCHEMAS:
        (folder / f"{name}.parquet").unlink()
    build(Folder(str(folder)))
    assert found == {name: (folder / f"{name}.parquet").read_bytes() for name in SCHEMAS}


@pytest.fixture
def looked_at(monkeypatch):
    """Names of the replicates whose folders have been read."""
    names, real = [], checkpoint.standing
    monkeypatch.setattr(checkpoint, "standing", lambda folder, **more: names.append(folder.url) or real(folder, **more))
    return names


@pytest.mark.parametrize("block", [1, 3, 100])
def test_builder_reads_what_has_ended_once_and_what_runs_each_time(stopped, monkeypatch, looked_at, study, block):
    monkeypatch.setattr("study.tables.build.BLOCK", block)
    builder = Builder(Folder(str(stopped)))
    with monkeypatch.context() as patch:
        patch.setattr(Builder, "_source", lambda *_: uuid.uuid4().hex)  # as if some file had changed
        builder.build()
        assert len(looked_at) == 4
        tables = builder.build()
        assert len(looked_at) == 5
        assert sorted(tables.ends["status"]) == ["finished"] * 3 + ["running"]
        run(study, stopped)
        looked_at.clear()
        assert set(builder.build().ends["status"]) == {"finished"} and len(looked_at) == 1
        builder.build()
        assert len(looked_at) == 1
    builder.build()
    assert_as_built(stopped)


def test_tables_of_an_unchanged_run_folder_are_not_built_again(stopped, looked_at, study):
    build(Folder(str(stopped)))
    looked_at.clear()
    before = {name: (stopped / f"{name}.parquet").stat().st_mtime_ns for name in SCHEMAS}
    build(Folder(str(stopped)))
    assert not looked_at
    assert before == {name: (stopped / f"{name}.parquet").stat().st_mtime_ns for name in SCHEMAS}
    run(study, stopped)
    assert set(build(Folder(str(stopped))).ends["status"]) == {"finished"}
    assert_as_built(stopped)


@pytest.mark.parametrize("name", ["results", "profiles", "images"])
@pytest.mark.parametrize("fault", ["gone", "cut", "flipped", "older", "empty", "column"])
def test_builder_reads_the_run_folder_again_where_tables_are_not_as_it_left_them(stopped, study, name, fault):
    path, builder = stopped / f"{name}.parquet", Builder(Folder(str(stopped)))
    builder.build()
    older = path.read_bytes()
    run(study, stopped)
    builder.build()
    content = bytearray(path.read_bytes())
    if fault == "gone":
        path.unlink()
    elif fault == "empty":
        pq.write_table(SCHEMAS[name].empty_table(), path)
    elif fault == "column":
        pq.write_table(pq.read_table(path).drop_columns("step"), path)
    else:
        content[len(content) // 3] ^= 0x20
        path.write_bytes({"cut": content[:-30], "flipped": content, "older": older}[fault])
    builder.build()
    assert_as_built(stopped)


def test_table_that_is_older_than_a_field_is_read_and_merged_with_the_specs_value(study, tmp_path):
    run(study, tmp_path / "run")
    path = tmp_path / "run" / "results.parquet"
    pq.write_table(pq.read_table(path).drop_columns("config/weight_dropout"), path)
    merged = merge(table.load_tables(str(tmp_path / "run")), Folder(str(tmp_path / "merged"))).ends
    assert set(merged.loc[merged["config/task"] == "train", "config/weight_dropout"]) == {0.0}


def test_remote_folder_that_does_not_answer_for_a_moment_fails_no_trial(study, tmp_path, monkeypatch, caplog):
    real, asked = Builder.build, []

    def slow_down(self):
        asked.append(self)
        if len(asked) == 1:
            raise OSError("AWS Error SLOW_DOWN")
        return real(self)

    monkeypatch.setattr(Builder, "build", slow_down)
    monkeypatch.setattr(launch, "TABLE_EVERY_S", 0)
    assert run(study, tmp_path / "run") == Counts(finished=4)
    assert "could not be rebuilt: AWS Error SLOW_DOWN" in caplog.text
