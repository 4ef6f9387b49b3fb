"""The command `analysis`: figures, report. It reads a run's tables and nothing else."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console

from study.table import TableError, load_tables
from trainables.registry import unknown

if TYPE_CHECKING:
    from study.table import Tables

INPUT_IS_WRONG = 2

app = typer.Typer(
    help="Draws the figures and writes the report of a study, from its tables. Start with: analysis report runs/quick",
    epilog="Tables come from `study launch NAME`; `study table RUN` rebuilds them at any time.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
_out, _err = Console(), Console(stderr=True)

Runs = Annotated[list[str], typer.Argument(metavar="RUN...", help="Run folders, or folders under results/.")]


@app.command()
def figures(
    runs: Runs,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="DIR", help="Where to write.  \\[default: RUN/figures; ./figures for several]"
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="NAME", help="Draw this figure alone; may be repeated.  \\[default: all]"),
    ] = None,
) -> None:
    """Draw every figure that the tables can give, as NAME.svg, NAME.png and NAME.csv (the numbers behind it).

    Example: analysis figures runs/paper --only f6_loss_all -o docs

    Of several runs, each gets a folder of its own in DIR.
    """
    from analysis.figures import FIGURES, Drawn, draw

    for name in only or []:
        if name not in FIGURES:
            _refuse(unknown(name, FIGURES, what="--only"))
    loaded = _load(runs)
    for folder, (_, tables) in zip(_folders(runs, out), loaded, strict=True):
        found = draw(tables, only)
        for figure in found:
            if isinstance(figure, Drawn):
                contents = {"svg": figure.svg().encode(), "png": figure.png(), "csv": figure.csv().encode()}
                for suffix, content in contents.items():
                    _write(folder / f"{figure.name}.{suffix}", content)
            else:
                _say(f"skipped {figure.name}: {figure.reason}")
        if not any(isinstance(figure, Drawn) for figure in found):
            _refuse("none of the figures asked for can be drawn from these tables.")


@app.command()
def report(
    runs: Runs,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="DIR", help="Where to write.  \\[default: RUN; . for several]"),
    ] = None,
) -> None:
    """Write report.html: one file that opens offline, with figures, final numbers, settings and provenance.

    Example: analysis report runs/paper

    Of several runs, each gets a section.
    """
    from analysis.report import render

    loaded = _load(runs)
    folder = out or (Path(runs[0]) if len(runs) == 1 and _is_local(runs[0]) else Path())
    _write(folder / "report.html", render(loaded).encode())


def main() -> None:
    """Entry point of the console script."""
    app()


def _load(runs: list[str]) -> list[tuple[str, Tables]]:
    """Each run's tables; exits with 2 and one line if one cannot be read or has no evaluation."""
    loaded = []
    for run in runs:
        try:
            tables = load_tables(run)
        except (TableError, OSError) as error:
            _refuse(str(error))
        if not tables.rows("results", ["test_nll"])["test_nll"].notna().any():
            _refuse(f"{run} has no evaluated row yet: `study status {run}` says how it stands.")
        loaded.append((run, tables))
    return loaded


def _folders(runs: list[str], out: Path | None) -> list[Path]:
    """Where each run's figures go: one run straight into the folder, several into one of its own each."""
    if len(runs) == 1:
        return [out or (Path(runs[0]) / "figures" if _is_local(runs[0]) else Path("figures"))]
    names = [run.rstrip("/").rpartition("/")[2] for run in runs]
    numbered = [
        f"{name}-{names[:index].count(name) + 1}" if names.count(name) > 1 else name for index, name in enumerate(names)
    ]
    return [(out or Path("figures")) / name for name in numbered]


def _is_local(run: str) -> bool:
    return "://" not in run


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        _refuse(f"{path} cannot be written: {error.strerror or error}.")
    _say(str(path))


def _say(text: str) -> None:
    _out.print(text, highlight=False, markup=False, soft_wrap=True)


def _refuse(text: str) -> NoReturn:
    line = " ".join(text.split())
    _err.print(f"Error: {line}", highlight=False, markup=False, soft_wrap=True, style="red")
    raise typer.Exit(INPUT_IS_WRONG)


if __name__ == "__main__":
    sys.exit(main())  # type: ignore[func-returns-value]
