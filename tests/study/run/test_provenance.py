"""What a run says of where it comes from."""

import re
import sys

import pytest

from study.run import provenance


def test_collect_command_names_no_folder_of_the_machine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = [
        "/opt/venv/bin/study",
        "launch",
        f"{tmp_path}/mine.yaml",
        "--run",
        "/mnt/disk/runs/mine",
        "--seeds",
        "3",
    ]
    monkeypatch.setattr(sys, "argv", arguments)
    assert provenance.collect({})["command"] == "study launch mine.yaml --run mine --seeds 3"


def test_collect_command_keeps_what_is_no_path_of_this_machine(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["study", "launch", "paper", "--run", "s3://bucket/runs/paper", "--cells", "vae*"])
    assert provenance.collect({})["command"] == "study launch paper --run s3://bucket/runs/paper --cells 'vae*'"


def test_installed_of_a_package_that_is_not_there_is_none():
    assert provenance.installed("no-such-package") is None


@pytest.mark.parametrize(
    ("argument", "shown"),
    [
        ("s3://KEY:SECRET@bucket/run?region=eu&secret=SECRET", "'s3://bucket/run?region=eu'"),
        ("--run=s3://KEY:SEC/RET@bucket/run", "--run=s3://bucket/run"),
        ("--run=/home/alice/x", "--run=x"),
        ("file:///home/alice/x", "x"),
        ("../../home/alice/x", "x"),
        ("~/runs/x", "x"),
        ("runs/../mine.yaml", "runs/../mine.yaml"),
        ("vae latent_dim=2", "'vae latent_dim=2'"),
        ("my runs/x", "'my runs/x'"),
    ],
)
def test_collect_command_has_no_secret_no_home_and_can_be_pasted(tmp_path, monkeypatch, argument, shown):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["study", "launch", "paper", argument])
    assert provenance.collect({})["command"] == f"study launch paper {shown}"


def test_command_line_keeps_all_but_secrets(monkeypatch):
    monkeypatch.setenv("HOME", "/home/alice")
    arguments = ["launch", "paper", "--run=s3://KEY:SECRET@bucket/run", "--cells", "a b", "/home/alice/mine.yaml"]
    monkeypatch.setattr(sys, "argv", ["study", *arguments])
    again = provenance.command_line(*sys.argv)
    assert again == "study launch paper --run=s3://bucket/run --cells 'a b' '~/mine.yaml'"


def test_collect_of_a_checkout_has_the_lock_and_the_commit():
    origin = provenance.collect({})
    assert re.fullmatch("[0-9a-f]{16}", origin["lock_sha256"])
    assert re.fullmatch(r"[0-9a-f]{40}\+?", origin["git_commit"])


def test_program_names_its_version_and_in_a_checkout_the_commit_and_its_day(monkeypatch):
    version = provenance.installed(provenance.PACKAGE)
    named = rf"mnist-autoencoder-study {version}, commit [0-9a-f]{{12}} of \d{{4}}-\d\d-\d\d(, changed since)?"
    assert version and re.fullmatch(named, provenance.program())
    monkeypatch.setattr(provenance, "_git", lambda *words: None)
    assert provenance.program() == f"mnist-autoencoder-study {version}"
