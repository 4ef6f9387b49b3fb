"""The commands of `study` that read or write the results of a run; `study.cli.app` adds them to its own."""

from __future__ import annotations

import enum
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from study import spec
from study.cli import outputs, views
from study.cli.common import ERR, FAILED, OUT, Run
from study.cli.outputs import Json
from study.plan import Plan
from trainables.images.source import ImageSource
from trainables.schema import Replicate
from trainables.storage import Folder, without_secrets, write_file


class Images(enum.StrEnum):
    """The images that merged tables keep: see `study.tables.merge`."""

    all = "all"
    one = "one"
    last = "last"
    none = "none"


class Tracker(enum.StrEnum):
    """Tools that show runs."""

    mlflow = "mlflow"


commands = typer.Typer(rich_markup_mode="rich")


@commands.command()
def best(
    run: Run,
    top: Annotated[int, typer.Option(min=1, help="How many.")] = 5,
    to: Annotated[
        Path | None,
        typer.Option("--spec", metavar="FILE", help="Write a study that trains these again, on fresh seeds."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Fresh seeds of that study.")] = 3,
) -> None:
    """Show the best configurations that a search has found, by what it searched for; with two aims, the Pareto front.

    Example: study best runs/vae --top 3 --spec best.yaml
    """
    from study.tables.files import load_tables
    from study.tables.trials import spec_of_best

    tables = load_tables(run)
    OUT.print(views.best_table(tables, top))
    if to is None:
        return
    study = spec_of_best(tables, top, seeds)
    write_file(to, spec.dump(study).encode())
    OUT.print(
        f"{to}: seeds below {tables.spec.seeds} chose them. Train them on others, then see how good they are:\n"
        f"study launch {to} --first-seed {tables.spec.seeds}\nanalysis search {without_secrets(run)} runs/{study.name}",
        soft_wrap=True,
    )


@commands.command()
def weights(
    run: Run,
    replicate: Annotated[str, typer.Argument(help="The replicate's hash, or its first digits.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="DIR", help="Where to. \\[default: the hash]")
    ] = None,
) -> None:
    """Write one trained network as safetensors, with its config and a model card.

    Example: study weights runs/paper 3f2a -o elu; then in Python: from trainables.export import load; load("elu")
    """
    from study.runfolder import TableError, read_plan
    from trainables.export import export

    folder = Folder(run)
    plan, _ = read_plan(folder)
    name = _replicate(plan, run, replicate).hash
    if "replicates" not in folder.names():
        raise TableError(f"{run} holds tables alone, without weights: name the run folder that they were made from.")
    for path in export(folder.child("replicates").child(name), out or Path(name)):
        OUT.print(str(path), soft_wrap=True)


@commands.command("table")
def make_table(
    run: Run,
    csv: Annotated[
        Path | None, typer.Option(allow_dash=True, help="Write the results table as CSV too; - prints it.")
    ] = None,
    to: Annotated[str | None, typer.Option(help="Copy the tables to this folder, merged by replicate.")] = None,
    images: Annotated[
        Images,
        typer.Option(
            help="With --to: keep all images of both folders, of one seed a cell, of its last step alone, or none."
        ),
    ] = Images.all,
    json: Json = False,
) -> None:
    """Rebuild a run's tables from its run folder, at any time; print where they are."""
    from study.tables.build import build
    from study.tables.files import load_tables, to_csv
    from study.tables.merge import merge

    if to is None and images != Images.all:
        raise typer.BadParameter("thins what is copied: give --to too.", param_hint="--images")
    folder = Folder(run)
    tables = build(folder) if "replicates" in folder.names() else load_tables(run)
    if to is not None:
        tables, run = merge(tables, Folder(to), images.value), to
    if json and csv == Path("-"):
        raise typer.BadParameter("prints JSON where `--csv -` prints CSV: give one of them.", param_hint="--json")
    if csv == Path("-"):
        sys.stdout.write(to_csv(tables.results))
        return
    if csv is not None:
        write_file(csv, to_csv(tables.results).encode())
    if json:
        outputs.table(run, tables).print()
        return
    replicates = tables.results["replicate"].nunique()
    OUT.print(f"{without_secrets(run)}: {len(tables.results):,} rows of {replicates:,} replicates")


@commands.command()
def verify(run: Run) -> None:
    """Check every file of a run folder, or the tables of a folder under results/, and name what is damaged.

    Exit code 1 if anything is. Launching the study again makes good what belongs to a replicate or a table.
    """
    from study.tables.verify import problems

    sound = True
    for problem in problems(Folder(run)):
        OUT.print(problem, soft_wrap=True)
        sound = False
    if not sound:
        raise typer.Exit(FAILED)
    OUT.print(f"{without_secrets(run)}: every file is sound.", soft_wrap=True)


@commands.command()
def tensorboard(
    run: Run,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Where to.")] = Path("tensorboard"),
) -> None:
    """Write every curve as TensorBoard's event files; then: tensorboard --logdir DIR."""
    from study.tables.files import load_tables
    from study.tables.tensorboard import write

    count = write(load_tables(run), out)
    OUT.print(f"{out}: {count} replicates. Look at them: tensorboard --logdir {out}", soft_wrap=True)


@commands.command()
def export(
    run: Run,
    to: Annotated[Tracker, typer.Option(help="The tool that is to open it; it is an extra of the installation.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="SQLite file to add to.")] = Path(
        "mlflow.db"
    ),
) -> None:
    """Write every replicate's settings and curves for a tracker; then: mlflow ui --backend-store-uri sqlite:///FILE.

    Example: study export runs/paper --to mlflow

    Exporting again adds what is new.
    """
    from study.tables.files import load_tables
    from study.tables.mlflow_export import write

    count = write(load_tables(run), out)
    look = f"mlflow ui --backend-store-uri sqlite:///{out}"
    OUT.print(f"{out}: {count} replicates added. Look at them: {look}", soft_wrap=True)


@commands.command()
def replay(
    run: Run,
    replicate: Annotated[str, typer.Argument(help="The replicate's hash, or its first digits.")],
    own: Annotated[
        str | None, typer.Option("--spec", help="The study, whose plugins are imported: a run's folder imports none.")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Where the run's own images are now. \\[default: where the run found them]")
    ] = None,
) -> None:
    """Train one replicate again, without Ray, and compare its numbers with the run's table.

    Numbers of the same numerics must be equal below a millionth. Where numerics, device or code are others, the
    difference must lie within the spread over seeds.
    """
    from study.run.replay import compare, lines, train_again  # loads torch
    from study.runfolder import TableError
    from study.tables.files import load_tables

    tables = load_tables(run)
    if own is not None:
        spec.load(own)
    elif tables.spec.plugins:
        plugins = ", ".join(tables.spec.plugins)
        raise TableError(f"`--spec` must name the study that has the plugins {plugins}: a run's folder imports none.")
    chosen = _replicate(Plan(tables.spec, tables.provenance["data_digests"]), run, replicate)
    source = _moved(tables.spec.data.get(chosen.config.dataset), chosen.config.dataset, dataset)
    again = train_again(chosen, source, lambda text: ERR.print(text, end="\r"))
    comparison = compare(tables.rows("results"), chosen.hash, again)
    last = Table("metric", "in the table", "again", box=None, header_style="bold")
    for difference in comparison.last:
        last.add_row(difference.metric, repr(difference.stored), repr(difference.again))
    OUT.print(last)
    for line in lines(comparison):
        OUT.print(line, soft_wrap=True)
    if not comparison.agrees:
        raise typer.Exit(FAILED)


def _moved(source: ImageSource | None, name: str, path: str | None) -> ImageSource | None:
    """Returns where a run's images are now, read as they were. Raises TableError if they are not a user's own."""
    from study.runfolder import TableError

    if path is None:
        return source
    if source is None:
        raise TableError(f"`--dataset` must be left out: {name} is no data set of the run's own images.")
    return source.model_copy(update={"path": path})


def _replicate(plan: Plan, run: str, start: str) -> Replicate:
    """Returns the one replicate whose hash begins with `start`. Raises TableError if there are none or several."""
    from study.runfolder import TableError

    matches = [replicate for replicate in plan.replicates if replicate.hash.startswith(start)]
    if len(matches) != 1:
        known = ", ".join(sorted(replicate.hash for replicate in plan.replicates)[:5])
        raise TableError(
            f"`replicate` must be the start of one hash of {without_secrets(run)}, but {len(matches)} begin with "
            f"{start!r}; there are {known}, ..."
        )
    return matches[0]
