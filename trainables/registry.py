"""The registries: activations, models, datasets and measurements by import path (`"package.module:name"`).

Paths and not objects, so that reading a spec or drawing a figure loads no torch; `pkgutil.resolve_name` turns one into
the thing where it is needed. An activation, a model or a dataset is one line here, or in a user's own plugin: a module
that adds it when it is imported. Standard library only.
"""

from __future__ import annotations

import difflib
import importlib
import os
import pkgutil
import sys
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from trainables.errors import ReadableError

ACTIVATIONS: dict[str, str] = {
    "linear": "trainables.models:identity",
    "sigmoid": "torch:sigmoid",
    "relu": "torch:relu",
    "elu": "trainables.kernels:elu",
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
    "digits": "trainables.datasets:load_digits",
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
    "strokes-8-one-tail": "trainables.controls:load_strokes_8_one_tail",
    "strokes-4-one-16px": "trainables.controls:load_strokes_4_one_16px",
    "strokes-8-one-16px": "trainables.controls:load_strokes_8_one_16px",
    "strokes-4-one-64px": "trainables.controls:load_strokes_4_one_64px",
    "strokes-8-one-64px": "trainables.controls:load_strokes_8_one_64px",
    "strokes-4-one-colour": "trainables.controls:load_strokes_4_one_colour",
    "strokes-8-one-colour": "trainables.controls:load_strokes_8_one_colour",
    "mnist-pca-8": "trainables.controls:load_mnist_pca_8",
    "mnist-pca-32": "trainables.controls:load_mnist_pca_32",
    "mnist-decoder-8": "trainables.controls:load_mnist_decoder_8",
    "mnist-blurred": "trainables.controls:load_mnist_blurred",
    "mnist-noisy": "trainables.controls:load_mnist_noisy",
}
"""Loaders without arguments that return a `trainables.datasets.Dataset`; `strokes` has 8 factors."""


MEASUREMENTS: dict[str, str] = {
    "bound": "trainables.measurements.latent_space:measure_bound",
    "jacobian": "trainables.measurements.latent_space:measure_jacobian",
    "subspace": "trainables.measurements.latent_space:measure_subspace",
    "probes": "trainables.measurements.probes:measure_probes",
    "recognition": "trainables.measurements.generation:measure_recognition",
    "generation": "trainables.measurements.generation:measure_generation",
    "walks": "trainables.measurements.walks:measure_walks",
    "projection": "trainables.measurements.surface:measure_projection",
    "denoising": "trainables.measurements.surface:measure_denoising",
    "logistic_pca": "trainables.measurements.cognate:measure_logistic_pca",
    "fidelity": "trainables.measurements.fidelity:measure_fidelity",
    "redrawn": "trainables.measurements.walks:measure_redrawn",
    "factors": "trainables.measurements.factors:measure_factors",
    "aggregate": "trainables.measurements.latent_space:measure_aggregate",
}
"""Functions `Subject -> Measured`, called once for each trained network, at the end of its trial."""

LABELS = "the images have no labels"
_OF_MNIST = "its classifiers read MNIST, 28 x 28 grey"
NEEDS: dict[str, str] = {
    "probes": LABELS,
    "recognition": _OF_MNIST,
    "recognition_curve": _OF_MNIST,
    "generation": _OF_MNIST,
}
"""Reasons why measurements are not made of a user's own images; `probes` are made of those with labels."""

CURVES: dict[str, str] = {"recognition_curve": "trainables.measurements.generation:measure_recognition_curve"}
"""Functions `Subject -> Measured` that are called at each evaluation while a network trains."""


_ABSENT = "trainables.registry:absent"
_REGISTRIES: dict[str, dict[str, Any]] = {
    "ACTIVATIONS": ACTIVATIONS,
    "MODELS": MODELS,
    "DATASETS": DATASETS,
    "MEASUREMENTS": MEASUREMENTS,
    "CURVES": CURVES,
}
_OURS = {kind: frozenset(registry) for kind, registry in _REGISTRIES.items()}


