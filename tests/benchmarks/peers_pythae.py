"""pythae's BaseTrainer on the same work, with our networks as its encoder and decoder. Needs `pythae`.

Its AE minimises the squared error, so `CrossEntropyAE` puts Eq. 1 in its place; its VAE takes Eq. 1 by
`reconstruction_loss="bce"`. Its trainer neither clips gradients nor takes parameter groups (L2 on the weights only):
`Trainer` overrides the two methods that lack them.
"""

from __future__ import annotations

import tempfile
from typing import Any

import torch
from pythae.data.datasets import BaseDataset, DatasetOutput
from pythae.models import AE, VAE, AEConfig, VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader

from tests.benchmarks.peers_work import Order, Setting, Work, adam, loader


class Encoder(BaseEncoder):  # type: ignore[misc]  # Any where pythae is not installed
    """Our encoder; pythae wants log variances."""

    def __init__(self, model: Any, *, variational: bool):
        super().__init__()
        self.trunk = model.encoder
        self.heads = nn.ModuleList([model.mu, model.log_sigma] if variational else [])

    def forward(self, x: Tensor) -> Any:
        """`(batch, 784)` to the code, or to the posterior."""
        hidden = self.trunk(x)
        if not self.heads:
            return ModelOutput(embedding=hidden)
        return ModelOutput(embedding=self.heads[0](hidden), log_covariance=2 * self.heads[1](hidden))


class Decoder(BaseDecoder):  # type: ignore[misc]
    """Our decoder; pythae wants mean images."""

    def __init__(self, model: Any):
        super().__init__()
        self.layers = model.decoder

    def forward(self, z: Tensor) -> Any:
        """`(batch, latent_dim)` to means `(batch, 784)`."""
        return ModelOutput(reconstruction=torch.sigmoid(self.layers(z)))


class CrossEntropyAE(AE):  # type: ignore[misc]
    """pythae's AE with Eq. 1 instead of the squared error."""

    def loss_function(self, recon_x: Tensor, x: Tensor) -> Tensor:
        """Mean over the batch, nats per image."""
        return functional.binary_cross_entropy(recon_x, x, reduction="none").sum(-1).mean()


class Batches:
    """Our loader's batches as pythae's."""

    def __init__(self, source: DataLoader[Any]):
        self._source, self.dataset = source, source.dataset

    def __len__(self) -> int:
        return len(self._source)

    def __iter__(self) -> Any:
        for x, *_ in self._source:
            yield DatasetOutput(data=x.flatten(1))


class Trainer(BaseTrainer):  # type: ignore[misc]
    """pythae's trainer with clipped gradients, L2 on the weights only, and our batches."""

    def __init__(self, work: Work, setting: Setting, model: Any, options: Any):
        self._work, self._setting = work, setting
        super().__init__(model, _dataset(work), training_config=options)

    def get_train_dataloader(self, train_dataset: Any) -> Any:
        """Mode `own loader`: pythae's own, which draws its own order; else the setting's."""
        if self._setting.mode == "own loader":
            return super().get_train_dataloader(train_dataset)
        return Batches(loader(self._work, self._setting))

    def set_optimizer(self) -> None:
        """Adam with parameter groups."""
        self.optimizer = adam(self.model, self._work.config, self._setting)

    def _optimizers_step(self, model_output: Any = None) -> None:
        self._work.clock.tick()
        self.optimizer.zero_grad()
        model_output.loss.backward()
        nn.utils.clip_grad_value_(self.model.parameters(), self._work.config.grad_clip or 0.0)
        self.optimizer.step()


def train(work: Work, setting: Setting) -> nn.Module:
    """Trains our module inside pythae's."""
    config, model = work.config, work.model()
    nets = (Encoder(model, variational=config.variational), Decoder(model))
    shape = {"input_dim": (784,), "latent_dim": config.latent_dim}
    wrapped = (
        VAE(VAEConfig(reconstruction_loss="bce", **shape), *nets)
        if config.variational
        else CrossEntropyAE(AEConfig(**shape), *nets)
    )
    with tempfile.TemporaryDirectory() as folder:  # it always saves the final model
        options = BaseTrainerConfig(
            output_dir=folder,
            num_epochs=1,
            per_device_train_batch_size=work.batch_size,
            train_dataloader_num_workers=setting.workers,
            seed=work.seed,
            no_cuda=True,
        )
        Trainer(work, setting, wrapped, options).train()
    return model


def _dataset(work: Work) -> Any:
    """As many images as the run takes, in our order, so that an epoch of pythae's own loader is the run."""
    indices = torch.tensor(list(Order(work)))
    return BaseDataset(work.images[indices].float().div_(255), torch.zeros(len(indices)))
