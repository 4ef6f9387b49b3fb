"""Samples of the images that arms have drawn: how often a classifier tells whose reconstruction it sees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from analysis.claims.arms import Arm, at_budget, bind, budget_text, one_per_seed, trouble_of
from analysis.claims.effects import SeedEffects
from analysis.claims.ledger import Ledger, ToldApart
from analysis.claims.pool import Pool
from analysis.claims.samples import Sample

KIND = "redrawn"
"""The images: an arm's reconstructions of test images, the same ones for every replicate."""


def samples_of_images(pool: Pool, ledger: Ledger, part: ToldApart) -> list[Sample]:
    """A sample for each pair of arms: by seed, the share of images of which a classifier tells the first arm's."""
    images = pool.images(KIND)
    pairs = [(bind(ledger, one, part, ()), bind(ledger, other, part, ())) for one, other in part.pairs]
    return [_told_apart(pool, images, arms) for arms in pairs]


def _told_apart(pool: Pool, images: Mapping[str, np.ndarray], arms: tuple[Arm, Arm]) -> Sample:
    first, second = arms
    base = Sample(f"{first.name} or {second.name}", "share of reconstructions told apart")
    every = [
        rows.assign(value=[float(name in images) or np.nan for name in rows["replicate"]])
        for rows in (arm.rows(pool) for arm in arms)
    ]
    every = [rows.assign(value=rows["value"].where(rows["status"] == "finished")) for rows in every]
    rows, budget, missing, left_out = at_budget(every, arms)
    if missing:
        return replace(base, note=missing.reason)
    chosen = [frame.iloc[one_per_seed(frame)].dropna(subset="value").set_index("seed")["replicate"] for frame in rows]
    seeds = sorted(set(chosen[0].index) & set(chosen[1].index))
    if len(seeds) < 2:
        return replace(base, note="fewer than two seeds: a classifier learns from other seeds than it is asked about")
    drawn = np.array([[images[str(of_arm[seed])] for seed in seeds] for of_arm in chosen])
    shares = shares_told(drawn[0], drawn[1])
    return replace(
        base,
        effect=SeedEffects.exact(shares, resolution=1 / (drawn.shape[2] // 2)),
        seeds=tuple(int(seed) for seed in seeds),
        budget=budget,
        budget_text=budget_text(budget, arms),
        trouble=trouble_of(rows, seeds, arms),
        note="; ".join(filter(None, (f"{drawn.shape[2]} images", left_out))),
    )


def shares_told(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Computes the share of pairs of images that a classifier tells apart, by seed: two-alternative forced choice.

    The classifier is a ridge regression on grey and squared grey. For each seed it learns from the first half of the
    images of all other seeds, and guesses on the second half of this one's. Equal images count as one half.

    Args:
        first: One arm's reconstructions, `(num_seeds, num_images, 784)`, in [0, 1]; two seeds and two images or more.
        second: The other arm's, of the same images, same shape.

    Returns:
        `(num_seeds,)`, in [0, 1].
    """
    features = np.concatenate([first - second, np.square(first) - np.square(second)], axis=2)
    half = features.shape[1] // 2
    shares = []
    for seed in range(len(features)):
        known = np.delete(features, seed, axis=0)[:, :half].reshape(-1, features.shape[2])
        ridge = max(float(np.square(known).sum()) / features.shape[2], np.finfo(float).tiny)
        # The dual form: there are fewer pairs of images than grey values.
        duals = np.linalg.solve(known @ known.T + ridge * np.eye(len(known)), np.ones(len(known)))
        shares.append(float((np.sign(features[seed, half:] @ (known.T @ duals)) + 1).mean() / 2))
    return np.array(shares)
