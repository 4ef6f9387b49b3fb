"""Measures how tables and the report grow: `python -m tests.benchmarks.tables`, about two minutes.

The run folders are made of the rows of `results/paper`: each replicate is one of its networks with a seed, a latent
dimension and a hash of its own, 100 evaluated rows, noise on its numbers and on its pixels. `analysis report` draws
each in a process of its own; `study.runfolder` builds folders of record files, from scratch and as a running launch
does.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from study import spec
from study.plan import Plan
from study.runfolder import read_provenance, write_run
from study.spec import StudySpec
from study.table import load_tables
from study.tables.build import BLOCK, Builder
from study.tables.columns import SCHEMAS, complete
from study.tables.files import encode, write
from tests.benchmarks.lines import Line, finish, seconds
from trainables import checkpoint
from trainables.records import ImageKey, Profile, Record
from trainables.schema import METRICS, Replicate
from trainables.storage import Folder

ROOT = Path(__file__).resolve().parents[2]
LATENT_DIMS = [3, 5, 8, 12, 16, 24, 32, 48, 64, 100]
EVALUATIONS = 90
"""Equally spaced ones; with those of the start and that at step 0, they are 100."""
REPORT_SEEDS = (2, 17, 167)
"""Each seed gives 60 replicates, and there is one of PCA for each latent dimension: 130, 1,030, 10,030 replicates."""
BUILD_REPLICATES = (100, 400, 1600)
DIGESTS = {"mnist": "f" * 64}
REPORT = """
import atexit, pathlib, sys
from analysis.cli import main
atexit.register(lambda: print(pathlib.Path("/proc/self/status").read_text(), file=sys.stderr))
main()
"""


class Source:
    """What the replicates of `results/paper` have left, to draw others from."""

    def __init__(self) -> None:
        tables = load_tables(str(ROOT / "results" / "paper"))
        cells = tables.ends.set_index("replicate")["cell"]
        read = {name: complete(name, file.read(), tables.configs) for name, file in tables.files.items()}
        self._tables = {name: rows.select(SCHEMAS[name].names).cast(SCHEMAS[name]) for name, rows in read.items()}
        self._rows = {
            (name, cell): np.flatnonzero(cells.loc[rows["replicate"].to_pylist()] == cell)
            for name, rows in self._tables.items()
            for cell in cells.unique()
        }

    def block(self, members: Sequence[Replicate], rng: np.random.Generator) -> dict[str, pa.Table]:
        """The tables of these replicates: real rows, made their own, with noise on what was measured."""
        picked = {name: [self._pick(name, replicate) for replicate in members] for name in SCHEMAS}
        tables = {name: _own(self._tables[name], members, rows) for name, rows in picked.items()}
        lengths = [len(rows) for rows in picked["results"]]
        measured: dict[str, Any] = {name: _noisy(tables["results"][name], rng) for name in METRICS}
        measured |= {"step": np.concatenate([_steps(replicate) for replicate in members])}
        measured |= {"final": np.isin(np.arange(sum(lengths)), np.cumsum(lengths) - 1)}
        for name in ("cell", "seed"):
            measured[name] = np.repeat([getattr(replicate, name) for replicate in members], lengths)
        for name in ("latent_dim", "evaluations"):
            values = np.array([getattr(replicate.config, name) for replicate in members], object)
            measured[f"config/{name}"] = np.repeat(values, lengths)
        return {
            "results": _with(tables["results"], measured),
            "profiles": _with(tables["profiles"], {"value": _noisy(tables["profiles"]["value"], rng)}),
            "images": _with(tables["images"], {"pixels": _noisy_pixels(tables["images"]["pixels"], rng)}),
        }

    def _pick(self, name: str, replicate: Replicate) -> np.ndarray:
        """Positions of the rows that this replicate's are made of."""
        rows: np.ndarray = self._rows[name, replicate.cell.partition(" latent_dim")[0]]
        if name != "results":
            return rows
        return rows[np.linspace(0, len(rows) - 1, len(_steps(replicate))).round().astype(int)]


def study(seeds: int) -> StudySpec:
    """The paper's networks over latent dimensions."""
    paper = spec.load("paper")
    base = paper.base | {"steps": 50_000, "evaluations": EVALUATIONS}
    return paper.model_copy(update={"seeds": seeds, "base": base, "grid": {"latent_dim": LATENT_DIMS}})


def make_tables(folder: Folder, seeds: int, source: Source) -> int:
    """A folder with the tables of so many seeds; returns the number of replicates."""
    plan, rng = Plan(study(seeds), DIGESTS).replicates, np.random.default_rng(0)
    starts = range(0, len(plan), BLOCK)
    write(folder.create(), encode(source.block(plan[start : start + BLOCK], rng) for start in starts))
    write_run(folder, study(seeds), _provenance())
    return len(plan)


