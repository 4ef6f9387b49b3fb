"""A folder on any file system that pyarrow knows: a local path, NFS, `s3://...`, `gs://...`."""

from __future__ import annotations

import contextlib
import os
import re
import stat
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import unquote, urlsplit

from trainables.errors import ReadableError
from trainables.patience import patiently, with_timeouts

if TYPE_CHECKING:
    from pyarrow import NativeFile, fs

LARGEST = 4 << 30
"""How many bytes of a file are read at most: far more than any that a study writes."""
_T = TypeVar("_T")
_PUBLIC = frozenset({"region", "scheme", "endpoint_override", "allow_bucket_creation", "allow_bucket_deletion"})
"""Options of a URL that are no secrets."""
_USER = re.compile(r"^[^/@]*@|^[^@]*:[^@]*@")
_SYSTEMS: dict[tuple[str, str, str], fs.FileSystem] = {}
"""A file system for each server and bucket, since its connections take a while to open."""


class StorageError(ReadableError, OSError):
    """A folder cannot be read or written: it is full, gone, not ours to write, or does not answer."""


class UrlError(ReadableError):
    """A folder's name that no file system knows."""


class UnreadableFileError(ReadableError):
    """A name that is not a file's, but a folder's, a pipe's or a device's; or a file that is too large."""


