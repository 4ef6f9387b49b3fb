"""The command line as a user meets it: what it prints, its exit codes, and one readable line for bad input."""

import errno
import io
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from tensorboardX.proto.event_pb2 import Event

from study import spec
from study.cli import app
from study.cli.common import Output
from study.cli.views import cells_table
from study.plan import Plan
from study.run.display import Display
from study.table import load_tables
from tests.support import tiny
from tests.support.faults import ROOT
from trainables import patience, trial
from trainables.export import load
from trainables.registry import DATASETS, MODELS, ModelEntry


@pytest.fixture(autouse=True)
def tiny_dataset(monkeypatch, tmp_path):
    monkeypatch.setitem(DATASETS, "tiny", "tests.support.tiny:load")
    monkeypatch.setitem(MODELS, "raises", ModelEntry("tests.support.tiny:Raises", variational=False))
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(tiny.SPEC)


@pytest.fixture
def study(monkeypatch, capsys):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["study", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            app.main()
        printed = capsys.readouterr()
        return exit_.value.code or 0, printed.out, printed.err

    return call


def launch(study, *more):
    return study("launch", "tiny.yaml", "--runner", "inline", *more)


def test_help_names_every_command_in_one_list(study):
    code, out, _ = study("--help")
    assert code == 0 and out.count("Commands") == 1
    listed = re.findall(r"^│ ([a-z]+) ", out[out.index("Commands") :], re.MULTILINE)
    runs = ["list", "show", "check", "data", "launch", "status"]
    results = ["best", "weights", "table", "verify", "tensorboard", "export", "replay"]
    assert listed == runs + results


def test_show_prints_a_searchs_space_rungs_trials_and_cost_and_runs_nothing(study, tmp_path):
    code, out, _ = study("show", "vae", "--trials", 30)
    assert code == 0 and "beta             0.1 ... 10, log" in out and "0 | 100 ... 1800, log" in out
    assert "30 trials by tpe (seed 0), each of one seed, for less val_neg_elbo" in out
    assert "at 300, 900 of 1,800 steps the best of every 3 go on; about 33% of all" in out and "core-hours" in out
    assert not (tmp_path / "runs").exists()
    code, _, err = study("show", "paper", "--trials", 30)
    assert code == 2 and "`--trials` is for a study with a search, but paper has none" in err


def test_launch_best_weights_work_together(study, tmp_path):
    (tmp_path / "hunt.yaml").write_text(tiny.SEARCH)
    code, out, _ = study("launch", "hunt.yaml", "--runner", "inline")
    assert code == 0 and "Done: 4 finished" in out
    code, out, _ = study("best", "runs/hunt", "--top", 2, "--spec", "best.yaml", "--seeds", 2)
    assert code == 0 and "study launch best.yaml --first-seed 1" in out
    best = spec.load("best.yaml")
    assert best.seeds == 3 and "paper" in best.arms and sum(arm.startswith("trial-") for arm in best.arms) == 2
    code, out, _ = study("launch", "best.yaml", "--first-seed", 1, "--runner", "inline")
    assert code == 0 and "Done: 6 finished" in out
    name = next((tmp_path / "runs/hunt/replicates").iterdir()).name
    code, out, _ = study("weights", "runs/hunt", name[:6], "-o", "mine")
    assert code == 0 and "mine/model.safetensors" in out
    model, config = load("mine")
    assert model(torch.zeros(3, 784)).decoded.shape == (3, 784) and config.steps == 6
    card = (tmp_path / "mine/README.md").read_text()
    assert 'load("mine")' in card and "| learning_rate |" in card and "test_nll" in card
    code, _, err = study("best", "runs/hunt-best")
    assert code == 2 and "must have a `search`, but it has arms only" in err
    code, _, err = study("weights", "runs/hunt", "zz")
    assert code == 2 and "must be the start of one hash" in err


def test_tensorboard_writes_each_replicates_curves(study, tmp_path):
    launch(study)
    code, out, _ = study("tensorboard", "runs/tiny", "-o", "boards")
    assert code == 0 and "5 replicates" in out and "tensorboard --logdir boards" in out
    found = scalars(next((tmp_path / "boards" / "vae seed 1").iterdir()))
    rows = load_tables("runs/tiny").rows("results", where={"cell": ["vae"], "seed": [1]}).set_index("step")
    assert {step for name, step in found if name == "test_nll"} == set(rows.index) == {0, 1, 3, 4, 6}
    assert all(found["test_kl", step] == pytest.approx(rows.loc[step, "test_kl"]) for step in rows.index)
    assert not any(name == "test_nll" and step > 6 for name, step in found)


def scalars(path):
    """The scalars of an event file, by name and step: records of 8 bytes of length, 4 of check, content, 4 of check."""
    content, found = path.read_bytes(), {}
    while content:
        size = int.from_bytes(content[:8], "little")
        event = Event.FromString(content[12 : 12 + size])
        found |= {(value.tag, event.step): value.simple_value for value in event.summary.value}
        content = content[16 + size :]
    return found


def test_list_shows_the_builtin_studies(study):
    code, out, _ = study("list")
    assert code == 0 and "paper" in out and "quick" in out


def test_show_prints_cells_and_cost_and_runs_nothing(study, tmp_path):
    code, out, _ = study("show", "paper")
    assert code == 0 and "linear clipped" in out and "31 replicates" in out and "core-hours" in out
    assert not (tmp_path / "runs").exists()


def test_show_with_an_automatic_precision_says_which_and_why(study):
    code, out, error = study("show", "paper", "--precision", "auto")
    assert code == 0 and "precision=fp32" in out and "since the spec of paper does not say" in error
    assert "precision=bf16" in study("show", "paper", "--precision", "bf16")[1]


def test_pipe_has_the_cells_whole_names_and_a_narrow_terminal_folds_them(study, monkeypatch):
    monkeypatch.delenv("COLUMNS")
    _, out, _ = study("show", "readings")
    assert "linear output=clipped init=default grad_clip=0.0 l2=0.0" in out and "…" not in out
    narrow = Output(file=io.StringIO(), force_terminal=True, no_color=True, width=60)
    narrow.print(cells_table(Plan(spec.load("latent"))))
    first = [line.split()[0] for line in narrow.file.getvalue().splitlines() if line.startswith(" ") and line.strip()]
    assert "elulatent_dim=200" in "".join(first)


def test_show_yaml_is_a_spec_to_start_from(study, tmp_path):
    _, out, _ = study("show", "paper", "--steps", "2000", "--yaml")
    (tmp_path / "mine.yaml").write_text(out)
    assert spec.load("mine.yaml").base["steps"] == 2000


def test_launch_status_table_replay_work_together(study, tmp_path):
    code, out, _ = launch(study)
    assert code == 0 and "Done: 5 finished" in out and "analysis report runs/tiny" in out
    code, out, _ = study("status", "runs/tiny")
    assert code == 0 and "2 finished" in out and "6 of 6" in out
    code, out, _ = study("table", "runs/tiny", "--csv", "all.csv", "--to", "results/tiny")
    assert code == 0 and "5 replicates" in out
    assert (tmp_path / "all.csv").read_text().startswith("study,cell,replicate,seed,status")
    code, out, _ = study("status", "results/tiny")
    assert code == 0 and "2 finished" in out and "6 of 6" in out and "pending" not in out
    first = (tmp_path / "all.csv").read_text().splitlines()[1].split(",")[2]
    code, out, _ = study("replay", "results/tiny", first[:10])
    assert code == 0 and "bit for bit" in out


def altered(table, **changes):
    """The table with `(row, value)` in these columns."""
    for name, (row, value) in changes.items():
        index, values = table.column_names.index(name), table[name].to_pylist()
        values[row] = value(values[row])
        table = table.set_column(index, table.schema.field(name), pa.array(values, table.schema.field(name).type))
    return table


@pytest.mark.parametrize(
    ("changes", "code", "message"),
    [
        ({"test_nll": (0, lambda v: v * (1 + 1e-8))}, 0, "The same numbers, below 1e-06."),
        ({"test_nll": (0, lambda v: v * (1 + 1e-4))}, 1, "The numbers differ, though nothing that is recorded does"),
        ({"test_nll": (0, lambda v: None)}, 1, "relative difference is inf: test_nll at step 0, None in the table"),
        ({"numerics": (0, lambda v: "torch 1.0 cpu sse kernels 0")}, 0, "numerics: torch 1.0 cpu sse kernels 0 in the"),
        ({"numerics": (0, lambda v: None)}, 0, "numerics: not recorded in the table, torch"),
    ],
)
def test_replay_of_an_altered_table_says_by_how_much_and_what_else_differs(study, tmp_path, changes, code, message):
    launch(study)
    path = tmp_path / "runs/tiny/results.parquet"
    stored = pq.read_table(path)
    pq.write_table(altered(stored, **changes), path)
    found, out, _ = study("replay", "runs/tiny", stored["replicate"][0].as_py())
    assert (found, message in " ".join(out.split())) == (code, True), out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("launch", "papper"), "Did you mean 'paper'"),
        (("show", "absent.yaml"), "cannot be read"),
        (("launch", "tiny.yaml", "--dataset", "mnits"), "Did you mean 'mnist'"),
        (("launch", "tiny.yaml", "--pack", "many"), "auto or a number"),
        (("status", "nowhere"), "no run folder"),
        (("table", "nowhere"), "no run folder"),
        (("check", "none.yaml"), "none.yaml cannot be opened: No such file"),
        (("replay", "nowhere", "ab"), "no run folder"),
        (("data", "mnits"), "Did you mean 'mnist'"),
        (("status", "foo://x"), "must be a path or a URL like s3://bucket/run"),
        (("launch", "tiny.yaml", "--run", "file://x y"), "must be a path or a URL"),
    ],
)
def test_bad_input_gives_one_line_and_code_2(study, arguments, message):
    code, _, err = study(*arguments)
    assert code == 2 and message in err
    assert len(err.strip().splitlines()) == 1 and "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        (("launch", "tiny.yaml", "--steps", "0"), "greater than or equal to 1, but got '0'"),
        (("launch", "tiny.yaml", "--seeds", "x"), "a valid integer, unable to parse string as an integer, but got 'x'"),
        (("best", "nowhere", "--top", "0"), "greater than or equal to 1, but got '0'"),
    ],
)
def test_bad_number_names_the_option_the_rule_and_the_value(study, arguments, rule):
    code, _, err = study(*arguments)
    assert code == 2 and f"'{arguments[-2]}'" in err and rule in " ".join(err.replace("│", " ").split())


