"""From a spec to its cells and replicates: plain data, no ray and no torch."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping

from study.searchspace import SearchSpec
from study.spec import SpecError, StudySpec, resolve, resolve_trial
from trainables.schema import Replicate, TrialConfig

STEPS_PER_CORE_S = 65.0
"""Training steps of the paper's network per second and core, measured here: the estimate of `study show` uses it."""
SECONDS_PER_POINT = 3e-3
"""Of an estimate of the intrinsic dimension, its cubes included; from 2 to 3.5 ms for 1,000 to 55,000 points."""
_PAPER_WEIGHTS = 1_291_789
_OF_A_POSTERIOR = ("_kl", "_neg_elbo")


def cells(spec: StudySpec) -> dict[str, TrialConfig]:
    """Every cell's config by its label, in the order of the spec; cells that turn out alike are merged.

    Raises:
        SpecError: A cell's fields do not make a valid config.
    """
    found: dict[str, TrialConfig] = {}
    known: set[TrialConfig] = set()
    for point, swept in _points(spec):
        for arm in spec.arms:
            config = resolve(spec, arm, point)
            if config in known:
                continue
            known.add(config)
            named = [k for k in swept if k not in spec.arms[arm] and getattr(config, k) is not None]
            label = " ".join([arm, *(f"{key}={_short(point[key])}" for key in named)])
            if label in found:
                raise SpecError(f"study {spec.name}: two cells are called {label!r}; rename the arm.")
            found[label] = config
    for number, config in enumerate(trials(spec)):
        if config not in known:
            known.add(config)
            if trial_label(number) in found:
                raise SpecError(f"study {spec.name}: an arm may not be called {trial_label(number)!r} beside a search.")
            found[trial_label(number)] = config
    return found


def trials(spec: StudySpec) -> list[TrialConfig]:
    """The config of each trial that the search has asked for so far, in the order of their numbers."""
    return [resolve_trial(spec, fields) for fields in spec.search.asked] if spec.search else []


def trial_label(number: int) -> str:
    """The cell of a search's trial, unless an earlier cell has the same config."""
    return f"trial-{number:04d}"


def check(spec: StudySpec) -> None:
    """Checks every cell, and what a search may draw.

    Raises:
        SpecError: A cell's fields do not make a valid config, or a search may draw such, or cannot be judged.
    """
    cells(spec)
    if spec.search is None:
        return
    corners = list(spec.search.corners(spec.base))
    never = spec.search.space.keys() - set().union(*corners)
    if never:
        names = ", ".join(sorted(never))
        raise SpecError(f"study {spec.name}: `search.space` names {names}, which applies to nothing that it may draw.")
    for fields in corners:
        config = resolve_trial(spec, fields)
        if config.task != "train":
            raise SpecError(f"study {spec.name}: a search must train networks, but may draw task={config.task!r}.")
        for name in spec.search.objectives:
            if name.endswith(_OF_A_POSTERIOR) and not config.variational:
                raise SpecError(
                    f"study {spec.name}: `{name}` needs a posterior, but the search may draw {config.model!r}."
                )
        if spec.search.scheduler == "asha":
            _check_rungs(spec, spec.search, config)


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


def replicates(spec: StudySpec, digests: Mapping[str, str]) -> list[Replicate]:
    """Every (cell, seed), seed by seed, so that an unfinished run holds whole low seeds.

    Args:
        spec: The study.
        digests: Each dataset's digest by name; part of a replicate's hash.
    """
    plan = cells(spec)
    return [
        Replicate(label, config, seed, digests[config.dataset])
        for seed in range(spec.seeds)
        for label, config in plan.items()
        if config.seeded or seed == 0
    ]


def datasets(spec: StudySpec) -> list[str]:
    """Names of the datasets that the study needs."""
    drawn = set[str]()
    if spec.search is not None:
        fixed = [spec.base.get("dataset", TrialConfig.model_fields["dataset"].default)]
        drawn = set(spec.search.options("dataset") if "dataset" in spec.search.space else fixed)
    return sorted({config.dataset for config in cells(spec).values()} | drawn)


def search_core_hours(spec: StudySpec) -> float:
    """Estimated core-hours of a study's search on a CPU, by configurations drawn at random."""
    if spec.search is None:
        return 0.0
    drawn = [resolve_trial(spec, fields) for fields in spec.search.samples(spec.base, 200)]
    each = [core_hours(config) * spec.search.expected_share(config.steps or 1) for config in drawn]
    return sum(each) / len(each) * spec.search.trials * spec.seeds


def core_hours(config: TrialConfig) -> float:
    """Estimated core-hours of one replicate on a CPU, evaluation included, measurements not."""
    if config.task == "intrinsic_dimension":
        return (config.sample_size or 0) * SECONDS_PER_POINT / 3600
    if config.task != "train":
        return 5 / 3600
    step_s = num_weights(config) / _PAPER_WEIGHTS * (config.batch_size or 0) / 100 / STEPS_PER_CORE_S
    evaluation_s = 15_000 / (config.batch_size or 1) * step_s / 3
    return ((config.steps or 0) * step_s + (config.evaluations or 0) * evaluation_s) / 3600


def total_core_hours(plan: Iterable[Replicate]) -> float:
    """Estimated core-hours of these replicates on a CPU."""
    return sum(core_hours(replicate.config) for replicate in plan)


def num_weights(config: TrialConfig) -> int:
    """Weights of one replicate's network, without its biases and a posterior's second head; PCA: its components."""
    widths = [784, *(config.hidden_dims or ()), config.width]
    both_ways = 2 if config.task == "train" else 1
    return both_ways * sum(a * b for a, b in itertools.pairwise(widths))


def _points(spec: StudySpec) -> Iterator[tuple[dict[str, object], list[str]]]:
    """Each point of each grid, and the fields that the grid sweeps: those which tell its cells apart."""
    for grid in spec.grids:
        swept = [field for field, values in grid.items() if isinstance(values, list)]
        lists = [values if field in swept else [values] for field, values in grid.items()]
        for values in itertools.product(*lists):
            yield dict(zip(grid, values, strict=True)), swept


def _short(value: object) -> str:
    return json.dumps(value) if isinstance(value, list | dict) else str(value)
