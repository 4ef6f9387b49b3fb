"""Lightning's Trainer on the same work. Needs `lightning`."""

from __future__ import annotations

from typing import Any

import lightning
import torch
from torch import Tensor, nn

from tests.benchmarks.peers_work import Setting, Work, adam, batch_loss, loader

QUIET: dict[str, Any] = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


class Module(lightning.LightningModule):  # type: ignore[misc]  # Any where lightning is not installed
    """The network as Lightning wants it."""

    def __init__(self, work: Work, setting: Setting):
        super().__init__()
        self.model, self.work, self.setting = work.model(), work, setting
        self.automatic_optimization = setting.mode != "manual"

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Called by the trainer."""
        return adam(self.model, self.work.config, self.setting)

    def training_step(self, batch: list[Tensor], index: int) -> Tensor | None:
        """Called by the trainer once a step; in manual mode it does the whole step."""
        self.work.clock.tick()
        loss = batch_loss(self.model, batch[0], self.work.config)
        if self.automatic_optimization:
            return loss
        optimizer = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(loss)
        nn.utils.clip_grad_value_(self.model.parameters(), self.work.config.grad_clip or 0.0)
        optimizer.step()
        return None


def train(work: Work, setting: Setting) -> nn.Module:
    """Trains with everything off that is not training; mode `barebones` is Lightning's own switch for that."""
    options = {"barebones": True} if setting.mode == "barebones" else QUIET
    if setting.mode != "manual":
        options = options | {"gradient_clip_val": work.config.grad_clip, "gradient_clip_algorithm": "value"}
    module = Module(work, setting)
    precision = "bf16-mixed" if setting.precision == "bf16" else "32-true"
    trainer = lightning.Trainer(accelerator="cpu", devices=1, max_epochs=1, precision=precision, **options)
    torch.manual_seed(work.seed)
    trainer.fit(module, loader(work, setting))
    model: nn.Module = module.model
    return model
