"""`study verify`: it names each kind of damage, and finds nothing in a sound run."""

import io
import shutil

import pyarrow.parquet as pq
import pytest
from rich.console import Console
from typer.testing import CliRunner

from study import spec
from study.cli.app import app
from study.run import launch
from study.run.job import Options
from study.tables.columns import SCHEMAS
from study.tables.sums import SUMS
from study.tables.verify import problems
from tests.support import tiny
from trainables.registry import DATASETS
from trainables.storage import Folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DATASETS, "tiny", "tests.support.tiny:load")
        launch.launch(spec.parse(tiny.SPEC, "tiny"), str(folder), Options(runner="inline"), Console(file=io.StringIO()))
    return folder


@pytest.fixture
def run(whole, tmp_path, monkeypatch):
    monkeypatch.setitem(DATASETS, "tiny", "tests.support.tiny:load")
    return shutil.copytree(whole, tmp_path / "run")


def test_verify_of_a_sound_run_finds_nothing_and_exits_with_0(run):
    assert not list(problems(Folder(str(run))))
    done = CliRunner().invoke(app, ["verify", str(run)])
    assert done.exit_code == 0 and "every file is sound" in done.output


@pytest.mark.parametrize("pattern", ["*-record.safetensors", "*-weights.safetensors", "*.done.json"])
def test_verify_names_a_replicates_file_with_a_flipped_bit_and_exits_with_1(run, pattern):
    path = sorted(run.glob(f"replicates/*/{pattern}"))[0]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    done = CliRunner().invoke(app, ["verify", str(run)], env={"COLUMNS": "400"})
    assert done.exit_code == 1 and path.name in done.output, done.output


def test_verify_names_a_table_that_is_not_that_of_the_folders(run):
    path = run / "profiles.parquet"
    table = pq.read_table(path)
    pq.write_table(table.slice(0, len(table) - 1), path)
    (problem,) = problems(Folder(str(run)))
    assert "profiles.parquet" in problem and "study table" in problem


def test_verify_names_a_folder_that_is_no_replicate_of_the_spec(run):
    (run / "replicates" / "0123456789abcdef").mkdir()
    (problem,) = problems(Folder(str(run)))
    assert "0123456789abcdef" in problem


def test_verify_names_a_damaged_table_and_a_damaged_spec(run):
    (run / "results.parquet").write_bytes(b"PAR1")
    assert "results.parquet" in "".join(problems(Folder(str(run))))
    (run / "spec.yaml").write_text("name: [")
    assert "spec.yaml" in "".join(problems(Folder(str(run))))


def test_verify_of_tables_alone_names_a_flipped_bit_in_a_footer_which_has_no_checksum_of_its_own(run):
    assert (run / SUMS).read_text().count("\n") == len(SCHEMAS)
    shutil.rmtree(run / "replicates")
    assert not list(problems(Folder(str(run))))
    content = bytearray((run / "images.parquet").read_bytes())
    content[-20] ^= 1
    (run / "images.parquet").write_bytes(content)
    assert any("images.parquet" in problem for problem in problems(Folder(str(run))))


def test_verify_of_tables_alone_checks_the_tables(run):
    shutil.rmtree(run / "replicates")
    assert not list(problems(Folder(str(run))))


def test_verify_does_not_mind_a_damaged_checkpoint_of_a_replicate_that_has_ended(run):
    folder = sorted(run.glob("replicates/*/*-record.safetensors"))[0].parent
    (folder / "0123abcd-0123456789ab-000000004.safetensors").write_bytes(b"cut")
    assert not list(problems(Folder(str(run))))
    for marker in folder.glob("*.done.json"):
        marker.unlink()
    assert "000000004.safetensors" in "".join(problems(Folder(str(run))))
