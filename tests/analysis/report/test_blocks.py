"""What the blocks show of tables whose numbers are known."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from scipy import stats

from analysis.claims.ledger import load
from analysis.evidence import Evidence
from analysis.report import blocks, readme
from study.table import load_tables
from tests.support.markdown import table_rows
from tests.support.tables import SEED_STEP, make_tables, replaced

ROOT = Path(__file__).resolve().parents[3]


def test_verdicts_without_tables_are_not_measured() -> None:
    text = blocks.verdicts(Evidence([]))
    assert f"{len(load().claims)} claims: {len(load().claims)} not measured" in text
    assert {row[1] for row in table_rows(text)} == {"**not measured**"} and len(table_rows(text)) == len(
        blocks.KEY_CLAIMS
    )


def test_losses_have_means_intervals_and_what_collapsed() -> None:
    rows = {
        row[0]: row for row in table_rows(blocks.losses(Evidence([replaced(make_tables(), "relu", 0, collapsed=True)])))
    }
    half = stats.t.ppf(0.975, 2) * SEED_STEP / 3**0.5
    assert rows["elu"][1] == f"102.0 [{102 - half:.1f}, {102 + half:.1f}]"
    assert rows["linear"][3] == f"{150 / 102:.2f}"
    assert "relu, **collapsed**" in rows and rows["pca"][4] == "closed form"
    assert next(iter(rows)) == "elu" and rows["elu"][4] == "3"


def test_sweep_numbers_are_those_of_the_table() -> None:
    text = blocks.sweep(Evidence([load_tables(str(ROOT / "results" / "latent"))]))
    rows = pd.read_parquet(ROOT / "results" / "latent" / "results.parquet")
    last = rows[(rows["status"] == "finished") & rows["final"]]
    shown = {row[0]: row for row in table_rows(text)}
    assert set(shown) == set(last["config/latent_dim"].astype(str))
    for column, model, metric in [
        (1, "autoencoder", "test_nll"),
        (2, "vae", "test_nll"),
        (4, "vae", "test_active_units"),
    ]:
        own = last[(last["config/model"] == model) & (last["config/activation"] == "elu")]
        for latent_dim, mean in own.groupby("config/latent_dim")[metric].mean().items():
            assert shown[str(latent_dim)][column].split()[0] == f"{mean:.1f}"


def test_searches_tell_cost_and_fresh_seeds() -> None:
    read = readme.reader(ROOT)
    rows = table_rows(blocks.searches(Evidence(list(read("results/vae results/vae-best").values()))))
    vae = next(row for row in rows if row[0].startswith("`vae`"))
    fresh = read("results/vae-best")["results/vae-best"].ends
    means = fresh[fresh["seed"] > 0].groupby("cell")["test_neg_elbo"].mean()
    assert vae[1] == "60"
    assert float(vae[4].split()[0]) in means.round(1).tolist()


def test_devices_tell_speed_and_measuring_of_the_networks_that_trained() -> None:
    tables = load_tables(str(ROOT / "results" / "latent"))
    (row,) = (row for row in table_rows(blocks.devices({"results/latent": tables})) if row[1] == "NVIDIA H200")
    results = pd.read_parquet(ROOT / "results" / "latent" / "results.parquet")
    own = results[results["final"] & (results["device"] == "NVIDIA H200")]
    assert row[:4] == ["`latent`", "NVIDIA H200", "tf32", str(len(own))]
    assert row[4] == f"{own['step'].sum() / own['train_s'].sum():,.0f}"
    assert float(row[5].replace(",", "")) < float(row[4].replace(",", "")) and row[6].endswith("%")


def test_devices_of_networks_that_nobody_measured_have_a_dash() -> None:
    rows = table_rows(blocks.devices({"results/vae": load_tables(str(ROOT / "results" / "vae"))}))
    assert rows and all(row[6] == "–" for row in rows)
