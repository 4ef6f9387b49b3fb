"""A replicate's files: damage is known, the newest two checkpoints are kept, and a result counts before a failure."""

import os

import numpy as np
import pytest

from trainables import checkpoint, replicate_file
from trainables.records import ImageKey, Profile, Record
from trainables.replicate_file import FileName, encode
from trainables.storage import Folder


def record(step=0):
    keys = [ImageKey(step, "input", place, None, None) for place in range(2)]
    return Record({"cell": "a", "seed": 0}, rows=[{"step": step, "loss": 1.5}], images=keys)


def tensors(step=0):
    return {"weights/w": np.full((3, 4), step, np.float32), "images": np.zeros((2, 784), np.uint8)}


def write(folder, step, attempt="aaaaaaaa"):
    checkpoint.write_checkpoint(folder, attempt, step, tensors(step), record(step))


def finish(folder, attempt, status="finished", weights=None):
    images = tensors()["images"]
    checkpoint.finish(folder, attempt, status, record(20), images=images, weights=weights)


def file(folder, attempt, ending):
    """The name of an attempt's file."""
    return next(name for name in folder.files() if name.startswith(attempt) and name.endswith(ending))


def steps(folder):
    return sorted(name.step for name in map(FileName.parse, folder.files()) if name and name.step is not None)


@pytest.fixture
def folder(tmp_path):
    return Folder(str(tmp_path / "replicate"))


def test_write_checkpoint_keeps_the_newest_two(folder):
    for step in (10, 20, 30):
        write(folder, step)
    assert steps(folder) == [20, 30]
    assert checkpoint.read_checkpoint(folder)[0] == 30


def test_read_checkpoint_falls_back_from_a_damaged_one_and_names_it(folder, caplog):
    for step in (10, 20):
        write(folder, step)
    newest = file(folder, "aaaaaaaa", "000000020.safetensors")
    folder.write(newest, b"cut short")
    assert checkpoint.read_checkpoint(folder)[0] == 10
    assert f"{newest} is damaged" in caplog.text


def test_standing_goes_from_pending_to_running_to_finished(folder):
    assert checkpoint.standing(folder).status == "pending"
    write(folder, 10)
    assert checkpoint.standing(folder).status == "running"
    finish(folder, "aaaaaaaa", weights={"w": np.ones(2)})
    found = checkpoint.standing(folder)
    assert (found.status, found.record, found.images.shape) == ("finished", record(20), (2, 784))
    assert not [name for name in folder.names() if name.startswith("aaaaaaaa-0")], "checkpoints are dropped"


def test_standing_of_two_attempts_prefers_a_result_to_a_failure(folder):
    write(folder, 10)
    checkpoint.cut_short(folder, {"cell": "a"}, "failed", "lost")
    failed = checkpoint.standing(folder)
    assert (failed.status, failed.error, failed.record) == ("failed", "lost", record(10))
    assert checkpoint.read_checkpoint(folder)[0] == 10, "a failed replicate can go on from its checkpoint"
    for attempt in ("bbbbbbbb", "cccccccc"):
        finish(folder, attempt)
    assert checkpoint.standing(folder).status == "finished"


def test_standing_with_a_marker_or_record_cut_short_falls_back_and_says_so(folder, caplog):
    write(folder, 10)
    folder.write("bbbbbbbb.done.json", b'{"status": "fini')
    finish(folder, "cccccccc", "failed")
    folder.write(file(folder, "cccccccc", "record.safetensors"), b"no")
    assert checkpoint.standing(folder).status == "running"
    assert "bbbbbbbb.done.json does not count" in caplog.text
    assert f"{file(folder, 'cccccccc', '.done.json')} does not count" in caplog.text


def test_tidy_drops_failures_and_damage_and_keeps_what_can_be_gone_on_from(folder, tmp_path):
    for step in (10, 20):
        write(folder, step)
    checkpoint.cut_short(folder, {"cell": "a"}, "failed", "lost")
    folder.write(file(folder, "aaaaaaaa", "000000020.safetensors"), b"cut short")
    folder.write("bbbbbbbb.done.json", b'{"status": "fini')
    (tmp_path / "replicate" / ".cut-off.tmp").write_bytes(b"half")
    checkpoint.tidy(folder)
    assert len(list((tmp_path / "replicate").iterdir())) == 1 and steps(folder) == [10]
    found = checkpoint.standing(folder)
    assert (found.status, found.step, found.error) == ("running", 10, None)


@pytest.mark.parametrize("failed", [False, True])
def test_tidy_tells_how_it_stood_and_reads_no_checkpoint_twice(folder, monkeypatch, failed):
    for step in (10, 20):
        write(folder, step)
    if failed:
        checkpoint.cut_short(folder, {"cell": "a"}, "failed", "lost")
    read, real = [], Folder.read
    monkeypatch.setattr(Folder, "read", lambda self, name, *most: read.append(name) or real(self, name, *most))
    found = checkpoint.tidy(folder)
    assert (found.status, found.step, found.ended) == ("failed" if failed else "running", 20, False)
    assert [name[22:31] for name in read if name.startswith("aaaaaaaa")] == ["000000020"]
    assert checkpoint.tidy(folder.child("absent")).status == "pending"


