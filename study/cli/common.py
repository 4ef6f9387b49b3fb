"""Parts that all commands share: the consoles, the exit codes, errors as one readable line, common options."""

from __future__ import annotations

import contextlib
import enum
import importlib.metadata
import io
import logging
import math
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.console import Console, ConsoleDimensions
from rich.text import Text
from typer.core import TyperGroup

from study.run.provenance import command_line
from study.spec import SpecError, readable
from trainables.errors import ReadableError
from trainables.printable import printable
from trainables.storage import StorageError

_LOG = logging.getLogger(__name__)
FAILED, INPUT_IS_WRONG = 1, 2
"""Exit codes: something failed, the input is wrong. `study.cli.scripts` has that of a Ctrl-C."""

TRAINS = ("ray", "skdim", "threadpoolctl", "torch", "torchvision")
"""Modules that an installation for reading tables lacks."""


def hide_keys(text: str) -> str:
    """Hides the key and the secret of a URL such as s3://KEY:SECRET@bucket/run."""
    return re.sub(r"(\w+://)[^/@\s'\"]+@", r"\1***@", text)


class LogLevel(enum.StrEnum):
    """The least severe messages that are logged."""

    debug = "debug"
    info = "info"
    warning = "warning"
    error = "error"


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(hide_keys(super().format(record)))


WIDE, NARROW = 10_000, 80
"""Columns of what is no terminal, and of a terminal that does not know its own."""


class Output(Console):
    """A console whose reader may go away, or whose file may be full.

    A launch then goes on without output, since training matters more; another command ends.
    """

    goes_on = False

    @property
    def size(self) -> ConsoleDimensions:
        """The terminal's size; a pipe or a file is as wide as any line, so that no name in a table is cut."""
        width, height = super().size
        return ConsoleDimensions(width or NARROW if self.is_terminal else WIDE, height)

    @size.setter
    def size(self, size: tuple[int, int]) -> None:
        self._width, self._height = size

    def print(self, *objects: Any, **options: Any) -> None:
        """Prints; see rich."""
        try:
            super().print(*objects, **options)
        except OSError as error:
            self._lost(error.strerror or str(error))
            if not self.goes_on:
                raise StorageError(f"the output cannot be written: {error.strerror or error}.") from None

    def render_str(self, text: str, **options: Any) -> Text:
        """Makes a text, also of a table's cell, without control characters and keys; rich calls it."""
        return super().render_str(printable(hide_keys(text)), **options)

    def on_broken_pipe(self) -> None:
        """Ends the command quietly, or goes on; rich calls it."""
        self._lost("its reader has gone")
        if not self.goes_on:
            raise SystemExit(FAILED)

    def _lost(self, reason: str) -> None:
        self.quiet = True
        with contextlib.suppress(OSError, ValueError):  # what is left to be flushed goes nowhere
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())
        if self.goes_on:
            ERR.print(f"The output cannot be written ({reason}): the launch goes on without.", soft_wrap=True)


_PLAIN: dict[str, Any] = {"markup": False, "highlight": False, "emoji": False}  # a spec's words are printed as they are
OUT, ERR = Output(**_PLAIN), Output(stderr=True, **_PLAIN)
"""The consoles on which the command line prints results and errors."""


class Commands(TyperGroup):
    """Commands that name the value where an option breaks its rule."""

    def invoke(self, ctx: Any) -> Any:
        """Invokes the command that the user typed."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            if isinstance(error.__cause__, ValidationError):
                error.message = readable(error.__cause__)
            raise


def application(**settings: Any) -> typer.Typer:
    """Makes a command with subcommands, as `study` and `analysis` are."""
    return typer.Typer(
        cls=Commands,
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        **settings,
    )


def run(app: typer.Typer) -> None:
    """Runs a command: exit code 0 all good, 1 something failed, 2 the input is wrong, 130 interrupted."""
    OUT.stderr = False  # as --json in an earlier call of this process may have left it
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter("%(levelname)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name may have letters that the terminal has not
    try:
        with readable_errors(ERR):
            app()
    except SystemExit as end:
        _LOG.info("exit code %s", end.code or 0)
        raise


@contextmanager
def readable_errors(console: Console) -> Iterator[None]:
    """Turns an error that is no defect of the program into one line on `console` and an exit code."""
    try:
        yield
    except (ReadableError, OSError) as error:
        _LOG.debug("the error's traceback:", exc_info=True)
        console.print(f"Error: {' '.join(_text(error).split())}", soft_wrap=True)
        raise SystemExit(_exit_code(error)) from None
    except ModuleNotFoundError as error:
        name = (error.name or "").partition(".")[0]
        if name not in TRAINS:
            raise
        console.print(
            f"Error: this command needs {name}: install requirements.lock, not requirements-read.lock alone.",
            soft_wrap=True,
        )
        raise SystemExit(INPUT_IS_WRONG) from None


def print_version(wanted: bool) -> None:
    """Prints the program's version and ends, if it is wanted."""
    if wanted:
        OUT.print(importlib.metadata.version("mnist-autoencoder-study"))
        raise typer.Exit


def options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=print_version, help="Show the version and exit.")
    ] = False,
    log_level: Annotated[
        LogLevel | None, typer.Option(help="Log from this level on. \\[default: warning; with --log-file, info there]")
    ] = None,
    log_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Append the log to this file too, with times.")
    ] = None,
) -> None:
    """Takes the options that come before a command."""
    if log_level is None and log_file is None:
        return
    root = logging.getLogger()
    for handler in root.handlers:
        handler.setLevel((log_level or LogLevel.warning).upper())
    if log_file is not None:
        file = logging.FileHandler(log_file, encoding="utf-8", errors="backslashreplace")
        file.setFormatter(_Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        root.addHandler(file)
    for package in ("study", "trainables", "analysis"):  # other libraries' loggers stay at warnings
        logging.getLogger(package).setLevel((log_level or LogLevel.info).upper())
    _LOG.info("%s", command_line(Path(sys.argv[0]).name, *sys.argv[1:]))


def check_price(price: float | None) -> float | None:
    """Refuses a price that is no number from 0."""
    if price is not None and not 0 <= price < math.inf:
        raise SpecError(f"`--price` must be a number from 0, but got {price}.")
    return price


Run = Annotated[str, typer.Argument(help="A run folder, or a folder under results/.")]
Price = Annotated[
    float | None,
    typer.Option(
        callback=check_price,
        help="Show the money too: what an hour of one device (a GPU, a core of a CPU) costs in your currency, such as "
        "0.53.",
    ),
]


def _text(error: Exception) -> str:
    """Returns an error's text; for a file that the system refuses, its name and why."""
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename} cannot be opened: {error.strerror}."
    return str(error)


def _exit_code(error: Exception) -> int:
    """Returns 1 for a machine that refuses (a full disk, a lost connection), 2 for input that is wrong."""
    named_wrongly = FileNotFoundError | FileExistsError | IsADirectoryError | NotADirectoryError | PermissionError
    return FAILED if isinstance(error, OSError) and not isinstance(error, named_wrongly) else INPUT_IS_WRONG
