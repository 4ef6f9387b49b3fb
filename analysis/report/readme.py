"""What README.md shows of the tables: `python -m analysis.report.readme` writes its blocks and draws its figures.

With `--report DIR` it writes the report of all tables too: what both show is then decided once.

A block stands between `<!-- make report: NAME RUN... -->` and `<!-- end -->`: NAME is in BLOCKS, each RUN a folder of
tables or a pattern of several, from where the README lies. Everything else in the file is left as it is.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, NamedTuple

import pandas as pd
import typer

from analysis.cells import cells, final_rows, mean_and_interval, summarise
from analysis.dimension import card, estimate_table, ruler
from analysis.evidence import Evidence
from analysis.figures.base import Drawn
from analysis.figures.catalogue import draw
from analysis.formats import decimals, table, with_interval
from analysis.report.page import render
from analysis.search.best import best_data
from analysis.verdict import Verdict, combine, counts_of
from study.table import TableError, load_tables
from study.tables.trials import search_of, trials
from trainables.registry import unknown

DIFFERS, INPUT_IS_WRONG = 1, 2
SWEEP = {
    "elu": {"test_nll": "ELU"},
    "vae": {"test_nll": "VAE", "test_kl": "VAE's rate", "test_active_units": "VAE's active units"},
    "linear": {"test_nll": "linear"},
    "pca": {"test_nll": "PCA"},
}
"""Columns of the table over N: by network, each metric's name there."""
_BEGIN = "<!-- make report: "
_BLOCK = re.compile(
    rf"(?P<begin>{_BEGIN}(?P<name>\S+) (?P<runs>[^\n]+) -->\n)(?P<body>(?:(?!{_BEGIN})[\s\S])*?)(?=<!-- end -->)"
)
Read = Callable[[str], tuple[Sequence[str], Evidence]]
"""From a block's RUN... to the runs' folders, and the evidence in their tables."""


class ReadmeError(ValueError):
    """A README whose blocks cannot be made; its text is one readable line."""


def headline(evidence: Evidence) -> str:
    """Whether 10 < N < 100: the verdict, the two estimates that were fixed beforehand, and how the others came out."""
    main = [one for one in evidence.estimates if one.headline]
    verdict = combine((one.verdict for one in main), "split")
    lines = [f"**10 < N < 100: {verdict}.** Two estimates of N, (a) and (c), were fixed beforehand as the answer:", ""]
    for one in main:
        value = estimate_table.IN_WORDS[one.key].format(f"**{one.text}**")
        lines.append(f"- ({one.key}) {value}: *{one.verdict}* ({one.reason}).")
    others = [one.verdict for one in evidence.estimates if not one.headline and estimate_table.card_name(one.key)]
    return "\n".join([*lines, "", f"The {len(others)} other estimates on the card: {counts_of(others)}."])


def claims(evidence: Evidence) -> str:
    """The verdict on each claim of the paper, and why; a test behind it has a verdict where it is another."""
    verdicts = evidence.verdicts
    main = [outcome for verdict in verdicts for outcome in verdict.outcomes if outcome.part.main]
    undecided = [outcome for outcome in main if outcome.verdict == Verdict.INCONCLUSIVE]
    text = f"{len(verdicts)} claims: {counts_of(verdict.verdict for verdict in verdicts)}."
    if single := sum(len(outcome.sample.seeds) == 1 for outcome in undecided):
        verb = "has" if single == 1 else "have"
        text += f" Of the {len(undecided)} inconclusive tests behind them {single} {verb} one seed: no interval."
    rows = [
        (v.claim.id, v.claim.statement, f"**{v.verdict}**", v.reason.replace(f": {v.verdict},", ":")) for v in verdicts
    ]
    if any("needs study" in verdict.reason for verdict in verdicts):
        text += " What *needs study X* is measured by `study launch X`."
    return f"{text}\n\n{table(('', 'the paper says', 'verdict', 'why'), rows)}"


