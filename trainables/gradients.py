"""The gradients of the paper's networks, written out, for one network in training on a CPU.

Autograd's bookkeeping and the loss itself, which no step needs, cost a tenth of a step of products as small as these.
The gradients here are those of autograd on `trainables.losses.objective`, to the bit. Any other network or loss, a pack
of several and a GPU take autograd.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeGuard, cast, get_args

import torch
from torch import Tensor, nn

from trainables.kernels import elu, elu_slope, elu_values
from trainables.models import Autoencoder, Perceptron, VariationalAutoencoder, identity

if TYPE_CHECKING:
    from trainables.schema import TrialConfig

Network = Autoencoder | VariationalAutoencoder
Activation = Callable[[Tensor], Tensor]
Slope = Callable[[Tensor, Tensor], Tensor]

ACTIVATIONS: dict[Activation, tuple[Activation, Slope]] = {
    identity: (identity, lambda gradient, output: gradient),
    torch.sigmoid: (torch.sigmoid, torch.ops.aten.sigmoid_backward),
    torch.relu: (torch.relu, lambda gradient, output: torch.ops.aten.threshold_backward(gradient, output, 0)),
    torch.tanh: (torch.tanh, torch.ops.aten.tanh_backward),
    elu: (elu_values, elu_slope),
}
"""An activation's values, without a derivative; and its slope times a gradient, from the gradient and the values."""


def are_written_out(model: nn.Module, config: TrialConfig) -> TypeGuard[Network]:
    """Whether `backpropagate` knows the network and the loss of a config."""
    return (
        isinstance(model, Network)
        and type(model) in get_args(Network)  # a user's own may derive from them
        and model.encoder.activation in ACTIVATIONS
        and (config.likelihood, config.output) == ("bernoulli", "sigmoid")
        and config.posterior != "spherical"
    )


@torch.no_grad()
def backpropagate(model: Network, x: Tensor, noise: Tensor | None, target: Tensor, beta: Tensor) -> None:
    """Sets the gradient of each of the model's parameters, on a CPU.

    Args:
        model: A network for which `are_written_out` holds.
        x: The images that the network takes, `(batch, pixels)`, in the precision of its weights.
        noise: A VAE's, `(batch, N)`, in that precision.
        target: The images that the likelihood takes, `(batch, pixels)`, float32.
        beta: The weight of the KL term, `()`.
    """
    encoded = _forward(model.encoder, x)
    if isinstance(model, VariationalAutoencoder):
        assert noise is not None
        hidden = encoded[-1]
        mu, log_sigma = _linear(model.mu, hidden), _linear(model.log_sigma, hidden)
        sigma = log_sigma.exp()
        by_z = _through_decoder(model, mu + sigma * noise, target)
        share = beta / len(x)  # of each image's KL in the loss
        by_mu = by_z + (share * mu.float()).to(x.dtype)
        by_log_sigma = by_z * noise * sigma + (share * (2 * log_sigma.float()).exp() - share).to(x.dtype)
        _set_gradients(model.mu, hidden, by_mu)
        _set_gradients(model.log_sigma, hidden, by_log_sigma)
        gradient = by_log_sigma @ model.log_sigma.weight + by_mu @ model.mu.weight
    else:
        gradient = _through_decoder(model, encoded[-1], target)
    _backward(model.encoder, encoded, gradient, to_input=False)


def _through_decoder(model: Network, code: Tensor, target: Tensor) -> Tensor:
    """Sets the gradients of the decoder's parameters; the gradient of Eq. 1's mean by the code, `(batch, N)`."""
    decoded = _forward(model.decoder, code)
    gradient = (decoded[-1].float().sigmoid() - target).mul_(1 / len(target))
    return _backward(model.decoder, decoded, gradient.to(code.dtype), to_input=True)


def _forward(perceptron: Perceptron, x: Tensor) -> list[Tensor]:
    """The input and the output of each layer after it."""
    values, _ = ACTIVATIONS[perceptron.activation]
    outputs = [x]
    for index, layer in enumerate(_layers(perceptron)):
        x = _linear(layer, x)
        if index < perceptron.num_activated:
            x = values(x)
        outputs.append(x)
    return outputs


def _backward(perceptron: Perceptron, outputs: list[Tensor], gradient: Tensor, *, to_input: bool) -> Tensor:
    """Sets the gradients of a perceptron's parameters; the gradient by its input if `to_input`."""
    _, slope = ACTIVATIONS[perceptron.activation]
    for index, layer in reversed(list(enumerate(_layers(perceptron)))):
        if index < perceptron.num_activated:
            gradient = slope(gradient, outputs[index + 1])
        _set_gradients(layer, outputs[index], gradient)
        if index > 0 or to_input:
            gradient = gradient @ layer.weight
    return gradient


def _layers(perceptron: Perceptron) -> Iterable[nn.Linear]:
    return cast("Iterable[nn.Linear]", perceptron.layers)


def _linear(layer: nn.Linear, x: Tensor) -> Tensor:
    return torch.addmm(layer.bias, x, layer.weight.t())


def _set_gradients(layer: nn.Linear, x: Tensor, gradient: Tensor) -> None:
    layer.weight.grad, layer.bias.grad = gradient.t() @ x, gradient.sum(0)
