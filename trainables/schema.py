"""The schema of a trial: the fields of TrialConfig, the names that they may take, and the metrics of a trial.

This module is the vocabulary of the whole project: specs are written in it, tables and figures are labelled by it.
It imports neither torch nor ray.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, model_validator

from trainables.registry import ACTIVATIONS, DATASETS, MODELS, unknown

RESULTS_VERSION = 1
"""Raised with each change that alters results; part of every replicate's hash. See CHANGELOG.md."""

CONTENT = "sha256:"
"""Begins the digest of a user's own images, which alone names them in a replicate's hash: their file may move."""

IMAGE_FRACTIONS = (0.2, 0.6, 1.0)
"""Shares of the run at which images are recorded: Fig. 2's 10,000, 30,000 and 50,000 of 50,000 steps."""

_REGISTRIES: dict[str, Mapping[str, object]] = {
    "dataset": DATASETS,
    "model": MODELS,
    "activation": ACTIVATIONS,
}
_TRAINED = frozenset(
    "model activation hidden_dims output likelihood init learning_rate learning_rate_schedule batch_size steps "
    "evaluations l2 grad_clip weight_dropout input input_noise precision".split()
)
_WIDEST, _LONGEST = 100_000, 999_999_999  # far beyond use; a file name holds nine digits of a step
_OUTPUTS = {
    "bernoulli": ("sigmoid", "clipped"),
    "gaussian": ("sigmoid", "identity"),
    "continuous_bernoulli": ("sigmoid",),
}
_PATHS = " Images of one's own are named by the path of their file or folder."
_VARIATIONAL = frozenset("beta kl_warmup_steps posterior".split())
_SUBSAMPLE = frozenset("sample_size digit".split())


