"""All benchmarks in one command: `make bench`, or `python -m tests.benchmarks [SECTION...]`; about 25 minutes.

Each section runs in a process of its own and writes `results/SECTION.json`; the table of all of them is printed and
written to `results/README.md`, and the lines that have a goal to `docs/speed.md`. A section that needs a GPU is left as
it was last measured where there is none.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from pathlib import Path

from tests.benchmarks import lines

SECTIONS = {
    "step": "The training step on a CPU",
    "kernels": "Our kernels against torch's own: does a loss shift",
    "peers": "Against what a user would do instead",
    "orchestration": "Many trials: Ray, reports, checkpoints",
    "scale": "Scale on paper and by simulation: one driver, many trials and nodes",
    "commands": "Commands on a run of 10,000 replicates",
    "tables": "Tables, figures and the report",
    "page": "The report in a browser",
    "growth": "Growth (growth.png)",
    "early_stopping": "What early stopping saves a search",
    "gpu": "A pack on a GPU",
}

PAGE = Path(__file__).parents[2] / "docs" / "speed.md"
_BLOCK = re.compile(r"(<!-- make bench -->\n).*?(?=<!-- end -->)", re.DOTALL)


def main() -> int:
    """Runs the sections, prints and writes their lines; 1 if one could not be measured."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"{', '.join(SECTIONS)} [default: all]")
    chosen = parser.parse_args().sections or list(SECTIONS)
    if unknown := set(chosen) - set(SECTIONS):
        parser.error(f"`SECTION` must be one of {', '.join(SECTIONS)}, but got {', '.join(sorted(unknown))}.")
    failed = []
    for section in chosen:
        print(f"== {section}: {SECTIONS[section]}", flush=True)
        started = time.monotonic()
        if subprocess.run([sys.executable, "-m", f"tests.benchmarks.{section}"], check=False).returncode:
            failed.append(section)
        print(f"== {section}: {time.monotonic() - started:.0f} s", flush=True)
    text = summary()
    (lines.RESULTS / "README.md").write_text(text)
    PAGE.write_text(with_goals(PAGE.read_text()))
    print(text)
    if failed:
        print(f"Not measured: {', '.join(failed)}.", file=sys.stderr)
    return len(failed) > 0


def summary() -> str:
    """Every section's last lines, with the machine that they were measured on, as Markdown."""
    parts = ["# Benchmarks\n\n`make bench` measures them again. A ratio is of runs side by side on one machine.\n"]
    for section, title in SECTIONS.items():
        if not (lines.RESULTS / f"{section}.json").is_file():
            parts.append(f"## {title}\n\nNot measured yet: `python -m tests.benchmarks.{section}`.\n")
            continue
        machine, found = lines.read(section)
        about = ", ".join(f"{key} {value}" for key, value in machine.items())
        parts.append(f"## {title}\n\n{about}\n\n{lines.table(found)}\n")
    return "\n".join(parts)


def with_goals(page: str) -> str:
    """Returns the page on speed with every measured line that has a goal, and the command that measures it."""
    rows = ["| what | value | goal | verdict | measured by `python -m` |", "|---|---|---|---|---|"]
    for section in (name for name in SECTIONS if (lines.RESULTS / f"{name}.json").is_file()):
        machine, found = lines.read(section)
        measured = f"`tests.benchmarks.{section}`, {machine['date']}"
        with_goal = lines.table([line for line in found if line.goal is not None]).splitlines()[2:]
        rows += [f"{row.rpartition(' | ')[0]} | {measured} |" for row in with_goal]
    table = "\n".join(rows)
    return _BLOCK.sub(lambda block: f"{block[1]}\n{table}\n\n", page)


if __name__ == "__main__":
    sys.exit(main())
