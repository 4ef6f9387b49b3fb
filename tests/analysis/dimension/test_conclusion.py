"""The conclusion in words, its rows, an N for each purpose, and how to settle what is open."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.dimension.conclusion import Conclusion, concluded
from analysis.evidence import Evidence
from study.table import Tables
from tests.support.sweeps import FLOOR, MEAN_IMAGE, intrinsic_tables, sweep_tables
from tests.support.tables import make_tables
from trainables.images.source import ImageSource
from trainables.schema import Replicate
from trainables.shape import Shape

DIMS = (5, 8, 10, 16, 20, 32, 50, 64, 100, 128, 200)


def curve(network: str, n: int, seed: int, fraction: float) -> float:
    if network == "elu":
        return float(FLOOR + 3.0 + 300.0 / n + 0.01 * seed)
    return float(75.0 + 30 * max(np.log(16 / n), 0.0) + 0.1 * seed)


def probes(replicate: Replicate, network: str) -> dict[str, list[float]]:
    lost = 0.05 * max(np.log(16 / (replicate.config.latent_dim or 1)), 0.0)
    return {"probe_knn": [0.7, 0.8, 0.9, 0.97 - lost]}


def full(**changes) -> Evidence:
    swept = sweep_tables(dims=DIMS, nll=curve, profiles=probes, **changes)
    return Evidence([swept, intrinsic_tables(lambda name, n, digit, seed: 12.0 + 0.1 * seed)])


def of_other_data(*runs: Tables) -> Evidence:
    return Evidence(runs, "strokes")


def test_paragraph_tells_the_three_numbers_and_the_law_in_plain_words() -> None:
    found = concluded(full())
    assert "all latents beyond **N = 16** together save it less than 1 nat (L)" in found.paragraph
    assert "it keeps **25** in use (U)" in found.paragraph
    assert "lie in **12 to 13** directions (I)" in found.paragraph
    assert "up to N = 200, its loss goes on falling**, about like N to the power -1.00" in found.paragraph
    assert "75 [75, 75] for 4 nats, 150 [150, 150] for 2 nats" in found.paragraph
    assert "300 [300, 300] for 1 nat (beyond all N trained)" in found.paragraph
    assert "10 < N < 100 holds for (L), (U) and (I); for a plain auto-encoder it has no answer" in found.paragraph
    assert (found.verdict, found.papers, found.data) == ("confirmed", True, "MNIST")


def test_rows_say_what_was_chosen_when_and_why_saturation_has_no_answer() -> None:
    rows = {row.key: row for row in concluded(full()).rows}
    assert list(rows) == ["L", "U", "I", "law", "a", "c"]
    for key in ("L", "U", "I", "law"):
        assert "chosen after MNIST's tables had been seen" in rows[key].note
    assert rows["a"].note.startswith("fixed beforehand; no answer") and rows["c"].note.startswith("fixed beforehand")
    assert rows["law"].verdict == "no answer" and "power law" in rows["law"].note
    assert rows["L"].number.endswith("11 to 16 on this grid") and rows["U"].number.startswith("25 [")


def test_images_own_dimension_whose_replicates_failed_is_not_said_to_have_no_arm() -> None:
    def own_dimension(*runs: Tables) -> str:
        swept = sweep_tables(dims=DIMS, nll=curve, dataset="strokes")
        return next(line for line in concluded(of_other_data(swept, *runs)).open if line.startswith("(I)"))

    assert "no arm for it: add {task: intrinsic_dimension}" in own_dimension()
    failed = own_dimension(intrinsic_tables(lambda *given: 12.0, datasets=("strokes",), finished=False))
    assert "none of its replicates has finished. `study status runs/latent` says why" in failed


def test_purposes_have_an_n_each() -> None:
    reconstruct, generate, classify = concluded(full()).purposes
    assert "within 4 nats of the best one trained, that of N = 200" in reconstruct and "within 1 nat" in reconstruct
    assert "no measure of how samples look, a VAE of N = 16; a wider one uses 25." in generate
    assert f"codes of about N = {np.ceil(16 * np.exp(-0.2)):.0f} of" in classify and "97.0 %" in classify


def _of_overfitted(rise: float, rising: str) -> Evidence:
    """Sweeps on other data whose test loss rises by so many nats at the end of training, of one network or of both."""

    def risen(network: str, n: int, seed: int, fraction: float) -> float:
        return curve(network, n, seed, fraction) + rise * (fraction == 1 and network in rising)

    return of_other_data(sweep_tables(dims=DIMS, nll=risen, profiles=probes, dataset="strokes"))


@pytest.mark.parametrize("rising", ["elu", "vae", "elu and vae"])
def test_network_that_overfits_is_told_no_n_anywhere(rising) -> None:
    told, withheld = concluded(_of_overfitted(0.0, rising)), concluded(_of_overfitted(0.5, rising))
    reconstruct, generate, classify = withheld.purposes
    reason = "not settled at this budget (overfits: the test loss rises by 0.5 nats over the last fifth of training)"
    rows = {row.key: row for row in withheld.rows}
    if "elu" in rising:
        assert reconstruct == f"To reconstruct: {reason}." and classify == f"To classify: {reason}."
        assert (rows["law"].number, rows["law"].verdict) == ("–", "not measured")
        assert "auto-encoder pays nothing" in told.paragraph and "auto-encoder pays nothing" not in withheld.paragraph
        assert any("law is not settled" in line and "Train shorter" in line for line in withheld.open)
    if "vae" in rising:
        assert generate == f"To generate: {reason}."
        assert [(rows[key].number, rows[key].verdict) for key in "LU"] == [("–", "not settled: overfits")] * 2
        assert all(rows[key].note == reason.partition("(")[2][:-1] for key in "LU")
        assert "A VAE pays" in told.paragraph and "A VAE pays" not in withheld.paragraph
    if rising == "elu and vae":
        assert withheld.paragraph == "These runs do not say how many dimensions the images need."
    else:
        assert set(told.purposes) & set(withheld.purposes), "the other network's N is still told"


def test_network_that_just_does_not_overfit_is_told_its_n() -> None:
    none, little = concluded(_of_overfitted(0.0, "elu and vae")), concluded(_of_overfitted(0.2, "elu and vae"))
    assert not any("not settled" in purpose for purpose in little.purposes)
    numbers = {row.key: row.number for row in little.rows}
    assert numbers["L"] == {row.key: row.number for row in none.rows}["L"] and "–" not in (numbers["U"], numbers["law"])


def test_conclusion_without_runs_says_that_nothing_is_known() -> None:
    found = concluded(Evidence([make_tables()]))
    assert found.paragraph == "These runs do not say how many dimensions the images need."
    assert found.verdict == "not measured" and {row.verdict for row in found.rows} == {"not measured"}
    assert all("not settled at this budget" in purpose for purpose in found.purposes)


def test_description_length_says_what_its_margin_is() -> None:
    other = concluded(of_other_data(sweep_tables(dims=DIMS, nll=curve, dataset="strokes"))).rows[0]
    assert concluded(full()).rows[0].meaning == "all further latents together save a VAE less than 1 nat"
    assert other.meaning.endswith(f"less than {(MEAN_IMAGE - 100.1) / 108.2:.2g} nats")


def test_conclusion_on_other_data_knows_neither_the_band_nor_what_was_fixed_beforehand() -> None:
    found = concluded(of_other_data(sweep_tables(dims=DIMS, nll=curve, dataset="strokes")))
    assert not found.papers and [row.key for row in found.rows] == ["L", "U", "I", "law"]
    assert "10 < N < 100" not in found.paragraph + found.table() and "settled?" in found.header
    assert not any("MNIST" in row.note for row in found.rows)


@pytest.mark.parametrize(
    ("changes", "key", "remedy"),
    [
        ({"seeds": 1}, "L", "`study launch mine.yaml --seeds 3`"),
        (
            {"active": lambda n, seed, f: min(n, 20 + round(100 * (1 - f)))},
            "U",
            "study launch mine.yaml --run runs/own-10000 --runner inline --steps 10000`",
        ),
        (
            {"dims": (2, 4, 8)},
            "U",
            "Add N = 16, 32 to `latent_dim`, then `study launch mine.yaml --run runs/own --runner inline`",
        ),
        ({"networks": ("elu",)}, "L", "add the arm {model: vae, activation: elu} at 3 N or more"),
        ({"nll": lambda network, n, seed, f: curve(network, n, seed, f) + 3 * (f == 1)}, "L", "Train shorter"),
    ],
    ids=["one seed", "still moving", "no room", "no VAE", "overfits"],
)
def test_what_is_open_names_the_rule_and_the_command(changes, key, remedy) -> None:
    provenance = {"command": "study launch mine.yaml --run runs/own --runner inline"}
    if "seeds" in changes:
        provenance = {"command": "study launch mine.yaml --seeds 1 --cells 'vae*'"}
    given = {"dims": DIMS, "nll": curve, "dataset": "strokes", "provenance": provenance} | changes
    lines = [line for line in concluded(of_other_data(sweep_tables(**given))).open if line.startswith(f"({key}) ")]
    assert len(lines) == 1 and "not settled at this budget" in lines[0] and remedy in lines[0], lines


def test_settled_length_that_the_grid_leaves_open_names_the_n_to_add() -> None:
    """The interval over seeds knows nothing of the N between those that were trained."""

    def found(*dims: int) -> Conclusion:
        provenance = {"command": "study launch mine.yaml --run runs/own"}
        return concluded(of_other_data(sweep_tables(dims=dims, nll=curve, dataset="strokes", provenance=provenance)))

    (line,) = [line for line in found(*DIMS).open if line.startswith("(L)")]
    assert line == (
        "(L) may be any N from 11 to 16 on this grid. To narrow it, add N = 11 to 15 to `latent_dim`, then "
        "`study launch mine.yaml --run runs/own`"
    )
    assert not [line for line in found(*sorted({*DIMS, 13, 14, 15})).open if "(L)" in line]


def test_paragraph_tells_no_count_without_room_whatever_is_told_first_of_it() -> None:
    def crowded(n: int, seed: int, fraction: float) -> float:
        return n if fraction == 1 else 0.5 * n

    found = concluded(of_other_data(sweep_tables(dims=DIMS, nll=curve, dataset="strokes", active=crowded)))
    units = next(row for row in found.rows if row.key == "U")
    assert units.note.startswith("not converged") and "no latent to spare" in units.note
    assert "in use" not in found.paragraph and not any("a wider one uses" in purpose for purpose in found.purposes)


def test_paragraph_on_other_data_marks_what_is_not_settled() -> None:
    def moving(n: int, seed: int, fraction: float) -> float:
        return min(n, 20 + round(30 * (1 - fraction)))

    moved = concluded(of_other_data(sweep_tables(dims=DIMS, nll=curve, dataset="strokes", active=moving))).paragraph
    calm = concluded(of_other_data(sweep_tables(dims=DIMS, nll=curve, dataset="strokes"))).paragraph
    assert "(U, not settled)" in moved and "not settled" not in calm and "in use (U)" in calm


def test_remedy_names_the_whole_path_of_images_of_ones_own() -> None:
    """A run's provenance keeps only the last name of a path that lies outside the folder of the launch."""
    provenance = {"command": "study launch dimension --dataset raw --grey"}
    tables = sweep_tables(dims=(2, 4, 8), nll=curve, dataset="strokes", provenance=provenance)
    tables.spec.data["strokes"] = ImageSource(path="/images/flowers/raw")
    lines = concluded(of_other_data(tables)).open
    assert any("study launch dimension --dataset /images/flowers/raw --grey`" in line for line in lines), lines


