"""The tables as parquet files: written a block of replicates at a time, checked, and read in parts.

A row group holds a block, so that neither writing nor reading needs more than one in memory.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from study.plan import Plan
from study.runfolder import TableError, read_plan
from study.spec import StudySpec
from study.tables.columns import CONFIG, LATER_COLUMNS, SCHEMAS, complete
from study.tables.order import in_order
from trainables.printable import printable
from trainables.schema import RESULTS_VERSION, TrialConfig
from trainables.shape import Shape
from trainables.storage import Folder, UnreadableFileError

if TYPE_CHECKING:
    import pandas as pd

_FORMULA = re.compile(r"[=@+-](?![0-9.]*(e[+-]?[0-9]+)?$)", re.IGNORECASE)
BUILD, SOURCE = b"build", b"source"
"""Keys of a file's metadata: the digest of the tables that were made with it, and of the files they were made from."""
_LARGEST = 2**26
"""Rows of a row group, at most: the most that the format's writer allows, so that a block is never cut."""


@dataclass(frozen=True, eq=False)
class Tables:
    """A run's tables, its spec and its provenance. The tables stay in their files, of which only parts are read.

    Attributes:
        files: The open file of each table, by its name.
        spec: The study.
        provenance: How the run was made.
        url: The folder of the tables; empty for tables in memory.
    """

    files: Mapping[str, pq.ParquetFile]
    spec: StudySpec
    provenance: dict[str, Any]
    url: str = ""

    @cached_property
    def plan(self) -> Plan:
        """The study's cells and replicates, as the spec has them."""
        return Plan(self.spec, self.provenance.get("data_digests", {}))

    @property
    def configs(self) -> dict[str, TrialConfig]:
        """Each cell's config by its label."""
        return self.plan.cells

    def rows(
        self, name: str, columns: Sequence[str] | None = None, where: Mapping[str, Iterable[Any]] | None = None
    ) -> pd.DataFrame:
        """Rows of a table, in its order.

        Args:
            name: The table's name.
            columns: What is wanted of it; None for all.
            where: The values that a row may have, by column; of a row group without such a row nothing else is read.
        """
        import pyarrow.compute as pc  # takes long to load, and a run's status does without

        file = self.files[name]
        held = file.schema_arrow.names
        wanted = list(columns or (SCHEMAS[name].names if name == "images" else held))
        read = [column for column in wanted if column in held]
        if where is None:
            return self._framed(name, [file.read(read)], wanted)
        values = {key: pa.array(list(given), file.schema_arrow.field(key).type) for key, given in where.items()}
        parts = [file.schema_arrow.empty_table()]
        for group in range(file.num_row_groups):
            mask = matches(file.read_row_group(group, list(values)), values)
            if pc.any(mask).as_py():
                parts.append(file.read_row_group(group, read).filter(mask))
        return self._framed(name, [part.select(read) for part in parts], wanted)

    def _framed(self, name: str, parts: Sequence[pa.Table], wanted: Sequence[str]) -> pd.DataFrame:
        """Parts of a table as one frame, with a column of images that is younger than the table."""
        if not set(wanted) <= set(parts[0].column_names):
            parts = [complete(name, part, self.configs) for part in parts]
        return _frame(parts, wanted)

    @cached_property
    def shapes(self) -> dict[str, Shape]:
        """The images' shape of each dataset that has left images."""
        named = self.rows("images", ["replicate", "shape"]).drop_duplicates("replicate").set_index("replicate")["shape"]
        shapes = self.ends.assign(shape=self.ends["replicate"].map(named)).dropna(subset="shape")
        pairs = zip(shapes["config/dataset"], shapes["shape"], strict=True)
        return {dataset: Shape(*json.loads(shape)) for dataset, shape in pairs}

    @cached_property
    def ends(self) -> pd.DataFrame:
        """The last row of each replicate in `results`, seed by seed; with a column for every field of TrialConfig."""
        import pyarrow.compute as pc

        file = self.files["results"]
        parts = [file.schema_arrow.empty_table()]
        for batch in filter(len, file.iter_batches()):
            names = batch["replicate"]
            last = pa.concat_arrays([pc.not_equal(names[1:], names[:-1]), pa.array([True])])
            parts.append(pa.Table.from_batches([batch.filter(last)]))
        every = complete("results", pa.concat_tables(parts), self.configs)
        frame = _frame([every], every.column_names).drop_duplicates("replicate", keep="last")
        places = frame["cell"].map({label: place for place, label in enumerate(self.configs)})
        return frame.iloc[np.lexsort((places, frame["seed"]))].reset_index(drop=True)

    @cached_property
    def results(self) -> pd.DataFrame:
        """The whole table, as `profiles` and `images` are; of a large study, ask `rows` for less."""
        return self.rows("results")

    @cached_property
    def profiles(self) -> pd.DataFrame:  # noqa: D102 (see `results`)
        return self.rows("profiles")

    @cached_property
    def images(self) -> pd.DataFrame:  # noqa: D102 (see `results`)
        return self.rows("images")


