"""The numbers and figures of README.md and docs/: `python -m analysis.report.readme` writes them from results/.

With `--report DIR` it writes the report of all tables too: what both need is then decided once.

A block stands between `<!-- make report: NAME RUN... -->` and `<!-- end -->`: NAME is in BLOCKS, each RUN a folder of
tables or a pattern of several, from the repository's root; the vocabulary's blocks name no RUN. Text outside the blocks
is left as it is.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Annotated

import typer

from analysis.dimension import card
from analysis.figures import answer
from analysis.figures.base import Drawn
from analysis.figures.catalogue import draw
from analysis.report.blocks import BLOCKS, Runs, evidence_of
from analysis.report.page import render
from study.table import TableError, Tables, load_tables
from trainables.registry import unknown

DIFFERS, INPUT_IS_WRONG = 1, 2
_BEGIN = "<!-- make report: "
_BLOCK = re.compile(
    rf"(?P<begin>{_BEGIN}(?P<name>\S+)(?: (?P<runs>[^\n]+))? -->\n)(?P<body>(?:(?!{_BEGIN})[\s\S])*?)(?=<!-- end -->)"
)
Read = Callable[[str], Runs]
"""From a block's RUN... to the tables of each run."""


class ReadmeError(ValueError):
    """A document whose blocks cannot be made; its text is one readable line."""


def filled(text: str, read: Read) -> str:
    """A document's text with its blocks made anew.

    Raises:
        ReadmeError: A marker is unknown, or stands without its end.
    """
    if text.count(_BEGIN) != len(_BLOCK.findall(text)):
        raise ReadmeError("each `<!-- make report: NAME RUN... -->` must have its `<!-- end -->`, but one has none.")

    def body(block: re.Match[str]) -> str:
        name, runs = block["name"], block["runs"]
        if name not in BLOCKS:
            raise ReadmeError(unknown(name, BLOCKS, what="a block of a document"))
        made, command = BLOCKS[name]
        source = f"*`{command} {runs}`*\n\n" if runs else ""
        return f"{block['begin']}\n{made(read(runs) if runs else {})}\n\n{source}"

    return _BLOCK.sub(body, text)


def differing(text: str, other: str) -> list[str]:
    """The blocks, by their names and runs, that differ between two texts of a document."""
    before, after = (
        {block["begin"].removeprefix(_BEGIN).removesuffix(" -->\n"): block["body"] for block in _BLOCK.finditer(each)}
        for each in (text, other)
    )
    return [name for name in after if after[name] != before.get(name)]


def documents(root: Path) -> list[Path]:
    """README.md and the pages of docs/ that have blocks."""
    return [path for path in (root / "README.md", *sorted((root / "docs").glob("*.md"))) if _BEGIN in path.read_text()]


def figures(read: Read) -> Iterator[Drawn]:
    """The figures of docs/: the answer, the dimension card, and the paper's networks: loss curves, reconstructions."""
    everything = evidence_of(tuple(read("results/*").values()))
    (paper,) = read("results/paper").values()
    networks = draw(paper, ["f6_loss_all", "reconstructions"])
    every = [answer.draw_answer(everything), card.draw_card(everything), *networks]
    yield from (figure for figure in every if isinstance(figure, Drawn))


def reader(root: Path) -> Read:
    """Reads the tables of folders under a root, each once."""
    load = cache(load_tables)

    def read(runs: str) -> dict[str, Tables]:
        folders = [path for pattern in shlex.split(runs) for path in sorted(root.glob(pattern)) if path.is_dir()]
        if not folders:
            raise ReadmeError(f"{runs} must name a folder of tables, but there is none.")
        return {str(path.relative_to(root)): load(str(path)) for path in folders}

    return read


def main(
    root: Annotated[Path, typer.Argument(help="The repository's root, with README.md, docs/ and results/.")] = Path(),
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit with 1 if a block differs, and name it.")
    ] = False,
    report: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write the report of all tables under results/ too, into DIR.")
    ] = None,
) -> None:
    """Writes the numbers of README.md and docs/ from the tables under results/, and draws their figures."""
    if check and report is not None:
        raise typer.BadParameter("--check writes nothing, so that it takes no --report.")
    read = reader(root)
    try:
        if report is None:
            _update(root, read, check)
        else:
            everything = read("results/*")
            page = render(
                [(str(root / run), tables) for run, tables in everything.items()],
                workers=os.cpu_count() or 1,
                meanwhile=lambda: _update(root, read, check),
                evidence=evidence_of(tuple(everything.values())),
            )
            report.mkdir(parents=True, exist_ok=True)
            (report / "report.html").write_text(page, encoding="utf-8")
            typer.echo(str(report / "report.html"))
    except (ReadmeError, TableError, OSError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(INPUT_IS_WRONG) from None


def _update(root: Path, read: Read, check: bool) -> None:
    """Writes the blocks and draws the figures, or checks the blocks."""
    texts = {path: path.read_text(encoding="utf-8") for path in documents(root)}
    made = {path: filled(text, read) for path, text in texts.items()}
    for path, text in texts.items():
        for name in differing(text, made[path]):
            how = "differs from the tables: run `make report`" if check else "written"
            typer.echo(f"{path}: block {name} {how}")
    if check:
        raise typer.Exit(DIFFERS if made != texts else 0)
    for path, text in made.items():
        path.write_text(text, encoding="utf-8")
    for figure in figures(read):
        path = root / "docs" / f"{figure.name}.png"
        path.write_bytes(figure.png())
        typer.echo(str(path))


if __name__ == "__main__":
    typer.run(main)
