"""docs/extending.md, done to the letter: its blocks are a user's own files, in whose folder ours run."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from analysis import cli
from analysis.figures import catalogue
from analysis.figures.base import Drawn, Skipped
from study import runfolder, spec, table
from study.tables.merge import merge
from tests.support.command import call
from trainables import datasets, models, registry
from trainables.measurements.latent_space import measure_jacobian
from trainables.measurements.subject import Subject
from trainables.pack import Pack
from trainables.registry import ACTIVATIONS, CURVES, DATASETS, MEASUREMENTS, MODELS, load_plugins
from trainables.schema import TrialConfig
from trainables.shape import Shape
from trainables.storage import Folder

ROOT = Path(__file__).resolve().parents[2]
ADDED: dict[str, dict[str, Any]] = {
    "ACTIVATIONS": {"bent": "mine:bent"},
    "DATASETS": {"bars": "mine:load_bars"},
    "MODELS": {
        "conv": {"path": "mine:Conv", "variational": False},
        "tied": {"path": "mine:Tied", "variational": False},
        "tied_vae": {"path": "mine:TiedVae", "variational": True},
    },
    "CURVES": {"spread": "mine:measure_spread"},
}
"""What each of the Python blocks adds, in their order."""


def blocks(language: str, page: str = "extending.md") -> list[str]:
    """The page's blocks in a language."""
    text = (ROOT / "docs" / page).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def command(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs a command line of ours as a user does, in their folder."""
    program, *arguments = shlex.split(line)
    script = str(Path(sys.executable).with_name(program))
    return subprocess.run([script, *arguments], cwd=folder, capture_output=True, text=True, check=False)


def write(folder: Path, plugin: str = "\n".join(blocks("python"))) -> Path:
    """Writes `mine.py`, and the blocks that are a study and claims."""
    study, claims = blocks("yaml")
    for name, text in {"mine.py": plugin, "mine.yaml": study, "mine-claims.yaml": claims}.items():
        (folder / name).write_text(text)
    return folder


def elu_alone(folder: Path) -> None:
    """Leaves of the study what needs a dataset and nothing else of one's own."""
    study = (folder / "mine.yaml").read_text().replace("measurements: [spread]\n", "")
    (folder / "mine.yaml").write_text(study[: study.index("  bent:")])


@pytest.fixture(autouse=True)
def registries(monkeypatch):
    """What a test makes known in this process is forgotten after it."""
    every = [ACTIVATIONS, MODELS, DATASETS, MEASUREMENTS, CURVES]
    before: list[dict[str, Any]] = [dict(each) for each in every]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(registry.sys, "path", list(registry.sys.path))
    yield
    registry.sys.modules.pop("mine", None)
    for each, former in zip(every, before, strict=True):
        each.clear()
        each.update(former)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def mine(tmp_path_factory) -> Path:
    return write(tmp_path_factory.mktemp("mine"))


@pytest.fixture(scope="module")
def printed(mine) -> dict[str, str]:
    """What each of the page's commands printed, by its first two words; all end with 0."""
    (lines,) = blocks("sh")
    found = {}
    for line in lines.splitlines():
        done = command(line, mine)
        assert done.returncode == 0 and not done.stderr, f"{line}: {done.stdout}{done.stderr}"
        found[" ".join(line.split()[:2])] = done.stdout
    return found


@pytest.fixture(scope="module")
def ends(mine, printed) -> pd.DataFrame:
    rows = pd.read_parquet(mine / "runs/mine/results.parquet")
    return rows[rows["final"]].set_index(["cell", "seed"])


@pytest.mark.parametrize("shape", [Shape(28, 28), Shape(9, 6, 3), Shape(1, 1)], ids=str)
def test_convolutional_model_of_the_page_sees_the_shape_of_the_images(shape, mine, monkeypatch):
    monkeypatch.chdir(mine)
    load_plugins(["mine"])
    config = TrialConfig(model="conv", latent_dim=3, batch_size=4, steps=5)
    models.check(config, shape)
    pack = Pack([config], [0], torch.arange(8 * shape.pixels).reshape(8, -1).to(torch.uint8), shape)
    before = float(pack.batch_losses()[0])
    for _ in range(30):
        pack.step()
    assert float(pack.batch_losses()[0]) < before
    subject = Subject(pack.module(0), config, 0, {"test": pack.images}, {}, shape)
    assert measure_jacobian(subject).profiles["jacobian_rank"][0] <= 3


@pytest.mark.parametrize(("block", "kind"), list(zip(blocks("python"), ADDED, strict=True)), ids=list(ADDED))
def test_each_python_block_alone_is_a_plugin(block, kind, tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(block)
    monkeypatch.chdir(tmp_path)
    load_plugins(["mine"])
    assert registry.added()[kind].items() >= ADDED[kind].items()
    assert not {name for other in ADDED.keys() - {kind} for name in ADDED[other]} & set(ACTIVATIONS | MODELS | DATASETS)


def test_commands_of_the_page_finish_every_cell_and_show_it(printed, ends, mine):
    assert "Done: 12 finished" in printed["study launch"]
    assert set(ends.index) == {(cell, seed) for cell in ("elu", "bent", "tied", "tied vae") for seed in range(3)}
    assert (ends["status"] == "finished").all() and (ends["step"] == 100).all()
    for cell in ("elu", "bent", "tied", "tied vae"):
        assert re.search(rf"^ {cell} +3 +3 finished +100 of 100", printed["study status"], re.MULTILINE)


def test_activation_of_a_plugin_trains_another_network(ends):
    assert ends.loc["bent"]["config/activation"].eq("bent").all()
    assert not np.isclose(ends.loc["bent"]["test_nll"], ends.loc["elu"]["test_nll"], rtol=1e-3).any()
    assert (ends.loc["bent"]["test_nll"] < 0.7 * ends.loc["tied"]["test_nll"]).all(), "it has learned"


def test_dataset_of_a_plugin_is_in_the_table_by_name_and_digest(ends, mine):
    labels = np.tile(np.arange(10, dtype=np.uint8), 200)
    images = np.zeros((2_000, 28, 28), np.uint8)
    for index, label in enumerate(labels):
        images[index, 2 * int(label) + 4] = 200
    train, test = (images[:1_500], labels[:1_500]), (images[1_500:], labels[1_500:])
    same = datasets.split("bars", train, test, num_val=500)
    assert ends["config/dataset"].eq("bars").all() and ends["data_digest"].eq(same.digest).all()


def test_model_of_a_plugin_is_drawn_and_named_in_the_report_and_a_variational_one_has_a_kl(ends, mine):
    assert ends.loc["tied"]["test_kl"].isna().all() and (ends.loc["tied vae"]["test_kl"] > 0).all()
    report = (mine / "runs/mine/report.html").read_text()
    tables = table.load_tables(str(mine / "runs/mine"))
    network, vae, curves = catalogue.draw(tables, ["f1_autoencoder", "f4_vae", "f6_loss_all"])
    assert isinstance(network, Drawn) and set(network.frame["cell"]) == {"elu, bent"}, "a config draws ours alone"
    assert isinstance(vae, Skipped) and isinstance(curves, Drawn)
    for cell in ("tied", "tied vae"):
        assert f"{cell}:  {ends.loc[cell]['test_nll'].mean():,.1f}" in curves.svg(), "its last value, in the legend"
        assert f">{cell}<" in report


def test_metric_of_a_plugin_is_in_the_table_at_each_evaluation(ends, mine):
    profiles = pd.read_parquet(mine / "runs/mine/profiles.parquet")
    spread = profiles[profiles["quantity"] == "spread"]
    assert set(spread["step"]) == {0, 1, 20, 50, 60, 100} and len(spread) == 12 * 6 * 2
    last = profiles[profiles["step"] == 100].pivot(index=["replicate", "index"], columns="quantity", values="value")
    ours = last["code_variance"].dropna()
    np.testing.assert_allclose(last["spread"].dropna() ** 2 * 499 / 500, ours, rtol=1e-4)


def test_claim_of_ones_own_has_its_verdict_printed_and_ours_are_left_out(printed, ends):
    difference = ends.loc["tied"]["test_nll"].mean() - ends.loc["elu"]["test_nll"].mean()
    text = printed["analysis claims"]
    assert "confirmed" in text and f"{difference:.2f}" in text
    assert re.findall(r"^ (C\d+) ", text, re.MULTILINE) == ["C1"]


def test_claims_page_of_ones_own_names_the_ledger_and_has_no_errata_of_the_paper(mine, printed, tmp_path, monkeypatch):
    monkeypatch.chdir(mine)
    arguments = ["claims", "runs/mine", "--ledger", "mine-claims.yaml", "-o", str(tmp_path)]
    assert call(cli.main, arguments).exit_code == 0
    page = (tmp_path / "claims.md").read_text()
    assert "`analysis claims runs/mine --ledger mine-claims.yaml`" in page
    assert "**confirmed**" in page and "Errata" not in page


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("tied: {model: tied}", "tied: {model: tide}"), "Did you mean 'tied'"),
        (("pairs: [[tied, elu]]", "pairs: [[tied, ele]]"), "Did you mean 'elu'"),
        (("metric: test_nll", "metric: test_nl"), "Did you mean 'test_nll'"),
        (("kind: difference", "kind: different"), "kind"),
        (("        margin: 1\n", "        margins: 1\n"), "margins"),
        (("id: C1", "id: mine"), "'^C[0-9]+$', but got 'mine'"),
        (("claims:", "claims: ["), "is no valid YAML"),
        (("version: 1", "- 1"), "is no valid YAML"),
    ],
)
def test_wrong_ledger_is_refused_in_one_line_that_names_it(mine, printed, tmp_path, monkeypatch, change, message):
    monkeypatch.chdir(mine)
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(blocks("yaml")[1].replace(*change))
    done = call(cli.main, ["claims", "runs/mine", "--ledger", str(wrong)])
    assert done.exit_code == 2 and message in done.stderr
    assert done.stderr.startswith(f"Error: {wrong}") and len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"7", b"[" * 3000])
