"""deploy/Containerfile: what it promises, hadolint where it is installed, and its steps in fresh root file systems."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy import chroot
from tests.support.faults import ROOT

FILE = ROOT / "deploy" / "Containerfile"
STEPS = chroot.instructions(FILE)


def test_base_image_is_pinned_by_digest_and_nobody_is_root_in_the_end():
    (first, *others) = [text for instruction, text in STEPS if instruction == "FROM"]
    assert re.fullmatch(r"\S+@sha256:[0-9a-f]{64} AS base", first)
    assert all(text.split()[0] == "base" for text in others)
    assert [text for instruction, text in STEPS if instruction == "USER"] == ["1000"]
    assert "useradd --uid 1000" in dict(STEPS[: STEPS.index(("USER", "1000"))])["RUN"]


def test_everything_is_installed_from_the_lock_files_by_digest():
    installs = [text for instruction, text in STEPS if instruction == "RUN" and "pip install" in text]
    assert len(installs) == 2 and "--require-hashes" in installs[0] and "--no-deps" in installs[1]
    named = set(re.findall(r"[\w-]+\.lock", installs[0]))
    assert named == {path.name for path in ROOT.glob("requirements*.lock")} - {"requirements-read.lock"}


def test_devcontainer_builds_the_same_file_and_runs_as_its_user():
    path = ROOT / ".devcontainer" / "devcontainer.json"
    found = json.loads(re.sub(r"^//.*\n", "", path.read_text(), flags=re.MULTILINE))
    assert (path.parent / found["build"]["dockerfile"]).resolve() == FILE
    assert (path.parent / found["build"]["context"]).resolve() == ROOT
    assert f"--create-home {found['remoteUser']}" in FILE.read_text()


@pytest.mark.skipif(
    not (hadolint := shutil.which("hadolint", path=f"{Path(sys.prefix) / 'bin'}:/usr/local/bin:/usr/bin")),
    reason="hadolint is not installed",
)
def test_hadolint_has_nothing_to_say():
    done = subprocess.run([str(hadolint), str(FILE)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_steps_run_in_fresh_root_file_systems_and_the_user_trains_and_writes_a_report(tmp_path):
    if reason := chroot.missing():
        pytest.skip(reason)
    subprocess.run(["git", "clone", "--quiet", ROOT, tmp_path / "context"], check=True)
    with chroot.built(FILE, tmp_path / "context", tmp_path) as image:
        assert "latent" in image.run(*image.command)
        launched = image.run("study", "launch", "quick", "--steps", "20", "--seeds", "1", "--runner", "inline")
        assert re.search(r"Done: \d+ finished\. Draw", launched)
        assert image.run("id", "-u").strip() == "1000"
        image.run("analysis", "report", "runs/quick")
        provenance = json.loads(
            (tmp_path / "last" / "home" / "study" / "runs" / "quick" / "provenance.json").read_text()
        )
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        assert provenance["git_commit"] == head.strip() and provenance["lock_sha256"]
