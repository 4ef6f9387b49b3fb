"""Tables mean the same in whatever order another tool has written their rows, and have no row twice."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from study.table import TableError, load_tables
from study.tables.columns import SCHEMAS
from study.tables.merge import merge
from tests.support.tables import make_tables
from trainables.storage import Folder

ORDERS = {
    "reversed": lambda rows: np.arange(len(rows))[::-1],
    "shuffled": lambda rows: np.random.default_rng(0).permutation(len(rows)),
    "by replicate": lambda rows: np.argsort(np.array(rows["replicate"].to_pylist()), kind="stable"),
    "by step": lambda rows: np.argsort(np.array(rows["step"].to_pylist()), kind="stable"),
}


@pytest.fixture
def folder(tmp_path):
    merge(make_tables(base={"latent_dim": 2}), Folder(str(tmp_path / "results")))
    return tmp_path / "results"


def read(folder):
    """All rows now, since the files are about to be written again."""
    tables = load_tables(str(folder))
    return {"ends": tables.ends} | {name: tables.rows(name) for name in SCHEMAS}


def rewrite(folder, change):
    for name in SCHEMAS:
        rows = pq.read_table(folder / f"{name}.parquet")
        pq.write_table(change(rows), folder / f"{name}.parquet", row_group_size=70)


@pytest.mark.parametrize("order", ORDERS)
def test_load_tables_in_another_order_are_the_same(folder, order):
    before = read(folder)
    rewrite(folder, lambda rows: rows.take(pa.array(ORDERS[order](rows))))
    after = read(folder)
    pd.testing.assert_frame_equal(after["ends"], before["ends"])
    pd.testing.assert_frame_equal(after["results"], before["results"])
    for name in ("profiles", "images"):
        keys = SCHEMAS[name].names[:-1]
        pd.testing.assert_frame_equal(
            *(frames[name].sort_values(keys, ignore_index=True) for frames in (after, before))
        )
        steps = after[name].groupby("replicate")["step"]
        assert steps.apply(lambda steps: steps.is_monotonic_increasing).all()


def test_load_tables_in_order_are_read_from_their_files(folder):
    opened = load_tables(str(folder)).files
    assert [file.num_row_groups for file in opened.values()] == [
        pq.ParquetFile(folder / f"{name}.parquet").num_row_groups for name in opened
    ]


@pytest.mark.parametrize("name", SCHEMAS)
def test_load_tables_with_a_row_twice_is_refused(folder, name):
    rows = pq.read_table(folder / f"{name}.parquet")
    pq.write_table(pa.concat_tables([rows, rows.slice(5, 1)]), folder / f"{name}.parquet")
    with pytest.raises(
        TableError, match=rf"{name}\.parquet must have each row once, but has two of replicate \w+, step"
    ):
        load_tables(str(folder))


def test_load_tables_with_a_cell_that_the_spec_lacks_is_refused(folder):
    rows = pq.read_table(folder / "results.parquet")
    cells = pa.array(["strange" if cell == "elu" else cell for cell in rows["cell"].to_pylist()])
    pq.write_table(rows.set_column(rows.column_names.index("cell"), "cell", cells), folder / "results.parquet")
    with pytest.raises(TableError, match=r"has the cell 'strange', but spec\.yaml has no such"):
        load_tables(str(folder))