def test_ledger_that_is_absent_or_no_mapping_is_refused_in_one_line(mine, printed, tmp_path, monkeypatch, content):
    monkeypatch.chdir(mine)
    wrong = tmp_path / "wrong.yaml"
    if content is not None:
        wrong.write_bytes(content)
    done = call(cli.main, ["claims", "runs/mine", "--ledger", str(wrong)])
    assert done.exit_code == 2 and done.stderr.startswith(f"Error: {wrong}") and len(done.stderr.splitlines()) == 1


@pytest.mark.thorough
def test_tables_that_were_sent_without_the_plugin_read_the_same(mine, printed, tmp_path):
    shutil.copytree(mine / "runs/mine", tmp_path / "runs/mine", ignore=shutil.ignore_patterns("replicates", "*.html"))
    shutil.copy(mine / "mine-claims.yaml", tmp_path)
    for line in blocks("sh")[0].splitlines()[1:]:
        done = command(line, tmp_path)
        assert done.returncode == 0 and done.stdout == printed[" ".join(line.split()[:2])], done.stderr
    assert (tmp_path / "runs/mine/report.html").read_bytes() == (mine / "runs/mine/report.html").read_bytes()


def test_tables_merged_without_the_plugin_keep_what_it_has_added(mine, printed, tmp_path):
    for _ in ("copied", "merged"):
        merge(table.load_tables(str(mine / "runs/mine")), Folder(str(tmp_path)))
    merged = table.load_tables(str(tmp_path))
    assert merged.provenance[runfolder.ADDED] == ADDED and len(merged.ends) == 12
    runnable = {name for names in registry.added().values() for name in names}
    assert not runnable & {name for names in ADDED.values() for name in names}, "none of it can be run"


