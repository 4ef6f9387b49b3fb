"""Packs: each member gets the numbers that it would have alone, whatever the model, the activation and its company."""

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from tests.support.ours import OUR_ACTIVATIONS, OUR_MODELS
from trainables import metrics
from trainables.batches import generator
from trainables.losses import eq_1, model_nll
from trainables.pack import Pack
from trainables.registry import MODELS
from trainables.schema import TrialConfig

MEMBERS = ((0, 2, 0.5), (1, 5, 1.0), (2, 3, 4.0))
SHARED = {"hidden_dims": (16,), "steps": 30, "batch_size": 20}


def configs(model, **fields):
    variational = MODELS[model].variational
    return [
        TrialConfig(model=model, latent_dim=n, **SHARED, **fields, **({"beta": beta} if variational else {}))
        for _, n, beta in MEMBERS
    ]


def trained(members, seeds, images, steps=30):
    pack = Pack(members, seeds, images)
    for _ in range(steps):
        pack.step()
    return pack


@pytest.fixture(scope="module")
def images(tiny):
    return torch.tensor(tiny.images["train"])


def assert_together_as_alone(images, members, steps):
    seeds = [seed for seed, _, _ in MEMBERS]
    together = trained(members, seeds, images, steps).batch_losses()[0]
    alone = torch.cat([trained([c], [s], images, steps).batch_losses()[0] for c, s in zip(members, seeds, strict=True)])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-4)  # nats; a density's loss may be near 0


@pytest.mark.parametrize("steps", [40, pytest.param(200, marks=pytest.mark.slow)])
@pytest.mark.parametrize("activation", OUR_ACTIVATIONS)
@pytest.mark.parametrize("model", OUR_MODELS)
def test_pack_members_equal_the_same_members_alone(images, model, activation, steps):
    assert_together_as_alone(images, configs(model, activation=activation), steps)


@pytest.mark.parametrize("model", OUR_MODELS)
def test_pack_members_after_200_steps_equal_the_same_members_alone(images, model):
    assert_together_as_alone(images, configs(model), steps=200)


OTHER_FIELDS = [
    {"weight_dropout": 0.2},
    {"likelihood": "gaussian"},
    {"init": "default"},
    {"input_noise": 0.5},
    {"learning_rate_schedule": "cosine"},
    {"likelihood": "continuous_bernoulli"},
    {"input": "binarised"},
    {"input": "binarised", "input_noise": 0.5},
]


@pytest.mark.parametrize("fields", OTHER_FIELDS)
@pytest.mark.parametrize("model", OUR_MODELS)
def test_pack_members_with_other_fields_equal_the_same_members_alone(images, model, fields):
    assert_together_as_alone(images, configs(model, **fields), steps=30)


@pytest.mark.parametrize("clips", [(0.0, 1e-3, 5.0), (1e-3, 1e-3, 1e-3), (0.0, 0.0, 0.0)])
@pytest.mark.parametrize("model", OUR_MODELS)
def test_pack_members_with_their_own_init_and_clip_equal_the_same_members_alone(images, model, clips):
    choices = zip(configs(model), ("he", "default", "xavier"), clips, strict=True)
    members = [config.model_copy(update={"init": init, "grad_clip": clip}) for config, init, clip in choices]
    assert_together_as_alone(images, members, steps=30)


