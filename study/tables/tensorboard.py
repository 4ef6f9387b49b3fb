"""The curves of the results table as TensorBoard's event files, a run for each replicate."""

from __future__ import annotations

from pathlib import Path

from tensorboardX import SummaryWriter

from study.tables.files import Tables
from trainables.schema import METRICS


def write(tables: Tables, folder: Path) -> int:
    """Writes every metric of every replicate against the training step, for `tensorboard --logdir folder`.

    A run is named by its cell and seed; its clock is the replicate's own, training and evaluation, from 0. Returns the
    number of replicates that had been evaluated.
    """
    columns = ["cell", "seed", "step", "train_s", "evaluate_s", *METRICS]
    rows = tables.rows("results", columns)
    rows = rows[rows["step"].notna()]
    written = 0
    for (cell, seed), curve in rows.groupby(["cell", "seed"], sort=False):
        with SummaryWriter(str(folder / f"{cell} seed {seed}".replace("/", "-")), write_to_disk=True) as writer:
            for row in curve.to_dict("records"):
                clock = row["train_s"] + row["evaluate_s"]
                for name in METRICS:
                    if row[name] == row[name]:  # not null
                        writer.add_scalar(name, row[name], int(row["step"]), walltime=clock)
        written += 1
    return written
