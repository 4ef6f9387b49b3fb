"""What is found out before compute is spent: too little room, nodes that do not fit together, no GPU, no token."""

import dataclasses
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import ray
import torch

import trainables
from study import spec
from study.plan import Plan
from study.run import launch, preflight, ray_cluster
from study.run.job import Options
from study.run.lock import RunError
from study.run.preflight import NodeCheck
from study.spec import SpecError
from tests.support import tiny
from trainables.datasets import SPLITS, Dataset
from trainables.registry import DATASETS
from trainables.shape import Shape
from trainables.storage import Folder


@pytest.fixture(autouse=True)
def tiny_dataset(monkeypatch):
    monkeypatch.setitem(DATASETS, "tiny", "tests.support.tiny:load")


@pytest.fixture
def folder(tmp_path):
    return Folder(str(tmp_path / "shared")).create()


def replicates():
    return Plan(spec.parse(tiny.SPEC, "tiny"), {"tiny": "d"}).replicates


def test_check_room_refuses_less_than_the_weights_take_and_names_both(folder, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**6, 0, 50_000))
    with pytest.raises(RunError, match=r"0\.1 MB free, but the 5 replicates to run need at least 0\.\d MB"):
        preflight.check_room(folder, replicates(), Plan(spec.parse(tiny.SPEC, "tiny")))
    preflight.check_room(folder, [], Plan(spec.parse(tiny.SPEC, "tiny")))


def test_check_room_of_enough_room_passes(folder):
    preflight.check_room(folder, replicates(), Plan(spec.parse(tiny.SPEC, "tiny")))
    preflight.check_room(Folder(f"file://{folder.url}"), replicates(), Plan(spec.parse(tiny.SPEC, "tiny")))


@pytest.fixture
def ask(folder):
    """Asks nodes named as given; a node's folder, where it sees another than the driver."""

    def asked(**folders):
        check = NodeCheck.begin(folder)
        try:
            check.ask(
                lambda sent: {
                    node: dataclasses.replace(sent, folder=seen).answer(node) for node, seen in folders.items()
                }
            )
        finally:
            check.end()

    return asked


def test_ask_nodes_that_share_the_folder_passes_and_leaves_nothing(folder, ask, tmp_path):
    ask(a=folder, b=folder)
    assert not list((tmp_path / "shared").iterdir())


def test_ask_names_the_node_that_sees_another_folder(folder, ask, tmp_path):
    other = Folder(str(tmp_path / "other")).create()
    with pytest.raises(RunError, match=r"Node b: .*must be one folder that all nodes share.*is not there\."):
        ask(a=folder, b=other)
    assert not list((tmp_path / "shared").iterdir())


def test_ask_names_the_node_that_cannot_write(folder, ask, monkeypatch):
    real = Folder.write

    def write(self, name, content):
        if name.endswith("-a.tmp"):
            raise OSError(30, "Read-only file system")
        real(self, name, content)

    monkeypatch.setattr(Folder, "write", write)
    with pytest.raises(RunError, match=r"Node a: .*must be one folder that all nodes share.*Read-only file system"):
        ask(a=folder)


def test_ask_names_the_node_whose_answer_does_not_arrive(folder, tmp_path):
    def copies(check):
        other = Folder(str(tmp_path / "copy")).create()
        other.write(f"{check.name}-driver.tmp", check.name.encode())
        return {"c": dataclasses.replace(check, folder=other).answer("c")}

    check = NodeCheck.begin(folder)
    with pytest.raises(RunError, match=r"Node c: .*what it wrote did not arrive"):
        check.ask(copies)


def test_ask_names_what_differs_on_a_node_before_its_folder(folder, monkeypatch):
    check = NodeCheck.begin(folder)
    monkeypatch.setattr(preflight, "software", lambda: check.software | {"torch": "1.13.0"})
    expected = rf"Node d: .*has torch 1\.13\.0 \(the driver: {re.escape(check.software['torch'])}\)"
    with pytest.raises(RunError, match=expected):
        check.ask(lambda sent: {"d": sent.answer("d")})


def test_problem_of_a_node_that_comes_later_is_that_of_any_other_and_leaves_nothing(folder, tmp_path):
    check = NodeCheck.begin(folder)
    assert check.problem() is None
    assert len(list((tmp_path / "shared").iterdir())) == 1
    check.end()
    assert "is not there" in str(check.problem())


def test_software_changes_with_the_code_of_a_trial(tmp_path, monkeypatch):
    copy = tmp_path / "trainables"
    shutil.copytree(Path(str(trainables.__file__)).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    before = preflight.software()
    monkeypatch.setattr(trainables, "__file__", str(copy / "__init__.py"))
    assert preflight.software() == before, "where it lies does not matter"
    (copy / "losses.py").write_text("# changed")
    assert preflight.software()["code of trainables/"] != before["code of trainables/"]


def test_run_path_without_a_value_of_the_variable_is_not_in_the_root(monkeypatch):
    monkeypatch.setenv("STUDY_RUNS", "")
    assert launch.run_path("paper") == "runs/paper"


def test_run_path_is_in_the_folder_of_runs_that_the_environment_names(monkeypatch):
    monkeypatch.delenv("STUDY_RUNS", raising=False)
    assert launch.run_path("paper") == "runs/paper"
    monkeypatch.setenv("STUDY_RUNS", "s3://mine/runs/")
    assert launch.run_path("paper") == "s3://mine/runs/paper"


def test_run_path_of_a_cluster_file_that_nobody_has_edited_is_refused(monkeypatch):
    monkeypatch.setenv("STUDY_RUNS", "s3://EDIT-ME/runs")
    with pytest.raises(RunError, match="STUDY_RUNS must be a folder of yours, but it is still s3://EDIT-ME"):
        launch.run_path("paper")


@pytest.mark.parametrize("runner", ["inline", "ray"])
def test_device_that_is_asked_for_and_not_there_is_refused(runner, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 2.0})
    with pytest.raises(RunError, match="`--device cuda` must have a GPU, but this machine has none"):
        launch._device(Options(runner=runner, device="cuda"))
    assert launch._device(Options(runner=runner)) == "cpu"


