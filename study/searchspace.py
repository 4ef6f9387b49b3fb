"""The `search` section of a spec: the fields that a search varies, and how it goes about it. Plain data, no Optuna."""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from functools import partial
from typing import Any, Literal, NamedTuple, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from trainables.registry import declare, unknown
from trainables.schema import METRICS, TrialConfig, applies, check_keys

SAMPLERS: dict[str, str] = {
    "tpe": "optuna.samplers:TPESampler",
    "random": "optuna.samplers:RandomSampler",
    "gp": "optuna.samplers:GPSampler",
    "nsgaii": "optuna.samplers:NSGAIISampler",
}
"""Optuna's samplers by import path, each in its own default settings."""
declare("SAMPLERS", SAMPLERS)

_DECIDING = ("task", "dataset", "model")
"""Fields that decide which others apply, so that they are drawn first."""
_IDLE = 200
"""How many draws in a row without a new pair end `corners`: by then all pairs have been seen, almost certainly."""


class Range(BaseModel):
    """Numbers from `low` to `high`, both included; whole ones where the field's are."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    low: int | float
    high: int | float
    log: bool = Field(False, description="drawn uniformly in the logarithm")
    step: int | float | None = Field(None, gt=0, description="only low, low + step, ...")

    @model_validator(mode="after")
    def _check(self) -> Range:
        if not self.low < self.high:
            raise ValueError(f"`low < high` must hold, but got low={self.low}, high={self.high}.")
        if self.log and self.low <= 0:
            raise ValueError(f"`low > 0` must hold where log is true, but got low={self.low}.")
        if self.log and self.step is not None:
            raise ValueError(f"`step` does not go with log: true, but got step={self.step}: leave one out.")
        return self

    @property
    def last(self) -> int | float:
        """The largest value that is drawn: `high`, unless no whole number of steps leads there."""
        if self.step is None:
            return self.high
        low, high, step = (Fraction(str(value)) for value in (self.low, self.high, self.step))
        last = low + (high - low) // step * step
        return self.high if last == high else int(last) if last.denominator == 1 else float(last)

    def __str__(self) -> str:
        return f"{self.low:g}..{self.high:g}" + (" log" if self.log else f" by {self.step:g}" if self.step else "")

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and self.low <= value <= self.high


class Parameter(NamedTuple):
    """A value for a sampler to draw: one of several labels (`choices`), or a number of a range."""

    name: str
    choices: tuple[str | int | float | bool, ...] = ()
    range: Range | None = None
    whole: bool = False


Draw = Callable[[Parameter], Any]
"""Draws a parameter: a label of its choices, or a number of its range."""


class SearchSpec(BaseModel):
    """A search: `trials` configurations drawn one after another, each judged by the mean over the study's seeds.

    `space` gives a field of TrialConfig a range `{low: 0.1, high: 10, log: true}`, or a list of choices, each a value
    or such a range, or one value. A field that does not apply to what was drawn for the others (`beta` to an
    auto-encoder) is not drawn; a range among choices is drawn only if it is chosen.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    space: dict[str, Any] = Field(min_length=1, description="range, choices or value by TrialConfig field")
    objectives: list[str] = Field(min_length=1, max_length=3, description="names in METRICS; at the last step")
    trials: int = Field(ge=1, le=100_000, description="configurations to try")
    sampler: str = Field("tpe", description="a name in SAMPLERS")
    scheduler: Literal["asha", "none"] = Field("none", description="asha stops what is not among the best at a rung")
    first_rung: int | None = Field(None, ge=1, description="asha: training steps up to the first rung")
    reduction_factor: int = Field(3, ge=2, le=100, description="asha: one in so many passes a rung")
    seed: int = Field(0, ge=0, le=2**31, description="of the sampler")
    concurrency: int | None = Field(None, ge=1, description="trials at a time; without: one per core or GPU")
    asked: list[dict[str, Any]] = Field(
        default_factory=list, description="what was drawn so far, trial by trial; filled in by the program"
    )

    @model_validator(mode="before")
    @classmethod
    def _name_unknown_keys(cls, given: Any) -> Any:
        if isinstance(given, Mapping):
            check_keys({str(key): None for key in given}, cls.model_fields, what="key of search")
        return given

    @model_validator(mode="after")
    def _check(self) -> SearchSpec:
        if self.sampler not in SAMPLERS:
            raise ValueError(unknown(self.sampler, SAMPLERS, what="sampler"))
        for name in self.objectives:
            if name not in METRICS:
                raise ValueError(unknown(name, METRICS, what="objectives"))
            if METRICS[name].mode is None:
                raise ValueError(f"`objectives` must be better when smaller or larger, but {name!r} is neither.")
        if self.scheduler == "asha" and len(self.objectives) > 1:
            raise ValueError(
                f"`scheduler: asha` ranks trials by one objective, but got {len(self.objectives)} "
                f"({', '.join(self.objectives)}): use scheduler: none."
            )
        if self.scheduler == "asha" and self.first_rung is None:
            raise ValueError("`scheduler: asha` needs `first_rung`, the steps up to the first rung, but got nothing.")
        check_keys(self.space, TrialConfig.model_fields, what="field of search.space")
        for field in self.space:
            self.options(field)
        return self

    def options(self, field: str) -> list[Any]:
        """Returns the values and ranges of a searched field."""
        given = self.space[field]
        options = [_option(field, option) for option in (given if isinstance(given, list) else [given])]
        ranges = [option for option in options if isinstance(option, Range)]
        values = [option for option in options if not isinstance(option, Range)]
        if not options:
            raise ValueError(f"`search.space` must give {field} at least one value, but got an empty list.")
        labels = list(map(_label, options))
        overlap = any(value in held for held in ranges for value in values) or any(
            a.low <= b.high and b.low <= a.high for i, a in enumerate(ranges) for b in ranges[:i]
        )
        if overlap or len(set(map(str, labels))) < len(labels):
            raise ValueError(f"`search.space` must not give {field} the same value twice, but got {given!r:.200}.")
        return options

    def draw(self, base: Mapping[str, Any], draw: Draw) -> dict[str, Any]:
        """Draws a configuration: its fields' values, without those of `base`."""
        fields: dict[str, Any] = {}
        for field in self._in_order:
            if field not in applies({**base, **fields}):
                continue
            options = self.options(field)
            choice = options[0]
            if len(options) > 1:
                parameter = _choice(field, options)
                choice = options[parameter.choices.index(draw(parameter))]
            fields[field] = draw(_number(field, options, choice)) if isinstance(choice, Range) else choice
        return fields

    def parameters(self, fields: Mapping[str, Any]) -> dict[str, tuple[Parameter, Any]]:
        """Returns what a sampler drew for a configuration of these fields: each parameter and its value, by name."""
        drawn: list[tuple[Parameter, Any]] = []
        for field in filter(fields.__contains__, self._in_order):
            options, value = self.options(field), fields[field]
            choice = next((o for o in options if (value in o if isinstance(o, Range) else value == o)), None)
            if choice is None:
                raise ValueError(f"`search.space` must give {field} the value {value!r}, but it does not.")
            if len(options) > 1:
                drawn.append((_choice(field, options), _label(choice)))
            if isinstance(choice, Range):
                drawn.append((_number(field, options, choice), value))
        return {parameter.name: (parameter, value) for parameter, value in drawn}

    @property
    def _in_order(self) -> list[str]:
        """The searched fields as they are drawn: first those on which it depends which others apply."""
        return sorted(self.space, key=lambda name: (*_DECIDING, name).index(name))

    def rungs(self, steps: int) -> list[int]:
        """Returns ASHA's rungs in training steps, for trials of `steps`; none without ASHA."""
        if self.scheduler == "none" or self.first_rung is None:
            return []
        powers = range(1 + int(math.log(max(steps / self.first_rung, 1), self.reduction_factor) + 1))
        return [rung for k in powers if (rung := self.first_rung * self.reduction_factor**k) < steps]

    def expected_share(self, steps: int) -> float:
        """Estimates the share of the trials' steps that is run: 1 without ASHA."""
        stops = [*self.rungs(steps), steps]
        parts = [stops[0], *(b - a for a, b in itertools.pairwise(stops))]
        shares = (part / float(self.reduction_factor**k) for k, part in enumerate(parts))
        return sum(shares) / steps

    def samples(self, base: Mapping[str, Any], count: int) -> list[dict[str, Any]]:
        """Draws configurations at random, always the same ones, to estimate the cost of the search."""
        rng = random.Random(0)
        return [self.draw(base, lambda parameter: _random(parameter, rng)) for _ in range(count)]

    def corners(self, base: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Yields configurations that together hold each pair of choices or ends of ranges, for checking the space."""
        rng = random.Random(0)
        seen: set[tuple[Any, ...]] = set()
        idle = 0
        while idle < _IDLE:
            ends: list[tuple[str, Any]] = []
            fields = self.draw(base, partial(_draw_end, rng, ends))
            pairs = set(itertools.combinations_with_replacement(ends, 2))
            idle = idle + 1 if pairs <= seen else 0
            seen |= pairs
            yield fields


def is_whole(field: str) -> bool:
    """Whether a field of TrialConfig takes whole numbers only."""
    return int in get_args(TrialConfig.model_fields[field].annotation)


def _option(field: str, given: Any) -> Any:
    if not isinstance(given, Mapping):
        parts = given if isinstance(given, list) else [given]
        if not all(isinstance(part, str | int | float | bool) for part in parts):
            raise ValueError(
                f"`search.space` must give {field} plain values, lists of them or ranges, but got {given!r:.200}."
            )
        return given
    try:
        option = Range.model_validate(given)
    except ValidationError as error:
        problem = error.errors()[0]
        cause = problem.get("ctx", {}).get("error") or f"`{'.'.join(map(str, problem['loc']))}`: {problem['msg']}"
        raise ValueError(f"the range of {field}: {cause}") from None
    kinds = get_args(TrialConfig.model_fields[field].annotation)
    if int not in kinds and float not in kinds:
        raise ValueError(f"`search.space` can give only a number a range, but {field} is none: list its values.")
    numbers = [number for number in (option.low, option.high, option.step) if number is not None]
    if is_whole(field) and not all(number == int(number) for number in numbers):
        raise ValueError(f"the range of {field} must be of whole numbers, but got {option}.")
    return option


def _label(option: Any) -> str | int | float | bool:
    """The label by which a sampler knows an option."""
    if isinstance(option, str | int | float | bool):
        return option
    return str(option) if isinstance(option, Range) else json.dumps(option)


def _choice(field: str, options: list[Any]) -> Parameter:
    return Parameter(field, choices=tuple(map(_label, options)))


def _number(field: str, options: list[Any], limits: Range) -> Parameter:
    name = field if len(options) == 1 else f"{field} in {limits}"
    return Parameter(name, range=limits, whole=is_whole(field))


def _draw_end(rng: random.Random, ends: list[tuple[str, Any]], parameter: Parameter) -> Any:
    """Draws one of a parameter's choices, or an end of its range, and notes it in `ends`."""
    limits = parameter.range
    ends.append((parameter.name, rng.choice(parameter.choices if limits is None else (limits.low, limits.last))))
    return ends[-1][1]


def _random(parameter: Parameter, rng: random.Random) -> Any:
    if parameter.range is None:
        return rng.choice(parameter.choices)
    low, high = parameter.range.low, parameter.range.high
    logarithm = parameter.range.log
    value = math.exp(rng.uniform(math.log(low), math.log(high))) if logarithm else rng.uniform(low, high)
    return round(value) if parameter.whole else value
