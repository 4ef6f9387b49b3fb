"""What is found out before compute is spent: too little room, and a folder that is not the same on every node."""

import shutil

import pytest
import tiny

from study import preflight, space, spec
from study.lock import RunError
from trainables.registry import DATASETS
from trainables.storage import Folder


@pytest.fixture(autouse=True)
def tiny_dataset(monkeypatch):
    monkeypatch.setitem(DATASETS, "tiny", "tiny:load")


@pytest.fixture
def folder(tmp_path):
    return Folder(str(tmp_path / "shared")).create()


def replicates():
    return space.replicates(spec.parse(tiny.SPEC, "tiny"), {"tiny": "d"})


def test_check_room_refuses_less_than_the_weights_take_and_names_both(folder, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**6, 0, 50_000))
    with pytest.raises(RunError, match=r"0\.1 MB free, but the 5 replicates to run need at least 0\.\d MB"):
        preflight.check_room(folder, replicates())
    preflight.check_room(folder, [])


def test_check_room_of_enough_room_passes(folder):
    preflight.check_room(folder, replicates())
    preflight.check_room(Folder(f"file://{folder.url}"), replicates())


def ask(folders):
    """Nodes that see the run folder at different places."""

    def nodes(folder, name):
        return {node: preflight.probe(folders.get(node, folder), name, node) for node in ("a", "b")}

    return nodes


def test_check_shared_of_one_folder_passes_and_leaves_nothing(folder, tmp_path):
    preflight.check_shared(folder, ask({}))
    assert not list((tmp_path / "shared").iterdir())


def test_check_shared_names_the_node_that_sees_another_folder(folder, tmp_path):
    other = Folder(str(tmp_path / "other")).create()
    with pytest.raises(RunError, match=r"on node b: what the driver wrote there is absent"):
        preflight.check_shared(folder, ask({"b": other}))
    assert not list((tmp_path / "shared").iterdir())


def test_check_shared_names_the_node_that_cannot_write(folder, tmp_path, monkeypatch):
    real = Folder.write

    def write(self, name, content):
        if name.endswith("-a.tmp"):
            raise OSError(30, "Read-only file system")
        real(self, name, content)

    monkeypatch.setattr(Folder, "write", write)
    with pytest.raises(RunError, match=r"must be one folder that all nodes share.*on node a: .*Read-only file system"):
        preflight.check_shared(folder, ask({}))


def test_check_shared_names_the_node_whose_answer_does_not_arrive(folder, tmp_path):
    def copies(folder, name):
        other = Folder(str(tmp_path / "copy")).create()
        other.write(preflight._file(name), folder.read(preflight._file(name)))
        return {"c": preflight.probe(other, name, "c")}

    with pytest.raises(RunError, match="on node c: what it wrote there did not arrive here"):
        preflight.check_shared(folder, copies)
