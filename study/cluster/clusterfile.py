"""Checks a Ray cluster file before it costs anything: `study check`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from study.cluster import token
from trainables.errors import ReadableError

PLACEHOLDER = "EDIT-ME"
MAX_BYTES = 1_000_000
_TOKEN_MODE = "RAY_AUTH_MODE=token"
_IMAGE = re.compile(r"rayproject/ray:(\d+\.\d+\.\d+)[\w.-]*")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class ClusterFileError(ReadableError):
    """A cluster file that cannot be read."""


class _Section(BaseModel):
    """A part of a cluster file: what is read here must be of the right type, and Ray's schema judges the rest."""

    model_config = ConfigDict(extra="allow", strict=True, protected_namespaces=())


class _Rule(_Section):
    FromPort: int | str = "all"
    ToPort: int | str = "all"


class _SecurityGroup(_Section):
    IpPermissions: list[_Rule] = []


class _Provider(_Section):
    type: str
    security_group: _SecurityGroup = _SecurityGroup()


class _Auth(_Section):
    ssh_private_key: str | None = None


class _Docker(_Section):
    image: str = ""
    head_image: str = ""
    worker_image: str = ""


class _Disk(_Section):
    Ebs: dict[str, Any] = {}


class _NodeConfig(_Section):
    IamInstanceProfile: dict[str, Any] | None = None
    BlockDeviceMappings: list[_Disk] = []


class _NodeType(_Section):
    node_config: _NodeConfig = _NodeConfig()


class _Cluster(_Section):
    provider: _Provider
    auth: _Auth = _Auth()
    docker: _Docker = _Docker()
    file_mounts: dict[str, str] = {}
    rsync_exclude: list[str] = []
    available_node_types: dict[str, _NodeType] = {}


def problems(path: Path) -> list[str]:
    """Lists what is wrong with a cluster file, each in a line; nothing if it is ready for `ray up`.

    Raises:
        ClusterFileError: It is no file of YAML that holds a mapping.
        FileNotFoundError: It is not there.
    """
    text = _text(path)
    config = _parsed(path, text)
    lines = [
        f"line {number} still has {PLACEHOLDER}: {line.strip()}"
        for number, line in enumerate(text.splitlines(), start=1)
        if PLACEHOLDER in line
    ]
    try:
        cluster = _Cluster.model_validate(config)
    except ValidationError as error:
        return lines + [_misshapen(**one) for one in error.errors()]
    if not lines:  # what follows would complain of them too
        lines += _schema(config)
    lines += _key(cluster)
    lines += _token(cluster, text)
    lines += _closed(cluster, text)
    lines += _mounts(cluster)
    lines += _images(cluster)
    if "STUDY_RUNS=" not in text:
        lines.append("the nodes must know where runs go, but STUDY_RUNS is not set.")
    if cluster.provider.type == "aws":
        lines += _aws(cluster)
    return lines


def _text(path: Path) -> str:
    if path.exists() and not path.is_file():
        raise ClusterFileError(f"{path} must be a file.")
    if path.stat().st_size > MAX_BYTES:
        raise ClusterFileError(f"{path} must be smaller than {MAX_BYTES:,} bytes to be a cluster file.")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ClusterFileError(f"{path} must be UTF-8, but its byte {error.start} is not.") from None


def _parsed(path: Path, text: str) -> dict[str, Any]:
    try:
        config = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ClusterFileError(f"{path} must be YAML, but: {' '.join(str(error).split())}.") from None
    if not isinstance(config, dict):
        raise ClusterFileError(f"{path} must be a mapping, as the cluster.yaml of this project is.")
    return config


def _misshapen(loc: tuple[int | str, ...], msg: str, input: Any, **_: Any) -> str:  # noqa: A002 (pydantic's name)
    value = "nothing" if input is None else repr(input)
    return f"`{'.'.join(map(str, loc))}`: {msg[0].lower() + msg[1:]}, but got {value[:60]}."