def test_tidy_of_a_finished_replicate_touches_nothing(folder):
    checkpoint.cut_short(folder, {"cell": "a"}, "failed", "lost")
    finish(folder, "bbbbbbbb")
    before = folder.names()
    checkpoint.tidy(folder)
    assert folder.names() == before and checkpoint.standing(folder).status == "finished"


def test_tidy_leaves_what_another_attempt_has_just_written(folder):
    write(folder, 10)
    replicate_file.write(folder, "bbbbbbbb", "-record.safetensors", encode(tensors(), record(20)))  # before its marker
    before = folder.names()
    checkpoint.tidy(folder)
    assert folder.names() == before
    finish(folder, "cccccccc")
    assert {name[:8] for name in folder.names()} == {"cccccccc"}, "nothing can follow: all is deleted"


def test_finish_that_cannot_be_read_back_keeps_the_checkpoints(folder, monkeypatch):
    write(folder, 10)
    real = Folder.write
    monkeypatch.setattr(Folder, "write", lambda self, name, content: real(self, name, content[:-9]))
    finish(folder, "aaaaaaaa")
    found = checkpoint.standing(folder)
    assert (found.status, found.step) == ("running", 10)


def test_standing_and_tidy_pass_over_folders_that_others_put_there(folder):
    write(folder, 10)
    folder.child("@eaDir").create().write("x", b"")
    folder.child("bbbbbbbb-0123456789ab-000000020.safetensors").create().write("x", b"")
    checkpoint.tidy(folder)
    assert checkpoint.standing(folder).step == 10
    finish(folder, "aaaaaaaa")
    assert checkpoint.standing(folder).status == "finished"


def test_standing_looks_again_where_files_went_while_it_looked(folder, monkeypatch):
    finish(folder, "aaaaaaaa")
    listings = iter([["bbbbbbbb-0123456789ab-000000010.safetensors"], folder.names(), folder.names()])
    monkeypatch.setattr(Folder, "files", lambda self: next(listings))
    assert checkpoint.standing(folder).status == "finished"


def test_folder_write_that_fails_leaves_the_old_file(folder, monkeypatch):
    folder.create().write("name", b"old")
    with pytest.raises(TypeError):
        folder.write("name", "not bytes")  # type: ignore[arg-type]
    assert folder.read("name") == b"old"


def test_folder_reads_and_lists_through_a_url(tmp_path):
    folder = Folder(f"file://{tmp_path}/deep").child("er").create()
    folder.write("name", b"content")
    assert folder.read("name") == b"content" and folder.names() == ["name"] and folder.exists("name")
    folder.delete("name")
    folder.delete("name")
    assert folder.names() == [] and folder.local == tmp_path / "deep" / "er"


def test_cut_short_as_stopped_is_an_end_and_keeps_what_was_measured(folder):
    write(folder, 10)
    checkpoint.cut_short(folder, {"cell": "a"}, "stopped", "not among the best")
    found = checkpoint.standing(folder)
    assert (found.status, found.error, found.ended, found.weights) == ("stopped", "not among the best", True, None)
    assert found.record == record(10) and found.images is not None
    assert not [name for name in folder.files() if name.startswith("aaaaaaaa")], "nothing goes on from there"
    checkpoint.tidy(folder)
    assert checkpoint.standing(folder).status == "stopped"


def test_read_checkpoint_up_to_a_step_is_the_newest_up_to_it(folder):
    for step in (10, 20):
        write(folder, step)
    assert [checkpoint.read_checkpoint(folder, at_most)[0] for at_most in (None, 25, 19)] == [20, 20, 10]
    assert checkpoint.read_checkpoint(folder, 9) is None


MARKERS = {
    "empty": b"",
    "no JSON": b"finished",
    "a list": b"[]",
    "deep": b"[" * 200_000,
    "no files": b'{"status": "finished", "error": null}',
    "files a text": b'{"status": "finished", "error": null, "files": "record"}',
    "no record": b'{"status": "finished", "error": null, "files": {}}',
    "record a number": b'{"status": "finished", "error": null, "files": {"record": 3}}',
    "record elsewhere": b'{"status": "finished", "error": null, "files": {"record": "../../secret"}}',
    "record absent": b'{"status": "finished", "error": null, "files": {"record": "aaaaaaaa-record.safetensors"}}',
    "record itself": b'{"status": "finished", "error": null, "files": {"record": "bbbbbbbb.done.json"}}',
    "record a pipe": b'{"status": "finished", "error": null, "files": {"record": "cccccccc-record.safetensors"}}',
    "record a device": b'{"status": "finished", "error": null, "files": {"record": "dddddddd-record.safetensors"}}',
    "unknown status": b'{"status": "pending", "error": null, "files": {"record": "aaaaaaaa-record.safetensors"}}',
    "error no text": b'{"status": "failed", "error": [1], "files": {"record": "aaaaaaaa-record.safetensors"}}',
    "another key": b'{"status": "finished", "error": null, "files": {"record": {"name": "a"}, "veights": {}}}',
    "too large": b'{"status": "finished", "error": "' + b"x" * (1 << 20) + b'", "files": {"record": "a"}}',
}


