"""Optuna as a search: it draws configurations and learns how they did; its journal lies in the run folder.

A trial of the search is one configuration; its replicates are the study's seeds, trained as one pack, and the trial is
judged by their mean. The run folder holds what happened to the replicates. So a launch opens the journal, tells Optuna
of the trials that ended unheard, and goes on: trials that were under way come first.
"""

from __future__ import annotations

import json
import logging
import pkgutil
import warnings
from collections.abc import Collection, Mapping
from functools import cached_property
from typing import Any

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from study.plan import Plan, trial_number
from study.search.journal import Journal
from study.search.journal_reader import FIELDS, JOURNAL, SearchError
from study.search.state import SearchState, judge, mean
from study.searchspace import SAMPLERS, Parameter, SearchSpec
from study.spec import resolve_trial
from trainables import checkpoint
from trainables.records import Progress, Standing
from trainables.schema import METRICS, Replicate, applies
from trainables.storage import Folder

STOPPED, ERROR, FORMER = "stopped", "error", "former"
"""User attributes of a trial: why it was stopped, why it failed, how it had fared before the journal lost it."""
_STATES = {"finished": TrialState.COMPLETE, "stopped": TrialState.PRUNED, "failed": TrialState.FAIL}
_LOG = logging.getLogger(__name__)
_SAMPLE = 20
"""How many random configurations represent those that the search has yet to draw, to estimate their size and steps."""

optuna.logging.set_verbosity(optuna.logging.WARNING)