def _schema(config: dict[str, Any]) -> Iterator[str]:
    """Ray's own opinion; it is of what the file says, not of what a cloud would make of it."""
    import jsonschema
    from ray.autoscaler._private.util import prepare_config, validate_config

    try:
        validate_config(prepare_config(config))
    except jsonschema.ValidationError as error:
        where = ".".join(map(str, error.path)) or "the file"
        yield f"Ray's schema: {where}: {error.message[:200]}"
    except Exception as error:  # noqa: BLE001 (Ray's own code meets a file that it does not expect in many ways)
        yield f"Ray cannot read it: {type(error).__name__}: {error}"


def _key(cluster: _Cluster) -> Iterator[str]:
    key = cluster.auth.ssh_private_key
    if key is not None and not Path(key).expanduser().is_file():
        yield f"`auth.ssh_private_key` must be your SSH key, but {key} is not here: ssh-keygen makes one."


def _token(cluster: _Cluster, text: str) -> Iterator[str]:
    if _TOKEN_MODE not in text:
        yield f"whoever reaches a port can run code unless {_TOKEN_MODE} is set on every node, and it is not."
    source = cluster.file_mounts.get(token.FILE)
    if source is None:
        yield f"every node needs the token, but `file_mounts` has no {token.FILE}."
    elif not Path(source).expanduser().is_file():
        yield f"there is no token in {source}: make one with `ray get-auth-token --generate`, then chmod 600."
    elif token.open_to_others(Path(source).expanduser()):
        yield f"the token in {source} must be yours alone, but others can read it: chmod 600 {source}"


def _closed(cluster: _Cluster, text: str) -> Iterator[str]:
    """Ports that would be open to others than the nodes."""
    for host in re.findall(r"--dashboard-host[= ](\S+)", text):
        if host not in ("127.0.0.1", "localhost"):
            yield f"the dashboard must listen to 127.0.0.1 (`ray dashboard` brings it through SSH), but got {host}."
    for rule in cluster.provider.security_group.IpPermissions:
        if (rule.FromPort, rule.ToPort) != (22, 22):
            ports = f"{rule.FromPort} to {rule.ToPort}"
            yield f"no port but SSH's may be open to the world, but `IpPermissions` opens {ports}."


def _mounts(cluster: _Cluster) -> Iterator[str]:
    for target, source in cluster.file_mounts.items():
        if target != token.FILE and not Path(source).expanduser().exists():
            yield f"`file_mounts` sends {source} to {target}, but it is not here: run this in the project's folder."
        if Path(source).name == ".git" and "/config" not in cluster.rsync_exclude:
            yield f"{source}/config may hold a password, but `rsync_exclude` does not keep /config from the nodes."


def _images(cluster: _Cluster) -> Iterator[str]:
    """Problems of the images: the cluster starts an image's Ray, which must be a local driver's (the lock file's)."""
    here = version("ray")
    for key in ("image", "head_image", "worker_image"):
        name, at, digest = getattr(cluster.docker, key).partition("@")
        tag = _IMAGE.fullmatch(name)
        if tag and tag[1] != here:
            yield f"`docker.{key}` has Ray {tag[1]}, but the lock file has {here}."
        if at and not _DIGEST.fullmatch(digest):
            yield f"`docker.{key}` must end in @sha256: and 64 hexadecimal digits, but got @{digest}."


def _aws(cluster: _Cluster) -> Iterator[str]:
    for name, kind in cluster.available_node_types.items():
        if kind.node_config.IamInstanceProfile is None:
            yield f"nodes of type {name} could not write into the bucket: they have no IamInstanceProfile."
        disks = kind.node_config.BlockDeviceMappings
        if not all(disk.Ebs.get("Encrypted") is True for disk in disks):
            yield f"the disks of type {name} must be encrypted, but `Encrypted: true` is not in their Ebs."
    try:
        import boto3
    except ModuleNotFoundError:
        yield "`ray up` needs boto3 for AWS: pip install boto3"
        return
    if boto3.Session().get_credentials() is None:
        yield "there are no AWS credentials: run `aws configure`, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
