"""A trained network on its own: safetensors, its config and a model card in a folder, and back from there.

from trainables.export import load
model, config = load("vae-7")
output = model(images)  # (n, pixels) in [0, 1]; see `trainables.models.Output`
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from trainables import checkpoint
from trainables.errors import ReadableError
from trainables.records import Record
from trainables.registry import ACTIVATIONS, MODELS, register
from trainables.replicate_file import DamagedFileError
from trainables.schema import METRICS, TrialConfig
from trainables.shape import MNIST, Shape
from trainables.storage import Folder

if TYPE_CHECKING:
    from torch import nn

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
SHAPE = "image_shape"
"""The key of config.json, beside a config's fields, with the images' height, width and channels."""


class ExportError(ReadableError):
    """A replicate without weights, or a folder without a model."""


def export(replicate: Folder, to: Path) -> list[Path]:
    """Writes a finished replicate's network into a folder.

    Args:
        replicate: The replicate's folder in a run folder.
        to: Where to write model.safetensors, config.json and README.md, the model card.

    Returns:
        The files.

    Raises:
        ExportError: The replicate has not finished, or its weights are absent or damaged.
        trainables.storage.StorageError: The folder cannot be written.
    """
    ended = checkpoint.standing(replicate)
    if ended.status != "finished" or ended.weights is None or ended.record is None:
        raise ExportError(f"{replicate.url} must hold a finished replicate with its weights, but it is {ended.status}.")
    try:
        weights = checkpoint.read_weights(replicate, ended)
        described = ended.record.replicate
        config = described["config"] | {SHAPE: ended.record.shape}
        card = _card(described, ended.record, to.name)
    except (DamagedFileError, FileNotFoundError, LookupError, TypeError, ValueError) as error:
        raise ExportError(f"{error}. `study launch` of this run trains the network again.") from None
    folder = Folder(str(to)).create()
    folder.write(WEIGHTS, save(weights, {"config": json.dumps(config)}))
    folder.write(CONFIG, f"{json.dumps(config, indent=2)}\n".encode())
    folder.write(CARD, card.encode())
    return [to / name for name in (WEIGHTS, CONFIG, CARD)]


def load(folder: str | Path) -> tuple[nn.Module, TrialConfig]:
    """The network that `export` wrote, on the CPU, and its config.

    Raises:
        ExportError: The folder holds no such model, or a damaged one.
    """
    from trainables.models import restore  # loads torch

    try:
        fields = dict(json.loads((Path(folder) / CONFIG).read_bytes()))
        shape = Shape(*fields.pop(SHAPE, MNIST))
        _check_is_registered(folder, fields)
        register({"DATASETS": {str(fields["dataset"]): ""}})  # it may be the name of a file of the user's
        config = TrialConfig(**fields)
        return restore(config, load_file(Path(folder) / WEIGHTS), shape).eval(), config
    except FileNotFoundError as error:
        raise ExportError(f"{folder} must hold {WEIGHTS} and {CONFIG}, but {error.filename} is absent.") from None
    except (ValueError, TypeError, LookupError, RuntimeError, SafetensorError) as error:
        reason = str(error).partition("\n")[0]
        raise ExportError(f"{folder} must hold an exported model, but it is damaged: {reason}") from None


def _check_is_registered(folder: str | Path, fields: dict[str, Any]) -> None:
    """Raises ExportError where the network needs a plugin that has not been imported."""
    for field, registry in (("model", MODELS), ("activation", ACTIVATIONS)):
        name = fields.get(field)
        if isinstance(name, str) and name not in registry:
            raise ExportError(
                f"{folder} holds a network whose {field} {name!r} comes from a plugin: import that plugin's module, "
                "which the spec names under `plugins`, before `load`."
            )


HUB_DATASETS = {"mnist": "ylecun/mnist", "fashion_mnist": "zalando-datasets/fashion_mnist"}
"""Names of our datasets on the Hugging Face Hub, whose model cards begin with YAML."""
_TEMPLATE = """---
{header}---

# {name}: {cell}, seed {seed}

Model `{kind}` with {width} latent dimensions, trained on `{dataset}` (data digest {digest}) for {step:,} steps.
Input: images `(n, {pixels})`, {shape}, values in [0, 1] in the order of an array (height, width, channels).

```python
from trainables.export import load
from trainables.losses import decoder_mean

model, config = load("{name}")
output = model(images)  # output.mu: codes, (n, {width})
reconstructions = decoder_mean(output.decoded, config)  # (n, {pixels}) in [0, 1]
```

Meant for the study of auto-encoders; it has seen these images alone.

## Test metrics at the last step

| metric | value | unit | what it is |
|---|---|---|---|
{metrics}

## Settings

| field | value |
|---|---|
{settings}

Made by: {origin}.
"""


def _card(described: dict[str, Any], record: Record, name: str) -> str:
    config, last = TrialConfig(**described["config"]), record.rows[-1]
    metrics = [
        f"| {key} | {last[key]:.6g} | {metric.unit} | {metric.description.replace('|', chr(92) + '|')} |"
        for key, metric in METRICS.items()
        if key.startswith("test_") and last[key] is not None
    ]
    settings = [f"| {key} | {value} |" for key, value in described["config"].items() if value is not None]
    return _TEMPLATE.format(
        header=yaml.safe_dump(_header(described, config, last, name), sort_keys=False),
        name=name,
        cell=described["cell"],
        seed=described["seed"],
        kind=config.model or config.task,
        width=config.latent_dim,
        dataset=config.dataset,
        digest=described["data_digest"],
        step=last["step"],
        metrics="\n".join(metrics),
        settings="\n".join(settings),
        shape=record.shape,
        pixels=record.shape.pixels,
        origin="; ".join(f"{key} {value}" for key, value in sorted(record.provenance.items())),
    )


def _header(described: dict[str, Any], config: TrialConfig, last: dict[str, Any], name: str) -> dict[str, Any]:
    """Makes the front matter by which a model hub lists the network: licence, tags, dataset, test metrics."""
    dataset = HUB_DATASETS.get(config.dataset)
    metrics = [
        {"type": key, "name": metric.description, "value": float(last[key])}
        for key, metric in METRICS.items()
        if key.startswith("test_") and last[key] is not None and math.isfinite(last[key])
    ]
    result = {
        "task": {"type": "image-feature-extraction"},
        "dataset": {"type": dataset or config.dataset, "name": config.dataset, "split": "test"},
        "metrics": metrics,
    }
    kind = "variational-autoencoder" if config.model == "vae" else config.model or config.task
    return {
        "license": "mit",
        "library_name": "pytorch",
        "pipeline_tag": "image-feature-extraction",
        "tags": list(dict.fromkeys(["autoencoder", kind, "latent-dimension"])),
        **({"datasets": [dataset]} if dataset else {}),
        "model-index": [{"name": f"{name} ({described['cell']}, seed {described['seed']})", "results": [result]}],
    }
