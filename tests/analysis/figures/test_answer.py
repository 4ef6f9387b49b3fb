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
    assert "The verdict is confirmed." in three
    assert "A VAE with latents to spare keeps **25 [22.5, 27.5]** of them in use: *confirmed*" in three
    assert "The verdict is inconclusive." in answer.markdown(Evidence([sweep_tables(seeds=1)]))
    assert "The verdict is not measured." in answer.markdown(Evidence([make_tables()]))


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
    assert sorted(points) == sorted(figure.frame["value"].dropna())
