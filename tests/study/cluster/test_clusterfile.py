"""The cluster files of the project, and what `study check` says of others."""

from __future__ import annotations

import copy
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from study.cluster.clusterfile import PLACEHOLDER, ClusterFileError, problems

ROOT = Path(__file__).resolve().parents[3]
FILES = {
    "aws": ROOT / "cluster.yaml",
    "gcp": ROOT / "docs" / "clusters" / "gcp.yaml",
    "on-premises": ROOT / "docs" / "clusters" / "on-premises.yaml",
}


def edited(name: str) -> str:
    """A file of the project as its user edits it."""
    return FILES[name].read_text().replace(f"region: {PLACEHOLDER}", "region: us-west-2").replace(PLACEHOLDER, "mine")


@pytest.fixture(autouse=True)
def laptop(tmp_path, monkeypatch):
    """A user's machine: the project's folder, an SSH key, a token, AWS credentials."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "id_ed25519").touch()
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("0" * 64)
    (tmp_path / ".ray" / "auth_token").chmod(0o600)


@pytest.fixture
def check(tmp_path) -> Callable[..., list[str]]:
    """The problems of a file of the project after a change of its content."""

    def problems_of(change: Callable[[dict[str, Any]], Any] = lambda config: None, name: str = "aws") -> list[str]:
        config = yaml.safe_load(edited(name))
        change(config)
        path = tmp_path / "cluster.yaml"
        path.write_text(yaml.safe_dump(config))
        return problems(path)

    return problems_of


@pytest.mark.parametrize("name", FILES)
def test_problems_of_the_projects_files_are_their_placeholders(name):
    found = problems(FILES[name])
    assert found
    assert all(PLACEHOLDER in problem for problem in found)


@pytest.mark.parametrize("name", FILES)
def test_problems_of_the_projects_files_after_editing_are_none(name, check):
    assert check(name=name) == []


@pytest.mark.parametrize("name", FILES)
def test_files_have_a_placeholder_on_every_line_to_edit_and_on_no_other(name):
    lines = [line.partition("#") for line in FILES[name].read_text().splitlines() if not line.startswith("#")]
    marked = {text for text, _, comment in lines if comment.strip().startswith("EDIT")}
    assert {text for text, _, _ in lines if PLACEHOLDER in text} <= marked


def test_cluster_yaml_has_two_lines_to_edit():
    lines = FILES["aws"].read_text().splitlines()
    assert [line.split(":")[0].strip() for line in lines if "# EDIT" in line] == ["region", "- --env STUDY_RUNS=s3"]


def drop_token_mode(config):
    config["docker"]["run_options"].remove("--env RAY_AUTH_MODE=token")


def open_a_port(config):
    rule = {"FromPort": 8265, "ToPort": 8265, "IpProtocol": "tcp", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    config["provider"]["security_group"]["IpPermissions"] = [rule]


def open_the_dashboard(config):
    start = config["head_start_ray_commands"]
    start[1] = start[1].replace("127.0.0.1", "0.0.0.0")


def disk(config):
    node = config["available_node_types"]["head"]["node_config"]
    (mapping,) = node["BlockDeviceMappings"] = copy.deepcopy(node["BlockDeviceMappings"])  # which all types share
    return mapping["Ebs"]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (drop_token_mode, "unless RAY_AUTH_MODE=token is set on every node"),
        (lambda c: c["file_mounts"].pop("~/.ray/auth_token"), "`file_mounts` has no ~/.ray/auth_token"),
        (lambda c: c["file_mounts"].update({"~/.ray/auth_token": "/nowhere"}), "there is no token in /nowhere"),
        (lambda c: c["file_mounts"].update({"~/more": "absent"}), "sends absent to ~/more, but it is not here"),
        (lambda c: c["auth"].update(ssh_private_key="~/.ssh/absent"), "SSH key, but ~/.ssh/absent is not here"),
        (open_a_port, "`IpPermissions` opens 8265 to 8265"),
        (lambda c: c["provider"]["security_group"].update(IpPermissions=[{"IpProtocol": "-1"}]), "opens all to all"),
        (open_the_dashboard, "the dashboard must listen to 127.0.0.1 .* but got 0.0.0.0"),
        (lambda c: c["docker"].update(image="rayproject/ray:2.9.0-py311-cpu"), "has Ray 2.9.0, but the lock file has"),
        (lambda c: c["docker"].update(worker_image="rayproject/ray:2.9.0-gpu"), "`docker.worker_image` has Ray 2.9.0"),
        (lambda c: c["docker"].update(image=c["docker"]["image"] + "@sha256:1"), "64 hexadecimal digits, .* @sha256:1"),
        (lambda c: c.pop("rsync_exclude"), r"\.git/config may hold a password"),
        (lambda c: disk(c).pop("Encrypted"), "the disks of type head must be encrypted"),
        (lambda c: c["docker"]["run_options"].pop(0), "STUDY_RUNS is not set"),
        (lambda c: c["available_node_types"]["gpu_spot"]["node_config"].pop("IamInstanceProfile"), "type gpu_spot"),
        (lambda c: c.update(max_worker=3), r"Ray's schema: the file: Additional .*max_worker"),
        (lambda c: c.update(head_node_type="none"), "Ray cannot read it: .*head_node_type"),
        (lambda c: c["docker"].pop("container_name"), "Ray cannot read it"),
    ],
)
def test_problems_known_bad_is_named(change, complaint, check):
    found = check(change)
    assert len(found) == 1
    assert re.search(complaint, found[0]), found


def test_problems_without_credentials_or_token_says_how_to_have_them(check, tmp_path, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    (tmp_path / ".ray" / "auth_token").unlink()
    assert check() == [
        "there is no token in ~/.ray/auth_token: make one with `ray get-auth-token --generate`, then chmod 600.",
        "there are no AWS credentials: run `aws configure`, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.",
    ]


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o602])
def test_problems_with_a_token_that_others_can_reach_says_how_to_close_it(check, tmp_path, mode):
    (tmp_path / ".ray" / "auth_token").chmod(mode)
    assert check() == [
        "the token in ~/.ray/auth_token must be yours alone, but others can read it: chmod 600 ~/.ray/auth_token"
    ]


def test_problems_of_an_image_by_digest_are_none(check):
    assert check(lambda c: c["docker"].update(image=c["docker"]["image"] + "@sha256:" + 64 * "a")) == []


SECTIONS = [("provider",), ("auth",), ("docker",), ("file_mounts",), ("available_node_types",), ("rsync_exclude",)]
DEEPER = [("provider", "security_group"), ("available_node_types", "head"), ("file_mounts", "~/.ray/auth_token")]
OTHERS = ["max_workers", "cluster_name", "head_node_type", "setup_commands", "head_start_ray_commands"]


@pytest.mark.parametrize("value", [None, "text", 3, ["a"], {"a": None}, [{}], {1: 2}, True], ids=repr)
@pytest.mark.parametrize("keys", [*SECTIONS, *DEEPER, *((key,) for key in OTHERS)], ids=".".join)
def test_problems_of_a_section_of_any_wrong_type_are_lines(keys, value, check):
    def put(config: dict[str, Any]) -> None:
        *path, last = keys
        for key in path:
            config = config[key]
        config[last] = value

    lines = check(put)
    assert all(0 < len(line) < 500 and "\n" not in line for line in lines)
    if keys in SECTIONS + DEEPER and value is None:
        assert any(f"`{'.'.join(keys)}`" in line and "but got nothing" in line for line in lines), lines


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"a: [", "must be YAML"),
        (b"- a", "must be a mapping"),
        (b"", "mapping"),
        (b"a: \xe9", "must be UTF-8, but its byte 3 is not"),
        (b"a: \x00", "must be YAML"),
        (b"[" * 10_000, "must be YAML"),
        (b"a: 2026-99-99", "must be YAML"),
        (b"#" * 1_000_001, "smaller than 1,000,000 bytes"),
    ],
    ids=range(8),
)
def test_problems_of_what_is_no_cluster_file_raises(content, complaint, tmp_path):
    (tmp_path / "cluster.yaml").write_bytes(content)
    with pytest.raises(ClusterFileError, match=complaint):
        problems(tmp_path / "cluster.yaml")


def test_problems_of_a_pipe_or_a_folder_raises_and_waits_for_nobody(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/zero")):
        with pytest.raises(ClusterFileError, match="must be a file"):
            problems(path)


@pytest.mark.parametrize("name", FILES)
def test_files_send_the_repository_without_its_config_and_it_can_be_cloned(name, tmp_path):
    excluded = yaml.safe_load(FILES[name].read_text())["rsync_exclude"]
    assert excluded == ["/config", "/logs"]
    source = tmp_path / "source"
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(source)]
    subprocess.run(["git", "init", "--quiet", str(source)], check=True)
    subprocess.run([*git, "commit", "--quiet", "--allow-empty", "--message", "first"], check=True)
    for entry in excluded:
        path = source / ".git" / entry[1:]
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    subprocess.run(["git", "clone", "--quiet", str(source / ".git"), str(tmp_path / "clone")], check=True)


def test_check_prints_each_problem_and_exits_with_2_or_says_what_to_do_next(tmp_path):
    from study.cli.app import app

    ready = tmp_path / "cluster.yaml"
    ready.write_text(edited("aws"))
    good = CliRunner().invoke(app, ["check", str(ready)])
    assert good.exit_code == 0 and f"Start the cluster: ray up {ready}" in good.output, good.output
    bad = CliRunner().invoke(app, ["check"])
    assert bad.exit_code == 2 and len(bad.output.splitlines()) == 2 and PLACEHOLDER in bad.output
