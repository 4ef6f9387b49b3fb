"""A search's trials as Optuna's own, at one training step, for its importances; and its objectives' directions."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, NullLocator

from analysis.figures.base import NotApplicableError
from analysis.figures.style import TICK
from analysis.intervals import Values
from study.searchspace import Parameter
from study.tables.trials import curves, search_of, trials
from trainables.schema import METRICS

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

    from study.table import Tables

Parameters = Mapping[str, tuple[Parameter, Any]]
"""The parameters that the sampler drew for a trial: each with its value, by name."""


def common_step(tables: Tables) -> int:
    """The step at which all trials can be compared: ASHA's first rung, else the first evaluation after a tenth."""
    search = search_of(tables)
    if search.scheduler == "asha" and search.first_rung is not None:
        return search.first_rung
    found = curves(tables, search.objectives[0])
    if not len(found):
        raise NotApplicableError("no trial has been evaluated yet")
    last = found.groupby("trial")["step"].max().max()
    return int(found.loc[found["step"] >= last / 10, "step"].min())


def values_at(tables: Tables, objective: str, step: int | None) -> pd.Series:
    """An objective by trial number at a step, or, with None, of the finished trials at their last."""
    if step is None:
        found = trials(tables)
        return found[found["state"] == "finished"].set_index("trial")[objective]
    found = curves(tables, objective)
    return found[found["step"] == step].set_index("trial")["value"]


def log_values(axes: Axes) -> None:
    """Makes the axis of values, y, logarithmic, its labels as on a linear one: values seldom span a decade."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(TICK)


def to_optuna(drawn: Sequence[Parameters], values: Values) -> list[FrozenTrial]:
    """Trials as Optuna's, complete with these values; of a logarithmic range, the logarithm.

    A forest is averaged over each range as it is given: what was drawn uniformly in the logarithm must be given so.
    """
    from optuna.trial import create_trial

    found = []
    for given, value in zip(drawn, values, strict=True):
        spread = {name: distribution(parameter) for name, (parameter, _) in given.items()}
        held = {
            name: math.log(value) if parameter.range is not None and parameter.range.log else value
            for name, (parameter, value) in given.items()
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a step that does not divide a range, for which the study was warned
            found.append(create_trial(params=held, distributions=spread, value=float(value)))
    return found


def distribution(parameter: Parameter) -> BaseDistribution:
    """A parameter as Optuna's distribution, without a logarithm."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    limits = parameter.range
    if limits is None:
        return CategoricalDistribution(parameter.choices)
    if limits.log:
        return FloatDistribution(math.log(limits.low), math.log(limits.high))
    if parameter.whole:
        return IntDistribution(int(limits.low), int(limits.last), step=int(limits.step or 1))
    return FloatDistribution(limits.low, limits.last, step=limits.step)


def sign(objective: str) -> int:
    """1 if less of the objective is better, -1 if more is."""
    return 1 if METRICS[objective].mode == "min" else -1
