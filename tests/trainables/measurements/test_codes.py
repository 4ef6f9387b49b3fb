"""What the codes tell of the digit, what a network draws, and what holds of every measurement."""

import pkgutil

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from tests.support.networks import collapsed, linear, pca, random, subject, tensors, untrained
from trainables import metrics
from trainables.measurements import (
    cognate,
    fidelity,
    generation,
    latent_space,
    neighbours,
    probes,
    reference,
    surface,
    walks,
)
from trainables.registry import CURVES, MEASUREMENTS


@pytest.fixture(scope="module")
def data(tiny):
    return tensors(tiny)


@pytest.fixture
def brief(monkeypatch):
    """Measurements on few images."""
    for module, name, value in [
        (latent_space, "NUM_IMAGES", 20),
        (latent_space, "BOUND_SAMPLES", (1, 3)),
        (surface, "NUM_PROJECTED", 20),
        (surface, "STEPS", 5),
        (generation, "NUM_SAMPLES", 30),
        (generation, "NUM_PAIRS", 12),
        (generation, "NUM_DATA", 25),
        (probes, "PROBE_LABELS", (50, 600)),
        (cognate, "SWEEPS", 2),
        (fidelity, "NUM_DRAWN", 60),
        (fidelity, "NUM_REAL", 100),
        (walks, "NUM_REDRAWN", 7),
    ]:
        monkeypatch.setattr(module, name, value)


# Probes


def clusters(count, seed=1, spread=0.1):
    """Codes `(count, 3)` around one centre a class, far apart, and their classes, of four."""
    labels = torch.arange(count) % 4
    centres = torch.tensor([[3.0, 0, 0], [0, 3, 0], [0, 0, 3], [-3, -3, -3]])
    return (centres[labels] + spread * random(count, 3, seed=seed)).double(), labels


@pytest.mark.parametrize("answers", [probes.linear_answers, probes.neighbour_answers])
def test_answers_on_separable_codes_are_right_with_few_and_many_labels(answers):
    test, truth = clusters(200, seed=2)
    few, many = answers(*clusters(1100), test, [100, 1100])
    assert (few == truth).all() and (many == truth).all()


@pytest.mark.parametrize("answers", [probes.linear_answers, probes.neighbour_answers])
def test_answers_on_shuffled_labels_of_training_and_test_codes_are_at_chance(answers):
    (train, labels), (test, truth) = clusters(4000), clusters(4000, seed=2)
    shuffled, other = labels[torch.randperm(4000)], truth[torch.randperm(4000)]
    (answer,) = answers(train, shuffled, test, [4000])
    assert (answer == other).double().mean().item() == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize("tree_dims", [0, 3])
def test_neighbour_answers_agree_with_scikit_learn(monkeypatch, tree_dims):
    monkeypatch.setattr(neighbours, "TREE_DIMS", tree_dims)
    train, labels = clusters(3000, spread=3.0)  # of more than one tile, and with ties
    test, _ = clusters(700, seed=2, spread=3.0)
    sizes = [1, 6, 50, 3000]
    for size, answer in zip(sizes, probes.neighbour_answers(train, labels, test, sizes), strict=True):
        theirs = KNeighborsClassifier(min(10, size)).fit(train[:size].numpy(), labels[:size].numpy())
        assert answer.tolist() == theirs.predict(test.numpy()).tolist()


