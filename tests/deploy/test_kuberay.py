"""deploy/kuberay/rayjob.yaml against KubeRay's own schema, and what happens when its head dies.

kuberay/rayjob-v1.7.0.json.xz is the schema of `ray.io/v1` RayJob from the CustomResourceDefinition of KubeRay 1.7.0
(helm-chart/kuberay-operator/crds/ray.io_rayjobs.yaml), under the licence beside it.
"""

from __future__ import annotations

import json
import lzma
import os
import shlex
import signal
import subprocess
import sys
import tomllib
from copy import deepcopy
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.support.faults import REPLICATES, ROOT, assert_same, finish, program, start, until
from tests.test_repository import locked
from trainables.storage import Folder

HERE = Path(__file__).parent / "kuberay"
JOB = yaml.safe_load((ROOT / "deploy" / "kuberay" / "rayjob.yaml").read_text())
CLUSTER = JOB["spec"]["rayClusterSpec"]
PODS = [CLUSTER["headGroupSpec"], *CLUSTER["workerGroupSpecs"]]


def closed(schema: Any) -> Any:
    """The schema as Kubernetes applies it: a field that it does not name is lost there, so it is refused here."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: closed(value) for key, value in schema.items()}
    named = isinstance(made.get("properties"), dict) and made.get("type") == "object"
    if named and not made.get("x-kubernetes-preserve-unknown-fields"):
        made.setdefault("additionalProperties", False)
    return made


def schema() -> dict[str, Any]:
    found: dict[str, Any] = closed(json.loads(lzma.decompress((HERE / "rayjob-v1.7.0.json.xz").read_bytes())))
    found["properties"]["metadata"] = {"type": "object"}  # Kubernetes' own
    return found


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(schema())


def container(group: dict[str, Any]) -> dict[str, Any]:
    (one,) = group["template"]["spec"]["containers"]
    return dict(one)


def test_manifest_is_a_rayjob_of_kuberays_schema(validator):
    assert not [f"{error.json_path}: {error.message}" for error in validator.iter_errors(JOB)]


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("rayClusterSpec", "authOptions", "mode"), "tokens"),
        (("rayClusterSpec", "workerGroupSpecs", 0, "minReplica"), 0),
        (("rayClusterSpec", "headGroupSpec", "template", "spec", "containers", 0, "images"), "x"),
        (("backoffLimit",), "five"),
    ],
)
def test_schema_refuses_what_is_misspelt(validator, place, value):
    wrong = deepcopy(JOB)
    at = wrong["spec"]
    for key in place[:-1]:
        at = at[key]
    at[place[-1]] = value
    assert list(validator.iter_errors(wrong))


def test_nothing_is_open_and_nobody_is_root():
    assert CLUSTER["authOptions"] == {"mode": "token"}
    head = CLUSTER["headGroupSpec"]
    assert head["serviceType"] == "ClusterIP" and not head.get("enableIngress") and "headService" not in head
    for group in PODS:
        assert group["template"]["spec"]["securityContext"]["runAsNonRoot"] is True
        assert container(group)["securityContext"]["allowPrivilegeEscalation"] is False


def test_workers_come_from_0_and_the_launch_knows_how_many_may_come():
    environment = {entry["name"]: entry["value"] for entry in container(CLUSTER["headGroupSpec"])["env"]}
    assert environment["STUDY_RUNS"].startswith("s3://")
    for resource, key in (("STUDY_MAX_CPU", "cpu"), ("STUDY_MAX_GPU", "nvidia.com/gpu")):
        limits = {g["groupName"]: int(container(g)["resources"]["limits"].get(key, 0)) for g in PODS[1:]}
        most = {g["groupName"]: g["maxReplicas"] * limits[g["groupName"]] for g in PODS[1:]}
        name = "cpu" if key == "cpu" else "gpu"
        assert int(environment[resource]) == most[name]
    assert all(group["minReplicas"] == group["replicas"] == 0 for group in PODS[1:])


def test_ray_is_the_locked_one_and_the_entrypoint_a_command_of_ours():
    assert f"ray=={CLUSTER['rayVersion']}" in {pin.split("[")[0].split(" ")[0] for pin in locked()}
    words = shlex.split(JOB["spec"]["entrypoint"])
    assert words[0] in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert finish(start(program(words[0], "show", words[2])))[0] == 0


@pytest.mark.slow
def test_job_whose_head_dies_is_begun_again_on_a_new_cluster_and_the_same_bucket(spec_path, whole, bucket, tmp_path):
    """What KubeRay does for `backoffLimit`: another cluster, the same entrypoint. All of the first one dies at once."""
    runs = f"s3://{bucket}/runs"
    environment = os.environ | {"STUDY_RUNS": runs, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}
    environment |= {"PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0", "COLUMNS": "200"}
    words = shlex.split(JOB["spec"]["entrypoint"].replace("latent", str(spec_path)))[1:]
    replicates = Folder(f"{runs}/small").child("replicates")

    def cluster(port: int) -> subprocess.Popen[str]:
        """A head that takes trials, and the job on it, in a process group of their own."""
        ray = [sys.executable, "-m", "ray.scripts.scripts"]
        # KubeRay names its cluster to the job; `auto` alone would take any that another test has started here.
        job = f"env RAY_ADDRESS=127.0.0.1:{port} "
        job += shlex.join([*program("study", *words), "--checkpoint-every", "0.05"])
        script = f"{shlex.join(ray)} start --head --num-cpus=2 --port={port} --block > {tmp_path}/head.log 2>&1 &"
        script += f"\nuntil (exec 3<>/dev/tcp/127.0.0.1/{port}) 2> {os.devnull}; do sleep 0.5; done\nexec {job}"
        return subprocess.Popen(
            ["bash", "-c", script],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    outputs = []
    for port, dies in ((6401, True), (6402, False)):
        process = cluster(port)
        try:
            if dies:
                until(lambda: any(replicates.child(name).names() for name in replicates.names()), process, 180)
            else:
                outputs.append(process.communicate(timeout=400)[0])
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    assert f"Done: {REPLICATES} finished" in outputs[0], outputs[0]
    assert_same(whole, f"{runs}/small")
