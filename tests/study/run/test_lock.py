"""One launch at a time: a file lock on a local disk, elsewhere a heartbeat, taken over once it stands still."""

import pickle
import threading
import time

import pytest
from filelock import FileLock

from study.run import lock
from study.run.lock import RunError
from trainables.storage import Folder, StorageError


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    monkeypatch.setattr(lock, "BEAT_S", 0.1)
    monkeypatch.setattr(lock, "DEAD_AFTER_S", 1.0)
    monkeypatch.setattr(lock, "SETTLE_S", 0.2)


@pytest.fixture
def remote(tmp_path, monkeypatch):
    """A folder that stands for one on an object store: the lock takes no file system's help."""
    monkeypatch.setattr(Folder, "local", None)
    return Folder((tmp_path / "run").as_uri())


def hold(run, lost=lambda reason: pytest.fail(reason)):
    return lock.held(run, lost)


def leave(run):
    """What a launch leaves that was killed."""
    run.create().write(lock.HEARTBEAT, lock._beat("dead", 7))


def test_held_local_folder_refuses_a_second_launch_and_is_free_afterwards(tmp_path):
    run = Folder(str(tmp_path / "new" / "run"))
    with hold(run), pytest.raises(RunError, match="run is in use by another `study launch` or"), hold(run):
        pass
    with hold(run):
        assert run.names() == []


def test_held_local_folder_left_by_a_dead_launch_is_free_at_once(tmp_path):
    (tmp_path / ".lock").touch()
    with hold(Folder(str(tmp_path))), pytest.raises(TimeoutError):
        FileLock(tmp_path / ".lock", timeout=0).acquire()


@pytest.mark.parametrize("kind", ["path", "url"])
def test_held_where_a_file_is_in_the_way_says_so(tmp_path, kind):
    (tmp_path / "run").write_text("a file")
    path = tmp_path / "run"
    with (
        pytest.raises(RunError, match=r"run.* cannot be"),
        hold(Folder(str(path) if kind == "path" else path.as_uri())),
    ):
        pass
    assert path.read_text() == "a file"


def test_held_remote_folder_refuses_a_second_launch_and_names_the_first(remote):
    with hold(remote), pytest.raises(RunError, match=r"in use.*held by process \d+ on "), hold(remote):
        pass
    with hold(remote):
        pass
    assert not remote.exists(lock.HEARTBEAT)


def test_held_remote_folder_left_by_a_dead_launch_is_taken_over_in_time(remote, caplog):
    leave(remote)
    started = time.monotonic()
    with hold(remote):
        assert lock.DEAD_AFTER_S <= time.monotonic() - started < lock.DEAD_AFTER_S + 2
    assert "waiting to see" in caplog.text


def test_held_remote_folder_taken_over_tells_its_holder_and_is_left_to_the_other(remote):
    told = threading.Event()
    with hold(remote, lambda reason: told.set()):
        leave(remote)
        assert told.wait(5)
    assert lock._holder(remote, "id") == "dead", "who lost it does not delete the other's heartbeat"


def test_held_remote_folder_by_many_at_one_moment_goes_to_one(remote):
    outcomes = []

    def launch():
        try:
            with hold(remote):
                outcomes.append("held")
                time.sleep(1)
        except RunError:
            outcomes.append("refused")

    remote.create()
    threads = [threading.Thread(target=launch) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["held", "refused", "refused", "refused"]


def test_held_remote_folder_that_was_lost_in_a_sleep_is_written_no_more(remote, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(lock, "_clock", lambda: now[0])
    monkeypatch.setattr(lock, "BEAT_S", 60.0)
    with hold(remote) as folder:
        replicates = folder.child("replicates")
        replicates.create()
        replicates.write("a", b"1")
        leave(remote)
        now[0] += lock.DEAD_AFTER_S
        for write in (lambda: replicates.write("a", b"2"), lambda: folder.delete("a"), lambda: folder.write("b", b"")):
            with pytest.raises(StorageError, match="was taken over by"):
                write()
        assert replicates.read("a") == b"1"
        remote.delete(lock.HEARTBEAT)
        with pytest.raises(StorageError, match="was taken over by another launch"):
            replicates.write("a", b"2")


def test_held_remote_folder_that_is_still_held_after_a_sleep_is_written(remote, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(lock, "_clock", lambda: now[0])
    with hold(remote) as folder:
        now[0] += 10 * lock.DEAD_AFTER_S
        folder.write("a", b"1")
        assert pickle.loads(pickle.dumps(folder)) == remote, "a worker writes under names of its own"


def test_held_remote_folder_keeps_the_key_of_its_url(monkeypatch):
    monkeypatch.setattr(lock, "_holder", lambda *_: "")
    folder = lock.LeasedFolder("s3://KEY:SECRET@bucket/run", lock.Lease(Folder("s3://bucket/run"), "me"))
    for same in (folder, pickle.loads(pickle.dumps(folder))):
        assert same.child("a").location == "s3://KEY:SECRET@bucket/run/a" and "SECRET" not in same.url
