"""The report's page, made from runs' tables: the answer first, then the evidence, then each run.

It is the same, byte for byte, whenever it is made from the same tables.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from multiprocessing import get_context

import jinja2
from markupsafe import Markup, escape

from analysis.cells import evaluated, is_papers
from analysis.dimension.sweeps import DATA, PAPERS
from analysis.evidence import Evidence
from analysis.figures.base import Skipped
from analysis.report import published, short_run
from analysis.report.embed import Figures, Grid, Parts
from analysis.report.first_screen import ClaimsPart, DimensionPart, claims_part, dimension_part
from analysis.report.pictures import share
from analysis.report.section import Runs, Section, paper_figures, section
from analysis.report.surprises import Surprise, surprises
from study.run.provenance import PACKAGE, installed, program
from study.table import Tables
from study.tables.build import load_or_build
from trainables.printable import printable

SCRIPTS = ("vendor/sortable.min.js", "vendor/sortable.a11y.min.js", "report.js")
_NUMBER = re.compile(r"(?:< |\[)?(-?[\d,]*\.?\d+(?:e[-+]?\d+)?)", re.IGNORECASE)


@dataclass(frozen=True)
class Page:
    """Everything that the template shows.

    `papers` are the paper's figures, redrawn from the run `papers_run`. `program` names the version that draws it all,
    and `citations` are in BibTeX.
    """

    dimension: DimensionPart | None
    claims: ClaimsPart | None
    papers: Figures
    papers_run: str
    surprises: Sequence[Surprise]
    price: str
    command: str
    program: str
    citations: Sequence[str]
    published: Grid
    short_run: Grid
    data: str
    style: Markup
    scripts: Sequence[Markup]
    missing: Sequence[Skipped]
    sections: Sequence[Section] = ()


def render(
    runs: Runs,
    price: float | None = None,
    workers: int = 1,
    meanwhile: Callable[[], object] = lambda: None,
    evidence: Evidence | None = None,
) -> str:
    """The report's HTML.

    Args:
        runs: Each run's folder, as the reader would name it to `analysis report`, and its tables.
        price: The price of an hour of one device, in the reader's currency; None to tell hours alone.
        workers: How many processes share the work. With more than one, each reads the tables from the runs' folders.
        meanwhile: Called once this process has made its own share, while others may still make theirs.
        evidence: The evidence in these tables, if the caller uses it too.
    """
    with _sections(runs, price, workers) as sections:
        page = _together(runs, price, evidence or Evidence([tables for _, tables in runs]))
        meanwhile()
        page = replace(page, sections=sections())
    return share(printable(_template().render(page=page))) + "\n"


def sort_key(text: str) -> str:
    """The number that a cell sorts by: the first in its text; empty where it has none, which sorts last."""
    number = _NUMBER.match(text.strip())
    return number[1].replace(",", "") if number else ""


def rich(text: str) -> Markup:
    """Text with what lies between double asterisks set bold."""
    return Markup(re.sub(r"\*\*(.*?)\*\*", r"<strong>\1</strong>", str(escape(text))).replace("*", ""))


def code(text: str) -> Markup:
    """Text with what stands between backticks set as code."""
    return Markup(re.sub("`([^`]*)`", r"<code>\1</code>", str(escape(text))))


def _together(runs: Runs, price: float | None, evidence: Evidence) -> Page:
    """The page as far as it is made of all runs together."""
    names = [run for run, _ in runs]
    rate = "" if price is None else f"{price:.15g}"
    main, parts, papers = _main(runs), Parts(), evidence.dataset == PAPERS
    option = [] if papers else ["--dataset", evidence.dataset]
    return Page(
        dimension=parts.add("The latent dimension", lambda: dimension_part(names, evidence)),
        claims=parts.add("The paper's claims", lambda: claims_part(names, evidence)) if papers else None,
        papers=paper_figures(*main) if main else Figures(),
        papers_run=main[0] if main else "",
        published=parts.add("Published against ours", lambda: published.grid(evidence)) or Grid() if papers else Grid(),
        short_run=parts.add("A short run", lambda: short_run.grid(evidence)) or Grid() if papers else Grid(),
        data=DATA.get(evidence.dataset, evidence.dataset),
        surprises=parts.add("What surprised us", lambda: surprises([r for r in runs if evaluated(r[1])])) or [],
        price=rate,
        command=shlex.join(["analysis", "report", *names, *(["--price", rate] if rate else []), *option]),
        program=program(),
        citations=citations(paper=papers),
        style=_asset("report.css"),
        scripts=[_asset(name) for name in SCRIPTS],
        missing=parts.missing,
    )


@contextmanager
def _sections(runs: Runs, price: float | None, workers: int) -> Iterator[Callable[[], list[Section]]]:
    """A function that gives each run's part; other processes, if any, make the parts meanwhile, the largest first."""

    def size(number: int) -> tuple[bool, int]:
        return runs[number][1].spec.search is not None, len(runs[number][1].ends)

    numbers = range(len(runs))
    if workers == 1:
        yield lambda: [_section(runs, number, price) for number in numbers]
        return
    names = tuple(run for run, _ in runs)
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
    try:
        futures = {
            number: pool.submit(_read_section, names, number, price)
            for number in sorted(numbers, key=size, reverse=True)
        }
        yield lambda: [futures[number].result() for number in numbers]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _section(runs: Runs, number: int, price: float | None) -> Section:
    run, tables = runs[number]
    others = [other for other in runs if other[1] is not tables]
    return section(run, tables, others, f"r{number + 1}-", price, shown=runs[number] is _main(runs))


def _read_section(names: tuple[str, ...], number: int, price: float | None) -> Section:
    return _section(_loaded(names), number, price)


@cache
def _loaded(names: tuple[str, ...]) -> list[tuple[str, Tables]]:
    """The tables that a worker reads once, however many parts it makes."""
    return [(name, load_or_build(name)) for name in names]


def _main(runs: Runs) -> tuple[str, Tables] | None:
    """The run whose figures stand for the paper's: that of the study `paper`, else the first with its networks."""
    having = [run for run in runs if is_papers(run[1]) and evaluated(run[1])]
    return min(having, key=lambda run: run[1].spec.name != "paper", default=None)


def citations(*, paper: bool) -> list[str]:
    """Entries in BibTeX: of this software and, on request, of the paper that it studies."""
    entries = str(_asset("citation.bib")).replace("VERSION", installed(PACKAGE) or "").strip().split("\n\n")
    return entries if paper else entries[:1]


@cache
def _template() -> jinja2.Template:
    """The page's template, compiled once."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("analysis"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"sort_key": sort_key, "code": code, "rich": rich}
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False}  # the viewer's choices stand in our order
    return environment.get_template("report.html.j2")


def _asset(name: str) -> Markup:
    """A file of ours that goes into the page as it is."""
    return Markup(resources.files("analysis").joinpath("templates", name).read_text())
