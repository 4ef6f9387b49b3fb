"""Figures prepared for the page's script: the axes' scales, and which part belongs to which entry of the legend."""

import re

import pytest
from matplotlib.figure import Figure

from analysis.figures.style import theme, to_svg
from analysis.report.plot import mark, marks


def drawn(plot):
    with theme():
        figure = Figure(figsize=(4, 3))
        plot(figure.add_subplot())
        return figure


def lines(ax):
    for label, colour in (("a", "#d55e00"), ("b", "#0072b2")):
        ax.plot([1, 10, 100], [1, 2, 3], color=colour, label=label)
        ax.fill_between([1, 10, 100], [0, 1, 2], [2, 3, 4], color=colour, alpha=0.2)
    ax.set(xscale="log", xlabel="N", ylabel="nats")
    ax.legend()


def test_scales_and_series_are_those_of_the_figure():
    figure = drawn(lines)
    plot = mark(figure)
    assert plot["series"] == ["a", "b"]
    (axes,) = plot["axes"]
    assert (axes["x"][0], axes["x"][3], axes["y"][0], axes["y"][3]) == ("N", "log", "nats", "linear")
    assert axes["x"][1:3] == pytest.approx(figure.axes[0].get_xlim(), rel=1e-5)
    assert axes["y"][1:3] == pytest.approx(figure.axes[0].get_ylim(), rel=1e-5)
    left, top, right, bottom = axes["box"]
    assert 0 < left < right < 4 * 72 and 0 < top < bottom < 3 * 72


def test_svg_has_a_mark_for_each_line_band_legend_entry_and_axes():
    figure = drawn(lines)
    mark(figure)
    svg = marks(to_svg(figure, "r1-figure"))
    found = {kind: re.findall(rf'data-{kind}="(\d+)"', svg) for kind in ("axes", "series", "legend")}
    assert found == {"axes": ["0"], "series": found["series"], "legend": ["0", "1"]}
    assert sorted(found["series"]) == ["0", "0", "1", "1"], "a line and a band each"


def test_point_of_the_svg_is_the_value_of_the_data():
    figure = drawn(lines)
    (axes,) = mark(figure)["axes"]
    svg = marks(to_svg(figure, "one"))
    part = re.search(r'data-series="0">\s*<path d="([^"]*)"', svg)[1]
    points = [tuple(map(float, pair)) for pair in re.findall(r"[ML] (\S+) (\S+)", part)]
    left, top, right, bottom = axes["box"]
    _, low, high, _ = axes["x"]
    _, least, most, _ = axes["y"]
    values = [
        (low * (high / low) ** ((x - left) / (right - left)), least + (most - least) * (bottom - y) / (bottom - top))
        for x, y in points
    ]
    assert values == [pytest.approx(pair, rel=0.02) for pair in [(1, 1), (10, 2), (100, 3)]]


def test_axis_with_words_has_no_numbers_and_a_figure_without_a_legend_none_at_all():
    def named(ax):
        ax.plot(["x", "y"], [1, 2], color="#d55e00", label="a")
        ax.legend()

    (axes,) = mark(drawn(named))["axes"]
    assert axes["x"] is None and axes["y"][3] == "linear"
    assert mark(drawn(lambda ax: ax.plot([1, 2], [1, 2]))) == {}


def test_two_series_of_one_colour_are_not_told_apart():
    def alike(ax):
        ax.plot([1, 2], [1, 2], color="#d55e00", label="a")
        ax.plot([1, 2], [2, 3], "--", color="#d55e00", label="b")
        ax.legend()

    assert mark(drawn(alike)) == {}
