"""Optuna as a search: it is asked for configurations and told how they did; its journal lies in the run folder.

A trial of the search is one configuration; its replicates are the study's seeds, trained as one pack, and it is judged
by their mean. What happened to them stands in the run folder. So a launch opens the journal, tells Optuna what ended
without its hearing of it, and goes on asking: trials that were under way come first.
"""

from __future__ import annotations

import pkgutil
import warnings
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from study import plan as space
from study.search.journal import Journal
from study.search.journal_reader import FIELDS, SearchError
from study.searchspace import SAMPLERS, Parameter, SearchSpec
from study.spec import StudySpec, resolve_trial
from trainables import checkpoint
from trainables.progress import Progress
from trainables.schema import METRICS, Replicate, TrialConfig
from trainables.storage import Folder

STOPPED, ERROR = "stopped", "error"
"""User attributes of a trial: why it was stopped, why it failed."""

optuna.logging.set_verbosity(optuna.logging.WARNING)


class Search:
    """The search of a study in a run folder.

    Args:
        run: The run folder, whose lock is held.
        spec: The study, with a search.
        digests: Each dataset's digest by name.

    Raises:
        study.asked.JournalError: The journal is damaged.
    """

    def __init__(self, run: Folder, spec: StudySpec, digests: Mapping[str, str]):
        if spec.search is None:
            raise ValueError(f"`search` must be part of the study {spec.name}, but it has none.")
        self._spec, self._search, self._digests = spec, spec.search, digests
        self._folder = run.child("replicates")
        self._journal = Journal(run)
        self._labels = {config: label for label, config in space.cells(spec).items()}
        self._heard: dict[tuple[int, int], dict[str, Mapping[str, Any]]] = {}
        self._underway: set[int] = set()
        maximized = (METRICS[name].mode == "max" for name in self._search.objectives)
        directions = [StudyDirection.MAXIMIZE if more else StudyDirection.MINIMIZE for more in maximized]
        with self._journal.batch():
            self._study = optuna.create_study(
                storage=optuna.storages.JournalStorage(self._journal),
                study_name=spec.name,
                directions=directions,
                pruner=pruner(self._search),
                load_if_exists=True,
            )
            if len(directions) > 1 and not self._study.metric_names:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                    self._study.set_metric_names(self._search.objectives)
        self._members = {trial.number: self._replicates(trial.number, trial.user_attrs[FIELDS]) for trial in self._all}

    @property
    def seeds(self) -> int:
        """Replicates of a trial."""
        return self._spec.seeds

    @property
    def concurrency(self) -> int | None:
        """Trials at a time, if the spec says so."""
        return self._search.concurrency

    @property
    def trials(self) -> int:
        """Trials that are wanted, or were asked for by an earlier launch."""
        return max(self._search.trials, len(self._members))

    @property
    def told(self) -> int:
        """Trials that have ended."""
        return sum(trial.state.is_finished() for trial in self._all)

    @property
    def left(self) -> int:
        """Trials that have yet to end, those included that have yet to be asked for."""
        return self.trials - self.told

    @property
    def unended(self) -> int:
        """Replicates of trials that were asked for and have not ended."""
        return self.seeds * sum(not trial.state.is_finished() for trial in self._all)

    @property
    def asked(self) -> list[dict[str, Any]]:
        """The fields of each trial, in the order of their numbers."""
        return [trial.user_attrs[FIELDS] for trial in self._all]

    @property
    def hashes(self) -> set[str]:
        """Of every trial's replicates."""
        return {replicate.hash for members in self._members.values() for replicate in members}

    @property
    def told_hashes(self) -> set[str]:
        """Of the replicates of trials that have ended: Optuna knows how, and nothing may change it."""
        told = [trial.number for trial in self._all if trial.state.is_finished()]
        return {replicate.hash for number in told for replicate in self._members[number]}

    @cached_property
    def usual_steps(self) -> int:
        """Training steps of a replicate, where trials differ in them the mean of some."""
        drawn = self._search.samples(self._spec.base, 20)
        return round(sum(resolve_trial(self._spec, fields).steps or 0 for fields in drawn) / len(drawn))

    @property
    def rungs(self) -> list[int]:
        """ASHA's, in training steps."""
        return self._search.rungs(self.usual_steps)

    def members(self, number: int) -> list[Replicate]:
        """A trial's replicates."""
        return self._members[number]

    def expected(self) -> list[Replicate]:
        """Replicates such as the search has yet to train, drawn at random: of their size, not the ones to come."""
        drawn = [resolve_trial(self._spec, fields) for fields in self._search.samples(self._spec.base, 20)]
        count = self.left * self.seeds
        return [Replicate("", config, 0, "") for config in (drawn * (count // len(drawn) + 1))[:count]]

    def settle(self) -> None:
        """Tells Optuna of the trials that have ended while it was not listening."""
        for trial in self._all:
            if not trial.state.is_finished():
                if STOPPED in trial.user_attrs:
                    self._stop(trial.number, trial.user_attrs[STOPPED])
                self.end(trial.number)

    def next(self) -> int | None:
        """The number of a trial to run: one that an earlier launch has left, or a new one; None if there is none now.

        A trial with the configuration of an earlier one is not run: it waits for that one, and ends as it did.

        Raises:
            StorageError: The journal cannot be written; the trial was not asked for.
            SearchError: The sampler fails.
        """
        while True:
            left = [t.number for t in self._all if not t.state.is_finished() and t.number not in self._underway]
            for number in left:
                if not self._is_again(number):
                    self._underway.add(number)
                    return number
                self.end(number)
            if len(self._members) >= self._search.trials:
                return None
            self._ask()

    def _is_again(self, number: int) -> bool:
        """Whether a trial has the configuration of one before it."""
        return any(self._members[number] == self._members[before] for before in range(number))

    def forget(self) -> None:
        """Takes it that no trial is under way: they are given again."""
        self._underway.clear()

    def hear(self, number: int, progress: Progress) -> str | None:
        """Takes what a trial reports; when all its replicates have come to a rung, asks ASHA.

        Returns:
            None, or the reason for which the trial has been stopped.
        """
        lost = [f"{status} at step {progress.step:,}" for status in progress.ended.values() if status == "diverged"]
        if lost and self.seeds > 1:
            return self._stop(number, f"stopped: another of its seeds {lost[0]}")
        if not progress.rows or self._search.scheduler == "none":
            return None
        step = next(int(row["step"]) for row in progress.rows.values())
        heard = self._heard.setdefault((number, step), {})
        heard.update(progress.rows)
        if len(heard) < self.seeds or step in self._frozen(number).intermediate_values:
            return None
        reason = self._report(number, step, [row[self._search.objectives[0]] for row in heard.values()])
        return None if reason is None else self._stop(number, reason)

    def end(self, number: int) -> None:
        """Tells Optuna how a trial has ended, if it has: failed, stopped or with the mean of each objective."""
        self._underway.discard(number)
        if self._frozen(number).state.is_finished():
            return
        found = [checkpoint.outcome(self._folder.child(replicate.hash)) for replicate in self._members[number]]
        if any(outcome.status in ("pending", "running") for outcome in found):
            return
        errors = [f"{o.status}: {o.error}" for o in found if o.status in ("failed", "diverged")]
        stopped = any(outcome.status == "stopped" for outcome in found)
        rows = [outcome.record.rows for outcome in found if outcome.record is not None]
        values: list[float] = []
        if not errors and not stopped:
            values, errors = self._values([row[-1] for row in rows])
        state = TrialState.FAIL if errors else TrialState.PRUNED if stopped else TrialState.COMPLETE
        with self._journal.batch():
            if not errors and not stopped:
                self._report_unheard(number, rows)
            if errors:
                self._trial(number).set_user_attr(ERROR, errors[0])
            self._study.tell(number, values if state == TrialState.COMPLETE else None, state)

    def _ask(self) -> None:
        number = len(self._members)
        with self._journal.batch():
            self._study.sampler = sampler(self._search, number)
            try:
                trial = self._study.ask()
                fields = self._search.draw(self._spec.base, lambda parameter: suggest(trial, parameter))
            except Exception as error:
                what = f"the sampler {self._search.sampler} could not draw trial {number}"
                raise SearchError(f"{what}: {type(error).__name__}: {error}") from error
            members = self._replicates(number, fields)
            trial.set_user_attr(FIELDS, fields)
        self._members[number] = members

    def _replicates(self, number: int, fields: Mapping[str, Any]) -> list[Replicate]:
        config: TrialConfig = resolve_trial(self._spec, fields)
        label = self._labels.setdefault(config, space.trial_label(number))
        return [Replicate(label, config, seed, self._digests[config.dataset]) for seed in range(self.seeds)]

    def _report(self, number: int, step: int, values: list[float | None]) -> str | None:
        """Reports a rung; returns why ASHA stops the trial there, if it does. Written before it is acted on."""
        known = [value for value in values if value is not None]
        if len(known) < len(values):
            return None  # it diverges, and ends so
        trial, mean = self._trial(number), float(np.mean(known))
        with self._journal.batch():
            trial.report(mean, step)
            if not trial.should_prune():
                return None
            name = self._search.objectives[0]
            reason = f"stopped by asha at step {step:,}, where {name} was {mean:.4g}"
            trial.set_user_attr(STOPPED, reason)
        return reason

    def _report_unheard(self, number: int, rows: list[list[dict[str, Any]]]) -> None:
        """Reports the rungs of a trial that was over before they were heard, so that others are ranked against it."""
        trial, name = self._trial(number), self._search.objectives[0]
        for step in self.rungs:
            values = [row[name] for replicate in rows for row in replicate if row["step"] == step]
            known = [value for value in values if value is not None]
            if step not in self._frozen(number).intermediate_values and known:
                trial.report(float(np.mean(known)), step)
                trial.should_prune()

    def _values(self, rows: list[dict[str, Any]]) -> tuple[list[float], list[str]]:
        values, errors = [], []
        for name in self._search.objectives:
            known = [row[name] for row in rows if row[name] is not None]
            if len(known) < len(rows):
                errors.append(f"{name} has no value at the last step")
            else:
                values.append(float(np.mean(known)))
        return values, errors

    def _stop(self, number: int, reason: str) -> str:
        for replicate in self._members[number]:
            folder = self._folder.child(replicate.hash)
            if checkpoint.outcome(folder).status in ("pending", "running"):
                checkpoint.cut_short(folder, replicate.described(), "stopped", reason)
        return reason

    @property
    def _all(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False)

    def _frozen(self, number: int) -> FrozenTrial:
        return self._all[number]

    def _trial(self, number: int) -> Trial:
        return Trial(self._study, self._frozen(number)._trial_id)


def suggest(trial: Trial, parameter: Parameter) -> Any:
    """What Optuna draws for a parameter."""
    limits = parameter.range
    if limits is None:
        return trial.suggest_categorical(parameter.name, parameter.choices)
    if parameter.whole:
        step = int(limits.step or 1)
        return trial.suggest_int(parameter.name, int(limits.low), int(limits.high), log=limits.log, step=step)
    return trial.suggest_float(parameter.name, limits.low, limits.high, log=limits.log, step=limits.step)


def sampler(search: SearchSpec, number: int) -> optuna.samplers.BaseSampler:
    """The sampler for a trial, seeded by the search's seed and the trial's number alone: a restart changes nothing."""
    make = pkgutil.resolve_name(SAMPLERS[search.sampler])
    found: optuna.samplers.BaseSampler = make(seed=(search.seed * 1_000_003 + number) % 2**32)
    return found


def pruner(search: SearchSpec) -> optuna.pruners.BasePruner:
    """ASHA, or none."""
    if search.scheduler == "none" or search.first_rung is None:
        return optuna.pruners.NopPruner()
    return optuna.pruners.SuccessiveHalvingPruner(
        min_resource=search.first_rung, reduction_factor=search.reduction_factor, min_early_stopping_rate=0
    )
