"""Names: every registered one resolves, and an unknown one is met with the nearest that is known."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import pytest
import torch

from trainables.registry import ACTIVATIONS, DATASETS, MODELS, unknown


@pytest.mark.parametrize("path", [*ACTIVATIONS.values(), *DATASETS.values(), *(m.path for m in MODELS.values())])
def test_registry_every_path_resolves_to_a_callable(path: str) -> None:
    assert callable(pkgutil.resolve_name(path))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_is_element_wise_and_monotone_far_from_zero(name: str) -> None:
    function = pkgutil.resolve_name(ACTIVATIONS[name])
    x = torch.linspace(-3, 3, 50)
    torch.testing.assert_close(function(x.reshape(5, 10)).reshape(-1), function(x))
    assert function(torch.tensor(2.0)) > function(torch.tensor(1.0))


def test_activations_differ_from_each_other() -> None:
    x = torch.linspace(-2, 2, 9)
    values = {tuple(pkgutil.resolve_name(path)(x).tolist()) for path in ACTIVATIONS.values()}
    assert len(values) == len(ACTIVATIONS)


def test_unknown_near_name_is_suggested() -> None:
    message = unknown("relo", ACTIVATIONS, what="activation")
    assert message.startswith("`activation` must be one of linear, sigmoid, relu")
    assert message.endswith("but got 'relo'. Did you mean 'relu'?")


def test_unknown_far_name_suggests_nothing() -> None:
    assert "Did you mean" not in unknown("xyzzy", ACTIVATIONS, what="activation")


@pytest.mark.parametrize("module", ["trainables.registry", "trainables.schema", "trainables.checkpoint"])
def test_module_that_tables_are_built_from_loads_neither_torch_nor_ray(module: str) -> None:
    code = f"import sys, {module}; sys.exit(sorted({{'torch', 'ray'}} & set(sys.modules)) != [])"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
