"""The reference classifiers: how well they read MNIST, and that they notice what is no digit."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from trainables import strokes
from trainables.datasets import Dataset
from trainables.measurements.reference import BATCH_SIZE, SEEDS, WEIGHTS, accuracy, available, classify, train
from trainables.registry import DATASETS

NUM_FAST = 2_000


def greys(mnist: Dataset, count: int) -> tuple[Tensor, Tensor]:
    """The first test images, in [0, 1], and their labels."""
    return torch.tensor(mnist.images["test"][:count]) / 255, torch.tensor(mnist.labels["test"][:count]).long()


@pytest.fixture(scope="module")
def probabilities(mnist: Dataset) -> Tensor:
    return classify(greys(mnist, NUM_FAST)[0])


def test_classify_reads_the_first_two_thousand_test_images(mnist: Dataset, probabilities: Tensor) -> None:
    _, labels = greys(mnist, NUM_FAST)
    assert (probabilities.argmax(2) == labels).sum(1).tolist() == [1_988, 1_985, 1_989]


@pytest.mark.slow
def test_accuracy_on_the_whole_test_set_is_as_documented(mnist: Dataset) -> None:
    found = accuracy(*greys(mnist, 10_000))
    assert (found >= 0.993).all()
    torch.testing.assert_close(found, torch.tensor([0.9960, 0.9948, 0.9956]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("factors", [2, 8, 32])
def test_accuracy_on_strokes_shows_that_they_are_digits(factors: int) -> None:
    drawn = strokes.draw(1_000, factors=factors, seed=1)
    images, labels = torch.tensor(drawn.images).reshape(-1, 784) / 255, torch.tensor(drawn.labels).long()
    assert (accuracy(images, labels) > 0.9).all(), "the controls were to be read at 70 % or better"


def test_accuracy_of_wrong_labels_is_near_nought_and_that_of_one_image_is_nought_or_one(mnist: Dataset) -> None:
    images, labels = greys(mnist, 200)
    assert (accuracy(images, (labels + 1) % 10) < 0.02).all()
    assert set(accuracy(images[:1], labels[:1]).tolist()) <= {0.0, 1.0}


def test_classify_gives_each_classifiers_probabilities_alike_each_time(mnist: Dataset, probabilities: Tensor) -> None:
    images, _ = greys(mnist, NUM_FAST)
    assert probabilities.shape == (len(SEEDS), NUM_FAST, 10) and probabilities.dtype == torch.float32
    torch.testing.assert_close(probabilities.sum(2), torch.ones(len(SEEDS), NUM_FAST))
    assert torch.equal(classify(images[:500]), probabilities[:, :500])
    torch.testing.assert_close(classify(images[:7], (2, 0)), probabilities[[2, 0], :7])
    assert not torch.allclose(probabilities[0], probabilities[1])


def test_classify_is_less_sure_of_two_digits_at_once_and_of_an_empty_page(
    mnist: Dataset, probabilities: Tensor
) -> None:
    images, labels = greys(mnist, NUM_FAST)
    sure = probabilities.amax(2).mean(1)
    assert (sure > 0.97).all()
    apart = labels[::2] != labels[1::2]
    between = (images[::2] + images[1::2])[apart] / 2
    assert (classify(between).amax(2).mean(1) < sure - 0.1).all()
    assert (classify(torch.zeros(1, 784)).amax(2)[:, 0] < sure - 0.1).all()


def test_classify_is_sure_of_noise_too_so_that_being_sure_does_not_make_a_digit() -> None:
    noise = torch.rand(100, 784, generator=torch.Generator().manual_seed(0))
    assert (classify(noise).amax(2).mean(1) > 0.9).all(), "which is why distances to the data stand beside it"


def test_classify_no_images_gives_no_rows() -> None:
    assert classify(torch.empty(0, 784)).shape == (len(SEEDS), 0, 10)


@pytest.mark.parametrize(
    "images", [torch.rand(4, 28, 28), torch.rand(784), torch.rand(4, 783), torch.zeros(4, 784, dtype=torch.uint8)]
)
def test_classify_images_of_another_shape_or_type_raises(images: Tensor) -> None:
    with pytest.raises(ValueError, match=r"`images` must be floats of shape \(n, 784\), but got torch\."):
        classify(images)


def test_available_is_mnist_only() -> None:
    assert [name for name in DATASETS if available(name)] == ["mnist"]


def test_weights_are_small_files() -> None:
    sizes = [path.stat().st_size for path in WEIGHTS.glob("reference-*.safetensors")]
    assert len(sizes) == len(SEEDS) and max(sizes) < 250_000


def test_train_learns_and_the_seed_alone_decides() -> None:
    drawn = strokes.draw(8 * BATCH_SIZE, factors=2, seed=0)
    images = torch.tensor(drawn.images).view(-1, 784)
    labels = torch.tensor(drawn.labels).long()
    first, again, other = (train(seed, images, labels, epochs=epochs) for seed, epochs in ((0, 2), (0, 2), (1, 1)))
    right = first((images / 255).view(-1, 1, 28, 28)).argmax(1) == labels
    assert right.float().mean() > 0.9
    states = [network.state_dict() for network in (first, again, other)]
    assert all(torch.equal(weight, states[1][name]) for name, weight in states[0].items())
    assert not torch.equal(states[0]["0.weight"], states[2]["0.weight"])
