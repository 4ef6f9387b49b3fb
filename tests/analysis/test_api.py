"""The project as a library: what docs/python.md promises, on a real study, also where an event loop already runs."""

from __future__ import annotations

import ast
import asyncio
import math
import os
import re
import signal
from pathlib import Path

import pandas as pd
import pytest

from analysis import api
from analysis.api import Options, decide_claims, estimate_dimension, launch_study, load_run
from study import spec
from study.run.backlog import Counts
from study.table import TableError, Tables
from tests.test_repository import ROOT, SOURCES
from trainables.errors import ReadableError

SPEC = """
name: pens
seeds: 2
base: {dataset: digits, hidden_dims: [8], steps: 20, evaluations: 2, batch_size: 20}
arms: {elu: {activation: elu}, pca: {task: pca}}
grid: {latent_dim: [2, 4]}
"""
INLINE = Options(runner="inline", device="cpu")
DOCUMENT = (ROOT / "docs" / "python.md").read_text()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("api") / "run"
    launched = launch_study(spec.parse(SPEC, "pens"), folder, options=INLINE, progress=False)
    assert launched == api.Launched(str(folder), Counts(finished=6))
    return folder


def test_launch_goes_on_where_it_was_and_takes_the_changes_of_the_command_line(run, capsys):
    again = launch_study(spec.parse(SPEC, "pens"), run, seeds=3, options=INLINE)
    assert again.counts == Counts(finished=8)
    assert "8 replicates, 6 finished, 2 to start" in " ".join(capsys.readouterr().out.split())
    assert not load_run(run).results.query("seed == 2").empty


def test_launch_of_a_spec_file_prints_nothing_where_progress_is_not_wanted(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pens.yaml").write_text(SPEC)
    launched = launch_study(tmp_path / "pens.yaml", seeds=1, steps=2, options=INLINE, progress=False)
    assert launched.run == "runs/pens" and launched.counts.left == launched.counts.bad == 0
    assert not capsys.readouterr().out


def test_loaded_run_is_typed_and_holds_frames(run):
    tables = load_run(run)
    assert isinstance(tables, Tables) and tables.spec.name == "pens"
    assert all(isinstance(frame, pd.DataFrame) and len(frame) for frame in (tables.results, tables.profiles))
    assert set(tables.ends["step"]) == {0, 20}


def test_estimates_and_verdicts_are_those_of_the_commands_evidence(run):
    found = estimate_dimension(run, dataset="digits")
    assert found.dataset == "digits" and found.headline
    assert any(not math.isnan(one.value) for one in found.estimates)
    assert found.frame()["key"].tolist() == [one.key for one in found.estimates]
    decided = decide_claims(load_run(run))
    assert decided.frame()["claim"].tolist()[:2] == ["C1", "C2"]
    assert decided.frame().columns.tolist() == ["claim", "statement", "verdict", "reason"]
    assert set(decided.tests()["claim"]) == set(decided.frame()["claim"])


def test_tables_of_the_repository_give_the_published_numbers():
    found = estimate_dimension(ROOT / "results" / "latent")
    (active,) = (one for one in found.estimates if one.key == "U")
    assert found.dataset == "mnist" and active.headline
    assert f"| {active.text} |" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda run: estimate_dimension(), "a run must be named"),
        (lambda run: estimate_dimension(run, dataset="digts"), "digits"),
        (lambda run: load_run(run.parent / "absent"), "is no run folder"),
        (lambda run: decide_claims(run, ledger=run / "spec.yaml"), "spec.yaml"),
        (lambda run: launch_study("latnet"), "latent"),
    ],
)
def test_wrong_arguments_are_readable_errors(run, call, message):
    with pytest.raises(ReadableError, match=message):
        call(run)
    assert issubclass(TableError, ReadableError)


def test_launch_works_inside_a_running_event_loop_and_leaves_its_signals_alone(tmp_path):
    heard = []

    async def notebook():
        loop = asyncio.get_running_loop()
        for number in (signal.SIGUSR1, signal.SIGTERM):
            loop.add_signal_handler(number, heard.append, number)
        launched = launch_study(spec.parse(SPEC, "pens"), tmp_path, seeds=1, options=INLINE, progress=False)
        for number in (signal.SIGUSR1, signal.SIGTERM):
            os.kill(os.getpid(), number)
        await asyncio.sleep(0.1)
        return launched

    assert asyncio.run(notebook()).counts.finished == 4
    assert heard == [signal.SIGUSR1, signal.SIGTERM]


def test_no_module_or_package_shadows_a_name_of_the_interface():
    parts = {part for module in SOURCES for part in module.split(".")}
    assert not set(api.__all__) & parts


def test_document_names_the_whole_interface_and_its_code_runs(run, tmp_path, monkeypatch):
    assert set(re.findall(r"`analysis\.api\.(\w+)`", DOCUMENT)) == set(api.__all__)
    code = re.search(r"```python\n(from analysis\.api.*?)```", DOCUMENT, re.DOTALL)
    assert code
    used = {node.id for node in ast.walk(ast.parse(code[1])) if isinstance(node, ast.Name)}
    assert {"launch_study", "load_run", "estimate_dimension", "decide_claims"} <= used
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").symlink_to(ROOT / "results")
    (tmp_path / "quick.yaml").write_text(SPEC)
    exec(code[1].replace('"quick"', '"quick.yaml"'), {})
    assert load_run(tmp_path / "runs" / "pens").results["replicate"].nunique() == 6
