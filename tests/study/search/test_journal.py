"""A search's journal: batches are whole or absent, each is written once, and what was altered is noticed."""

import json

import pytest

from study.search import journal
from study.search.journal import Journal
from study.search.journal_reader import BATCHES, FIELDS, JOURNAL, JournalError, read_asked, read_journal
from trainables.storage import Folder, StorageError


@pytest.fixture(params=["local", "object store"])
def run(request, tmp_path, monkeypatch):
    """A run folder on a local disk, or one where nothing can be appended to a file."""
    if request.param != "local":
        (tmp_path / BATCHES).mkdir()  # an object store needs no folder
        monkeypatch.setattr(Folder, "local", None)
        monkeypatch.setattr(Folder, "append", lambda *_, **__: pytest.fail("object stores cannot append"))
    return Folder(str(tmp_path))


def write(run, *numbers):
    """Writes a batch of two operations for each number."""
    written = Journal(run)
    for number in numbers:
        with written.batch():
            written.append_logs([{"begin": number}])
            written.append_logs([{"end": number}])
    return written


def logs(run):
    return [value for log in read_journal(run).logs for value in log.values()]


def test_journal_writes_a_batch_whole_or_not_at_all(run):
    written = Journal(run)
    with written.batch():
        written.append_logs([{"a": 1}])
        assert not run.exists(JOURNAL) and list(written.read_logs(0)) == [{"a": 1}]
        written.append_logs([{"b": 2}])
    with pytest.raises(TypeError, match="not JSON serializable"), written.batch():
        written.append_logs([{"c": 3}, {"d": object()}])
    with pytest.raises(JournalError, match="must be opened again"):
        written.append_logs([{"e": 4}])
    assert list(Journal(run).read_logs(1)) == [{"b": 2}]


def test_journal_goes_on_where_it_was(run):
    write(run, 1, 2, 3)
    write(run, 4)
    write(run, 5, 6)
    assert logs(run) == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6]


def test_journal_writes_each_batch_once(tmp_path, monkeypatch):
    sizes, real = [], Folder.append
    monkeypatch.setattr(
        Folder, "append", lambda self, *args, **kwargs: sizes.append(len(args[1])) or real(self, *args, **kwargs)
    )
    write(Folder(str(tmp_path)), *range(10, 60))
    assert len(sizes) == 49 and len(set(sizes)) == 1, "no batch costs more than the one before"


def test_journal_on_an_object_store_gathers_its_batches(tmp_path, monkeypatch):
    (tmp_path / BATCHES).mkdir()
    monkeypatch.setattr(Folder, "local", None)
    monkeypatch.setattr(journal, "MOST_BATCHES", 3)
    run = Folder(str(tmp_path))
    for count in range(1, 12):
        write(run, *range(100 * count, 100 * count + count))
        assert len(run.child(BATCHES).names()) <= 3
    assert logs(run) == [100 * count + n for count in range(1, 12) for n in range(count) for _ in range(2)]


def test_journal_of_an_earlier_version_is_read_continued_and_sealed(run):
    old = [{"op_code": 0}, {"op_code": 8, "trial_id": 0, "user_attr": {FIELDS: {"l2": 0.5}}}]
    run.create().write(JOURNAL, "".join(json.dumps(log) + "\n" for log in old).encode())
    assert read_journal(run).logs == old and read_journal(run).seal == b""
    write(run, 1)
    assert read_journal(run).logs == [*old, {"begin": 1}, {"end": 1}]
    content = run.read(JOURNAL)
    run.write(JOURNAL, content.replace(b"0.5", b"0.6"))
    with pytest.raises(JournalError, match="damaged in lines 1 to 4: they do not match their digest"):
        read_journal(run)


@pytest.mark.parametrize("kept", [0.3, 0.9])
def test_journal_cut_off_within_a_batch_drops_that_batch_alone(tmp_path, kept):
    run, path = Folder(str(tmp_path)), tmp_path / JOURNAL
    write(run, 1, 2)
    before = path.stat().st_size
    write(run, 3)
    content = path.read_bytes()
    path.write_bytes(content[: before + int(kept * (len(content) - before))])
    assert logs(run) == [1, 1, 2, 2]
    write(run, 4)
    assert logs(run) == [1, 1, 2, 2, 4, 4]


