"""A run's bookkeeping as the report shows it: settings, replicates that have not finished, cost, provenance."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.cells import STATUSES, by_number, cells, config_text, none_if_null
from analysis.formats import ABSENT, decimals, in_words
from analysis.report.sentences import MAX_NAMED
from study.table import MERGED, Tables, device_hours
from trainables.registry import MEASUREMENTS
from trainables.schema import TrialConfig

_ORDER = ("failed", "diverged", "stopped", "running", "pending")


@dataclass(frozen=True)
class CommonField:
    """A config field with one value wherever it applies, and the cells that it applies to."""

    name: str
    value: str
    cells: str
    description: str


@dataclass(frozen=True)
class Settings:
    """Config fields with one value, and those that differ: name and meaning, then each cell with its values."""

    common: Sequence[CommonField] = ()
    varying: Sequence[tuple[str, str]] = ()
    rows: Sequence[tuple[str, Sequence[str]]] = ()


@dataclass(frozen=True)
class Unfinished:
    """A replicate that has not finished, and why. `place` is its cell's among all, by the numbers in their names."""

    cell: str
    place: int
    seed: int
    replicate: str
    status: str
    step: str
    error: str


@dataclass(frozen=True)
class Cost:
    """What the replicates took of a device, in device-hours; `money` is empty without a price."""

    device: str
    replicates: str
    train_h: str
    evaluate_h: str
    hours: str
    measure_h: str
    money: str


def settings(tables: Tables) -> Settings:
    """The settings of a run's cells; none where it trains nothing."""
    every = cells(tables)
    texts = {
        field: [config_text(value) for value in every[field]] for field in TrialConfig.model_fields if field in every
    }
    values = {field: sorted(set(column) - {config_text(None)}) for field, column in texts.items()}
    varying = [field for field, distinct in values.items() if len(distinct) > 1]
    common = [
        CommonField(
            field, ", ".join(distinct) or config_text(None), _those(every["cell"], texts[field]), _meaning(field)
        )
        for field, distinct in values.items()
        if field not in varying
    ]
    names = map(in_words, every.get("cell", ()))
    rows = [(name, [texts[field][index] for field in varying]) for index, name in enumerate(names)]
    return Settings(common, [(field, _meaning(field)) for field in varying], rows)


def unfinished(tables: Tables) -> list[Unfinished]:
    """Replicates that have begun and not finished, with the reason."""
    rows = tables.ends[~tables.ends["status"].isin(["finished", "pending"])]
    order = {status: index for index, status in enumerate(_ORDER)}
    places = by_number(rows["cell"].unique())
    replicates = [
        Unfinished(
            place=places[row["cell"]],
            step=config_text(row["step"]),
            error=none_if_null(row["error"]) or ABSENT,
            cell=in_words(row["cell"]),
            **{key: row[key] for key in ("seed", "replicate", "status")},
        )
        for row in rows.to_dict("records")
    ]
    return sorted(replicates, key=lambda row: (order.get(row.status, len(STATUSES)), row.place, row.seed))


def not_begun(tables: Tables) -> str:
    """Counts the replicates that have not begun, with their seeds; empty where all have."""
    rows = tables.ends[tables.ends["status"] == "pending"]
    if not len(rows):
        return ""
    numbers = sorted(rows["seed"].unique())
    seeds = f"seed{'s' * (len(numbers) != 1)} {', '.join(map(str, numbers))}"
    networks = rows["cell"].nunique()
    have = "has" if len(rows) == 1 else "have"
    many = f"{len(rows)} replicate{'s' * (len(rows) != 1)} of {networks} network{'s' * (networks != 1)}"
    cells_left = len(set(rows["cell"]) - set(tables.ends.loc[tables.ends["status"] != "pending", "cell"]))
    out = f" Networks of which none has begun, {cells_left}, are in no table here." if cells_left else ""
    return f"{many} {have} not begun ({seeds}); `study launch` trains the rest.{out}"


def costs(tables: Tables, price: float | None) -> list[Cost]:
    """What the replicates took of each device; in money where there is a price."""
    measured = _measuring_hours(tables)
    return [
        Cost(
            device=row["device"],
            replicates=f"{row['replicates']:,}",
            measure_h=decimals(measured.get(row["device"], 0.0), 3),
            money="" if price is None else decimals(row["hours"] * price, 2),
            **{key: decimals(row[key], 3) for key in ("train_h", "evaluate_h", "hours")},
        )
        for row in device_hours(tables.ends).to_dict("records")
    ]


def provenance(tables: Tables) -> list[tuple[str, str]]:
    """Key and value of the run's provenance, and what the replicates themselves recorded."""
    own = {key: value for key, value in tables.provenance.items() if key not in ("command", MERGED)}
    parts = [(f"part {place}", _part(part)) for place, part in enumerate(tables.provenance.get(MERGED, []), start=1)]
    flat = [*_flatten(own), *parts]
    names = {"device": "device", "numerics": "numerics", "git_commit": "git commit", "data_digest": "data digest"}
    recorded = [
        (f"{name} of the replicates", ", ".join(sorted({str(value) for value in tables.ends[column].dropna()})))
        for column, name in names.items()
    ]
    return [*flat, *((key, value) for key, value in recorded if value)]


def _meaning(field: str) -> str:
    return TrialConfig.model_fields[field].description or ""


def _those(names: Iterable[str], texts: Iterable[str]) -> str:
    """The cells that a field applies to by name, or those that it does not, whichever are fewer."""
    pairs = list(zip(names, texts, strict=True))
    with_it = [name for name, text in pairs if text != config_text(None)]
    without = [name for name, text in pairs if text == config_text(None)]
    arms = [list(dict.fromkeys(in_words(name).partition(", ")[0] for name in side)) for side in (with_it, without)]
    if not set(arms[0]) & set(arms[1]):
        with_it, without = arms  # all networks of an arm are alike in it
    if not without:
        return "all"
    return f"all but {_listed(without)}" if len(without) < len(with_it) else _listed(with_it) or "none"


def _listed(names: Sequence[str]) -> str:
    """The first MAX_NAMED names, and how many more there are."""
    more = len(names) - MAX_NAMED
    return ", ".join(names[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")


def _measuring_hours(tables: Tables) -> dict[str, float]:
    """By device, what the measurements of finished networks took."""
    quantities = [f"{name}_s" for name in MEASUREMENTS]
    seconds = tables.rows("profiles", ["replicate", "value"], {"quantity": quantities})
    device = seconds["replicate"].map(tables.ends.set_index("replicate")["device"])
    return {str(name): float(total) / 3600 for name, total in seconds["value"].groupby(device).sum().items()}


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
