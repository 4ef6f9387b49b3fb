"""Tables that other tools have written are read; frames are CSV that no reader takes for something else."""

import io
import os

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from study.table import TableError, load_tables, to_csv
from study.tables.columns import SCHEMAS
from study.tables.files import open_table
from study.tables.merge import merge
from tests.support.tables import make_tables
from trainables.storage import Folder


@pytest.mark.parametrize("text", ["=HYPERLINK(1)", "+cmd|' /C calc'!A0", "-1+1", "@SUM(A1)", "-x"])
def test_to_csv_formula_is_text(text):
    assert pd.read_csv(io.StringIO(to_csv(pd.DataFrame({"cell": [text]}))))["cell"].tolist() == [f"'{text}"]


@pytest.mark.parametrize(
    "text", ["-", "+", "-1.5", "+3", "-1e-5", "vae latent_dim=2", "a, b", "–", "1 [-2, 3]", "two\nlines"]
)
def test_to_csv_other_text_stays(text):
    read = pd.read_csv(io.StringIO(to_csv(pd.DataFrame({"cell": [text]}))), dtype=str)
    assert read["cell"].tolist() == [text]


def test_to_csv_control_characters_are_escaped():
    assert to_csv(pd.DataFrame({"cell": ["a\x1b[2Jb\x9b\r"]})) == "cell\na\\x1b[2Jb\\x9b\\r\n"


def test_to_csv_numbers_truths_and_nulls():
    frame = pd.DataFrame({"x": [-1.5, None], "ok": [True, False], "text": ["a", None], "mixed": [-2, "=x"]})
    assert to_csv(frame) == "x,ok,text,mixed\n-1.5,TRUE,a,-2\n,FALSE,,'=x\n"


def test_table_that_is_a_pipe_is_refused_by_name(tmp_path):
    os.mkfifo(tmp_path / "results.parquet")
    with pytest.raises(TableError, match=r"results\.parquet cannot be read: .* must be a file"):
        open_table(Folder(str(tmp_path)), "results")


OTHER_FORMS = {
    "large strings": {pa.string(): pa.large_string()},
    "dictionaries": {pa.string(): pa.dictionary(pa.int32(), pa.string())},
    "binaries": {pa.binary(784): pa.binary()},
}


@pytest.fixture
def folder(tmp_path):
    merge(make_tables(seeds=1), Folder(str(tmp_path / "results")))
    return tmp_path / "results"


def rewrite(folder, types):
    for name in SCHEMAS:
        rows = pq.read_table(folder / f"{name}.parquet")
        schema = pa.schema([field.with_type(types.get(field.type, field.type)) for field in rows.schema])
        pq.write_table(rows.cast(schema), folder / f"{name}.parquet", store_schema=True)


@pytest.mark.parametrize("form", OTHER_FORMS)
def test_load_tables_that_another_tool_has_written_are_the_same(folder, form):
    before = {name: load_tables(str(folder)).rows(name) for name in SCHEMAS}
    rewrite(folder, OTHER_FORMS[form])
    after = load_tables(str(folder))
    for name in SCHEMAS:
        assert after.files[name].schema_arrow.equals(SCHEMAS[name])
        pd.testing.assert_frame_equal(after.rows(name), before[name])


def test_load_tables_of_lesser_numbers_is_refused(folder):
    rewrite(folder, {pa.float64(): pa.float32()})
    with pytest.raises(TableError, match="must be double, but it is float"):
        load_tables(str(folder))
