"""Loaded by each of Ray's workers at its start: all that a trial needs, before there is one.

The garbage collector rests meanwhile. It would walk through the half million objects that torch makes again and again
and free none of them: a seventh of the time.
"""

import gc

gc.disable()
import trainables.ray_trainable  # noqa: E402
import trainables.trial  # noqa: E402, F401

gc.enable()
gc.freeze()
