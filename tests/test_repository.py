"""The repository holds together: lock file, entry points, import directions, docstrings, documented commands."""

from __future__ import annotations

import ast
import importlib
import os
import re
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from study import spec
from study.plan import Plan
from study.runfolder import write_run
from study.tables.build import build
from trainables import checkpoint
from trainables.records import Record
from trainables.schema import RESULTS_VERSION
from trainables.storage import Folder

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("trainables", "study", "analysis")
SOURCES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
}
"""Every module of the packages by its name."""
MAX_LINES = 400
READS_NO_TORCH = (
    "study.spec",
    "study.plan",
    "study.cost",
    "study.table",
    "study.runfolder",
    "study.cli.app",
    "study.cli.results",
)


LOCKS = ("requirements.lock", "requirements-cluster.lock")
READ_LOCK = "requirements-read.lock"
TRAINS = {"ray", "scikit-dimension", "threadpoolctl", "torch", "torchvision"}
"""Dependencies that reading tables does not need."""


def locked(name: str = LOCKS[0]) -> dict[str, list[str]]:
    """What a lock file pins, each with the digests of the files that pip may take."""
    lines = [line for line in (ROOT / name).read_text().splitlines() if not line.startswith("#")]
    entries = "\n".join(lines).replace(" \\\n", "").splitlines()
    return {pin: digests for pin, *digests in (entry.split("    ") for entry in entries)}


def project() -> dict[str, Any]:
    table: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return table


def imports(nodes: Iterator[ast.AST]) -> set[str]:
    """Names of the modules that these nodes import; `from a import b` gives both `a` and `a.b`."""
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found.add(node.module or "")
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def all_imports(module: str) -> set[str]:
    """Imports anywhere in a module, those in functions and for type checkers only included."""
    return imports(ast.walk(ast.parse(SOURCES[module].read_text())))


def loaded_by(module: str) -> set[str]:
    """What importing a module loads, as far as its own top level and that of the project's modules tell."""
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            if name in SOURCES:
                waiting.extend(imports(iter(ast.parse(SOURCES[name].read_text()).body)))
    return seen


def within(names: set[str], *tops: str) -> set[str]:
    return {name for name in names if name.split(".")[0] in tops}


@pytest.mark.parametrize("name", [*LOCKS, READ_LOCK])
def test_lock_pins_each_package_once_by_version_and_digest_and_names_no_host_or_path(name) -> None:
    pins = locked(name)
    assert len(pins) > 20
    for pin, digests in pins.items():
        assert re.fullmatch(r"[a-z0-9.-]+==[0-9][A-Za-z0-9.]*( ; .*)?", pin), f"`NAME==VERSION` must hold: {pin!r}."
        assert digests and all(re.fullmatch("--hash=sha256:[0-9a-f]{64}", digest) for digest in digests), pin
    names = [canonicalize_name(Requirement(pin).name) for pin in pins]
    assert len(set(names)) == len(names)
    assert "://" not in (ROOT / name).read_text()


def test_lock_of_a_cluster_adds_to_the_other_and_changes_none_of_its_versions() -> None:
    first, second = ({Requirement(pin).name for pin in locked(name)} for name in LOCKS)
    assert not first & second


def test_lock_for_reading_is_the_part_of_the_other_without_what_trains() -> None:
    names = {canonicalize_name(Requirement(pin).name) for pin in locked(READ_LOCK)}
    pins, every = ({pin.partition(" ;")[0] for pin in locked(lock)} for lock in (READ_LOCK, LOCKS[0]))
    assert pins <= every and not names & (TRAINS - {"threadpoolctl"})
    read = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]["read"]
    assert read == [each for each in project()["dependencies"] if Requirement(each).name not in TRAINS]
    assert {canonicalize_name(Requirement(each).name) for each in read} <= names


