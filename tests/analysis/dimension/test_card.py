"""The dimension card shows every estimate, says what it lacks, and keeps its texts apart."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from analysis.dimension import card, estimate_table
from analysis.dimension.panels import SHADE, VERDICTS
from analysis.evidence import Evidence
from analysis.figures.style import settle, to_png, to_svg
from tests.support.sweeps import intrinsic_tables, sweep_tables


@pytest.fixture(scope="module")
def full() -> Evidence:
    runs = [
        sweep_tables(networks=("elu", "vae", "linear", "pca")),
        intrinsic_tables(lambda name, n, digit, seed: 12 + 0.1 * seed + (digit or 0), digits=(None, 1, 8)),
        intrinsic_tables(lambda name, n, digit, seed: 3.2 + 0.1 * seed, datasets=("strokes-4",), sizes=(1000,)),
        sweep_tables(dims=(2, 4, 8, 16), seeds=1, dataset="strokes-4", active=lambda n, seed, f: min(n, 4)),
    ]
    return Evidence(runs)


@pytest.fixture(scope="module")
def frame(full: Evidence) -> pd.DataFrame:
    return card.card_data(full)


@pytest.fixture(scope="module")
def figure(frame: pd.DataFrame) -> Figure:
    drawn = card.plot_card(frame)
    settle(drawn)
    drawn.draw_without_rendering()  # only then do labels stand where they will
    return drawn


def texts(figure: Figure) -> list[Text]:
    return [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]


def test_card_data_has_every_estimate_and_every_panel(full: Evidence, frame: pd.DataFrame) -> None:
    assert set(frame["panel"]) == set(card.PANELS)
    shown = frame[frame["panel"] == "estimate"]
    expected = estimate_table.to_frame(full.estimates)
    assert shown["key"].tolist() == expected["key"].tolist()
    assert shown["value"].tolist() == pytest.approx(expected["value"].tolist(), nan_ok=True)
    assert frame.groupby("panel")["value"].apply(lambda values: values.notna().any()).all()


def test_card_data_curves_are_means_over_seeds_and_levels_have_no_n(frame: pd.DataFrame) -> None:
    nll = frame[frame["panel"] == "nll"]
    elu = nll[nll["series"] == "elu"].set_index("x")["value"]
    assert elu[64] == pytest.approx(50.0) and elu[1] == pytest.approx(50.0 + 20 * np.log(64))
    assert dict(zip(nll["series"], nll["value"], strict=True))["entropy floor"] == 45.5
    assert nll[nll["x"].isna()]["series"].tolist() == ["entropy floor", "mean image"]
    (ring,) = nll[nll["series"] == "(a)"].to_dict("records")
    assert ring["value"] == pytest.approx(51.0)  # where the estimate is read: one nat above the best


def test_card_data_controls_stand_at_what_is_known(frame: pd.DataFrame) -> None:
    control = frame[frame["panel"] == "control"].set_index("series")
    assert set(control["x"]) == {4.0} and set(control["reason"]) == {"strokes-4"}
    assert {"U", "a", "TwoNN", "MLE 20"} <= set(control.index) <= set(card.CONTROL_SERIES)


def test_plot_card_is_one_page_whose_texts_lie_inside_and_apart(figure: Figure) -> None:
    assert tuple(figure.get_size_inches()) == (11.0, 8.5)
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts(figure)]
    for name, box in boxes:
        assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1, name
        assert figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1, name
    clashes = [
        (one, other)
        for index, (one, box) in enumerate(boxes)
        for other, second in boxes[index + 1 :]
        if box.padded(-1.5).overlaps(second.padded(-1.5))
    ]
    assert clashes == []


def test_plot_card_bold_texts_are_the_headline_in_the_colour_of_its_verdict(figure: Figure) -> None:
    bold = [text.get_text() for text in texts(figure) if text.get_fontweight() == "bold"]
    assert {"VAE, -ELBO", "TwoNN, MLE, Gride"} <= set(bold) and "linear, 1 nat" not in bold and "ELU, 1 nat" not in bold
    forest = figure.axes[0]
    large = [line for line in forest.lines if line.get_markersize() == 7.0 and line.get_marker() not in ("", "None")]
    assert {line.get_color() for line in large} == {VERDICTS[verdict][0] for verdict in ("confirmed", "inconclusive")}


def test_plot_card_without_any_data_says_what_each_panel_needs() -> None:
    none = Evidence([])
    frame = card.card_data(none)
    words = [text.get_text() for text in texts(card.plot_card(frame))]
    for panel, needed in card.PANELS.items():
        assert needed in words or panel == "estimate"
    assert words.count("needs study latent") > 10
    assert "not measured (needs study latent)" in card.card_caption(frame, none.estimates)


def test_plot_card_of_one_latent_dimension_draws_no_curve_of_it() -> None:
    frame = card.card_data(Evidence([sweep_tables(dims=(5,), networks=("elu", "vae", "pca"))]))
    for panel in ("nll", "length", "active", "training"):
        assert frame[frame["panel"] == panel]["value"].isna().all()
        assert frame[frame["panel"] == panel]["reason"].tolist() == ["needs study latent"]


def test_plot_card_of_one_seed_says_so_at_each_open_ring() -> None:
    frame = card.card_data(Evidence([sweep_tables(seeds=1)]))
    words = [text.get_text() for text in texts(card.plot_card(frame))]
    assert "1 seed" in words
    assert frame[frame["panel"] == "nll"]["low"].isna().all()


def test_plot_card_draws_an_estimate_without_a_verdict_open_and_in_grey() -> None:
    frame = card.card_data(Evidence([sweep_tables(active=lambda n, seed, f: min(n, 20 + round(100 * (1 - f))))]))
    figure = card.plot_card(frame)
    assert "not converged" in [text.get_text() for text in texts(figure)]
    color, face, *_ = VERDICTS["inconclusive"]
    assert any(line.get_color() == color and line.get_markerfacecolor() == face for line in figure.axes[0].lines[:-3])


def test_plot_card_of_other_data_has_no_band_and_no_verdict_on_it() -> None:
    frame = card.card_data(Evidence([sweep_tables(dataset="strokes")], "strokes"))
    figure = card.plot_card(frame)
    words = [text.get_text() for text in texts(figure)]
    assert (
        "settled" in words
        and "inside 10 to 100" not in words
        and "How many latent dimensions does strokes need?" in words
    )
    assert all(patch.get_facecolor()[:3] != to_rgb(SHADE) for axes in figure.axes for patch in axes.patches)


@pytest.mark.filterwarnings("error")
def test_plot_card_of_a_vae_that_uses_no_latent_is_drawn_and_says_why_there_is_no_length() -> None:
    tables = sweep_tables(dims=(1, 2, 5, 10), active=lambda *_: 0, nll=lambda n, d, s, fraction: 100 + fraction * 20)
    rows = card.card_data(Evidence([tables]))
    (reason,) = rows[rows["panel"] == "length"]["reason"]
    assert reason.startswith("overfits:\nthe test loss rises by")
    assert (rows[(rows["panel"] == "active") & (rows["series"] == "0.01")]["value"] == 0).all()
    assert card.plot_card(rows).axes


def test_card_caption_tells_the_headline_and_ends(full: Evidence, frame: pd.DataFrame) -> None:
    caption = card.card_caption(frame, full.estimates)
    assert caption.startswith("N: (L) description length") and caption.endswith(".")
    assert "confirmed" in caption
    assert "over 3 training seeds or, for intrinsic dimensions, over 3 subsamples" in caption


def test_card_twice_is_the_same_file(frame: pd.DataFrame) -> None:
    first, second = (to_svg(card.plot_card(frame), "card") for _ in range(2))
    assert first == second


def test_card_png_is_wide_enough_to_be_read(figure: Figure) -> None:
    image = Image.open(io.BytesIO(to_png(figure)))
    assert image.size == (1650, 1275)
    smallest = min(float(text.get_fontsize()) for text in texts(figure))
    assert smallest / 72 * 1000 / 11 >= 9  # pixels of an em where the page is 1,000 wide
