"""SHA256SUMS of a folder of tables, so that whoever fetches or cites it can check it: `sha256sum -c SHA256SUMS`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from study.runfolder import PROVENANCE, SPEC
from study.tables.columns import SCHEMAS
from trainables.storage import Folder

SUMS = "SHA256SUMS"
FILES = sorted([SPEC, PROVENANCE, *(f"{name}.parquet" for name in SCHEMAS)])
"""The files whose digests it holds."""


def write_sums(tables: Folder) -> None:
    """Writes the digests of a folder's tables, spec and provenance."""
    tables.write(SUMS, "".join(f"{_digest(tables, name)}  {name}\n" for name in FILES).encode())


def wrong_sums(tables: Folder) -> Iterator[str]:
    """Names the files of a folder that are not those of its SHA256SUMS, if it has one; one readable line each."""
    if not tables.exists(SUMS):
        return
    text = tables.read(SUMS).decode(errors="backslashreplace")
    lines = [line.partition("  ") for line in text.splitlines()]
    named = {name: digest for digest, _, name in lines}
    for name in FILES:
        if named.get(name) != _digest(tables, name):
            yield f"{tables.url}/{name} must have the digest that {SUMS} names, but has another."


def _digest(tables: Folder, name: str) -> str:
    return hashlib.sha256(tables.read(name)).hexdigest()
