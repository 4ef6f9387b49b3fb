"""The answer in other settings: what is measured, what is pending, and the curve of both."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.dimension import multiverse
from analysis.evidence import Evidence
from analysis.figures import multiverse_curve
from analysis.figures.base import Drawn
from tests.support.sweeps import sweep_tables

DIMS = (10, 14, 20, 50, 100, 200)


def curve(network: str, n: int, seed: int, fraction: float) -> float:
    return 70.0 + 30 * max(np.log(20 / n), 0.0) + 0.1 * seed


def of_setting(units: int, **base: object):
    return sweep_tables(dims=DIMS, nll=curve, active=lambda n, seed, f: min(n, units), base=base, networks=("vae",))


@pytest.fixture(scope="module")
def settings() -> list[multiverse.Setting]:
    runs = [sweep_tables(dims=DIMS, nll=curve), of_setting(5, beta=8.0), of_setting(20, init="xavier")]
    return Evidence(runs).multiverse


def test_settings_are_the_default_one_and_those_of_the_study(settings: list[multiverse.Setting]) -> None:
    names = [setting.name for setting in settings]
    assert names[0] == multiverse.DEFAULT and {"init xavier", "beta 8.0", "hidden dims 1000-1000"} <= set(names)
    assert "steps 100,000" in names and len(names) == 14
    assert [setting.name for setting in settings if setting.measured] == [names[0], "init xavier", "beta 8.0"]


def test_setting_has_its_own_networks_and_only_planned_estimates(settings: list[multiverse.Setting]) -> None:
    by_name = {setting.name: setting.estimates for setting in settings}
    assert by_name["beta 8.0"]["U"].value == 5 and by_name["init xavier"]["U"].value == 20
    assert by_name["beta 8.0"]["U"].verdict == "refuted" and by_name["init xavier"]["U"].verdict == "confirmed"
    assert "a" not in by_name["beta 8.0"], "beta is nothing to an auto-encoder"


def test_text_tells_the_shares_and_names_what_is_pending(settings: list[multiverse.Setting]) -> None:
    assert multiverse.share_confirmed(settings, "U") == (2, 3, 14)
    text = multiverse.text(settings)
    assert "(U) in 2 of 3" in text and "init default" in text and "beta 8.0" not in text
    table = multiverse.as_text(settings)
    assert table.loc[table["setting"] == "beta 0.5", "(U)"].tolist() == ["pending"]


def test_curve_is_drawn_once_two_settings_are_measured(settings: list[multiverse.Setting]) -> None:
    (figure,) = multiverse_curve.drawn(settings)
    assert isinstance(figure, Drawn) and set(figure.frame["setting"]) == {
        multiverse.DEFAULT, "init xavier", "beta 8.0"
    }  # fmt: skip
    assert multiverse_curve.drawn(Evidence([sweep_tables(dims=DIMS)]).multiverse) == []


def test_other_data_have_no_multiverse() -> None:
    assert Evidence([sweep_tables(dataset="strokes")], "strokes").multiverse == []
