"""A run's part of the report: what came out, its figures, viewer, search and estimates, and its bookkeeping."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from analysis.cells import cells, evaluated, overfitting, summarise
from analysis.dimension import ruler
from analysis.evidence import Evidence
from analysis.figures.base import Skipped
from analysis.figures.catalogue import FIGURES, draw
from analysis.report import bookkeeping
from analysis.report.bookkeeping import Cost, Settings, Unfinished
from analysis.report.embed import Figures, Grid, Parts, csv_link, embed
from analysis.report.outcome import answer
from analysis.report.sentences import FinalRow, final_rows, overfit_sentences, trouble_sentences
from analysis.report.viewer import Viewer, viewer
from analysis.search import best, history, search_figures, search_page
from study.table import Tables, to_csv
from trainables.schema import METRICS, Metric

Runs = Sequence[tuple[str, "Tables"]]
"""Each run's folder, as the reader would name it, and its tables."""
PAPERS = tuple(name for name, entry in FIGURES.items() if entry.paper)
"""The paper's own figures, which the report shows once."""
KEY = "sweep"
"""The figure that shows a run's answer, before all others; of a search it is the first of the search's own."""
CURVES = ("f6_loss_all", "f7_loss_non_linear")
"""Those of the paper's figures that tell something of every run."""


@dataclass(frozen=True)
class SearchPart:
    """A search's best configurations, what early stopping did, and its figures, of which `key` is shown first."""

    best: Grid
    rungs: Grid
    key: Figures
    figures: Figures
    command: str
    csv: str
    file: str


@dataclass(frozen=True)
class Section:
    """Everything that the page shows of one run. `prefix` begins the ids of this part of the page."""

    prefix: str
    run: str
    title: str
    question: str
    sentences: Sequence[str]
    trouble: Sequence[str]
    key: Figures
    final: Sequence[FinalRow]
    viewer: Viewer | None
    figures: Figures
    search: SearchPart | None
    estimates: Grid | None
    settings: Settings
    unfinished: Sequence[Unfinished]
    not_begun: str
    cost: Sequence[Cost]
    provenance: Sequence[tuple[str, str]]
    launch: str | None
    missing: Sequence[Skipped]

    @property
    def datasets(self) -> list[str]:
        """The data sets of the final numbers."""
        return list(dict.fromkeys(row.dataset for row in self.final))

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """The metrics by name, with their descriptions."""
        return METRICS


def section(run: str, tables: Tables, others: Runs, prefix: str, price: float | None, *, shown: bool) -> Section:
    """Makes a run's part of the report.

    Args:
        run: The run's folder, as the reader would name it.
        tables: The run's tables.
        others: Other runs, which may have trained again what this one's search has found.
        prefix: The beginning of the ids of this section.
        price: The price of an hour of one device; None to tell hours alone.
        shown: Whether the page shows the paper's figures of this run already.
    """
    names = [name for name in FIGURES if name != KEY and (name not in PAPERS or (name in CURVES and not shown))]
    parts = Parts()
    search = parts.add("The search", lambda: _search(run, tables, others, prefix))
    summary = parts.add("The final numbers", lambda: summarise(tables)) if len(cells(tables)) else None
    return Section(
        prefix=prefix,
        run=run,
        title=tables.spec.title or tables.spec.name,
        question=tables.spec.question,
        sentences=parts.add("What came out", lambda: answer(tables)) or [],
        trouble=[]
        if summary is None
        else parts.add("What went wrong", lambda: overfit_sentences(overfitting(tables)) + trouble_sentences(summary))
        or [],
        key=search.key if search else _figures(run, tables, [KEY], prefix) if evaluated(tables) else Figures(),
        final=[] if summary is None else parts.add("The final table", lambda: final_rows(summary)) or [],
        viewer=parts.add("The viewer", lambda: viewer(tables)),
        figures=_figures(run, tables, names, prefix) if evaluated(tables) else Figures(),
        search=search,
        estimates=parts.add("The images' own dimension", lambda: _estimates(tables)),
        settings=parts.add("The settings", lambda: bookkeeping.settings(tables)) or Settings(),
        unfinished=parts.add("Unfinished runs", lambda: bookkeeping.unfinished(tables)) or [],
        not_begun=parts.add("What has not begun", lambda: bookkeeping.not_begun(tables)) or "",
        cost=parts.add("The cost", lambda: bookkeeping.costs(tables, price)) or [],
        provenance=parts.add("The provenance", lambda: bookkeeping.provenance(tables)) or [],
        launch=tables.provenance.get("command"),
        missing=parts.missing,
    )


def paper_figures(run: str, tables: Tables) -> Figures:
    """The paper's figures, redrawn from a run's tables."""
    return _figures(run, tables, PAPERS, "paper-", {name: FIGURES[name].paper for name in PAPERS})


def _figures(
    run: str, tables: Tables, names: Sequence[str], prefix: str, papers: Mapping[str, str] | None = None
) -> Figures:
    command = shlex.join(["analysis", "figures", run])
    return embed(draw(tables, names), prefix, lambda name: f"{command} --only {name}", papers)


def _search(run: str, tables: Tables, others: Runs, prefix: str) -> SearchPart | None:
    """The part on a run's search; None without a search, or before its first trial."""
    if tables.spec.search is None or not tables.spec.search.asked:
        return None
    again = {name: other for name, other in others if len(best.fresh_of(tables, other))}
    command = shlex.join(["analysis", "search", run, *again, "-o", "search"])
    configurations = best.best_data(tables, list(again.values()))
    drawn = search_figures.draw(tables)
    return SearchPart(
        best=Grid.of(search_page.best_text(configurations)) if len(configurations) else Grid(),
        rungs=Grid.of(history.rungs_data(tables).map(search_page.short)),
        key=embed(drawn[:1], prefix, lambda name: command),
        figures=embed(drawn[1:], prefix, lambda name: command),
        command=command,
        csv=csv_link(to_csv(configurations)),
        file=f"{tables.spec.name}_best.csv",
    )


def _estimates(tables: Tables) -> Grid | None:
    """What the estimators of the images' own dimension return, by data set; None where there are none."""
    evidence = Evidence([tables])
    if not evidence.intrinsic:
        return None
    frame = ruler.ruler(evidence)
    return Grid.of(frame[["data", "known", *ruler.INTRINSIC]] if len(frame) else frame, ruler.NOTE)
