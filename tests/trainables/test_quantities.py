"""The lists of quantities and image kinds: whole, and the same as what trials and the results' tables hold."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from trainables.intrinsic_dimension import NEIGHBOURS
from trainables.measurements import generation, latent_space, probes, reference
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


def test_every_value_in_the_tables_of_results_has_the_word_of_its_place():
    for path in RESULTS.glob("*/profiles.parquet"):
        rows = pq.read_table(path, columns=["quantity", "index"]).to_pandas()
        for name, last in rows.groupby("quantity")["index"].max().items():
            words = QUANTITIES[str(name)].words
            assert not words or last < len(words), f"{path} {name}"


def test_place_of_a_word_is_its_index_and_of_another_an_error_that_names_the_nearest():
    quantity = QUANTITIES["projection_sse"]
    assert [quantity.place(word) for word in quantity.words] == [0, 1]
    with pytest.raises(ValueError, match=r"`index of projection_sse` must be one of .* Did you mean 'optimised'"):
        quantity.place("optimized")
    assert QUANTITIES["kl_per_latent"].words == ()


def test_words_name_what_the_measurements_record():
    assert QUANTITIES["neg_iw_bound"].words == tuple(f"{n} sample{'s' * (n > 1)}" for n in latent_space.BOUND_SAMPLES)
    assert QUANTITIES["probe_knn"].words == tuple(f"{n:,} labels" for n in probes.PROBE_LABELS)
    assert QUANTITIES["recognition_by_classifier"].words == tuple(f"classifier {seed}" for seed in reference.SEEDS)
    path = tuple(f"{round(100 * share)} % of the way" for share in generation.FRACTIONS)
    assert QUANTITIES["interpolation_distance"].words == path
    assert QUANTITIES["dimension_mle"].words == tuple(f"{k} neighbours" for k in NEIGHBOURS)
    for quantity in QUANTITIES.values():
        assert len(set(quantity.words)) == len(quantity.words)


def test_every_measurement_has_the_seconds_that_it_took():
    assert {f"{name}_s" for name in MEASUREMENTS} == {name for name in QUANTITIES if name.endswith("_s")}
