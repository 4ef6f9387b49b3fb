"""A run's part of the report: what came out, figures, viewer, search, settings, failed runs, cost, provenance, as text.

It states numbers and no verdicts.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from analysis.cells import STATUSES, cells, config_text, evaluated, none_if_null, summarise
from analysis.dimension import ruler
from analysis.evidence import Evidence
from analysis.figures.catalogue import FIGURES, Drawn, Skipped, draw
from analysis.figures.style import look
from analysis.formats import ABSENT, decimals, with_interval
from analysis.report.embed import Shown, csv_link, show
from analysis.report.viewer import viewer
from analysis.search import best, history, search_figures
from study.table import MERGED, device_hours, to_csv
from study.tables.trials import ranked
from trainables.registry import MEASUREMENTS
from trainables.schema import METRICS, TrialConfig

if TYPE_CHECKING:
    from study.table import Tables

Runs = Sequence[tuple[str, "Tables"]]
"""Each run's folder, as the reader would name it, and its tables."""
MAX_GROUPS = 6
"""Groups of (dataset, N) that are told in sentences; the table has them all."""
MAX_NAMED = 8
"""Networks that a sentence names; of more it names the first and the last."""
PAPERS = tuple(name for name, entry in FIGURES.items() if entry.paper)
"""The paper's own figures, which the report shows once."""
CURVES = ("f6_loss_all", "f7_loss_non_linear")
"""Those of them that tell something of every run."""

_TROUBLE = {
    "failed": "Replicates that failed",
    "diverged": "Replicates that diverged",
    "collapsed": "Replicates that finished but draw the same image whatever they are shown (collapsed)",
}


def section(run: str, tables: Tables, others: Runs, prefix: str, price: float | None, *, shown: bool) -> dict[str, Any]:
    """What the template shows of one run.

    Args:
        run: Its folder, as the reader would name it.
        tables: Its tables.
        others: Other runs, which may have trained again what this one's search has found.
        prefix: Of the ids of this section.
        price: Of an hour of one device; None to tell hours alone.
        shown: Whether the page shows the paper's figures of this run already.
    """
    trains = evaluated(tables)
    summary = summarise(tables) if trains else None
    names = [name for name in FIGURES if name not in PAPERS or (name in CURVES and not shown)]
    drawn = draw(tables, names) if trains else []
    command = f"{shlex.join(['analysis', 'figures', run])} --only "
    return {
        "prefix": prefix,
        "title": tables.spec.title or tables.spec.name,
        "name": tables.spec.name,
        "question": tables.spec.question,
        "run": run,
        "sentences": [] if summary is None else sentences(summary),
        "figures": [show(figure, prefix, command + figure.name) for figure in drawn if isinstance(figure, Drawn)],
        "skipped": [figure for figure in drawn if isinstance(figure, Skipped)],
        "viewer": viewer(tables) if trains else None,
        "search": _search(run, tables, others, prefix),
        "estimates": _estimates(tables),
        "final": [] if summary is None else _final(summary),
        "units": {name: METRICS[name] for name in ("test_nll", "test_nll_mean", "test_kl", "test_sse", "train_nll")},
        "settings": _settings(tables),
        "trouble": _trouble(tables),
        "cost": _cost(tables, price),
        "provenance": _provenance(tables),
        "launch": tables.provenance.get("command"),
    }


def paper_figures(run: str, tables: Tables, prefix: str) -> tuple[list[Shown], list[Skipped]]:
    """The paper's figures, redrawn from a run's tables, and those that it cannot give."""
    drawn = draw(tables, PAPERS)
    command = f"{shlex.join(['analysis', 'figures', run])} --only "
    shown = [show(d, prefix, command + d.name, FIGURES[d.name].paper) for d in drawn if isinstance(d, Drawn)]
    return shown, [figure for figure in drawn if isinstance(figure, Skipped)]


def _search(run: str, tables: Tables, others: Runs, prefix: str) -> dict[str, Any] | None:
    """The best configurations of a run's search, what early stopping did, its figures; None without a search."""
    if tables.spec.search is None or not len(ranked(tables)):
        return None
    again = {name: other for name, other in others if len(best.fresh_of(tables, other))}
    command = shlex.join(["analysis", "search", run, *again, "-o", "search"])
    found, drawn = best.best_data(tables, list(again.values())), search_figures.draw(tables)
    return {
        "best": _grid(search_figures.best_text(found)),
        "csv": csv_link(to_csv(found)),
        "file": f"{tables.spec.name}_best.csv",
        "rungs": _grid(history.rungs_data(tables).map(search_figures.short)),
        "command": command,
        "figures": [show(figure, prefix, command) for figure in drawn if isinstance(figure, Drawn)],
        "skipped": [figure for figure in drawn if isinstance(figure, Skipped)],
    }


