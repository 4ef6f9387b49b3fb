"""The benchmark's peers do our work: from the same init, on the same batches, they reach the loss that we reach."""

from __future__ import annotations

import csv
import importlib.util
import pkgutil
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
import torch

from tests.benchmarks import lines
from tests.benchmarks.__main__ import DOCS, OBSERVATIONS, filled, pages, summary
from tests.benchmarks.peers import PACKAGES, TRAINERS
from tests.benchmarks.peers_work import Clock, Setting, Work, in_memory, loader
from trainables.datasets import Dataset
from trainables.losses import objective
from trainables.schema import TrialConfig

STEPS = 35
BATCHES = Setting()
PEERS = [
    pytest.param(
        peer,
        marks=pytest.mark.skipif(
            importlib.util.find_spec(PACKAGES.get(peer, "torch")) is None, reason="not installed: `make bench` does it"
        ),
    )
    for peer in TRAINERS
]

pytestmark = pytest.mark.filterwarnings("ignore")  # the peers' own


@pytest.fixture
def work(tiny: Dataset, small: Callable[..., TrialConfig]) -> Callable[..., Work]:
    def make(**changes: Any) -> Work:
        config = small(steps=STEPS, hidden_dims=(32, 32), learning_rate=1e-2, **changes)
        return Work(config, 3, STEPS, torch.tensor(tiny.images["train"]), Clock(2, STEPS))

    return make


def loss_after(peer: str, work: Work, setting: Setting = BATCHES) -> float:
    """The loss on the whole training set, at the posterior mean, of the network that a peer has trained."""
    model = pkgutil.resolve_name(TRAINERS[peer])(work, setting)
    return loss(model, work)


@torch.no_grad()
def loss(model: torch.nn.Module, work: Work) -> float:
    x = work.images.float() / 255
    return objective(model(x), x, work.config, torch.tensor(work.config.beta or 0.0))[0].item()


@pytest.mark.parametrize("peer", PEERS)
def test_peer_after_some_steps_has_our_loss_with_a_clip_and_l2_that_bite(peer: str, work: Callable[..., Work]) -> None:
    biting = {"grad_clip": 1.0, "l2": 1.0}
    ours = loss_after("ours", work(**biting))
    assert ours < 0.9 * loss(work().model(), work())
    assert loss_after(peer, work(**biting)) == pytest.approx(ours, rel=1e-5)


def test_work_without_its_clip_or_without_its_l2_has_another_loss(work: Callable[..., Work]) -> None:
    both = loss_after("plain loop", work(grad_clip=1.0, l2=1.0))
    for less in ({"grad_clip": 1.0}, {"l2": 1.0}):
        assert loss_after("plain loop", work(**less)) != pytest.approx(both, rel=1e-4)


@pytest.mark.parametrize("peer", PEERS)
def test_peer_after_some_steps_of_a_vae_has_our_loss_but_for_its_noise(peer: str, work: Callable[..., Work]) -> None:
    ours, theirs = loss_after("ours", work(model="vae")), loss_after(peer, work(model="vae"))
    assert ours < 0.9 * loss(work(model="vae").model(), work(model="vae"))
    assert theirs == pytest.approx(ours, rel=0.02)
    if peer != "ours":  # these draw the same noise
        rounding = 1e-3 if peer == "pythae" else 1e-5  # its loss reads the sigmoid, which is 0 or 1 at large logits
        assert theirs == pytest.approx(loss_after("plain loop", work(model="vae")), rel=rounding)


@pytest.mark.parametrize(
    "setting",
    [Setting("tensors"), Setting(workers=1), Setting(adam="foreach", clip="loop")],
    ids=str,
)
def test_loop_in_any_setting_has_the_same_loss(setting: Setting, work: Callable[..., Work]) -> None:
    assert loss_after("plain loop", work(), setting) == pytest.approx(loss_after("plain loop", work()), rel=1e-5)


def test_loader_over_epochs_gives_each_image_once_an_epoch(work: Callable[..., Work]) -> None:
    run = work()
    batches = [x for x, *_ in loader(run, BATCHES)]
    assert len(batches) == STEPS
    in_an_epoch = len(run.images) // run.batch_size
    seen, whole = torch.cat(batches[:in_an_epoch]), torch.stack([x for (x,) in in_memory(run)])  # type: ignore[attr-defined]
    assert seen.sum(0).allclose(whole.sum(0), atol=1e-3)
    assert not torch.equal(batches[0], batches[in_an_epoch])


def test_clock_counts_the_time_between_its_two_steps() -> None:
    clock = Clock(2, 4)
    for _ in range(5):
        clock.tick()
    assert len(clock.marks) == 2
    assert clock.step_s == pytest.approx((clock.marks[1][0] - clock.marks[0][0]) / 2)
    assert clock.step_cpu_s >= 0 and clock.workers_cpu_s == 0


def test_pages_hold_what_was_measured_last():
    shown = {page.name: page.read_text() for page in pages()}
    assert {name: filled(text) for name, text in shown.items()} == shown, "run `make bench`, or write what it writes"
    assert {"speed.md", "numerics.md"} <= set(shown) and "| met |" in shown["speed.md"]
    assert (lines.RESULTS / "README.md").read_text() == summary()


def test_page_takes_a_changed_number(monkeypatch):
    machine, (first, *_) = lines.read("step")
    monkeypatch.setattr(lines, "read", lambda section: (machine, [replace(first, value=123456.0)]))
    assert "| 123,456 times |" in filled((DOCS / "speed.md").read_text())
    text = "Before.\n\n<!-- make bench: kernels -->\n\nold\n\n<!-- end -->\n\nAfter."
    assert "| 123,456 times |" in filled(text) and "old" not in filled(text) and filled(text).endswith("\n\nAfter.")


def test_observation_has_its_number_day_machine_and_command():
    with (lines.RESULTS / f"{OBSERVATIONS}.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows
    for row in rows:
        assert float(row["value"].split()[0]) and date.fromisoformat(row["date"]), row
        assert row["machine"] and "`" in row["command"] and None not in row, row