@pytest.mark.parametrize("count", [40, 400])
def test_fit_logistic_agrees_with_scikit_learn(count):
    codes, labels = clusters(count, spread=2.0)
    codes *= torch.tensor([3.0, 0.5, 0.05])  # some latents are far smaller
    weight, bias = probes.fit_logistic(codes, labels, 4)
    theirs = LogisticRegression(tol=1e-8, max_iter=10_000).fit(codes.numpy(), labels.numpy())
    torch.testing.assert_close(weight.T, torch.tensor(theirs.coef_), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(bias - bias.mean(), torch.tensor(theirs.intercept_), atol=1e-3, rtol=1e-3)


def test_linear_answers_never_name_a_class_without_labels():
    codes, labels = clusters(400)
    first, _ = probes.linear_answers(codes[labels.argsort()], labels.sort().values, codes, [300, 400])
    assert first.unique().tolist() == [0, 1, 2]


def test_scaled_keeps_the_latents_proportions_and_angles():
    train, test = probes.scaled(random(500, 2) * torch.tensor([3.0, 4.0]) + 7, random(5, 2))
    assert train.mean(0).tolist() == pytest.approx([0, 0], abs=1e-12)
    assert train.var(0, correction=0).mean().item() == pytest.approx(1)
    assert (train[:, 1].std() / train[:, 0].std()).item() == pytest.approx(4 / 3, rel=0.1)
    assert test.dtype == torch.float64


def test_probes_do_not_depend_on_the_basis_of_the_code(data):
    basis = pca(4, data).model.components.detach()
    rotation = torch.linalg.qr(random(4, 4))[0]
    plain, rotated = (probes.measure_probes(linear(b.T, 5 * b, data)).profiles for b in (basis, rotation @ basis))
    for name in ("probe_linear", "probe_knn"):
        assert rotated[name] == pytest.approx(plain[name], abs=0.011)


def test_probes_read_pca_codes_better_the_more_labels_they_have(data):
    profiles = probes.measure_probes(pca(20, data)).profiles
    for values in (profiles["probe_linear"], profiles["probe_knn"]):
        assert len(values) == 4 and values[1:] == values[1:2] * 3  # there are but 600 labels
        assert 0.3 < values[0] < values[1] <= 1


def test_probes_of_a_collapsed_network_are_at_chance(data):
    share = data[1]["test"].bincount().max().item() / 300
    for values in probes.measure_probes(collapsed(data)).profiles.values():
        assert max(values) <= share


def test_probes_draw_other_labels_for_another_seed_and_pca_has_those_of_several(data):
    closed = pca(5, data)
    basis = closed.model.components.detach()
    net = linear(basis.T, basis, data)  # its codes are PCA's, but for their centre
    found = probes.measure_probes(closed).profiles
    assert found == probes.measure_probes(closed).profiles
    for name in ("probe_linear", "probe_knn"):
        drawn = [found[name], *(found[f"{name}/{seed}"] for seed in range(1, probes.LABEL_DRAWS))]
        assert len({accuracy[0] for accuracy in drawn}) > 1 and len({accuracy[3] for accuracy in drawn}) == 1
        for seed, accuracy in enumerate(drawn):
            own = probes.measure_probes(subject(net.model, net.config, data, seed)).profiles
            assert set(own) == {"probe_linear", "probe_knn"} and own[name] == pytest.approx(accuracy, abs=0.011)


def test_probes_of_one_class_are_not_measured(data):
    images, labels = data
    one = {split: torch.full_like(label, 7) for split, label in labels.items()}
    assert probes.measure_probes(pca(3, (images, one))).profiles == {}


# Recognition and generation


@pytest.fixture(scope="module")
def digits(mnist):
    """Two thousand real training images, and the first 200 test images."""
    images, labels = tensors(mnist)
    cut = {"train": 2000, "test": 200}
    return {s: images[s][:n] for s, n in cut.items()}, {s: labels[s][:n] for s, n in cut.items()}


def test_recognition_of_a_network_that_copies_is_that_of_the_originals(digits):
    profiles = generation.measure_recognition(linear(torch.eye(784), torch.eye(784), digits)).profiles
    assert profiles["recognition"] == profiles["recognition_originals"]
    assert profiles["recognition"][0] > 0.97


def test_recognition_of_a_collapsed_network_is_at_chance(digits):
    profiles = generation.measure_recognition(collapsed(digits)).profiles
    assert profiles["recognition"][0] < 0.2 and profiles["recognition_originals"][0] > 0.97


def test_recognition_of_blurred_digits_lies_between(digits):
    profiles = generation.measure_recognition(pca(8, digits)).profiles
    assert 0.3 < profiles["recognition"][0] < profiles["recognition_originals"][0]
    each = reference.accuracy(
        pca(8, digits).decode(pca(8, digits).codes(digits[0]["test"])).clamp(0, 1), digits[1]["test"]
    )
    assert profiles["recognition_by_classifier"] == pytest.approx(each.tolist())
    assert profiles["recognition"][0] == pytest.approx(each.mean().item())


def test_recognition_curve_is_that_of_the_first_classifier(digits, small):
    network = untrained(small(output="clipped"), digits)
    redrawn = metrics.reconstruct(network.model, digits[0]["test"], network.config) / 255
    expected = reference.accuracy(redrawn, digits[1]["test"])[0].item()
    assert generation.measure_recognition_curve(network).profiles == {"recognition_curve": [pytest.approx(expected)]}


def test_nearest_distances_are_exact():
    train = torch.randint(0, 256, (6000, 30), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    images = torch.cat([train[[5, 5999]] / 255, torch.rand(20, 30)])
    expected = torch.cdist(images.double(), train.double() / 255).square().min(1).values
    found = generation.nearest_distances(images, train)
    assert found[:2].tolist() == [0, 0]
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-9)


def test_sample_codes_of_an_autoencoder_have_the_codes_mean_and_covariance(data, monkeypatch):
    monkeypatch.setattr(generation, "NUM_SAMPLES", 20_000)
    basis = torch.linalg.qr(random(784, 3))[0]
    mixed = linear(basis, (torch.eye(3) + 0.5) @ basis.T, data)
    codes = mixed.codes(data[0]["train"]).double()
    drawn = generation.sample_codes(mixed).double()
    spread = codes.std(0)
    assert ((drawn.mean(0) - codes.mean(0)).abs() < 0.03 * spread).all()
    torch.testing.assert_close(drawn.T.corrcoef(), codes.T.corrcoef(), atol=0.03, rtol=0)
    torch.testing.assert_close(drawn.std(0), spread, rtol=0.03, atol=0)


def test_sample_codes_of_a_vae_are_the_prior(data, small, monkeypatch):
    monkeypatch.setattr(generation, "NUM_SAMPLES", 20_000)
    drawn = generation.sample_codes(untrained(small(model="vae"), data))
    torch.testing.assert_close(drawn.T.cov(), torch.eye(3), atol=0.04, rtol=0)


@pytest.mark.parametrize("latent_dim", [1, 3])
def test_sample_codes_of_a_collapsed_network_are_its_code(data, latent_dim):
    assert (generation.sample_codes(collapsed(data, latent_dim)) == 0).all()


def test_generation_of_a_network_that_copies_draws_real_digits_at_the_ends_of_a_path(digits, brief):
    copies = linear(torch.eye(784), torch.eye(784), digits)
    found = generation.measure_generation(copies)
    profiles = found.profiles
    assert {name: len(values) for name, values in profiles.items()} == {
        f"{drawn}_{name}": 11 if drawn == "interpolation" else 1
        for drawn in ("sample", "interpolation", "data")
        for name in ("confidence", "distance")
    }
    path = profiles["interpolation_confidence"]
    assert min(path[0], path[10]) > path[5] + 0.1 and profiles["data_confidence"][0] > path[5] + 0.1
    assert profiles["sample_confidence"][0] < profiles["data_confidence"][0]


def test_generation_of_a_collapsed_network_is_one_image(digits, brief):
    profiles = generation.measure_generation(collapsed(digits)).profiles
    grey = (digits[0]["train"] / 255 - 0.5).square().sum(1).min().item()
    assert profiles["sample_distance"] + profiles["interpolation_distance"] == pytest.approx([grey] * 12, rel=1e-5)
    assert profiles["data_distance"][0] < grey


@pytest.mark.parametrize("name", ["measure_recognition", "measure_recognition_curve", "measure_generation"])
def test_reading_another_dataset_than_mnist_is_not_measured(data, small, name):
    assert getattr(generation, name)(untrained(small(dataset="strokes-4"), data)).profiles == {}


# Walks


def walked(found, kind):
    """Pixels by `(index, value)` of one kind of image."""
    return {(index, value): pixels for shown, index, _, value, pixels in found.images if shown == kind}


def test_walks_of_a_network_that_copies_lead_from_one_digit_to_the_next(digits):
    found = walked(walks.measure_walks(linear(torch.eye(784), torch.eye(784), digits)), "interpolation")
    images, labels = digits[0]["test"], digits[1]["test"]
    first = [images[labels == label][0] for label in range(10)]
    assert set(found) == {(pair, fraction) for pair in range(5) for fraction in walks.FRACTIONS}
    for pair in range(5):
        start, end = first[2 * pair], first[2 * pair + 1]
        assert torch.equal(found[pair, 0.0], start) and torch.equal(found[pair, 1.0], end)
        middle = (start.float() + end.float()) / 2
        torch.testing.assert_close(found[pair, 0.5].float(), middle, atol=1, rtol=0)


def test_walks_move_the_latent_that_varies_most_and_nothing_else(data):
    spread = torch.tensor([0.5, 0.0, 2.0])  # pixel 2's code varies most, pixel 1's not at all
    images = torch.zeros(400, 784, dtype=torch.uint8)
    images[:, :3] = torch.tensor([[100, 100, 100], [150, 150, 150]]).repeat(200, 1)
    labels = torch.arange(400) % 10
    encoder = torch.zeros(3, 784)
    encoder[[0, 1, 2], [0, 1, 2]] = spread
    decoder = torch.zeros(784, 3)
    decoder[[0, 1, 2], [0, 1, 2]] = torch.tensor([2.0, 1.0, 0.5])
    found = walks.measure_walks(linear(decoder, encoder, ({"test": images}, {"test": labels})))
    shown = walked(found, "traversal")
    axes = {rank: axis for kind, rank, axis, _, _ in found.images if kind == "traversal"}
    assert axes == {0: 2, 1: 0, 2: 1} and not found.profiles
    for value in walks.DEVIATIONS:
        assert (
            abs(int(shown[0, value][2]) - (125 + 25 * value)) <= 1
            and abs(int(shown[1, value][0]) - (125 + 25 * value)) <= 1
        )
        assert int(shown[0, value][0]) == int(shown[0, 0.0][0]) and torch.equal(shown[2, value], shown[2, 0.0])


def test_walks_show_at_most_five_latents(digits, small):
    found = walks.measure_walks(untrained(small(latent_dim=12, model="vae"), digits))
    assert len(walked(found, "traversal")) == 35
    assert all(pixels.shape == (784,) and pixels.dtype == torch.uint8 for *_, pixels in found.images)


def test_redrawn_are_the_reconstructions_of_the_first_test_images(digits, monkeypatch):
    monkeypatch.setattr(walks, "NUM_REDRAWN", 3)
    found = walks.measure_redrawn(linear(torch.eye(784), torch.eye(784), digits))
    assert not found.profiles and [row[:2] for row in found.images] == [("redrawn", place) for place in range(3)]
    for place, (*_, pixels) in enumerate(found.images):
        assert torch.equal(pixels, digits[0]["test"][place])


# All of them

EVERY = MEASUREMENTS | CURVES


@pytest.mark.parametrize("kind", ["autoencoder", "vae", "pca"])
def test_every_measurement_repeats_itself_and_leaves_the_network_alone(digits, small, brief, kind):
    network = pca(3, digits) if kind == "pca" else untrained(small(model=kind), digits)
    before = {name: weight.clone() for name, weight in network.model.named_parameters()}
    for path in EVERY.values():
        measure = pkgutil.resolve_name(path)
        first, again = measure(network), measure(network)
        assert first.profiles == again.profiles
        assert all(isinstance(value, float) for values in first.profiles.values() for value in values)
    for name, weight in network.model.named_parameters():
        assert torch.equal(weight, before[name]) and weight.grad is None and weight.requires_grad


@pytest.mark.parametrize("name", EVERY)
def test_every_measurement_of_a_diverged_network_gives_nothing(digits, small, name):
    network = untrained(small(model="vae", activation="linear"), digits)
    with torch.no_grad():
        network.model.mu.weight[0, 4] = torch.nan
    found = pkgutil.resolve_name(EVERY[name])(network)
    assert found.profiles == {} and found.images == []
