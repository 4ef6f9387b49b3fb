"""A user's own file adds to the registries through a spec, without touching ours, inline and in Ray's workers."""

import io

import pytest
from rich.console import Console

from study import spec, table
from study.run import launch
from study.run.backlog import Counts
from study.run.job import Options
from study.spec import SpecError
from trainables import datasets, models, registry
from trainables.registry import ACTIVATIONS, DATASETS, MODELS, PluginError
from trainables.schema import TrialConfig

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
base: {dataset: digits, latent_dim: 2, hidden_dims: [8], steps: 3, evaluations: 1, batch_size: 20}
arms: {mine: {activation: squared}}
"""


@pytest.fixture
def plugin(tmp_path, monkeypatch, request):
    name = f"plugin_of_{request.node.name.partition('[')[0]}"
    (tmp_path / f"{name}.py").write_text(PLUGIN.replace("PLUGIN", name))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry.sys, "path", list(registry.sys.path))
    yield name
    for activation in ("squared", "sine"):
        registry.ACTIVATIONS.pop(activation, None)
    registry.MODELS.pop("m", None)
    registry.sys.modules.pop(name, None)


@pytest.mark.parametrize("options", [Options(runner="inline", device="cpu"), Options(device="cpu", concurrency=1)])
def test_plugin_in_the_current_folder_is_used(plugin, tmp_path, options):
    study = spec.parse(SPEC.replace("PLUGIN", plugin), "mine")
    counts = launch.launch(study, str(tmp_path / "run"), options, Console(file=io.StringIO()))
    assert counts == Counts(finished=1)
    assert set(table.load_tables(str(tmp_path / "run")).results["config/activation"]) == {"squared"}


def test_plugin_that_cannot_be_imported_is_refused_in_one_line():
    with pytest.raises(
        SpecError, match=r"`plugins` must name modules that can be imported, but 'no_such' cannot: Module"
    ):
        spec.parse(SPEC.replace("PLUGIN", "no_such"), "mine")


@pytest.mark.parametrize(("given", "where"), [("7", "plugins"), ("[7]", "plugins.0"), ("[[mine]]", "plugins.0")])
def test_plugins_that_are_no_list_of_names_are_refused_in_one_line(given, where):
    with pytest.raises(SpecError, match=f"mine: `{where}`: input should be"):
        spec.parse(SPEC.replace("[PLUGIN]", given).replace("squared", "elu"), "mine")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("raise KeyError('no')", "cannot: KeyError: 'no'"),
        ("ACTIVATIONS['elu'] = 'torch:sin'", r"ACTIVATIONS\['elu'\] must stay 'trainables.kernels:elu'"),
        ("del ACTIVATIONS['elu']", r"ACTIVATIONS\['elu'\] must stay 'trainables.kernels:elu'"),
        ("ACTIVATIONS['sine'] = 'torch:sign_'", "has no attribute 'sign_'"),
        ("ACTIVATIONS['sine'] = squared", "must be a str of its import path, but got <function squared"),
        (
            "from trainables.registry import MODELS; MODELS['m'] = 'torch:sin'",
            "must be a ModelEntry of its import path",
        ),
    ],
)
def test_plugin_that_fails_is_refused_in_one_line(plugin, tmp_path, monkeypatch, more, message):
    for known in (ACTIVATIONS, MODELS):
        for name, entry in known.items():
            monkeypatch.setitem(known, name, entry)  # after the test it will be there again
    path = tmp_path / f"{plugin}.py"
    path.write_text(f"{path.read_text()}{more}\n")
    with pytest.raises(PluginError, match=message):
        registry.load_plugins([plugin])


def test_register_makes_names_known_that_only_the_plugin_can_use(plugin, monkeypatch):
    for known in (ACTIVATIONS, MODELS, DATASETS):
        monkeypatch.setitem(known, "far", "")
        del known["far"]  # after the test it will not be there either
    before = registry.added()
    registry.register({"MODELS": {"far": {"path": "os:abort", "variational": True}}, "DATASETS": {"far": "os:abort"}})
    registry.register({"ACTIVATIONS": {"squared": "os:abort"}})
    config = TrialConfig(dataset="far", model="far", activation="squared", beta=2.0)
    assert config.variational and registry.added() == before, "what is recorded is not what is there"
    with pytest.raises(PluginError, match="only after its module has been imported"):
        models.build(config, models.torch.Generator())
    with pytest.raises(PluginError, match="only after its module has been imported"):
        datasets.load("far")
    registry.load_plugins([plugin])
    assert registry.added()["ACTIVATIONS"]["squared"] == f"{plugin}:squared"
    registry.register({"ACTIVATIONS": {"squared": "os:abort", "elu": "os:abort"}})
    assert ACTIVATIONS["squared"] == f"{plugin}:squared" and ACTIVATIONS["elu"] == "trainables.kernels:elu"


@pytest.mark.parametrize(
    "record", [[1], {"MODELS": {"far": "mine:Far"}}, {"PLANETS": {"far": "mine:far"}}, {"MODELS": 1}]
)
def test_register_of_another_record_raises(record):
    with pytest.raises(PluginError, match="by registry and name"):
        registry.register(record)
