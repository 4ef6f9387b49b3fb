"""How time grows with trials, members, N, steps and the size of the tables: `results/growth.png`.

Members, N, steps and a search's trials are measured here, on one thread; others are taken from what `orchestration` and
`tables` measured last. The number at each curve is its exponent between its two largest sizes: 1 is linear.
"""

from __future__ import annotations

import json
import math
import tempfile

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.style import theme
from study import spec
from study.plan import Plan
from study.search.journal import Journal
from study.search.optuna_search import OptunaSearch
from tests.benchmarks.lines import RESULTS, Line, finish, seconds
from trainables import checkpoint, datasets, trial
from trainables.datasets import Dataset
from trainables.pack import Pack
from trainables.records import Record
from trainables.schema import Replicate, TrialConfig
from trainables.storage import Folder

Curve = list[list[float]]
LINEAR = 1.1
"""An exponent up to this counts as linear: timings scatter by some per cent."""
OTHERS = {
    "orchestration": {"trials": "trials with nothing to do [s]"},
    "tables": {
        "report_s": "replicates, report [s]",
        "report_peak_gib": "replicates, report's memory [GiB]",
        "build_s": "replicates, first build of the tables [s]",
        "rebuild_s": "replicates, rebuild of the tables [s]",
    },
    "gpu": {"members": "members of a pack (GPU, one step) [s]", "N": "N (64 members on a GPU, one step) [s]"},
}
"""Curves that other sections measure, and what grows in each."""
ROUNDS = 3
SEARCH = """
name: growth
base: {{dataset: mnist, steps: 1, evaluations: 1}}
search:
  objectives: [val_nll]
  trials: {trials}
  sampler: random
  space: {{learning_rate: {{low: 1.0e-5, high: 0.1, log: true}}}}
"""


def measure() -> dict[str, Curve]:
    """Seconds against size, by what grows."""
    torch.set_num_threads(1)
    data = datasets.load("mnist")
    images = torch.tensor(data.images["train"])
    members = [(size, Pack([TrialConfig()] * size, list(range(size)), images)) for size in (1, 2, 4, 8, 16)]
    widths = [(n, Pack([TrialConfig(latent_dim=n)], [0], images)) for n in (2, 8, 32, 128, 512)]
    return {
        "members of a pack (CPU, one step) [s]": [[size, _step_s(pack, 10)] for size, pack in members],
        "N (CPU, one step) [s]": [[n, _step_s(pack, 30)] for n, pack in widths],
        "steps (one trial, evaluated 10 times) [s]": [[n, _trial_s(data, n)] for n in (250, 500, 1000, 2000)],
        "batches of a search's journal [s]": [[n, _journal_s(n)] for n in (500, 1000, 2000, 4000)],
        "trials of a search that take no time [s]": [[n, _search_s(n)] for n in (125, 250, 500, 1000)],
    }


def exponent(curve: Curve) -> float:
    """The power by which seconds grow between the two largest sizes."""
    (size, time), (larger, longer) = curve[-2:]
    return math.log(longer / time) / math.log(larger / size)


@theme()
def plot_growth(curves: dict[str, Curve]) -> Figure:
    """One panel per curve, both axes logarithmic, with a dotted line of exponent 1 through the last point."""
    columns = 3
    rows = math.ceil(len(curves) / columns)
    figure = Figure(figsize=(3.6 * columns, 3.0 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for ax, (what, curve) in zip(axes, curves.items(), strict=False):
        _plot(ax, what, curve)
    for ax in axes[len(curves) :]:
        ax.set_axis_off()
    return figure


def main() -> None:
    """Measures, draws and writes `results/growth.json` and `results/growth.png`."""
    curves = measure()
    for section, names in OTHERS.items():
        file = RESULTS / f"{section}.json"
        if file.is_file():
            found = json.loads(file.read_text())["detail"]["growth"]
            curves |= {what: found[name] for name, what in names.items()}
    lines = [
        Line(f"exponent: {what.rpartition(' [')[0]}", exponent(curve), "", LINEAR, note=_range(what, curve))
        for what, curve in curves.items()
    ]
    plot_growth(curves).savefig(RESULTS / "growth.png", dpi=130)
    finish("growth", lines, {"curves": curves})


def _step_s(pack: Pack, steps: int) -> float:
    for _ in range(3):
        pack.step()
    return min(seconds(pack.step, steps) for _ in range(ROUNDS))


def _trial_s(data: Dataset, steps: int) -> float:
    replicate = Replicate("elu", TrialConfig(steps=steps, evaluations=10), 0, data.digest)
    with tempfile.TemporaryDirectory() as folder:
        return seconds(lambda: list(trial.run([replicate], data, Folder(folder))))


def _journal_s(batches: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Folder(folder))
        operation = {"op_code": 4, "trial_id": 0, "user_attr": {"fields": {"learning_rate": 1e-3, "beta": 1.0}}}

        def append() -> None:
            for _ in range(batches):
                journal.append_logs([operation])

        return seconds(append)


def _search_s(trials: int) -> float:
    """Draws trials at random, has each finish at once, and tells Optuna."""
    with tempfile.TemporaryDirectory() as folder:
        search = OptunaSearch(Folder(folder), Plan(spec.parse(SEARCH.format(trials=trials), "growth"), {"mnist": ""}))
        return seconds(lambda: _run_search(search, Folder(folder).child("replicates").create()))


def _run_search(search: OptunaSearch, folder: Folder) -> None:
    while (number := search.next()) is not None:
        for replicate in search.state.members(number):
            record = Record(replicate.described(), rows=[{"step": 1, "val_nll": replicate.config.learning_rate}])
            checkpoint.finish(folder.child(replicate.hash), "0" * 8, "finished", record, images=None)
        search.close(number)


def _plot(ax: Axes, what: str, curve: Curve) -> None:
    sizes, values = [point[0] for point in curve], [point[1] for point in curve]
    name, _, unit = what.removesuffix("]").rpartition(" [")
    ax.plot(sizes, values, marker="o", color="#0072B2")
    ax.plot(sizes, [values[-1] * size / sizes[-1] for size in sizes], color="#777777", linestyle=":", linewidth=1)
    ax.set_title(f"{name}: exponent {exponent(curve):.2f}", fontsize=9)
    ax.set(xscale="log", yscale="log", xlabel=name.partition(",")[0].partition(" (")[0], ylabel=_MEASURES[unit])
    ax.set_ylim(min(values) / 3, max(values) * 1.6)
    ax.set_xticks(sizes, [f"{size:,.0f}" for size in sizes])
    ax.yaxis.set_major_formatter("{x:,.3g}")
    ax.minorticks_off()
    ax.spines[["top", "right"]].set_visible(False)


_MEASURES = {"s": "wall time [s]", "GiB": "peak memory [GiB]"}


def _range(what: str, curve: Curve) -> str:
    (first, start), (last, end) = curve[0], curve[-1]
    unit = what.removesuffix("]").rpartition("[")[2]
    return f"{first:,.0f}: {start:.3g} {unit}, {last:,.0f}: {end:.3g} {unit}"


if __name__ == "__main__":
    main()
