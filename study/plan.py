"""Plans a study: from a spec and the digests of its data to cells and replicates. Plain data: no Ray, no torch."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from study.searchspace import SearchSpec
from study.spec import SpecError, StudySpec, resolve, resolve_trial
from trainables.schema import Replicate, TrialConfig, applies
from trainables.shape import Size

_TRIAL = "trial-"
_OF_A_POSTERIOR = ("_kl", "_neg_elbo")


def trial_label(number: int) -> str:
    """Names the cell of a search's trial, unless an earlier cell has the same config."""
    return f"{_TRIAL}{number:04d}"


def trial_number(label: str) -> int:
    """The number of the trial with this label; 0 of any other label."""
    number = label.removeprefix(_TRIAL)
    return int(number) if label.startswith(_TRIAL) and number.isdecimal() else 0


@dataclass(frozen=True, eq=False)
class Plan:
    """The cells and replicates of a study, each made once and shared by all who need them.

    Attributes:
        spec: The study; its search lists the trials that have been drawn.
        digests: Each dataset's digest by name. Only `replicates` needs them, since they are part of a hash.
        sizes: Each dataset's size by name, for estimates of the cost; one that is absent counts as MNIST's.

    Raises:
        SpecError: The fields of a cell do not make a valid config; raised by whatever is read first.
    """

    spec: StudySpec
    digests: Mapping[str, str] = field(default_factory=dict)
    sizes: Mapping[str, Size] = field(default_factory=dict)

    @cached_property
    def compared(self) -> dict[str, TrialConfig]:
        """Configs of arms x grids by the cell's label, in the order of the spec; equal configs share the first cell."""
        cells: dict[str, TrialConfig] = {}
        known: set[TrialConfig] = set()
        for point, swept, arms in _points(self.spec):
            for arm in arms:
                config = resolve(self.spec, arm, point)
                if config in known:
                    continue
                known.add(config)
                named = [k for k in swept if k not in self.spec.arms[arm] and getattr(config, k) is not None]
                label = " ".join([arm, *(f"{key}={_short(point[key])}" for key in named)])
                if label in cells:
                    raise SpecError(f"study {self.spec.name}: two cells are called {label!r}; rename the arm.")
                cells[label] = config
        return cells

    @cached_property
    def trials(self) -> list[TrialConfig]:
        """Configs of the trials that the search has drawn, in the order of their numbers."""
        return [resolve_trial(self.spec, fields) for fields in self.spec.search.asked] if self.spec.search else []

    @cached_property
    def cells(self) -> dict[str, TrialConfig]:
        """Configs of all cells by label: `compared`, then the search's trials."""
        cells = dict(self.compared)
        known = set(cells.values())
        for number, config in enumerate(self.trials):
            if config not in known:
                known.add(config)
                label = trial_label(number)
                if label in cells:
                    raise SpecError(f"study {self.spec.name}: an arm may not be called {label!r} beside a search.")
                cells[label] = config
        return cells

    @cached_property
    def counts(self) -> dict[str, int]:
        """How many replicates each cell has, by its label."""
        return {label: self.spec.seeds if config.seeded else 1 for label, config in self.cells.items()}

    @cached_property
    def replicates(self) -> list[Replicate]:
        """Every (cell, seed), seed by seed, so that an unfinished run holds whole low seeds."""
        return [
            Replicate(label, config, seed, self.digests[config.dataset])
            for seed in range(self.spec.seeds)
            for label, config in self.cells.items()
            if seed < self.counts[label]
        ]

    @cached_property
    def members(self) -> dict[str, list[Replicate]]:
        """The replicates of each cell, by its label."""
        members: dict[str, list[Replicate]] = {label: [] for label in self.cells}
        for replicate in self.replicates:
            members[replicate.cell].append(replicate)
        return members

    def size(self, config: TrialConfig) -> Size:
        """The size of a config's dataset."""
        return self.sizes.get(config.dataset, Size())

    @cached_property
    def datasets(self) -> list[str]:
        """Names of the datasets that the study needs, those included that its search may draw."""
        drawn = set[str]()
        search = self.spec.search
        if search is not None:
            fixed = [self.spec.base.get("dataset", TrialConfig.model_fields["dataset"].default)]
            drawn = set(search.options("dataset") if "dataset" in search.space else fixed)
        return sorted({config.dataset for config in self.cells.values()} | drawn)

    def with_asked(self, asked: list[dict[str, object]]) -> Plan:
        """Plans the same study after its search has drawn these trials; resolves no compared cell again."""
        plan = Plan(self.spec.with_asked(asked), self.digests, self.sizes)
        vars(plan)["compared"] = self.compared
        return plan

    def check(self) -> None:
        """Checks every cell, and what a search may draw.

        Raises:
            SpecError: A cell's fields do not make a valid config, or a search may draw such, or cannot be judged; an
                arm is in no grid, or no arm uses a field of the grids.
        """
        _ = self.cells
        _check_use(self.spec)
        if self.spec.search is not None:
            _check_search(self.spec, self.spec.search)


