"""Checkpoints: read back as written, damage is known, the newest two are kept, and a result counts before a failure."""

import numpy as np
import pytest

from trainables import checkpoint
from trainables.checkpoint import DamagedFileError
from trainables.records import Record
from trainables.storage import Folder


def record(step=0):
    return Record({"cell": "a", "seed": 0}, rows=[{"step": step, "loss": 1.5}])


def tensors(step=0):
    return {"weights/w": np.full((3, 4), step, np.float32), "images": np.zeros((2, 784), np.uint8)}


@pytest.fixture
def folder(tmp_path):
    return Folder(str(tmp_path / "replicate"))


def test_decode_gives_back_what_was_encoded():
    arrays, found = checkpoint.decode(checkpoint.encode(tensors(7), record(7)))
    assert found == record(7)
    np.testing.assert_array_equal(arrays["weights/w"], tensors(7)["weights/w"])


def test_decode_of_any_flipped_byte_raises_or_changes_nothing():
    content = checkpoint.encode(tensors(), record())
    expected = checkpoint.decode(content)[1]
    refused = 0
    for position in range(0, len(content), max(1, len(content) // 400)):
        damaged = bytearray(content)
        damaged[position] ^= 0x10
        try:
            arrays, found = checkpoint.decode(bytes(damaged))
        except DamagedFileError:
            refused += 1
        else:
            assert found == expected and not arrays["weights/w"].any()
    assert refused > 300


@pytest.mark.parametrize("length", [0, 4, 8, 100, -1])
def test_decode_of_a_truncated_file_raises(length):
    with pytest.raises(DamagedFileError):
        checkpoint.decode(checkpoint.encode(tensors(), record())[:length])


def test_write_checkpoint_keeps_the_newest_two(folder):
    for step in (10, 20, 30):
        checkpoint.write_checkpoint(folder, "aaaaaaaa", step, tensors(step), record(step))
    assert folder.names() == ["aaaaaaaa-000000020.safetensors", "aaaaaaaa-000000030.safetensors"]
    assert checkpoint.read_checkpoint(folder)[0] == 30


def test_read_checkpoint_falls_back_from_a_damaged_one_and_names_it(folder, caplog):
    for step in (10, 20):
        checkpoint.write_checkpoint(folder, "aaaaaaaa", step, tensors(step), record(step))
    folder.write("aaaaaaaa-000000020.safetensors", b"cut short")
    assert checkpoint.read_checkpoint(folder)[0] == 10
    assert "aaaaaaaa-000000020.safetensors is damaged" in caplog.text


def test_outcome_goes_from_pending_to_running_to_finished(folder):
    assert checkpoint.outcome(folder).status == "pending"
    checkpoint.write_checkpoint(folder, "aaaaaaaa", 10, tensors(), record(10))
    assert checkpoint.outcome(folder).status == "running"
    checkpoint.finish(folder, "aaaaaaaa", "finished", record(20), images=tensors()["images"], weights={})
    found = checkpoint.outcome(folder)
    assert (found.status, found.record, found.images.shape) == ("finished", record(20), (2, 784))
    assert not [name for name in folder.names() if name.startswith("aaaaaaaa-0")], "checkpoints are dropped"


def test_outcome_of_two_attempts_prefers_a_result_to_a_failure(folder):
    checkpoint.write_checkpoint(folder, "aaaaaaaa", 10, tensors(), record(10))
    checkpoint.cut_short(folder, {"cell": "a"}, "failed", "lost")
    failed = checkpoint.outcome(folder)
    assert (failed.status, failed.error, failed.record) == ("failed", "lost", record(10))
    assert checkpoint.read_checkpoint(folder)[0] == 10, "a failed replicate can go on from its checkpoint"
    for attempt in ("bbbbbbbb", "cccccccc"):
        checkpoint.finish(folder, attempt, "finished", record(20), images=None)
    assert checkpoint.outcome(folder).status == "finished"


def test_outcome_with_a_marker_or_record_cut_short_falls_back_and_says_so(folder, caplog):
    checkpoint.write_checkpoint(folder, "aaaaaaaa", 10, tensors(), record(10))
    folder.write("bbbbbbbb.done.json", b'{"status": "fini')
    checkpoint.finish(folder, "cccccccc", "failed", record(20), images=None)
    folder.write("cccccccc-record.safetensors", b"no")
    assert checkpoint.outcome(folder).status == "running"
    assert "bbbbbbbb.done.json does not count" in caplog.text
    assert "cccccccc.done.json does not count" in caplog.text


def test_tidy_drops_failures_and_damage_and_keeps_what_can_be_gone_on_from(folder, tmp_path):
    for step in (10, 20):
        checkpoint.write_checkpoint(folder, "aaaaaaaa", step, tensors(step), record(step))
    checkpoint.cut_short(folder, {"cell": "a"}, "failed", "lost")
    folder.write("aaaaaaaa-000000020.safetensors", b"cut short")
    folder.write("bbbbbbbb.done.json", b'{"status": "fini')
    (tmp_path / "replicate" / ".cut-off.tmp").write_bytes(b"half")
    checkpoint.tidy(folder)
    assert [path.name for path in (tmp_path / "replicate").iterdir()] == ["aaaaaaaa-000000010.safetensors"]
    found = checkpoint.outcome(folder)
    assert (found.status, found.step, found.error) == ("running", 10, None)


@pytest.mark.parametrize("failed", [False, True])
def test_tidy_tells_how_it_stood_and_reads_no_checkpoint_twice(folder, monkeypatch, failed):
    for step in (10, 20):
        checkpoint.write_checkpoint(folder, "aaaaaaaa", step, tensors(step), record(step))
    if failed:
        checkpoint.cut_short(folder, {"cell": "a"}, "failed", "lost")
    read, real = [], Folder.read
    monkeypatch.setattr(Folder, "read", lambda self, name: read.append(name) or real(self, name))
    found = checkpoint.tidy(folder)
    assert (found.status, found.step, found.ended) == ("failed" if failed else "running", 20, False)
    assert [name for name in read if name.startswith("aaaaaaaa")] == ["aaaaaaaa-000000020.safetensors"]
    assert checkpoint.tidy(folder.child("absent")).status == "pending"


def test_tidy_of_a_finished_replicate_touches_nothing(folder):
    checkpoint.cut_short(folder, {"cell": "a"}, "failed", "lost")
    checkpoint.finish(folder, "bbbbbbbb", "finished", record(20), images=None)
    before = folder.names()
    checkpoint.tidy(folder)
    assert folder.names() == before and checkpoint.outcome(folder).status == "finished"


def test_tidy_leaves_what_another_attempt_has_just_written(folder):
    checkpoint.write_checkpoint(folder, "aaaaaaaa", 10, tensors(), record(10))
    folder.write("bbbbbbbb-record.safetensors", checkpoint.encode({}, record(20)))  # its marker is about to come
    before = folder.names()
    checkpoint.tidy(folder)
    assert folder.names() == before
    checkpoint.finish(folder, "cccccccc", "finished", record(20), images=None)
    assert folder.names() == ["cccccccc-record.safetensors", "cccccccc.done.json"], "nothing can follow: all is dropped"


def test_finish_that_cannot_be_read_back_keeps_the_checkpoints(folder, monkeypatch):
    checkpoint.write_checkpoint(folder, "aaaaaaaa", 10, tensors(), record(10))
    real = Folder.write
    monkeypatch.setattr(Folder, "write", lambda self, name, content: real(self, name, content[:-9]))
    checkpoint.finish(folder, "aaaaaaaa", "finished", record(20), images=None)
    found = checkpoint.outcome(folder)
    assert (found.status, found.step) == ("running", 10)


def test_outcome_and_tidy_pass_over_folders_that_others_put_there(folder):
    checkpoint.write_checkpoint(folder, "aaaaaaaa", 10, tensors(), record(10))
    folder.child("@eaDir").write("x", b"")
    folder.child("bbbbbbbb-000000020.safetensors").write("x", b"")
    checkpoint.tidy(folder)
    assert checkpoint.outcome(folder).step == 10
    checkpoint.finish(folder, "aaaaaaaa", "finished", record(20), images=None)
    assert checkpoint.outcome(folder).status == "finished"


def test_outcome_looks_again_where_files_went_while_it_looked(folder, monkeypatch):
    checkpoint.finish(folder, "aaaaaaaa", "finished", record(20), images=None)
    listings = iter([["bbbbbbbb-000000010.safetensors"], folder.names(), folder.names()])
    monkeypatch.setattr(Folder, "files", lambda self: next(listings))
    assert checkpoint.outcome(folder).status == "finished"


def test_folder_write_that_fails_leaves_the_old_file(folder, monkeypatch):
    folder.write("name", b"old")
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
    checkpoint.write_checkpoint(folder, "aaaaaaaa", 10, tensors(), record(10))
    checkpoint.cut_short(folder, {"cell": "a"}, "stopped", "not among the best")
    found = checkpoint.outcome(folder)
    assert (found.status, found.error, found.ended, found.weights) == ("stopped", "not among the best", True, None)
    assert found.record == record(10) and found.images is not None
    assert not [name for name in folder.files() if name.startswith("aaaaaaaa")], "nothing goes on from there"
    checkpoint.tidy(folder)
    assert checkpoint.outcome(folder).status == "stopped"


def test_read_checkpoint_up_to_a_step_is_the_newest_up_to_it(folder):
    for step in (10, 20):
        checkpoint.write_checkpoint(folder, "aaaaaaaa", step, tensors(step), record(step))
    assert [checkpoint.read_checkpoint(folder, at_most)[0] for at_most in (None, 25, 19)] == [20, 20, 10]
    assert checkpoint.read_checkpoint(folder, 9) is None
