"""Networks without anything to learn, whose losses are functions of their config: to test searches against the truth.

Imported by specs as a plugin. `flat` draws one grey whatever it is shown, so that its squared error is that of the best
such grey plus `784 * (a + b)`, additive in what the config gives; `flat_vae` has a rate of `beta ** 2` nats besides.
"""

import math

import torch
from torch import Tensor, nn

from tests.support import tiny
from trainables.models import Output
from trainables.registry import MODELS, ModelEntry
from trainables.schema import TrialConfig
from trainables.shape import MNIST, Shape

MEAN = float(tiny.load().images["val"].mean()) / 255
"""Grey of the validation images of "tiny": of all single greys, the best."""
BEST_RATE, BEST_L2 = 1e-3, 0.3


def height(config: TrialConfig) -> tuple[float, float]:
    """How far, squared, each setting moves the grey from MEAN; both are 0 at the optimum."""
    a = 0.01 * (math.log10((config.learning_rate or 1.0) / BEST_RATE)) ** 2
    return a, 0.04 * ((config.l2 or 0.0) - BEST_L2) ** 2


class Flat(nn.Module):
    """Draws the grey MEAN + sqrt(a + b)."""

    grey: Tensor

    def __init__(self, config: TrialConfig, shape: Shape = MNIST):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(()))
        grey = MEAN + math.sqrt(sum(height(config)))
        self.register_buffer("grey", torch.full((shape.pixels,), math.log(grey / (1 - grey))))
        self.width = config.width

    def decoder(self, code: Tensor) -> Tensor:
        return self.grey + 0 * self.unused + 0 * code.sum(-1, keepdim=True)

    def forward(self, x: Tensor, noise: Tensor | None = None) -> Output:
        code = x[..., : self.width] * 0
        return Output(self.decoder(code), code)


class FlatVae(Flat):
    """The same; the squared distance shrinks with beta, and the rate grows with it."""

    shift: Tensor

    def __init__(self, config: TrialConfig, shape: Shape = MNIST):
        super().__init__(config, shape)
        grey = MEAN + math.sqrt(height(config)[1] + 0.02 * (1 - (config.beta or 0)) ** 2)
        self.grey.fill_(math.log(grey / (1 - grey)))
        self.register_buffer("shift", torch.tensor([math.sqrt(2) * (config.beta or 0)] + [0.0] * (config.width - 1)))

    def forward(self, x: Tensor, noise: Tensor | None = None) -> Output:
        mu = x[..., : self.width] * 0 + self.shift
        return Output(self.decoder(mu), mu, mu * 0)


class Fragile(FlatVae):
    """The same, but one with a learning rate above 0.01 cannot be made."""

    def __init__(self, config: TrialConfig, shape: Shape = MNIST):
        if (config.learning_rate or 0) > 0.01:
            raise RuntimeError(f"`learning_rate <= 0.01` must hold, but got {config.learning_rate}.")
        super().__init__(config, shape)


MODELS["flat"] = ModelEntry("tests.support.closed_form:Flat", variational=False)
MODELS["flat_vae"] = ModelEntry("tests.support.closed_form:FlatVae", variational=True)
MODELS["fragile"] = ModelEntry("tests.support.closed_form:Fragile", variational=True)
