"""The command `study`: plans and runs studies, shows how far a run has come. `study.cli.results` has the rest."""

from __future__ import annotations

import enum
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from study import spec
from study.cli import common, outputs, results, views
from study.cli.common import FAILED, INPUT_IS_WRONG, OUT, Price, Run
from study.cli.outputs import Json
from study.cli.scripts import INTERRUPTED
from study.plan import Plan
from study.run.provenance import command_line
from trainables import checkpoint
from trainables.storage import Folder

if TYPE_CHECKING:
    from study.run.backlog import Counts

app = common.application(
    help="Runs hyperparameter studies of auto-encoders on MNIST. Start with: study launch quick",
    epilog="Then draw the results: analysis report runs/quick. For MNIST itself: study data mnist",
)
app.add_typer(results.commands)


class Runner(enum.StrEnum):
    """Who schedules."""

    ray = "ray"
    inline = "inline"


class Precision(enum.StrEnum):
    """The precision of a training step's matrix products."""

    fp32 = "fp32"
    tf32 = "tf32"
    bf16 = "bf16"
    auto = "auto"


class Device(enum.StrEnum):
    """The device on which trials train."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


Name = Annotated[str, typer.Argument(help="A built-in study (see `study list`) or the path of a spec.yaml.")]
Trials = Annotated[int | None, typer.Option(min=1, help="Configurations that the search tries. \\[spec's own]")]
Steps = Annotated[int | None, typer.Option(min=1, help="Training steps of every network. \\[spec's own]")]
PrecisionName = Annotated[
    Precision | None,
    typer.Option(
        "--precision",
        help="Precision of every network's matrix products; auto takes bf16 where this processor has it and the spec "
        "says allow_bf16, else fp32. \\[spec's own]",
    ),
]
Seeds = Annotated[int | None, typer.Option(min=1, help="Train each cell with seeds 0 ... N-1. \\[spec's own]")]
DatasetName = Annotated[
    str | None,
    typer.Option("--dataset", help="Use this dataset instead, a name or the path of your images. \\[spec's own]"),
]
Size = Annotated[int | None, typer.Option(min=1, help="Scale your images' middle squares to this many pixels a side.")]
Grey = Annotated[bool, typer.Option("--grey", help="Turn your images' colours to grey.")]
White = Annotated[
    float | None, typer.Option(help="The value of white in your images. \\[1 of floats, 255 of integers]")
]


@app.command("list")
def list_studies(json: Json = False) -> None:
    """List the built-in studies."""
    studies = map(spec.load, spec.names())
    if json:
        outputs.StudyList(studies=[outputs.ListedStudy(**views.size_of(study)) for study in studies]).print()
        return
    OUT.print(views.studies_table(studies))


@app.command()
def show(
    name: Name,
    steps: Steps = None,
    precision: PrecisionName = None,
    seeds: Seeds = None,
    dataset: DatasetName = None,
    size: Size = None,
    grey: Grey = False,
    white: White = None,
    trials: Trials = None,
    yaml: Annotated[bool, typer.Option("--yaml", help="Print the spec itself, to start one's own from.")] = False,
    price: Price = None,
    json: Json = False,
) -> None:
    """Show every cell of a study and what it costs, without running anything."""
    plan = _sized(_load(name, steps, precision, seeds, dataset, _reading(size, grey, white), trials))
    study = plan.spec
    if json:
        outputs.shown(plan).print()
        return
    if yaml:
        sys.stdout.write(spec.dump(study))
        return
    OUT.print(f"{study.name}: {study.title}\n{study.question}\n")
    if plan.cells:
        OUT.print(views.cells_table(plan))
        OUT.print("\n".join(views.cells_lines(plan, price)))
    if study.search is not None:
        OUT.print(views.space_table(study.search))
        OUT.print("\n" + "\n".join(views.search_lines(plan, study.search, price)))
    OUT.print(f"Run it: study launch {name}")


@app.command()
def check(
    cluster: Annotated[str, typer.Argument(help="A Ray cluster file.")] = "cluster.yaml",
) -> None:
    """Check a cluster file before `ray up` starts what costs money: what is left to edit, the token, open ports."""
    from study.cluster.clusterfile import problems
    from study.run.provenance import uncommitted

    lines = problems(Path(cluster))
    for line in lines:
        OUT.print(f"{cluster}: {line}", soft_wrap=True)
    if lines:
        raise typer.Exit(INPUT_IS_WRONG)
    if changed := uncommitted():
        OUT.print(f"Uncommitted changes do not go to the nodes: {', '.join(changed)}", soft_wrap=True)
    OUT.print(f"{cluster} is ready. Start the cluster: ray up {cluster}", soft_wrap=True)


@app.command()
def data(
    dataset: Annotated[str, typer.Argument(help="A dataset's name, or the path of your images.")] = "mnist",
    size: Size = None,
    grey: Grey = False,
    white: White = None,
) -> None:
    """Fetch a dataset once, or read your own images, check them, and say what they hold.

    Set STUDY_DATA_DIR to say where data sets are to be kept.
    """
    from trainables import datasets, metrics  # loads torch

    name, source = spec.image_source(dataset, _reading(size, grey, white))
    loaded = datasets.load(name or dataset, source)
    import torch

    test, train = (torch.tensor(loaded.images[part]) for part in ("test", "train"))
    OUT.print(loaded.description, soft_wrap=True)
    OUT.print(
        f"Eq. 1 in nats per test image: floor {metrics.entropy_floor(test):.1f}, "
        f"mean image {metrics.mean_image_nll(test, train):.1f}",
    )


@app.command()
def launch(
    name: Name,
    run: Annotated[str | None, typer.Option(help="Run folder, a path or URL. \\[default: runs/NAME]")] = None,
    steps: Steps = None,
    precision: PrecisionName = None,
    seeds: Seeds = None,
    dataset: DatasetName = None,
    size: Size = None,
    grey: Grey = False,
    white: White = None,
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
    from study.run.job import Options
    from study.run.launch import launch as launch_study
    from study.run.launch import run_path

    plan = _load(name, steps, precision, seeds, dataset, _reading(size, grey, white), trials)
    options = Options(
        runner=runner.value,
        device=device.value,
        pack=_pack_size(pack),
        concurrency=concurrency,
        address=address,
        ray_output=ray_output,
        checkpoint_every_s=checkpoint_every,
        first_seed=first_seed,
        cells=cells,
    )
    folder = run_path(plan.spec.name) if run is None else run
    OUT.goes_on = True
    try:
        code = _finish(launch_study(plan.spec, folder, options, OUT), folder)
    except KeyboardInterrupt:
        OUT.print(
            f"Interrupted at once. Go on from the newest checkpoints with: {command_line('study', *sys.argv[1:])}",
            soft_wrap=True,
        )
        raise typer.Exit(INTERRUPTED) from None
    if code:
        raise typer.Exit(code)


@app.command()
def status(run: Run, price: Price = None, json: Json = False) -> None:
    """Show how far each cell of a run has come, and what the run took; works while it runs.

    Exit code 1 says that a replicate has failed, or diverged outside of a search.
    """
    from study.runfolder import ERRORS, read_plan
    from study.tables.standing import standing

    folder = Folder(run)
    plan, _ = read_plan(folder)
    standings = standing(folder, plan.replicates)
    if json:
        outputs.status(run, plan, standings).print()
    else:
        OUT.print(views.status_table(plan, standings))
        for line in views.error_lines(plan, standings, folder.child(ERRORS)):
            OUT.print(line, soft_wrap=True)
        OUT.print(views.total_line(plan, standings), soft_wrap=True)
        OUT.print("\n".join(views.spent_lines(standings.values(), price)), soft_wrap=True)
    arms = {replicate.hash for label in plan.compared for replicate in plan.members[label]}
    if any(s.status == "failed" or (s.status == "diverged" and name in arms) for name, s in standings.items()):
        raise typer.Exit(FAILED)


app.callback()(common.options)


def main() -> None:
    """Runs the console script."""
    common.run(app)


def _load(
    name: str,
    steps: int | None,
    precision: Precision | None,
    seeds: int | None,
    dataset: str | None,
    reading: dict[str, Any],
    trials: int | None,
) -> Plan:
    """Loads the named spec with the command line's changes, and checks every cell."""
    study = spec.load(name)
    if precision is Precision.auto:
        chosen, reason = study.automatic_precision
        typer.echo(f"Precision: {chosen}, since {reason}.", err=True)
    changes: dict[str, Any] = {"steps": steps, "precision": precision, "seeds": seeds, "trials": trials}
    plan = Plan(study.with_changes(**changes, dataset=dataset, reading=reading))
    plan.check()
    return plan


