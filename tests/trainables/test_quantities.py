"""The lists of quantities and image kinds: whole, and the same as what trials and the results' tables hold."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from trainables.quantities import IMAGE_KINDS, QUANTITIES
from trainables.registry import CURVES, MEASUREMENTS

RESULTS = Path(__file__).resolve().parents[2] / "results"
SOURCES = {"evaluation", "pca", "intrinsic_dimension", *MEASUREMENTS, *CURVES}


@pytest.mark.parametrize("entries", [QUANTITIES, IMAGE_KINDS])
def test_entries_have_their_key_as_name_a_known_source_and_a_meaning(entries):
    for name, entry in entries.items():
        assert (entry.name, entry.by in SOURCES) == (name, True)
        assert entry.meaning


@pytest.mark.parametrize(
    ("table", "column", "entries"), [("profiles", "quantity", QUANTITIES), ("images", "kind", IMAGE_KINDS)]
)
def test_every_name_in_the_tables_of_results_is_listed(table, column, entries):
    names = {
        name
        for path in RESULTS.glob(f"*/{table}.parquet")
        for name in pq.read_table(path, columns=[column])[column].unique().to_pylist()
    }
    assert len(names) > 5 and not names - entries.keys()


def test_every_measurement_has_the_seconds_that_it_took():
    assert {f"{name}_s" for name in MEASUREMENTS} == {name for name in QUANTITIES if name.endswith("_s")}
