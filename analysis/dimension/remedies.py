"""The remedy for an estimate that is not settled: which rule is not met, and the command that meets it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from analysis.dimension.estimate import Estimate, first_reason
from analysis.dimension.estimate_table import UNFINISHED
from analysis.dimension.intrinsic_estimates import TIED
from analysis.dimension.loss_law import NO_FALL, UNKNOWN, LossLaw
from analysis.dimension.seed_estimates import LOWER_BOUND, NO_GAIN, NO_SPARE, UNLEARNED, Sweeps
from analysis.dimension.sweeps import PAPERS, Sweep
from study import spec
from study.table import Tables

SEEDS = 3
"""The seeds that a remedy names where there are too few for an interval."""
LONGER = 2
"""The factor by which a remedy lengthens training that has not converged, and widens a grid that ends too early."""
CHANGED = ("--seeds", "--first-seed", "--steps", "--cells")
"""The options of a launch that a remedy does not keep."""
IMAGES = "{task: intrinsic_dimension, sample_size: 4000}"
"""The arm that estimates the images' own dimension."""


def remedies(
    tables: Sequence[Tables], dataset: str, sweeps: Sweeps, estimates: Sequence[Estimate], law: LossLaw | str
) -> list[str]:
    """A line for each of the answer's estimates without a verdict, and for the law: the reason, and the command to run.

    A settled (L) has one as well where the grid leaves several N open.

    `law`: the law of the auto-encoder, or the reason why it has none.
    """
    launch = Launch(tables, dataset, sweeps)
    open_still = {f"({one.key})": one for one in estimates if one.headline and not one.settled}
    lines = [
        f"{key} not settled at this budget: {first_reason(one.reason)}. "
        f"{launch.own_dimension(one.reason) if one.key == 'I' else launch.remedy(one.reason)}"
        for key, one in open_still.items()
    ]
    lines += [
        f"(L) may be any N from {one.between[0]} to {one.between[1]} on this grid. {launch.denser(*one.between)}"
        for one in estimates
        if one.key == "L" and one.settled and one.between and one.between[0] < one.between[1]
    ]
    if isinstance(law, str) and not law.startswith(NO_FALL):
        lines.append(f"The auto-encoder's law is not settled at this budget: {law}. {launch.remedy(law)}")
    return lines


