"""Damaged files in a run folder: the study completes with the same table, or one line says how to mend it."""

import io
import logging
import os
import shutil
import signal

import pandas as pd
import pytest
import tiny
from rich.console import Console

from study import launch, spec, table
from study.launch import Options
from study.progress import Display
from study.table import TableError
from trainables import trial
from trainables.registry import DATASETS

CLOCKS = ["train_s", "evaluate_s"]


@pytest.fixture(scope="module", autouse=True)
def tiny_dataset():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DATASETS, "tiny", "tiny:load")
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
        assert run(study, folder) == {"finished": 3, "running": 1}
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
    return max(folder.glob("replicates/*/*-0*.safetensors"), key=lambda path: path.name.partition("-")[2])


@pytest.mark.parametrize("place", [0, 3, 8, 40, 300, 0.2, 0.5, 0.8, 0.95, -2, -1])
def test_checkpoint_with_a_flipped_byte_falls_back_and_gives_the_same_table(whole, stopped, study, caplog, place):
    path = newest(stopped)
    assert len(list(path.parent.glob("*.safetensors"))) == 2
    content = bytearray(path.read_bytes())
    content[int(place * len(content)) if isinstance(place, float) else place] ^= 0x20
    path.write_bytes(content)
    assert run(study, stopped) == {"finished": 4}
    assert f"{path.name} is damaged" in caplog.text
    assert_same(whole, stopped)


@pytest.mark.parametrize("length", [0, 5, 200, -100])
def test_checkpoints_cut_short_one_or_all_give_the_same_table(whole, stopped, study, caplog, length):
    path = newest(stopped)
    path.write_bytes(path.read_bytes()[:length])
    if length == 5:
        for other in path.parent.glob("*.safetensors"):
            other.write_bytes(b"")
    assert run(study, stopped) == {"finished": 4}
    assert f"{path.name} is damaged" in caplog.text
    assert_same(whole, stopped)


@pytest.mark.parametrize("kind", ["*.done.json", "*-record.safetensors"])
def test_finished_replicate_with_a_damaged_file_is_run_again_and_only_that(whole, stopped, study, caplog, kind):
    run(study, stopped)
    marker = next(stopped.glob(f"replicates/*/{kind}"))
    marker.write_bytes(marker.read_bytes()[:-20])
    others = {path: path.stat().st_mtime_ns for path in stopped.glob("replicates/*/*") if path.parent != marker.parent}
    assert run(study, stopped) == {"finished": 4}
    assert f"{marker.name.partition('-')[0].partition('.')[0]}.done.json does not count" in caplog.text
    assert others == {path: path.stat().st_mtime_ns for path in others}
    assert_same(whole, stopped)
    caplog.clear()
    run(study, stopped)
    assert not caplog.records, "what was damaged is gone"


@pytest.mark.parametrize("name", ["results", "profiles", "images"])
@pytest.mark.parametrize("place", [None, 0.3, -6])
def test_table_that_is_damaged_is_refused_by_name_and_made_anew(whole, stopped, study, caplog, name, place):
    run(study, stopped)
    path = stopped / f"{name}.parquet"
    content = bytearray(path.read_bytes())
    if place is not None:
        content[int(place * len(content)) if isinstance(place, float) else place] ^= 0x20
    path.write_bytes(content if place is not None else content[:-30])
    with pytest.raises(TableError, match=rf"{name}\.parquet"):
        table.load_tables(str(stopped))
    with caplog.at_level(logging.WARNING):
        assert run(study, stopped) == {"finished": 4}
    assert f"{name}.parquet" in caplog.text and "made anew" in caplog.text
    assert_same(whole, stopped)


@pytest.mark.parametrize("content", [b"", b"name: [", b"\xff\xfe", b"[]", b"{}", b'{"data_digests": 3}'])
@pytest.mark.parametrize("name", ["spec.yaml", "provenance.json"])
def test_spec_or_provenance_that_is_damaged_stops_the_launch_and_deleting_it_mends_all(
    whole, stopped, study, name, content
):
    (stopped / name).write_bytes(content)
    before = {path: path.read_bytes() for path in stopped.rglob("*.*") if path.is_file()}
    with pytest.raises(TableError, match=rf"run/{name} is damaged: .*Delete it, and `study launch`"):
        run(study, stopped)
    assert before == {path: path.read_bytes() for path in before}
    (stopped / name).unlink()
    (stopped / "report").mkdir()
    assert run(study, stopped) == {"finished": 4}
    assert_same(whole, stopped)


def test_remote_folder_that_does_not_answer_for_a_moment_fails_no_trial(study, tmp_path, monkeypatch, caplog):
    real, asked = table.build, []

    def slow_down(run):
        asked.append(run)
        if len(asked) == 1:
            raise OSError("AWS Error SLOW_DOWN")
        return real(run)

    monkeypatch.setattr(table, "build", slow_down)
    monkeypatch.setattr(launch, "TABLE_EVERY_S", 0)
    assert run(study, tmp_path / "run") == {"finished": 4}
    assert "could not be rebuilt: AWS Error SLOW_DOWN" in caplog.text
