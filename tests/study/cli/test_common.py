"""What all commands share: the console shows neither control characters nor keys, whatever prints there."""

import io
import logging

from rich.table import Table

from study.cli.common import Output, _Formatter

UNSAFE = "boom \x1b]52;c;AAAA\x07 s3://KEY:SECRET@bucket/run"
SHOWN = r"boom \x1b]52;c;AAAA\x07 s3://***@bucket/run"


def console():
    return Output(file=io.StringIO(), width=200, markup=False, highlight=False, emoji=False)


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