def _reading(size: int | None, grey: bool, white: float | None) -> dict[str, Any]:
    """The options on how images are read that the user gave: fields of an ImageSource."""
    given = {"size": size, "grey": grey or None, "white": white}
    return {key: value for key, value in given.items() if value is not None}


def _sized(plan: Plan) -> Plan:
    """The plan on the data's own size, where these are the user's, or N is to fit them."""
    from trainables import datasets

    named = plan.datasets if plan.spec.fit else plan.spec.data
    sizes = {name: datasets.load(name, plan.spec.data.get(name)).size for name in named}
    return Plan(plan.spec.fitted(sizes), plan.digests, sizes)


def _pack_size(pack: str) -> int | None:
    if pack == "auto":
        return None
    if not pack.isdigit() or int(pack) < 1:
        raise spec.SpecError(f"`--pack` must be auto or a number from 1, but got {pack!r}.")
    return int(pack)


def _finish(counts: Counts, folder: str) -> int:
    """Says how the launch ended; returns the exit code."""
    text, code = f"Done: {counts}. Draw the results: {command_line('analysis', 'report', folder)}", 0
    if counts.left:
        again = command_line("study", *sys.argv[1:])
        text, code = f"Interrupted: {counts}. Go on with the same command: {again}", INTERRUPTED
    elif counts.bad:
        look = command_line("study", "status", folder)
        text, code = f"Done, but not all is well: {counts}. See: {look}", FAILED
    OUT.print(text, soft_wrap=True)
    return code
