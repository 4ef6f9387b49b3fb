"""A run folder's spec and provenance: damage is named with its remedy, a launch mends it, and no code in it runs."""

import json
import os
import sys

import pytest

from study import spec
from study.plan import Plan
from study.runfolder import PROVENANCE, SPEC, TableError, read_former, read_plan, write_run
from tests.support import tiny
from trainables.registry import DATASETS
from trainables.storage import Folder

ORIGIN = {"data_digests": {"tiny": "d"}, "git_commit": "abc"}
DAMAGE = {
    "a typo": lambda text: text.replace(b"activation: linear", b"activation: lineXr"),
    "a number": lambda text: text.replace(b"seeds: 2", b"seeds: 6"),
    "a cell's digits": lambda text: text.replace(b"latent_dim: 2", b"latent_dim: 3"),
    "cut": lambda text: text[: len(text) // 2],
    "empty": lambda text: b"",
    "binary": lambda text: b"\xff\xfe" + text,
    "deep": lambda text: b"[" * 200_000,
}


@pytest.fixture
def study(monkeypatch):
    monkeypatch.setitem(DATASETS, "tiny", "tests.support.tiny:load")
    return spec.parse(tiny.SPEC, "tiny")


@pytest.fixture
def run(study, tmp_path):
    folder = Folder(str(tmp_path / "run")).create()
    write_run(folder, study, ORIGIN)
    return folder


def plan(study):
    return Plan(study, {"tiny": "d"})


def harm(run, name, change):
    content = run.read(name)
    changed = DAMAGE[change](content)
    assert changed != content
    run.write(name, changed)


@pytest.mark.parametrize("change", DAMAGE)
def test_read_plan_of_a_damaged_spec_names_the_file_and_the_remedy(run, change):
    harm(run, SPEC, change)
    with pytest.raises(TableError, match=r"run/spec\.yaml is damaged: .*`study launch` with the study.*mends it"):
        read_plan(run)


@pytest.mark.parametrize("change", DAMAGE)
def test_read_former_mends_a_damaged_spec_of_the_same_study_alone(run, study, change, caplog):
    harm(run, SPEC, change)
    assert read_former(run, plan(study)) == (study, ORIGIN)
    assert f"{SPEC} is damaged" in caplog.text
    with pytest.raises(TableError, match="is damaged"):
        read_former(run, plan(study.with_changes(seeds=3)))


def test_read_former_mends_a_damaged_provenance(run, study, caplog):
    run.write(PROVENANCE, run.read(PROVENANCE).replace(b'"abc"', b'"abx"'))
    with pytest.raises(TableError, match=r"provenance\.json is damaged: it is not as a launch has written it"):
        read_plan(run)
    assert read_former(run, plan(study)) == (study, {"data_digests": {}})
    assert f"{PROVENANCE} is damaged" in caplog.text


def test_read_former_mends_spec_and_provenance_together_where_all_replicates_are_the_studys(run, study):
    harm(run, SPEC, "cut")
    run.write(PROVENANCE, b"{")
    begun = run.child("replicates").create()
    begun.child(plan(study).replicates[0].hash).create()
    assert read_former(run, plan(study)) == (study, {"data_digests": {}})
    with pytest.raises(TableError, match=r"spec\.yaml is damaged"):
        read_former(run, plan(study.with_changes(steps=7)))
    begun.child("0123456789abcdef").create()
    with pytest.raises(TableError, match=r"spec\.yaml is damaged"):
        read_former(run, plan(study))


def test_read_plan_between_the_two_writes_of_a_growing_study_has_the_older_spec(run, study):
    old = run.read(SPEC)
    write_run(run, study.with_changes(seeds=3), ORIGIN)
    assert read_plan(run)[0].spec.seeds == 3
    run.write(SPEC, old)  # as if the driver had been killed before it wrote the spec
    held, origin = read_plan(run)
    assert (held.spec, origin) == (study, ORIGIN)


def test_read_plan_of_a_folder_older_than_the_digests(run, study):
    run.write(PROVENANCE, json.dumps(ORIGIN).encode())
    held, origin = read_plan(run)
    assert (held.spec, origin) == (study, ORIGIN)


def test_damaged_cell_of_a_folder_older_than_the_digests_is_named_with_the_remedy_and_mended(run, study, caplog):
    run.write(PROVENANCE, json.dumps(ORIGIN).encode())
    harm(run, SPEC, "a typo")
    with pytest.raises(TableError, match=r"run/spec\.yaml is damaged: .*'lineXr'.*`study launch` with the study"):
        read_plan(run)
    assert read_former(run, plan(study))[0] == study and "It is written anew" in caplog.text


@pytest.mark.parametrize("name", [SPEC, PROVENANCE])
@pytest.mark.parametrize("kind", ["fifo", "device", "large"])
def test_read_plan_of_what_is_no_small_file_is_refused_at_once(run, name, kind):
    path = run.local / name
    path.unlink()
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        with path.open("wb") as file:
            file.truncate(60_000_000)
    with pytest.raises(TableError, match=name):
        read_plan(run)


def test_read_plan_of_a_folder_with_plugins_imports_none_of_them(run, study, tmp_path, monkeypatch):
    (tmp_path / "evil.py").write_text("raise SystemExit('it ran')\n")
    monkeypatch.chdir(tmp_path)
    text = spec.dump(study).replace("plugins: []", "plugins: [evil]")
    run.write(PROVENANCE, json.dumps(ORIGIN).encode())
    run.write(SPEC, text.encode())
    assert read_plan(run)[0].spec.plugins == ["evil"]
    assert "evil" not in sys.modules
