"""Real faults: killed drivers, workers and nodes, a full disk, a folder that vanishes, Ctrl-C in a terminal's group.

Run by `make test-recovery`, in minutes. Every study here is small, but its images are the real MNIST, its processes
are those that a user starts, and its faults come from outside of them.
"""

from __future__ import annotations

import io
import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import optuna
import pandas as pd
import pytest
from rich.console import Console

from study import spec, table
from study.run import launch
from study.run.job import Options
from study.run.lock import RunError
from study.search.journal import Journal
from study.search.journal_reader import read_asked
from study.tables.build import build
from study.tables.trials import trials as trials_of
from tests.support.faults import (
    CHECKPOINT,
    REPLICATES,
    ROOT,
    assert_same,
    checkpoints,
    command,
    descendants,
    ends,
    finish,
    start,
    trials,
    until,
)
from trainables.storage import Folder

pytestmark = pytest.mark.recovery

# A driver that is killed

KILLS = [
    *["ray"] * 3,
    *["step"] * 6,
    *[CHECKPOINT] * 3,
    r"-record\.safetensors",
    r"\.done\.json",
    r"spec\.yaml",
]
"""In random order, then one more:"""
LAST = r"results\.parquet"
"""Written in the end."""


def test_driver_killed_at_random_moments_gives_the_table_of_an_undisturbed_run(spec_path, whole, tmp_path):
    run, moments = tmp_path / "run", random.Random(3)
    moments.shuffle(KILLS)
    finished = {}
    for kind in [*KILLS, LAST]:
        assert kind != LAST or 0 < len(finished) < REPLICATES, "the kills fell while there was work to do"
        if kind == "ray":
            kill_through_ray(spec_path, run, moments)
        else:
            count = {"step": moments.randrange(1, 80), CHECKPOINT: moments.randrange(1, 4)}.get(kind, 1)
            often = ("--runner", "inline", "--checkpoint-every", 0.05)
            code, output = finish(start(command(spec_path, run, *often, killed=(kind, count))))
            assert code == -signal.SIGKILL, f"the kill at {kind}, {count} did not come: {output}"
        assert finished.items() <= ends(run).items(), "a finished replicate was touched"
        finished = ends(run)
        frame = build(Folder(str(run))).results
        assert frame["replicate"].nunique() == REPLICATES
        assert not frame.duplicated(["replicate", "step"]).any()
    code, output = finish(start(command(spec_path, run, "--runner", "inline")))
    assert code == 0 and f"{REPLICATES} replicates, {REPLICATES} finished" in output, output
    assert finished == ends(run) and len(finished) == REPLICATES, "nothing was finished twice"
    assert_same(whole, run)
    assert not list(run.rglob(".*.tmp")) and not checkpoints(run), "nothing is left lying about"


def kill_through_ray(spec_path: Path, run: Path, moments: random.Random) -> None:
    """Kills a driver while its workers train: after the first checkpoint that they write."""
    before = checkpoints(run)
    process = start(command(spec_path, run, "--checkpoint-every", 0.05, "--concurrency", 2))
    until(lambda: checkpoints(run) - before, process)
    time.sleep(moments.uniform(0, 0.2))
    assert process.poll() is None, "it was done before it could be killed"
    process.kill()
    process.communicate()


# A search that is killed

SEARCH = """
name: hunt
seeds: 2
base: {dataset: mnist, model: vae, hidden_dims: [32], steps: 270, evaluations: 9, batch_size: 100}
search:
  objectives: [val_neg_elbo]
  trials: 6
  scheduler: asha
  first_rung: 30
  space: {learning_rate: {low: 1.0e-4, high: 1.0e-2, log: true}, latent_dim: {low: 2, high: 9}}
"""
SEARCH_KILLS = [*[r"search\.jsonl"] * 3, *["step"] * 3, CHECKPOINT, r"-record\.safetensors", r"\.done\.json"]


