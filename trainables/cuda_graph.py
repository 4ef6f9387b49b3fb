"""A function of fixed tensors, called again and again: on a GPU as one CUDA graph, so that a call costs one launch."""

from __future__ import annotations

from collections.abc import Callable

import torch

WARM_UP = 3
"""Calls before the capture: they make what is made on first use (Adam's moments, cuBLAS' workspaces)."""


class Replayed:
    """Calls `function`; on a CUDA device, once it is warm, by replaying what one call of it launched.

    Args:
        function: Takes and returns nothing. It must do the same tensor operations at each call, on tensors that stay
            where they are, and change Python state in no way that the next call depends on.
        device: Where its tensors are; elsewhere than on a CUDA device the function is simply called.
    """

    def __init__(self, function: Callable[[], None], device: torch.device):
        self._function, self._device = function, device
        self._calls = 0
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self) -> None:
        """Runs the function once."""
        if self._device.type != "cuda":
            self._function()
        elif self._calls < WARM_UP:
            self._call_aside()
        else:
            if self._graph is None:
                self._graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(self._graph):  # records the launches, runs none of them
                    self._function()
            self._graph.replay()
        self._calls += 1

    def _call_aside(self) -> None:
        """Calls the function on a stream of its own: a warm-up, which a later capture needs."""
        aside = torch.cuda.Stream(self._device)
        aside.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(aside):
            self._function()
        torch.cuda.current_stream(self._device).wait_stream(aside)
