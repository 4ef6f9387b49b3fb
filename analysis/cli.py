"""The command `analysis`: figures, claims, dimension, search, report. It reads runs' tables and nothing else."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from study.cli import common, outputs
from study.cli.common import OUT, Price
from study.cli.outputs import Json
from study.table import to_csv
from study.tables.build import load_or_build
from study.tables.trials import search_of
from trainables.errors import ReadableError
from trainables.registry import unknown

if TYPE_CHECKING:
    import pandas as pd

    from analysis.claims.ledger import Ledger
    from analysis.figures.base import Drawn, Skipped
    from study.table import Tables

WIDEST = 6
"""How many configurations a terminal shows side by side."""

app = common.application(
    help="Draws the figures and writes the report of a study, from its tables. Start with: analysis report runs/quick",
    epilog="Tables come from `study launch NAME`; `study table RUN` rebuilds them at any time.",
)
Runs = Annotated[list[str], typer.Argument(metavar="RUN...", help="Run folders, or folders under results/.")]
app.callback()(common.options)
Out = Annotated[
    Path | None,
    typer.Option("--out", "-o", metavar="DIR", help="Write the page, its tables and figures here too."),
]


Dataset = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="The data set to answer for.  \\[default: the one that the runs have; mnist, if it is among several]",
    ),
]


class InputError(ReadableError):
    """Input that a command cannot use; the text is one line that says why."""


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
    from analysis.figures.base import Drawn
    from analysis.figures.catalogue import FIGURES, draw

    for name in only or []:
        if name not in FIGURES:
            raise InputError(unknown(name, FIGURES, what="--only"))
    loaded = _load(runs)
    for folder, (_, tables) in zip(_folders([run for run, _ in loaded], out), loaded, strict=True):
        found = draw(tables, only or FIGURES)
        _write_figures(folder, found)
        if not any(isinstance(figure, Drawn) for figure in found):
            raise InputError("none of the figures asked for can be drawn from these tables.")


@app.command()
def claims(
    runs: Runs,
    out: Out = None,
    ledger: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Claims to decide instead, written as those in analysis/claims/ledger.yaml."),
    ] = None,
    json: Json = False,
) -> None:
    """Give each claim of the paper (C1 to C21) a verdict from the tables of these runs, together.

    Example: analysis claims results/* -o claims

    Prints a line for each claim.

    In DIR: claims.md has every test behind a verdict, claims.csv a row for each test.

    There too: claims_forest, all claims at a glance, as SVG, PNG and CSV.

    Claims that turn on what the paper does not report have a specification curve there too.
    """
    from analysis.claims import markdown
    from analysis.claims.specification import drawn_specification
    from analysis.evidence import Evidence
    from analysis.figures.forest import draw_forest

    loaded = [tables for _, tables in _load(runs, trained=False)]  # before the ledger, which may name what plugins add
    given = _ledger(ledger)
    judgements = Evidence(loaded).judge(given)
    if json:
        decided = [
            outputs.DecidedClaim(
                claim=j.claim.id,
                section=j.claim.section,
                statement=j.claim.statement,
                verdict=j.verdict,
                reason=j.reason,
                tests=len(j.outcomes),
            )
            for j in judgements
        ]
        outputs.DecidedClaims(runs=runs, ledger=given.version, claims=decided).print()
    else:
        rows = [(j.claim.id, j.claim.statement, j.verdict, j.reason) for j in judgements]
        _show(["", "claim", "verdict", "why"], rows)
    if out is None:
        return
    command = _command("claims", runs if ledger is None else [*runs, "--ledger", str(ledger)])
    _write(out / "claims.md", markdown.to_markdown(judgements, given, command=command).encode())
    _write(out / "claims.csv", to_csv(markdown.to_frame(judgements)).encode())
    _write_figures(out, [draw_forest(judgements), *filter(None, map(drawn_specification, judgements))])


@app.command()
def dimension(runs: Runs, out: Out = None, dataset: Dataset = None, json: Json = False) -> None:
    """Estimate the latent dimension that the images need, in every way that these runs allow.

    Example: analysis dimension runs/mine -o dimension

    Prints the answer in words, every estimate with its interval, an N for each purpose, and how to settle what is open.

    Whatever is constant in the runs is held fixed. On the paper's data, mnist, the verdict is on its 10 < N < 100.

    In DIR: dimension_card as SVG, PNG and CSV, dimension.md with the answer, the card and the table.

    There too: dimension.csv, every estimate; dimension_controls.csv, the same where the dimension is known.
    """
    from analysis.dimension import card, estimate_table, ruler
    from analysis.dimension.conclusion import concluded
    from analysis.evidence import Evidence, dataset_of
    from analysis.figures import answer
    from analysis.figures.base import Drawn
    from analysis.formats import frame_of

    loaded = [tables for _, tables in _load(runs, trained=False)]
    evidence = Evidence(loaded, dataset_of(loaded, dataset))
    found = concluded(evidence)
    if json:
        every = [
            outputs.DimensionEstimate(**{name: getattr(one, name) for name in outputs.DimensionEstimate.model_fields})
            for one in evidence.estimates
        ]
        outputs.DimensionEstimates(runs=runs, dataset=evidence.dataset, estimates=every).print()
    else:
        short = {one.key: name for one in evidence.estimates if (name := estimate_table.card_name(one.key)) is not None}
        named = [(one.key.removesuffix(f" {short[one.key]}"), one) for one in evidence.estimates if one.key in short]
        rows = [(key, short[one.key], one.text, one.verdict) for key, one in named]
        _say(f"{found.data}. {found.paragraph.replace('**', '')}")
        _show(["", "estimate", "N [95 % interval]", "verdict"], rows)
        notes = [f"({key}) {one.name}" + f": {one.reason}" * bool(one.reason) for key, one in named]
        for line in (*notes, *found.purposes, *found.open):
            _say(line.replace("`", ""))
    if out is None:
        return
    figure = card.draw_card(evidence)
    _write_figures(out, [figure])
    text = f"{answer.markdown(evidence)}\n\n"
    if isinstance(figure, Drawn):
        text += f"![{figure.caption}](dimension_card.png)\n\n*{figure.caption}* "
    text += f"`{_command('dimension', runs)}`\n\n"
    text += f"{estimate_table.markdown(evidence.estimates)}\n"
    text += "".join(f"- {line}\n" for line in found.open) + "\n" * bool(found.open)
    text += f"## Where the dimension is known\n\n{ruler.markdown(evidence)}\n"
    _write(out / "dimension.md", text.encode())
    _write(out / "dimension.csv", to_csv(estimate_table.to_frame(evidence.estimates)).encode())
    controls = frame_of(estimate_table.ControlEstimate, evidence.controls)
    _write(out / "dimension_controls.csv", to_csv(controls).encode())


@app.command()
def search(
    runs: Runs,
    out: Out = None,
    json: Json = False,
) -> None:
    """Show what a search has found: the best configurations, which settings matter, how it went, the Pareto front.

    Example: analysis search results/vae results/vae-best -o docs/search

    Prints the best configurations of each search among these runs.

    The other runs may have trained them again: `study best RUN --spec FILE`.

    In DIR, each name led by the study's: search.md, the page, best.csv, and the figures as SVG, PNG and CSV.

    Figures: history, importance (fANOVA, with intervals), slices, pairs, front and hypervolume.
    """
    from analysis.search import best, search_figures, search_page
    from study.tables.trials import ranked

    loaded = _load(runs)
    searches = [(run, tables) for run, tables in loaded if tables.spec.search is not None]
    if not searches:
        raise InputError("none of these runs is of a study with a search; `study list` shows which there are.")
    results = []
    for run, tables in searches:
        others = [other for _, other in loaded if other is not tables]
        if not len(ranked(tables)):
            raise InputError(f"no trial of {tables.spec.name} has finished yet.")
        found = best.best_data(tables, others)
        if json:
            results.append(_search_result(run, tables, found))
        else:
            _show_best(tables.spec.name, search_page.best_text(found))
        if out is None:
            continue
        drawn = search_figures.draw(tables)
        _write_figures(out, drawn)
        written = search_page.page(tables, found, drawn, _command("search", runs))
        _write(out / f"{tables.spec.name}_search.md", written.encode())
        _write(out / f"{tables.spec.name}_best.csv", to_csv(found).encode())
    if json:
        outputs.SearchResults(searches=results).print()


@app.command()
def report(
    runs: Runs,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="DIR", help="Where to write.  \\[default: RUN; . for several]"),
    ] = None,
    price: Price = None,
    dataset: Dataset = None,
) -> None:
    """Write report.html: one file that opens offline, the answer first, then the evidence, then each run.

    Example: analysis report runs/paper

    Example: analysis report results/* -o report

    First: how many latent dimensions the images need; of mnist also a verdict on each claim of the paper.

    Then: the paper's figures, the dimension card, what surprised us.

    Then of each run: its numbers, a viewer of its images, figures, search, settings, failures, cost, provenance.
    """
    from analysis.evidence import Evidence, dataset_of
    from analysis.report.page import render

    loaded = _load(runs, trained=False)
    workers = min(os.cpu_count() or 1, len(loaded))
    folder = out or (Path(runs[0]) if len(runs) == 1 and _is_local(runs[0]) else Path())
    name = dataset_of([tables for _, tables in loaded], dataset)
    evidence = Evidence([tables for _, tables in loaded], name)
    _write(folder / "report.html", render(loaded, price, workers, evidence=evidence).encode())


def main() -> None:
    """Entry point of the console script."""
    common.run(app)


def _load(runs: list[str], *, trained: bool = True) -> list[tuple[str, Tables]]:
    """Each run's tables; refuses a run without an evaluated network, or says that it is left out, if `trained`."""
    from analysis.cells import evaluated

    loaded = []
    for folder in runs:
        tables = load_or_build(folder)
        if trained and set(tables.ends["config/task"]) == {"intrinsic_dimension"}:
            _say(f"left out {folder}: it trains nothing. See: {_command('dimension', [folder])}")
            continue
        if trained and not evaluated(tables):
            raise InputError(f"{folder} has no evaluated network yet: `study status {folder}` says how it stands.")
        loaded.append((folder, tables))
    if not loaded:
        raise InputError("none of these runs trains a network.")
    return loaded


def _show_best(study: str, every: pd.DataFrame) -> None:
    """Prints a search's best configurations side by side."""
    text = every.head(WIDEST)
    header = [study, *text["cell"].str.removeprefix("trial-")]
    _show(header, [(column, *text[column]) for column in text.columns[1:]])
    if len(every) > WIDEST:
        _say(f"and {', '.join(every['cell'][WIDEST:])}: see {study}_best.csv of --out")


def _search_result(run: str, tables: Tables, found: pd.DataFrame) -> outputs.SearchResult:
    """Fills a search's part of the JSON document."""
    best = []
    for record in found.astype(object).where(found.notna(), None).to_dict("records"):
        row = {str(key): value for key, value in record.items()}
        cell, trial = row.pop("cell"), row.pop("trial")
        settings = {key.removeprefix("field/"): row.pop(key) for key in list(row) if key.startswith("field/")}
        best.append(
            outputs.BestConfiguration(
                cell=cell, trial=None if trial is None else int(trial), metrics=row, settings=settings
            )
        )
    return outputs.SearchResult(run=run, study=tables.spec.name, objectives=search_of(tables).objectives, best=best)


def _ledger(path: Path | None) -> Ledger:
    """Our ledger, or one's own from a file."""
    from analysis.claims.ledger import load, parse

    try:
        return load() if path is None else parse(path.read_text(encoding="utf-8"), str(path))
    except UnicodeDecodeError as error:
        raise InputError(f"{path} cannot be read: {error}.") from None


def _folders(runs: list[str], out: Path | None) -> list[Path]:
    """The folder of each run's figures: `out` itself for one run, a folder in it for each of several."""
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
        raise InputError(f"{path} cannot be written: {error.strerror or error}.") from None
    _say(str(path))


def _write_figures(folder: Path, figures: Iterable[Drawn | Skipped]) -> None:
    """Writes each as NAME.svg, NAME.png, and NAME.csv, the numbers behind it; says why one was skipped."""
    from analysis.figures.base import Skipped

    for figure in figures:
        if isinstance(figure, Skipped):
            _say(f"skipped {figure.name}: {figure.reason}")
            continue
        files = {"svg": figure.svg().encode(), "png": figure.png(), "csv": figure.csv().encode()}
        for suffix, content in files.items():
            _write(folder / f"{figure.name}.{suffix}", content)


def _command(name: str, runs: list[str]) -> str:
    return shlex.join(["analysis", name, *runs])


def _say(text: str) -> None:
    OUT.print(text, soft_wrap=True)


def _show(header: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """Prints a table."""
    table = Table(*header, box=None, header_style="bold")
    for row in rows:
        table.add_row(*map(str, row))
    OUT.print(table)


if __name__ == "__main__":
    sys.exit(main())  # type: ignore[func-returns-value]