def test_table_into_a_folder_that_is_not_there_names_the_file(study):
    launch(study)
    code, _, err = study("table", "runs/tiny", "--csv", "absent/x.csv")
    assert (code, err) == (2, "Error: absent/x.csv cannot be opened: No such file or directory.\n")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("latent_dim: 2", "latent_dim: 0"), "greater than or equal to 1, but got 0"),
        (("activation: linear", "activation: relo"), "Did you mean 'relu'"),
        (("batch_size", "batchsize"), "Did you mean 'batch_size'"),
    ],
)
def test_bad_spec_gives_one_line_and_code_2(study, tmp_path, change, message):
    (tmp_path / "tiny.yaml").write_text(tiny.SPEC.replace(*change))
    code, _, err = launch(study)
    assert code == 2 and message in err and len(err.strip().splitlines()) == 1


def test_launch_without_mnist_and_network_says_where_to_put_it(study, tmp_path, monkeypatch):
    from torchvision import datasets

    monkeypatch.setenv("STUDY_DATA_DIR", str(tmp_path / "empty"))

    def no_network(*_, **__):
        raise RuntimeError("no network")

    monkeypatch.setattr(datasets, "MNIST", no_network)
    code, _, err = launch(study, "--dataset", "mnist")
    assert code == 2 and "STUDY_DATA_DIR" in err and "--dataset strokes" in err
    assert len(err.strip().splitlines()) == 1


