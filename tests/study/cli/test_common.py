"""What all commands share: the console shows neither control characters nor keys, whatever prints there."""

import io
import logging
import sys

import pytest
from rich.table import Table

from study.cli.common import Output, _Formatter, options

UNSAFE = "boom \x1b]52;c;AAAA\x07 s3://KEY:SECRET@bucket/run"
SHOWN = r"boom \x1b]52;c;AAAA\x07 s3://***@bucket/run"


def console():
    return Output(file=io.StringIO(), markup=False, highlight=False, emoji=False)


def test_output_shows_a_line_without_control_characters_and_keys():
    shown = console()
    shown.print(UNSAFE, soft_wrap=True)
    assert shown.file.getvalue() == f"{SHOWN}\n"


def test_output_shows_a_tables_cells_and_header_without_control_characters_and_keys():
    shown, table = console(), Table(UNSAFE, box=None)
    table.add_row(UNSAFE)
    shown.print(table)
    assert shown.file.getvalue().count(SHOWN) == 2
    assert "\x1b" not in shown.file.getvalue() and "SECRET" not in shown.file.getvalue()


def test_log_lines_have_no_control_characters_and_keys():
    record = logging.LogRecord("study", logging.WARNING, "", 0, "%s", (UNSAFE,), None)
    assert _Formatter("%(levelname)s: %(message)s").format(record) == f"WARNING: {SHOWN}"


@pytest.mark.parametrize("columns", ["80", "0", None])
def test_output_cuts_no_name_in_a_pipe(columns, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns is not None:
        monkeypatch.setenv("COLUMNS", columns)
    shown, table = console(), Table("cell", *"abcdef", box=None)
    table.add_row("weight_dropout latent_dim=20", *["a wide value"] * 6)
    shown.print(table)
    assert "weight_dropout latent_dim=20" in shown.file.getvalue() and len(shown.file.getvalue().splitlines()) == 2


def test_output_on_a_terminal_of_no_width_shows_lines_all_the_same(monkeypatch):
    monkeypatch.setenv("COLUMNS", "0")
    shown = Output(file=io.StringIO(), force_terminal=True)
    assert shown.width == 80


@pytest.mark.parametrize(
    "url",
    ["s3://KEY:HID/DEN@b/run", "s3://b/run?secret_key=HIDDEN", "abfss://c@a.dfs.core.windows.net/p?sas_token=HIDDEN"],
)
def test_log_of_the_command_line_has_no_secrets(tmp_path, monkeypatch, url):
    monkeypatch.setattr(sys, "argv", ["study", "status", url])
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", list(root.handlers))
    options(log_file=tmp_path / "log")
    root.handlers[-1].close()
    assert "study status" in (tmp_path / "log").read_text() and "DEN" not in (tmp_path / "log").read_text()
