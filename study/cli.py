"""The command `study`: what `study --help` lists."""

from __future__ import annotations

import enum
import logging
import shlex
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from study import showing, space, spec, table
from trainables import checkpoint
from trainables.schema import METRICS, Replicate
from trainables.storage import Folder

if TYPE_CHECKING:
    from study.spec import StudySpec

FAILED, INPUT_IS_WRONG, INTERRUPTED = 1, 2, 130

app = typer.Typer(
    help="Runs hyperparameter studies of auto-encoders on MNIST. Start with: study launch quick",
    epilog="Then draw the results: analysis report runs/quick",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
_PLAIN: dict[str, Any] = {"markup": False, "highlight": False, "emoji": False}  # what a spec says is shown as it is
_out, _err = Console(**_PLAIN), Console(stderr=True, **_PLAIN)


class Runner(enum.StrEnum):
    """Who schedules."""

    ray = "ray"
    inline = "inline"


class Device(enum.StrEnum):
    """Where trials train."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


Name = Annotated[str, typer.Argument(help="A built-in study (see `study list`) or the path of a spec.yaml.")]
Run = Annotated[str, typer.Argument(help="A run folder, or a folder under results/.")]
Trials = Annotated[int | None, typer.Option(min=1, help="Let a search try so many configurations. \\[spec's own]")]
Steps = Annotated[int | None, typer.Option(min=1, help="Train every network this long instead. \\[spec's own]")]
Seeds = Annotated[int | None, typer.Option(min=1, help="Train each cell with seeds 0 ... N-1. \\[spec's own]")]
DatasetName = Annotated[str | None, typer.Option("--dataset", help="Use this dataset instead. \\[spec's own]")]


@app.command("list")
def list_studies() -> None:
    """List the built-in studies."""
    shown = Table("study", "what it answers", "cells", "replicates", "core-hours", box=None, header_style="bold")
    for name in spec.names():
        study = spec.load(name)
        plan = _plan(study)
        hours = sum(space.core_hours(replicate.config) for replicate in plan) + space.search_core_hours(study)
        searched = study.search.trials if study.search else 0
        cells, replicates = len(space.cells(study)) + searched, len(plan) + searched * study.seeds
        shown.add_row(name, study.question, str(cells), str(replicates), f"{hours:.2f}")
    _out.print(shown)


@app.command()
def show(
    name: Name,
    steps: Steps = None,
    seeds: Seeds = None,
    dataset: DatasetName = None,
    trials: Trials = None,
    yaml: Annotated[bool, typer.Option("--yaml", help="Print the spec itself, to start one's own from.")] = False,
) -> None:
    """Show every cell of a study and what it costs, without running anything."""
    study = _load(name, steps, seeds, dataset, trials)
    if yaml:
        sys.stdout.write(spec.dump(study))
        return
    plan = _plan(study)
    _out.print(f"{study.name}: {study.title}\n{study.question}\n")
    if plan:
        _out.print(showing.cells_table(study, plan))
        _out.print("\n".join(showing.cells_lines(study, plan)))
    if study.search is not None:
        _out.print(showing.space_table(study.search))
        _out.print("\n" + "\n".join(showing.search_lines(study, study.search)))
    _out.print(f"Run it: study launch {name}")


@app.command()
def data(
    dataset: Annotated[str, typer.Argument(help="A dataset's name.")] = "mnist",
) -> None:
    """Fetch a dataset once, check it, and say what it holds. Set STUDY_DATA_DIR to say where."""
    from trainables import datasets, metrics  # loads torch

    loaded = datasets.load(dataset)
    import torch

    test, train = (torch.tensor(loaded.images[part]) for part in ("test", "train"))
    sizes = ", ".join(f"{part} {len(images):,}" for part, images in loaded.images.items())
    _out.print(f"{loaded.name}: {sizes}; digest {loaded.digest}")
    _out.print(
        f"Eq. 1 in nats per test image: floor {metrics.entropy_floor(test):.1f}, "
        f"mean image {metrics.mean_image_nll(test, train):.1f}",
    )


@app.command()
def launch(
    name: Name,
    run: Annotated[str | None, typer.Option(help="Run folder, a path or URL. \\[default: runs/NAME]")] = None,
    steps: Steps = None,
    seeds: Seeds = None,
    dataset: DatasetName = None,
    trials: Trials = None,
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Trials at a time. \\[default: one per core or GPU]")
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="Ray cluster to join, e.g. auto. \\[default: this machine]")
    ] = None,
    runner: Annotated[Runner, typer.Option(help="Ray Tune, or this process, one pack after another.")] = Runner.ray,
    device: Annotated[Device, typer.Option(help="Where to train; auto takes a GPU if there is one.")] = Device.auto,
    pack: Annotated[
        str, typer.Option(help="Members trained at once in a process: a number, or auto (1 on a CPU, 64 on a GPU).")
    ] = "auto",
    checkpoint_every: Annotated[
        float, typer.Option(min=0, help="Seconds between a trial's checkpoints: what a kill can cost.")
    ] = checkpoint.EVERY_S,
    ray_output: Annotated[bool, typer.Option("--ray-output", help="Show Ray's own output too.")] = False,
    first_seed: Annotated[
        int, typer.Option(min=0, help="Run only seeds from this on, and no search; `study table --to` merges parts.")
    ] = 0,
    cells: Annotated[str, typer.Option(help="Run only cells of these names, e.g. 'vae*', and no search.")] = "*",
) -> None:
    """Run a study, or what is left of it: launching again skips what is finished and continues the rest.

    Example: study launch paper --steps 2000 --seeds 1 --run runs/short
    """
    from study.launch import Options, run_path
    from study.launch import launch as launch_study

    study = _load(name, steps, seeds, dataset, trials)
    size = _pack_size(pack)
    options = Options(
        runner.value, device.value, size, concurrency, address, ray_output, checkpoint_every, first_seed, cells
    )
    folder = run or run_path(study.name)
    try:
        _exit(_finished(launch_study(study, folder, options, _out), folder))
    except KeyboardInterrupt:
        _out.print(f"Interrupted at once. Go on from the newest checkpoints with: {_again()}", soft_wrap=True)
        raise typer.Exit(INTERRUPTED) from None


@app.command()
def status(run: Run) -> None:
    """Show how a run stands, cell by cell; works while it runs."""
    folder = Folder(run)
    study, provenance = table.read_run(folder)
    plan = space.replicates(study, provenance["data_digests"])
    standing = table.standing(folder, plan)
    shown = Table("cell", "replicates", "status", "step", "test NLL [nats/image]", box=None, header_style="bold")
    for label, config in space.cells(study).items():
        members = [standing[r.hash] for r in plan if r.cell == label]
        counts = Counter(member.status for member in members)
        last = [member.record.rows[-1] for member in members if member.record and member.record.rows]
        nll = [row["test_nll"] for row in last if row["test_nll"] is not None]
        steps = f"{int(min(row['step'] for row in last)):,} of {config.steps or 0:,}" if last else "-"
        text = ", ".join(f"{count} {key}" for key, count in sorted(counts.items()))
        text += " (collapsed)" if any(row["collapsed"] for row in last) else ""
        shown.add_row(label, str(len(members)), text, steps, f"{sum(nll) / len(nll):.2f}" if nll else "-")
    _out.print(shown)
    for replicate in plan:
        if standing[replicate.hash].error:
            what = f"{replicate.cell}, seed {replicate.seed} ({replicate.hash})"
            _out.print(f"{what}: {standing[replicate.hash].error}")


@app.command()
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
    tables = table.load_tables(run)
    _out.print(showing.best_table(tables, top))
    if to is None:
        return
    study = showing.spec_of_best(tables, top, seeds)
    to.write_text(spec.dump(study), encoding="utf-8")
    _out.print(
        f"{to}: seeds below {tables.spec.seeds} chose them. Train them on others, then see how good they are:\n"
        f"study launch {to} --first-seed {tables.spec.seeds}\nanalysis search {run} runs/{study.name}",
        soft_wrap=True,
    )


@app.command()
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
    from trainables.export import export

    folder = Folder(run)
    study, provenance = table.read_run(folder)
    found = _replicate(space.replicates(study, provenance["data_digests"]), run, replicate)
    for path in export(folder.child("replicates").child(found.hash), out or Path(found.hash)):
        _out.print(str(path), soft_wrap=True)


@app.command("table")
def make_table(
    run: Run,
    csv: Annotated[Path | None, typer.Option(help="Write the results table as CSV too.")] = None,
    to: Annotated[str | None, typer.Option(help="Copy the tables to this folder, merged by replicate.")] = None,
) -> None:
    """Rebuild a run's tables from its run folder, at any time; print where they are."""
    folder = Folder(run)
    tables = table.build(folder) if "replicates" in folder.names() else table.load_tables(run)
    if to is not None:
        tables, run = table.merge(tables, Folder(to)), to
    if csv is not None:
        tables.results.to_csv(csv, index=False)
    replicates = tables.results["replicate"].nunique()
    _out.print(f"{run}: {len(tables.results):,} rows of {replicates:,} replicates")


@app.command()
def tensorboard(
    run: Run,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Where to.")] = Path("tensorboard"),
) -> None:
    """Write every curve as TensorBoard's event files; then: tensorboard --logdir DIR."""
    from study.tensorboard import write

    count = write(table.load_tables(run), out)
    _out.print(f"{out}: {count} replicates. Look at them: tensorboard --logdir {out}", soft_wrap=True)


@app.command()
def replay(
    run: Run,
    replicate: Annotated[str, typer.Argument(help="The replicate's hash, or its first digits.")],
) -> None:
    """Train one replicate again, without Ray, and compare its numbers with the run's table."""
    from study.replay import train_again  # loads torch

    tables = table.load_tables(run)
    found = _replicate(space.replicates(tables.spec, tables.provenance["data_digests"]), run, replicate)
    rows = tables.results[tables.results["replicate"] == found.hash].set_index("step")
    again = train_again(found, lambda text: _err.print(text, end="\r"))
    differing = 0
    shown = Table("metric", "in the table", "again", box=None, header_style="bold")
    for row in again:
        if row["step"] not in rows.index:
            continue
        stored = rows.loc[row["step"]]
        for metric in METRICS:
            old = None if stored[metric] != stored[metric] else float(stored[metric])
            differing += old != row[metric]
            if row is again[-1] and (old is not None or row[metric] is not None):
                shown.add_row(metric, repr(old), repr(row[metric]))
    _out.print(shown)
    compared = sum(row["step"] in rows.index for row in again)
    verdict = "the same numbers, bit for bit" if not differing else f"{differing} numbers differ"
    _out.print(f"{found.cell}, seed {found.seed}: {compared} steps compared: {verdict}.")
    _exit(0 if compared and not differing else 1)


def main() -> None:
    """The console script: exit code 0 all good, 1 something failed, 2 the input is wrong, 130 interrupted."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    with readable_errors(_err):
        app()


@contextmanager
def readable_errors(console: Console) -> Iterator[None]:
    """Turns what is the user's input, not a defect, into one line on `console` and exit code 2."""
    try:
        yield
    except (ValueError, OSError) as error:
        code = _exit_code(error)
        if code is None:
            raise
        console.print(f"Error: {' '.join(str(error).split())}", soft_wrap=True)
        raise SystemExit(code) from None


def _exit_code(error: Exception) -> int | None:
    """2 for the user's input, 1 for a machine that says no (a full disk, a lost connection), None for a defect."""
    if isinstance(error, OSError):
        named_wrongly = FileNotFoundError | FileExistsError | IsADirectoryError | NotADirectoryError | PermissionError
        return INPUT_IS_WRONG if isinstance(error, named_wrongly) else FAILED
    own = ("study.", "trainables.", "analysis.")  # errors about input are of our own classes
    return INPUT_IS_WRONG if type(error).__module__.startswith(own) else None


def _replicate(plan: list[Replicate], run: str, start: str) -> Replicate:
    """The one replicate whose hash starts so."""
    found = [replicate for replicate in plan if replicate.hash.startswith(start)]
    if len(found) != 1:
        known = ", ".join(sorted(replicate.hash for replicate in plan)[:5])
        raise table.TableError(
            f"`replicate` must be the start of one hash of {run}, but {len(found)} begin with {start!r}; "
            f"there are {known}, ..."
        )
    return found[0]


def _load(name: str, steps: int | None, seeds: int | None, dataset: str | None, trials: int | None = None) -> StudySpec:
    """The named spec with the command line's changes, checked cell by cell."""
    study = spec.load(name)
    fields: dict[str, Any] = {k: v for k, v in {"steps": steps, "dataset": dataset}.items() if v is not None}
    arms = {arm: {k: v for k, v in own.items() if k not in fields} for arm, own in study.arms.items()}
    grid = [{k: v for k, v in grid.items() if k not in fields} for grid in study.grids]
    changed = {"base": study.base | fields, "arms": arms, "grid": grid, "seeds": seeds or study.seeds}
    if study.search is not None:
        drawn = {key: value for key, value in study.search.space.items() if key not in fields}
        wanted = {"space": drawn, "trials": trials or study.search.trials}
        changed["search"] = study.search.model_copy(update=wanted)
    elif trials is not None:
        raise spec.SpecError(f"`--trials` is for a study with a search, but {study.name} has none.")
    study = study.model_copy(update=changed)
    space.check(study)
    return study


def _plan(study: StudySpec) -> list[Replicate]:
    return space.replicates(study, dict.fromkeys(space.datasets(study), ""))


def _pack_size(pack: str) -> int | None:
    if pack == "auto":
        return None
    if not pack.isdigit() or int(pack) < 1:
        raise spec.SpecError(f"`--pack` must be auto or a number from 1, but got {pack!r}.")
    return int(pack)


def _finished(counts: Counter[str], folder: str) -> int:
    """Says how the launch ended; returns the exit code."""
    unfinished = counts["pending"] + counts["running"] + counts["to measure"]
    text = ", ".join(f"{count} {key}" for key, count in sorted(counts.items()))
    if unfinished:
        _out.print(f"Interrupted: {text}. Go on with the same command: {_again()}", soft_wrap=True)
        return INTERRUPTED
    if counts["failed"] + counts["diverged"] + counts["unmeasured"]:
        _out.print(f"Done, but not all is well: {text}. See: study status {folder}")
        return FAILED
    _out.print(f"Done: {text}. Draw the results: analysis report {folder}")
    return 0


def _again() -> str:
    return shlex.join(["study", *sys.argv[1:]])


def _exit(code: int) -> None:
    if code:
        raise typer.Exit(code)
