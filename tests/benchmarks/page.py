"""Measures the report of all of `results/` in a browser: `python -m tests.benchmarks.page`, about two minutes.

`analysis report results/*` writes the page. Chromium opens it five times, each time in a new context, and tells when it
painted first and when all of it was there. The page's printed summary is counted in A4 pages.
"""

from __future__ import annotations

import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from tests.benchmarks.lines import Line, finish

ROOT = Path(__file__).resolve().parents[2]
TIMES = 5
_MOMENTS = """() => {
  const [navigation] = performance.getEntriesByType("navigation");
  const [paint] = performance.getEntriesByName("first-contentful-paint");
  return [paint.startTime, navigation.loadEventEnd, document.querySelectorAll("*").length];
}"""


def opened(browser: Browser, report: Path) -> tuple[float, float, int]:
    """Opens a page in a new context: seconds to its first paint, seconds to its load event, and its elements."""
    context = browser.new_context(offline=True, viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.goto(report.as_uri(), wait_until="load")
    page.wait_for_function("performance.getEntriesByName('first-contentful-paint').length")
    paint, ready, nodes = page.evaluate(_MOMENTS)
    context.close()
    return paint / 1e3, ready / 1e3, nodes


def printed(browser: Browser, report: Path) -> int:
    """Counts the A4 pages of a report as it is printed when nothing was unfolded."""
    page = browser.new_page()
    page.goto(report.as_uri(), wait_until="load")
    return len(re.findall(rb"/Type\s*/Page\b", page.pdf(format="A4")))


def main() -> None:
    """Measures, prints the lines and writes `results/page.json`."""
    chromium = shutil.which("chromium")
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        command = Path(sys.executable).with_name("analysis")
        runs = sorted(str(path.parent) for path in (ROOT / "results").glob("*/results.parquet"))
        subprocess.run([command, "report", *runs, "-o", name], check=True, stdout=subprocess.DEVNULL)
        report = Path(name) / "report.html"
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        paints, readies, nodes = zip(*(opened(browser, report) for _ in range(TIMES)), strict=True)
        pages, size = printed(browser, report), report.stat().st_size / 1e6
    note = f"median of {TIMES}, Chromium without a window"
    lines = [
        Line("the report of all of results/", size, "MB", 8),
        Line("its elements on opening", nodes[0], "", 15_000),
        Line("to its first paint", statistics.median(paints), "s", 1, note=note),
        Line("until all of it is there", statistics.median(readies), "s", 2, note=note),
        Line("its printed summary", pages, "A4 pages", 12),
    ]
    finish("page", lines, {"paint_s": paints, "ready_s": readies})


if __name__ == "__main__":
    main()
