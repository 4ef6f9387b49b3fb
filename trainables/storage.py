"""A folder on any file system that pyarrow knows: a local path, NFS, `s3://...`, `gs://...`."""

from __future__ import annotations

import contextlib
import uuid
from dataclasses import dataclass
from pathlib import Path

from pyarrow import fs


@dataclass(frozen=True)
class Folder:
    """A folder; `url` is a local path or a URL. Plain data, so that it can be sent to another process."""

    url: str

    def child(self, name: str) -> Folder:
        """The folder `name` in this one."""
        return Folder(f"{self.url.rstrip('/')}/{name}")

    def read(self, name: str) -> bytes:
        """The file's bytes. Raises FileNotFoundError."""
        system, root = self._open()
        with system.open_input_stream(f"{root}/{name}") as stream:
            content: bytes = stream.read()
        return content

    def write(self, name: str, content: bytes) -> None:
        """Writes a file whole or not at all: a reader sees the old file or the new one, never a part."""
        system, root = self._open()
        system.create_dir(root, recursive=True)
        local = system.type_name == "local"  # an object store's put is atomic as it is
        target = f"{root}/.{name}.{uuid.uuid4().hex[:8]}.tmp" if local else f"{root}/{name}"
        try:
            with system.open_output_stream(target) as stream:
                stream.write(content)
            if local:
                system.move(target, f"{root}/{name}")
        except OSError:
            if local and system.get_file_info(target).type != fs.FileType.NotFound:
                system.delete_file(target)
            raise

    def delete(self, name: str) -> None:
        """Deletes a file; one that is gone already is no error."""
        system, root = self._open()
        with contextlib.suppress(FileNotFoundError):
            system.delete_file(f"{root}/{name}")

    def names(self) -> list[str]:
        """Names of the files and folders in this one, sorted, unfinished writes apart; empty if it is absent."""
        system, root = self._open()
        infos = system.get_file_info(fs.FileSelector(root, allow_not_found=True))
        return sorted(info.base_name for info in infos if not info.base_name.startswith("."))

    def exists(self, name: str) -> bool:
        """Whether there is a file `name`."""
        system, root = self._open()
        return bool(system.get_file_info(f"{root}/{name}").type == fs.FileType.File)

    @property
    def local(self) -> Path | None:
        """The folder as a local path, or None if it is not on a local file system."""
        return None if "://" in self.url else Path(self.url)

    def _open(self) -> tuple[fs.FileSystem, str]:
        if "://" not in self.url:
            return fs.LocalFileSystem(), str(Path(self.url).expanduser().absolute())
        system, path = fs.FileSystem.from_uri(self.url)
        return system, path.rstrip("/")
