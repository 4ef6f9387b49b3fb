"""The multiverse of the answer: the estimates in each setting that differs from the default one in one field.

The settings are those of the built-in study `multiverse`. Each has (L), (U) and (A), the auto-encoder's saturation (a)
on the N that the study has. A setting that is not trained yet is pending, and is named.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.dimension.estimate import Estimate
from analysis.dimension.estimate_table import estimated
from analysis.dimension.network_estimates import ESTIMATORS
from analysis.dimension.seed_estimates import Sweeps, sweeps_of
from analysis.dimension.sweeps import PAPERS, Networks, kind, settings_of
from analysis.verdict import Verdict
from study import spec
from trainables.schema import TrialConfig

STUDY = "multiverse"
KEYS = ("L", "U", "a")
DEFAULT = "the default setting"


@dataclass(frozen=True)
class Setting:
    """A setting of the multiverse.

    Attributes:
        name: The field that differs and its value, as text.
        estimates: By key of KEYS; those that the study does not plan for this setting, such as (a) over beta, are
            absent.
    """

    name: str
    estimates: Mapping[str, Estimate]

    @property
    def measured(self) -> bool:
        """Whether any estimate has a value."""
        return any(one.verdict != Verdict.NOT_MEASURED for one in self.estimates.values())


def multiverse(studies: Sequence[Networks], dataset: str, own: Sweeps) -> list[Setting]:
    """The default setting (`own` sweeps), then each of the study's; none on other data than the paper's."""
    if dataset != PAPERS:
        return []
    found = [Setting(DEFAULT, {key: estimated(key, ESTIMATORS[key], own) for key in KEYS})]
    planned: dict[str, tuple[dict[str, Any], int | None, set[str]]] = {}
    for config in _configs():
        settings = settings_of(config, kind(config))
        steps = None if config.steps == TrialConfig.model_fields["steps"].default else config.steps
        name = _name(settings | ({} if steps is None else {"steps": steps}))
        planned.setdefault(name, (settings, steps, set()))[2].add(kind(config))
    for name, (settings, steps, networks) in planned.items():
        sweeps = sweeps_of(studies, dataset, settings=settings, steps=steps)
        keys = [key for key in KEYS if ("elu" if key == "a" else "vae") in networks]
        found.append(Setting(name, {key: estimated(key, ESTIMATORS[key], sweeps) for key in keys}))
    return found


def share_confirmed(settings: Sequence[Setting], key: str) -> tuple[int, int, int]:
    """The numbers of settings in which an estimate confirms 10 < N < 100, is measured, and is planned."""
    verdicts = [setting.estimates[key].verdict for setting in settings if key in setting.estimates]
    measured = [verdict for verdict in verdicts if verdict != Verdict.NOT_MEASURED]
    return measured.count(Verdict.CONFIRMED), len(measured), len(verdicts)


def as_text(settings: Sequence[Setting]) -> pd.DataFrame:
    """A row for each setting: its name and each estimate with its verdict, as text."""

    def cell(setting: Setting, key: str) -> str:
        one = setting.estimates.get(key)
        if one is None:
            return ""
        return "pending" if one.verdict == Verdict.NOT_MEASURED else f"{one.text}: {one.verdict}"

    rows = [[setting.name, *(cell(setting, key) for key in KEYS)] for setting in settings]
    return pd.DataFrame(rows, columns=["setting", *(f"({key})" for key in KEYS)])


def text(settings: Sequence[Setting]) -> str:
    """The shares in a sentence, and what is pending."""
    parts = ["({}) in {} of {}".format(key, *share_confirmed(settings, key)) for key in KEYS]
    pending = [setting.name for setting in settings if not setting.measured]
    waiting = f" Not trained yet: {', '.join(pending)} (study {STUDY})." if pending else ""
    return f"10 < N < 100 holds for {', '.join(parts)} measured settings.{waiting}"


def _configs() -> Iterator[TrialConfig]:
    """A config of the study for each arm and setting, at one N."""
    study = spec.load(STUDY)
    for grid in study.grids:
        swept = {field: values for field, values in study.fields_of(grid).items() if field != "latent_dim"}
        for values in itertools.product(*swept.values()):
            for arm in study.arms_of(grid):
                yield spec.resolve(study, arm, dict(zip(swept, values, strict=True)))


def _name(settings: Mapping[str, Any]) -> str:
    shown = {key: "-".join(map(str, value)) if isinstance(value, tuple) else value for key, value in settings.items()}
    texts = {key.replace("_", " "): f"{value:,}" if isinstance(value, int) else value for key, value in shown.items()}
    return ", ".join(f"{key} {text}" for key, text in texts.items())
