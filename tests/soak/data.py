"""A plugin of the soak's studies: a dataset that loads in a moment, and a measurement that takes none."""

from trainables.registry import DATASETS, MEASUREMENTS

DATASETS["bars"] = "tests.support.tiny:load"
MEASUREMENTS["first codes"] = "tests.support.tiny:measure"
