"""One launch of `scale`, measured from within: `python -m tests.benchmarks.scale_driver ADDRESS TRIALS WORKERS RUN`.

It is `study.run.launch.launch`, as in a user's `study launch --address --concurrency`, in a process of its own, so that
its peak of memory is its own. The last line that it prints is JSON: the fields of `Measured`.
"""

from __future__ import annotations

import json
import pickle
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any

from rich.console import Console

from study import spec, table
from study.run.backlog import Counts
from study.run.display import Display
from study.run.job import Options
from study.run.launch import launch
from study.spec import StudySpec
from study.tables.build import Builder
from tests.benchmarks import scale_worker
from trainables.storage import Folder

SEEDS = 5
WORK_EVERY_S, WORKS = 0.25, 5
SPEC = """
name: scale
title: Trials that train nothing
question: What does the driver need for them?
seeds: {seeds}
base: {{dataset: strokes, activation: elu, latent_dim: 5, hidden_dims: [8], steps: 500, evaluations: 50}}
arms: {{elu: {{}}}}
grid: {{learning_rate: {rates}}}
"""


@dataclass
class Measured:
    """What the driver took: seconds of its processor, and those of a fixed piece of work at the same time."""

    reports: list[tuple[float, float, float]] = field(default_factory=list)
    """At each report: processor seconds and those of the clock, tables apart; processor seconds of `fixed_work`."""
    other: tuple[float, float] = (0.0, 0.0)
    """Seconds, of the processor and of the clock, of the launch's tables and of the fixed work."""
    whole_s: float = 0.0
    """From the start of the process, imports included, to the end of the launch."""
    build: tuple[float, float] = (0.0, 0.0)
    """The tables of all replicates, built once more from their folders; and the fixed work."""
    rebuild: tuple[float, float] = (0.0, 0.0)
    """And again, as a running launch does."""
    peak_mib: float = 0.0
    """The most resident memory until the launch's end."""

    def heard(self, report: Callable[..., None]) -> Callable[..., None]:
        """`Display.report`, noting when it is called."""
        due, work_s = 0.0, 0.0

        @wraps(report)
        def call(*arguments: Any) -> None:
            nonlocal due, work_s
            if time.perf_counter() > due:
                due = time.perf_counter() + WORK_EVERY_S
                with self.apart():
                    work_s = fixed_work()
            cpu, wall = _now()
            self.reports.append((cpu - self.other[0], wall - self.other[1], work_s))
            report(*arguments)

        return call

    def built(self, build: Callable[..., Any]) -> Callable[..., Any]:
        """`Builder.build`, its time set apart."""

        @wraps(build)
        def call(*arguments: Any) -> Any:
            with self.apart():
                return build(*arguments)

        return call

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Sets the time of the block apart."""
        begun = _now()
        try:
            yield
        finally:
            cpu, wall = _now()
            self.other = (self.other[0] + cpu - begun[0], self.other[1] + wall - begun[1])


def fixed_work() -> float:
    """Processor seconds of work such as a driver's, always the same: a processor that is shared is slow for both."""
    begun = time.thread_time()
    for _ in range(3):
        pickle.loads(pickle.dumps(json.loads(json.dumps(_WORK))))
    return time.thread_time() - begun


def spec_of(trials: int) -> StudySpec:
    """Trials of one network: SEEDS seeds of as many learning rates as it takes."""
    if trials % SEEDS:
        raise ValueError(f"`trials % {SEEDS} == 0` must hold, but got {trials}.")
    rates = [round(1e-4 + 1e-7 * number, 9) for number in range(trials // SEEDS)]
    return spec.parse(SPEC.format(seeds=SEEDS, rates=rates), "scale")


def main() -> None:
    (address, run), (trials, workers) = sys.argv[1::3], map(int, sys.argv[2:4])
    found, build, asked = Measured(), Builder.build, spec_of(trials)
    Display.report = found.heard(Display.report)  # type: ignore[method-assign]
    Builder.build = found.built(build)  # type: ignore[method-assign]
    with Path(f"{run}.log").open("w") as log:
        counts = launch(asked, run, Options(address=address, concurrency=workers), Console(file=log, width=120))
    found.whole_s, found.peak_mib = time.process_time(), _memory_mib("VmHWM")
    devices = set(table.load_tables(run).rows("results", ["device"])["device"])
    if counts != Counts(finished=trials) or devices != {scale_worker.DEVICE}:
        raise RuntimeError(f"all of {trials} trials must finish and train nothing, but: {counts}, devices {devices}.")
    builder = Builder(Folder(run))
    found.build, found.rebuild = _seconds(lambda: build(builder)), _seconds(lambda: build(builder))
    print(json.dumps(asdict(found)))


def _seconds(do: Callable[[], object]) -> tuple[float, float]:
    """Processor seconds of a call, and of the fixed work around it."""
    before, begun = statistics.median(fixed_work() for _ in range(WORKS)), time.process_time()
    do()
    spent = time.process_time() - begun
    return spent, (before + statistics.median(fixed_work() for _ in range(WORKS))) / 2


def _now() -> tuple[float, float]:
    return time.process_time(), time.perf_counter()


def _memory_mib(key: str) -> float:
    """Of this process; `getrusage` would count the memory of the one that started it."""
    found = re.search(rf"{key}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) / 2**10 if found else float("nan")


_WORK = [{"name": f"trial-{number}", "values": [number / 7, number / 3, None], "ended": {}} for number in range(100)]

if __name__ == "__main__":
    main()