def encode(blocks: Iterable[Mapping[str, pa.Table]], source: str = "") -> dict[str, bytes]:
    """Writes the tables' files by name, a row group for each block; each names its build and its source."""
    buffers = {name: io.BytesIO() for name in SCHEMAS}
    with ExitStack() as stack:
        writers = {name: stack.enter_context(_writer(buffer, SCHEMAS[name])) for name, buffer in buffers.items()}
        for block in blocks:
            for name, rows in block.items():
                writers[name].write_table(rows.combine_chunks(), row_group_size=_LARGEST)
        digest = hashlib.sha256()
        for buffer in buffers.values():
            digest.update(buffer.getvalue())
        for writer in writers.values():
            writer.add_key_value_metadata({BUILD.decode(): digest.hexdigest()[:16], SOURCE.decode(): source})
    return {name: buffer.getvalue() for name, buffer in buffers.items()}


def write(run: Folder, contents: Mapping[str, bytes]) -> None:
    """Writes the tables' files into a folder, each whole or not at all."""
    for name, content in contents.items():
        run.write(f"{name}.parquet", content)


def named(file: pq.ParquetFile, key: bytes) -> str | None:
    """Reads a text of a table's metadata; None where the table is old or another tool has written it."""
    text = (file.metadata.metadata or {}).get(key)
    return None if text is None else text.decode()


def open_tables(run: Folder, spec: StudySpec, provenance: dict[str, Any]) -> Tables:
    """Opens the tables of a folder; nothing is checked but that they are there."""
    return Tables({name: open_table(run, name) for name in SCHEMAS}, spec, provenance, run.url)


def open_table(run: Folder, name: str) -> pq.ParquetFile:
    """Opens one table. Raises TableError."""
    file = f"{run.url}/{name}.parquet"
    try:
        return pq.ParquetFile(run.open_file(f"{name}.parquet"), page_checksum_verification=True)
    except FileNotFoundError:
        raise TableError(f"{file} is absent: `study table {run.url}` builds it from a run folder.") from None
    except (pa.ArrowException, OSError, UnreadableFileError) as error:
        raise TableError(f"{file} cannot be read: {str(error).splitlines()[0]}") from None


def check(run: Folder, name: str) -> None:
    """Reads all of a table, a little at a time; raises TableError where it is damaged or not of the schema."""
    file, opened = f"{run.url}/{name}.parquet", open_table(run, name)
    try:
        for _ in opened.iter_batches():
            pass
    except (pa.ArrowException, OSError) as error:
        raise TableError(f"{file} cannot be read: {str(error).splitlines()[0]}") from None
    _check_columns(file, opened.schema_arrow, SCHEMAS[name])


def load_tables(folder: str | Folder) -> Tables:
    """Opens and checks the tables of a run folder or a folder under `results/`, given by its path or URL.

    Raises:
        TableError: A file is absent or damaged, a column is missing, unknown or of another type, the results are of
            another RESULTS_VERSION.
    """
    run = folder if isinstance(folder, Folder) else Folder(folder)
    plan, provenance = read_plan(run)
    for name in SCHEMAS:
        check(run, name)
    tables = open_tables(run, plan.spec, provenance)
    _check_one_build(tables)
    tables = replace(tables, files={name: _in_our_types(file, SCHEMAS[name]) for name, file in tables.files.items()})
    labels = tables.files["results"].read(["results_version", "cell"])
    versions = set(labels["results_version"].to_pylist()) - {RESULTS_VERSION}
    if versions:
        raise TableError(f"{run.url}: `results_version == {RESULTS_VERSION}` must hold, but got {sorted(versions)}.")
    if unknown := set(labels["cell"].to_pylist()) - tables.configs.keys():
        raise TableError(f"{run.url}/results.parquet has the cell {min(unknown)!r}, but spec.yaml has no such cell.")
    return replace(tables, files=in_order(tables.files, list(tables.configs), run.url))


