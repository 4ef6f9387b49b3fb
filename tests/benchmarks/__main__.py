"""All benchmarks in one command: `make bench`, or `python -m tests.benchmarks [SECTION...]`; about 25 minutes.

Each section runs in a process of its own and writes `results/SECTION.json`; the table of all of them is printed and
written to `results/README.md`. Pages of docs/ take what they show into blocks: `<!-- make bench -->` has the lines that
have a goal, `<!-- make bench: SECTION -->` a section's, and `observations` what was measured once, by hand, and written
into `results/observations.csv`. A section that needs a GPU is left as it was last measured where there is none.
"""

from __future__ import annotations

import argparse
import csv
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

OBSERVATIONS = "observations"
DOCS = Path(__file__).parents[2] / "docs"
_BLOCK = re.compile(r"(?P<begin><!-- make bench(?:: (?P<section>\w+))? -->\n).*?(?=<!-- end -->)", re.DOTALL)


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
    for page in pages():
        page.write_text(filled(page.read_text()))
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
        parts.append(f"## {title}\n\n{measured(section)}\n")
    return "\n".join(parts)


def pages() -> list[Path]:
    """The pages of docs/ that have blocks."""
    return [page for page in sorted(DOCS.rglob("*.md")) if _BLOCK.search(page.read_text())]


def filled(page: str) -> str:
    """Returns a page's text with its blocks made anew from the results."""

    def body(block: re.Match[str]) -> str:
        section = block["section"]
        made = with_goals() if section is None else observations() if section == OBSERVATIONS else measured(section)
        return f"{block['begin']}\n{made}\n\n"

    return _BLOCK.sub(body, page)


def measured(section: str) -> str:
    """A section's last lines, after the machine that they were measured on, as Markdown."""
    machine, found = lines.read(section)
    return f"{', '.join(f'{key} {value}' for key, value in machine.items())}\n\n{lines.table(found)}"


def observations() -> str:
    """Returns the numbers that were measured once, by hand, as a table with the day, machine and command of each."""
    with (lines.RESULTS / f"{OBSERVATIONS}.csv").open() as file:
        header, *rows = csv.reader(file)
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows))


def with_goals() -> str:
    """Every measured line that has a goal, and the command that measures it, as a Markdown table."""
    rows = ["| what | value | goal | verdict | measured by `python -m` |", "|---|---|---|---|---|"]
    for section in (name for name in SECTIONS if (lines.RESULTS / f"{name}.json").is_file()):
        machine, found = lines.read(section)
        command = f"`tests.benchmarks.{section}`, {machine['date']}"
        with_goal = lines.table([line for line in found if line.goal is not None]).splitlines()[2:]
        rows += [f"{row.rpartition(' | ')[0]} | {command} |" for row in with_goal]
    return "\n".join(rows)


if __name__ == "__main__":
    sys.exit(main())
