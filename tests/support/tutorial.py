"""Does what docs/tutorial.md says: `python -m tests.support.tutorial` writes what is seen into the page.

The page's blocks of YAML are files, named in their first line. Its blocks of a console are commands with their output.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE, PICTURE = ROOT / "docs" / "tutorial.md", ROOT / "docs" / "report.png"
KILLED = "Killed"
"""The last line of a command that is killed, as bash prints it."""
_BLOCK = re.compile(r"^```(?P<kind>console|yaml)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"^\$ (?P<words>.*)\n(?P<output>(?:(?!\$ ).*\n)*)", re.MULTILINE)
_PROGRESS = re.compile(r"\[\d+:\d\d\] ")


def done(text: str, folder: Path) -> str:
    """Returns a page's text with the outputs of its commands made anew in a folder."""
    environment = _environment(folder)

    def block(match: re.Match[str]) -> str:
        body = match["body"]
        if match["kind"] == "yaml":
            (folder / body.split()[1]).write_text(body, encoding="utf-8")
        else:
            body = _COMMAND.sub(command, body)
        return f"```{match['kind']}\n{body}```"

    def command(match: re.Match[str]) -> str:
        killed = match["output"].endswith(f"{KILLED}\n")
        return f"$ {match['words']}\n" + "".join(_lines(match["words"], folder, environment, killed=killed))

    return _BLOCK.sub(block, text)


def outputs(text: str) -> dict[str, set[str]]:
    """Returns the lines that each command of a page prints, numbers and the order of lines left out."""
    found: dict[str, set[str]] = {}
    for block in _BLOCK.finditer(text):
        for match in _COMMAND.finditer(block["body"] if block["kind"] == "console" else ""):
            lines = (re.sub(r"[\d.,]+", "#", " ".join(line.split())) for line in match["output"].splitlines())
            found.setdefault(match["words"], set()).update(lines)
    return found


def _lines(words: str, folder: Path, environment: dict[str, str], *, killed: bool) -> Iterator[str]:
    """Runs a command and yields what it prints but for the progress; kills it, if wanted, at its second network."""
    with subprocess.Popen(
        ["bash", "-c", f"exec {words}" if killed else words],
        cwd=folder,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        networks = 0
        for line in process.stdout or ():
            if not _PROGRESS.match(line):
                yield line.rstrip() + "\n"
            networks += ": finished at step" in line
            if killed and networks == 2:
                process.send_signal(signal.SIGKILL)
                break
    ended = process.returncode
    assert ended == (-signal.SIGKILL if killed else 0), f"{words} has ended with {ended}"
    if killed:
        yield f"{KILLED}\n"


def _environment(folder: Path) -> dict[str, str]:
    """Returns an environment that has the commands `study` and `analysis` of this clone."""
    commands = folder / ".commands"
    commands.mkdir()
    for name in ("study", "analysis"):
        script = commands / name
        script.write_text(f"#!{sys.executable}\nfrom study.cli.scripts import {name}\n{name}()\n", encoding="utf-8")
        script.chmod(0o755)
    path = f"{commands}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"PATH": path, "PYTHONPATH": str(ROOT), "COLUMNS": "100", "PYTHONWARNINGS": "ignore"}


def main() -> None:
    """Writes the page's outputs, and the picture of the report, with the Chromium of this machine."""
    with tempfile.TemporaryDirectory() as name:
        PAGE.write_text(done(PAGE.read_text(encoding="utf-8"), Path(name)), encoding="utf-8")
        chromium = shutil.which("chromium") or "chromium"
        words = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1200,900"]
        report = Path(name) / "runs" / "first" / "report.html"
        subprocess.run(
            [*words, f"--screenshot={PICTURE}", report.as_uri()], check=True, capture_output=True, timeout=120
        )


if __name__ == "__main__":
    main()