@pytest.mark.parametrize("content", MARKERS.values(), ids=MARKERS.keys())
def test_crafted_marker_does_not_count_and_is_deleted(folder, tmp_path, caplog, content):
    write(folder, 10)
    folder.write("bbbbbbbb.done.json", content)
    os.mkfifo(tmp_path / "replicate" / "cccccccc-record.safetensors")
    (tmp_path / "replicate" / "dddddddd-record.safetensors").symlink_to("/dev/zero")
    assert checkpoint.standing(folder).status == "running"
    assert "bbbbbbbb.done.json does not count" in caplog.text and "Traceback" not in caplog.text
    assert checkpoint.tidy(folder).step == 10
    assert "bbbbbbbb.done.json" not in folder.names()


@pytest.mark.parametrize("ending", ["-000000030.safetensors", ".done.json", "-record.safetensors"])
@pytest.mark.parametrize("kind", ["pipe", "folder", "link to a device", "link to itself", "link to nothing"])
def test_file_of_another_kind_under_a_name_of_ours_is_passed_over(folder, tmp_path, ending, kind):
    write(folder, 10)
    path = tmp_path / "replicate" / f"bbbbbbbb-0123456789ab{ending}"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to({"link to a device": "/dev/zero", "link to itself": path}.get(kind, tmp_path / "absent"))
    assert checkpoint.standing(folder).step == checkpoint.tidy(folder).step == 10
    finish(folder, "cccccccc")
    assert checkpoint.standing(folder).status == "finished"


@pytest.mark.parametrize("part", ["weights", "record"])
@pytest.mark.parametrize("damage", ["flipped", "empty", "gone"])
def test_result_with_a_damaged_part_is_known_by_tidy_and_started_again(folder, caplog, part, damage):
    finish(folder, "aaaaaaaa", weights={"w": np.ones(50)})
    name = file(folder, "aaaaaaaa", f"{part}.safetensors")
    content = bytearray(folder.read(name))
    content[-1] ^= 1
    if damage == "gone":
        folder.delete(name)
    else:
        folder.write(name, bytes(content) if damage == "flipped" else b"")
    assert checkpoint.tidy(folder).status == "pending" and "does not count" in caplog.text
    assert folder.names() == []


def test_measurements_of_two_workers_count_once_and_a_damaged_one_is_replaced(folder, caplog):
    finish(folder, "aaaaaaaa", weights={"w": np.ones(2)})
    ended = checkpoint.result(folder)
    for seconds in (1.0, 2.0):  # two workers, whose durations differ
        replicate_file.write(folder, "aaaaaaaa", "-measured-probes.safetensors", measurement(seconds))
    assert [p.quantity for p in checkpoint.with_measurements(folder, ended).record.profiles] == ["probes_s"]
    assert checkpoint.unmeasured(folder, ended, ["probes", "walks"]) == ["walks"]
    for name in folder.files():
        if "measured" in name:
            folder.write(name, b"damaged")
    assert checkpoint.unmeasured(folder, ended, ["probes", "walks"]) == ["probes", "walks"]
    assert "-measured-probes.safetensors is damaged" in caplog.text
    record = Record({}, profiles=[Profile(20, "probes_s", [3.0])])
    checkpoint.write_measurement(folder, ended, "probes", record, np.empty((0, 784), np.uint8))
    assert checkpoint.unmeasured(folder, ended, ["probes"]) == []
    assert len([name for name in folder.files() if "measured" in name]) == 1


def measurement(seconds):
    return encode({"images": np.empty((0, 784), np.uint8)}, Record({}, profiles=[Profile(20, "probes_s", [seconds])]))


@pytest.mark.parametrize("ends", ["tidy", "finish"])
@pytest.mark.parametrize("ending", [".done.json", "-record.safetensors", "-weights.safetensors"])
def test_attempt_whose_result_is_damaged_goes_where_another_has_ended(folder, ending, ends):
    finish(folder, "aaaaaaaa", weights={"w": np.ones(3, np.float32)})
    if ends == "tidy":
        finish(folder, "bbbbbbbb", weights={"w": np.ones(3, np.float32)})
    name = file(folder, "aaaaaaaa", ending)
    folder.write(name, folder.read(name) + b"more")
    if ends == "tidy":
        assert checkpoint.tidy(folder).status == "finished"
    else:
        finish(folder, "bbbbbbbb", weights={"w": np.ones(3, np.float32)})
    assert {name[:8] for name in folder.files()} == {"bbbbbbbb"}
    assert checkpoint.standing(folder, thorough=True).status == "finished"
