"""The command `study`: what plans and runs a study, and how it stands; `study.cli.results` has the rest."""

from __future__ import annotations

import enum
import logging
import math
import shlex
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table
from typer.core import TyperGroup

from study import plan as space
from study import runfolder as table
from study import spec
from study.cli import results as cli_results
from study.cli import views
from study.cli.results import Run
from study.cli.views import ERR, OUT
from trainables import checkpoint
from trainables.schema import Replicate
from trainables.storage import Folder

if TYPE_CHECKING:
    from study.spec import StudySpec

FAILED, INPUT_IS_WRONG, INTERRUPTED = 1, 2, 130


class Commands(TyperGroup):
    """Commands that say what was given where an option's value breaks its rule."""

    def invoke(self, ctx: Any) -> Any:
        """Invokes the command that was asked for."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            if isinstance(error.__cause__, ValidationError):
                error.message = spec.readable(error.__cause__)
            raise


app = typer.Typer(
    cls=Commands,
    help="Runs hyperparameter studies of auto-encoders on MNIST. Start with: study launch quick",
    epilog="Then draw the results: analysis report runs/quick. For MNIST itself: study data mnist",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
app.add_typer(cli_results.commands)


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
Trials = Annotated[int | None, typer.Option(min=1, help="Let a search try so many configurations. \\[spec's own]")]
Steps = Annotated[int | None, typer.Option(min=1, help="Training steps of every network. \\[spec's own]")]
Seeds = Annotated[int | None, typer.Option(min=1, help="Train each cell with seeds 0 ... N-1. \\[spec's own]")]
DatasetName = Annotated[str | None, typer.Option("--dataset", help="Use this dataset instead. \\[spec's own]")]


@app.command("list")
def list_studies() -> None:
    """List the built-in studies."""
    shown = Table("study", "what it answers", "cells", "replicates", "core-hours", box=None, header_style="bold")
    for name in spec.names():
        study = spec.load(name)
        plan = _plan(study)
        hours = space.total_core_hours(plan) + space.search_core_hours(study)
        searched = study.search.trials if study.search else 0
        cells, replicates = len(space.cells(study)) + searched, len(plan) + searched * study.seeds
        shown.add_row(name, study.question, str(cells), str(replicates), f"{hours:.2f}")
    OUT.print(shown)


@app.command()
def show(
    name: Name,
    steps: Steps = None,
    seeds: Seeds = None,
    dataset: DatasetName = None,
    trials: Trials = None,
    yaml: Annotated[bool, typer.Option("--yaml", help="Print the spec itself, to start one's own from.")] = False,
    price: Annotated[
        float | None,
        typer.Option(
            callback=_price,
            help="Show the money too: what an hour of one device (a GPU, a core of a CPU) costs, such as 0.53, in your "
            "currency.",
        ),
    ] = None,
) -> None:
    """Show every cell of a study and what it costs, without running anything."""
    study = _load(name, steps, seeds, dataset, trials)
    if yaml:
        sys.stdout.write(spec.dump(study))
        return
    plan = _plan(study)
    OUT.print(f"{study.name}: {study.title}\n{study.question}\n")
    if plan:
        OUT.print(views.cells_table(study, plan))
        OUT.print("\n".join(views.cells_lines(study, plan, price)))
    if study.search is not None:
        OUT.print(views.space_table(study.search))
        OUT.print("\n" + "\n".join(views.search_lines(study, study.search, price)))
    OUT.print(f"Run it: study launch {name}")


@app.command()
def check(
    cluster: Annotated[str, typer.Argument(help="A Ray cluster file.")] = "cluster.yaml",
) -> None:
    """Check a cluster file before `ray up` starts what costs money: what is left to edit, the token, open ports."""
    from study.cluster.clusterfile import problems
    from study.provenance import uncommitted

    found = problems(Path(cluster))
    for problem in found:
        OUT.print(f"{cluster}: {problem}", soft_wrap=True)
    if found:
        raise typer.Exit(INPUT_IS_WRONG)
    if changed := uncommitted():
        OUT.print(f"What is not committed does not go to the nodes: {', '.join(changed)}", soft_wrap=True)
    OUT.print(f"{cluster} is ready. Start the cluster: ray up {cluster}", soft_wrap=True)


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
    OUT.print(f"{loaded.name}: {sizes}; digest {loaded.digest}")
    OUT.print(
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
        str, typer.Option(help="Networks trained together in a process: a number, or auto (1 on a CPU, 64 on a GPU).")
    ] = "auto",
    checkpoint_every: Annotated[
        float, typer.Option(min=0, help="Seconds between a trial's checkpoints: what a kill can cost.")
    ] = checkpoint.EVERY_S,
    ray_output: Annotated[bool, typer.Option("--ray-output", help="Show Ray's own output too.")] = False,
    first_seed: Annotated[
        int,
        typer.Option(min=0, help="Run only seeds from this one on, no search; `study table --to` merges parts."),
    ] = 0,
    cells: Annotated[str, typer.Option(help="Run only cells of these names, e.g. 'vae*', and no search.")] = "*",
) -> None:
    """Run a study, or what is left of it: launching again skips what is finished and continues the rest.

    Example: study launch paper --steps 2000 --seeds 1 --run runs/short
    """
    from study.run.launch import Options, run_path
    from study.run.launch import launch as launch_study

    study = _load(name, steps, seeds, dataset, trials)
    size = _pack_size(pack)
    options = Options(
        runner.value, device.value, size, concurrency, address, ray_output, checkpoint_every, first_seed, cells
    )
    folder = run or run_path(study.name)
    try:
        _exit(_finished(launch_study(study, folder, options, OUT), folder))
    except KeyboardInterrupt:
        OUT.print(f"Interrupted at once. Go on from the newest checkpoints with: {_again()}", soft_wrap=True)
        raise typer.Exit(INTERRUPTED) from None


@app.command()
def status(
    run: Run,
    price: Annotated[
        float | None,
        typer.Option(
            callback=_price,
            help="Show the money too: a number in your own currency per hour of one device (a GPU, a core of a CPU), "
            "such as 0.53.",
        ),
    ] = None,
) -> None:
    """Show how a run stands, cell by cell, and what it took; works while it runs."""
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
    OUT.print(shown)
    for replicate in plan:
        if standing[replicate.hash].error:
            what = f"{replicate.cell}, seed {replicate.seed} ({replicate.hash})"
            OUT.print(f"{what}: {standing[replicate.hash].error}")
    OUT.print("\n".join(views.spent_lines(standing.values(), price)), soft_wrap=True)


def main() -> None:
    """The console script: exit code 0 all good, 1 something failed, 2 the input is wrong, 130 interrupted."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    with readable_errors(ERR):
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
        console.print(f"Error: {' '.join(_said(error).split())}", soft_wrap=True)
        raise SystemExit(code) from None