@dataclass(frozen=True, repr=False)
class Folder:
    """A folder by its local path or URL. Plain data, so that it can be sent to another process."""

    location: str
    """The path or URL as it was given, which may hold secrets: `url` is what may be stored and printed."""

    def __post_init__(self) -> None:
        if not self.location:
            raise UrlError("a folder must be a path or a URL, but got ''.")

    def __repr__(self) -> str:
        return f"Folder({self.url!r})"

    @property
    def url(self) -> str:
        """The path or URL as it may be stored and printed: see `without_secrets`."""
        return without_secrets(self.location)

    def child(self, name: str) -> Folder:
        """The folder `name` in this one."""
        path, mark, options = self.location.partition("?") if "://" in self.location else (self.location, "", "")
        return replace(self, location=f"{path.rstrip('/')}/{name}{mark}{options}")

    def absolute(self) -> Folder:
        """The same folder for a process that runs elsewhere on this machine."""
        return self if self.local is None else replace(self, location=str(self.local.absolute()))

    def create(self, *, above: bool = True) -> Folder:
        """Makes the folder if it is absent, and those above it unless they must be there. Raises StorageError."""
        system, root = self._open()
        try:
            if system.type_name == "local":
                _make(Path(root), above)
            else:
                patiently(lambda: system.create_dir(root, recursive=True))
        except OSError as error:
            raise StorageError(f"{self.url} cannot be made: {_cause(error)}.") from error
        return self

    def read(self, name: str, at_most: int = LARGEST) -> bytes:
        """The file's bytes.

        Raises:
            FileNotFoundError: It is absent.
            UnreadableFileError: It is no regular file, or has more than `at_most` bytes.
        """
        system, root = self._open()
        local = Path(root, name) if system.type_name == "local" else None

        def read() -> bytes:
            self._check_regular(name)
            with system.open_input_file(f"{root}/{name}") if local is None else local.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                if size > at_most:
                    raise UnreadableFileError(
                        f"{self.url}/{name} must have at most {at_most:,} bytes, but has {size:,}."
                    )
                file.seek(0)
                content: bytes = file.read(size)
            return content

        return self._answered(name, lambda: _tried(system, read))

    def open_file(self, name: str) -> NativeFile:
        """The file, to read parts of. Raises FileNotFoundError, and UnreadableFileError if it is no regular file."""
        system, root = self._open()
        self._check_regular(name)
        return system.open_input_file(f"{root}/{name}")

    def write(self, name: str, content: bytes) -> None:
        """Writes a file whole or not at all: a reader sees the old file or the new one, never a part.

        A local folder must be there: where a run folder has gone, as when a disk is unmounted, nothing is to be
        written in its place.

        Raises:
            StorageError: The folder is absent, the file system is full, not ours to write, or does not answer.
        """
        system, root = self._open()

        def put() -> None:  # atomic as it is, and needs no folder
            with system.open_output_stream(f"{root}/{name}") as stream:
                stream.write(content)

        try:
            if system.type_name == "local":
                _write_local(Path(root), name, content)
            else:
                patiently(put)
        except OSError as error:
            raise self._unwritable(name, error) from error

    def append(self, name: str, content: bytes, *, at: int) -> None:
        """Writes onto the disk behind the first `at` bytes of a local file; what was behind them is lost.

        Unlike `write`, a cut-off leaves a part of `content`.

        Raises:
            StorageError: The file is absent or cannot be written.
        """
        try:
            with Path(self._open()[1], name).open("r+b") as file:
                file.truncate(at)
                file.seek(at)
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise self._unwritable(name, error) from error

    def delete(self, name: str) -> None:
        """Deletes a file; one that is gone already is no error."""
        system, root = self._open()
        with contextlib.suppress(FileNotFoundError):
            _tried(system, lambda: system.delete_file(f"{root}/{name}"))

    def sweep(self) -> None:
        """Deletes what writes that were cut off have left; only local file systems keep such."""
        system, root = self._open()
        if system.type_name == "local":
            for path in Path(root).glob(".*.tmp"):
                path.unlink(missing_ok=True)

    def names(self) -> list[str]:
        """Names of the files and folders in this one, sorted, unfinished writes apart; empty if it is absent."""
        return [name for name, _ in self._list()]

    def files(self) -> list[str]:
        """Names of the files alone."""
        return [name for name, is_file in self._list() if is_file]

    def files_within(self) -> dict[str, dict[str, int]]:
        """Files in each folder within this one, with their bytes, in one look; empty if it is absent."""
        files: dict[str, dict[str, int]] = {}
        for info in self._infos(recursive=True):
            if info.is_file:
                files.setdefault(Path(info.path).parent.name, {})[info.base_name] = info.size
        return files

    def exists(self, name: str) -> bool:
        """Whether there is a file `name`."""
        system, root = self._open()
        info = self._answered(name, lambda: _tried(system, lambda: system.get_file_info(f"{root}/{name}")))
        return bool(info.is_file)

    @property
    def local(self) -> Path | None:
        """The folder as a local path, or None if it is not on a local file system."""
        if self.location.startswith("file://"):
            return Path(self._open()[1])
        return None if "://" in self.location else Path(self.location).expanduser()

    def _check_regular(self, name: str) -> None:
        """Refuses a local pipe or device, from which a reader might wait for ever, and a folder."""
        system, root = self._open()
        if system.type_name == "local" and not stat.S_ISREG(Path(root, name).stat().st_mode):
            raise UnreadableFileError(f"{self.url}/{name} must be a file, but it is something else.")

    def _unwritable(self, name: str, error: OSError) -> StorageError:
        return StorageError(
            f"{self.url}/{name} cannot be written: {_cause(error)}. What was written before is intact; "
            "mend this, then launch again to go on."
        )

    def _answered(self, name: str, read: Callable[[], _T]) -> _T:
        """Reads; raises StorageError where the file system does not answer, or has an error of its own."""
        try:
            return read()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError):
            raise
        except OSError as error:
            raise StorageError(f"{self.url}/{name} cannot be read: {_cause(error)}. Launch again to go on.") from error
        except UnicodeDecodeError as error:  # of a listing
            raise UnreadableFileError(
                f"{self.url} must hold names in UTF-8 alone, but holds one with {error.object!r}: rename or delete it."
            ) from None

    def _list(self) -> list[tuple[str, bool]]:
        """The names in this folder, sorted, and whether each is a file's."""
        infos = self._infos(recursive=False)
        return sorted((info.base_name, info.is_file) for info in infos if not info.base_name.startswith("."))

    def _infos(self, *, recursive: bool) -> list[fs.FileInfo]:
        from pyarrow import fs

        system, root = self._open()
        selector = fs.FileSelector(root, allow_not_found=True, recursive=recursive)

        def read() -> list[fs.FileInfo]:
            infos: list[fs.FileInfo] = _tried(system, lambda: system.get_file_info(selector))
            for info in infos:
                info.path  # noqa: B018 (a name that is not UTF-8 fails here, where `_answered` says so)
            return infos

        return self._answered("", read)

    def _open(self) -> tuple[fs.FileSystem, str]:
        from pyarrow import ArrowException, fs  # in functions, since it takes as long to load as all that --help needs

        if "://" not in self.location:
            return fs.LocalFileSystem(), _utf8(str(Path(self.location).expanduser().absolute()))
        try:
            system, path = fs.FileSystem.from_uri(_utf8(self.location))
        except (ArrowException, ValueError) as error:
            reason = str(error).splitlines()[0].replace(self.location, self.url)
            raise UrlError(f"{self.url!r} must be a path or a URL like s3://bucket/run, but: {reason}.") from None
        parts = urlsplit(self.location)
        key = (parts.scheme, parts.netloc, parts.query)
        if key not in _SYSTEMS:
            _SYSTEMS[key] = with_timeouts(system)
        return _SYSTEMS[key], path.rstrip("/")


