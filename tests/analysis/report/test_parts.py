"""Parts of the report on the tables of real runs: surprises, the viewer's strips, what cells sort by, shared work."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from analysis.cells import summarise
from analysis.figures.catalogue import FIGURES
from analysis.report.page import render, sort_key
from analysis.report.pictures import GREYS
from analysis.report.section import section
from analysis.report.surprises import guided_search, linear_catches_up, output_head, slow_pruning, surprises
from analysis.report.viewer import KINDS, Viewer, viewer
from analysis.search.history import history_data
from study.table import Tables, load_tables
from study.tables.trials import ranked
from tests.support.sweeps import intrinsic_tables

RESULTS = Path(__file__).resolve().parents[3] / "results"


def loaded(*names: str) -> list[tuple[str, Tables]]:
    return [(f"results/{name}", load_tables(str(RESULTS / name))) for name in names]


@pytest.fixture(scope="module")
def shown() -> tuple[Tables, Viewer]:
    """The tables of the real run with the most images, and their viewer."""
    ((_, tables),) = loaded("latent")
    found = viewer(tables)
    assert found is not None
    return tables, found


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("1,660.05", "1660.05"),
        ("-3", "-3"),
        ("22.5 [16.1, 28.9]", "22.5"),
        ("[72.3, 77.0]", "72.3"),
        ("2 of 3", "2"),
        ("0 / 1 / 0", "0"),
        ("1e-05", "1e-05"),
        ("< 0.0001 (9)", "0.0001"),
        ("–", ""),
        ("closed form", ""),
        ("", ""),
    ],
)
def test_sort_key_is_the_first_number(text: str, key: str) -> None:
    assert sort_key(text) == key


def test_section_of_estimates_on_images_repeats_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analysis.report.section.draw", lambda *_: [])  # figures are not looked at here
    tables = intrinsic_tables(lambda name, n, digit, seed: 3.2 + 0.01 * seed, datasets=("strokes-4", "mnist"))
    estimates = section("runs/i", tables, [], "", None, shown=False).estimates
    assert estimates is not None and estimates.columns[:3] == ["data", "known", "TwoNN"]
    assert [row[:3] for row in estimates.rows] == [["strokes-4", "4", "3.21 (-0.79)"], ["mnist", "?", "3.21"]]
    page = render([("runs/i", tables)])
    assert 'id="r1-estimates"' in page and "3.21 (-0.79)" in page[page.index('id="r1-estimates"') :]
    assert 'id="r1-estimates"' not in render(loaded("plane"))


def test_output_head_states_both_ratios_of_the_linear_network() -> None:
    runs = loaded("paper")
    each = summarise(runs[0][1]).set_index("network")["ratio"].to_dict()
    (found,) = output_head(runs)
    assert f"{each['linear clipped']:,.1f} times" in found.text
    assert f"{each['linear']:,.2f} times" in found.text
    assert "5 seeds, 4 of 5 collapsed)" in found.text and found.command == "analysis report results/paper"
    assert list(output_head(loaded("precision"))) == [], "without a clipped linear network there is nothing to say"


def test_linear_catches_up_tells_the_largest_and_the_last_distance_to_elu() -> None:
    (run, tables), *_ = runs = loaded("latent")
    means = summarise(tables).pivot_table(index="latent_dim", columns="network", values="test_nll")
    gaps = (means["linear"] - means["elu"]).dropna()
    (found,) = linear_catches_up(runs)
    assert f"{gaps.max():.1f} nats above ELU's at N = {gaps.idxmax()}, and {gaps[200]:.1f} at N = 200" in found.text
    assert gaps.max() > 40 and gaps[200] < 2 and found.command == f"analysis report {run}"
    assert list(linear_catches_up(loaded("paper"))) == [], "at one N there is nothing to catch up"


def test_slow_pruning_compares_early_active_units_with_the_last() -> None:
    (run, tables), *_ = runs = loaded("latent")
    rows = tables.rows("results", ["step", "test_active_units"], {"cell": ["vae latent_dim=200"]}).dropna()
    means = rows.groupby("step")["test_active_units"].mean()
    (found,) = slow_pruning(runs)
    assert f"Of 200, {means[3000]:,.0f} are active after 3,000 steps" in found.text
    assert found.command == f"study table {run} --csv latent.csv"
    assert list(slow_pruning(loaded("plane"))) == []


def test_guided_search_is_a_surprise_only_beside_the_random_one() -> None:
    runs = loaded("vae", "vae-random", "rate-distortion")
    best = [float(ranked(tables)["val_neg_elbo"].iloc[0]) for _, tables in runs[:2]]
    (found,) = guided_search(runs)
    assert best[1] < best[0] and f"{best[1]:,.1f} in 108,000 training steps (" in found.text
    course = history_data(runs[1][1]).set_index("steps_so_far")["best"]
    early = f"({course.loc[:70_500].iloc[-1]:,.1f} after the first 70,500), against {best[0]:,.1f} in 70,500"
    assert early in found.text, "each budget is told, and the longer search at the shorter one's"
    assert "TPE + ASHA" in found.text and "One run of each" in found.text
    assert list(guided_search(runs[:1])) == list(guided_search(runs[1:])) == []


def test_surprises_of_an_ordinary_run_are_none() -> None:
    assert surprises(loaded("plane")) == []


def test_viewer_orders_networks_by_latent_dimension_and_its_strips_are_the_images(
    shown: tuple[Tables, Viewer],
) -> None:
    tables, found = shown
    assert list(found.kinds) == [kind for kind in KINDS if kind in found.kinds] and len(found.kinds) >= 2
    assert {"elu", "vae", "pca"} <= set(found.arms)
    dims = [network.dim for network in found.arms["vae"]]
    assert dims == sorted(dims) == [1, 2, 3, 5, 8, 10, 16, 20, 32, 50, 64, 100, 128, 200]
    network = found.arms["elu"][-1]
    ends = tables.ends[(tables.ends["cell"] == network.cell) & (tables.ends["seed"] == network.seed)]
    step = max(network.strips["reconstruction"])
    images = tables.rows("images", where={"replicate": list(ends["replicate"])})
    for uri, kind in ((network.inputs, "input"), (network.strips["reconstruction"][step], "reconstruction")):
        png = base64.b64decode(uri.partition(",")[2])
        strip = 255 - np.asarray(Image.open(io.BytesIO(png)).convert("L")).astype(int)
        rows = images[(images["kind"] == kind) & images["step"].isin([0, step])]
        last = rows.sort_values(["step", "index"])["pixels"].tolist()[-10:]
        for column in (0, 9):
            tile = strip[:28, 31 * column : 31 * column + 28]
            away = np.abs(tile.ravel() - np.frombuffer(last[column], np.uint8))
            assert away.max() <= 255 / (GREYS - 1) / 2 + 1, "to half of one of the page's few shades"
    assert network.nll[step] == pytest.approx(float(ends["test_nll_mean"].iloc[0]), abs=0.051)
    vae = found.arms["vae"][-1]
    ends = tables.ends[(tables.ends["cell"] == vae.cell) & (tables.ends["seed"] == vae.seed)]
    assert vae.nll[max(vae.nll)] == pytest.approx(float(ends["test_nll_mean"].iloc[0]), abs=0.051)
    assert vae.nll[max(vae.nll)] < float(ends["test_nll"].iloc[0]) - 0.5, "not that of a sampled z"
    assert set(found.figures) <= set(KINDS) and set(found.figures.values()) <= set(FIGURES)
    plain = found.plain()
    assert len(plain["inputs"]) == len(set(plain["inputs"])) == 1, "the test images are the same for all networks"
    assert plain["inputs"][plain["arms"]["elu"][-1]["inputs"]] == network.inputs


@pytest.mark.thorough
def test_render_is_the_same_however_many_processes_share_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(RESULTS.parent)
    runs = loaded("precision", "vae-random-best")
    assert render(runs, workers=2) == render(runs)


def test_viewer_shows_the_seed_that_left_most_kinds_of_images(shown: tuple[Tables, Viewer]) -> None:
    tables, found = shown
    images = tables.rows("images", ["replicate", "kind"]).drop_duplicates()
    kinds = images[images["kind"].isin(KINDS)].groupby("replicate")["kind"].nunique()
    for network in found.arms["vae"]:
        mine = tables.ends[(tables.ends["cell"] == network.cell) & (tables.ends["status"] == "finished")]
        most = mine[mine["replicate"].map(kinds) == mine["replicate"].map(kinds).max()]
        assert network.seed == most["seed"].min()
        assert len(network.strips) == mine["replicate"].map(kinds).max()
