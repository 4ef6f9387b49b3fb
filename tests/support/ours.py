"""The names in the registries as they are before a test adds its own; tests/conftest.py imports this first."""

from trainables.registry import ACTIVATIONS, MODELS

OUR_ACTIVATIONS, OUR_MODELS = tuple(ACTIVATIONS), tuple(MODELS)
