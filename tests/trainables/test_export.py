"""A network on its own: written whole, read back, and refused in one line when anything of it is damaged."""

import json
import shutil

import numpy as np
import pytest
import torch
import yaml

from trainables import checkpoint, trial
from trainables.export import CONFIG, WEIGHTS, ExportError, export, load
from trainables.schema import Replicate
from trainables.storage import Folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny, small):
    """The folder of a finished replicate."""
    replicate, folder = Replicate("cell", small(), 0, tiny.digest), Folder(str(tmp_path_factory.mktemp("run")))
    for _ in trial.run([replicate], tiny, folder):
        pass
    return folder.child(replicate.hash)


@pytest.fixture
def replicate(finished, tmp_path):
    """A copy of it to damage."""
    shutil.copytree(finished.local, tmp_path / "replicate")
    return Folder(str(tmp_path / "replicate"))


def test_export_gives_back_the_network_and_its_config(replicate, tmp_path, small):
    assert [path.name for path in export(replicate, tmp_path / "mine")] == [WEIGHTS, CONFIG, "README.md"]
    model, config = load(tmp_path / "mine")
    assert config == small()
    weights = checkpoint.read_weights(replicate, checkpoint.standing(replicate))
    for name, parameter in model.named_parameters():
        np.testing.assert_array_equal(parameter.detach().numpy(), weights[name])
    assert model(torch.zeros(2, 784)).mu.shape == (2, 3)


def test_card_begins_with_the_front_matter_of_a_model_hub(replicate, tmp_path):
    export(replicate, tmp_path / "mine")
    text = (tmp_path / "mine" / "README.md").read_text()
    _, header, body = text.split("---\n", 2)
    body = body.lstrip()
    found = yaml.safe_load(header)
    assert found["license"] == "mit" and found["tags"] == ["autoencoder", "latent-dimension"]
    assert found["datasets"] == ["ylecun/mnist"]
    (entry,) = found["model-index"]
    assert entry["name"].startswith("mine (cell, seed 0)")
    (result,) = entry["results"]
    last = checkpoint.standing(replicate).record.rows[-1]
    values = {metric["type"]: metric["value"] for metric in result["metrics"]}
    assert values["test_nll"] == last["test_nll"] and result["dataset"]["split"] == "test"
    assert body.startswith("# mine: cell, seed 0") and "| test_nll |" in body


def test_card_is_read_by_the_hubs_own_library(replicate, tmp_path):
    hub = pytest.importorskip("huggingface_hub")
    export(replicate, tmp_path / "mine")
    data = hub.ModelCard.load(tmp_path / "mine" / "README.md").data
    results = {result.metric_type: result.metric_value for result in data.eval_results}
    assert data.license == "mit" and results["test_nll"] > 0


@pytest.mark.parametrize("damage", ["flipped", "empty", "gone"])
def test_export_of_damaged_weights_writes_nothing_and_says_what_to_do(replicate, tmp_path, damage):
    file = replicate.local / checkpoint.standing(replicate).weights
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.unlink() if damage == "gone" else file.write_bytes(content if damage == "flipped" else b"")
    rule = (
        "must hold a finished replicate" if damage == "gone" else r"-weights.safetensors is damaged: .*`study launch`"
    )
    with pytest.raises(ExportError, match=rule):
        export(replicate, tmp_path / "mine")
    assert not (tmp_path / "mine").exists()


def test_export_of_an_unfinished_replicate_is_refused(tmp_path):
    with pytest.raises(ExportError, match="must hold a finished replicate with its weights, but it is pending"):
        export(Folder(str(tmp_path)), tmp_path / "mine")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (CONFIG, b"{"),
        (CONFIG, b"[1]"),
        (CONFIG, b"[" * 100_000),
        (CONFIG, json.dumps({"latent_dim": 4, "hidden_dims": [16]}).encode()),
        (CONFIG, json.dumps({"task": "pca"}).encode()),
        (WEIGHTS, b""),
        (WEIGHTS, b"no tensors"),
    ],
)
def test_load_of_a_damaged_model_is_refused_in_one_line(replicate, tmp_path, name, content):
    export(replicate, tmp_path / "mine")
    (tmp_path / "mine" / name).write_bytes(content)
    with pytest.raises(ExportError, match="it is damaged") as raised:
        load(tmp_path / "mine")
    assert "\n" not in str(raised.value)


def test_load_of_a_folder_without_a_model_names_what_is_absent(tmp_path):
    with pytest.raises(ExportError, match=r"must hold model.safetensors and config.json, but .*config.json is absent"):
        load(tmp_path)


@pytest.mark.parametrize("field", ["model", "activation"])
def test_load_of_a_plugins_network_without_the_plugin_says_so(replicate, tmp_path, field):
    export(replicate, tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: "theirs"}))
    with pytest.raises(ExportError, match=rf"whose {field} 'theirs' comes from a plugin: import that plugin's module"):
        load(tmp_path / "model")
