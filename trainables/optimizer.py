"""Adam as `torch.optim.Adam(fused=True)` computes it, by torch's fused operator alone.

The class loads torch's compiler when it is first made: 2 s and 150 MB in each worker, for nothing that is used here.
The functional form sorts the tensors and counts the steps of each parameter anew at every step.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

BETAS, EPS = (0.9, 0.999), 1e-8
MOMENTS = ("exp_avg", "exp_avg_sq")


class Adam:
    """Adam with the L2 term in the gradient, one weight decay per group of parameters.

    `steps`, `()`: the updates so far; `state[parameter]`: its MOMENTS, of the parameter's shape. They stay where they
    are.

    Args:
        groups: Parameters, all on one device, and their weight decay.
    """

    def __init__(self, groups: Sequence[tuple[Sequence[Tensor], float]]):
        self.groups = groups
        self.state = {
            parameter: {key: torch.zeros_like(parameter, requires_grad=False) for key in MOMENTS}
            for parameters, _ in groups
            for parameter in parameters
        }
        self.steps = torch.zeros((), device=next(iter(self.state)).device)

    @torch.no_grad()
    def step(self, learning_rate: float | Tensor) -> None:
        """One update of every parameter that has a gradient; a learning rate that changes is a tensor, `()`."""
        self.steps += 1
        for parameters, weight_decay in self.groups:
            moved = [parameter for parameter in parameters if parameter.grad is not None]
            if not moved:
                continue
            first, second = ([self.state[parameter][key] for parameter in moved] for key in MOMENTS)
            torch._fused_adam_(
                moved,
                [parameter.grad for parameter in moved if parameter.grad is not None],
                first,
                second,
                [],
                [self.steps] * len(moved),
                amsgrad=False,
                beta1=BETAS[0],
                beta2=BETAS[1],
                lr=learning_rate,
                weight_decay=weight_decay,
                eps=EPS,
                maximize=False,
            )

    def zero_grad(self) -> None:
        """Forgets the gradients."""
        for parameters, _ in self.groups:
            for parameter in parameters:
                parameter.grad = None
