"""The report comes for every run at every moment, and for runs that lost some of what they recorded."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import numpy as np
import pytest

from analysis.figures.base import Drawn, FigureEntry, NotApplicableError, Skipped
from analysis.figures.catalogue import FIGURES, draw
from analysis.report.page import render
from analysis.search import importance
from study.table import load_tables
from tests.support.moments import earlier, first_second, worse
from tests.support.tables import make_tables, stored

RESULTS = Path(__file__).resolve().parents[3] / "results"
SMALL = ("plane", "precision", "vae-random-best", "intrinsic", "rate-distortion")


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importance, "RESAMPLES", 2)  # what its intervals are worth is tested elsewhere
    monkeypatch.setattr(importance, "TREES", 4)


def left_out(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The parts of the page that failed for a reason that nobody foresaw."""
    return [record.getMessage() for record in caplog.records if "left out" in record.getMessage()]


@pytest.mark.parametrize("name", ["plane", "rate-distortion"])
def test_report_of_the_first_second_says_that_nothing_has_finished(name: str, caplog: pytest.LogCaptureFixture) -> None:
    page = render([(name, first_second(load_tables(str(RESULTS / name))))])
    assert left_out(caplog) == []
    assert re.search(r"There is no answer yet: none of \d+ (trials|replicates) has .*\(\d+ (pending|running)", page)
    assert 'id="r1-settings"' in page


@pytest.mark.parametrize(("name", "seed"), [("precision", 1), ("vae-random-best", 2)])
def test_report_of_an_earlier_moment_comes_whole(name: str, seed: int, caplog: pytest.LogCaptureFixture) -> None:
    tables = earlier(load_tables(str(RESULTS / name)), np.random.default_rng(seed))
    assert render([(name, tables)]).endswith("</html>\n")
    assert left_out(caplog) == []


def test_report_of_a_spoilt_run_comes_whole() -> None:
    tables = worse(load_tables(str(RESULTS / "plane")), np.random.default_rng(3))
    assert render([("plane", tables)]).endswith("</html>\n")


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_report_of_a_hundred_moments_comes_whole(name: str, caplog: pytest.LogCaptureFixture) -> None:
    tables = load_tables(str(RESULTS / name))
    for seed in range(100):
        rng = np.random.default_rng(seed)
        moment = earlier(tables, rng)
        assert render([(name, moment)]).endswith("</html>\n")
        assert left_out(caplog) == [], seed
        assert render([(name, worse(moment, rng))]).endswith("</html>\n"), seed
        caplog.clear()


def test_figure_that_fails_is_skipped_with_its_error_and_the_others_are_drawn(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("no such luck")

    broken = FigureEntry("Broken", fail, fail, fail)  # type: ignore[arg-type]
    monkeypatch.setitem(FIGURES, "broken", broken)
    tables = make_tables(seeds=1, arms=("elu",))
    found = {figure.name: figure for figure in draw(tables)}
    assert isinstance(found["f6_loss_all"], Drawn)
    skipped = found["broken"]
    assert (
        isinstance(skipped, Skipped)
        and skipped.reason == "these tables do not allow it (ZeroDivisionError: no such luck)"
    )
    assert [record.levelno for record in caplog.records if "broken" in record.getMessage()] == [logging.WARNING]
    page = render([("runs/a", tables)])
    assert "ZeroDivisionError: no such luck" in page and "Loss against training step" in page


def test_figure_that_does_not_apply_gives_its_own_reason(caplog: pytest.LogCaptureFixture) -> None:
    def refuse(_: object) -> None:
        raise NotApplicableError("there is nothing to see")

    entry = FigureEntry("Nothing", refuse, refuse, refuse)  # type: ignore[arg-type]
    assert entry.draw("nothing", None) == Skipped("nothing", "Nothing", "there is nothing to see")
    assert caplog.records == []


def test_control_characters_of_a_table_reach_neither_page_nor_svg_nor_csv() -> None:
    name = "elu\x1b[31m\x07\u202e"
    tables = make_tables(seeds=1, arms=("elu",))
    arms = {name: tables.spec.arms["elu"]}
    spec = tables.spec.model_copy(update={"title": "A \x1b]0;title\x07 \x00", "arms": arms})
    frames = {"results": tables.results.assign(cell=name), "profiles": tables.profiles, "images": tables.images}
    tables = stored(frames, spec, tables.provenance)
    figures = [figure for figure in draw(tables, ["f6_loss_all", "reconstructions"]) if isinstance(figure, Drawn)]
    texts = [render([("runs/a", tables)]), *(text for figure in figures for text in (figure.svg(), figure.csv()))]
    assert len(figures) == 2 and all("elu\\x1b[31m\\x07\\u202e" in text for text in texts)
    assert not any(character in text for text in texts for character in "\x00\x07\x1b\u202e")