def test_launch_run_folder_of_another_spec_exits_2(study):
    launch(study)
    code, _, err = launch(study, "--steps", "7")
    assert code == 2 and "steps: 6 there, 7 here" in err


def test_launch_with_a_diverged_trial_exits_1(study, tmp_path):
    wild = tiny.SPEC.replace("activation: linear", "activation: linear, learning_rate: 1.0e+30, grad_clip: 0.0")
    (tmp_path / "tiny.yaml").write_text(wild)
    code, out, _ = launch(study)
    assert code == 1 and "2 diverged" in out
    code, out, _ = study("status", "runs/tiny")
    assert code == 1 and "not finite at step" in out


def test_launch_with_failed_and_collapsed_trials_exits_1_and_status_shows_them(study, tmp_path):
    raises = "  raises: {model: raises}\n"
    collapses = "  collapses: {learning_rate: 1.0e-12, activation: sigmoid, hidden_dims: [1]}\n"
    (tmp_path / "tiny.yaml").write_text(tiny.SPEC + raises + collapses)
    code, out, _ = launch(study)
    assert code == 1 and "7 finished, 2 failed" in out and "study status runs/tiny" in out
    study("table", "runs/tiny", "--to", "results/tiny")
    for place in ("runs/tiny", "results/tiny"):
        code, out, _ = study("status", place)
        assert code == 1 and "2 failed" in out and "2 finished (collapsed)" in out
        assert "All: 5 cells, 9 replicates: 2 failed, 7 finished." in out
        assert "raises, seed 1" in out and "ValueError: `images <= 4`" in out
    code, out, _ = launch(study)
    assert code == 1 and "7 finished, 2 to retry" in out


def test_launch_on_a_full_disk_exits_1_with_one_line(study, monkeypatch):
    real = os.fsync

    def full(descriptor):
        if "safetensors" in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    code, out, err = launch(study)
    assert code == 1 and "failed" not in out
    assert re.fullmatch(r"Error: runs/tiny/replicates/.* cannot be written: No space left on device\. .*\n", err)
    assert "launch again" in err
    monkeypatch.undo()