def losses(evidence: Evidence) -> str:
    """The final test NLL of each cell with its multiple of ELU's, by rising loss, and what it is read against."""
    summary = pd.concat([summarise(tables) for tables in evidence.tables])
    rows = []
    for row in summary[summary["test_nll"].notna()].sort_values("test_nll").to_dict("records"):
        name = f"{row['cell']}, **collapsed**" if row["collapsed"] else row["cell"]
        nll = with_interval(row["test_nll"], row["test_nll_low"], row["test_nll_high"], decimals)
        at_mean = f"{row['test_nll_mean']:,.1f}" if row["network"] == "vae" else ""
        ratio = "" if pd.isna(row["ratio"]) else f"{row['ratio']:.2f}"
        rows.append((name, nll, at_mean, ratio, "closed form" if row["network"] == "pca" else row["finished"]))
    levels = summary[["mean_image", "floor"]].dropna().iloc[:1].to_dict("records")
    names = {"mean_image": "*the mean image, whatever is shown*", "floor": "*entropy floor: a perfect copy*"}
    rows += [(names[str(key)], f"*{value:,.1f}*", "", "", "") for level in levels for key, value in level.items()]
    return table(("network", "test NLL", "z at its mean", "times ELU", "seeds"), rows)


def sweep(evidence: Evidence) -> str:
    """SWEEP by latent dimension: means over the seeds that finished, with their 95 % t intervals."""
    last = pd.concat([final_rows(tables).merge(cells(tables)[["cell", "network"]]) for tables in evidence.tables])
    shown = [(name, key, title) for name, keys in SWEEP.items() for key, title in keys.items()]
    shown = [entry for entry in shown if entry[0] in set(last["network"])]
    rows = []
    for latent_dim, group in last.groupby("config/latent_dim"):
        values = [mean_and_interval(group.loc[group["network"] == name, key]) for name, key, _ in shown]
        rows.append((latent_dim, *(with_interval(*value, decimals) for value in values)))
    trained = last[last["config/task"] == "train"].groupby("cell").size()
    few, many = trained.min(), trained.max()
    text = (
        f"Means over {few if few == many else f'{few} to {many}'} seeds, with their 95 % t intervals from 2 seeds on:"
    )
    return f"{text}\n\n{table(('N', *(title for _, _, title in shown)), rows)}"


def searches(evidence: Evidence) -> str:
    """Of each search its cost, its best trial and its arms, judged on seeds that did not choose them."""
    rows: dict[str, tuple[str, ...]] = {}
    for tables in (tables for tables in evidence.tables if tables.spec.search is not None):
        search, every = search_of(tables), trials(tables)
        (objective,) = search.objectives
        for row in best_data(tables, evidence.tables, top=1).to_dict("records"):
            test, low, high = (row[f"{objective}/{key}"] for key in ("test", "low", "high"))
            found = (decimals(row[objective]), with_interval(test, low, high, decimals))
            if pd.isna(row["trial"]):
                rows[row["cell"]] = (f"the arm `{row['cell']}`", "", "", *found)
            else:
                how = f"{search.sampler}, {'none stopped' if search.scheduler == 'none' else search.scheduler}"
                cost = (str(len(every)), f"{every['step'].sum() * tables.spec.seeds:,}")
                rows[tables.spec.name] = (f"`{tables.spec.name}`: {how}", *cost, *found)
    header = ("", "trials", "training steps", "best on the validation images", "on the test images, fresh seeds")
    return table(header, sorted(rows.values()))


class Block(NamedTuple):
    """A block: its text from the tables, and the command that tells more of the same."""

    text: Callable[[Evidence], str]
    command: str


BLOCKS = {
    "headline": Block(headline, "analysis dimension"),
    "claims": Block(claims, "analysis claims"),
    "losses": Block(losses, "analysis report"),
    "sweep": Block(sweep, "analysis report"),
    "controls": Block(ruler.markdown, "analysis dimension"),
    "searches": Block(searches, "analysis search"),
}


