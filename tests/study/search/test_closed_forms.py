"""What searches find where the answer is known: networks whose losses are closed forms of their config."""

import math

import pandas as pd
import pytest

from analysis.search import importance, pareto
from study.plan import Plan
from study.run.backlog import Counts
from study.run.job import Options
from study.searchspace import SearchSpec
from study.table import load_tables
from study.tables import trials
from tests.support import closed_form
from tests.support.searches import assert_agree, hunt, run
from trainables.registry import DATASETS


@pytest.fixture(autouse=True)
def tiny_dataset(monkeypatch):
    monkeypatch.setitem(DATASETS, "tiny", "tests.support.tiny:load")


@pytest.mark.thorough
def test_search_through_ray_finds_the_optimum_of_a_closed_form(tmp_path):
    counts, _ = run(hunt(trials=40), tmp_path, Options(device="cpu", concurrency=2))
    assert counts == Counts(finished=40)
    assert_agree(tmp_path)
    tables = load_tables(str(tmp_path))
    best = trials.ranked(tables).iloc[0]
    away = closed_form.height(Plan(tables.spec).trials[int(best["trial"])])
    assert abs(math.log10(best["field/learning_rate"] / closed_form.BEST_RATE)) < 0.4
    assert abs(best["field/l2"] - closed_form.BEST_L2) < 0.25 and sum(away) < 0.002


def test_search_with_two_objectives_finds_the_front_of_a_closed_form(tmp_path):
    study = hunt(trials=50, model="flat_vae", objectives="val_sse, val_kl", fields="beta: {low: 0.0, high: 1.0}")
    run(study, tmp_path)
    tables = load_tables(str(tmp_path))
    front = trials.ranked(tables)
    assert len(front) >= 5 and (front["val_kl"] - front["field/beta"] ** 2).abs().max() < 1e-4
    floor = front["val_sse"].min() - 784 * 0.02 * (1 - front["field/beta"].max()) ** 2
    truth = [(floor + 784 * 0.02 * (1 - beta) ** 2, beta**2) for beta in (i / 200 for i in range(201))]
    reference = (floor + 784 * 0.02, 1.0)
    possible = pareto.hypervolume(pd.DataFrame(truth).to_numpy(), reference)
    found = pareto.hypervolume(front[["val_sse", "val_kl"]].to_numpy(), reference)
    assert 0.8 * possible < found < 1.02 * possible


def test_importance_of_a_logarithmic_range_is_that_of_its_logarithm_and_of_a_product_is_nobodys():
    space = {"l2": {"low": 1e-7, "high": 1e-3, "log": True}, "weight_dropout": {"low": 0.0, "high": 0.5}}
    search = SearchSpec(space=space, objectives=["val_nll"], trials=1)
    fields = search.samples({}, 150)
    drawn = [search.parameters(one) for one in fields]
    u = [math.log10(one["l2"]) / 4 + 1.25 for one in fields]  # -0.5 to 0.5
    v = [2 * one["weight_dropout"] - 0.5 for one in fields]
    alone = importance.importances(drawn, [min(x, 0) + 0.05 * y for x, y in zip(u, v, strict=True)], trees=16)
    assert alone["l2"] > 0.8 > 0.2 > alone["weight_dropout"]
    product = importance.importances(drawn, [x * y for x, y in zip(u, v, strict=True)], trees=16)
    assert sum(product.values()) < 0.35


def test_importance_of_an_additive_function_is_its_share_of_variance(tmp_path, monkeypatch):
    monkeypatch.setattr(importance, "RESAMPLES", 5)
    monkeypatch.setattr(importance, "TREES", 16)
    run(hunt(trials=70, sampler="random"), tmp_path)
    tables = load_tables(str(tmp_path))
    data = importance.importance_data(tables).query("at == 'at full length'").set_index("parameter")
    drawn = trials.trials(tables)
    parts = pd.DataFrame([closed_form.height(config) for config in Plan(tables.spec).trials])
    assert (drawn["val_sse"] - 784 * parts.sum(axis=1)).std() < 1e-2, "the table holds the closed form"
    shares = parts.var() / parts.var().sum()
    assert data.loc["learning_rate", "importance"] == pytest.approx(shares[0], abs=0.1)
    assert data.loc["learning_rate", "low"] - 0.05 < shares[0] < data.loc["learning_rate", "high"] + 0.05
    assert (data["low"] <= data["high"]).all()
