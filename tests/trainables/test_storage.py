"""Folders: whole files or none, on a local path and on a URL of it."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from trainables.storage import LARGEST, Folder, StorageError, UnreadableFileError, UrlError, write_file


@pytest.fixture(params=["path", "url"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    root = tmp_path / "run"
    root.mkdir()
    return Folder(str(root) if request.param == "path" else root.as_uri())


@pytest.fixture(params=["path", "url", "s3"])
def any_folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    """One on any file system, also where there are no folders but names with slashes."""
    if request.param == "s3":
        return Folder(f"s3://{request.getfixturevalue('bucket')}/runs/run").create()
    folder = tmp_path / "run"
    folder.mkdir()
    return Folder(str(folder) if request.param == "path" else folder.as_uri())


def test_write_read_round_trips_and_makes_the_folder(any_folder: Folder) -> None:
    any_folder.write("a.bin", b"\x00\xff" * 100)
    assert any_folder.read("a.bin") == b"\x00\xff" * 100


def test_write_empty_file_is_a_file(any_folder: Folder) -> None:
    any_folder.write("empty", b"")
    assert any_folder.read("empty") == b""
    assert any_folder.exists("empty")


def test_write_again_replaces_the_content_and_leaves_one_file(any_folder: Folder) -> None:
    any_folder.write("a", b"old and longer")
    any_folder.write("a", b"new")
    assert any_folder.read("a") == b"new"
    assert any_folder.names() == ["a"]


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


def test_write_where_the_folder_has_gone_is_refused_and_makes_none(folder: Folder, tmp_path: Path) -> None:
    folder.child("b").create().write("a", b"")
    shutil.rmtree(tmp_path / "run")
    for gone in (folder, folder.child("b")):
        with pytest.raises(StorageError, match="No such file or directory"):
            gone.write("a", b"")
    with pytest.raises(StorageError, match="cannot be made"):
        folder.child("b").create(above=False)
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
    folder.child("c").create().write("inner", b"")
    (tmp_path / "run" / ".b.1234.tmp").write_bytes(b"half")
    assert folder.names() == ["a", "b", "c"]


def test_names_of_an_absent_folder_are_none(any_folder: Folder) -> None:
    assert any_folder.child("absent").names() == []


def test_read_absent_file_raises(any_folder: Folder) -> None:
    with pytest.raises(FileNotFoundError):
        any_folder.read("absent")


def test_delete_removes_the_file_and_an_absent_one_is_no_error(any_folder: Folder) -> None:
    any_folder.write("a", b"")
    any_folder.delete("a")
    assert not any_folder.exists("a")
    any_folder.delete("a")
    assert any_folder.names() == []


def test_exists_is_true_for_files_only(any_folder: Folder) -> None:
    any_folder.child("inner").create().write("a", b"")
    assert any_folder.child("inner").exists("a")
    assert not any_folder.exists("inner")
    assert not any_folder.exists("absent")


def test_child_of_a_folder_with_a_trailing_slash_has_one_slash(tmp_path: Path) -> None:
    assert Folder(f"{tmp_path}/").child("a").url == f"{tmp_path}/a"


def test_child_of_a_url_with_options_keeps_them_at_its_end() -> None:
    child = Folder("s3://bucket/run?region=eu-west-1").child("a").child("b")
    assert child.url == "s3://bucket/run/a/b?region=eu-west-1"
    assert Folder("what?/run").child("a").url == "what?/run/a", "a path is no URL"


def test_folders_of_one_bucket_share_its_connections(bucket: str) -> None:
    one, other = Folder(f"s3://{bucket}/a"), Folder(f"s3://{bucket}/b/c")
    assert one._open()[0] is other._open()[0]
    assert (one._open()[1], other._open()[1]) == (f"{bucket}/a", f"{bucket}/b/c")


def test_write_into_an_absent_bucket_raises_what_the_server_says(bucket: str) -> None:
    with pytest.raises(OSError, match="NO_SUCH_BUCKET"):
        Folder(f"s3://{bucket}-absent/run").write("a", b"")


def test_local_is_the_path_or_none_for_a_url(tmp_path: Path) -> None:
    assert Folder(str(tmp_path)).local == Folder(tmp_path.as_uri()).local == tmp_path
    assert Folder("s3://bucket/run").local is None


def test_folder_name_with_a_space_works(tmp_path: Path) -> None:
    for url in (str(tmp_path / "my run"), (tmp_path / "my run").as_uri()):
        Folder(url).create().write("a", url.encode())
        assert (tmp_path / "my run" / "a").read_bytes() == url.encode()


def test_new_folder_is_on_the_disk_before_anything_in_it_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    real = os.fsync

    def sync(fd: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{fd}"))
        real(fd)

    monkeypatch.setattr(os, "fsync", sync)
    folder = Folder(str(tmp_path / "a" / "b")).create()
    assert synced == [str(tmp_path), str(tmp_path / "a")]
    folder.write("name", b"content")
    assert synced[-1] == str(tmp_path / "a" / "b")


def test_read_of_more_than_the_limit_is_refused_with_both_sizes(any_folder: Folder) -> None:
    any_folder.write("a", bytes(1001))
    assert len(any_folder.read("a", at_most=1001)) == 1001
    with pytest.raises(UnreadableFileError, match="a must have at most 1,000 bytes, but has 1,001"):
        any_folder.read("a", at_most=1000)


@pytest.mark.parametrize("read", [Folder.read, Folder.open_file])
@pytest.mark.parametrize("kind", ["pipe", "folder", "link to a device", "link to a pipe"])
def test_read_of_what_is_no_file_is_refused_at_once(
    tmp_path: Path, kind: str, read: Callable[[Folder, str], object]
) -> None:
    path, pipe = tmp_path / "a", tmp_path / "pipe"
    os.mkfifo(pipe)
    if kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero" if kind == "link to a device" else pipe)
    with pytest.raises(UnreadableFileError, match="must be a file, but it is something else"):
        read(Folder(str(tmp_path)), "pipe" if kind == "pipe" else "a")


def test_read_of_a_large_hole_takes_no_memory(tmp_path: Path) -> None:
    with (tmp_path / "a").open("wb") as file:
        file.truncate(LARGEST + 1)
    with pytest.raises(UnreadableFileError, match="must have at most"):
        Folder(str(tmp_path)).read("a")


def test_read_of_an_absent_file_raises_that(any_folder: Folder) -> None:
    with pytest.raises(FileNotFoundError):
        any_folder.read("absent")


def test_create_without_those_above_makes_nothing_where_these_have_gone(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be made: No such file or directory"):
        Folder(str(tmp_path / "gone" / "replicates")).create(above=False)
    assert not list(tmp_path.iterdir())
    assert Folder(str(tmp_path / "replicates")).create(above=False).names() == []


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("s3://KEY:SECRET@bucket/run", "s3://bucket/run"),
        ("s3://KEY:SEC/RET@bucket/run", "s3://bucket/run"),
        ("s3://bucket/a@b", "s3://bucket/a@b"),
        ("s3://bucket/run?region=eu-west-1&secret_key=SECRET", "s3://bucket/run?region=eu-west-1"),
        ("s3://bucket/run?endpoint_override=http://KEY:SECRET@host", "s3://bucket/run"),
        ("abfs://:SECRET@account/run?client_secret=SECRET", "abfs://account/run"),
        ("/home/alice/runs/x", "~/runs/x"),
        ("/home/alice", "~"),
        ("/home/alice2/x", "/home/alice2/x"),
        ("file:///home/alice/my%20run", "~/my run"),
        ("runs/x", "runs/x"),
        ("runs/\x1b[2J", r"runs/\x1b[2J"),
        ("runs/\udcff", r"runs/\udcff"),
    ],
)
def test_url_of_a_folder_has_no_secret_no_home_and_only_text(
    location: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/alice")
    assert Folder(location).url == url
    assert "SECRET" not in repr(Folder(location))
    assert "SECRET" not in Folder(location).child("a").url


def test_url_error_shows_no_secret() -> None:
    with pytest.raises(UrlError) as caught:
        Folder("s4://KEY:SECRET@bucket/run").names()
    assert "SECRET" not in str(caught.value)


def test_write_file_that_fails_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out.csv"
    write_file(path, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_file(path, b"new")
    assert path.read_bytes() == b"old" and [file.name for file in tmp_path.iterdir()] == ["out.csv"]


def test_write_file_of_a_device_is_written_to() -> None:
    write_file(Path("/dev/null"), b"new")
    assert not Path("/dev/null").is_file()


@pytest.mark.parametrize("within", ["", "run"])
def test_listing_with_a_name_that_is_not_utf8_is_refused_with_the_remedy(tmp_path: Path, within: str) -> None:
    (tmp_path / "run").mkdir()
    os.mkdir(os.fsencode(tmp_path / within) + b"/a\xe9")
    folder = Folder(str(tmp_path / within))
    for look in (folder.names, folder.files, folder.files_within):
        with pytest.raises(UnreadableFileError, match=r"names in UTF-8 alone, .*xe9.*: rename or delete"):
            look()


def test_folder_without_a_name_is_refused() -> None:
    with pytest.raises(UrlError, match="a folder must be a path or a URL, but got ''"):
        Folder("")
