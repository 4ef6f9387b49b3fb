"""The steps of a Containerfile in fresh root file systems, without a container engine: by debootstrap and chroot.

The base image is replaced by a Debian of the same release, with Python in /usr/local as the image has it. FROM, RUN,
COPY, USER, WORKDIR, ENV and CMD are done; layers, caches and the base image's own files are not. Needs root and
debootstrap.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_INDEX = ("index-url", "extra-index-url", "find-links", "trusted-host", "cert", "proxy")
"""What pip's configuration of this machine says of the way to the package index."""


@dataclass
class Stage:
    """A root file system and how its commands run."""

    root: Path
    user: str = "0"
    folder: str = "/"
    command: tuple[str, ...] = ()
    environment: dict[str, str] = field(
        default_factory=lambda: {"PATH": "/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin"}
    )

    def run(self, *words: str, **more: str) -> str:
        """Runs a command in it as its user; returns what it prints."""
        inside = ["env", "-i", *(f"{key}={value}" for key, value in (self.environment | more).items()), *words]
        inside = ["sh", "-c", f"cd {self.folder} && exec {shlex.join(inside)}"]
        user = [f"--userspec={self.user}:{self.user}"] if self.user != "0" else []
        done = subprocess.run(
            ["chroot", *user, str(self.root), *inside], capture_output=True, text=True, timeout=3600, check=False
        )
        assert done.returncode == 0, f"{words}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done.stdout


def missing() -> str | None:
    """The reason why this cannot be done here, or None."""
    if os.geteuid() != 0:
        return "a chroot needs root"
    return None if shutil.which("debootstrap") else "debootstrap is not installed"


@contextlib.contextmanager
def built(containerfile: Path, context: Path, folder: Path) -> Iterator[Stage]:
    """The last stage of a Containerfile, with its file system mounted, within the block."""
    stages: dict[str, Stage] = {}
    with contextlib.ExitStack() as mounts:
        last = Stage(folder)
        for instruction, text in instructions(containerfile):
            words = shlex.split(text)
            match instruction:
                case "FROM":
                    name = words[2] if len(words) > 2 else "last"
                    last = Stage(folder / name)
                    if words[0] in stages:
                        subprocess.run(["cp", "-ax", stages[words[0]].root, last.root], check=True)
                    else:
                        _debian(re.findall(r"bookworm|trixie", words[0])[0], last)
                    mounts.enter_context(_mounted(last))
                    stages[name] = last
                case "RUN":
                    last.run("sh", "-c", text, PIP_CONFIG_FILE="/etc/pip-here.conf")
                case "COPY":
                    option, *paths = words if words[0].startswith("--from=") else ("", *words)
                    origin = stages[option.removeprefix("--from=")].root if option else context
                    _copy([origin / path.lstrip("/") for path in paths[:-1]], last.root / paths[-1].lstrip("/"))
                case "USER":
                    last.user = text
                case "WORKDIR":
                    last.folder = text
                case "ENV":
                    last.environment |= dict(word.split("=", 1) for word in words)
                case "CMD":
                    last.command = tuple(eval(text))
                case _:
                    raise AssertionError(f"{instruction} is not understood")
        yield last


def instructions(containerfile: Path) -> list[tuple[str, str]]:
    """The instructions of a Containerfile with what follows each."""
    lines = [line for line in containerfile.read_text().splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in joined.splitlines() if line]


def _debian(release: str, stage: Stage) -> None:
    """Makes a Debian with a Python of its own in /usr/local, and with this machine's way to the package index."""
    include = "--include=ca-certificates,python3-venv"
    subprocess.run(["debootstrap", "--variant=minbase", include, release, stage.root], check=True, capture_output=True)
    for name in ("etc/resolv.conf", "etc/ssl/certs/ca-certificates.crt"):
        shutil.copy(f"/{name}", stage.root / name)
    stage.run("python3", "-m", "venv", "/usr/local")
    listed = subprocess.run(
        ["python3", "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    lines = [line.partition("=")[::2] for line in listed.splitlines()]
    options = {key.rpartition(".")[2]: eval(value) for key, value in lines if key.rpartition(".")[2] in _INDEX}
    text = "\n".join(f"{key} = {' '.join(str(value).split())}" for key, value in options.items())
    (stage.root / "etc/pip-here.conf").write_text(f"[global]\n{text}\n")
    proxies = {key: value for key, value in os.environ.items() if key.lower().endswith("_proxy")}
    stage.environment |= proxies | {"PIP_ROOT_USER_ACTION": "ignore", "DEBIAN_FRONTEND": "noninteractive"}


@contextlib.contextmanager
def _mounted(stage: Stage) -> Iterator[None]:
    """Mounts what a container has, and the folders from which pip installs here."""
    folders = [Path("/proc"), Path("/dev")]
    config = stage.root / "etc/pip-here.conf"
    local = re.findall(r"(?:^find-links = |file://)(/[^/\s]+)", config.read_text(), re.MULTILINE)
    folders += [Path(path) for path in sorted(set(local)) if Path(path).is_dir()]
    for path in folders:
        (stage.root / path.relative_to("/")).mkdir(exist_ok=True)
        subprocess.run(["mount", "--rbind", "--make-rslave", path, stage.root / path.relative_to("/")], check=True)
    try:
        yield
    finally:
        for path in reversed(folders):
            subprocess.run(["umount", "--recursive", "--lazy", stage.root / path.relative_to("/")], check=True)


def _copy(origins: list[Path], to: Path) -> None:
    for origin in origins:
        if origin.is_dir():
            to.parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(
                ["cp", "-a", f"{origin}/.", f"{to}/"] if to.is_dir() else ["cp", "-a", origin, to], check=True
            )
        else:
            (to if to.is_dir() else to.parent).mkdir(parents=True, exist_ok=True)
            shutil.copy(origin, to)