class TrialConfig(BaseModel):
    """Everything that decides a trial's result but the seed. Frozen; fields that do not apply are None.

    A field left out takes its default where it applies. `applies` tells which fields do. Source of the defaults:
    the paper, and where it is silent, the code base that it was built on (`vae-tf`); see docs/tables.md.

    Raises:
        pydantic.ValidationError: An unknown key, a value outside its range, a field that does not apply.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    task: Literal["train", "pca", "intrinsic_dimension"] = Field(
        "train", description="train a network, fit PCA in closed form, or estimate the dimension of the images"
    )
    dataset: str = Field("mnist", description="a name in DATASETS, or of a file or folder of one's own images")
    latent_dim: int | None = Field(5, ge=1, le=_WIDEST, description="N, the width of the bottleneck")
    model: str | None = Field("autoencoder", description="a name in MODELS")
    activation: str | None = Field("elu", description="a name in ACTIVATIONS; used on the hidden layers only")
    hidden_dims: tuple[int, ...] | None = Field((500, 500), description="encoder widths; the decoder mirrors them")
    output: Literal["sigmoid", "clipped", "identity"] | None = Field(
        "sigmoid",
        description="decoder mean: sigmoid, or identity clipped to [1e-7, 1 - 1e-7], or plain identity; "
        "the continuous Bernoulli's parameter, not its mean; PCA's is clipped, or identity",
    )
    likelihood: Literal["bernoulli", "gaussian", "continuous_bernoulli"] | None = Field(
        "bernoulli",
        description="Eq. 1 of the paper, a Gaussian with one learned scale, or the normalised Eq. 1 "
        "(Loaiza-Ganem & Cunningham 2019); no loss of one is comparable with another's",
    )
    init: Literal["he", "default", "xavier"] | None = Field("he", description="weights; default is PyTorch's own")
    learning_rate: float | None = Field(5e-4, gt=0, description="of Adam")
    learning_rate_schedule: Literal["constant", "cosine"] | None = Field(
        "constant", description="over the run; cosine: falling to 0 at the last step"
    )
    batch_size: int | None = Field(100, ge=1, le=1_000_000, description="images a step")
    steps: int | None = Field(50_000, ge=1, le=_LONGEST, description="training steps")
    evaluations: int | None = Field(
        50, ge=1, le=10_000, description="equally spaced evaluations, after a log-spaced start"
    )
    l2: float | None = Field(1e-5, ge=0, description="adds l2 * ||W||^2 / 2 over the weights, not the biases")
    grad_clip: float | None = Field(5.0, ge=0, description="gradients are clipped elementwise to +-this; 0 is off")
    weight_dropout: float | None = Field(0.0, ge=0, lt=1, description="share of weights dropped at each step")
    input: Literal["grey", "binarised"] | None = Field(
        "grey",
        description="what is encoded and is the likelihood's target: grey images, or Bernoulli samples of them, new "
        "at each step and fixed by seed and split in evaluations; Eq. 1, sse and all else compare with grey images",
    )
    input_noise: float | None = Field(
        0.0, ge=0, description="sd of Gaussian noise added to the input, then clipped to [0, 1]; the target is clean"
    )
    precision: Literal["fp32", "tf32", "bf16"] | None = Field(
        "fp32",
        description="of the training step's matrix products; tf32 where the device has it; bf16: activations too",
    )
    beta: float | None = Field(1.0, ge=0, description="weight of the KL term")
    kl_warmup_steps: int | None = Field(0, ge=0, le=_LONGEST, description="steps over which beta rises linearly from 0")
    posterior: Literal["diagonal", "spherical"] | None = Field("diagonal", description="covariance of q(z|x)")
    sample_size: int | None = Field(
        10_000, ge=1, le=_LONGEST, description="training images, drawn by the seed, that a dimension is estimated from"
    )
    digit: int | None = Field(None, ge=0, le=9, description="the class that a dimension is estimated of; none: all")

    @model_validator(mode="before")
    @classmethod
    def _null_what_does_not_apply(cls, fields: Any) -> Any:
        if not isinstance(fields, Mapping):
            return fields
        check_keys(fields, cls.model_fields, what="field")
        applicable = applies(fields)
        for key, value in fields.items():
            if key not in applicable and value is not None:
                raise ValueError(
                    f"`{key}` does not apply to {_describe(fields)}, but got {key}={value!r}: leave it out."
                )
        present = {key: value for key, value in fields.items() if value is not None}
        return present | {key: None for key in cls.model_fields if key not in applicable}

    @model_validator(mode="after")
    def _check(self) -> TrialConfig:
        for field, registry in _REGISTRIES.items():
            name = getattr(self, field)
            if name is not None and name not in registry:
                raise ValueError(unknown(name, registry, what=field) + _PATHS * (field == "dataset"))
        if self.hidden_dims is not None and not all(1 <= width <= _WIDEST for width in self.hidden_dims):
            raise ValueError(f"`1 <= hidden_dims <= {_WIDEST}` must hold, but got hidden_dims={self.hidden_dims}.")
        if self.likelihood is not None and self.output not in _OUTPUTS[self.likelihood]:
            raise ValueError(
                f"`output` must be {' or '.join(_OUTPUTS[self.likelihood])} under the {self.likelihood} likelihood, "
                f"but got {self.output!r}."
            )
        if self.input == "binarised" and self.likelihood != "bernoulli":
            raise ValueError(f"`input` must be grey under the {self.likelihood} likelihood, but got {self.input!r}.")
        return self

    @property
    def variational(self) -> bool:
        """Whether the model has a posterior, so that `kl`, `neg_elbo` and `active_units` exist."""
        return self.model is not None and MODELS[self.model].variational

    @property
    def width(self) -> int:
        """`latent_dim` as a number: 0 for a task without a bottleneck."""
        return self.latent_dim or 0

    @property
    def seeded(self) -> bool:
        """Whether a result depends on the seed: PCA has none."""
        return self.task != "pca"

    @property
    def evaluation_steps(self) -> list[int]:
        """Steps at which a trial is evaluated: 0, a log-spaced start to 1 % of the run, then equally spaced."""
        steps, evaluations = self.steps or 0, self.evaluations or 1
        start = [base * 10**power for power in range(9) for base in (1, 2, 5)]
        early = {step for step in start if step <= steps / 100}
        regular = {round(steps * index / evaluations) for index in range(evaluations + 1)}
        return sorted({0} | early | regular | set(self.image_steps))

    @property
    def image_steps(self) -> list[int]:
        """Steps at which images and profiles are recorded."""
        return [round((self.steps or 0) * fraction) for fraction in IMAGE_FRACTIONS]

    def identity(self) -> dict[str, Any]:
        """The fields that differ from their defaults: what the replicate's hash covers.

        Leaving defaults out lets a field be added to TrialConfig without renaming former results. In return a
        default may not change without raising RESULTS_VERSION (`tests/trainables/test_schema.py` holds them).
        """
        defaults = type(self).model_fields
        dumped = self.model_dump(mode="json", exclude_none=True)
        return {key: value for key, value in dumped.items() if getattr(self, key) != defaults[key].get_default()}


def applies(given: Mapping[str, Any]) -> frozenset[str]:
    """Names of the TrialConfig fields that apply to a trial with these `task` and `model`; all if one is unknown."""
    fields = frozenset(TrialConfig.model_fields)
    task, model = given.get("task") or "train", given.get("model") or "autoencoder"
    if task == "intrinsic_dimension":
        return _SUBSAMPLE | {"task", "dataset"}
    if task == "pca":
        head = {"output"} if given.get("output") == "identity" else set()  # left out, it is clipped
        return (fields - _TRAINED - _VARIATIONAL - _SUBSAMPLE) | head
    if task != "train" or not isinstance(model, str) or model not in MODELS:
        return fields
    return fields - _SUBSAMPLE - (frozenset() if MODELS[model].variational else _VARIATIONAL)


@dataclass(frozen=True)
class Replicate:
    """One cell trained with one seed: the unit of the study."""

    cell: str
    config: TrialConfig
    seed: int
    data_digest: str

    @cached_property
    def hash(self) -> str:
        """16 hex digits over config, seed, data and RESULTS_VERSION; not over device, threads, commit or pack.

        The dataset's name counts too, but for a user's own images, whose digest says all.
        """
        config = self.config.identity()
        if self.data_digest.startswith(CONTENT):
            config.pop("dataset", None)
        content = {
            "config": config,
            "seed": self.seed,
            "data": self.data_digest,
            "results_version": RESULTS_VERSION,
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    def described(self) -> dict[str, Any]:
        """The replicate's description in its record."""
        named = {"cell": self.cell, "seed": self.seed, "data_digest": self.data_digest}
        return named | {"config": self.config.model_dump(mode="json")}


