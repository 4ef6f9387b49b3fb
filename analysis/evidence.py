"""The results that follow from the tables of several runs; each is computed once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from analysis.claims.evaluate import Judgement, evaluate
from analysis.claims.ledger import Control, Dimension, Ledger, load
from analysis.claims.lookups import Lookup
from analysis.claims.pool import Pool
from analysis.dimension.checks import (
    Check,
    Fall,
    Matched,
    checking,
    checks,
    estimates_at,
    falls,
    law_or_reason,
    matched,
    resized,
)
from analysis.dimension.estimate import Estimate
from analysis.dimension.estimate_table import ControlEstimate, controls_of, estimates_of, known_dimension
from analysis.dimension.intrinsic_estimates import Intrinsic, intrinsic
from analysis.dimension.local_dimension import DISTURBED
from analysis.dimension.loss_law import LossLaw
from analysis.dimension.multiverse import Setting, multiverse
from analysis.dimension.seed_estimates import Sweeps, sweeps_of
from analysis.dimension.sweeps import PAPERS, Networks, Sweep, pca
from study.table import Tables
from trainables.errors import ReadableError
from trainables.registry import unknown


class EvidenceError(ReadableError):
    """Runs that do not hold what is to be estimated."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """The owner of what is made from runs' tables: estimates of the latent dimension, and verdicts on the claims.

    Attributes:
        tables: Of any runs; a replicate that several hold counts once.
        dataset: A name in DATASETS: what the estimates are of.
    """

    tables: Sequence[Tables]
    dataset: str = PAPERS

    @cached_property
    def pool(self) -> Pool:
        """The replicates of all runs, from which claims are decided."""
        return Pool(self.tables)

    @cached_property
    def sweeps(self) -> Sweeps:
        """Networks of the dataset against the latent dimension."""
        return sweeps_of(self._networks, self.dataset)

    @cached_property
    def intrinsic(self) -> list[Intrinsic]:
        """Estimates of the images' own dimension, of all datasets."""
        return intrinsic(self.tables)

    @cached_property
    def pca(self) -> tuple[pd.Series, np.ndarray | None]:
        """PCA's test NLL by latent dimension and its spectrum; see `analysis.dimension.sweeps.pca`."""
        return pca(self.tables, self.dataset)

    @cached_property
    def estimates(self) -> list[Estimate]:
        """Every estimate of the latent dimension of the dataset; what no run has is not measured."""
        disturbed = [one for ending in DISTURBED for one in self.intrinsic_of(f"{self.dataset}{ending}")]
        configs = (config for tables in self.tables for config in tables.configs.values())
        tasks = {config.task for config in configs if config.dataset == self.dataset}
        return estimates_of(self.sweeps, self.intrinsic_of(self.dataset), self.pca[1], disturbed, tasks)

    @cached_property
    def law(self) -> LossLaw | str:
        """The law of the plain auto-encoder's loss, or why there is none."""
        return law_or_reason(self.sweeps)

    @cached_property
    def falls(self) -> list[Fall]:
        """The fall of a plain auto-encoder's loss where the dimension is known, without and with a tail of noise."""
        return list(falls(self._of_controls))

    @cached_property
    def matched(self) -> Matched | None:
        """The estimates at the protocol of the controls: as many steps and the same N; None if that is their own."""
        others = [name for name in self._of_controls if checking(name) and not resized(name) and name != self.dataset]
        return matched(self._networks, self.sweeps, [self._of_controls[name] for name in others])

    def estimates_at(self, steps: int) -> dict[str, Estimate]:
        """The estimates from networks as if all training had ended after some steps; by key of CONTROL_ESTIMATORS."""
        curves = [one for one in self.sweeps.by_network.values() if isinstance(one, Sweep)]
        dims = {n for one in curves for n in one.latent_dims.tolist()}
        return estimates_at(self._networks, self.dataset, steps, dims)

    @cached_property
    def checks(self) -> dict[str, Check]:
        """Checks of the answer's rows on data whose dimension is known, by the rows' key."""
        return checks(self.controls, papers=self.dataset == PAPERS)

    @cached_property
    def multiverse(self) -> list[Setting]:
        """The estimates in each setting that differs from the default one in one field."""
        return multiverse(self._networks, self.dataset, self.sweeps)

    @cached_property
    def controls(self) -> list[ControlEstimate]:
        """The estimators' results where the dimension is known, by rising dimension."""
        found = self._of_controls.items()
        return [one for name, sweeps in found for one in controls_of(name, sweeps, self.intrinsic_of(name))]

    @cached_property
    def _of_controls(self) -> dict[str, Sweeps]:
        """The sweeps of each dataset whose dimension is known, by rising dimension."""
        names = {str(name) for tables in self.tables for name in tables.ends["config/dataset"].dropna().unique()}
        known = [(dimension, name) for name in names if (dimension := known_dimension(name)) is not None]
        return {name: sweeps_of(self._networks, name) for _, name in sorted(known)}

    @cached_property
    def verdicts(self) -> list[Judgement]:
        """A verdict on each claim of our ledger, in its order."""
        return self.judge(load())

    def judge(self, ledger: Ledger) -> list[Judgement]:
        """A verdict on each claim of a ledger, in its order."""
        kinds = {type(part) for claim in ledger.claims for part in claim.parts}
        looks_up = len(self.pool.ends) and kinds & {Dimension, Control}
        return evaluate(ledger, self.pool, Lookup(self.estimates, self.controls) if looks_up else Lookup())

    def intrinsic_of(self, dataset: str) -> list[Intrinsic]:
        """Estimates of the images' own dimension, of one dataset."""
        return [one for one in self.intrinsic if one.dataset == dataset]

    @cached_property
    def _networks(self) -> list[Networks]:
        return [Networks(tables) for tables in self.tables]


def dataset_of(loaded: Sequence[Tables], asked: str | None) -> str:
    """Chooses the data set to estimate: the one that is named, or the only one in the runs but controls.

    Raises:
        EvidenceError: No run has the named one, or several are possible and none is named.
    """
    known = sorted(set[str]().union(*(tables.ends["config/dataset"].dropna() for tables in loaded)))
    if asked is not None:
        if asked not in known:
            raise EvidenceError(unknown(asked, known, what="--dataset"))
        return asked
    named = [name for name in known if known_dimension(name) is None] or known
    if len(named) > 1 and PAPERS not in named:
        raise EvidenceError(f"these runs are of several data sets: choose one with `--dataset`: {', '.join(named)}.")
    return PAPERS if PAPERS in named or not named else named[0]
