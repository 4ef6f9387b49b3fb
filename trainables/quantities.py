"""Quantities that a trial records beside METRICS: profiles and kinds of images, with unit and meaning.

A profile is a list of numbers at one step. Tables hold one row for each of its numbers, with its place as `index`.
Measurements of plugins may record names of their own, which are not in these lists. Standard library only.
"""

from __future__ import annotations

from dataclasses import dataclass

from trainables.registry import unknown


@dataclass(frozen=True)
class Quantity:
    """A profile quantity.

    `unit`: of each number; `index`: what the numbers are counted by, or a word for each of them, or empty where there
    is one number; `by`: the measurement, curve or task that records it, or "evaluation", which every network and PCA
    has; `recorded`: False for those that only tables of earlier versions hold.
    """

    name: str
    unit: str
    index: str | tuple[str, ...]
    by: str
    meaning: str
    recorded: bool = True

    @property
    def words(self) -> tuple[str, ...]:
        """The word of each number, in the order of the tables' `index`; empty where the numbers have none."""
        return self.index if isinstance(self.index, tuple) else ()

    def place(self, word: object) -> int:
        """The tables' `index` of the number with this word; raises ValueError naming the nearest word."""
        if not isinstance(word, str) or word not in self.words:
            raise ValueError(unknown(word, self.words, what=f"index of {self.name}"))
        return self.words.index(word)


@dataclass(frozen=True)
class ImageKind:
    """A kind of recorded image, uint8 in the shape of its dataset's images.

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


_LATENT, _DIGIT = "latent", "digit"
_SCALE = tuple(f"{size} neighbours" for size in (5, 10, 20, 50, 100))
_LABELS = ("100 labels", "1,000 labels", "10,000 labels", "55,000 labels")
_CLASSIFIERS = tuple(f"classifier {seed}" for seed in range(3))
_PATH = tuple(f"{10 * tenth} % of the way" for tenth in range(11))
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
    Quantity("code_label", "class", "test image", "evaluation", "label of the image at code_0 and code_1, if any"),
    *(
        Quantity(f"grid_axis_{axis}", "code", "grid line", "evaluation", f"latent {axis} of the `grid` images")
        for axis in range(2)
    ),
    Quantity("spectrum", "squared grey", "rank", "pca", "eigenvalues of the training images' covariance, falling"),
    Quantity(
        "neg_iw_bound",
        "nats/image",
        ("1 sample", "10 samples", "100 samples"),
        "bound",
        "minus the importance-weighted bound, VAE only",
    ),
    Quantity(
        "jacobian_rank",
        "latents",
        ("median", "lower quartile", "upper quartile"),
        "jacobian",
        "rank of the decoder's Jacobian",
    ),
    Quantity(
        "principal_cos2", "", "angle", "subspace", "squared cosines between the decoder's columns and PCA, falling"
    ),
    Quantity(
        "image_cos2", "", "angle", "subspace", "the same of the reconstructions' leading directions, linear nets only"
    ),
    Quantity(
        "canonical_cos2", "", "pair", "subspace", "squared canonical correlations of codes and PCA scores, falling"
    ),
    Quantity("logistic_pca_nll", "nats/image", "", "logistic_pca", "test_nll of logistic PCA with as many components"),
    Quantity("decoder_cosine", "", "", "subspace", "mean |cosine| of two different decoder columns"),
    Quantity("variance_rank", "", "", "subspace", "minus Spearman's correlation of index and explained variance"),
    Quantity("probe_linear", "share", _LABELS, "probes", "test accuracy of a linear classifier"),
    Quantity("probe_knn", "share", _LABELS, "probes", "test accuracy of 10 nearest neighbours"),
    *(
        Quantity(
            f"probe_{name}/{seed}",
            "share",
            _LABELS,
            "probes",
            f"probe_{name} of a result without a seed, with the labels that seed {seed} draws",
        )
        for name in ("linear", "knn")
        for seed in range(1, 5)
    ),
    Quantity("recognition", "share", "", "recognition", "reconstructions that the reference classifiers read right"),
    Quantity("recognition_by_classifier", "share", _CLASSIFIERS, "recognition", "recognition by each classifier"),
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
            ("interpolation", _PATH, "mean over pairs of test images"),
            ("data", "", "mean over test images"),
        )
    ),
    *(
        Quantity(f"{what}_{name}", unit, "", "fidelity", f"{meaning}, of {of}")
        for name, unit, meaning in (
            ("precision", "share", "share that lies among training images, in the classifiers' features"),
            ("frechet", "features^2", "squared Fréchet distance to training images, in the classifiers' features"),
        )
        for what, of in (
            ("sample", "images drawn from the prior or from a Gaussian fitted to the codes"),
            ("interpolation", "images half-way between two test images' codes"),
            ("data", "test images"),
            ("double", "means of two test images"),
            ("one_image", "one drawn image over and over"),
        )
    ),
    Quantity(
        "factor_r2", "", ("linear", "quadratic"), "factors", "variance of the pen's factors that the codes explain"
    ),
    Quantity(
        "aggregate_kl", "nats", _LATENT, "aggregate", "KL of each latent's aggregate posterior to N(0, 1), VAE only"
    ),
    Quantity(
        "projection_sse",
        "squared grey/image",
        ("encoded", "optimised"),
        "projection",
        "squared error at the image's own code, and at the best code that a search reaches from there",
    ),
    Quantity(
        "denoising_nll",
        "nats/image",
        ("network", "noisy image"),
        "denoising",
        "Eq. 1 of what the network makes of images with noise, and of these images themselves",
    ),
    Quantity("dimension_points", "points", "", "intrinsic_dimension", "different images that were read"),
    Quantity("dimension_neighbours", "points", _SCALE, "intrinsic_dimension", "the neighbourhood sizes"),
    *(
        Quantity(f"dimension_{name}", "dimensions", _SCALE, "intrinsic_dimension", f"of the images, by {estimator}")
        for name, estimator in _ESTIMATORS.items()
    ),
    Quantity("dimension_twonn", "dimensions", "", "intrinsic_dimension", "of the images, by TwoNN"),
    Quantity(
        "ties",
        "share",
        ("2 neighbours", *_SCALE),
        "intrinsic_dimension",
        "equal successive distances to them",
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
            *("denoising", "logistic_pca", "fidelity", "redrawn", "factors", "aggregate"),
        )
    ),
    *_IN_TABLES_OF_OLD,
)
QUANTITIES: dict[str, Quantity] = {quantity.name: quantity for quantity in _ALL}
"""Every profile quantity by its name."""

_KINDS = (
    ImageKind("input", "class", "evaluation", "the first test image of each of ten classes, or the first ten"),
    ImageKind("reconstruction", "class", "evaluation", "what the network makes of these"),
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
    ImageKind("interpolation", "pair of images", "walks", "decoded between two test images", value="share of the way"),
    ImageKind("redrawn", "test image", "redrawn", "what the network makes of the first test images"),
    ImageKind("generated", "draw", "generation", "decoded from the codes that sample_* are read at", recorded=False),
)
IMAGE_KINDS: dict[str, ImageKind] = {kind.name: kind for kind in _KINDS}
"""Every kind of recorded image by its name."""
