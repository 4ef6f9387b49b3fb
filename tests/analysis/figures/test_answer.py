"""The answer in words and as a picture, on curves whose answer is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from analysis.evidence import Evidence
from analysis.figures import answer
from analysis.figures.base import Drawn
from tests.support.sweeps import sweep_tables
from tests.support.tables import make_tables

ROOT = Path(__file__).resolve().parents[3]


def test_answer_is_that_of_known_curves() -> None:
    three = answer.markdown(Evidence([sweep_tables()]))
    assert "it keeps **25** in use (U)" in three and "10 < N < 100 holds for (U)" in three
    assert "*chosen after MNIST's tables had been seen*" in three
    assert (
        "Two estimates were *fixed beforehand*: (a) says yes, (c) says yes, so the verdict on them is confirmed."
        in three
    )
    assert "cannot answer" not in three and "To reconstruct: " in three, "its verdict turns at no margin"
    assert "the verdict on them is inconclusive." in answer.markdown(Evidence([sweep_tables(seeds=1)]))
    assert "the verdict on them is not measured." in answer.markdown(Evidence([make_tables()]))


def test_answer_says_why_saturation_has_none_where_its_verdict_turns() -> None:
    falling = sweep_tables(nll=lambda network, n, seed, f: 50 + 105 / n + 0.001 * seed)
    assert "But (a) cannot answer" in answer.markdown(Evidence([falling]))


def test_answer_on_other_data_says_nothing_of_the_paper() -> None:
    other = answer.markdown(Evidence([sweep_tables(dataset="strokes")], "strokes"))
    assert "10 < N < 100" not in other and "beforehand" not in other and "it keeps **25** in use (U)" in other


def test_picture_has_a_line_for_each_estimate_and_a_point_where_there_is_a_value() -> None:
    figure = answer.draw_answer(Evidence([sweep_tables()]))
    assert isinstance(figure, Drawn)
    assert set(figure.frame["who"] + figure.frame["label"]) <= {*map("".join, answer.ROWS.values())}
    svg = figure.svg()
    for who, label in answer.ROWS.values():
        assert who in svg and label in svg
    (axes,) = answer.plot_answer(figure.frame).axes
    places = [np.asarray(line.get_xdata(), float) for line in axes.lines]
    points = [float(place[0]) for place in places if len(place) == 1]
    ranged = figure.frame["least"] < figure.frame["most"]
    assert sorted(points) == sorted(figure.frame.loc[~ranged, "value"].dropna())