@pytest.mark.slow
@pytest.mark.parametrize("model", OUR_MODELS)
def test_pack_of_the_papers_network_ends_like_its_members_alone(mnist, model):
    train, test = torch.tensor(mnist.images["train"]), torch.tensor(mnist.images["test"])
    members, seeds = [TrialConfig(model=model, latent_dim=n) for n in (2, 5, 10)], [0, 1, 2]

    def final(pack):
        pairs = enumerate(zip(pack.configs, pack.seeds, strict=True))
        noises = {i: metrics.evaluation_noise(config, seed, "test", test) for i, (config, seed) in pairs}
        return [metrics.evaluate(pack.module(i), test, pack.configs[i], n).values["nll"] for i, n in noises.items()]

    together = final(trained(members, seeds, train, 2000))
    alone = [final(trained([c], [s], train, 2000))[0] for c, s in zip(members, seeds, strict=True)]
    assert together == pytest.approx(alone, abs=0.2)  # seeds differ by about a nat


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"kl_warmup_steps": 40},
        {"weight_dropout": 0.2},
        {"precision": "bf16"},
        {"likelihood": "continuous_bernoulli"},
        {"input": "binarised"},
    ],
)
def test_pack_update_recorded_once_and_replayed_trains_bit_for_bit_the_same(images, size, fields):
    """What a CUDA graph does, on a CPU: the update's tensor operations, recorded once, are run again and again.

    Fifty steps go over two epochs and two chunks of noise, so a number or a tensor that the record froze would show.
    """
    members, seeds = configs("vae", **fields)[:size], [0, 1, 2][:size]
    plain, replayed = trained(members, seeds, images, 3), trained(members, seeds, images, 3)
    nothing = torch.zeros(())
    record = None
    for _ in range(50):
        plain.step()
        replayed._prepare()
        if record is None:
            record = make_fx(lambda x: (replayed._update(), x)[1])(nothing)  # runs the update while it records it
        else:
            with torch.no_grad():  # the record holds the gradients' operations themselves
                record(nothing)
        replayed.steps_done += 1
    for index in range(size):
        for name, value in plain.state(index).items():
            assert torch.equal(value, replayed.state(index)[name]), name


def test_pack_in_bf16_trains_about_as_well_and_keeps_float32_weights(images):
    full, low = (trained([TrialConfig(**SHARED, precision=p)], [0], images, 300) for p in ("fp32", "bf16"))
    assert all(parameter.dtype == torch.float32 for parameter in low.parameters.values())
    assert not torch.equal(full.batch_losses()[0], low.batch_losses()[0])
    assert low.batch_losses()[0].item() == pytest.approx(full.batch_losses()[0].item(), rel=0.01)


def test_pack_in_tf32_leaves_the_setting_as_it_was_and_on_a_cpu_the_numbers_too(images):
    pairs = [trained([TrialConfig(**SHARED, precision=p)], [0], images, 5).batch_losses()[0] for p in ("fp32", "tf32")]
    assert torch.equal(*pairs)
    assert torch.get_float32_matmul_precision() == "highest"


@pytest.mark.parametrize("model", OUR_MODELS)
def test_pack_padding_stays_zero(images, model):
    pack = trained(configs(model), [0, 1, 2], images)
    for name, stacked in pack.parameters.items():
        for index, member in enumerate(pack.members):
            own = dict(member.named_parameters())[name].shape
            padding = stacked[index].detach().clone()
            padding[tuple(slice(0, size) for size in own)] = 0
            assert not padding.any(), name


@pytest.mark.parametrize("fields", [{}, {"input": "binarised"}])
@pytest.mark.parametrize("size", [1, 3])
def test_pack_loaded_from_its_state_goes_on_bit_for_bit(images, size, fields):
    members, seeds = configs("vae", **fields)[:size], [0, 1, 2][:size]
    whole = trained(members, seeds, images)
    half = trained(members, seeds, images, steps=13)
    again = Pack(members, seeds, images)
    again.load([{k: v.clone() for k, v in half.state(i).items()} for i in range(size)], 13)
    for _ in range(17):
        again.step()
    for index in range(size):
        for name, value in whole.state(index).items():
            assert torch.equal(value, again.state(index)[name]), name


def test_pack_of_configs_that_differ_elsewhere_is_refused(images):
    with pytest.raises(ValueError, match="may differ in latent_dim, beta, init, grad_clip only"):
        Pack([TrialConfig(**SHARED), TrialConfig(**SHARED, activation="relu")], [0, 1], images)
    spherical = [TrialConfig(model="vae", posterior="spherical", latent_dim=n, **SHARED) for n in (2, 3)]
    with pytest.raises(ValueError, match="may differ"):
        Pack(spherical, [0, 1], images)


def test_pack_batch_larger_than_the_training_set_holds_all_of_it(images):
    larger, whole = (Pack([TrialConfig(**(SHARED | {"batch_size": size}))], [0], images) for size in (601, 600))
    for pack in (larger, whole):
        pack.step()
    assert larger.batch_size == 600
    assert all(torch.equal(larger.state(0)[name], tensor) for name, tensor in whole.state(0).items())


