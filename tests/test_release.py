"""`make release` in a clone: what it refuses, and what a release holds. The workflow file calls `.ci/run`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

from tests.test_repository import ROOT, SOURCES, project

VERSION = project()["version"]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The files of this repository as a repository of its own, with one folder of results."""
    names = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(names, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in files.splitlines():
        if (ROOT / name).exists() and (not name.startswith("results/") or name.startswith("results/intrinsic/")):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)
    changelog = (tmp_path / "CHANGELOG.md").read_text()
    dated = re.sub(rf"^## \[{VERSION}\] - .*$", f"## [{VERSION}] - unreleased", changelog, flags=re.MULTILINE)
    (tmp_path / "CHANGELOG.md").write_text(dated)
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", "--all")
    git(tmp_path, "commit", "--quiet", "--message", "All")
    return tmp_path


def git(clone: Path, *words: str) -> str:
    author = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    return subprocess.run(["git", *author, *words], cwd=clone, capture_output=True, text=True, check=True).stdout


def release(clone: Path) -> subprocess.CompletedProcess[str]:
    names = {f"GIT_{who}_{what}": "a@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    environment = os.environ | names | {"PYTHON": sys.executable, "PYTHONPATH": str(clone)}
    return subprocess.run([".ci/release"], cwd=clone, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.thorough
def test_release_is_tagged_dated_and_holds_wheel_source_report_and_sums(clone):
    done = release(clone)
    assert done.returncode == 0, done.stdout + done.stderr
    assert git(clone, "describe", "--tags").strip() == f"v{VERSION}" and not git(clone, "status", "--porcelain")
    date = re.search(rf"^## \[{VERSION}\] - (\d{{4}}-\d\d-\d\d)$", (clone / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert date and yaml.safe_load((clone / "CITATION.cff").read_text())["version"] == VERSION
    assert f"\ndate-released: {date[1]}\n" in (clone / "CITATION.cff").read_text()
    entries = (clone / "analysis" / "templates" / "citation.bib").read_text().split("\n\n")
    assert f"year    = {{{date[1][:4]}}}," in entries[0] and "year   = {2018}" in entries[1]
    names = {path.name for path in (clone / "dist").iterdir()}
    stem = f"mnist_autoencoder_study-{VERSION}"
    assert names == {f"{stem}-py3-none-any.whl", f"{stem}.tar.gz", "report.html", "SHA256SUMS"}
    subprocess.run(["sha256sum", "--strict", "--check", "--quiet", "SHA256SUMS"], cwd=clone / "dist", check=True)
    wheel = set(zipfile.ZipFile(clone / "dist" / f"{stem}-py3-none-any.whl").namelist())
    packed = {str(path.relative_to(ROOT)) for path in SOURCES.values()}
    data = {"study/specs/quick.yaml", "analysis/claims/ledger.yaml", "analysis/templates/report.html.j2"}
    assert packed | data <= wheel and not {name for name in wheel if name.startswith("tests/")}
    with tarfile.open(clone / "dist" / f"{stem}.tar.gz") as source:
        assert f"{stem}/study/cli/app.py" in source.getnames()
    again = release(clone)
    assert again.returncode == 1 and f"the tag v{VERSION} exists" in again.stderr


@pytest.mark.parametrize(
    ("file", "change", "reason"),
    [
        ("README.md", lambda text: text + "\n", "has changes that are not committed"),
        (
            "CITATION.cff",
            lambda text: text.replace(f"version: {VERSION}", "version: 9.9.9"),
            "CITATION.cff names another",
        ),
        ("CHANGELOG.md", lambda text: text.replace(f"[{VERSION}]", "[9.9.9]"), "CHANGELOG.md has no section"),
        ("results/intrinsic/spec.yaml", lambda text: text + "\n", "not those of their SHA256SUMS"),
    ],
)
def test_release_of_what_does_not_hold_together_is_refused_and_tags_nothing(clone, file, change, reason):
    path = clone / file
    path.write_text(change(path.read_text()))
    if "not committed" not in reason:
        git(clone, "commit", "--quiet", "--all", "--message", "Change")
    done = release(clone)
    assert done.returncode == 1 and reason in done.stderr
    assert not git(clone, "tag") and not (clone / "dist").exists()


def test_workflow_calls_the_script_of_ci_with_what_it_needs_and_pinned_actions():
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    steps = yaml.safe_load(text)["jobs"]["ci"]["steps"]
    assert steps[-1] == {"run": ".ci/run"} and os.access(ROOT / ".ci" / "run", os.X_OK)
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", step["uses"]) for step in steps if "uses" in step)
    data = next(step for step in steps if "study data" in step.get("run", ""))
    assert data["env"]["STUDY_DATA_DIR"] == "../shared/mnist"
