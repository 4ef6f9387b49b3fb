"""The report's page, made from runs' tables: the answer first, then the evidence, then each run.

It is the same, byte for byte, whenever it is made from the same tables.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from importlib import resources
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

import jinja2
from markupsafe import Markup

from analysis.cells import evaluated, is_papers
from analysis.evidence import Evidence
from analysis.report import answer
from analysis.report.section import paper_figures, section
from analysis.report.surprises import surprises
from study.table import load_tables

if TYPE_CHECKING:
    from study.table import Tables

SCRIPTS = ("vendor/sortable.min.js", "vendor/sortable.a11y.min.js", "report.js")
Part = int | str
"""A part of the page: a run's number, or a key of TOGETHER."""
_NUMBER = re.compile(r"(?:< |\[)?(-?[\d,]*\.?\d+(?:e[-+]?\d+)?)", re.IGNORECASE)


def render(
    runs: Sequence[tuple[str, Tables]],
    price: float | None = None,
    workers: int = 1,
    meanwhile: Callable[[], object] = lambda: None,
    evidence: Evidence | None = None,
) -> str:
    """The report's HTML.

    Args:
        runs: Each run's folder, as the reader would name it to `analysis report`, and its tables.
        price: Of an hour of one device, in the reader's currency; None to tell hours alone.
        workers: Processes that share the work. With more than one, each reads the tables from the runs' folders.
        meanwhile: Called once this process has made its own share, while others may still make theirs.
        evidence: Of these tables, if the caller needs it too.
    """
    evidence = evidence or Evidence([tables for _, tables in runs])
    names = [run for run, _ in runs]
    rate = "" if price is None else f"{price:.15g}"
    together = partial(_together, runs, evidence, meanwhile)
    done = _in_one(runs, price, together) if workers == 1 else _shared(runs, price, workers, together)
    context: dict[str, Any] = {
        **{key: value for name in TOGETHER for key, value in done[name].items()},
        "sections": [done[number] for number in range(len(runs))],
        "price": rate,
        "command": shlex.join(["analysis", "report", *names, *(["--price", rate] if rate else [])]),
        "style": _asset("report.css"),
        "scripts": [_asset(name) for name in SCRIPTS],
    }
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("analysis"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["sort_key"] = sort_key
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False}  # the viewer's choices stand in our order
    return environment.get_template("report.html.j2").render(context) + "\n"


def sort_key(text: str) -> str:
    """What a cell of numbers sorts by: the first number in its text; nothing where it has none, which sorts last."""
    found = _NUMBER.match(text.strip())
    return found[1].replace(",", "") if found else ""


def _together(
    runs: Sequence[tuple[str, Tables]], evidence: Evidence, meanwhile: Callable[[], object]
) -> dict[Part, dict[str, Any]]:
    """The parts that are made of all runs together."""
    done: dict[Part, dict[str, Any]] = {part: make(runs, evidence) for part, make in TOGETHER.items()}
    meanwhile()
    return done


def _in_one(
    runs: Sequence[tuple[str, Tables]], price: float | None, together: Callable[[], dict[Part, dict[str, Any]]]
) -> dict[Part, dict[str, Any]]:
    """All parts, made by this process."""
    return {number: _part(runs, number, price) for number in range(len(runs))} | together()


def _shared(
    runs: Sequence[tuple[str, Tables]],
    price: float | None,
    workers: int,
    together: Callable[[], dict[Part, dict[str, Any]]],
) -> dict[Part, dict[str, Any]]:
    """All parts: other processes make those of the runs, this one those of all together, which it then still knows."""

    def size(number: int) -> tuple[bool, int]:
        return runs[number][1].spec.search is not None, len(runs[number][1].ends)

    names = tuple(run for run, _ in runs)
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
    try:
        largest_first = sorted(range(len(runs)), key=size, reverse=True)
        others = {number: pool.submit(_read_part, names, number, price) for number in largest_first}
        return together() | {number: future.result() for number, future in others.items()}
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _part(runs: Sequence[tuple[str, Tables]], part: int, price: float | None) -> dict[str, Any]:
    """What the template shows of the run of this number."""
    run, mine = runs[part]
    others = [other for other in runs if other[1] is not mine]
    return section(run, mine, others, f"r{part + 1}-", price, shown=runs[part] is _main(runs))


def _read_part(names: tuple[str, ...], part: int, price: float | None) -> dict[str, Any]:
    return _part(_loaded(names), part, price)


@cache
def _loaded(names: tuple[str, ...]) -> list[tuple[str, Tables]]:
    """The tables that a worker reads once, whatever parts it makes: what is kept of them serves several."""
    return [(name, load_tables(name)) for name in names]


def _verdicts(runs: Sequence[tuple[str, Tables]], evidence: Evidence) -> dict[str, Any]:
    names = [run for run, _ in runs]
    return {"claims": answer.claims(names, evidence), "dimension": answer.dimension(names, evidence)}


def _figures(runs: Sequence[tuple[str, Tables]], _: Evidence) -> dict[str, Any]:
    main = _main(runs)
    papers, missing = ([], []) if main is None else paper_figures(*main, "paper-")
    told = {"papers": papers, "papers_missing": missing, "papers_run": None if main is None else main[0]}
    return {"surprises": surprises([run for run in runs if evaluated(run[1])]), **told}


def _main(runs: Sequence[tuple[str, Tables]]) -> tuple[str, Tables] | None:
    """The run whose figures stand for the paper's: that of the study `paper`, else the first with its networks."""
    having = [run for run in runs if is_papers(run[1]) and evaluated(run[1])]
    return min(having, key=lambda run: run[1].spec.name != "paper", default=None)


def _asset(name: str) -> Markup:
    """A file of ours that goes into the page as it is."""
    return Markup(resources.files("analysis").joinpath("templates", name).read_text())


TOGETHER: dict[str, Callable[[Sequence[tuple[str, Tables]], Evidence], dict[str, Any]]] = {
    "verdicts": _verdicts,
    "figures": _figures,
}
"""The parts of the page that are made of all runs together."""
