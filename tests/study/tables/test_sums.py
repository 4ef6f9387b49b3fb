"""SHA256SUMS: beside every folder of merged tables, right, checked by `study verify`, and readable by sha256sum."""

import shutil
import subprocess

import pytest

from study.run import lock
from study.run.lock import RunError
from study.table import load_tables
from study.tables.merge import merge
from study.tables.sums import SUMS, wrong_sums
from study.tables.verify import problems
from tests.support.faults import ROOT
from trainables.storage import Folder

RESULTS = sorted(path.parent for path in (ROOT / "results").glob("*/results.parquet"))


def sha256sum(folder):
    done = subprocess.run(["sha256sum", "--strict", "-c", SUMS], cwd=folder, capture_output=True, check=False)
    return done.returncode == 0


@pytest.mark.parametrize("folder", RESULTS, ids=lambda path: path.name)
def test_tables_of_the_repository_are_those_of_their_sums(folder):
    assert sha256sum(folder), f"{folder} has changed: `study table {folder.name} --to` writes its sums, or sha256sum."


def test_merged_tables_have_sums_that_name_what_is_changed_later(tmp_path):
    target = tmp_path / "tables"
    merge(load_tables(str(ROOT / "results" / "intrinsic")), Folder(str(target)))
    assert sha256sum(target) and not list(problems(Folder(str(target))))
    provenance = (target / "provenance.json").read_text()
    (target / "provenance.json").write_text(f"{provenance} ")  # sound for whoever reads it
    (problem,) = problems(Folder(str(target)))
    assert "provenance.json must have the digest" in problem and not sha256sum(target)
    merge(load_tables(str(ROOT / "results" / "intrinsic")), Folder(str(target)))
    assert sha256sum(target)


def test_merge_into_a_folder_that_another_merge_or_launch_holds_is_refused(tmp_path):
    target = Folder(str(tmp_path / "kept"))
    tables = load_tables(str(ROOT / "results" / "intrinsic"))
    with (
        lock.held(target, lambda reason: pytest.fail(reason)),
        pytest.raises(RunError, match="kept is in use by another `study launch` or `study table --to`"),
    ):
        merge(tables, target)
    assert target.names() == []
    merge(tables, target)


def test_a_flipped_bit_of_the_sums_is_named(tmp_path):
    copied = Folder(str(shutil.copytree(ROOT / "results" / "intrinsic", tmp_path / "tables")))
    content = copied.read(SUMS)
    for place in range(0, len(content), 7):
        copied.write(SUMS, content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        assert list(wrong_sums(copied)), place


def test_sums_that_name_no_file_of_the_tables_are_wrong_and_absent_ones_are_not(tmp_path):
    copied = Folder(str(shutil.copytree(ROOT / "results" / "intrinsic", tmp_path / "tables")))
    copied.write(SUMS, b"nothing\n")
    assert len(list(problems(copied))) == 4, "one for the line, and one for each table"
    copied.delete(SUMS)
    assert not list(problems(copied))