class Metric(NamedTuple):
    """A reported number: its unit, whether less (`min`) or more (`max`) is better, and its meaning."""

    unit: str
    mode: Literal["min", "max"] | None
    description: str


_SPLIT_METRICS = {
    "nll": Metric("nats/image", "min", "Eq. 1 of the grey image on the mean of p(x|z); VAE: at one sampled z"),
    "nll_mean": Metric("nats/image", "min", "Eq. 1 of the grey image on the mean of p(x|z) at the posterior mean"),
    "nll_model": Metric("nats/image", "min", "-log p(x|z) of the model's own target by its own likelihood"),
    "kl": Metric("nats/image", "min", "KL(q(z|x) || N(0, I)); null without a posterior"),
    "neg_elbo": Metric("nats/image", "min", "nll_model + kl, beta never in it; null without a posterior"),
    "sse": Metric("squared grey/image", "min", "squared error to the grey image of that mean at the posterior mean"),
    "pixel_variance": Metric("squared grey", "max", "mean over pixels of the reconstructions' variance over images"),
    "active_units": Metric("units", None, "latents with Var_x E_q[z] > 0.01; null without a posterior"),
}
METRICS: dict[str, Metric] = {
    "loss": Metric("nats/image", "min", "what was minimised, L2 term apart, on the step's own batch"),
    "train_nll": Metric("nats/image", "min", "Eq. 1 of the step's own batch, in grey, before the step's update"),
    **{f"{split}_{name}": metric for split in ("val", "test") for name, metric in _SPLIT_METRICS.items()},
}
"""Every metric of the results table. Every loss is a sum over pixels, per image, in nats."""

COLLAPSED_PIXEL_VARIANCE = 1e-4
"""Below this `test_pixel_variance` a network draws the same image whatever it is shown: it has collapsed."""


def check_keys(given: Mapping[str, Any], known: Iterable[str], *, what: str) -> None:
    """Raises ValueError, naming the nearest right one, if `given` has a key that is not in `known`."""
    known = list(known)
    for key in given:
        if key not in known:
            raise ValueError(unknown(key, known, what=what))


def _describe(given: Mapping[str, Any]) -> str:
    task = given.get("task", "train")
    return f"task={task!r}" if task != "train" else f"model={given.get('model') or 'autoencoder'!r}"
