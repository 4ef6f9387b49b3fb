"""Small searches over networks whose best setting is known, run and compared with what Optuna holds."""

import io

import optuna
from optuna.trial import TrialState
from rich.console import Console

from study import spec, table
from study.run import launch
from study.run.job import Options
from study.search.journal import Journal
from study.search.optuna_search import ERROR, STOPPED
from study.tables import trials
from trainables.storage import Folder

INLINE = Options(runner="inline", device="cpu")
STUDY = """
name: hunt
seeds: {seeds}
plugins: [tests.support.closed_form]
base:
  {{dataset: tiny, latent_dim: 2, hidden_dims: [8], batch_size: 20, grad_clip: 0.0,
    steps: {steps}, evaluations: {steps}}}
search:
  objectives: [{objectives}]
  trials: {trials}
  sampler: {sampler}
  {more}
  space:
    model: {model}
    learning_rate: {{low: 1.0e-5, high: 0.1, log: true}}
    l2: {{low: 0.0, high: 1.0}}
    {fields}
"""
ASHA = "scheduler: asha\n  first_rung: 1\n  reduction_factor: 3"
REAL = "kl_warmup_steps: [0, {low: 2, high: 9, log: true}]\n    beta: {low: 0.1, high: 10, log: true}"


def hunt(trials=12, seeds=1, sampler="tpe", model="flat", objectives="val_sse", more="", fields="", steps=None):
    given = {"trials": trials, "seeds": seeds, "sampler": sampler, "objectives": objectives, "fields": fields}
    steps = steps or (9 if "asha" in more else 1)  # a flat network has nothing to learn
    return spec.parse(STUDY.format(model=model, more=more, steps=steps, **given), "hunt")


def run(study, folder, options=INLINE):
    text = io.StringIO()
    counts = launch.launch(study, str(folder), options, Console(file=text, width=200))
    return counts, text.getvalue()


def optunas(folder):
    """The trials that Optuna finds in the journal of a run folder."""
    storage = optuna.storages.JournalStorage(Journal(Folder(str(folder))))
    return optuna.load_study(study_name="hunt", storage=storage).trials


def assert_agree(folder):
    """What Optuna holds and what the results table says, trial by trial."""
    tables = table.load_tables(str(folder))
    named = {"finished": TrialState.COMPLETE, "stopped": TrialState.PRUNED, "failed": TrialState.FAIL}
    held, found = optunas(folder), trials.trials(tables)
    assert [t.state for t in held] == [named[state] for state in found["state"]]
    objectives = tables.spec.search.objectives
    for one, row in zip(held, found.to_dict("records"), strict=True):
        assert one.state != TrialState.COMPLETE or one.values == [row[name] for name in objectives]
        assert (one.user_attrs.get(STOPPED) or one.user_attrs.get(ERROR) is not None) == (
            row["state"] != "finished"
        ) or (row["state"] == "stopped" and one.user_attrs[STOPPED] == row["error"])
    return held, found