def to_csv(frame: pd.DataFrame) -> str:
    """Writes a frame as CSV that pandas, DuckDB and R read alike: R takes TRUE and FALSE alone for truth values.

    A text that a spreadsheet would run as a formula begins with an apostrophe; control characters are escaped.
    """
    from pandas.api.types import infer_dtype, is_string_dtype

    truths = [str(name) for name in frame if infer_dtype(frame[name]) == "boolean"]
    words = {name: frame[name].map({True: "TRUE", False: "FALSE"}) for name in truths}
    texts = [str(name) for name in frame if frame[name].dtype == object or is_string_dtype(frame[name])]
    words |= {name: frame[name].map(_harmless) for name in texts if name not in truths}
    return str(frame.assign(**words).to_csv(index=False, lineterminator="\n"))


def _harmless(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if _FORMULA.match(text) else text


def _check_one_build(tables: Tables) -> None:
    if len({named(file, BUILD) for file in tables.files.values()} - {None}) > 1:
        raise TableError(
            f"the tables of {tables.url} must be of one build, but are of several: `study table` builds them again, "
            "of a run folder in place, of others with --to."
        )


def matches(rows: pa.Table, values: Mapping[str, pa.Array]) -> pa.ChunkedArray:
    """Marks the rows that have one of the given values in each of these columns."""
    import pyarrow.compute as pc

    return reduce(pc.and_, (pc.is_in(rows[column], allowed) for column, allowed in values.items()))


def _check_columns(file: str, found: pa.Schema, expected: pa.Schema) -> None:
    for column in expected:
        if column.name not in found.names:
            if column.name.startswith(CONFIG) or column.name in LATER_COLUMNS:
                continue  # the table is older than the column
            raise TableError(f"{file} must have the column `{column.name}`, but it is missing.")
        actual = found.field(column.name).type
        if actual != column.type and not _alike(actual, column.type):
            raise TableError(f"{file}: column `{column.name}` must be {column.type}, but it is {actual}.")
    for name in found.names:
        if name not in expected.names:
            raise TableError(f"{file} has the unknown column `{name}`.")


def _alike(actual: pa.DataType, ours: pa.DataType) -> bool:
    """Whether a type is another form of ours: pandas writes large strings, DuckDB binaries without a length."""
    if pa.types.is_dictionary(actual):
        actual = actual.value_type
    if pa.types.is_string(ours):
        return bool(pa.types.is_string(actual) or pa.types.is_large_string(actual) or pa.types.is_null(actual))
    if pa.types.is_binary(ours):  # of one length in tables from before images had shapes
        return bool(pa.types.is_fixed_size_binary(actual) or pa.types.is_large_binary(actual))
    return bool(pa.types.is_null(actual))


def _in_our_types(file: pq.ParquetFile, schema: pa.Schema) -> pq.ParquetFile:
    """The file itself, or its rows in memory where another tool has written other forms of our types."""
    ours = [schema.field(name) for name in file.schema_arrow.names]
    theirs = [file.schema_arrow.field(field.name).type for field in ours]
    if all(t == o.type or pa.types.is_fixed_size_binary(t) for o, t in zip(ours, theirs, strict=True)):
        return file
    try:
        rows = file.read().cast(pa.schema(ours).remove_metadata())
    except (pa.ArrowException, ValueError) as error:
        raise TableError(f"a table of another tool's cannot be read: {str(error).splitlines()[0]}") from None
    content = io.BytesIO()
    pq.write_table(rows, content, row_group_size=10_000)
    return pq.ParquetFile(content)


def _frame(parts: Sequence[pa.Table], columns: Sequence[str]) -> pd.DataFrame:
    frame: pd.DataFrame = pa.concat_tables([part.select(columns) for part in parts]).to_pandas()
    return frame


def _writer(buffer: io.BytesIO, schema: pa.Schema) -> pq.ParquetWriter:
    repetitive = [column.name for column in schema if column.type in (pa.string(), pa.int64(), pa.bool_())]
    return pq.ParquetWriter(
        buffer,
        schema,
        compression="zstd",
        compression_level=3,  # 9 takes four times as long for images a tenth smaller
        use_dictionary=repetitive,  # of floats, which seldom repeat, it would make more
        write_page_checksum=True,
    )
