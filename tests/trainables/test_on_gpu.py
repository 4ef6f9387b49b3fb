"""On a GPU: whole trials and every measurement give what they give on a CPU (`python -m pytest -m gpu`)."""

import math
import pkgutil

import pytest
import torch

from tests.support.networks import tensors
from trainables import checkpoint, trial
from trainables.batches import generator
from trainables.measurements.subject import Subject
from trainables.models import build, fit_pca
from trainables.registry import CURVES, MEASUREMENTS
from trainables.schema import METRICS, Replicate, TrialConfig
from trainables.storage import Folder

pytestmark = pytest.mark.gpu

CONFIGS = {
    "linear": TrialConfig(activation="linear"),
    "elu": TrialConfig(latent_dim=20),
    "vae": TrialConfig(model="vae", latent_dim=20),
    "pca": TrialConfig(task="pca", latent_dim=5),
}


@pytest.fixture(autouse=True)
def a_gpu():
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")


def both(name, data):
    """A network of CONFIGS, untrained, with its data on the CPU and on the GPU."""
    config, (images, labels) = CONFIGS[name], tensors(data)
    for device in ("cpu", "cuda"):
        there = [{key: value.to(device) for key, value in part.items()} for part in (images, labels)]
        pca = config.task == "pca"
        model = fit_pca(images["train"], config.width)[0] if pca else build(config, generator(0, "init"))
        yield Subject(model.to(device), config, 0, *there)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("measurement", [*MEASUREMENTS, *CURVES])
def test_measurement_on_a_gpu_finds_what_it_finds_on_a_cpu(tiny, measurement, name):
    measure = pkgutil.resolve_name((MEASUREMENTS | CURVES)[measurement])
    on_cpu, on_gpu = (measure(subject) for subject in both(name, tiny))
    assert on_gpu.profiles.keys() == on_cpu.profiles.keys()
    for quantity, values in on_cpu.profiles.items():
        assert on_gpu.profiles[quantity] == pytest.approx(values, rel=2e-2, abs=2e-2), quantity
    assert len(on_gpu.images) == len(on_cpu.images)


@pytest.mark.parametrize("name", CONFIGS)
def test_trial_on_a_gpu_ends_where_it_ends_on_a_cpu(tmp_path, tiny, name):
    config = CONFIGS[name].model_copy(update={"steps": 60, "evaluations": 3, "batch_size": 20})
    if name == "vae":  # whose noise is another on another device
        config = config.model_copy(update={"beta": 0.0, "l2": 0.0})
    ends = {}
    for device in ("cpu", "cuda"):
        replicates = [Replicate("cell", config, seed, tiny.digest) for seed in (0, 1)]
        folder = Folder(str(tmp_path / device)).create()
        for _ in trial.run(replicates, tiny, folder, device=device, measurements=["bound", "jacobian"]):
            pass
        ends[device] = [checkpoint.result(folder.child(replicate.hash)) for replicate in replicates]
    for on_cpu, on_gpu in zip(ends["cpu"], ends["cuda"], strict=True):
        assert on_gpu.status == on_cpu.status == "finished"
        for metric in METRICS:
            old, new = on_cpu.record.rows[-1][metric], on_gpu.record.rows[-1][metric]
            assert (old is None) == (new is None), metric
            if old is not None and metric != "test_active_units":
                assert math.isclose(old, new, rel_tol=5e-2, abs_tol=5e-2), metric