def test_search_killed_at_random_moments_has_every_trial_once_and_agrees_with_optuna(mnist, tmp_path):
    path, run, moments = tmp_path / "hunt.yaml", tmp_path / "run", random.Random(4)
    path.write_text(SEARCH)
    kills = moments.sample(SEARCH_KILLS, len(SEARCH_KILLS))
    asked: list[dict[str, object]] = []
    for kind in kills:
        count = {"step": moments.randrange(1, 300), r"search\.jsonl": moments.randrange(1, 5)}.get(kind, 1)
        often = ("--runner", "inline", "--checkpoint-every", 0.05)
        code, output = finish(start(command(path, run, *often, killed=(kind, count))))
        assert code in (-signal.SIGKILL, 0), output
        now = read_asked(Folder(str(run)))
        assert now[: len(asked)] == asked, "an ask was forgotten or changed"
        asked = now
    code, output = finish(start(command(path, run, "--runner", "inline")))
    assert code == 0 and len(read_asked(Folder(str(run)))) == 6, output
    whole = tmp_path / "whole"
    assert finish(start(command(path, whole, "--runner", "inline")))[0] == 0
    assert_same(whole, run)
    assert_optuna_agrees(run)


def test_search_through_ray_killed_twice_has_every_trial_once_and_agrees_with_optuna(mnist, tmp_path):
    path, run, moments = tmp_path / "hunt.yaml", tmp_path / "run", random.Random(5)
    path.write_text(SEARCH)
    for _ in range(2):
        kill_through_ray(path, run, moments)
    code, output = finish(start(command(path, run, "--concurrency", 2)))
    assert code == 0 and len(read_asked(Folder(str(run)))) == 6, output
    assert_optuna_agrees(run)
    assert not checkpoints(run)


def assert_optuna_agrees(run: Path) -> None:
    """What Optuna holds and the results table, row by row."""
    storage = optuna.storages.JournalStorage(Journal(Folder(str(run))))
    held = optuna.load_study(study_name="hunt", storage=storage).trials
    found = trials_of(table.load_tables(str(run)))
    named = {"finished": "COMPLETE", "stopped": "PRUNED", "failed": "FAIL"}
    assert [one.state.name for one in held] == [named[state] for state in found["state"]]
    for one, step, value in zip(held, found["step"], found["val_neg_elbo"], strict=True):
        assert one.value == value if one.state.name == "COMPLETE" else pd.isna(value)
        assert sorted(one.intermediate_values) == [rung for rung in (30, 90) if rung <= step]


# A worker that is killed, a node that is lost


def test_worker_killed_while_it_trains_gives_the_same_table(spec_path, whole, tmp_path):
    run = tmp_path / "run"
    process = start(command(spec_path, run, "--checkpoint-every", 0.05, "--concurrency", 2))
    until(lambda: checkpoints(run), process)
    os.kill(trials(process.pid)[0], signal.SIGKILL)
    code, output = finish(process)
    assert code == 0 and "trying again" in output and f"Done: {REPLICATES} finished" in output, output
    assert_same(whole, run)