def _estimates(tables: Tables) -> dict[str, Any] | None:
    """What the estimators of the images' own dimension return, by data set; None where there are none."""
    evidence = Evidence([tables])
    if not evidence.intrinsic:
        return None
    found = ruler.ruler(evidence)
    return _grid(found[["data", "known", *ruler.INTRINSIC]] if len(found) else found) | {"note": ruler.NOTE}


def _grid(frame: pd.DataFrame) -> dict[str, Any]:
    return {"columns": list(frame.columns), "rows": [[str(value) for value in row] for row in frame.to_numpy(object)]}


def sentences(summary: pd.DataFrame) -> list[str]:
    """What came out, from the numbers of `summarise` alone: test NLL per network, ratios to ELU, collapses."""
    done = summary[summary["test_nll"].notna()]
    texts = [] if len(done) else ["No replicate has finished yet: there is no final number to tell."]
    groups = list(done.groupby(["dataset", "latent_dim"], sort=False))
    for _, rows in groups[:MAX_GROUPS]:
        texts += _group_sentences(rows.sort_values("test_nll", kind="stable"))
    if len(groups) > MAX_GROUPS:
        texts.append(f"{len(groups) - MAX_GROUPS} more settings of N are in the final table.")
    for status, meaning in _TROUBLE.items():
        rows = summary[summary[status] > 0]
        if len(rows):
            names = _listed(f"{row['name']} ({row[status]})" for row in rows.to_dict("records"))
            texts.append(f"{meaning}: {names}.")
    return texts


def _group_sentences(rows: pd.DataFrame) -> Iterator[str]:
    """Test NLL of the networks with one latent dimension, and the same as multiples of ELU's."""
    seeds = sorted({int(row["finished"]) for row in rows.to_dict("records") if row["network"] != "pca"})
    values = _listed(
        f"{row['name']} {with_interval(row['test_nll'], row['test_nll_low'], row['test_nll_high'], decimals)}"
        for row in rows.to_dict("records")
    )
    how = "one seed each" if seeds == [1] else f"means over {' or '.join(map(str, seeds))} seeds [95 % t interval]"
    where = f"On {rows['dataset'].iloc[0]} at N = {rows['latent_dim'].iloc[0]}"
    levels = [
        f"{name} {rows[key].iloc[0]:,.1f}"
        for key, name in (("floor", "entropy floor"), ("mean_image", "mean image"))
        if pd.notna(rows[key].iloc[0])
    ]
    text = f"{where}, the final test NLL in nats per image ({how if seeds else 'closed form'}) is"
    yield f"{text} {values}." + (f" For comparison: {', '.join(levels)}." if levels else "")
    compared = rows[rows["ratio"].notna() & (rows["network"] != "elu")]
    if len(compared):
        ratios = _listed(
            f"{row['name']} {row['ratio']:.2f}"
            + (f" ({row['excess_ratio']:.2f})" if pd.notna(row["excess_ratio"]) else "")
            for row in compared.to_dict("records")
        )
        yield f"As a multiple of the ELU network's, raw (and above the entropy floor): {ratios}."


def _listed(texts: Iterable[str]) -> str:
    """Texts in a row; of more than MAX_NAMED, the first and the last few."""
    named, few = list(texts), MAX_NAMED // 2 - 1
    if len(named) > MAX_NAMED:
        named[few:-few] = [f"{len(named) - 2 * few} between them (see the final table)"]
    return ", ".join(named)


def _final(summary: pd.DataFrame) -> list[dict[str, Any]]:
    """The final table's rows as text; a dash where there is no such number."""
    rows = []
    for row in summary.to_dict("records"):
        interval = ABSENT
        if pd.notna(row["test_nll_low"]):
            interval = f"[{row['test_nll_low']:,.2f}, {row['test_nll_high']:,.2f}]"
        elif row["finished"] == 1:
            interval = "closed form" if row["network"] == "pca" else "one seed"
        unfinished = {status: row[status] for status in ("stopped", "running", "pending") if row[status]}
        rows.append(
            {
                "cell": row["cell"],
                "name": row["name"],
                "color": look(row["network"]).color,
                "dataset": row["dataset"],
                "latent_dim": row["latent_dim"],
                "used": f"{row['finished']} of {row['replicates']}",
                "trouble": " / ".join(str(row[key]) for key in _TROUBLE),
                "troubled": sum(row[key] for key in _TROUBLE),
                "unfinished": ", ".join(f"{count} {status}" for status, count in unfinished.items()),
                "interval": interval,
                **{
                    key: decimals(row[key], 2)
                    for key in ("test_nll", "test_nll_mean", "test_kl", "test_sse", "train_nll")
                },
                **{key: decimals(row[key], 2) for key in ("ratio", "excess_ratio")},
                **{key: decimals(row[key], 0) for key in ("train_s", "step")},
            }
        )
    return rows


