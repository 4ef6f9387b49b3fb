"""Other data than MNIST confirm the answer's rules: their tables were made after the rules, by which they are read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from analysis.claims import ledger
from analysis.dimension.estimate import first_reason
from analysis.verdict import Verdict

ROOT = Path(__file__).parents[3]
RUNS = sorted(path.name for path in (ROOT / "results").glob("dimension-*"))
"""The runs on data that nobody had looked at when the rules were written."""
LEDGER = "analysis/claims/ledger.yaml"
CHANGED = {"C18"}
"""Claims whose rule was changed later; none reads these runs. The arms of C18 are called by their N."""


def git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=True).stdout


def commit_of(run: str) -> str:
    """The commit that trained a run's networks, if this clone has it."""
    commit: str = json.loads((ROOT / "results" / run / "provenance.json").read_text())["git_commit"]
    try:
        git("cat-file", "-e", f"{commit}^{{commit}}")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip(f"this copy of the repository does not reach back to {commit}")
    return commit


def answer(run: str, code: Path) -> dict[str, Any]:
    """Runs `analysis dimension` with the code in a folder on a run's tables; returns its JSON."""
    program = "import sys; sys.argv[0] = 'analysis'; from analysis.cli import main; main()"
    command = [sys.executable, "-c", program, "dimension", str(ROOT / "results" / run), "--json"]
    environment = os.environ | {"PYTHONPATH": str(code)}
    done = subprocess.run(command, cwd=code, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answered: dict[str, Any] = json.loads(done.stdout)
    return answered


def decided(answered: dict[str, Any]) -> list[dict[str, Any]]:
    """The estimates without remarks: of an unsettled one's reasons the first, which names the rule that it breaks."""
    return [
        one | {"reason": first_reason(one["reason"]) if one["verdict"] != Verdict.SETTLED else ""}
        for one in answered["estimates"]
    ]


def remarks(answered: dict[str, Any]) -> list[set[str]]:
    """All that is said of each estimate."""
    return [set(one["reason"].split("; ")) for one in answered["estimates"]]


def rules(of: ledger.Ledger) -> dict[str, Any]:
    """The rules of all claims but those of CHANGED, without words for readers, and the arms that they compare."""
    words = {"name", "why"}
    claims = [claim for claim in of.claims if claim.id not in CHANGED]
    parts = {claim.id: (claim.rule, [part.model_dump(exclude=words) for part in claim.parts]) for claim in claims}
    return {"claims": parts, "arms": {name: arm for name, arm in of.arms.items() if "N = " not in name}}


@pytest.mark.parametrize("run", RUNS)
def test_networks_of_other_data_were_trained_after_the_ledger_was_fixed(run: str) -> None:
    before = ledger.parse(git("show", f"{commit_of(run)}:{LEDGER}").decode())
    assert rules(before) == rules(ledger.load()), (
        f"the ledger's rules have changed since results/{run} was trained: they were not fixed before these data"
    )


@pytest.mark.thorough
@pytest.mark.parametrize("run", RUNS)
def test_code_from_before_other_data_reads_the_same_estimates_from_them(run: str, tmp_path: Path) -> None:
    packed = git("archive", commit_of(run), "analysis", "study", "trainables")
    subprocess.run(["tar", "x", "-C", str(tmp_path)], input=packed, check=True)
    before, now = answer(run, tmp_path), answer(run, ROOT)
    assert decided(before) == decided(now) and len(now["estimates"]) > 5
    assert all(former <= own for former, own in zip(remarks(before), remarks(now), strict=True)), "none is lost"
