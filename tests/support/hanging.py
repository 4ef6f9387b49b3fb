"""A plugin with an activation that hangs once in a worker of Ray: at first use, unless the file `STUDY_HUNG` exists."""

import os
import sys
import time
from pathlib import Path

from torch import Tensor

from trainables.registry import ACTIVATIONS

ACTIVATIONS["hangs"] = "tests.support.hanging:hangs"
USES: list[int] = []


def hangs(x: Tensor) -> Tensor:
    """The identity."""
    file = Path(os.environ.get("STUDY_HUNG", "."))
    USES.append(1)
    if "ray" in sys.modules and len(USES) > 40 and not file.exists():
        file.touch()
        time.sleep(3600)
    return x