def _settings(tables: Tables) -> dict[str, Any]:
    """Config fields with one value wherever they apply, and those that differ between cells."""
    every = cells(tables)
    if not len(every):  # of estimates on the images alone
        return {"common": [], "varying": [], "rows": []}
    texts = {
        field: [config_text(value) for value in every[field]] for field in TrialConfig.model_fields if field in every
    }
    used = {field: sorted(set(values) - {config_text(None)}) for field, values in texts.items()}
    varying = [field for field, values in used.items() if len(values) > 1]
    common = [
        {
            "field": field,
            "value": ", ".join(values) or config_text(None),
            "description": TrialConfig.model_fields[field].description,
            "cells": "all" if config_text(None) not in texts[field] else _those(every["cell"], texts[field]),
        }
        for field, values in used.items()
        if field not in varying
    ]
    rows = [
        {"cell": cell, "values": [texts[field][index] for field in varying]} for index, cell in enumerate(every["cell"])
    ]
    described = [(field, TrialConfig.model_fields[field].description) for field in varying]
    return {"common": common, "varying": described, "rows": rows}


def _those(names: Iterable[str], texts: Iterable[str]) -> str:
    """Names of the cells that a field applies to, or of those that it does not, whichever are fewer."""
    pairs = list(zip(names, texts, strict=True))
    with_it = [name for name, text in pairs if text != config_text(None)]
    without = [name for name, text in pairs if text == config_text(None)]
    return f"all but {', '.join(without)}" if len(without) < len(with_it) else ", ".join(with_it) or "none"


def _trouble(tables: Tables) -> list[dict[str, Any]]:
    """Replicates that have not finished, with the reason; running and pending ones too."""
    rows = tables.ends[tables.ends["status"] != "finished"]
    order = {status: index for index, status in enumerate(("failed", "diverged", "stopped", "running", "pending"))}
    found = [
        {
            "cell": row["cell"],
            "seed": row["seed"],
            "replicate": row["replicate"],
            "status": row["status"],
            "step": config_text(row["step"]),
            "error": none_if_null(row["error"]) or ABSENT,
        }
        for row in rows.to_dict("records")
    ]
    return sorted(found, key=lambda row: (order.get(row["status"], len(STATUSES)), row["cell"], row["seed"]))


def _cost(tables: Tables, price: float | None) -> list[dict[str, str]]:
    """What the replicates took of each device, as text; in money where there is a price."""
    measured = _measuring_hours(tables)
    return [
        {
            "device": row["device"],
            "replicates": f"{row['replicates']:,}",
            **{key: decimals(row[key], 3) for key in ("train_h", "evaluate_h", "hours")},
            "measure_h": decimals(measured.get(row["device"], 0.0), 3),
            "money": "" if price is None else decimals(row["hours"] * price, 2),
        }
        for row in device_hours(tables.ends).to_dict("records")
    ]


def _measuring_hours(tables: Tables) -> dict[str, float]:
    """By device, what the measurements of finished networks took."""
    quantities = [f"{name}_s" for name in MEASUREMENTS]
    seconds = tables.rows("profiles", ["replicate", "value"], {"quantity": quantities})
    device = seconds["replicate"].map(tables.ends.set_index("replicate")["device"])
    return {str(name): float(total) / 3600 for name, total in seconds["value"].groupby(device).sum().items()}


def _provenance(tables: Tables) -> list[tuple[str, str]]:
    """Key and value of the run's provenance, and what the replicates themselves recorded."""
    own = {key: value for key, value in tables.provenance.items() if key not in ("command", MERGED)}
    parts = [(f"part {number}", _part(part)) for number, part in enumerate(tables.provenance.get(MERGED, []), start=1)]
    flat = [*_flatten(own), *parts]
    names = {"device": "device", "git_commit": "git commit", "data_digest": "data digest"}
    recorded = [
        (f"{name} of the replicates", ", ".join(sorted({str(value) for value in tables.ends[column].dropna()})))
        for column, name in names.items()
    ]
    return [*flat, *((key, value) for key, value in recorded if value)]


def _part(provenance: Mapping[str, Any]) -> str:
    """What was merged before: its command, and with which code it ran."""
    versions = provenance.get("versions", {})
    texts = [provenance.get("command"), f"commit {provenance.get('git_commit')}", f"torch {versions.get('torch')}"]
    return " · ".join(str(text) for text in [*texts, provenance.get("processor")] if text)


def _flatten(mapping: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in mapping.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}: ")
        else:
            yield f"{prefix}{key}".replace("_", " "), ABSENT if value is None else str(value)
