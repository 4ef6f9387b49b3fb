"""The soak: `python -m tests.soak --faults 1000 --seed 1 --log FILE`; some 40 minutes of one core.

It prints a line for each campaign, and writes each fault with its outcome as CSV. The same seed gives the same faults
(where they land depends on the machine's speed). Exit code 1 if a campaign did not end sound.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.soak import faulty_calls

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    """Runs campaigns until enough faults have landed, or the time is over."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--faults", type=int, default=1000, help="How many faults must land.")
    parser.add_argument("--minutes", type=float, default=120, help="When to stop all the same.")
    parser.add_argument("--seed", type=int, default=1, help="What the faults are drawn from.")
    parser.add_argument("--first", type=int, default=0, help="Number of the first campaign.")
    parser.add_argument("--ray", type=int, default=0, help="How many campaigns go through Ray, after the others.")
    parser.add_argument("--log", type=Path, help="Where each fault is written, as CSV.")
    parser.add_argument("--keep", action="store_true", help="Keep the folders of campaigns that did not end sound.")
    options = parser.parse_args()
    preload("tests.soak")
    with tempfile.TemporaryDirectory(prefix="soak-", ignore_cleanup_errors=True) as scratch:
        return _soak(options, Path(scratch))


def preload(module: str) -> None:
    """Starts `python -m module` again with the library that lets calls fail, and loads what all launches need."""
    if "LD_PRELOAD" not in os.environ:
        library = faulty_calls.build(Path(tempfile.mkdtemp(prefix="soak-library-")))
        if library is None:
            sys.exit("`cc` must be there to build faulty_calls.c, but this machine has no C compiler.")
        environment = os.environ | {"LD_PRELOAD": str(library), "COLUMNS": "200", "OMP_NUM_THREADS": "1"}
        os.execve(sys.executable, [sys.executable, "-m", module, *sys.argv[1:]], environment)
    import torch

    import analysis.cli
    import analysis.report.page  # noqa: F401
    import study.cli.app
    import study.run.inline
    import study.run.launch
    import study.search.optuna_search  # noqa: F401

    torch.set_num_threads(1)


def _soak(options: argparse.Namespace, scratch: Path) -> int:
    from tests.soak.campaign import SPECS, Campaign
    from tests.soak.processes import Command

    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout
    whole = {}
    for study, text in SPECS.items():
        spec, run = scratch / f"{study}.yaml", scratch / f"whole-{study}"
        spec.write_text(text)
        words = ["study", "launch", str(spec), "--run", str(run), "--runner", "inline", "--device", "cpu"]
        ended = Command(words, scratch / f"{study}.log").wait()
        if ended.code:
            sys.exit(f"the undisturbed study failed: {ended.output}")
        whole[study] = run
    ends, landed, faults, deadline = Counter[bool](), 0, [], time.monotonic() + 60 * options.minutes
    number, ray_left = options.first, options.ray
    while (landed < options.faults or ray_left) and time.monotonic() < deadline:
        runner = "inline" if landed < options.faults else "ray"
        ray_left -= runner == "ray"
        study = "grid" if number % 2 == 0 else "search"
        folder = scratch / f"{number}"
        folder.mkdir()
        campaign = Campaign(number, options.seed, study, folder, whole[study], runner)
        campaign.go()
        landed += sum(fault.landed for fault in campaign.faults)
        ends[campaign.outcome == "sound"] += 1
        faults += [
            {"commit": commit.strip(), "seed": options.seed, "study": study, "runner": runner}
            | dataclasses.asdict(fault)
            | {"outcome": campaign.outcome}
            for fault in campaign.faults
        ]
        print(f"campaign {number}, {study}, {runner}: {campaign.outcome}; {landed} faults landed", flush=True)
        if options.log and faults:
            with options.log.open("w", newline="") as file:
                writer = csv.DictWriter(file, faults[0], lineterminator="\n")
                writer.writeheader()
                writer.writerows(faults)
        if options.keep and campaign.outcome != "sound":
            folder.rename(Path(tempfile.mkdtemp(prefix=f"campaign-{number}-")) / "campaign")
        number += 1
    print(f"{sum(ends.values())} campaigns, {landed} faults landed, {ends[False]} campaigns not sound.")
    return 1 if ends[False] else 0


if __name__ == "__main__":
    sys.exit(main())
