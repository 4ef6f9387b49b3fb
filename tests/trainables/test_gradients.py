"""The written gradients: those of autograd to the bit, for what they know; everything else is left to autograd."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainables.batches import generator
from trainables.gradients import ACTIVATIONS, are_written_out, backpropagate
from trainables.losses import objective
from trainables.models import Autoencoder, Output, VariationalAutoencoder, build
from trainables.pack import Pack
from trainables.registry import ACTIVATIONS as NAMES
from trainables.schema import TrialConfig
from trainables.shape import Shape

SHAPE = Shape(5, 7)


def config_of(**fields: Any) -> TrialConfig:
    return TrialConfig(**({"hidden_dims": [30, 20], "latent_dim": 3, "batch_size": 16, "steps": 20} | fields))


def gradients_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(
    "fields",
    [
        *({"activation": name} for name in ("linear", "sigmoid", "relu", "elu", "tanh")),
        *({"model": "vae", "beta": beta} for beta in (0.0, 0.3, 1.0, 4.0)),
        {"model": "vae", "latent_dim": 1},
        {"model": "vae", "activation": "relu", "hidden_dims": []},
        {"hidden_dims": []},
        {"model": "vae", "hidden_dims": [40]},
    ],
)
@pytest.mark.parametrize("low", [torch.float32, torch.bfloat16])
def test_backpropagate_gives_the_gradients_of_autograd_to_the_bit(fields: dict[str, Any], low: torch.dtype) -> None:
    config = config_of(**fields)
    draws = generator(0, "test")
    model = build(config, draws, SHAPE).to(low)
    target = torch.rand(16, SHAPE.pixels, generator=draws)
    noise = torch.randn(16, config.width, generator=draws).to(low) if config.variational else None
    beta = torch.tensor(config.beta or 0.0)
    assert are_written_out(model, config)
    out = Output._make(part if part is None else part.float() for part in model(target.to(low), noise))
    objective(out, target, config, beta)[0].backward()
    expected = gradients_of(model)
    model.zero_grad()
    backpropagate(model, target.to(low), noise, target, beta)
    found = gradients_of(model)
    assert found.keys() == expected.keys() and len(expected) == len(list(model.parameters()))
    for name, gradient in expected.items():
        assert torch.equal(found[name], gradient), name
        assert gradient.abs().sum() > 0, name


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"model": "vae", "kl_warmup_steps": 10, "beta": 2.0},
        {"model": "vae", "precision": "bf16", "input": "binarised"},
        {"weight_dropout": 0.2, "input_noise": 0.1},
        {"precision": "bf16", "weight_dropout": 0.2},
    ],
)
def test_pack_trains_with_written_gradients_as_with_autograd_to_the_bit(tiny: Any, fields: dict[str, Any]) -> None:
    images, config = torch.tensor(tiny.images["train"]), config_of(**fields)
    written, automatic = (Pack([config], [0], images) for _ in range(2))
    assert written._written_out is not None
    automatic._written_out = None
    for _ in range(20):
        written.step()
        automatic.step()
    for name, value in written.state(0).items():
        assert torch.equal(value, automatic.state(0)[name]), name


class Doubled(Autoencoder):
    """A user's model, which decodes other codes than the one it derives from."""

    def forward(self, x: Tensor, noise: Tensor | None = None) -> Output:
        """Reconstructs `x` from twice its code."""
        return Output(self.decoder(2 * self.encoder(x)), self.encoder(x))


@pytest.mark.parametrize(
    "fields",
    [
        {"output": "clipped"},
        {"likelihood": "gaussian", "output": "identity"},
        {"likelihood": "continuous_bernoulli"},
        {"model": "vae", "posterior": "spherical"},
        *({"activation": name} for name in ("silu", "gelu", "leaky_relu")),
    ],
)
def test_what_is_not_written_out_is_left_to_autograd(fields: dict[str, Any]) -> None:
    config = config_of(**fields)
    assert not are_written_out(build(config, generator(0, "init"), SHAPE), config)


def test_a_model_that_derives_from_ours_is_left_to_autograd() -> None:
    config = config_of()
    assert are_written_out(Autoencoder(config, SHAPE), config)
    assert not are_written_out(Doubled(config, SHAPE), config)
    assert not are_written_out(nn.Linear(3, 3), config)


def test_pack_of_several_is_left_to_autograd(tiny: Any) -> None:
    images = torch.tensor(tiny.images["train"])
    assert Pack([config_of()] * 2, [0, 1], images)._written_out is None


def test_activations_with_written_slopes_are_those_of_autograd() -> None:
    x = torch.linspace(-4, 4, 101, requires_grad=True)
    weights = torch.rand(101, generator=generator(0, "test"))
    for activation, (values, slope) in ACTIVATIONS.items():
        output = activation(x)
        expected = torch.autograd.grad((output * weights).sum(), x)[0]
        assert torch.equal(values(x.detach()), output)
        assert torch.equal(slope(weights, output.detach()), expected)
    assert len(ACTIVATIONS) == len(NAMES) - 3


def test_variational_network_without_noise_is_refused() -> None:
    config = config_of(model="vae")
    model = VariationalAutoencoder(config, SHAPE)
    with pytest.raises(AssertionError):
        backpropagate(model, torch.rand(2, SHAPE.pixels), None, torch.rand(2, SHAPE.pixels), torch.ones(()))
