"""Whether a classifier tells whose reconstruction it sees: of networks that draw alike, and of those that do not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from analysis.claims.image_samples import KIND, shares_told
from tests.support.claims import ELU, trial, verdict_of

RNG = np.random.default_rng(0)
DIGITS = RNG.random((40, 784))
PART = {"kind": "told_apart", "pairs": [["relu", "elu"]], "direction": "less", "margin": 0.75, "beside": [0.95]}


def drawn(offset: float, seeds: int = 4) -> np.ndarray:
    """Reconstructions `(seeds, 40, 784)`: the digits with noise, and brighter by an offset in one corner."""
    images = DIGITS + 0.05 * RNG.standard_normal((seeds, 40, 784))
    images[..., :50] += offset
    return images.clip(0, 1)


def networks(offset: float, seeds: int = 4) -> list[dict[str, Any]]:
    arms = (({"activation": "relu"}, drawn(offset, seeds)), (ELU, drawn(0.0, seeds)))
    return [
        trial(arm, seed, images={KIND: np.rint(255 * images[seed]).astype(np.uint8)})
        for arm, images in arms
        for seed in range(seeds)
    ]


def test_shares_told_of_networks_that_differ_in_a_habit_are_all() -> None:
    assert shares_told(drawn(0.1), drawn(0.0)).tolist() == [1.0] * 4


def test_shares_told_of_networks_that_differ_in_noise_are_at_chance() -> None:
    shares = [shares_told(drawn(0.0), drawn(0.0)).mean() for _ in range(20)]
    assert np.mean(shares) == pytest.approx(0.5, abs=0.03)


def test_shares_told_of_the_same_images_are_one_half() -> None:
    images = drawn(0.0)
    assert shares_told(images, images).tolist() == [0.5] * 4


def test_shares_told_learn_from_other_seeds_so_that_a_seeds_own_mark_is_no_habit() -> None:
    """Each replicate has a mark of its own: one seed's tells nothing about the next one's."""
    first, second = drawn(0.0), drawn(0.0)
    for seed in range(4):
        first[seed, :, 100 + seed] = 1.0
    assert shares_told(first, second).mean() < 0.75


def test_told_apart_is_refuted_of_networks_with_a_habit_and_confirmed_without() -> None:
    (habit,) = verdict_of(networks(0.1), PART).outcomes
    assert (habit.verdict, habit.estimate, habit.sample.seeds) == ("refuted", 1.0, (0, 1, 2, 3))
    assert "40 images" in habit.note and habit.p is not None and habit.p > 0
    (alike,) = verdict_of(networks(0.0), PART | {"margin": 0.9}).outcomes
    assert alike.verdict == "confirmed"


def test_told_apart_without_images_or_of_one_seed_is_not_measured() -> None:
    bare = [trial(arm, seed) for arm in ({"activation": "relu"}, ELU) for seed in range(2)]
    (missing,) = verdict_of(bare, PART).outcomes
    assert missing.verdict == "not measured" and "relu, elu: not recorded" in missing.note
    (single,) = verdict_of(networks(0.1, seeds=1), PART).outcomes
    assert single.verdict == "not measured" and "fewer than two seeds" in single.note
