"""The vocabulary lists every name, and every option of every command."""

from __future__ import annotations

import re

import typer

from analysis import cli
from analysis.report import vocabulary
from study.cli import app
from trainables.quantities import IMAGE_KINDS, QUANTITIES
from trainables.schema import METRICS, TrialConfig


def test_vocabulary_lists_every_name() -> None:
    recorded = {name for names in (QUANTITIES, IMAGE_KINDS) for name, entry in names.items() if entry.recorded}
    for text, names in [
        (vocabulary.fields(), set(TrialConfig.model_fields)),
        (vocabulary.metrics(), set(METRICS)),
        (f"{vocabulary.quantities()}\n{vocabulary.images()}", recorded),
    ]:
        assert set(re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)) == names


def test_commands_list_every_command_and_option() -> None:
    text = vocabulary.commands()
    for name, program in {"study": app.app, "analysis": cli.app}.items():
        group = typer.main.get_command(program)
        for command in group.commands.values():  # type: ignore[attr-defined]
            section = text.partition(f"### `{name} {command.name}`\n")[2].partition("\n### ")[0]
            options = {option for parameter in command.params for option in parameter.opts if option.startswith("--")}
            assert options <= set(re.findall(r"--[a-z-]+", section)), f"{name} {command.name}"
    assert "--help`" not in text and "**Commands**" not in text