@pytest.mark.thorough
def test_replay_imports_a_plugin_of_the_users_own_spec_alone(mine, printed, ends):
    name = ends.loc[("bent", 0), "replicate"]
    done = command(f"study replay runs/mine {name} --spec mine.yaml", mine)
    assert done.returncode == 0 and "The same numbers, bit for bit" in done.stdout, done.stderr
    done = command(f"study replay runs/mine {name}", mine)
    assert done.returncode == 2 and "`--spec` must name the study that has the plugins mine" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_launch_of_less_with_a_smaller_plugin_keeps_what_the_larger_has_added(mine, printed, tmp_path):
    shutil.copytree(mine / "runs", tmp_path / "runs")
    write(tmp_path, blocks("python")[1])
    elu_alone(tmp_path)
    done = command("study launch mine.yaml --runner inline", tmp_path)
    assert done.returncode == 0 and "Done: 3 finished" in done.stdout, done.stderr
    tables = table.load_tables(str(tmp_path / "runs/mine"))
    assert tables.provenance[runfolder.ADDED] == ADDED and len(tables.ends) == 12


def test_block_of_own_images_is_a_study_of_a_folder_of_pictures(tmp_path, monkeypatch):
    (study,) = blocks("yaml", "own-images.md")
    (tmp_path / "flowers.yaml").write_text(study)
    (tmp_path / "flowers").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (60, 40, 50, 3)).astype(np.uint8)
    for number, picture in enumerate(noise):
        Image.fromarray(picture).save(tmp_path / "flowers" / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    shown = command("study show flowers.yaml", tmp_path)
    assert shown.returncode == 0 and "Run it: study launch flowers.yaml" in shown.stdout, shown.stderr
    assert set(spec.load("flowers.yaml").arms) == {"elu", "vae", "pca", "images"}


BAD = {
    "raises": ('raise RuntimeError("no\\nway")', "'mine' cannot: RuntimeError: no way"),
    "exits": ("raise SystemExit", "'mine' cannot: SystemExit"),
    "is no Python": ("def", "'mine' cannot: SyntaxError"),
    "takes a name of ours": (
        'from trainables.registry import ACTIVATIONS\nACTIVATIONS["elu"] = "torch:sin"',
        "plugin 'mine': ACTIVATIONS['elu'] must stay 'trainables.kernels:elu', but it was set: use another name.",
    ),
    "gives a thing": (
        'from trainables.registry import DATASETS\nDATASETS["bars"] = print',
        "DATASETS['bars'] must be a str of its import path, but got <built-in function print>.",
    ),
    "gives a path to nothing": (
        'from trainables.registry import DATASETS\nDATASETS["bars"] = "mine:load"',
        "AttributeError: module 'mine' has no attribute 'load'",
    ),
    "has a model without a decoder": (
        "\n".join(blocks("python")).replace("def decoder", "def decode").replace("self.decoder", "self.decode"),
        "study mine, cell 'tied': AttributeError: 'Tied' object has no attribute 'decoder'",
    ),
    "has a loader that fails": (
        blocks("python")[1].replace("images[np.arange", "unknown[np.arange"),
        "dataset 'bars' cannot be loaded: NameError: name 'unknown' is not defined",
    ),
    "has a loader of something else": (
        blocks("python")[1].replace("(2_000, 28, 28), np.uint8", "(2_000, 28, 28)"),
        "bars: `train` must be uint8 images (n, height, width) or (n, height, width, 3)",
    ),
}


@pytest.mark.parametrize(("plugin", "message"), BAD.values(), ids=list(BAD))
def test_plugin_that_is_wrong_is_refused_in_one_line_before_anything_runs(tmp_path, plugin, message):
    write(tmp_path, plugin)
    if "class Tied" not in plugin:
        elu_alone(tmp_path)
    done = command("study launch mine.yaml --runner inline", tmp_path)
    assert done.returncode == 2 and message in done.stderr, done.stderr
    assert len(done.stderr.splitlines()) == 1 and "Traceback" not in done.stderr
    assert not list(tmp_path.glob("runs/mine/replicates/*"))
