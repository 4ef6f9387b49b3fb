"""The results table in MLflow's own SQLite file: a run for each replicate, with its settings and every curve.

MLflow is an extra (`pip install 'mnist-autoencoder-study[mlflow]'`), and nothing else of the project imports it.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from study.tables.files import Tables
from trainables.errors import ReadableError
from trainables.schema import METRICS

if TYPE_CHECKING:
    from mlflow import MlflowClient

STATUSES = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED", "diverged": "FAILED", "running": "RUNNING"}
"""MLflow's status by ours; a pending replicate has no run."""
_MOST = 1000
"""Values that MLflow takes in one call."""


class MissingExtraError(ReadableError):
    """An optional package that is not installed."""


def write(tables: Tables, file: Path) -> int:
    """Adds the replicates of a run to an MLflow database, a SQLite file, under an experiment named as the study.

    A replicate that is already there with the same status and last step stays; another version of it is replaced. Its
    clock is its own, training and evaluation, from the moment of the export. Returns the number of replicates that were
    added or replaced; raises MissingExtraError if MLflow is not installed.
    """
    client = _client(file)
    experiment = _experiment(client, tables.spec.name)
    there = {run.data.tags["replicate"]: run for run in _runs(client, experiment)}
    rows = tables.rows("results", ["replicate", "step", "train_s", "evaluate_s", *METRICS]).dropna(subset="step")
    curves = dict(iter(rows.groupby("replicate")))
    written = 0
    for row in tables.ends.to_dict("records"):
        end = {str(key): value for key, value in row.items()}
        name = end["replicate"]
        if end["status"] not in STATUSES:
            continue
        tags = _tags(tables, end)
        if name in there:
            if there[name].data.tags.items() >= tags.items():
                continue
            client.delete_run(there[name].info.run_id)
        _write(client, experiment, tables, end, tags, curves.get(name, rows.iloc[:0]))
        written += 1
    return written


def _client(file: Path) -> MlflowClient:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    try:
        from mlflow import MlflowClient
    except ImportError:
        raise MissingExtraError(
            "`study export --to mlflow` needs MLflow, which is not installed: pip install "
            "'mnist-autoencoder-study[mlflow]'."
        ) from None
    return MlflowClient(tracking_uri=f"sqlite:///{file.absolute()}")


def _experiment(client: MlflowClient, name: str) -> str:
    found = client.get_experiment_by_name(name)
    return str(client.create_experiment(name) if found is None else found.experiment_id)


def _runs(client: MlflowClient, experiment: str) -> list[Any]:
    runs: list[Any] = []
    token = None
    while True:
        page = client.search_runs([experiment], "tags.replicate != ''", max_results=_MOST, page_token=token)
        runs += page
        token = page.token
        if not token:
            return runs


def _tags(tables: Tables, end: dict[str, Any]) -> dict[str, str]:
    keys = ["study", "cell", "seed", "replicate", "status", "step", "collapsed", "error", "data_digest"]
    tags = {key: end[key] for key in keys} | {"git_commit": tables.provenance.get("git_commit")}
    return {key: str(value) for key, value in tags.items() if not pd.isna(value)}


def _write(
    client: MlflowClient,
    experiment: str,
    tables: Tables,
    end: dict[str, Any],
    tags: dict[str, str],
    curve: pd.DataFrame,
) -> None:
    from mlflow.entities import Metric, Param

    start = int(time.time() * 1000)
    clock = start + ((curve["train_s"] + curve["evaluate_s"]) * 1000).fillna(0).astype(int)
    run = client.create_run(experiment, start, tags, f"{end['cell']} seed {end['seed']}").info.run_id
    config = tables.configs[end["cell"]].model_dump(mode="json", exclude_none=True)
    client.log_batch(run, params=[Param(key, str(value)) for key, value in config.items()])
    values = [
        Metric(name, float(value), int(at), int(step))
        for name in METRICS
        for value, at, step in zip(curve[name], clock, curve["step"], strict=True)
        if not pd.isna(value)
    ]
    for first in range(0, len(values), _MOST):
        client.log_batch(run, metrics=values[first : first + _MOST])
    if STATUSES[end["status"]] != "RUNNING":
        client.set_terminated(run, STATUSES[end["status"]], int(clock.max()) if len(clock) else start)