def test_node_lost_while_it_trains_gives_the_same_table(spec_path, whole, tmp_path):
    from ray.cluster_utils import Cluster

    run, slow = tmp_path / "run", ["--checkpoint-every", "0.05"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("PYTHONPATH", f"{ROOT}")
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
        try:
            node = cluster.add_node(num_cpus=1)
            process = start(command(spec_path, run, "--address", cluster.address, *slow))
            raylet = node.all_processes["raylet"][0].process.pid
            until(lambda: trials(raylet) and checkpoints(run), process)
            cluster.remove_node(node, allow_graceful=False)
            code, output = finish(process)
        finally:
            cluster.shutdown()
    assert code == 0 and "trying again" in output and f"Done: {REPLICATES} finished" in output, output
    assert_same(whole, run)


def test_workers_without_memory_end_with_one_line_and_go_on_with_memory(spec_path, whole, tmp_path, monkeypatch):
    run = tmp_path / "run"
    arguments = command(spec_path, run, "--checkpoint-every", 0.05, "--concurrency", 1)
    with monkeypatch.context() as patch:
        patch.setenv("RAY_memory_usage_threshold", "0.01")
        patch.setenv("RAY_memory_monitor_refresh_ms", "50")
        code, output = finish(start(arguments))
    assert code == 1 and "Traceback" not in output, output
    code, output = finish(start(arguments))
    assert code == 0, output
    assert_same(whole, run)


@pytest.mark.parametrize("lost", ["gcs/gcs_server", "raylet/raylet"])
def test_rays_own_process_lost_ends_with_one_line_and_launching_again_goes_on(spec_path, whole, tmp_path, lost):
    run = tmp_path / "run"
    process = start(command(spec_path, run, "--checkpoint-every", 0.05))
    until(lambda: checkpoints(run), process)
    os.kill(next(pid for pid, title in descendants(process.pid).items() if lost in title), signal.SIGKILL)
    code, output = finish(process, timeout=30)
    assert code == 1 and " was lost. The newest checkpoints are intact. Go on with the same command." in output, output
    assert "Traceback" not in output and ".cc:" not in output, output
    code, output = finish(start(command(spec_path, run)))
    assert code == 0, output
    assert_same(whole, run)


def test_address_where_no_ray_is_ends_with_one_line(spec_path, tmp_path):
    code, output = finish(start(command(spec_path, tmp_path / "run", "--address", "foo")))
    assert code == 2 and "Error: Ray at foo cannot be reached: " in output and "Traceback" not in output, output


# Ctrl-C


@pytest.mark.parametrize(
    ("runner", "number"), [("inline", signal.SIGINT), ("ray", signal.SIGINT), ("ray", signal.SIGTERM)]
)
def test_ctrl_c_saves_every_step_leaves_no_worker_and_says_how_to_go_on(spec_path, whole, tmp_path, runner, number):
    run = tmp_path / "run"
    arguments = command(spec_path, run, "--runner", runner, "--checkpoint-every", 1000)
    process = start(arguments)
    until(lambda: ends(run) if runner == "inline" else len(trials(process.pid)) == 2, process)
    time.sleep(0.5)
    below = descendants(process.pid)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does: to the whole group
    else:
        process.terminate()
    code, output = finish(process, timeout=60)
    assert code == 130 and "stopping, and saving what was trained" in output, output
    assert re.search(r"Interrupted: .*begun.*Go on with the same command: study launch .*small\.yaml --run", output), (
        output
    )
    assert "Traceback" not in output
    assert checkpoints(run), "what was trained since the launch is saved"
    time.sleep(2)
    assert not [title for pid, title in below.items() if Path(f"/proc/{pid}").exists()], "a process is left"
    if number == signal.SIGTERM:
        return
    done = len(ends(run))
    code, output = finish(start(arguments))
    assert code == 0 and "to continue" in output and (f" {done} finished" in output or not done), output
    assert_same(whole, run)


@pytest.mark.parametrize("runner", ["inline", "ray"])
def test_second_ctrl_c_stops_at_once(spec_path, whole, tmp_path, runner):
    run = tmp_path / "run"
    process = start(command(spec_path, run, "--runner", runner, "--checkpoint-every", 0.05))
    until(lambda: checkpoints(run), process)
    os.killpg(process.pid, signal.SIGINT)
    time.sleep(0.05)
    asked = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    code, output = finish(process, timeout=60)
    assert code == 130 and time.monotonic() - asked < 10, output
    assert "Interrupted" in output and "Traceback" not in output, output
    if runner == "inline":
        code, output = finish(start(command(spec_path, run, "--runner", "inline")))
        assert code == 0, output
        assert_same(whole, run)


def test_second_launch_on_a_folder_in_use_says_so_and_stops(spec_path, tmp_path):
    run = tmp_path / "run"
    process = start(command(spec_path, run, "--runner", "inline", "--checkpoint-every", 0.05))
    until(lambda: checkpoints(run), process)
    code, output = finish(start(command(spec_path, run)))
    assert code == 2 and "is in use by another `study launch`" in output and len(output.strip().splitlines()) == 1, (
        output
    )
    code, output = finish(process)
    assert code == 0, output


# A folder that is full, or gone


@pytest.fixture
def small_disk(tmp_path, request) -> Iterator[Path]:
    """A file system of 20 MB, mounted in a namespace of its own, which needs no root; the parameter "ro": read-only."""
    (tmp_path / "disk").mkdir()
    options = f"size=20m,{getattr(request, 'param', 'rw')}"
    script = f"mount -t tmpfs -o {options} small {tmp_path / 'disk'} && echo mounted && exec sleep 1000"
    holder = subprocess.Popen(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    if holder.stdout.readline() != "mounted\n":
        pytest.skip("this machine lets no user mount a file system of his own")
    yield Path(f"/proc/{holder.pid}/root{tmp_path}/disk")
    holder.kill()
    holder.communicate()


@pytest.mark.parametrize("runner", ["inline", "ray"])
def test_disk_that_fills_up_ends_with_one_line_and_goes_on_with_room(spec_path, whole, small_disk, runner):
    run, filler = small_disk / "run", small_disk / "filler"
    arguments = command(spec_path, run, "--runner", runner, "--checkpoint-every", 0.05)
    process = start(arguments)
    until(lambda: ends(run), process)
    with filler.open("ab", buffering=0) as file:
        while process.poll() is None:  # what finished trials give back is taken too
            try:
                file.write(bytes(50_000))
            except OSError:
                time.sleep(0.02)
    code, output = finish(process)
    assert code == 1, output
    line = output.strip().splitlines()[-1]
    assert line.startswith("Error: ") and "cannot be written: No space left on device" in line, output
    assert "launch again" in line and "Traceback" not in output, output
    kept = ends(run)
    assert kept, "what was finished before is still there"
    filler.unlink()
    rows = build(Folder(str(run))).results
    assert (rows["status"] == "finished").any() and rows["replicate"].nunique() == REPLICATES
    code, output = finish(start(arguments))
    assert code == 0, output
    assert kept.items() <= ends(run).items(), "what was finished was not run again"
    assert_same(whole, run)


def test_disk_too_small_for_the_study_is_refused_before_anything_runs(small_disk, mnist):
    paper = spec.load("paper")
    with pytest.raises(RunError, match=r"MB free, but the 31 replicates to run need at least \d+"):
        launch.launch(paper, str(small_disk / "run"), Options(runner="inline"), Console(file=io.StringIO()))
    assert not list(small_disk.glob("run/replicates/*"))


@pytest.mark.parametrize("runner", ["inline", "ray"])
def test_run_folder_that_vanishes_ends_with_one_line_and_is_not_made_anew(spec_path, tmp_path, runner):
    run = tmp_path / "run"
    process = start(command(spec_path, run, "--runner", runner, "--checkpoint-every", 0.05))
    until(lambda: checkpoints(run), process)
    run.rename(tmp_path / "elsewhere")
    code, output = finish(process)
    assert code == 1 and "Traceback" not in output, output
    assert re.search(r"Error: .*cannot be (written|made): No such file or directory", output), output
    assert not run.exists()


@pytest.mark.parametrize("small_disk", ["ro"], indirect=True)
def test_run_folder_that_cannot_be_written_is_refused_at_once(spec_path, small_disk):
    code, output = finish(start(command(spec_path, small_disk / "run", "--runner", "inline")))
    assert code == 2 and "run cannot be made: " in output and "Read-only file system" in output, output
    assert len(output.strip().splitlines()) == 1, output
