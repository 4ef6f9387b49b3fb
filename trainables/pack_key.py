"""The key that replicates of a pack share. Standard library alone: a GPU benchmark runs where pydantic is absent."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trainables.schema import TrialConfig

FREE_FIELDS = ("latent_dim", "beta", "init", "grad_clip")
"""Fields of TrialConfig in which the members of a pack may differ (beside the seed)."""


def pack_key(config: TrialConfig) -> Hashable:
    """The fields that all members of a pack share: two configs may share a pack if their keys are equal, else not.

    A spherical posterior has one sigma and no latents that padding could add, so there `latent_dim` is shared too.
    """
    free = [name for name in FREE_FIELDS if name != "latent_dim" or config.posterior != "spherical"]
    return tuple((field, value) for field, value in vars(config).items() if field not in free)