def make_records(folder: Folder, start: int, stop: int, source: Source) -> None:
    """Lets a run folder grow to `stop` finished replicates; without weights, which no table holds."""
    whole, rng = study(-(-stop // (6 * len(LATENT_DIMS)))), np.random.default_rng(start)
    plan = [r for r in Plan(whole, DIGESTS).replicates if r.config.task == "train"][start:stop]
    replicates = folder.create().child("replicates").create()
    for first in range(0, len(plan), BLOCK):
        members = plan[first : first + BLOCK]
        rows = source.block(members, rng)
        for replicate in members:
            own = {name: part.filter(pc.equal(part["replicate"], replicate.hash)) for name, part in rows.items()}
            record, pixels = _record(replicate, own), _pixels(own["images"]["pixels"])
            checkpoint.finish(replicates.child(replicate.hash), "aaaaaaaa", "finished", record, images=pixels)
    write_run(folder, whole, _provenance())


def report(folder: Folder) -> tuple[float, float]:
    """Seconds and peak resident GiB of `analysis report` in a process of its own."""
    started = time.perf_counter()
    command = [sys.executable, "-c", REPORT, "report", folder.url]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    took = time.perf_counter() - started
    peak = re.search(r"VmHWM:\s+(\d+) kB", done.stderr)  # what getrusage says of a child counts its parent's memory
    return took, int(peak[1]) / 2**20 if peak else float("nan")


def grow(root: Path, source: Source) -> Iterator[tuple[str, list[float]]]:
    """`[replicates, value]` by what was measured, for each size."""
    for seeds in REPORT_SEEDS:
        folder = Folder(str(root / f"report-{seeds}"))
        size = make_tables(folder, seeds, source)
        took, peak = report(folder)
        yield "report_s", [size, took]
        yield "report_peak_gib", [size, peak]
    folder, before = Folder(str(root / "build")), 0
    for size in BUILD_REPLICATES:
        make_records(folder, before, size, source)
        before, builder = size, Builder(folder)
        yield "build_s", [size, seconds(builder.build)]
        yield "rebuild_s", [size, seconds(builder.build)]


def main() -> None:
    """Measures, prints the lines and writes `results/tables.json`."""
    growth: dict[str, list[list[float]]] = {}
    with tempfile.TemporaryDirectory(prefix="study-tables-") as root:
        for what, point in grow(Path(root), Source()):
            growth.setdefault(what, []).append(point)
    last = {what: points[-1][1] for what, points in growth.items()}
    size, built = growth["report_s"][-1][0], BUILD_REPLICATES[-1]
    lines = [
        Line(f"`analysis report`, {size:,} replicates, 1,000,000 rows", last["report_s"], "s", 30.0),
        Line("its peak memory", last["report_peak_gib"], "GiB", 2.0),
        Line(f"tables of {built:,} finished replicates, first build", last["build_s"], "s"),
        Line("the same again, as a running launch does it", last["rebuild_s"], "s", last["build_s"] / 4),
    ]
    finish("tables", lines, {"growth": growth})


def _steps(replicate: Replicate) -> list[int]:
    return [0] if replicate.config.task == "pca" else replicate.config.evaluation_steps


def _record(replicate: Replicate, own: dict[str, pa.Table]) -> Record:
    """What a trial with these rows would have recorded."""
    rows = own["results"].select(["step", "epoch", "collapsed", *METRICS, "train_s", "evaluate_s"]).to_pylist()
    groups = own["profiles"].to_pandas().groupby(["step", "quantity"], sort=False)["value"]
    profiles = [Profile(step, quantity, values.tolist()) for (step, quantity), values in groups]
    images = [ImageKey(*row.values()) for row in own["images"].drop(["replicate", "shape", "pixels"]).to_pylist()]
    return Record({"cell": replicate.cell}, rows, profiles, images)


def _own(rows: pa.Table, members: Sequence[Replicate], picked: Sequence[np.ndarray]) -> pa.Table:
    """The picked rows, under the name of the replicate that they were picked for."""
    names = np.repeat([replicate.hash for replicate in members], [len(positions) for positions in picked])
    return _with(rows.take(np.concatenate(picked)), {"replicate": names})


def _with(rows: pa.Table, columns: dict[str, Any]) -> pa.Table:
    """The rows with other values in these columns."""
    for name, values in columns.items():
        index = rows.schema.get_field_index(name)
        field = rows.schema.field(index)
        rows = rows.set_column(index, field, pa.array(values, field.type, from_pandas=True))
    return rows


def _noisy(values: pa.ChunkedArray, rng: np.random.Generator) -> np.ndarray:
    """Each number a per mille or so off."""
    return np.asarray(values.to_numpy() * (1 + 1e-3 * rng.normal(size=len(values))))


def _noisy_pixels(values: pa.ChunkedArray, rng: np.random.Generator) -> pa.Array:
    """Grey pixels a little lighter or darker."""
    pixels = _pixels(values)
    noise = rng.integers(-3, 4, pixels.shape, np.int8).astype(np.uint8)
    noisy = pixels + noise * ((pixels > 3) & (pixels < 252))
    return pa.array([image.tobytes() for image in noisy], pa.binary())


def _pixels(values: pa.ChunkedArray) -> np.ndarray:
    """uint8 `(images, 784)`."""
    return np.frombuffer(b"".join(values.to_pylist()), np.uint8).reshape(-1, 784)


def _provenance() -> dict[str, Any]:
    """That of `results/paper`, with a digest of our own."""
    return read_provenance(Folder(str(ROOT / "results" / "paper"))) | {"data_digests": DIGESTS}


if __name__ == "__main__":
    main()