@pytest.mark.thorough
def test_install_for_reading_draws_a_report_and_has_neither_torch_nor_ray(tmp_path: Path) -> None:
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    pip: list[str | Path] = [python, "-m", "pip", "install", "--quiet"]
    started = time.monotonic()
    subprocess.run([*pip, "--require-hashes", "--requirement", ROOT / READ_LOCK], check=True)
    print(f"installed in {time.monotonic() - started:.0f} s")
    subprocess.run(["git", "clone", "--quiet", ROOT, tmp_path / "clone"], check=True)
    subprocess.run([*pip, "--no-deps", tmp_path / "clone"], check=True)
    paper, folder = ROOT / "results" / "paper", python.parent
    clean = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    commands: list[list[str | Path]] = [
        [folder / "analysis", "report", paper, "-o", tmp_path],
        [folder / "analysis", "claims", paper],
        [folder / "analysis", "search", ROOT / "results" / "vae", "-o", tmp_path / "search"],
        [folder / "study", "verify", paper],
        [folder / "study", "status", "--help"],
        [python, "-c", "import analysis.api"],
    ]
    for words in commands:
        done = subprocess.run(words, cwd=tmp_path, env=clean, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    assert (tmp_path / "report.html").stat().st_size > 100_000
    absent = subprocess.run([python, "-c", "import torch"], cwd=tmp_path, capture_output=True, check=False)
    assert absent.returncode != 0
    launch: list[str | Path] = [folder / "study", "launch", "quick"]
    done = subprocess.run(launch, cwd=tmp_path, env=clean, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr.startswith("Error: this command needs ray: install requirements.lock")


def test_lock_holds_every_dependency_at_an_allowed_version() -> None:
    pinned = {canonicalize_name(r.name): str(r.specifier)[2:] for r in map(Requirement, locked())}
    asked = project()["dependencies"] + project()["optional-dependencies"]["dev"]
    for requirement in map(Requirement, asked):
        version = pinned.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} is not in requirements.lock: run `make lock`."
        assert requirement.specifier.contains(version), f"{requirement}, but {version} is locked: run `make lock`."


def test_console_scripts_resolve_to_callables() -> None:
    assert set(project()["scripts"]) == {"study", "analysis"}
    for target in project()["scripts"].values():
        module, name = target.split(":")
        assert callable(getattr(importlib.import_module(module), name))


def test_version_is_the_same_everywhere() -> None:
    version = project()["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert re.findall(r"^## \[(.*?)\]", changelog, re.MULTILINE)[0] == version
    assert re.findall(r"^Results version (\d+)", changelog, re.MULTILINE)[0] == str(RESULTS_VERSION)


@pytest.mark.parametrize("module", SOURCES)
def test_module_imports_run_one_way(module: str) -> None:
    names = all_imports(module)
    package = module.split(".")[0]
    if package == "trainables":
        assert not within(names, "study", "analysis")
        assert module == "trainables.ray_trainable" or not within(names, "ray")
    if package == "study":
        assert not within(names, "analysis")
    if module in ("study.spec", "study.plan", "study.cost", "study.table", "study.runfolder"):
        assert not within(names, "torch", "torchvision", "ray")
    if package == "analysis":
        assert not within(names, "torch", "torchvision", "ray")
        study = ["study.table", "study.spec", "study.plain_yaml", "study.searchspace", "study.cli"]
        study += ["study.run.provenance"]
        study += ["study.run"] if module == "analysis.api" else []  # the door for Python launches too
        trainables = ("errors", "printable", "schema", "quantities", "registry", "shape")
        allowed = (*study, *(f"trainables.{name}" for name in trainables))
        ours = within(names, "study", "trainables") - {"study", "study.cli", "trainables"}
        assert all(name.startswith(allowed) for name in ours), ours


@pytest.mark.parametrize("module", [m for m in SOURCES if m.startswith("analysis") or m in READS_NO_TORCH])
def test_module_that_only_reads_loads_neither_torch_nor_ray(module: str) -> None:
    assert not within(loaded_by(module), "torch", "torchvision", "ray")


def test_launch_without_ray_loads_no_ray_and_with_ray_no_torch() -> None:
    assert not within(loaded_by("study.run.launch"), "ray", "torch")
    assert "ray.tune" in loaded_by("study.run.ray_runner")
    assert not within(loaded_by("study.run.ray_runner"), "torch"), "its workers alone need it, and it takes seconds"


def test_import_of_what_only_reads_loads_neither_torch_nor_ray() -> None:
    modules = [*READS_NO_TORCH, *(m for m in SOURCES if m.startswith("analysis"))]
    code = f"import sys, {', '.join(modules)}; print(sorted({{'torch', 'torchvision', 'ray'}} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.stdout.strip() == "[]", ran.stdout + ran.stderr


SLOW_TO_LOAD = {"torch", "ray", "optuna", "pandas", "matplotlib", "scipy", "sklearn"}


@pytest.mark.parametrize(
    ("words", "unwanted", "has_tables"),
    [
        (["--help"], SLOW_TO_LOAD | {"pyarrow"}, True),
        (["status", "run"], SLOW_TO_LOAD, True),
        (["status", "run"], SLOW_TO_LOAD, False),
    ],
)
def test_command_that_is_typed_often_loads_nothing_slow(words, unwanted, has_tables, tmp_path: Path) -> None:
    plan = Plan(spec.load("paper"), {"mnist": "d"})
    run = Folder(str(tmp_path / "run")).create()
    write_run(run, plan.spec, {"data_digests": {"mnist": "d"}})
    first = plan.replicates[0]
    record = Record(first.described(), rows=[{"step": 0, "test_nll": 9.0, "collapsed": False}])
    folder = run.child("replicates").create().child(first.hash)
    checkpoint.finish(folder, "aaaaaaaa", "finished", record, images=None)
    if has_tables:
        build(run)
    code = f"""
import sys
from study.cli.scripts import study
sys.argv = {["study", *words]!r}
try:
    study()
finally:
    print(sorted({unwanted!r} & set(sys.modules)))
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0 and ran.stdout.splitlines()[-1] == "[]", ran.stdout + ran.stderr
    assert words == ["--help"] or "1 finished" in ran.stdout


@pytest.mark.parametrize("module", SOURCES)
def test_module_begins_with_a_docstring_and_is_short(module: str) -> None:
    text = SOURCES[module].read_text()
    assert ast.get_docstring(ast.parse(text)), f"{module} must begin with a docstring that says what it is for."
    assert len(text.splitlines()) <= MAX_LINES, f"{module} is too long: is it still one concept?"


@pytest.mark.parametrize("package", PACKAGES)
def test_package_init_holds_a_docstring_only(package: str) -> None:
    assert len(ast.parse(SOURCES[package].read_text()).body) == 1


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("*.py")), ids=lambda path: path.name)
def test_test_module_begins_with_a_docstring(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_documented_make_targets_exist(document: str) -> None:
    text = (ROOT / document).read_text()
    targets = set(re.findall(r"(?:^|`|\$ )make ([a-z][a-z-]*)", text, re.MULTILINE))
    assert targets
    environment = {key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MAKELEVEL", "VENV")}
    ran = subprocess.run(
        ["make", "-n", *sorted(targets)], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr


def unfenced(document: str) -> str:
    """A document's text without its blocks of code."""
    return re.sub(r"^```.*?^```", "", (ROOT / document).read_text(), flags=re.MULTILINE | re.DOTALL)


def anchors(document: str) -> set[str]:
    """What a link may name in a document: its headings, spelt as GitHub does."""
    headings = re.findall(r"^#+ (.+)$", unfenced(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


DOCUMENTS = ["README.md", "CONTRIBUTING.md", *(str(page.relative_to(ROOT)) for page in (ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_relative_links_lead_to_a_file_and_a_heading(document: str) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", unfenced(document)):
        path, _, anchor = link.partition("#")
        if "://" not in path:
            found = (ROOT / document).parent / path if path else ROOT / document
            assert found.exists(), f"{document} links to {path}, which is not there."
            assert not anchor or anchor in anchors(str(found)), f"{link} in {document} names no heading."


def test_headings_are_spelt_as_github_spells_them() -> None:
    assert {"how-many-latent-dimensions-do-images-need", "on-a-cluster"} <= anchors("README.md")
    assert "the-papers-networks-at-n--5" in anchors("docs/results.md")


def test_readme_leads_to_every_page() -> None:
    seen, waiting = set(), ["README.md"]
    while waiting:
        page = waiting.pop()
        seen.add(page)
        for path in re.findall(r"\]\(([^)#\s:]+\.md)", unfenced(page)):
            name = str(((ROOT / page).parent / path).resolve().relative_to(ROOT))
            waiting += [] if name in seen else [name]
    assert {*DOCUMENTS} <= seen


def test_documents_that_are_named_exist() -> None:
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    names = {Path(file).name for file in files}
    for file in files:
        if file.endswith((".py", ".md", ".yaml", ".toml", ".j2")) and file != "tests/test_repository.py":
            named = set(re.findall(r"\b([A-Z_]{4,}\.md)\b", (ROOT / file).read_text()))
            assert named <= names, f"{file} names {named - names}, which is not in the repository."


def test_ci_runs_the_documented_test_command() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert re.search(r"\bmake test$", script.read_text(), re.MULTILINE)
