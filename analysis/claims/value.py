"""One number per replicate: the metric or quantity that a claim compares, and how it is read."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from analysis.formats import word
from trainables.quantities import QUANTITIES, Quantity
from trainables.registry import CURVES, MEASUREMENTS, unknown
from trainables.schema import METRICS

_COUNTED = ("units", "latents")
"""Units of metrics and quantities that are counts."""


class Entry(BaseModel):
    """A part of a ledger: frozen, without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class StepsUntil(Entry):
    """The end of a wait on a curve: exactly one of the four.

    `within`: to its plateau, the mean over the last tenth of its evaluations, and from then on no farther from it than
    this share; `target`: down to that loss; `reaches`: up to that number; `share`: up to that share of its last value,
    and never if that is below `least`.
    """

    within: float | None = Field(None, gt=0)
    target: float | None = Field(None, gt=0)
    reaches: float | None = Field(None, gt=0)
    share: float | None = Field(None, gt=0, le=1)
    least: float = 0.0

    @model_validator(mode="after")
    def _check(self) -> StepsUntil:
        exactly_one("steps_until", self.model_dump(exclude={"least"}))
        return self


class Value(Entry):
    """One number per replicate: a metric of its last row, or a quantity of its profiles.

    `index`, `reduce`: which of a profile's values, or what of all; where its values have words
    (trainables/quantities.py), `index` is one of them, else a number; `each`: several words, each a test of its own;
    `at`: not at the end but at this share of the run; `excess`: above the entropy floor; `steps_until`: the number of
    steps after which the curve has come that far; `drawn`: a seed draws something for it even where an arm is in closed
    form, so that arms are paired by seed, and no replicate is every seed's partner.
    """

    metric: str | None = None
    profile: str | None = None
    index: Annotated[int, Field(ge=0)] | str | None = None
    each: tuple[str, ...] = ()
    reduce: Literal["mean", "min"] | None = None
    at: float | None = Field(None, ge=0, le=1)
    excess: bool = False
    drawn: bool = False
    steps_until: StepsUntil | None = None

    @model_validator(mode="after")
    def _check(self) -> Value:
        exactly_one("value", {"metric": self.metric, "profile": self.profile})
        if self.metric is not None and self.metric not in METRICS:
            raise ValueError(unknown(self.metric, METRICS, what="metric"))
        if self.profile is not None:
            _check_recorded(self.profile)
            self._check_index()
        return self

    def _check_index(self) -> None:
        """Raises ValueError where a value has a word, and `index` is none of its words; a default would be a guess."""
        quantity = self._quantity
        if quantity is None or not quantity.words:
            if isinstance(self.index, str) or self.each:
                raise ValueError(f"`index` of {self.profile} must be a number, but got {self.index or self.each!r}.")
        elif self.reduce is None:
            for word in self.each or (self.index,):
                quantity.place(word)

    @property
    def place(self) -> int:
        """The tables' `index` of its number."""
        if isinstance(self.index, str) and self._quantity:
            return self._quantity.place(self.index)
        return int(self.index or 0)

    @property
    def _quantity(self) -> Quantity | None:
        """The profile's entry in the registry; that of NAME for NAME/1, NAME/2 ..., its draws."""
        return QUANTITIES.get(str(self.profile).partition("/")[0])

    @property
    def counts(self) -> bool:
        """Whether it counts something, so that it is whole."""
        if self.at is not None or self.steps_until is not None or self.reduce == "mean":
            return False
        if self.metric is not None:
            return METRICS[self.metric].unit in _COUNTED
        return self._quantity is not None and self._quantity.unit in _COUNTED

    @property
    def label(self) -> str:
        """The value's name for a reader."""
        name = word(str(self.metric or self.profile))
        if self.profile and self.index:
            name += f" ({self.index})" if isinstance(self.index, str) else f"[{self.index}]"
        if self.reduce:
            name = f"{self.reduce} {name}"
        if self.at is not None:
            name += f" at {100 * self.at:g} % of the run"
        if self.steps_until:
            (how, much), *_ = self.steps_until.model_dump(exclude_none=True, exclude={"least"}).items()
            ends = {
                "within": f"within {100 * much:g} % of its plateau",
                "target": f"<= {much:g}",
                "reaches": f">= {much:g}",
                "share": f"at {100 * much:g} % of its end",
            }
            name = f"steps until {name} is {ends[how]}"
        return name + (" above the floor" if self.excess else "")


def _check_recorded(profile: str) -> None:
    """Raises ValueError for a quantity that no trial records.

    A plugin's measurement records quantities that begin with its own name, or that it adds to QUANTITIES.
    """
    ours = {quantity.by for quantity in QUANTITIES.values()}
    plugins = tuple((CURVES.keys() | MEASUREMENTS.keys()) - ours)
    if profile not in QUANTITIES and not profile.startswith(plugins):
        near = get_close_matches(profile, [*QUANTITIES, *plugins], n=1, cutoff=0.5)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"`profile` must be a quantity of trainables/quantities.py, but got {profile!r}.{hint}")


def exactly_one(what: str, given: Mapping[str, Any]) -> None:
    """Raises ValueError unless exactly one of these is not None."""
    named = [key for key, value in given.items() if value is not None]
    if len(named) != 1:
        raise ValueError(f"`{what}` must have exactly one of {', '.join(given)}, but got {', '.join(named) or 'none'}.")
