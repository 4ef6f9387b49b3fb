"""The numbers and figures of README.md and docs/: `python -m analysis.report.readme` writes them from results/.

With `--report DIR` it writes the report of all tables too: what both need is then decided once.

A block stands between `<!-- make report: NAME RUN... -->` and `<!-- end -->`: NAME is in BLOCKS, each RUN a folder of
tables or a pattern of several, from the repository's root; the vocabulary's blocks name no RUN. Text outside the blocks
is left as it is.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import pandas as pd
import typer

from analysis.cells import cells, final_rows, mean_and_interval, summarise
from analysis.claims import markdown
from analysis.dimension import card, estimate_table, ruler
from analysis.evidence import Evidence
from analysis.figures.base import Drawn
from analysis.figures.catalogue import draw
from analysis.formats import decimals, table, with_interval
from analysis.report import short_answer
from analysis.report.page import render
from analysis.report.surprises import surprises
from analysis.search.best import best_data
from analysis.verdict import counts_of
from study.table import TableError, load_tables
from study.tables.trials import search_of, trials
from trainables.quantities import IMAGE_KINDS, QUANTITIES
from trainables.registry import unknown
from trainables.schema import METRICS, TrialConfig

if TYPE_CHECKING:
    from study.table import Tables

DIFFERS, INPUT_IS_WRONG = 1, 2
SWEEP = {
    "elu": {"test_nll": "ELU"},
    "vae": {"test_nll": "VAE", "test_kl": "VAE's rate", "test_active_units": "VAE's active units"},
    "linear": {"test_nll": "linear"},
    "pca": {"test_nll": "PCA"},
}
"""Columns of the table over N: by network, each metric's name there."""
KEY_CLAIMS = ("C7", "C8", "C9", "C10")
"""Claims of the paper that need no explanation, for the README; docs/claims.md has all."""
_BEGIN = "<!-- make report: "
_BLOCK = re.compile(
    rf"(?P<begin>{_BEGIN}(?P<name>\S+)(?: (?P<runs>[^\n]+))? -->\n)(?P<body>(?:(?!{_BEGIN})[\s\S])*?)(?=<!-- end -->)"
)
Runs = Mapping[str, "Tables"]
"""Tables by their folder, from the repository's root."""
Read = Callable[[str], Runs]
"""From a block's RUN... to the tables of each run."""


class ReadmeError(ValueError):
    """A document whose blocks cannot be made; its text is one readable line."""


def verdicts(evidence: Evidence) -> str:
    """The number of claims by verdict, and the verdicts on KEY_CLAIMS."""
    decided = evidence.verdicts
    rows = [(f"{v.claim.statement}", f"**{v.verdict}**") for v in decided if v.claim.id in KEY_CLAIMS]
    counts = counts_of(verdict.verdict for verdict in decided)
    return f"{len(decided)} claims: {counts}. Some of them:\n\n{table(('the paper says', 'verdict'), rows)}"


def claims(evidence: Evidence) -> str:
    """The page of all claims with the tests behind them, without its title."""
    return markdown.to_markdown(evidence.verdicts).partition("\n")[2].strip()


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
    """The cost of each search, and its best trial and its arms, judged on seeds that did not choose them."""
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


def unexpected(runs: Runs) -> str:
    """The surprises that these runs hold, a line each."""
    return "\n".join(f"- {surprise.text} `{surprise.command}`" for surprise in surprises(list(runs.items())))


def fields() -> str:
    """The fields of TrialConfig with their defaults."""
    rows = [
        (f"`{name}`", f"`{_default(field.default)}`", field.description)
        for name, field in TrialConfig.model_fields.items()
    ]
    return table(("field", "default", "what it is"), rows)


def metrics() -> str:
    """The metrics of the results table."""
    rows = [(f"`{name}`", metric.unit, metric.mode or "", metric.description) for name, metric in METRICS.items()]
    return table(("metric", "unit", "better", "what it is"), rows)


def quantities() -> str:
    """The quantities of profiles.parquet; names that only older tables have are left out."""
    rows = [(f"`{q.name}`", q.unit, q.index, q.by, q.meaning) for q in QUANTITIES.values() if q.recorded]
    return table(("quantity", "unit", "index", "recorded by", "what it is"), rows)


def images() -> str:
    """The kinds of image in images.parquet; those that only older tables have are left out."""
    rows = [
        (f"`{kind.name}`", kind.index, kind.axis, kind.value, kind.by, kind.meaning)
        for kind in IMAGE_KINDS.values()
        if kind.recorded
    ]
    return table(("kind", "index", "axis", "value", "recorded by", "what it is"), rows)


class Block(NamedTuple):
    """A block: its text from the runs that it names, and the command that tells more of the same."""

    text: Callable[[Runs], str]
    command: str = ""


@cache
def _evidence(tables: tuple[Tables, ...]) -> Evidence:
    """The evidence in these tables; the same for all blocks and the report."""
    return Evidence(tables)


def _of(function: Callable[[Evidence], str]) -> Callable[[Runs], str]:
    return lambda runs: function(_evidence(tuple(runs.values())))


BLOCKS = {
    "answer": Block(_of(short_answer.markdown), "analysis dimension"),
    "verdicts": Block(_of(verdicts), "analysis claims"),
    "claims": Block(_of(claims), "analysis claims"),
    "losses": Block(_of(losses), "analysis report"),
    "sweep": Block(_of(sweep), "analysis report"),
    "estimates": Block(_of(lambda evidence: estimate_table.markdown(evidence.estimates).strip()), "analysis dimension"),
    "controls": Block(_of(ruler.markdown), "analysis dimension"),
    "searches": Block(_of(searches), "analysis search"),
    "surprises": Block(unexpected, "analysis report"),
    "fields": Block(lambda _: fields()),
    "metrics": Block(lambda _: metrics()),
    "quantities": Block(lambda _: quantities()),
    "images": Block(lambda _: images()),
}


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
    everything = _evidence(tuple(read("results/*").values()))
    (paper,) = read("results/paper").values()
    networks = draw(paper, ["f6_loss_all", "reconstructions"])
    every = [short_answer.draw_answer(everything), card.draw_card(everything), *networks]
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
                evidence=_evidence(tuple(everything.values())),
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


def _default(value: Any) -> str:
    """A field's default as a spec has it."""
    return json.dumps(list(value) if isinstance(value, tuple) else value).strip('"')


if __name__ == "__main__":
    typer.run(main)
