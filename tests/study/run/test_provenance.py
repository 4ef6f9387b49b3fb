"""What a run says of where it comes from."""

import sys

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
    assert provenance.collect({})["command"] == "study launch paper --run s3://bucket/runs/paper --cells vae*"


def test_installed_of_a_package_that_is_not_there_is_none():
    assert provenance.installed("no-such-package") is None