def _tried(system: fs.FileSystem, do: Callable[[], _T]) -> _T:
    """Calls `do`: once on a local disk, elsewhere with patience."""
    return do() if system.type_name == "local" else patiently(do)


def _utf8(path: str) -> str:
    try:
        path.encode()
    except UnicodeEncodeError:
        raise UrlError(f"a folder's path must be UTF-8, but got {path!a}: rename it, or set LC_ALL=C.UTF-8.") from None
    return path


def write_file(path: Path, content: bytes) -> None:
    """Writes a local file whole or not at all; a terminal or device is written to as it is. Raises OSError."""
    if not path.parent.is_dir() or (path.exists() and not path.is_file()):
        path.write_bytes(content)  # which says what is wrong
    else:
        _write_local(path.absolute().parent, path.name, content)


def without_secrets(location: str) -> str:
    """A path or URL as it may be stored and printed.

    A URL without user, password and options but _PUBLIC; a path with `~` for the home folder, which a Folder expands.
    What is no text, as bytes in a name that are not UTF-8 and control characters, is escaped.
    """
    scheme, mark, rest = location.partition("://")
    if scheme == "file":
        scheme, mark, rest = "", "", unquote(rest)
    if not mark:
        home = str(Path.home()) if os.environ.get("HOME") not in (None, "", "/") else None
        path = rest or location
        if home is not None and (path == home or path.startswith(f"{home}/")):
            path = f"~{path.removeprefix(home)}"
        return _printable(path)
    place, _, query = rest.partition("?")
    options = [option for option in query.split("&") if option.partition("=")[0] in _PUBLIC and "@" not in option]
    return _printable(f"{scheme}://{_USER.sub('', place)}{'?' if options else ''}{'&'.join(options)}")


def _printable(text: str) -> str:
    text = text.encode("utf-8", "backslashreplace").decode()
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def _write_local(root: Path, name: str, content: bytes) -> None:
    """Writes beside the target, onto the disk, and only then under its name: a power cut leaves the old or the new."""
    beside = root / f".{name}.{uuid.uuid4().hex[:8]}.tmp"
    try:
        with beside.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(root / name)
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        raise
    _sync(root)


def _make(folder: Path, above: bool) -> None:
    """Makes a folder, and those above it, each on the disk: else a power cut takes them and all files in them."""
    absent = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=above, exist_ok=True)
    for path in reversed(absent):
        _sync(path.parent)


def _sync(folder: Path) -> None:
    """Waits until the names in a folder are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _cause(error: OSError) -> str:
    return error.strerror or str(error)