def filled(text: str, read: Read) -> str:
    """A README's text with its blocks made anew.

    Raises:
        ReadmeError: A marker is unknown, or stands without its end.
    """
    if text.count(_BEGIN) != len(_BLOCK.findall(text)):
        raise ReadmeError("each `<!-- make report: NAME RUN... -->` must have its `<!-- end -->`, but one has none.")

    def body(block: re.Match[str]) -> str:
        name, runs = block["name"], block["runs"]
        if name not in BLOCKS:
            raise ReadmeError(unknown(name, BLOCKS, what="a block of the README"))
        made, command = BLOCKS[name]
        return f"{block['begin']}\n{made(read(runs)[1])}\n\n*`{command} {runs}`*\n\n"

    return _BLOCK.sub(body, text)


def differing(text: str, other: str) -> list[str]:
    """The blocks, by their names and runs, that differ between two texts of a README."""
    found, made = (
        {f"{block['name']} {block['runs']}": block["body"] for block in _BLOCK.finditer(each)} for each in (text, other)
    )
    return [name for name in made if made[name] != found.get(name)]


def figures(read: Read) -> Iterator[Drawn]:
    """The figures of docs/: the dimension card, the loss curves and the reconstructions of the paper's networks."""
    (paper,) = read("results/paper")[1].tables
    every = [card.draw_card(read("results/*")[1]), *draw(paper, ["f6_loss_all", "reconstructions"])]
    yield from (figure for figure in every if isinstance(figure, Drawn))


def reader(root: Path) -> Read:
    """Reads the tables of folders under a root, each once, and what follows from the same runs once."""
    load = cache(load_tables)

    @cache
    def read(runs: str) -> tuple[list[str], Evidence]:
        folders = [path for pattern in shlex.split(runs) for path in sorted(root.glob(pattern)) if path.is_dir()]
        if not folders:
            raise ReadmeError(f"{runs} must name a folder of tables, but there is none.")
        names = [str(path.relative_to(root)) for path in folders]
        return names, Evidence([load(str(path)) for path in folders])

    return read


def main(
    readme: Annotated[Path, typer.Argument(help="The file whose blocks are written.")] = Path("README.md"),
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit with 1 if a block differs, and name it.")
    ] = False,
    report: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write the report of all tables under results/ too, into DIR.")
    ] = None,
) -> None:
    """Writes what README.md shows of the tables under results/, and draws its figures in docs/."""
    if check and report is not None:
        raise typer.BadParameter("--check writes nothing, so that it takes no --report.")
    read = reader(readme.parent)
    try:
        if report is None:
            _update(readme, read, check)
        else:
            names, evidence = read("results/*")
            runs = [(str(readme.parent / run), tables) for run, tables in zip(names, evidence.tables, strict=True)]
            page = render(
                runs,
                workers=os.cpu_count() or 1,
                meanwhile=lambda: _update(readme, read, check),
                evidence=evidence,
            )
            report.mkdir(parents=True, exist_ok=True)
            (report / "report.html").write_text(page, encoding="utf-8")
            typer.echo(str(report / "report.html"))
    except (ReadmeError, TableError, OSError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(INPUT_IS_WRONG) from None


def _update(readme: Path, read: Read, check: bool) -> None:
    """Writes the blocks and draws the figures, or checks the blocks."""
    text = readme.read_text(encoding="utf-8")
    made = filled(text, read)
    for name in differing(text, made):
        typer.echo(f"{readme}: block {name} {'differs from the tables: run `make report`' if check else 'written'}")
    if check:
        raise typer.Exit(DIFFERS if made != text else 0)
    readme.write_text(made, encoding="utf-8")
    for figure in figures(read):
        path = readme.parent / "docs" / f"{figure.name}.png"
        path.write_bytes(figure.png())
        typer.echo(str(path))


if __name__ == "__main__":
    typer.run(main)
