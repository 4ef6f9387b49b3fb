"""The code lies where a reader looks for it: tests mirror modules, imports run in no circle, public names exist."""

from __future__ import annotations

import ast
import graphlib
import pkgutil
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.test_repository import PACKAGES, ROOT, SOURCES, imports

MODULES = {name: path for name, path in SOURCES.items() if path.name != "__init__.py"}
MOST_ROOMS = 12
"""How many modules and folders may lie at the top of study/, besides specs/."""
TESTED_BY = {
    # Whole rooms with one test file, since their modules are seen through one door.
    "analysis.figures": "tests/analysis/figures/test_catalogue.py",
    "analysis.search": "tests/analysis/search/test_search_figures.py",
    "analysis.claims": "tests/analysis/claims/test_known_answers.py",
    "analysis.report": "tests/analysis/report/test_parts.py",
    "analysis.dimension": "tests/analysis/dimension/test_estimate_table.py",
    "trainables.measurements": "tests/trainables/measurements/test_measurements.py",
    "study.tables": "tests/end_to_end/test_damage.py",
    "study.run": "tests/study/run/test_launch.py",
    "study.search": "tests/study/search/test_optuna_search.py",
    "study.cli": "tests/study/cli/test_app.py",
    # Single modules.
    "analysis.cli": "tests/analysis/figures/test_catalogue.py",
    "analysis.evidence": "tests/analysis/claims/test_evaluate.py",
    "study.cluster.spot_scorer": "tests/study/cluster/test_aws.py",
    "study.cluster.token": "tests/study/run/test_ray_cluster.py",
    "study.searchspace": "tests/study/test_spec_fuzz.py",
    "study.table": "tests/end_to_end/test_examples.py",
    "trainables.batches": "tests/trainables/test_pack.py",
    "trainables.errors": "tests/study/cli/test_app.py",
    "trainables.optimizer": "tests/trainables/test_pack.py",
    "trainables.pack_key": "tests/trainables/test_pack.py",
    "trainables.preload": "tests/study/run/test_launch.py",
    "trainables.ray_trainable": "tests/study/run/test_launch.py",
    "trainables.records": "tests/trainables/test_checkpoint.py",
    "trainables.recorder": "tests/trainables/test_trial.py",
}
"""Where the tests of a module or of a whole room are, if not at the mirrored path."""
ALIKE: dict[str, str] = {}
"""Names that several modules share, and why that confuses nobody."""


def mirrored(module: str) -> Path:
    """The path of a module's tests."""
    *folders, name = module.split(".")
    return ROOT.joinpath("tests", *folders, f"test_{name}.py")


def runtime_imports(path: Path) -> set[str]:
    """The project's modules that a file imports when it runs, those in functions included, type checking left out."""

    def nodes(tree: ast.AST) -> Iterator[ast.AST]:
        for child in ast.iter_child_nodes(tree):
            if not (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)):
                yield child
                yield from nodes(child)

    return imports(nodes(ast.parse(path.read_text()))) & set(SOURCES)


@pytest.mark.parametrize("module", MODULES)
def test_module_has_its_tests_at_the_mirrored_path_or_names_where(module: str) -> None:
    if mirrored(module).exists():
        assert module not in TESTED_BY, "it has tests of its own: take it off the list"
        return
    room = module.rpartition(".")[0]
    named = TESTED_BY.get(module) or TESTED_BY.get(room)
    assert named, f"{module} has no tests at {mirrored(module).relative_to(ROOT)}: write them, or name where they are."
    assert (ROOT / named).exists(), f"{named}, where the tests of {module} should be, does not exist."


def test_every_entry_of_tested_by_is_needed() -> None:
    without = {name for name in MODULES if not mirrored(name).exists()}
    assert set(TESTED_BY) <= without | {name.rpartition(".")[0] for name in without}


def test_imports_run_in_no_circle_those_in_functions_included() -> None:
    graph = {name: runtime_imports(path) - {name} for name, path in SOURCES.items()}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_circle_hidden_in_a_function_is_seen(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("def late():\n    from study.plan import cells\n")
    (tmp_path / "b.py").write_text("if TYPE_CHECKING:\n    from study.plan import cells\n")
    assert "study.plan" in runtime_imports(tmp_path / "a.py")
    assert not runtime_imports(tmp_path / "b.py")


def test_study_has_few_rooms() -> None:
    rooms = [
        path.name for path in (ROOT / "study").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    ]
    assert len(set(rooms) - {"__init__.py", "specs"}) <= MOST_ROOMS, sorted(rooms)


def test_modules_have_different_names() -> None:
    counts = Counter(path.name for path in MODULES.values())
    assert {name for name, count in counts.items() if count > 1} == set(ALIKE)


PUBLIC = re.findall(r"`((?:trainables|study|analysis)(?:\.\w+)+)`", (ROOT / "docs" / "python.md").read_text())
"""The public names, from the one document that lists them."""


@pytest.mark.parametrize("name", PUBLIC)
def test_public_name_exists(name: str) -> None:
    module, _, attribute = name.rpartition(".")
    assert hasattr(pkgutil.resolve_name(module), attribute)


@pytest.mark.parametrize("document", ["docs/extending.md", "docs/python.md", "docs/running.md"])
def test_code_in_the_documentation_uses_public_names_only(document: str) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", (ROOT / document).read_text(), re.MULTILINE | re.DOTALL)
    names = {name for block in blocks for name in imports(ast.walk(ast.parse(block))) if name.split(".")[0] in PACKAGES}
    assert names
    assert {name for name in names if name not in SOURCES} <= set(PUBLIC)


def test_example_uses_public_names_only() -> None:
    names = imports(ast.walk(ast.parse((ROOT / "docs" / "examples" / "custom_figure.py").read_text())))
    assert {name for name in names if name.split(".")[0] in PACKAGES and name not in SOURCES} <= set(PUBLIC)
