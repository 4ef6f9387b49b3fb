"""A user's own file adds to the registries through a spec, without touching ours, inline and in Ray's workers."""

import io

import pytest
from rich.console import Console

from study import launch, spec, table
from study.launch import Options
from study.spec import SpecError
from trainables import registry

PLUGIN = """
import torch
from trainables.registry import ACTIVATIONS

def squared(x):
    return x * x.tanh()

ACTIVATIONS["squared"] = "PLUGIN:squared"
"""
SPEC = """
name: mine
plugins: [PLUGIN]
base: {dataset: strokes, latent_dim: 2, hidden_dims: [8], steps: 3, evaluations: 1, batch_size: 20}
arms: {mine: {activation: squared}}
"""


@pytest.fixture
def plugin(tmp_path, monkeypatch, request):
    name = f"plugin_of_{request.node.name.partition('[')[0]}"
    (tmp_path / f"{name}.py").write_text(PLUGIN.replace("PLUGIN", name))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry.sys, "path", list(registry.sys.path))
    yield name
    registry.ACTIVATIONS.pop("squared", None)
    registry.sys.modules.pop(name, None)


@pytest.mark.parametrize("options", [Options(runner="inline", device="cpu"), Options(device="cpu", concurrency=1)])
def test_plugin_in_the_current_folder_is_used(plugin, tmp_path, options):
    study = spec.parse(SPEC.replace("PLUGIN", plugin), "mine")
    counts = launch.launch(study, str(tmp_path / "run"), options, Console(file=io.StringIO()))
    assert counts == {"finished": 1}
    assert set(table.load_tables(str(tmp_path / "run")).results["config/activation"]) == {"squared"}


def test_plugin_that_cannot_be_imported_is_refused_in_one_line():
    with pytest.raises(
        SpecError, match=r"`plugins` must name modules that can be imported, but 'no_such' cannot: Module"
    ):
        spec.parse(SPEC.replace("PLUGIN", "no_such"), "mine")


def test_plugins_that_are_no_list_are_refused_in_one_line():
    with pytest.raises(SpecError, match="`plugins`"):
        spec.parse(SPEC.replace("[PLUGIN]", "7"), "mine")
