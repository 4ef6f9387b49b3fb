"""Adam as `torch.optim.Adam(fused=True)` computes it, through torch's functional form.

The class loads torch's compiler when it is first made: 2 s and 150 MB in each worker, for nothing that is used here.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.optim.adam import adam

BETAS, EPS = (0.9, 0.999), 1e-8
MOMENTS = ("exp_avg", "exp_avg_sq")


class Adam:
    """Adam with the L2 term in the gradient, one weight decay per group of parameters.

    What it keeps of a parameter, `state[parameter]`, stays where it is: its MOMENTS, of the parameter's shape, and
    `step`, `()`.

    Args:
        groups: Parameters and their weight decay.
    """

    def __init__(self, groups: Sequence[tuple[Sequence[Tensor], float]]):
        self.groups = groups
        self.state = {
            parameter: {
                "step": torch.zeros((), device=parameter.device),
                **{key: torch.zeros_like(parameter, requires_grad=False) for key in MOMENTS},
            }
            for parameters, _ in groups
            for parameter in parameters
        }

    @torch.no_grad()
    def step(self, learning_rate: float | Tensor) -> None:
        """One update of every parameter that has a gradient; a learning rate that changes is a tensor, `()`."""
        for parameters, weight_decay in self.groups:
            moved = [parameter for parameter in parameters if parameter.grad is not None]
            if not moved:
                continue
            states = [self.state[parameter] for parameter in moved]
            adam(
                moved,
                [parameter.grad for parameter in moved if parameter.grad is not None],
                [state["exp_avg"] for state in states],
                [state["exp_avg_sq"] for state in states],
                [],
                [state["step"] for state in states],
                fused=True,
                capturable=moved[0].is_cuda,
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