@pytest.mark.parametrize(("shape", "remedy"), [(Shape(4, 5), "Add N = 16 to"), (Shape(3, 4), "no larger N worth")])
def test_remedy_names_no_n_above_the_pixels(shape, remedy, monkeypatch) -> None:
    monkeypatch.setattr(Tables, "shapes", {"strokes": shape})
    lines = concluded(of_other_data(sweep_tables(dims=(2, 4, 8), nll=curve, dataset="strokes"))).open
    assert any(line.startswith("(U)") and remedy in line for line in lines), lines


def test_loss_that_follows_another_law_is_told_no_n() -> None:
    def falling(network: str, n: int, seed: int, fraction: float) -> float:
        return FLOOR + 40.0 - 5.0 * np.log(n) + 0.01 * seed if network == "elu" else curve(network, n, seed, fraction)

    found = concluded(of_other_data(sweep_tables(dims=DIMS, nll=falling, dataset="strokes")))
    law = next(row for row in found.rows if row.key == "law")
    assert (law.number, law.verdict) == ("–", "no power law") and "auto-encoder pays nothing" not in found.paragraph


def test_a_law_that_is_open_is_named_and_one_that_has_reached_its_limit_is_not() -> None:
    few = concluded(of_other_data(sweep_tables(dims=(2, 4, 8, 16, 32), nll=curve, dataset="strokes"))).open
    assert any(line.startswith("The auto-encoder's law is not settled") and "Add N = 64, 128" in line for line in few)

    def cliff(network: str, n: int, seed: int, fraction: float) -> float:
        return curve("vae", n, seed, fraction) - 25 + (n >= 16) * n * 1e-4

    dims = (*DIMS, 256, 512)
    assert not any(
        "law" in line for line in concluded(of_other_data(sweep_tables(dims=dims, nll=cliff, dataset="strokes"))).open
    )


@pytest.mark.parametrize("loss", [MEAN_IMAGE, MEAN_IMAGE + 0.2])
def test_networks_that_draw_the_mean_image_have_no_conclusion_but_a_remedy(loss: float) -> None:
    tables = sweep_tables(dims=DIMS, nll=lambda n, d, s, fraction: loss - 0.001 * fraction, dataset="strokes")
    found = concluded(of_other_data(tables))
    assert found.paragraph == "These runs do not say how many dimensions the images need."
    assert all("not clearly better than the mean image" in line for line in found.purposes)
    assert [line.startswith("(I)") or "Train longer: `study launch" in line for line in found.open] == [True] * 4