def test_launch_stopped_twice_exits_130_and_says_how_to_go_on(study, monkeypatch):
    def report(*_):
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Display, "report", report)
    code, out, err = launch(study, "--seeds", "1")
    assert code == 130 and not err
    assert "Go on from the newest checkpoints with: study launch tiny.yaml --runner inline --seeds 1\n" in out


def test_version_and_short_help(study):
    code, out, _ = study("--version")
    assert code == 0 and re.fullmatch(r"\d+\.\d+\.\d+\n", out)
    code, out, _ = study("launch", "-h")
    assert code == 0 and "--first-seed" in out


def test_status_of_a_network_that_has_begun_does_not_call_it_collapsed(study, tmp_path, monkeypatch):
    collapses = "  collapses: {learning_rate: 1.0e-12, activation: sigmoid, hidden_dims: [1]}\n"
    (tmp_path / "tiny.yaml").write_text(tiny.SPEC.partition("arms:")[0] + "arms:\n" + collapses)
    with monkeypatch.context() as patch:
        patch.setattr(Display, "report", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
        patch.setattr(trial, "REPORT_EVERY_S", 0)
        assert launch(study)[0] == 130
    code, out, _ = study("status", "runs/tiny")
    assert code == 0 and "1 pending, 1 running" in out and "collapsed)" not in out


def test_failed_replicates_traceback_is_kept_and_named(study, tmp_path):
    (tmp_path / "tiny.yaml").write_text(tiny.SPEC + "  raises: {model: raises}\n")
    launch(study)
    _, out, _ = study("status", "runs/tiny")
    path = re.search(r"raises, seed 0 .* Traceback: (runs/tiny/errors/\w+\.txt)", out)[1]
    text = (tmp_path / path).read_text()
    assert text.startswith("Traceback") and "`images <= 4`" in text and "trainables/trial.py" in text


def test_last_line_quotes_the_folder(study):
    code, out, _ = launch(study, "--run", "runs/a b")
    assert code == 0 and "analysis report 'runs/a b'\n" in out


def test_launch_whose_output_cannot_be_written_goes_on_and_says_so_once(tmp_path):
    command = [sys.executable, "-c", "from study.cli.app import main; main()", "launch", "quiet.yaml"]
    (tmp_path / "quiet.yaml").write_text(
        "name: quiet\nbase: {dataset: digits, latent_dim: 1, task: pca}\narms: {a: {}}\n"
    )
    for output in ("/dev/full", None):
        with open(output or os.devnull, "w") as file:
            reading, writing = os.pipe()
            os.close(reading)  # a reader that has gone
            run = subprocess.run(
                [*command, "--runner", "inline", "--run", f"run-{output is None}"],
                stdout=file if output else writing, stderr=subprocess.PIPE, text=True, check=False,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
            )  # fmt: skip
            os.close(writing)
        assert run.returncode == 0, run.stderr
        assert run.stderr.count("The output cannot be written") == 1 and "the launch goes on without" in run.stderr


def test_list_into_a_full_file_says_so_and_exits_1():
    with open("/dev/full", "w") as full:
        run = subprocess.run(
            [sys.executable, "-c", "from study.cli.app import main; main()", "list"],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False, env=os.environ | {"PYTHONPATH": str(ROOT)},
        )  # fmt: skip
    assert (run.returncode, run.stderr) == (1, "Error: the output cannot be written: No space left on device.\n")


def test_run_folder_whose_name_is_no_utf8_is_refused_in_one_line(study):
    code, _, err = study("status", "runs/b\udce9")
    assert code == 2 and err == (
        "Error: a folder's path must be UTF-8, but got "
        f"{ascii(str(Path.cwd()) + '/runs/b')[:-1]}\\udce9': rename it, or set LC_ALL=C.UTF-8.\n"
    )


def test_table_prints_csv_where_it_is_asked_to(study):
    launch(study)
    code, out, _ = study("table", "runs/tiny", "--csv", "-")
    assert code == 0 and out.startswith("study,cell,replicate,seed") and out.count("\n") > 20


def test_weights_of_tables_alone_are_refused_by_what_is_missing(study):
    launch(study)
    study("table", "runs/tiny", "--to", "results/tiny")
    name = next(Path("runs/tiny/replicates").iterdir()).name
    code, _, err = study("weights", "results/tiny", name)
    assert code == 2 and "results/tiny holds tables alone, without weights: name the run folder" in err


def test_key_and_secret_of_a_url_reach_no_line(study, monkeypatch):
    monkeypatch.setattr(patience, "PATIENCE_S", 0.0)
    url = "s3://KEY:SECRET@bucket/run?endpoint_override=127.0.0.1:9&scheme=http&region=us-east-1"
    for command in (("status", url), ("launch", "tiny.yaml", "--runner", "inline", "--run", url)):
        code, out, err = study(*command)
        assert code in (1, 2) and "s3://bucket/run" in err and "SECRET" not in out + err
