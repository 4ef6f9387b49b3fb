"""Which replicates may be trained together: those whose configs differ in FREE_FIELDS alone. Standard library only."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trainables.schema import TrialConfig

FREE_FIELDS = ("latent_dim", "beta", "init", "grad_clip")
"""Fields of TrialConfig in which the members of a pack may differ (beside the seed)."""


def shared_fields(config: TrialConfig) -> Hashable:
    """What all members of a pack have in common: two configs may share a pack if this is equal, and only then.

    The one sigma of a spherical posterior has no latents that padding could add, so there N is no free field.
    """
    free = [name for name in FREE_FIELDS if name != "latent_dim" or config.posterior != "spherical"]
    return tuple((field, value) for field, value in vars(config).items() if field not in free)
