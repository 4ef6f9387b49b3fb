"""What `--json` prints: one valid document for each command that docs/commands.md names, whatever state a run is in."""

from __future__ import annotations

import json
import math

import jsonschema
import numpy as np
import pytest
from pydantic import ValidationError

from analysis import cli
from analysis.report import vocabulary
from study.cli import app, outputs
from tests.support import tiny
from tests.support.command import call
from tests.support.faults import ROOT, finish, program, start
from trainables.registry import DATASETS

DOCUMENTS = {
    document.__doc__.strip("`.") if document.__doc__ else "": document for document in vocabulary.json_documents()
}


@pytest.fixture(autouse=True)
def tiny_dataset(monkeypatch, tmp_path):
    monkeypatch.setitem(DATASETS, "tiny", "tests.support.tiny:load")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(tiny.SPEC)


def printed(name, *arguments):
    """The document that a command prints, checked against its schema; its exit code and what it said beside."""
    package, command = name.split()
    called = call({"study": app.main, "analysis": cli.main}[package], [command, *arguments, "--json"])
    document = json.loads(called.stdout, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    jsonschema.validate(document, DOCUMENTS[name].model_json_schema(mode="serialization"))
    assert document["format"] == 1
    return document, called.exit_code, called.stderr


def launch(*more):
    return call(app.main, ["launch", "tiny.yaml", "--runner", "inline", *more])


def test_every_command_with_the_option_has_a_document_and_every_document_a_command():
    import typer

    commands = {
        f"{name} {command.name}"
        for name, program in {"study": app.app, "analysis": cli.app}.items()
        for command in typer.main.get_command(program).commands.values()
        if "--json" in {option for parameter in command.params for option in parameter.opts}
    }
    assert commands == set(DOCUMENTS)
    assert {command.split()[1] for command in commands} == set("list show status table claims dimension search".split())


def test_list_and_show_tell_what_the_tables_of_the_terminal_tell():
    listed, _, _ = printed("study list")
    sizes = {study["name"]: study for study in listed["studies"]}
    shown, _, _ = printed("study show", "latent")
    assert sum(cell["seeds"] for cell in shown["cells"]) == sizes["latent"]["replicates"]
    assert sum(cell["core_hours"] for cell in shown["cells"]) == pytest.approx(sizes["latent"]["core_hours"])
    assert shown["search"] is None and {cell["settings"]["latent_dim"] for cell in shown["cells"]} >= {1, 200}
    assert printed("study show", "vae")[0]["search"]["space"]["learning_rate"]["log"] is True


def test_status_and_table_of_a_run_count_its_replicates():
    launch()
    status, code, _ = printed("study status", "runs/tiny")
    assert code == 0 and status["statuses"] == {"finished": 5} and not status["errors"]
    assert [(cell["cell"], cell["replicates"]) for cell in status["cells"]] == [("linear", 2), ("vae", 2), ("pca", 1)]
    assert list(status["device_hours"]) == ["cpu"] and status["device_hours"]["cpu"] > 0
    table, _, _ = printed("study table", "runs/tiny")
    assert table["replicates"] == 5 and table["statuses"] == {"finished": 5}
    assert table["files"][0] == "runs/tiny/results.parquet"


def test_status_of_a_diverged_run_is_a_document_with_exit_code_1(tmp_path):
    spec = tiny.SPEC.replace("evaluations: 2", "evaluations: 2, learning_rate: 1.0e+30, grad_clip: 0.0")
    (tmp_path / "tiny.yaml").write_text(spec)
    assert launch().exit_code == 1
    status, code, _ = printed("study status", "runs/tiny")
    assert code == 1 and status["statuses"]["diverged"] >= 2
    assert all(cell["test_nll"] is None or math.isfinite(cell["test_nll"]) for cell in status["cells"])


def test_answers_of_the_repositorys_tables():
    claims, _, _ = printed("analysis claims", ROOT / "results" / "paper")
    assert len({claim["claim"] for claim in claims["claims"]}) == 21 and claims["ledger"] >= 5
    dimension, _, _ = printed("analysis dimension", ROOT / "results" / "intrinsic")
    headline = {one["key"]: one["value"] for one in dimension["estimates"] if one["headline"]}
    assert headline["U"] is None, "no network was trained"
    assert headline["I"] > 10
    found, _, beside = printed("analysis search", ROOT / "results" / "vae", ROOT / "results" / "intrinsic")
    (search,) = found["searches"]
    assert search["objectives"][0] in search["best"][0]["metrics"] and search["best"][0]["trial"] >= 0
    assert "left out" in beside, "notes go to standard error"


def test_files_that_are_written_beside_are_named_on_standard_error(tmp_path):
    _, _, beside = printed("analysis dimension", ROOT / "results" / "intrinsic", "-o", tmp_path / "out")
    assert "dimension.csv" in beside and (tmp_path / "out" / "dimension.csv").exists()
    shown = call(cli.main, ["dimension", ROOT / "results" / "intrinsic"])
    assert "estimate" in shown.stdout and not shown.stderr, "the next command prints as ever"


def test_json_and_csv_are_not_both_printed():
    launch()
    called = call(app.main, ["table", "runs/tiny", "--csv", "-", "--json"])
    assert called.exit_code == 2 and not called.stdout


def test_a_mistake_prints_no_document():
    called = call(app.main, ["status", "runs/absent", "--json"])
    assert called.exit_code == 2 and not called.stdout and called.stderr.startswith("Error: runs/absent")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), np.float64("nan"), -np.inf])
def test_numbers_that_json_lacks_are_null(value):
    assert outputs.finite(value) is None
    assert outputs.finite({"a": value, "b": np.int64(3)}) == {"a": None, "b": 3}


def test_a_document_refuses_fields_that_its_schema_lacks():
    with pytest.raises(ValidationError):
        outputs.RunTable(run="r", files=[], rows=0, replicates=0, statuses={}, more=1)


def test_log_file_holds_the_command_each_replicate_the_warnings_and_the_exit_code(tmp_path):
    (tmp_path / "tiny.yaml").write_text(f"{tiny.SPEC}plugins: [plug]\n")
    register = 'from trainables.registry import DATASETS\nDATASETS["tiny"] = "tests.support.tiny:load"\n'
    (tmp_path / "plug.py").write_text(register)
    words = ["--log-file", tmp_path / "log", "launch", "tiny.yaml", "--runner", "inline"]
    code, output = finish(start(program("study", *words)))
    log = (tmp_path / "log").read_text()
    assert code == 0, output
    assert "launch tiny.yaml" in log.splitlines()[0] and log.rstrip().endswith("exit code 0")
    assert "linear, seed 1: finished at step 6" in log and "INFO" not in output
    assert finish(start(program("study", "--log-file", tmp_path / "log", "show", "s3://KEY:HID@b/spec.yaml")))[0] == 2
    log = (tmp_path / "log").read_text()
    assert log.rstrip().endswith("exit code 2") and "show s3://b/spec.yaml" in log and "HID" not in log


def test_log_level_shows_more_and_the_traceback_of_an_error(tmp_path):
    code, output = finish(start(program("study", "--log-level", "debug", "status", "absent")))
    assert code == 2 and "Traceback" in output and "INFO: exit code 2" in output
    code, output = finish(start(program("study", "--log-file", tmp_path, "list")))
    assert code == 2 and output.startswith(f"Error: {tmp_path} cannot be opened")