def batches(images, seeds, steps, **fields):
    pack = Pack([TrialConfig(**SHARED, **fields)] * len(seeds), seeds, images)
    found = []
    for _ in range(steps):
        pack._prepare()
        found.append(pack.inputs.batch())
        pack.inputs.step += 1
        pack.steps_done += 1
    return found


def test_batch_of_grey_images_is_target_and_input_itself(images):
    (batch,) = batches(images, [0, 1], 1)
    assert batch.shown is batch.target is batch.x


def test_batch_of_binarised_images_is_drawn_anew_at_each_step_by_the_seed_alone(images):
    given = images[:20]  # one batch: the same images at every step, in another order
    drawn = batches(given, [0, 1], 60, input="binarised")
    targets = torch.stack([batch.target for batch in drawn])
    assert all(batch.shown is batch.target for batch in drawn)
    assert targets.unique().tolist() == [0, 1]
    alone = torch.stack([batch.target for batch in batches(given, [1], 60, input="binarised")])
    assert torch.equal(targets[:, 1:], alone)
    thresholds = torch.rand(25, 20, 784, generator=generator(1, "binarise", 1))
    for step in range(25, 50):
        assert torch.equal(targets[step, 1], (drawn[step].x[1] > thresholds[step - 25]).float())
    certain = (drawn[0].x == 0) | (drawn[0].x == 1)
    assert certain.any() and torch.equal(targets[0][certain], drawn[0].x[certain])
    grey = torch.stack([batch.x for batch in drawn])
    error = (targets - grey).mean().item()
    assert abs(error) < 5 * (grey * (1 - grey)).sum().sqrt().item() / grey.numel()


def test_batch_of_binarised_images_with_noise_shows_noise_about_the_target(images):
    (batch,) = batches(images, [0], 1, input="binarised", input_noise=0.25)
    noise = torch.randn(25, 20, 784, generator=generator(0, "input noise", 0))
    torch.testing.assert_close(batch.shown[0], (batch.target[0] + 0.25 * noise[0]).clamp(0, 1))


@pytest.mark.parametrize("fields", [{"likelihood": "continuous_bernoulli"}, {"input": "binarised"}])
def test_pack_reports_its_own_loss_beside_eq_1_of_the_grey_batch(images, fields):
    config = TrialConfig(**SHARED, **fields)
    pack = trained([config], [0], images)
    loss, nll = pack.batch_losses()
    batch = pack.inputs.batch()
    out = pack.members[0](batch.shown[0])
    assert nll.item() == pytest.approx(eq_1(out.decoded, batch.x[0], config).mean().item())
    assert loss.item() == pytest.approx(model_nll(out, batch.target[0], config).mean().item())
    assert abs(loss.item() - nll.item()) > 0.1


def test_generator_is_stateless_and_told_apart_by_each_argument():
    def draw(*key):
        return tuple(torch.rand(4, generator=generator(*key)).tolist())

    assert draw(0, "order", 1) == draw(0, "order", 1)
    assert len({draw(0, "order", 1), draw(1, "order", 1), draw(0, "noise", 1), draw(0, "order", 2)}) == 4


def test_step_follows_the_clipped_adam_update_by_hand(images):
    config = TrialConfig(activation="linear", hidden_dims=(), latent_dim=2, batch_size=20, l2=0.1, grad_clip=0.01)
    pack = Pack([config], [0], images)
    before = {name: p.detach().clone() for name, p in pack.parameters.items()}
    batch = images[torch.randperm(600, generator=generator(0, "order", 0))[:20]].float() / 255
    logits = (batch @ before["encoder.layers.0.weight"].T) @ before["decoder.layers.0.weight"].T
    error = (torch.sigmoid(logits) - batch) / 20
    code = batch @ before["encoder.layers.0.weight"].T
    gradient = (error.T @ code).clamp(-0.01, 0.01) + 0.1 * before["decoder.layers.0.weight"]
    expected = before["decoder.layers.0.weight"] - 5e-4 * gradient / (gradient.abs() + 1e-8)
    pack.step()
    torch.testing.assert_close(pack.parameters["decoder.layers.0.weight"].detach(), expected, rtol=1e-4, atol=1e-6)
