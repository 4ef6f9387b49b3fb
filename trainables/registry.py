"""What names mean: activations, models and datasets by import path (`"package.module:name"`).

Paths and not objects, so that reading a spec or drawing a figure loads no torch; `pkgutil.resolve_name` turns one into
the thing where it is needed. Adding an activation, a model or a dataset is one line here. Standard library only.
"""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from collections.abc import Iterable
from typing import NamedTuple

ACTIVATIONS: dict[str, str] = {
    "linear": "trainables.models:identity",
    "sigmoid": "torch:sigmoid",
    "relu": "torch:relu",
    "elu": "torch.nn.functional:elu",
    "tanh": "torch:tanh",
    "silu": "torch.nn.functional:silu",
    "gelu": "torch.nn.functional:gelu",
    "leaky_relu": "torch.nn.functional:leaky_relu",
}
"""Element-wise functions of the hidden layers."""


class ModelEntry(NamedTuple):
    """A trained model: the import path of its `torch.nn.Module` and whether it has a posterior q(z|x)."""

    path: str
    variational: bool


MODELS: dict[str, ModelEntry] = {
    "autoencoder": ModelEntry("trainables.models:Autoencoder", variational=False),
    "vae": ModelEntry("trainables.models:VariationalAutoencoder", variational=True),
}
"""Models that a `task: train` trial may train."""

DATASETS: dict[str, str] = {
    "mnist": "trainables.datasets:load_mnist",
    "fashion_mnist": "trainables.datasets:load_fashion_mnist",
    "kmnist": "trainables.datasets:load_kmnist",
    "strokes": "trainables.controls:load_strokes_8",
    "strokes-2": "trainables.controls:load_strokes_2",
    "strokes-4": "trainables.controls:load_strokes_4",
    "strokes-16": "trainables.controls:load_strokes_16",
    "strokes-32": "trainables.controls:load_strokes_32",
    "strokes-2-one": "trainables.controls:load_strokes_2_one",
    "strokes-4-one": "trainables.controls:load_strokes_4_one",
    "strokes-8-one": "trainables.controls:load_strokes_8_one",
    "strokes-16-one": "trainables.controls:load_strokes_16_one",
    "strokes-32-one": "trainables.controls:load_strokes_32_one",
    "mnist-pca-8": "trainables.controls:load_mnist_pca_8",
    "mnist-pca-32": "trainables.controls:load_mnist_pca_32",
    "mnist-decoder-8": "trainables.controls:load_mnist_decoder_8",
}
"""Loaders without arguments that return a `trainables.datasets.Dataset`; `strokes` has 8 factors."""


MEASUREMENTS: dict[str, str] = {
    "bound": "trainables.measurements.latents:measure_bound",
    "jacobian": "trainables.measurements.latents:measure_jacobian",
    "subspace": "trainables.measurements.latents:measure_subspace",
    "probes": "trainables.measurements.probes:measure_probes",
    "recognition": "trainables.measurements.generation:measure_recognition",
    "generation": "trainables.measurements.generation:measure_generation",
    "walks": "trainables.measurements.walks:measure_walks",
    "projection": "trainables.measurements.surface:measure_projection",
    "denoising": "trainables.measurements.surface:measure_denoising",
}
"""Functions `Subject -> Measured`, called once for each trained network, at the end of its trial."""

CURVES: dict[str, str] = {"recognition_curve": "trainables.measurements.generation:measure_recognition_curve"}
"""Functions `Subject -> Measured` that are called at each evaluation while a network trains."""


def load_plugins(modules: Iterable[str], path: Iterable[str] = ()) -> None:
    """Imports modules that add to the registries.

    Args:
        modules: Their names.
        path: Folders to look into after the Python path and the current folder: another process's `sys.path`.

    Raises:
        ValueError: One cannot be imported.
    """
    for name in modules:
        sys.path += [folder for folder in (os.getcwd(), *path) if folder not in sys.path]
        try:
            importlib.import_module(name)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            raise ValueError(
                f"`plugins` must name modules that can be imported, but {name!r} cannot: {reason}"
            ) from error


def unknown(name: object, known: Iterable[str], *, what: str) -> str:
    """The message for a name that is not registered, with the nearest one that is."""
    known = list(known)
    near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"`{what}` must be one of {', '.join(known)}, but got {name!r}.{hint}"
