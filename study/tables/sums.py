"""SHA256SUMS of a folder of tables, so that whoever fetches or cites it can check it: `sha256sum -c SHA256SUMS`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from study.runfolder import PROVENANCE, SPEC
from study.tables.columns import SCHEMAS
from trainables.storage import Folder

SUMS = "SHA256SUMS"
TABLES = sorted(f"{name}.parquet" for name in SCHEMAS)
"""The files whose digests it holds in a run folder, whose spec and provenance change with each launch."""
FILES = sorted([SPEC, PROVENANCE, *TABLES])
"""The files whose digests it holds beside merged tables."""


def write_sums(folder: Folder, files: Sequence[str] = FILES) -> None:
    """Writes the digests of a folder's files."""
    folder.write(SUMS, "".join(f"{_digest(folder, name)}  {name}\n" for name in files).encode())


def wrong_sums(folder: Folder) -> Iterator[str]:
    """Names the files of a folder that are not those of its SHA256SUMS, if it has one; one readable line each."""
    if not folder.exists(SUMS):
        return
    text = folder.read(SUMS).decode(errors="backslashreplace")
    named = {name: digest for digest, _, name in (line.partition("  ") for line in text.strip("\n").split("\n"))}
    for name in sorted(named.keys() - FILES):
        yield f"{folder.url}/{SUMS} must name the files {', '.join(FILES)}, but names {name!r}."
    for name in sorted({*TABLES, *named} & {*FILES}):
        if named.get(name) != _digest(folder, name):
            yield f"{folder.url}/{name} must have the digest that {SUMS} names, but has another."


def _digest(folder: Folder, name: str) -> str | None:
    try:
        return hashlib.sha256(folder.read(name)).hexdigest()
    except FileNotFoundError:
        return None
