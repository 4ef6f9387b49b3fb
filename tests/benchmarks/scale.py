"""What the driver takes for many trials on many nodes: `python -m tests.benchmarks.scale`, about 18 minutes.

Trials that train nothing run two dozen at once, on nodes of Ray's own making (`ray.cluster_utils.Cluster`: each a set
of processes here). `scale_worker` is what runs in them, `scale_driver` measures a launch from within, `scale_lines`
says what grows how, and extrapolates. With other sizes than the usual, the lines are printed and not written down.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import study.run.ray_cluster  # noqa: F401 (sets the environment of Ray's processes)
from tests.benchmarks import scale_lines, scale_worker
from tests.benchmarks.lines import finish, table
from tests.benchmarks.scale_driver import Measured
from tests.benchmarks.scale_lines import Setting

ROOT = Path(__file__).resolve().parents[2]
TRIALS, NODES, WORKERS = [125, 250, 500, 1000], [1, 4, 16], [6, 12, 24]
PAUSE_S = 0.2
"""Between two reports of a trial; two dozen workers then report faster than a driver hears them on two busy cores."""
STORE_BYTES = 150 * 2**20
WITHIN_S = 1800


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, nargs="+", default=TRIALS, help="sizes of the study")
    parser.add_argument("--nodes", type=int, nargs="+", default=NODES, help="sizes of the cluster")
    parser.add_argument("--workers", type=int, nargs="+", default=WORKERS, help="trials at once")
    given = parser.parse_args()
    sizes = (sorted(given.trials), sorted(given.nodes), sorted(given.workers))
    if sizes[0][0] <= 2 * sizes[2][-1]:
        parser.error(f"`trials > 2 * workers` must hold, but got {sizes[0][0]} and {sizes[2][-1]}.")
    found = scale_lines.costs(measure(plan(*sizes)))
    lines = scale_lines.lines(found)
    if sizes == (TRIALS, NODES, WORKERS):
        detail = [vars(setting) | vars(cost) for setting, cost in found.items()]
        finish("scale", lines, {"growth": scale_lines.curves(found), "launches": detail})
    else:
        print(table(lines))


def plan(trials: Sequence[int], nodes: Sequence[int], workers: Sequence[int]) -> list[Setting]:
    """Every number of trials on most nodes with most workers; then fewer nodes, then fewer workers on one node."""
    usual = trials[(len(trials) - 1) // 2]
    found = [Setting(nodes[-1], workers[-1], size) for size in trials]
    found += [Setting(count, workers[-1], usual) for count in nodes[:-1]]
    return found + [Setting(nodes[0], count, usual) for count in workers[:-1]]


def measure(settings: Sequence[Setting]) -> dict[Setting, Measured]:
    """Launches each; those with the same nodes and workers share a cluster."""
    found = {}
    for nodes, workers in dict.fromkeys((setting.nodes, setting.workers) for setting in settings):
        with started(nodes, workers) as address, tempfile.TemporaryDirectory(prefix="study-scale-") as folder:
            for setting in settings:
                if (setting.nodes, setting.workers) == (nodes, workers):
                    found[setting] = launched(address, setting, f"{folder}/{setting.trials}")
                    print(f"{setting}: {found[setting].whole_s:.1f} s of the driver's processor", flush=True)
    return found


@contextmanager
def started(nodes: int, workers: int) -> Iterator[str]:
    """A cluster within the block, with a CPU for each worker; its address."""
    from ray.cluster_utils import Cluster

    given = {
        "PYTHONPATH": str(ROOT),
        "RAY_AUTH_MODE": "disabled",
        scale_worker.PRELOAD: scale_worker.__name__,
        scale_worker.PAUSE_S: str(PAUSE_S),
        scale_worker.WORKERS: str(workers),
    }
    own: dict[str, Any] = {"object_store_memory": STORE_BYTES, "include_log_monitor": False}
    cpus = [workers // nodes + (number < workers % nodes) for number in range(nodes)]
    with patch.dict(os.environ, given):
        cluster = Cluster(True, head_node_args={"num_cpus": cpus[0], "include_dashboard": False, **own})
        try:
            for count in cpus[1:]:
                cluster.add_node(wait=False, num_cpus=count, **own)
            cluster.wait_for_nodes()
            yield cluster.address
        finally:
            cluster.shutdown()


def launched(address: str, setting: Setting, run: str) -> Measured:
    """A launch in a process of its own, on a cluster that `started` has started."""
    sizes = [str(setting.trials), str(setting.workers)]
    command = [sys.executable, "-m", "tests.benchmarks.scale_driver", address, *sizes, run]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=WITHIN_S, check=False)
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
    met = len(list(scale_worker.place_of(run).iterdir()))
    if met != setting.workers:
        raise RuntimeError(f"{setting.workers} workers must have run trials, but {met} did.")
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    main()
