"""`study export --to mlflow`: MLflow itself opens the file and has the table's numbers."""

import sys

import pytest

from study.cli import app
from study.table import load_tables
from tests.support import tiny
from tests.support.command import call
from trainables.registry import DATASETS
from trainables.schema import METRICS


@pytest.fixture
def run(monkeypatch, tmp_path):
    monkeypatch.setitem(DATASETS, "tiny", "tests.support.tiny:load")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(tiny.SPEC)
    assert call(app.main, ["launch", "tiny.yaml", "--runner", "inline", "--seeds", "1"]).exit_code == 0
    return "runs/tiny"


def export(run):
    called = call(app.main, ["export", run, "--to", "mlflow", "-o", "here.db"])
    assert called.exit_code == 0 and "mlflow ui --backend-store-uri sqlite:///here.db" in called.stdout, called
    return int(called.stdout.split(":")[1].split()[0])


@pytest.mark.filterwarnings("default")
def test_mlflow_opens_what_was_exported_and_has_the_tables_numbers(run, tmp_path):
    mlflow = pytest.importorskip("mlflow")
    assert export(run) == 3
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/here.db")
    runs = client.search_runs([client.get_experiment_by_name("tiny").experiment_id])
    tables = load_tables(run)
    ends = tables.ends.set_index("replicate")
    assert {one.data.tags["replicate"] for one in runs} == set(ends.index)
    for one in runs:
        name = one.data.tags["replicate"]
        rows = tables.results[tables.results["replicate"] == name].set_index("step")
        history = {point.step: point.value for point in client.get_metric_history(one.info.run_id, "test_nll")}
        assert history == rows["test_nll"].to_dict()
        config = tables.configs[ends.loc[name, "cell"]].model_dump(mode="json", exclude_none=True)
        assert one.data.params == {key: str(value) for key, value in config.items()}
        assert one.info.status == "FINISHED" and set(one.data.metrics) <= set(METRICS)
    assert export(run) == 0, "what is there already stays"
    call(app.main, ["launch", "tiny.yaml", "--runner", "inline"])
    assert export(run) == 2
    assert len(client.search_runs([client.get_experiment_by_name("tiny").experiment_id])) == 5


def test_without_mlflow_one_line_says_what_to_install(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    called = call(app.main, ["export", run, "--to", "mlflow"])
    assert called.exit_code == 2 and called.stderr.count("\n") == 1
    assert "pip install 'mnist-autoencoder-study[mlflow]'" in called.stderr


def test_unknown_tracker_is_refused(run):
    assert call(app.main, ["export", run, "--to", "wandb"]).exit_code == 2