@pytest.mark.parametrize("line", range(6))
def test_journal_with_an_altered_or_a_missing_line_is_refused_by_its_number(tmp_path, line):
    run, path = Folder(str(tmp_path)), tmp_path / JOURNAL
    write(run, 1, 2, 3)
    lines = path.read_bytes().splitlines(keepends=True)
    start = line // 2 * 2
    for damaged in (lines[line].replace(b":%d" % (line // 2 + 1), b":7"), b""):
        path.write_bytes(b"".join([*lines[:line], damaged, *lines[line + 1 :]]))
        if line == 5 and not damaged:
            assert logs(run) == [1, 1, 2, 2], "without its end a batch counts as cut off"
        else:
            with pytest.raises(JournalError, match=rf"search\.jsonl is damaged in lines {start + 1} to "):
                read_journal(run)
            assert len(Journal(run).read_logs(0)) == start, "the batches before it stay"


@pytest.mark.parametrize("content", [b'{"op_code": 0}\n{"op', b"[1]\n", b"\xff\n"])
def test_journal_of_an_earlier_version_that_is_damaged_is_refused_by_name(run, content):
    run.create().write(JOURNAL, content)
    with pytest.raises(JournalError, match=r"search\.jsonl is damaged in line .*`study launch` .* makes it good"):
        read_journal(run)
    assert not Journal(run).read_logs(0), "none is known to be whole"


@pytest.mark.parametrize(
    "change", [{"trial_id": "x"}, {"trial_id": [1]}, {}, {"trial_id": 0, "user_attr": {FIELDS: 3}}]
)
def test_journal_of_an_earlier_version_with_values_of_wrong_types_is_refused_by_its_line(run, change):
    operation = {"op_code": 8, "user_attr": {FIELDS: {"steps": 5}}} | change
    run.create().write(JOURNAL, json.dumps(operation).encode() + b"\n")
    with pytest.raises(JournalError, match=r"search\.jsonl is damaged in line 1.*`study launch` .* makes it good"):
        read_asked(run)


def test_journal_leaves_files_of_others_beside_its_batches_alone(tmp_path, monkeypatch):
    (tmp_path / BATCHES).mkdir()
    (tmp_path / BATCHES / "Thumbs.db").write_bytes(b"x")
    monkeypatch.setattr(Folder, "local", None)
    monkeypatch.setattr(journal, "MOST_BATCHES", 2)
    run = Folder(str(tmp_path))
    write(run, 1, 2, 3, 4, 5)
    assert logs(run) == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert (tmp_path / BATCHES / "Thumbs.db").exists()


def test_journal_on_an_object_store_leaves_out_the_batches_of_a_driver_that_lost_its_lock(tmp_path, monkeypatch):
    (tmp_path / BATCHES).mkdir()
    monkeypatch.setattr(Folder, "local", None)
    run = Folder(str(tmp_path))
    asleep = write(run, 1)
    write(run, 2, 3)
    asleep.append_logs([{"late": 0}])
    assert logs(run) == [1, 1, 2, 2, 3, 3]
    write(run, 4)
    assert logs(run) == [1, 1, 2, 2, 3, 3, 4, 4]


def test_journal_that_could_not_be_written_takes_nothing_more(run, monkeypatch):
    written = write(run, 1)

    def full(*_, **__):
        raise StorageError("it is full")

    with monkeypatch.context() as patch:
        patch.setattr(Folder, "append", full)
        patch.setattr(Folder, "write", full)
        with pytest.raises(StorageError, match="it is full"):
            written.append_logs([{"a": 0}])
    with pytest.raises(JournalError, match="must be opened again"):
        written.append_logs([{"b": 0}])
    assert logs(run) == [1, 1]
