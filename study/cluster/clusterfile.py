"""What can be known of a Ray cluster file before it costs anything: `study check`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from study.cluster import token
from trainables.errors import ReadableError

PLACEHOLDER = "EDIT-ME"
_TOKEN_MODE = "RAY_AUTH_MODE=token"


class ClusterFileError(ReadableError):
    """A cluster file that cannot be read."""


def problems(path: Path) -> list[str]:
    """What is wrong with a cluster file, each in a line; empty if it is ready for `ray up`.

    Raises:
        ClusterFileError: It is no YAML mapping.
        FileNotFoundError: It is not there.
    """
    text = path.read_text(encoding="utf-8")
    config = _parsed(path, text)
    found = list(_placeholders(text))
    if not found:  # what follows would complain of them too
        found += _schema(config)
    found += _key(config)
    found += _token(config, text)
    found += _closed(config, text)
    found += _mounts(config)
    found += _image(config)
    if "STUDY_RUNS=" not in text:
        found.append("the nodes must know where runs go, but STUDY_RUNS is not set.")
    if config.get("provider", {}).get("type") == "aws":
        found += _aws(config)
    return found


def _parsed(path: Path, text: str) -> dict[str, Any]:
    try:
        config = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ClusterFileError(f"{path} must be YAML, but: {' '.join(str(error).split())}.") from None
    if not isinstance(config, dict):
        raise ClusterFileError(f"{path} must be a mapping, as the cluster.yaml of this project is.")
    return config


def _placeholders(text: str) -> Iterator[str]:
    for number, line in enumerate(text.splitlines(), start=1):
        if PLACEHOLDER in line:
            yield f"line {number} still has {PLACEHOLDER}: {line.strip()}"


def _schema(config: dict[str, Any]) -> Iterator[str]:
    """Ray's own opinion; it is of what the file says, not of what a cloud would make of it."""
    from jsonschema import ValidationError
    from ray.autoscaler._private.util import prepare_config, validate_config

    try:
        validate_config(prepare_config(config))
    except ValidationError as error:
        where = ".".join(map(str, error.path)) or "the file"
        yield f"Ray's schema: {where}: {error.message}"
    except (AssertionError, ValueError, KeyError, TypeError) as error:  # Ray's own checks are of these kinds
        yield f"Ray cannot read it: {type(error).__name__}: {error}"


def _key(config: dict[str, Any]) -> Iterator[str]:
    key = config.get("auth", {}).get("ssh_private_key")
    if key is not None and not Path(key).expanduser().is_file():
        yield f"`auth.ssh_private_key` must be your SSH key, but {key} is not here: ssh-keygen makes one."


def _token(config: dict[str, Any], text: str) -> Iterator[str]:
    if _TOKEN_MODE not in text:
        yield f"whoever reaches a port can run code unless {_TOKEN_MODE} is set on every node, and it is not."
    source = config.get("file_mounts", {}).get(token.FILE)
    if source is None:
        yield f"every node needs the token, but `file_mounts` has no {token.FILE}."
    elif not Path(source).expanduser().is_file():
        yield f"there is no token in {source}: make one with `ray get-auth-token --generate`, then chmod 600."
    elif token.open_to_others(Path(source).expanduser()):
        yield f"the token in {source} must be yours alone, but others can read it: chmod 600 {source}"


def _closed(config: dict[str, Any], text: str) -> Iterator[str]:
    """Ports that would be open to others than the nodes."""
    for host in re.findall(r"--dashboard-host[= ](\S+)", text):
        if host not in ("127.0.0.1", "localhost"):
            yield f"the dashboard must listen to 127.0.0.1 (`ray dashboard` brings it through SSH), but got {host}."
    for rule in config.get("provider", {}).get("security_group", {}).get("IpPermissions", []):
        if (rule.get("FromPort"), rule.get("ToPort")) != (22, 22):
            ports = f"{rule.get('FromPort', 'all')} to {rule.get('ToPort', 'all')}"
            yield f"no port but SSH's may be open to the world, but `IpPermissions` opens {ports}."


def _mounts(config: dict[str, Any]) -> Iterator[str]:
    for target, source in config.get("file_mounts", {}).items():
        if target != token.FILE and not Path(source).expanduser().exists():
            yield f"`file_mounts` sends {source} to {target}, but it is not here: run this in the project's folder."


def _image(config: dict[str, Any]) -> Iterator[str]:
    """An image's Ray is what starts; the lock file's is what a driver from here speaks."""
    here = version("ray")
    docker = config.get("docker") or {}
    for key in ("image", "head_image", "worker_image"):
        tag = re.fullmatch(r"rayproject/ray:(\d+\.\d+\.\d+)\S*", docker.get(key, ""))
        if tag and tag[1] != here:
            yield f"`docker.{key}` has Ray {tag[1]}, but the lock file has {here}."


def _aws(config: dict[str, Any]) -> Iterator[str]:
    for name, node in config.get("available_node_types", {}).items():
        if "IamInstanceProfile" not in node.get("node_config", {}):
            yield f"nodes of type {name} could not write into the bucket: they have no IamInstanceProfile."
    try:
        import boto3
    except ModuleNotFoundError:
        yield "`ray up` needs boto3 for AWS: pip install boto3"
        return
    if boto3.Session().get_credentials() is None:
        yield "there are no AWS credentials: run `aws configure`, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
