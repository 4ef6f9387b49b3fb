"""Ledgers and tables of a few trials, from which a claim is decided."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from analysis.claims.evaluate import Judgement
from analysis.claims.ledger import Ledger, load
from analysis.evidence import Evidence
from study.spec import StudySpec
from study.table import Tables
from study.tables.columns import SCHEMAS
from tests.support.tables import stored
from trainables.schema import Replicate, TrialConfig

FLOOR = 45.0
LINEAR, ELU = {"activation": "linear"}, {"activation": "elu"}


def trial(
    fields: dict[str, Any],
    seed: int,
    *,
    metrics: dict[str, float] | None = None,
    curve: dict[int, float] | None = None,
    profiles: dict[tuple[int, str], list[float]] | None = None,
    images: dict[str, Any] | None = None,
    **row: Any,
) -> dict[str, Any]:
    """One replicate: `curve` is its test NLL by step; `metrics` are of its last step; `row` e.g. its status.

    `images`: uint8 `(n, 784)` of its last step, by kind.
    """
    config = TrialConfig(**({"steps": 1000} if fields.get("task", "train") == "train" else {}) | fields)
    return {"config": config, "seed": seed, "curve": curve or {}, "row": row} | {
        "metrics": metrics or {},
        "images": images or {},
        "profiles": {(0, "test_nll_floor"): [FLOOR]} | (profiles or {}),
    }


def tables(*trials: dict[str, Any], study: str = "paper") -> Tables:
    """Tables of these trials, of which each has finished unless it says otherwise."""
    results: list[dict[str, Any]] = []
    profiles: list[dict[str, Any]] = []
    images: list[dict[str, Any]] = []
    cells = {config: f"cell-{index}" for index, config in enumerate(dict.fromkeys(each["config"] for each in trials))}
    for each in trials:
        config = each["config"]
        name = Replicate("cell", config, each["seed"], "d1").hash
        last = config.steps or 0
        for step, nll in ({last: each["metrics"].get("test_nll")} | each["curve"]).items():
            row = {f"config/{k}": str(list(v)) if isinstance(v, tuple) else v for k, v in config}
            row |= {
                "study": study,
                "cell": cells[config],
                "replicate": name,
                "seed": each["seed"],
                "status": "finished",
            }
            row |= {"collapsed": False, "final": step == last, "step": step, "results_version": 1}
            results.append(row | {"test_nll": nll} | (each["metrics"] if step == last else {}) | each["row"])
        profiles += [
            {"replicate": name, "step": step, "quantity": quantity, "index": index, "value": value}
            for (step, quantity), values in each["profiles"].items()
            for index, value in enumerate(values)
        ]
        images += [
            {"replicate": name, "step": last, "kind": kind, "index": index, "pixels": pixels.tobytes()}
            for kind, drawn in each["images"].items()
            for index, pixels in enumerate(drawn)
        ]
    results.sort(key=lambda row: (row["replicate"], row["step"]))
    rows = {"results": results, "profiles": profiles, "images": images}
    frames = {name: pd.DataFrame(rows[name], columns=SCHEMAS[name].names) for name in SCHEMAS}
    arms = {cell: config.model_dump(exclude_none=True) for config, cell in cells.items()}
    return stored(frames, StudySpec(name=study, arms=arms or {"elu": {}}), {})


def ledger_of(*parts: dict[str, Any], rule: str = "all", **keys: Any) -> Ledger:
    """A ledger of one claim for each list of parts, with the arms of the real one."""
    claim = {"section": "1", "statement": "s", "test": "t", "family": "f", "studies": ["paper"], "rule": rule}
    given = [{"name": f"p{index}"} | part for index, part in enumerate(parts)]
    return Ledger(**content_of([claim | {"id": "C1", "parts": given} | keys]))


def content_of(claims: list[dict[str, Any]]) -> dict[str, Any]:
    return {"version": 1, "arms": load().arms, "claims": claims}


def verdict_of(trials: Sequence[dict[str, Any]], *parts: dict[str, Any], **keys: Any) -> Judgement:
    (verdict,) = Evidence([tables(*trials)]).judge(ledger_of(*parts, **keys))
    return verdict


def arms(first: Sequence[float], second: Sequence[float], metric: str = "test_nll") -> list[dict[str, Any]]:
    """A linear and an ELU network with these values by seed."""
    return [trial(LINEAR, seed, metrics={metric: value}) for seed, value in enumerate(first)] + [
        trial(ELU, seed, metrics={metric: value}) for seed, value in enumerate(second)
    ]


DIFFERENCE = {
    "kind": "difference",
    "pairs": [["linear", "elu"]],
    "value": {"metric": "test_nll"},
    "direction": "greater",
    "margin": 1,
}
EQUIVALENCE = {"kind": "equivalence", "pairs": [["linear", "elu"]], "value": {"metric": "test_nll"}, "margin": 1}
