"""Preloads torch and the trial in each of Ray's workers, so that the first trial need not wait for them.

Ray imports this module when a worker starts (RAY_preload_python_modules). Garbage collection is off meanwhile: it would
scan the half million objects that torch makes again and again, a seventh of the time, and free none.
"""

import gc

gc.disable()
import trainables.ray_trainable  # noqa: E402
import trainables.trial  # noqa: E402, F401

gc.enable()
gc.freeze()
