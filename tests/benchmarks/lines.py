"""A benchmark's lines: what was measured, the goal, the verdict. Each benchmark here makes some and writes them down.

Standard library only, so that it runs on a GPU machine too.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("torch", "ray", "lightning", "pythae", "pandas")
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # a user's processes find their modules compiled


@dataclass(frozen=True)
class Line:
    """One measured number against its goal.

    `value` None: it could not be measured here, and `note` says why. `goal` None: there is none, the number informs.
    """

    what: str
    value: float | None
    unit: str
    goal: float | None = None
    better: Literal["less", "more"] = "less"
    note: str = ""

    @property
    def verdict(self) -> str:
        """`met`, `missed by ...`, `not measured`, or nothing where there is no goal."""
        if self.value is None:
            return "not measured"
        if self.goal is None:
            return ""
        miss = self.value - self.goal if self.better == "less" else self.goal - self.value
        return "met" if miss <= 0 else f"missed by {_text(miss)}"


def seconds(run: Callable[[], object], times: int = 1) -> float:
    """Wall-clock seconds of one call, the mean of `times` calls."""
    started = time.perf_counter()
    for _ in range(times):
        run()
    return (time.perf_counter() - started) / times


def processor_seconds(run: Callable[[], object], times: int = 1) -> float:
    """This thread's processor seconds of one call, the mean of `times` calls: other processes take none of them."""
    started = time.thread_time()
    for _ in range(times):
        run()
    return (time.thread_time() - started) / times


def finish(section: str, lines: Sequence[Line], detail: Mapping[str, Any] | None = None) -> None:
    """Prints the lines and writes them, with the machine and the detail behind them, to `results/SECTION.json`."""
    content = {"machine": machine(), "lines": [asdict(line) | {"verdict": line.verdict} for line in lines]}
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps({**content, "detail": dict(detail or {})}, indent=1) + "\n"
    (RESULTS / f"{section}.json").write_text(text)
    print(table(lines))


def read(section: str) -> tuple[dict[str, str], list[Line]]:
    """The machine and the lines of a section that was measured before."""
    content = json.loads((RESULTS / f"{section}.json").read_text())
    fields = [{key: value for key, value in line.items() if key != "verdict"} for line in content["lines"]]
    return content["machine"], [Line(**line) for line in fields]


def table(lines: Sequence[Line]) -> str:
    """The lines as a Markdown table."""
    rows = [("what", "value", "goal", "verdict", "note")]
    rows += [("---",) * 5]
    for line in lines:
        sign = "≤" if line.better == "less" else "≥"
        goal = "" if line.goal is None else f"{sign} {_text(line.goal)} {line.unit}"
        value = "–" if line.value is None else f"{_text(line.value)} {line.unit}"
        rows.append((line.what, value.strip(), goal.strip(), line.verdict, line.note))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def machine() -> dict[str, str]:
    """What the numbers were measured on, and when."""
    found = {"processor": _processor(), "cores": str(len(os.sched_getaffinity(0))), "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found | {"date": f"{datetime.now(UTC):%F}"}


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _text(number: float) -> str:
    """Three significant digits, thousands separated."""
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"
