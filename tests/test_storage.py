"""Folders: whole files or none, on a local path and on a URL of it."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from trainables.storage import Folder, StorageError


@pytest.fixture(params=["path", "url"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    root = tmp_path / "run"
    root.mkdir()
    return Folder(str(root) if request.param == "path" else root.as_uri())


def test_write_read_round_trips_and_makes_the_folder(folder: Folder) -> None:
    folder.write("a.bin", b"\x00\xff" * 100)
    assert folder.read("a.bin") == b"\x00\xff" * 100


def test_write_empty_file_is_a_file(folder: Folder) -> None:
    folder.write("empty", b"")
    assert folder.read("empty") == b""
    assert folder.exists("empty")


def test_write_again_replaces_the_content_and_leaves_one_file(folder: Folder) -> None:
    folder.write("a", b"old and longer")
    folder.write("a", b"new")
    assert folder.read("a") == b"new"
    assert folder.names() == ["a"]


def test_write_that_fails_leaves_the_old_file_and_nothing_else(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    folder.write("a", b"old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=r"run/a cannot be written: No space left on device\. What was written"):
        folder.write("a", b"new")
    monkeypatch.undo()
    assert folder.read("a") == b"old"
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["a"]


def test_write_where_the_folder_above_has_gone_is_refused(folder: Folder, tmp_path: Path) -> None:
    folder.child("b").write("a", b"")
    shutil.rmtree(tmp_path / "run")
    with pytest.raises(StorageError, match="No such file or directory"):
        folder.child("b").write("a", b"")
    assert not (tmp_path / "run").exists()


def test_create_makes_the_folders_above_and_says_what_is_in_the_way(folder: Folder, tmp_path: Path) -> None:
    folder.child("b").child("c").create().write("a", b"")
    assert (tmp_path / "run" / "b" / "c" / "a").is_file()
    with pytest.raises(StorageError, match="cannot be made"):
        folder.child("b").child("c").child("a").child("d").create()


def test_sweep_deletes_unfinished_writes_only(folder: Folder, tmp_path: Path) -> None:
    folder.write("a", b"")
    (tmp_path / "run" / ".a.1234.tmp").write_bytes(b"half")
    (tmp_path / "run" / ".lock").write_bytes(b"")
    folder.sweep()
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [".lock", "a"]


def test_names_are_sorted_without_unfinished_writes(folder: Folder, tmp_path: Path) -> None:
    for name in ("b", "a"):
        folder.write(name, b"")
    folder.child("c").write("inner", b"")
    (tmp_path / "run" / ".b.1234.tmp").write_bytes(b"half")
    assert folder.names() == ["a", "b", "c"]


def test_names_of_an_absent_folder_are_none(folder: Folder) -> None:
    assert folder.child("absent").names() == []


def test_read_absent_file_raises(folder: Folder) -> None:
    with pytest.raises(FileNotFoundError):
        folder.read("absent")


def test_delete_removes_the_file_and_an_absent_one_is_no_error(folder: Folder) -> None:
    folder.write("a", b"")
    folder.delete("a")
    assert not folder.exists("a")
    folder.delete("a")
    assert folder.names() == []


def test_exists_is_true_for_files_only(folder: Folder) -> None:
    folder.child("inner").write("a", b"")
    assert folder.child("inner").exists("a")
    assert not folder.exists("inner")
    assert not folder.exists("absent")


def test_child_of_a_folder_with_a_trailing_slash_has_one_slash(tmp_path: Path) -> None:
    assert Folder(f"{tmp_path}/").child("a").url == f"{tmp_path}/a"


def test_local_is_the_path_or_none_for_a_url(tmp_path: Path) -> None:
    assert Folder(str(tmp_path)).local == Folder(tmp_path.as_uri()).local == tmp_path
    assert Folder("s3://bucket/run").local is None


def test_folder_name_with_a_space_works(tmp_path: Path) -> None:
    for url in (str(tmp_path / "my run"), (tmp_path / "my run").as_uri()):
        Folder(url).write("a", url.encode())
        assert (tmp_path / "my run" / "a").read_bytes() == url.encode()
