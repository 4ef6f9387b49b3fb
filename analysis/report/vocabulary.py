"""The vocabulary as tables in Markdown: settings, metrics, quantities, kinds of image; and the command line."""

from __future__ import annotations

import html
import json
import re
import subprocess
import sys
from typing import Any

from analysis.formats import table
from study.cli import outputs as cli_outputs
from study.cli.outputs import Output
from trainables.quantities import IMAGE_KINDS, QUANTITIES
from trainables.schema import METRICS, TrialConfig

PROGRAMS = {"study": "study.cli.app", "analysis": "analysis.cli"}
"""The console scripts, and the modules of their commands."""
_LEFT_OUT = (
    r"^\* `--(help|install-completion|show-completion)`.*\n",
    r"\*\*Options\*\*:\n+(?!\*)",
    r"\*\*Commands\*\*:\n+(\* .*\n)+\n*",
)
"""Parts of a program's description that say nothing: its help, empty lists, the list of what follows."""


def fields() -> str:
    """The fields of TrialConfig with their defaults."""
    rows = [
        (f"`{name}`", f"`{_default(field.default)}`", field.description)
        for name, field in TrialConfig.model_fields.items()
    ]
    return table(("field", "default", "what it is"), rows)


def metrics() -> str:
    """The metrics of the results table."""
    rows = [(f"`{name}`", metric.unit, metric.mode or "", metric.description) for name, metric in METRICS.items()]
    return table(("metric", "unit", "better", "what it is"), rows)


def quantities() -> str:
    """The quantities of profiles.parquet; names that only older tables have are left out."""
    rows = [
        (f"`{q.name}`", q.unit, ", ".join(q.words) or q.index, q.by, q.meaning)
        for q in QUANTITIES.values()
        if q.recorded
    ]
    return table(("quantity", "unit", "index", "recorded by", "what it is"), rows)


def images() -> str:
    """The kinds of image in images.parquet; those that only older tables have are left out."""
    rows = [
        (f"`{kind.name}`", kind.index, kind.axis, kind.value, kind.by, kind.meaning)
        for kind in IMAGE_KINDS.values()
        if kind.recorded
    ]
    return table(("kind", "index", "axis", "value", "recorded by", "what it is"), rows)


def commands() -> str:
    """The commands with their arguments and options, as each program describes itself in a process of its own."""
    pages = []
    for name, module in PROGRAMS.items():
        program = [sys.executable, "-m", "typer", module, "utils", "docs", "--name", name]
        page = subprocess.run(program, capture_output=True, text=True, check=True).stdout
        page = re.sub(
            r"^\* `--(help|install-completion|show-completion)`.*\n", "", html.unescape(page), flags=re.MULTILINE
        )
        page = re.sub(r"\*\*Options\*\*:\n+(?!\n*\*)", "", page)
        page = re.sub(r"\*\*Commands\*\*:\n+(\* .*\n)+\n*", "", page)
        pages.append(re.sub(r"^#", "##", page, flags=re.MULTILINE).strip())
    return "\n\n".join(pages)


def outputs() -> str:
    """The fields of each command's JSON document, those of a list's entries after its own."""
    parts = []
    for document in json_documents():
        schema = document.model_json_schema(mode="serialization")
        rows = _fields_of(schema, schema.get("$defs", {}))
        parts.append(f"{schema['description']}\n\n{table(('field', 'type', 'what it is'), rows)}")
    return "\n\n".join(parts)


def json_documents() -> list[type[Output]]:
    """The models of the commands that take `--json`, in the order of their definition."""
    return [each for each in vars(cli_outputs).values() if isinstance(each, type) and issubclass(each, Output)][1:]


def _fields_of(schema: dict[str, Any], models: dict[str, Any], above: str = "") -> list[tuple[str, str, str]]:
    rows = []
    for name, field in schema["properties"].items():
        kinds = field.get("anyOf", [field])
        words = [kind["$ref"] if "$ref" in kind else kind["type"] for kind in kinds]
        inner = [kind.get("items", kind).get("$ref", "").rpartition("/")[2] for kind in kinds]
        nested = next((models[each] for each in inner if each), None)
        words = ["object" if "/" in word else word for word in words]
        brackets = "[]" if kinds[0].get("type") == "array" else ""
        meaning = field.get("description") or (nested or {}).get("description", "").rstrip(".")
        rows.append((f"`{above}{name}{brackets}`", " or ".join(words), meaning))
        if nested:
            rows += _fields_of(nested, models, f"{above}{name}{brackets}.")
    return rows


def _default(value: Any) -> str:
    """A field's default as a spec has it."""
    return json.dumps(list(value) if isinstance(value, tuple) else value).strip('"')
