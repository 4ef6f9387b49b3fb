"""Quantities that a trial records beside METRICS: profiles and kinds of images, with unit and meaning.

A profile is a list of numbers at one step. Tables hold one row for each of its numbers, with its place as `index`.
Measurements of plugins may record names of their own, which are not in these lists. Standard library only.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Quantity:
    """A profile quantity.

    `unit`: of each number; `index`: what the numbers are counted by, empty where there is one number; `by`: the
    measurement, curve or task that records it, or "evaluation", which every network and PCA has; `recorded`: False for
    those that only tables of earlier versions hold.
    """

    name: str
    unit: str
    index: str
    by: str
    meaning: str
    recorded: bool = True


@dataclass(frozen=True)
class ImageKind:
    """A kind of recorded image, 28x28 uint8.

    `index`: what the images are counted by; `by`: as for a Quantity; `axis`, `value`: what these columns of the images'
    table hold, empty where they are null.
    """

    name: str
    index: str
    by: str
    meaning: str
    axis: str = ""
    value: str = ""
    recorded: bool = True


_LATENT, _DIGIT, _SCALE = "latent", "digit", "neighbourhood size: 5, 10, 20, 50, 100"
_ESTIMATORS = {"mle": "Levina & Bickel, pooled", "mle_mean": "Levina & Bickel, mean over points", "gride": "Gride"}
_IN_TABLES_OF_OLD = (
    Quantity(
        "test_nll_by_label", "nats/image", _DIGIT, "evaluation", "test_nll of each digit's images", recorded=False
    ),
    Quantity(
        "jacobian_spectrum", "share", _LATENT, "jacobian", "median singular value / the largest one", recorded=False
    ),
    Quantity(
        "recognition_by_label", "share", _DIGIT, "recognition", "recognition of each digit's images", recorded=False
    ),
    Quantity("traversal_latent", "", "rank by sd", "walks", "the latents whose codes vary most", recorded=False),
    Quantity("traversal_sd", "code", "rank by sd", "walks", "sd of these latents' codes", recorded=False),
    Quantity("cube_queries", "points", "", "intrinsic_dimension", "cube points with neighbours", recorded=False),
)
_ALL = (
    Quantity(
        "test_nll_floor", "nats/image", "", "evaluation", "Eq. 1 of the test images at themselves: its least value"
    ),
    Quantity("test_nll_mean_image", "nats/image", "", "evaluation", "Eq. 1 of the mean training image as the answer"),
    Quantity("test_nll_by_block", "nats/image", "block of 100 test images", "evaluation", "test_nll of each block"),
    Quantity(
        "code_variance", "code^2", _LATENT, "evaluation", "variance over test images of the code or posterior mean"
    ),
    Quantity("kl_per_latent", "nats/image", _LATENT, "evaluation", "KL(q(z|x) || N(0, I)) of each latent, VAE only"),
    *(
        Quantity(f"code_{axis}", "code", "test image", "evaluation", f"latent {axis} of a two-dimensional code")
        for axis in range(2)
    ),
    Quantity("code_label", "digit", "test image", "evaluation", "label of the image at code_0 and code_1"),
    *(
        Quantity(f"grid_axis_{axis}", "code", "grid line", "evaluation", f"latent {axis} of the `grid` images")
        for axis in range(2)
    ),
    Quantity("spectrum", "squared grey", "rank", "pca", "eigenvalues of the training images' covariance, falling"),
    Quantity(
        "neg_iw_bound", "nats/image", "1, 10, 100 samples", "bound", "minus the importance-weighted bound, VAE only"
    ),
    Quantity("jacobian_rank", "latents", "median, lower, upper quartile", "jacobian", "rank of the decoder's Jacobian"),
    Quantity(
        "principal_cos2", "", "angle", "subspace", "squared cosines between the decoder's columns and PCA, falling"
    ),
    Quantity("decoder_cosine", "", "", "subspace", "mean |cosine| of two different decoder columns"),
    Quantity("variance_rank", "", "", "subspace", "minus Spearman's correlation of index and explained variance"),
    Quantity("probe_linear", "share", "100, 1000, 10000, all labels", "probes", "test accuracy of a linear classifier"),
    Quantity("probe_knn", "share", "100, 1000, 10000, all labels", "probes", "test accuracy of 10 nearest neighbours"),
    *(
        Quantity(
            f"probe_{name}/{seed}",
            "share",
            "100, 1000, 10000 labels",
            "probes",
            f"probe_{name} of a result without a seed, with the labels that seed {seed} draws",
        )
        for name in ("linear", "knn")
        for seed in range(1, 5)
    ),
    Quantity("recognition", "share", "", "recognition", "reconstructions that the reference classifiers read right"),
    Quantity("recognition_originals", "share", "", "recognition", "test images that they read right"),
    Quantity("recognition_curve", "share", "", "recognition_curve", "recognition by the first one, while training"),
    *(
        Quantity(f"{what}_{name}", unit, index, "generation", f"{meaning}, {of}")
        for name, unit, meaning in (
            ("confidence", "share", "the classifiers' largest class probability"),
            ("distance", "squared grey/image", "squared distance to the nearest training image"),
        )
        for what, index, of in (
            ("sample", "", "mean over images drawn from the prior or from a Gaussian fitted to the codes"),
            ("interpolation", "tenths of the way", "mean over pairs of test images"),
            ("data", "", "mean over test images"),
        )
    ),
    Quantity("projection_sse", "squared grey/image", "as encoded, at the best code", "projection", "squared error"),
    Quantity("denoising_nll", "nats/image", "by the network, by nobody", "denoising", "Eq. 1 of images with noise"),
    Quantity("dimension_points", "points", "", "intrinsic_dimension", "different images that were read"),
    Quantity("dimension_neighbours", "points", _SCALE, "intrinsic_dimension", "the neighbourhood sizes"),
    *(
        Quantity(f"dimension_{name}", "dimensions", _SCALE, "intrinsic_dimension", f"of the images, by {estimator}")
        for name, estimator in _ESTIMATORS.items()
    ),
    Quantity("dimension_twonn", "dimensions", "", "intrinsic_dimension", "of the images, by TwoNN"),
    Quantity(
        "ties", "share", "2, 5, 10, 20, 50, 100 neighbours", "intrinsic_dimension", "equal successive distances to them"
    ),
    Quantity("cube_dims", "dimensions", "cube", "intrinsic_dimension", "dimensions of flat uniform cubes"),
    Quantity("cube_points", "points", "", "intrinsic_dimension", "points of each cube"),
    *(
        Quantity(
            f"cube_{name}_{k}", "dimensions", "cube", "intrinsic_dimension", f"of each cube, by {estimator}, k = {k}"
        )
        for name, estimator in _ESTIMATORS.items()
        for k in (5, 10, 20, 50, 100)
    ),
    Quantity("cube_twonn", "dimensions", "cube", "intrinsic_dimension", "of each cube, by TwoNN"),
    *(
        Quantity(f"{name}_s", "s", "", name, "duration of the measurement")
        for name in (
            *("bound", "jacobian", "subspace", "probes", "recognition", "generation", "walks", "projection"),
            "denoising",
        )
    ),
    *_IN_TABLES_OF_OLD,
)
QUANTITIES: dict[str, Quantity] = {quantity.name: quantity for quantity in _ALL}
"""Every profile quantity by its name."""

_KINDS = (
    ImageKind("input", "digit", "evaluation", "the first test image of each digit"),
    ImageKind("reconstruction", "digit", "evaluation", "what the network makes of these"),
    ImageKind("sample", "draw", "evaluation", "decoded from the prior, VAE only"),
    ImageKind("grid", "place, row by row", "evaluation", "decoded on a grid over a two-dimensional code"),
    ImageKind(
        "traversal",
        "rank of the latent by its sd",
        "walks",
        "the first test image's code with one latent moved",
        axis="latent",
        value="its place, sd from its mean",
    ),
    ImageKind("interpolation", "pair of digits", "walks", "decoded between two test images", value="share of the way"),
    ImageKind("generated", "draw", "generation", "decoded from the codes that sample_* are read at", recorded=False),
)
IMAGE_KINDS: dict[str, ImageKind] = {kind.name: kind for kind in _KINDS}
"""Every kind of recorded image by its name."""
