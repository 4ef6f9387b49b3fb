"""Functions that torch computes slowly on a CPU, as arithmetic on `exp` and `log` with their own derivatives.

With AVX512, torch's `expm1` and `log1p`, from which it makes its ELU and its cross-entropy, take four times as long as
`exp` and `log`. On a GPU torch's own functions are used. docs/numerics.md says what a change here means for results.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

VERSION = 2
"""Raised with each change of the last bits of a training step. 1: torch's own functions."""


def elu(x: Tensor) -> Tensor:
    """The exponential linear unit (Clevert et al. 2016, alpha = 1) of a tensor of any shape: x, or exp(x) - 1 if x < 0.

    It is rounded once: bf16 is computed in float32.
    """
    if x.is_cuda:
        return functional.elu(x)
    output: Tensor = _Elu.apply(x)
    return output


def bernoulli_nll_from_logits(logits: Tensor, x: Tensor) -> Tensor:
    """Eq. 1 of the paper from the logits of the mean, summed over pixels. Differentiable once, by the logits.

    `logits`: `(..., pixels)`; `x`: grey images, same shape, in [0, 1]. Returns `(...,)` nats per image.
    """
    if logits.is_cuda:
        return functional.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(-1)
    nll: Tensor = _BernoulliNll.apply(logits, x)[0]
    return nll


def elu_values(x: Tensor) -> Tensor:
    """`elu` on a CPU, without a derivative: max(x, exp(min(x, 0)) - 1), since exp(x) - 1 >= x."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    below = wide.clamp(max=0).exp_().sub_(1)
    return torch.maximum(wide, below, out=below).to(x.dtype)


def elu_slope(change: Tensor, output: Tensor) -> Tensor:
    """`change` times the slope of the ELU at `output`: 1, or output + 1 where that is less."""
    product: Tensor = torch.ops.aten.elu_backward(change, 1, 1, 1, True, output)
    return product


class _Elu(torch.autograd.Function):
    """The ELU with the slope from the output."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return elu_values(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(output)
        ctx.save_for_forward(output)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return elu_slope(gradient, *ctx.saved_tensors)

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Tensor:
        return elu_slope(tangent, *ctx.saved_tensors)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int], x: Tensor) -> tuple[Tensor, int]:
        return elu(x), in_dims[0]


class _BernoulliNll(torch.autograd.Function):
    """softplus(l) - x l, summed, and the mean s = sigmoid(l); softplus(l) = max(l, 0) - log max(s, 1 - s)."""

    @staticmethod
    def forward(logits: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        mean = logits.sigmoid()
        log_likelier = torch.maximum(mean, 1 - mean).log_()
        return logits.clamp(min=0).addcmul_(x, logits, value=-1).sub_(log_likelier).sum(-1), mean

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: tuple[Tensor, Tensor]) -> None:
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(output[1], inputs[1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor, None]:
        mean, x = ctx.saved_tensors
        return (mean - x).mul_(gradient.unsqueeze(-1)), None

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, int | None], logits: Tensor, x: Tensor
    ) -> tuple[Any, tuple[int, int]]:
        stacked = [
            part.expand(info.batch_size, *part.shape) if axis is None else part.movedim(axis, 0)
            for part, axis in zip((logits, x), in_dims, strict=True)
        ]
        return _BernoulliNll.apply(*stacked), (0, 0)
