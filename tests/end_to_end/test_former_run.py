"""The promise on formats: run folders of earlier versions are read, resumed and merged by this one.

Each archive is the folder of one launch that was stopped: `linear` has finished and is measured, `vae` has two
checkpoints, `pca` has not begun. None is ever made again: they stand for the folders that users have. A release whose
files look otherwise adds its own.
"""

import io
import tarfile
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from study import spec, table
from study.run import launch
from study.run.backlog import Counts
from study.run.job import Options
from study.tables.build import build
from study.tables.merge import merge
from tests.support.faults import CLOCKS, checkpoints
from trainables.registry import DATASETS, MEASUREMENTS
from trainables.schema import METRICS
from trainables.storage import Folder

ARCHIVES = sorted(Path(__file__).parent.glob("run_*.tar.gz"))


@pytest.fixture(autouse=True)
def tiny_registries(monkeypatch):
    monkeypatch.setitem(DATASETS, "tiny", "tests.support.tiny:load")
    monkeypatch.setitem(MEASUREMENTS, "tiny", "tests.support.tiny:measure")


@pytest.fixture(params=ARCHIVES, ids=lambda path: path.name.partition(".")[0])
def former(tmp_path, request):
    with tarfile.open(request.param) as archive:
        archive.extractall(tmp_path / "former", filter="data")
    return tmp_path / "former"


def run(folder, study):
    options = Options(runner="inline", device="cpu")
    return launch.launch(study, str(folder), options, Console(file=io.StringIO()))


def test_former_tables_are_read_and_made_anew_with_the_same_rows(former):
    stored = table.load_tables(str(former))
    assert dict(stored.ends.groupby("status").size()) == {"finished": 1, "running": 1, "pending": 1}
    results, profiles, images = stored.results, stored.profiles, stored.images
    again = build(Folder(str(former)))
    pd.testing.assert_frame_equal(again.results[results.columns], results)  # later columns are null
    pd.testing.assert_frame_equal(again.profiles, profiles)
    pd.testing.assert_frame_equal(again.images, images)
    assert {"test_nll_by_block", "tiny_codes"} <= set(profiles["quantity"])


def test_former_run_is_resumed_and_gives_the_rows_of_a_run_from_the_start(former, tmp_path):
    study = spec.parse((former / "spec.yaml").read_text(), "former")
    finished = {path: path.read_bytes() for path in former.glob("replicates/*/*-record.safetensors")}
    assert run(former, study) == Counts(finished=3)
    assert {path: path.read_bytes() for path in finished} == finished, "what has finished stays as it is"
    assert run(tmp_path / "fresh", study) == Counts(finished=3)
    resumed, fresh = (table.load_tables(str(path)).results for path in (former, tmp_path / "fresh"))
    columns = ["replicate", "cell", "status", "final", "step", *METRICS]
    pd.testing.assert_frame_equal(resumed[columns], fresh[columns], rtol=1e-5)  # other processors, other last digits
    assert not checkpoints(former)


@pytest.mark.parametrize("first", ["former", "fresh"])
def test_former_tables_are_merged_with_tables_of_today(former, tmp_path, first):
    study = spec.parse((former / "spec.yaml").read_text(), "former")
    run(tmp_path / "fresh", study)
    target = Folder(str(tmp_path / "results"))
    for name in sorted(["former", "fresh"], key=lambda name: name != first):
        merge(table.load_tables(str(tmp_path / name)), target)
    order = ["replicate", "step"]
    tables = [table.load_tables(str(path)).results for path in (target.url, tmp_path / "fresh")]
    merged, fresh = (results.sort_values(order, ignore_index=True) for results in tables)
    assert set(merged["status"]) == {"finished"}
    columns = [name for name in fresh.columns if name not in [*CLOCKS, *METRICS, "git_commit", "device", "numerics"]]
    pd.testing.assert_frame_equal(merged[columns], fresh[columns])


@pytest.mark.parametrize(
    "pattern", ["*-weights.safetensors", "*-record.safetensors", "*.done.json", "*-0*.safetensors"]
)
def test_former_file_that_is_damaged_is_named_and_made_good(former, caplog, pattern):
    study = spec.parse((former / "spec.yaml").read_text(), "former")
    file = max(former.glob(f"replicates/*/{pattern}"))
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 2
    file.write_bytes(content if file.suffix == ".safetensors" else content[:-20])
    assert run(former, study) == Counts(finished=3)
    assert file.name in caplog.text