class Launch:
    """The launch that trained the networks of a data set, and how it would have to differ."""

    def __init__(self, tables: Sequence[Tables], dataset: str, sweeps: Sweeps):
        def breadth(one: Tables) -> int:
            ends = one.ends
            mine = (ends["config/dataset"] == dataset) & (ends["config/task"] == "train")
            return int(ends.loc[mine, "config/latent_dim"].nunique())

        grids = [one for one in tables if one.spec.search is None]
        found = None if dataset == PAPERS else max(grids, key=breadth, default=None)
        self._source, self._options = ("latent", {}) if found is None else _launched(found)
        self._name = "latent" if found is None else found.spec.name
        built_in = self._source in spec.names()
        if built_in and spec.load(self._source).base.get("dataset", PAPERS) != dataset:
            self._options = {"--dataset": ["--dataset", dataset]} | self._options
        if found is not None and "--dataset" in self._options and dataset in found.spec.data:
            self._options["--dataset"] = ["--dataset", found.spec.data[dataset].path]
        self._run = self._options.get("--run", [f"runs/{self._name}"])[-1]
        read = [sweep for sweep in sweeps.by_network.values() if isinstance(sweep, Sweep)]
        self._steps = max((int(sweep.steps.max()) for sweep in read), default=0)
        self._seeds = max((len(sweep.seeds) for sweep in read), default=1)
        shapes = [one.shapes[dataset] for one in tables if dataset in one.shapes]
        self._pixels = shapes[0].pixels if shapes else None
        self._widest = max((int(sweep.latent_dims.max()) for sweep in read), default=0)

    def remedy(self, reason: str) -> str:
        """The remedy for the first reason of an estimate, with the command."""
        for pattern, make in _REMEDIES:
            if re.search(pattern, first_reason(reason)):
                return make(self)
        return f"Then again: `{self.command()}`"

    def own_dimension(self, reason: str) -> str:
        """The same for the images' own dimension."""
        if reason.startswith(TIED):
            return "Images of few grey values have such distances; no option of a launch changes that"
        if "interval" in reason or "seed" in reason:
            return f"More subsamples: `{self.command(seeds=SEEDS)}`"
        if UNFINISHED in reason:
            return f"`study status {self._run}` says why; if it is not yet run: `{self.command()}`"
        return f"Add the arm `images: {IMAGES}` to the spec, then `{self.command()}`"

    def longer(self, factor: float) -> str:
        """Another length of training, which needs a folder of its own."""
        steps = max(round(self._steps * factor), 1)
        return f"`{self.command(steps=steps)}`"

    def wider(self) -> str:
        """Adds larger N to the grid."""
        dims = [self._widest * LONGER**power for power in (1, 2)]
        more = ", ".join(str(n) for n in dims if self._pixels is None or n <= self._pixels)
        if not more:
            return f"The images have {self._pixels:,} values, so that there is no larger N worth training"
        return f"Add N = {more} to `latent_dim`, then `{self.command()}`"

    def denser(self, least: int, most: int) -> str:
        """Adds the N that the grid leaves open; `most` is trained already."""
        between = str(least) if least == most - 1 else f"{least} to {most - 1}"
        return f"To narrow it, add N = {between} to `latent_dim`, then `{self.command()}`"

    def command(self, *, steps: int | None = None, seeds: int | None = None) -> str:
        """The launch with other options; longer training goes to another run folder."""
        options = dict(self._options)
        if seeds is not None:
            options["--seeds"] = ["--seeds", str(max(seeds, self._seeds + 1))]
        if steps is not None:
            folder = f"{self._run.rstrip('/').removesuffix(f'-{self._steps}')}-{steps}"
            options |= {"--steps": ["--steps", str(steps)], "--run": ["--run", folder]}
        return shlex.join(["study", "launch", self._source, *(word for option in options.values() for word in option)])


_REMEDIES = (
    (NO_SPARE, lambda launch: f"Training begins so. Longer: {launch.longer(LONGER)}. If it stays so: {launch.wider()}"),
    (r"1 seed|no interval|uneven plateau", lambda launch: f"More seeds: `{launch.command(seeds=SEEDS)}`"),
    (
        rf"not converged|convergence|{UNLEARNED}|{NO_GAIN}|{UNKNOWN}",
        lambda launch: f"Train longer: {launch.longer(LONGER)}",
    ),
    (r"overfits", lambda launch: f"Train shorter, {launch.longer(1 / LONGER)}, or with more images"),
    (rf"plateau not reached|{LOWER_BOUND}|too few N|needs \d+ N", lambda launch: launch.wider()),
    (r"upper bound", lambda launch: f"Add smaller N to `latent_dim`, then `{launch.command()}`"),
    (r"add the arm", lambda launch: f"Then `{launch.command()}`"),
)
"""The remedies by a pattern of the reason."""


def _launched(tables: Tables) -> tuple[str, dict[str, list[str]]]:
    """The spec of a run as its launch named it, a built-in study or a file, and the options that a remedy keeps."""
    words = shlex.split(tables.provenance.get("command") or "")
    if words[:2] != ["study", "launch"] or len(words) < 3 or words[2].startswith("-"):
        return tables.spec.name, {}
    options: dict[str, list[str]] = {}
    for word in words[3:]:
        if word.startswith("--"):
            options[word] = [word]
        elif options:
            options[list(options)[-1]].append(word)
    return words[2], {name: given for name, given in options.items() if name not in CHANGED}