class PluginError(ReadableError):
    """A plugin that cannot be used."""


def declare(kind: str, registry: dict[str, Any]) -> None:
    """Lets plugins add to another registry; the names that it holds already are ours."""
    _REGISTRIES[kind], _OURS[kind] = registry, frozenset(registry)


def load_plugins(modules: Iterable[str], path: Iterable[str] = ()) -> None:
    """Imports modules that add to the registries.

    Args:
        modules: Their names.
        path: Folders to look into after the Python path and the current folder: another process's `sys.path`.

    Raises:
        PluginError: One cannot be imported, takes a name of ours or of another plugin, or adds what is no import path.
            The registries then hold whatever it added before; the program is to end.
    """
    for name in modules:
        sys.path += [folder for folder in (os.getcwd(), *path) if folder not in sys.path]
        before = {kind: dict(registry) for kind, registry in _REGISTRIES.items()}
        try:
            importlib.import_module(name)
            _check_added(before)
        except PluginError as error:
            raise PluginError(f"plugin {name!r}: {error}") from error
        except (Exception, SystemExit) as error:
            reason = f"{type(error).__name__}: {error}"
            raise PluginError(
                f"`plugins` must name modules that can be imported, but {name!r} cannot: {reason}"
            ) from error


def is_taken(kind: str, name: str) -> bool:
    """Whether a name of a registry is one of ours or of a plugin that is loaded."""
    return name in _REGISTRIES[kind] and _path(_REGISTRIES[kind][name]) != _ABSENT


def added() -> dict[str, dict[str, Any]]:
    """The names that plugins have added, by registry, as plain data for a run's provenance."""
    names = {
        kind: {
            name: entry._asdict() if isinstance(entry, ModelEntry) else entry
            for name, entry in registry.items()
            if name not in _OURS[kind] and _path(entry) != _ABSENT
        }
        for kind, registry in _REGISTRIES.items()
    }
    return {kind: entries for kind, entries in names.items() if entries}


def register(record: Mapping[str, Mapping[str, Any]]) -> None:
    """Makes the names known that `added` has recorded, or of files of images, so that tables can be read without them.

    None of the plugin's code runs; a name cannot be resolved until the plugin is loaded.

    Raises:
        PluginError: It is no such record.
    """
    try:
        for kind, names in record.items():
            for name, entry in names.items():
                absent = ModelEntry(_ABSENT, bool(entry["variational"])) if kind == "MODELS" else _ABSENT
                _REGISTRIES[kind].setdefault(name, absent)
    except (AttributeError, KeyError, TypeError) as error:
        raise PluginError(f"what plugins added must be recorded by registry and name, but got {record!r}.") from error


def absent(*_: object) -> None:
    """The import path of names of a plugin that has not been loaded; raises PluginError."""
    raise PluginError("a plugin's name can be used only after its module has been imported: see the spec's `plugins`.")


def unknown(name: object, known: Iterable[str], *, what: str) -> str:
    """The message for a name that is not registered, with the nearest one that is."""
    known = list(known)
    near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"`{what}` must be one of {', '.join(known)}, but got {name!r}.{hint}"


def _check_added(before: Mapping[str, Mapping[str, Any]]) -> None:
    """Raises PluginError if a name was taken since `before`, or a new one is no import path."""
    for kind, registry in _REGISTRIES.items():
        for name, former in before[kind].items():
            if registry.get(name) != former and _path(former) != _ABSENT:
                raise PluginError(f"{kind}[{name!r}] must stay {_path(former)!r}, but it was set: use another name.")
        for name in [name for name in registry if registry[name] != before[kind].get(name)]:
            entry, form = registry[name], ModelEntry if kind == "MODELS" else str
            if not isinstance(entry, form):
                raise PluginError(f"{kind}[{name!r}] must be a {form.__name__} of its import path, but got {entry!r}.")
            pkgutil.resolve_name(_path(entry))


def _path(entry: Any) -> str:
    return str(entry.path if isinstance(entry, ModelEntry) else entry)
