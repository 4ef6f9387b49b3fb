"""A captured step: on a CPU it is plainly called; on a GPU a captured pack trains as an eager one does."""

import pytest
import torch

from trainables.cuda_graph import Replayed
from trainables.pack import Pack
from trainables.schema import TrialConfig

SHARED = {"hidden_dims": (16,), "batch_size": 20}


def test_replayed_on_a_cpu_calls_the_function_each_time():
    counter = torch.zeros(())
    replayed = Replayed(lambda: counter.add_(1) and None, torch.device("cpu"))
    for _ in range(10):
        replayed()
    assert counter.item() == 10


@pytest.fixture
def images(tiny):
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    return torch.tensor(tiny.images["train"], device="cuda")


def packs(images, count, **fields):
    configs = [TrialConfig(latent_dim=n, **SHARED, **fields) for n in (2, 5, 3)]
    return [Pack(configs, [0, 1, 2], images) for _ in range(count)]


def eager_step(pack):
    pack._prepare()
    pack._update()
    pack.steps_done += 1


@pytest.mark.gpu
@pytest.mark.parametrize(
    "fields",
    [{}, {"model": "vae", "kl_warmup_steps": 40}, {"weight_dropout": 0.2}, {"input": "binarised", "input_noise": 0.5}],
)
def test_pack_captured_on_a_gpu_trains_as_an_eager_one(images, fields):
    captured, eager = packs(images, 2, **fields)
    for _ in range(70):  # over two epochs of 30 batches and two chunks of noise
        captured.step()
        eager_step(eager)
    torch.testing.assert_close(captured.batch_losses()[0], eager.batch_losses()[0], rtol=1e-4, atol=0)


@pytest.mark.gpu
def test_pack_loaded_on_a_gpu_after_its_capture_goes_on_as_the_one_that_was_saved(images):
    saved, loaded = packs(images, 2, model="vae")
    for _ in range(20):
        saved.step()
        loaded.step()
    states = [{key: value.clone() for key, value in saved.state(index).items()} for index in range(3)]
    for _ in range(20):
        loaded.step()
    loaded.load(states, 20)
    for _ in range(20):
        saved.step()
        loaded.step()
    torch.testing.assert_close(loaded.batch_losses()[0], saved.batch_losses()[0], rtol=1e-4, atol=0)


@pytest.mark.gpu
@pytest.mark.parametrize("fields", [{}, {"likelihood": "continuous_bernoulli"}, {"learning_rate_schedule": "cosine"}])
def test_pack_on_a_gpu_trains_as_on_a_cpu(images, fields):
    (on_gpu,), (on_cpu,) = packs(images, 1, **fields), packs(images.cpu(), 1, **fields)
    for _ in range(50):
        on_gpu.step()
        on_cpu.step()
    torch.testing.assert_close(on_gpu.batch_losses()[0].cpu(), on_cpu.batch_losses()[0], rtol=1e-3, atol=0)
