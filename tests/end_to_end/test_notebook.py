"""The notebook of docs/ shows what its cells give, and runs in a Jupyter kernel, where an event loop already runs."""

from __future__ import annotations

import ast
import re

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

from tests.test_layout import PUBLIC
from tests.test_repository import PACKAGES, ROOT, SOURCES, imports

PATH = ROOT / "docs" / "notebook.ipynb"


def read() -> NotebookNode:
    notebook: NotebookNode = nbformat.read(PATH, as_version=4)
    return notebook


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def shown(notebook: NotebookNode) -> list[str]:
    """What the cells show as text."""
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    return [output.data["text/plain"] if "data" in output else output.text for output in outputs]


def without_numbers(text: str) -> list[str]:
    """The words of a text; of numbers, which other processors may give in other last digits, none."""
    return [word for word in text.split() if not re.search(r"\d", word)]


def test_notebook_was_run_from_top_to_bottom_without_an_error_and_holds_no_path():
    nbformat.validate(read())
    cells = code_cells(read())
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert {output.output_type for output in outputs} <= {"display_data", "execute_result", "stream"}
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 3
    assert not [text for text in (PATH.read_text(), *shown(read())) if "/tmp" in text or str(ROOT) in text]


def test_notebook_uses_public_names_only():
    names = {name for cell in code_cells(read()) for name in imports(ast.walk(ast.parse(cell.source)))}
    ours = {name for name in names if name.split(".")[0] in PACKAGES and name not in SOURCES}
    assert {"analysis.api.launch_study", "analysis.api.estimate_dimension"} <= ours <= set(PUBLIC)


@pytest.mark.thorough
def test_notebook_runs_in_a_kernel_and_shows_the_same_again(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    again = read()
    NotebookClient(again, timeout=600, resources={"metadata": {"path": str(PATH.parent)}}).execute()
    before, after = shown(read()), shown(again)
    (answer,) = (number for number, text in enumerate(before) if "description length" in text)
    assert without_numbers(after[answer]) == without_numbers(before[answer])
    assert after[:answer] + after[answer + 1 :] == before[:answer] + before[answer + 1 :]
