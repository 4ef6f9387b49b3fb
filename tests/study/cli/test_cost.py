"""What a study costs, before, while and after it runs: device-hours by device, and money at a price for one of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis import cli as analysis_cli
from analysis.evidence import Evidence
from analysis.report.bookkeeping import costs
from analysis.report.page import render
from study import spec
from study.cli import app, common, views
from study.cost import cells_core_hours, search_core_hours
from study.plan import Plan
from study.runfolder import write_run
from study.table import Tables, device_hours
from study.tables.merge import merge
from tests.support import tiny
from tests.support.command import call
from tests.support.tables import make_tables, replaced, stored
from trainables import checkpoint
from trainables.records import Record, Standing
from trainables.registry import DATASETS
from trainables.schema import METRICS
from trainables.storage import Folder

NO_IMAGES = np.empty((0, 784), np.uint8)
HOUR = 3600.0


def ends(*rows: tuple[str | None, float | None, float | None]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["device", "train_s", "evaluate_s"])


@pytest.fixture(autouse=True)
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves the figures of runs out, which take most of a page's time and cost nothing."""
    monkeypatch.setattr("analysis.report.section.draw", lambda *_: [])


@pytest.fixture
def tables() -> Tables:
    """Of six networks a seed on cpu each, 2 h of training and 1 h of evaluation; ELU's on an H100, ReLU's to come."""
    made = make_tables(seeds=1)
    for cell in made.spec.arms:
        made = replaced(made, cell, 0, train_s=2 * HOUR, evaluate_s=HOUR)
    made = replaced(made, "elu", 0, device="NVIDIA H100", train_s=0.5 * HOUR, evaluate_s=0.25 * HOUR)
    nothing: dict[str, Any] = dict.fromkeys(("device", "train_s", "evaluate_s"))
    return replaced(made, "relu", 0, status="pending", step=None, test_nll=None, **nothing)


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Calls the command `study`; returns its exit code and what it printed and complained."""
    monkeypatch.setattr(common.OUT, "_width", 200)  # COLUMNS is read when the console is made, with the module

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["study", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            app.main()
        printed = capsys.readouterr()
        return int(exit_.value.code or 0), printed.out, printed.err

    return call


def cost_section(html: str) -> list[list[str]]:
    """The cells of the cost table of a report of one run, row by row."""
    part = html[html.index('id="r1-cost"') : html.index('id="r1-provenance"')]
    rows = re.findall(r"<tr>(.*?)</tr>", part, flags=re.DOTALL)
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, flags=re.DOTALL) for row in rows]


def test_device_hours_of_two_devices_are_summed_by_device() -> None:
    given = ends(("cpu", 3600.0, 1800.0), ("NVIDIA H100", 900.0, 0.0), ("cpu", 1800.0, None))
    assert device_hours(given).to_dict("records") == [
        {"device": "NVIDIA H100", "replicates": 1, "train_h": 0.25, "evaluate_h": 0.0, "hours": 0.25},
        {"device": "cpu", "replicates": 2, "train_h": 1.5, "evaluate_h": 0.5, "hours": 2.0},
    ]


def test_device_hours_of_pending_replicates_are_none() -> None:
    assert not len(device_hours(ends((None, None, None))))
    assert not len(device_hours(ends()))
    assert list(device_hours(ends())) == ["device", "replicates", "train_h", "evaluate_h", "hours"]


def test_device_hours_without_a_device_are_not_dropped() -> None:
    found = device_hours(ends((None, 3600.0, 0.0), (None, None, None)))
    assert found[["device", "replicates", "hours"]].to_numpy().tolist() == [["not recorded", 1, 1.0]]


def test_device_hours_leave_the_table_as_it_was() -> None:
    given = ends(("cpu", 3600.0, None), (None, None, None))
    before = given.copy()
    device_hours(given)
    pd.testing.assert_frame_equal(given, before)


def test_device_hours_of_tables_count_each_replicate_once_at_its_last_row() -> None:
    made = make_tables(seeds=2)  # five rows of 60 s and 1 s for each of twelve networks, one for PCA
    found = device_hours(made.ends).to_dict("records")
    assert found == [
        {
            "device": "cpu",
            "replicates": 13,
            "train_h": pytest.approx(13 / 60),
            "evaluate_h": pytest.approx(13 / 3600),
            "hours": pytest.approx(13 * 61 / 3600),
        }
    ]


def test_spent_lines_take_the_seconds_of_the_record_which_are_newer_than_its_last_row() -> None:
    row = {"step": 0, "train_s": 0.0, "evaluate_s": HOUR}
    running = Standing("running", record=Record({}, [row], train_s=HOUR, evaluate_s=HOUR, provenance={"device": "cpu"}))
    begun_nothing = Standing("failed", "lost", Record({}))
    lines = list(views.spent_lines([running, begun_nothing, Standing("pending")], 0.5))
    assert lines == [
        "So far: 2.00 device-hours on cpu (one core), training and evaluation together: 1.00 at 0.5 per device-hour."
    ]
    assert list(views.spent_lines([Standing("pending")], 0.5)) == ["So far: no device-hours."]


def test_show_without_price_tells_no_money_and_with_one_what_the_core_hours_cost(study: Any) -> None:
    code, plain, _ = study("show", "paper")
    assert code == 0 and " per core-hour" not in plain
    hours = cells_core_hours(Plan(spec.load("paper")))
    code, priced, _ = study("show", "paper", "--price", "0.05")
    assert code == 0 and f"(3.36 h on 2 cores): {hours * 0.05:.2f} at 0.05 per core-hour.\n" in priced
    assert [line for line in priced.splitlines() if line not in plain.splitlines()] == [
        line for line in priced.splitlines() if "replicates" in line
    ]
    assert ": 0.00 at 0 per core-hour.\n" in study("show", "paper", "--price", 0)[1]


def test_show_of_a_search_tells_what_its_trials_cost_too(study: Any) -> None:
    hours = search_core_hours(Plan(spec.load("vae")))
    _, out, _ = study("show", "vae", "--price", 100)
    assert f"The search costs about {hours:.2f} core-hours" in out
    assert f": {hours * 100:.2f} at 100 per core-hour.\n" in out


def test_status_of_tables_tells_hours_and_money_of_each_device(study: Any, tables: Tables, tmp_path: Path) -> None:
    merge(tables, Folder(str(tmp_path)))
    code, out, _ = study("status", tmp_path)
    assert code == 0 and out.splitlines()[-2:] == [
        "So far: 0.75 device-hours on NVIDIA H100, training and evaluation together.",
        "So far: 15.00 device-hours on cpu (one core), training and evaluation together.",
    ]
    _, out, _ = study("status", tmp_path, "--price", "2.5")
    assert out.splitlines()[-2].endswith(
        "on NVIDIA H100, training and evaluation together: 1.88 at 2.5 per device-hour."
    )
    assert out.splitlines()[-1].endswith("together: 37.50 at 2.5 per device-hour.")
    _, out, _ = study("status", tmp_path, "--price", 0)
    assert out.splitlines()[-1].endswith("together: 0.00 at 0 per device-hour.")


def test_status_of_a_run_folder_counts_finished_running_and_searched_replicates(
    study: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(DATASETS, "tiny", "tests.support.tiny:load")
    hunt = spec.parse(tiny.SEARCH, "hunt").with_asked([{"model": "vae", "learning_rate": 1e-3, "beta": 0.5}])
    run = Folder(str(tmp_path))
    write_run(run, hunt, {"data_digests": {"tiny": "d"}})
    paper, trial = Plan(hunt, {"tiny": "d"}).replicates
    assert trial.cell == "trial-0000"

    def record(train_s: float, device: str) -> Record:
        row = dict.fromkeys(METRICS) | {"step": 0, "epoch": 0.0, "collapsed": False, "train_s": 0.0, "evaluate_s": 0.0}
        return Record({}, [row], train_s=train_s, evaluate_s=0.0, provenance={"device": device})

    folder = run.child("replicates")
    folder.create()
    checkpoint.finish(folder.child(paper.hash), "a" * 8, "finished", record(HOUR, "cpu"), images=NO_IMAGES)
    _, out, _ = study("status", tmp_path, "--price", 1)
    assert out.splitlines()[-1].startswith("So far: 1.00 device-hours on cpu")
    saved = record(2 * HOUR, "cpu")
    checkpoint.write_checkpoint(folder.child(trial.hash), "b" * 8, 3, {"images": NO_IMAGES}, saved)
    code, out, _ = study("status", tmp_path, "--price", 1)
    assert code == 0 and "1 running" in out
    assert out.splitlines()[-1].startswith("So far: 3.00 device-hours on cpu (one core)")
    assert out.splitlines()[-1].endswith(": 3.00 at 1 per device-hour.")


def test_status_of_a_run_that_has_not_begun_says_so(study: Any, tmp_path: Path) -> None:
    Folder(str(tmp_path)).child("replicates").create()
    write_run(Folder(str(tmp_path)), spec.load("paper"), {"data_digests": {"mnist": "d"}})
    code, out, _ = study("status", tmp_path, "--price", 1)
    assert code == 0 and out.splitlines()[-1] == "So far: no device-hours."


def test_report_tells_hours_of_each_device_and_money_where_there_is_a_price(tables: Tables) -> None:
    shared = Evidence([tables])
    plain = render([("results/paper", tables)], evidence=shared)
    head, *rows = cost_section(plain)
    assert head[0] == "device" and head[-1].startswith("measuring") and len(head) == 6
    assert rows == [
        ["NVIDIA H100", "1", "0.500", "0.250", "0.750", "0.000"],
        ["cpu", "5", "10.000", "5.000", "15.000", "0.000"],
    ]
    assert "analysis report results/paper</pre>" in plain
    priced = render([("results/paper", tables)], 2.5, evidence=shared)
    head, *rows = cost_section(priced)
    assert head[-1] == "money" and [row[-1] for row in rows] == ["1.88", "37.50"]
    assert "Money: at 2.5 per device-hour" in priced and "analysis report results/paper --price 2.5</pre>" in priced
    assert priced == render([("results/paper", tables)], 2.5)
    free = render([("results/paper", tables)], 0.0, evidence=shared)
    assert [row[-1] for row in cost_section(free)[1:]] == ["0.00", "0.00"] and "--price 0</pre>" in free


def test_report_counts_estimators_of_the_dimension_too(tables: Tables) -> None:
    estimator = {"config/task": "intrinsic_dimension", "config/sample_size": 500, "test_nll": None, "train_s": None}
    estimated = replaced(tables, "vae", 0, **estimator)
    assert cost_section(render([("results/paper", estimated)]))[-1] == ["cpu", "5", "8.000", "5.000", "13.000", "0.000"]


def test_report_tells_what_measurements_took_of_each_device_apart(tables: Tables) -> None:
    replicates = tables.ends.set_index("cell")["replicate"]
    took = [
        ("elu", "probes_s", HOUR),
        ("vae", "bound_s", 0.5 * HOUR),
        ("vae", "walks_s", HOUR),
        ("vae", "other_s", 1e9),
    ]
    rows = [
        {"replicate": replicates[cell], "step": 1000, "quantity": quantity, "index": 0, "value": seconds}
        for cell, quantity, seconds in took
    ]
    profiles = pd.concat([tables.profiles, pd.DataFrame(rows)], ignore_index=True)
    frames = {"results": tables.results, "profiles": profiles, "images": tables.images}
    measured = stored(frames, tables.spec, tables.provenance)
    assert [row.measure_h for row in costs(measured, None)] == ["1.000", "1.500"]


@pytest.mark.parametrize("price", ["-0.01", "nan", "inf", "much"])
def test_bad_price_exits_2_and_says_why(study: Any, tables: Tables, tmp_path: Path, price: str) -> None:
    merge(tables, Folder(str(tmp_path)))
    said = [study("show", "paper", "--price", price), study("status", tmp_path, "--price", price)]
    told = call(analysis_cli.main, ["report", str(tmp_path), "--price", price])
    for code, out, err in [*said, (told.exit_code, told.stdout, told.stderr)]:
        assert code == 2 and not out
        assert ("--price" in err) if price == "much" else f"`--price` must be a number from 0, but got {price}" in err
    assert not (tmp_path / "report.html").exists()


def test_cli_report_with_a_price_writes_the_money(tables: Tables, tmp_path: Path) -> None:
    merge(tables, Folder(str(tmp_path)))
    done = call(analysis_cli.main, ["report", str(tmp_path), "--price", "0.53"])
    assert done.exit_code == 0
    assert cost_section((tmp_path / "report.html").read_text(encoding="utf-8"))[-1][-1] == "7.95"
