"""Published numbers beside ours, each with its settings and with what differs.

The exact ones are held by tests/trainables/test_external_checks.py, which reads them here. Those marked as recalled
were quoted from memory and not looked up again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pandas as pd

from analysis.dimension.sweeps import Sweep
from analysis.evidence import Evidence
from analysis.formats import decimals, table
from analysis.report.embed import Grid
from study.table import Tables
from trainables.quantities import QUANTITIES

HELD = "the same to the digits given; a test holds it"
NOT_RUN = "not run: needs a GPU's budget"
TWONN_OF_ZEROS = 15.5657
"""TwoNN of MNIST's 6,903 zeros, training and test images together (DADApy, notebook on ABIDE and aGRIDE)."""
PCA_30 = 13.87
"""Squared error per test image of 30 principal components (Hinton and Salakhutdinov 2006)."""
NOTE = (
    "Recalled: quoted from memory, not looked up again. Log-likelihoods and bounds in nats per image, squared errors"
    " in squared grey per test image. Numbers of ours come from the tables, means over the seeds that were measured."
)
HUNDRED_SAMPLES = QUANTITIES["neg_iw_bound"].place("100 samples")
HEADER = ("what", "settings", "published", "ours", "what differs")


@dataclass(frozen=True)
class Published:
    """A published number: what it is of, its settings, the number with its source, ours, and what differs."""

    what: str
    settings: str
    number: str
    ours: Callable[[Evidence], str]
    differs: str


def _held(_: Evidence) -> str:
    return HELD


def _not_run(_: Evidence) -> str:
    return NOT_RUN


def _bound(latent_dim: int) -> Callable[[Evidence], str]:
    """Our importance-weighted bound with 100 samples at N."""

    def ours(evidence: Evidence) -> str:
        for tables, ends in _finished(evidence, latent_dim=latent_dim, model="vae"):
            rows = tables.rows(
                "profiles",
                ["replicate", "step", "value"],
                {"replicate": ends["replicate"], "quantity": ["neg_iw_bound"], "index": [HUNDRED_SAMPLES]},
            ).sort_values("step")
            values = rows.groupby("replicate")["value"].last()
            if len(values):
                return f"-{decimals(values.mean(), 2)} ({_seeds(len(values))})"
        return "not measured"

    return ours


def _finished(evidence: Evidence, **fields: object) -> Iterator[tuple[Tables, pd.DataFrame]]:
    """Yields each table of the study `latent` with the last rows of its finished networks that have these fields."""
    for tables in evidence.tables:
        if tables.spec.name == "latent":
            ends = tables.ends[tables.ends["status"] == "finished"]
            for field, value in fields.items():
                ends = ends[ends[f"config/{field}"] == value]
            if len(ends):
                yield tables, ends


def _seeds(number: int) -> str:
    return f"{number} seed{'s' * (number != 1)}"


def _squared_error(activation: str) -> Callable[[Evidence], str]:
    """The squared error of our auto-encoder of N = 32 in the study `latent`."""

    def ours(evidence: Evidence) -> str:
        for _, ends in _finished(evidence, latent_dim=32, model="autoencoder", activation=activation):
            return f"{ends['test_sse'].mean():.2f} at N = 32 ({_seeds(len(ends))})"
        return "not measured"

    return ours


PUBLISHED = (
    Published(
        "TwoNN of the zeros of MNIST",
        "all 6,903 zeros of the 70,000 images, raw pixels",
        f"{TWONN_OF_ZEROS} (DADApy's notebook)",
        _held,
        "nothing; scikit-dimension below 0.5 counts ranks from 0 and gives 15.558",
    ),
    Published(
        "PCA of 30 components",
        "fitted on 60,000 training images, squared error on the test images",
        f"{PCA_30} (Hinton and Salakhutdinov 2006)",
        _held,
        "nothing",
    ),
    Published(
        "VAE, one stochastic layer",
        "784-200-200-50, tanh, dynamic binarisation, 5,000 importance samples, about 10 million steps of 20 images",
        "-86.76 (Burda et al. 2015, Table 1; replications -86.0 to -87.8)",
        _not_run,
        "our images are grey, our networks wider and trained for 50,000 steps of 100",
    ),
    Published(
        "VAE",
        "784-400-40, ReLU, static binarisation, 200 importance samples",
        "-89.78 (pythae's table)",
        _not_run,
        "static binarisation is another data set than ours",
    ),
    *(
        Published(
            f"VAE, N = {latent_dim}",
            "784-256-128-N, ReLU, dynamic binarisation, 500 importance samples",
            f"{number} (Davidson et al. 2018, Table 1; recalled)",
            _bound(latent_dim),
            "ours: 784-500-500-N, ELU, grey images, 100 samples: another likelihood, so the numbers need not agree",
        )
        for latent_dim, number in ((2, "-135.73"), (5, "-110.21"), (10, "-93.84"), (20, "-88.90"))
    ),
    Published(
        "Auto-encoder of 30 codes",
        "784-1000-500-250-30, trained layer by layer, then together",
        "3.00 (Hinton and Salakhutdinov 2006; recalled)",
        _squared_error("elu"),
        "ours: 784-500-500-32, ELU, minimises Eq. 1 and not the squared error",
    ),
    Published(
        "Logistic PCA of 30 codes",
        "one linear layer and a logistic output",
        "8.01 (Hinton and Salakhutdinov 2006; recalled)",
        _squared_error("linear"),
        "ours: linear layers 784-500-500-32 with a sigmoid output, minimises Eq. 1",
    ),
)
"""The published numbers, those that must agree exactly first."""


def rows(evidence: Evidence) -> list[tuple[str, ...]]:
    """The rows under HEADER."""
    return [(one.what, one.settings, one.number, one.ours(evidence), one.differs) for one in PUBLISHED]


def markdown(evidence: Evidence) -> str:
    """The table in Markdown, with NOTE."""
    return f"{table(HEADER, rows(evidence))}\n\n{NOTE}"


def grid(evidence: Evidence) -> Grid:
    """The table for the report; empty where the runs have no sweep of the VAE."""
    if not isinstance(evidence.sweeps.by_network["vae"], Sweep):
        return Grid()
    return Grid.of(pd.DataFrame(rows(evidence), columns=list(HEADER)), NOTE)