def _check_use(spec: StudySpec) -> None:
    arms, fields = set(spec.arms), {field for grid in spec.grids for field in spec.fields_of(grid)}
    for point, _, named in _points(spec):
        arms -= set(named)
        for arm in named:
            own = spec.arms[arm]
            fields -= (point.keys() & applies({**spec.base, **point, **own})) - own.keys()
    if arms:
        raise SpecError(
            f"study {spec.name}: each arm must be in a grid, but {', '.join(sorted(arms))} is in none: name it under "
            "`arms` of a grid, or leave it out."
        )
    if fields:
        raise SpecError(
            f"study {spec.name}: an arm must use each field of `grid`, but {', '.join(sorted(fields))} applies to "
            "none, or each sets it itself: leave it out."
        )


def _check_search(spec: StudySpec, search: SearchSpec) -> None:
    corners = list(search.corners(spec.base))
    never = search.space.keys() - set().union(*corners)
    if never:
        names = ", ".join(sorted(never))
        raise SpecError(f"study {spec.name}: `search.space` names {names}, which applies to nothing that it may draw.")
    for fields in corners:
        config = resolve_trial(spec, fields)
        if config.task != "train":
            raise SpecError(f"study {spec.name}: a search must train networks, but may draw task={config.task!r}.")
        for name in search.objectives:
            if name.endswith(_OF_A_POSTERIOR) and not config.variational:
                raise SpecError(
                    f"study {spec.name}: `{name}` needs a posterior, but the search may draw {config.model!r}."
                )
        if search.scheduler == "asha":
            _check_rungs(spec, search, config)


def _check_rungs(spec: StudySpec, search: SearchSpec, config: TrialConfig) -> None:
    steps, where = config.steps or 0, f"study {spec.name}: `first_rung` ({search.first_rung})"
    if "steps" in search.space and len({c.get("steps") for c in search.samples(spec.base, 10)}) > 1:
        raise SpecError(f"study {spec.name}: asha compares trials of one length, but `search.space` varies `steps`.")
    if not search.rungs(steps):
        raise SpecError(f"{where} must be less than the trials' {steps} steps.")
    missing = set(search.rungs(steps)) - set(config.evaluation_steps)
    if missing:
        raise SpecError(
            f"{where}: the rungs {search.rungs(steps)} must be steps at which a trial is evaluated, but "
            f"{sorted(missing)} are not: {config.evaluations} evaluations of {steps} steps are "
            f"{steps / (config.evaluations or 1):g} steps apart."
        )


def _points(spec: StudySpec) -> Iterator[tuple[dict[str, object], list[str], list[str]]]:
    """Yields each point of each grid, the fields that the grid sweeps, which tell its cells apart, and its arms."""
    for own in spec.grids:
        grid, arms = spec.fields_of(own), spec.arms_of(own)
        swept = [field for field, values in grid.items() if isinstance(values, list)]
        lists = [values if field in swept else [values] for field, values in grid.items()]
        for values in itertools.product(*lists):
            yield dict(zip(grid, values, strict=True)), swept, arms


def _short(value: object) -> str:
    return json.dumps(value) if isinstance(value, list | dict) else str(value)