BOOTSTRAP = """
max_workers: 8
head_node_type: head
available_node_types:
  head: {max_workers: 0, resources: {CPU: 16, GPU: 16}}
  one: {max_workers: 2, resources: {CPU: 4, GPU: 4}}
  more: {max_workers: 8, resources: {CPU: 2, GPU: 1}}
"""


def test_device_and_capacity_of_a_cluster_without_workers_are_of_those_that_may_come(tmp_path, monkeypatch):
    options = Options(address="auto")
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"memory": 1.0})
    monkeypatch.setattr(ray_cluster, "BOOTSTRAP", tmp_path / "bootstrap.yaml")
    assert launch._device(options) == "cpu"
    with pytest.raises(RunError, match="the Ray cluster at auto has none that Ray can use"):
        launch._device(Options(address="auto", device="cuda"))
    (tmp_path / "bootstrap.yaml").write_text(BOOTSTRAP)
    assert launch._device(options) == "cuda"
    assert launch._device(Options(address="auto", device="cpu")) == "cpu"
    assert ray_cluster.capacity("GPU", options) == 2 * 4 + 6 * 1
    assert ray_cluster.capacity("GPU", Options()) == 0, "this machine starts no others"
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"GPU": 20.0})
    assert ray_cluster.capacity("GPU", options) == 20


LABELLED = Dataset("tiny", {p: np.zeros((9, 4), np.uint8) for p in SPLITS}, {}, "d", Shape(2, 2))


def checked(arm, **changes):
    data = {"tiny": dataclasses.replace(LABELLED, **changes)}
    study = spec.parse(f"name: it\nbase: {{dataset: tiny}}\narms: {{a: {arm}}}\n", "here")
    preflight.check_data(Plan(study, {}, {"tiny": data["tiny"].size}), data)


@pytest.mark.parametrize(
    ("arm", "message"),
    [
        ("{task: pca, latent_dim: 5}", "`latent_dim <= 4` must hold for PCA, but got 5"),
        ("{task: intrinsic_dimension, sample_size: 10}", "`sample_size <= 9`, the training images there are.* got 10"),
        ("{task: intrinsic_dimension, sample_size: 1, digit: 3}", "`digit` must be left out .* no labels, but got 3"),
    ],
)
def test_check_data_refuses_what_the_data_do_not_have(arm, message):
    with pytest.raises(SpecError, match=rf"study it, cell 'a': {message}\. The data are tiny: train 9.* 2 x 2 grey"):
        checked(arm)


def test_check_data_of_what_the_data_have_passes():
    for arm in ("{task: pca, latent_dim: 4}", "{task: intrinsic_dimension, sample_size: 9}", "{latent_dim: 50}"):
        checked(arm)
    labels = {part: np.arange(9, dtype=np.uint8) % 3 for part in SPLITS}
    checked("{task: intrinsic_dimension, sample_size: 3, digit: 2}", labels=labels)
    with pytest.raises(SpecError, match="`sample_size <= 3`"):
        checked("{task: intrinsic_dimension, sample_size: 4, digit: 2}", labels=labels)


def test_check_data_of_two_names_for_the_same_images_is_refused():
    study = spec.parse("name: it\narms: {a: {}}\ngrid: {dataset: [a.npz, b.npz]}\n", "here")
    data = {name: dataclasses.replace(LABELLED, name=name, digest="sha256:1") for name in "ab"}
    with pytest.raises(SpecError, match="`data` must hold different images, but a and b are equal"):
        preflight.check_data(Plan(study), data)


def test_capacity_of_a_cluster_without_a_file_is_what_the_environment_states(tmp_path, monkeypatch):
    monkeypatch.setattr(ray_cluster, "BOOTSTRAP", tmp_path / "absent")
    monkeypatch.setattr(ray_cluster.ray, "cluster_resources", lambda: {"CPU": 3.0})
    monkeypatch.setenv("STUDY_MAX_GPU", "4")
    options = Options(address="auto")
    assert ray_cluster.has_gpu(options) and ray_cluster.capacity("GPU", options) == 4
    assert ray_cluster.capacity("CPU", options) == 3
    assert ray_cluster.capacity("GPU", Options()) == 0, "this machine starts no others"
    monkeypatch.setenv("STUDY_MAX_GPU", "four")
    with pytest.raises(RunError, match="`STUDY_MAX_GPU` must be a whole number from 0, but got 'four'"):
        ray_cluster.capacity("GPU", options)