def _said(error: Exception) -> str:
    """Its text; of a file that the system refuses, its name and why."""
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename} cannot be opened: {error.strerror}."
    return str(error)


def _exit_code(error: Exception) -> int | None:
    """2 for the user's input, 1 for a machine that says no (a full disk, a lost connection), None for a defect."""
    if isinstance(error, OSError):
        named_wrongly = FileNotFoundError | FileExistsError | IsADirectoryError | NotADirectoryError | PermissionError
        return INPUT_IS_WRONG if isinstance(error, named_wrongly) else FAILED
    own = ("study.", "trainables.", "analysis.")  # errors about input are of our own classes
    return INPUT_IS_WRONG if type(error).__module__.startswith(own) else None


def _load(name: str, steps: int | None, seeds: int | None, dataset: str | None, trials: int | None = None) -> StudySpec:
    """The named spec with the command line's changes, checked cell by cell."""
    study = spec.load(name).with_changes(steps=steps, seeds=seeds, dataset=dataset, trials=trials)
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


def _price(price: float | None) -> float | None:
    if price is not None and not 0 <= price < math.inf:
        raise spec.SpecError(f"`--price` must be a number from 0, but got {price}.")
    return price


def _finished(counts: Counter[str], folder: str) -> int:
    """Says how the launch ended; returns the exit code."""
    unfinished = counts["pending"] + counts["running"] + counts["to measure"]
    text = ", ".join(f"{count} {key}" for key, count in sorted(counts.items()))
    if unfinished:
        OUT.print(f"Interrupted: {text}. Go on with the same command: {_again()}", soft_wrap=True)
        return INTERRUPTED
    if counts["failed"] + counts["diverged"] + counts["unmeasured"]:
        OUT.print(f"Done, but not all is well: {text}. See: study status {folder}")
        return FAILED
    OUT.print(f"Done: {text}. Draw the results: analysis report {folder}")
    return 0


def _again() -> str:
    return shlex.join(["study", *sys.argv[1:]])


def _exit(code: int) -> None:
    if code:
        raise typer.Exit(code)