class OptunaSearch:
    """The search of a study in a run folder.

    Args:
        run: The run folder, whose lock is held.
        plan: The study, with a search.
    """

    def __init__(self, run: Folder, plan: Plan):
        if plan.spec.search is None:
            raise ValueError(f"`search` must be part of the study {plan.spec.name}, but it has none.")
        self._spec, self._search = plan.spec, plan.spec.search
        self._folder = run.child("replicates")
        self._journal = Journal(run)
        try:
            self._open(plan)
        except (OSError, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001 (Optuna meets a journal that it has not written in many ways)
            self._journal.discard(f"{type(error).__name__}: {error}")
            self._open(plan)

    @property
    def seeds(self) -> int:
        """Number of replicates of a trial."""
        return self._spec.seeds

    @property
    def concurrency(self) -> int | None:
        """Number of trials that run at a time, if the spec says so."""
        return self._search.concurrency

    @property
    def trials(self) -> int:
        """Number of trials that the spec wants, or that an earlier launch has drawn, whichever is more."""
        return max(self._search.trials, len(self.state))

    @property
    def ended(self) -> int:
        """Number of trials that have ended."""
        return len(self.state) - len(self.state.open)

    @property
    def remaining(self) -> int:
        """Number of trials that have yet to end, those not drawn yet included."""
        return self.trials - self.ended

    @property
    def undrawn(self) -> int:
        """Number of trials that have yet to be drawn."""
        return self.trials - len(self.state)

    @cached_property
    def usual_steps(self) -> int:
        """Training steps of a replicate; where trials differ in them, the mean of some."""
        drawn = self._search.samples(self._spec.base, _SAMPLE)
        return round(sum(resolve_trial(self._spec, fields).steps or 0 for fields in drawn) / len(drawn))

    @property
    def rungs(self) -> list[int]:
        """The training steps at which ASHA decides; none without it."""
        return self._search.rungs(self.usual_steps)

    def expected(self) -> list[Replicate]:
        """Returns random configurations to estimate how much room the search needs; not the ones it will draw."""
        drawn = [resolve_trial(self._spec, fields) for fields in self._search.samples(self._spec.base, _SAMPLE)]
        count = self.remaining * self.seeds
        return [Replicate("", config, 0, "") for config in (drawn * (count // len(drawn) + 1))[:count]]

    def catch_up(self) -> None:
        """Tells Optuna of the trials that ended while no driver listened."""
        for number in self.state.open:
            trial = self._frozen(number)
            if STOPPED in trial.user_attrs:
                rung = max(trial.intermediate_values)
                if all(standing.ended or standing.step >= rung for standing in self._standings(number)):
                    self._stop(number, trial.user_attrs[STOPPED])
            self.close(number)

    def recover(self, hashes: Collection[str]) -> None:
        """Takes what the journal has lost from the files of the replicates: trials, and decisions on open ones.

        Args:
            hashes: Replicates in the run folder that belong to no arm.

        Raises:
            SearchError: All files of such a replicate are damaged too.
        """
        lost = {}
        for name in sorted(set(hashes) - self.state.hashes()):
            folder = self._folder.child(name)
            remains = checkpoint.remains(folder)
            if remains is None and folder.files():
                raise SearchError(
                    f"{folder.url} belongs to a trial that {JOURNAL} has lost, and all its files are damaged, so "
                    f"that its results are lost. Delete {folder.url} and launch again: its trial is drawn anew."
                )
            if remains is not None:
                config = remains.replicate["config"]
                lost[remains.replicate["cell"], json.dumps(config, sort_keys=True)] = config
        for (label, _), config in sorted(lost.items()):
            while len(self.state) < min(trial_number(label), self.trials):
                self._draw()  # a trial of which nothing is left, so that this one keeps its number
            fields = {field: config[field] for field in self._search.space if field in applies(config)}
            try:
                self._draw(self._search.parameters(fields))
            except ValueError as error:
                _LOG.warning("%s in %s belongs to no trial of this search: %s", fields, self._folder.url, error)
        if lost:
            _LOG.warning("%s had lost %d trials, which were taken from their replicates.", JOURNAL, len(lost))
        for number in self.state.open:
            self._recover_decisions(number)

    def reopen(self, hashes: Collection[str]) -> None:
        """Has `next` return the ended trials again that have one of these replicates, of which a file was lost.

        Optuna keeps how they ended. A trial that had failed is not run again: its replicates are marked once more.
        """
        for number in range(len(self.state)):
            lost = [replicate for replicate in self.state.members(number) if replicate.hash in hashes]
            if not lost or self.state.is_open(number):
                continue
            status, _, reason = self._frozen(number).user_attrs.get(ERROR, "").partition(": ")
            if status != "failed":
                self.state.reopen(number)
                continue
            for replicate in lost:
                checkpoint.cut_short(self._folder.child(replicate.hash), replicate.described(), "failed", reason)

    def next(self) -> int | None:
        """Returns the number of a trial to run: one that was left unfinished, or a new one; None if there is none now.

        A trial with the configuration of an earlier one is not run: it waits for that one, and ends as it did.

        Raises:
            StorageError: The journal cannot be written; the trial was not drawn.
            SearchError: The sampler fails.
        """
        while True:
            for repetition in self.state.repetitions:
                self._tell(repetition)
            number = self.state.start()
            if number is not None or not self.undrawn:
                return number
            self._draw()

    def report(self, number: int, progress: Progress) -> str | None:
        """Takes a trial's report; once all its replicates have reached a rung, has ASHA decide.

        Returns:
            None, or the reason for which the trial has been stopped.
        """
        lost = [f"{status} at step {progress.step:,}" for status in progress.ended.values() if status == "diverged"]
        if lost and self.seeds > 1:
            return self._stop(number, f"stopped: another of its seeds {lost[0]}")
        if not progress.rows or self._search.scheduler == "none":
            return None
        step = next(int(row["step"]) for row in progress.rows.values())
        trial, rows = self._frozen(number), self.state.collect(number, step, progress.rows)
        reason = None
        if trial.state.is_finished() or STOPPED in trial.user_attrs:  # trained again, since a file was lost
            reason = trial.user_attrs.get(STOPPED) if step == max(trial.intermediate_values) else None
        elif rows is not None and step not in trial.intermediate_values:
            reason = self._decide(number, step, mean([row[self._search.objectives[0]] for row in rows]))
        return None if reason is None else self._stop(number, reason)

    def close(self, number: int) -> None:
        """Takes note that no worker runs a trial any more; tells Optuna how it ended, if it did."""
        self.state.stop(number)
        self._tell(number)

    def _open(self, plan: Plan) -> None:
        """Opens Optuna's study, and reads the trials that it has drawn."""
        self._storage = optuna.storages.JournalStorage(self._journal)
        self._study = self._open_study()
        self.state = SearchState(plan)
        """The trials drawn so far, which are under way, and which have ended."""
        self._ids: list[int] = []
        self.fields: list[dict[str, Any]] = []
        """The fields of TrialConfig that were drawn for each trial, by its number."""
        for trial in self._study.get_trials(deepcopy=False):
            self._add(trial._trial_id, trial.user_attrs[FIELDS], ended=trial.state.is_finished())

    def _open_study(self) -> optuna.Study:
        """Opens Optuna's study in the journal, or begins it."""
        maximized = (METRICS[name].mode == "max" for name in self._search.objectives)
        directions = [StudyDirection.MAXIMIZE if more else StudyDirection.MINIMIZE for more in maximized]
        with self._journal.batch():
            study = optuna.create_study(
                storage=self._storage,
                study_name=self._spec.name,
                directions=directions,
                pruner=pruner(self._search),
                load_if_exists=True,
            )
            if len(directions) > 1 and not study.metric_names:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                    study.set_metric_names(self._search.objectives)
        return study

    def _add(self, trial_id: int, fields: dict[str, Any], *, ended: bool = False) -> None:
        self.state.add(fields, ended=ended)
        self._ids.append(trial_id)
        self.fields.append(fields)

    def _draw(self, known: Mapping[str, tuple[Parameter, Any]] | None = None) -> None:
        """Has Optuna draw a new trial, or take the `known` values of one that the journal has lost."""
        number = len(self.state)
        with self._journal.batch():
            self._study.sampler = sampler(self._search, number)
            try:
                if known is not None:
                    self._study.enqueue_trial({name: value for name, (_, value) in known.items()})
                trial = self._study.ask()
                fields = self._search.draw(self._spec.base, lambda parameter: suggest(trial, parameter))
            except Exception as error:
                what = f"the sampler {self._search.sampler} could not draw trial {number}"
                raise SearchError(f"{what}: {type(error).__name__}: {error}") from error
            resolve_trial(self._spec, fields)  # raises before anything is written
            trial.set_user_attr(FIELDS, fields)
        self._add(trial._trial_id, fields)

    def _tell(self, number: int) -> None:
        """Tells Optuna how a trial has ended, if it has: failed, stopped or with the mean of each objective."""
        if not self.state.is_open(number):
            return
        standings = self._standings(number)
        judgement = judge(standings, self._search.objectives)
        if judgement is None:
            return
        if self._frozen(number).state.is_finished():  # Optuna knew before a file of the trial was lost
            self.state.end(number)
            return
        with self._journal.batch():
            if judgement.state != "failed":
                self._report_unheard(number, standings)
            if judgement.error is not None:
                attribute = STOPPED if judgement.state == "stopped" else ERROR
                self._trial(number).set_user_attr(attribute, judgement.error)
            self._study.tell(number, judgement.values, _STATES[judgement.state])
        self.state.end(number)

    def _recover_decisions(self, number: int) -> None:
        """Notes at which step an open trial was, and whether ASHA stopped it, where the journal has lost a decision."""
        folders = [self._folder.child(replicate.hash) for replicate in self.state.members(number)]
        seeds = [remains for folder in folders if (remains := checkpoint.remains(folder)) is not None]
        if not seeds or FORMER in self._frozen(number).user_attrs:
            return
        furthest = max(seeds, key=lambda remains: (remains.step, not remains.stopped))
        decided = furthest.step + furthest.stopped
        if any(rung < decided and rung not in self._frozen(number).intermediate_values for rung in self.rungs):
            former = {"step": furthest.step, "stopped": furthest.stopped}
            self._trial(number).set_user_attr(FORMER, former)

    def _decide(self, number: int, step: int, value: float | None) -> str | None:
        """Reports a rung; returns the reason if the trial ends there, which is written before it is acted on.

        ASHA decides, but where the trial had come further, or been stopped, before the journal was lost.
        """
        if value is None:
            return None  # a replicate diverges, and ends so
        trial = self._trial(number)
        former = trial.user_attrs.get(FORMER, {"step": 0, "stopped": False})
        with self._journal.batch():
            trial.report(value, step)
            stops = trial.should_prune()
            if step < former["step"] or (step == former["step"] and former["stopped"]):
                stops = step == former["step"]
            if not stops:
                return None
            name = self._search.objectives[0]
            reason = f"stopped by asha at step {step:,}, where {name} was {value:.4g}"
            trial.set_user_attr(STOPPED, reason)
        return reason

    def _report_unheard(self, number: int, standings: list[Standing]) -> None:
        """Reports the rungs that no driver heard of before the trial ended, so that others are ranked against it."""
        trial, name = self._trial(number), self._search.objectives[0]
        rows = [row for standing in standings if standing.record is not None for row in standing.record.rows]
        for step in self.rungs:
            value = mean([row[name] for row in rows if row["step"] == step and row[name] is not None])
            if value is not None and step not in self._frozen(number).intermediate_values:
                trial.report(value, step)
                trial.should_prune()

    def _standings(self, number: int) -> list[Standing]:
        """Reads how far each of a trial's replicates is."""
        return [checkpoint.standing(self._folder.child(replicate.hash)) for replicate in self.state.members(number)]

    def _stop(self, number: int, reason: str) -> str:
        """Ends a trial's unfinished replicates where they are."""
        for replicate in self.state.members(number):
            folder = self._folder.child(replicate.hash)
            if checkpoint.standing(folder).status in ("pending", "running"):
                checkpoint.cut_short(folder, replicate.described(), "stopped", reason)
        return reason

    def _frozen(self, number: int) -> FrozenTrial:
        return self._storage.get_trial(self._ids[number])

    def _trial(self, number: int) -> Trial:
        return Trial(self._study, self._ids[number])


def suggest(trial: Trial, parameter: Parameter) -> Any:
    """Has Optuna draw a value of a parameter."""
    limits = parameter.range
    if limits is None:
        return trial.suggest_categorical(parameter.name, parameter.choices)
    if parameter.whole:
        step = int(limits.step or 1)
        return trial.suggest_int(parameter.name, int(limits.low), int(limits.last), log=limits.log, step=step)
    return trial.suggest_float(parameter.name, limits.low, limits.last, log=limits.log, step=limits.step)


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
