"""A user's own images from their file to the report: small ones in colour without labels, and the built-in digits."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from analysis import cli as analysis_cli
from analysis.figures import catalogue
from analysis.figures.base import Drawn
from study import table
from study.cli import app
from study.run import ray_runner
from tests.support.command import call
from trainables.export import load
from trainables.registry import DATASETS
from trainables.shape import Shape

SPEC = """
name: own
seeds: 2
measurements: [probes, walks, recognition]
base: {dataset: photos, latent_dim: 2, hidden_dims: [8], steps: 6, evaluations: 2}
arms:
  elu: {activation: elu}
  vae: {model: vae}
  pca: {task: pca}
"""


ORIGIN = {"config/dataset", "data_digest", "replicate"}
"""Columns that name the data, and the replicates that come of them."""


def study(*arguments):
    return call(app.main, arguments)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with 60 pictures of 5 x 4 in colour and a spec of them, launched."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "photos").mkdir()
    for index, image in enumerate(np.random.default_rng(0).integers(0, 256, (60, 5, 4, 3), dtype=np.uint8)):
        Image.fromarray(image).save(folder / "photos" / f"{index}.png")
    (folder / "own.yaml").write_text(SPEC)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        done = study("launch", "own.yaml", "--runner", "inline")
    assert done.exit_code == 0, done.stderr
    return folder, done.stdout


@pytest.fixture
def own(made, tmp_path, monkeypatch):
    """A copy of that folder."""
    shutil.copytree(made[0], tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "copy"


def test_launch_describes_the_images_and_says_what_they_do_without(made):
    printed = made[1]
    assert "photos: train 47, val 4, test 9 images of 5 x 4 colour, no labels; digest sha256:" in printed
    assert "photos: a batch holds all 47 training images, for there are fewer than `batch_size`" in printed
    assert "photos: `probes` is left out: the images have no labels" in printed
    assert "photos: `recognition` is left out: its classifiers read MNIST, 28 x 28 grey" in printed


def test_tables_have_the_name_the_digest_and_the_shape_of_the_images(own):
    tables = table.load_tables("runs/own")
    assert set(tables.ends["config/dataset"]) == {"photos"} and set(tables.ends["status"]) == {"finished"}
    assert tables.shapes == {"photos": Shape(5, 4, 3)}
    images = tables.images
    assert set(images["shape"]) == {"[5, 4, 3]"} and images["pixels"].map(len).eq(60).all()
    assert {"input", "reconstruction", "sample", "grid", "traversal", "interpolation"} <= set(images["kind"])
    assert (
        not tables.profiles["quantity"]
        .str.startswith(("probe_", "recognition"))
        .loc[~tables.profiles["quantity"].str.endswith("_s")]
        .any()
    )


def test_figures_and_report_are_drawn_of_images_in_colour(own):
    tables = table.load_tables("runs/own")
    drawn = catalogue.draw(tables, ["reconstructions", "vae_samples", "latent_plane", "f1_autoencoder"])
    assert all(isinstance(figure, Drawn) for figure in drawn), drawn
    assert "5 × 4 colour" in drawn[3].svg()
    done = call(analysis_cli.main, ["report", "runs/own"])
    assert done.exit_code == 0 and (own / "runs/own/report.html").stat().st_size > 10_000, done.stderr


def test_moved_file_is_the_same_data_and_nothing_is_trained_again(own):
    shutil.move("photos", "elsewhere")
    (own / "elsewhere").rename(own / "photos2")
    (own / "moved.yaml").write_text(SPEC.replace("base:", "data: {photos: {path: photos2/}}\nbase:"))
    done = study("launch", "moved.yaml", "--runner", "inline")
    assert done.exit_code == 0 and "5 finished" in done.stdout, done.stderr
    assert "photos2/" in (own / "runs/own/spec.yaml").read_text()


def test_renamed_data_set_has_the_same_hashes(own):
    hashes = set(table.load_tables("runs/own").ends["replicate"])
    (own / "photos").rename(own / "flowers")
    done = study("launch", "own.yaml", "--dataset", "flowers", "--run", "runs/other", "--runner", "inline")
    assert done.exit_code == 0, done.stderr
    renamed = table.load_tables("runs/other").ends
    assert set(renamed["replicate"]) == hashes and set(renamed["config/dataset"]) == {"flowers"}


def test_changed_content_is_refused_in_one_line(own):
    Image.new("RGB", (4, 5)).save(own / "photos" / "new.png")
    done = study("launch", "own.yaml", "--runner", "inline")
    assert done.exit_code == 2 and len(done.stderr.splitlines()) == 1
    assert "was run on other data: photos had the digest sha256:" in done.stderr


def test_replay_finds_the_images_again(own):
    name = table.load_tables("runs/own").ends["replicate"].iloc[0]
    done = study("replay", "runs/own", name)
    assert done.exit_code == 0 and "bit for bit" in done.stdout, done.stderr


def test_replay_takes_images_that_were_moved_and_no_others(own):
    name = table.load_tables("runs/own").ends["replicate"].iloc[0]
    shutil.move("photos", "moved")
    done = study("replay", "runs/own", name)
    assert done.exit_code == 2 and "say where: --dataset PATH" in done.stderr and len(done.stderr.splitlines()) == 1
    done = study("replay", "runs/own", name, "--dataset", "moved")
    assert done.exit_code == 0 and "bit for bit" in done.stdout, done.stderr
    (own / "moved" / "0.png").unlink()
    done = study("replay", "runs/own", name, "--dataset", "moved")
    assert done.exit_code == 2 and len(done.stderr.splitlines()) == 1
    assert "moved must hold the images of the run, of digest sha256:" in done.stderr


def test_exported_network_is_loaded_with_its_shape_where_nobody_knows_the_data(own, monkeypatch):
    ends = table.load_tables("runs/own").ends
    assert study("weights", "runs/own", ends["replicate"].iloc[0], "-o", "mine").exit_code == 0
    monkeypatch.delitem(DATASETS, "photos")
    model, config = load("mine")
    assert config.dataset == "photos" and model(torch.zeros(3, 60)).decoded.shape == (3, 60)
    assert json.loads((own / "mine/config.json").read_text())["image_shape"] == [5, 4, 3]
    assert "`(n, 60)`, 5 x 4 colour" in (own / "mine/README.md").read_text()


def test_show_and_data_read_the_images_with_their_options(own):
    done = study("data", "photos", "--size", 3, "--grey")
    assert done.exit_code == 0 and "images of 3 x 3 grey, no labels" in done.stdout, done.stderr
    long = ["show", "own.yaml", "--dataset", "photos", "--steps", 10**7]
    few, all_ = (study(*long, *more).stdout for more in (["--size", 1], []))
    assert "dataset=photos" in all_ and few != all_, "smaller images cost less"
    done = study("launch", "own.yaml", "--size", 3)
    assert done.exit_code == 2 and "`size` is for images by their path" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset", "absent/"], "absent cannot be read: there is no such file or folder"),
        (["--dataset", "photoz"], "Images of one's own are named by the path of their file or folder"),
        (["--dataset", "photos", "--white", "3"], "at most white, 3, but the largest is 255"),
        (["--dataset", "photos", "--size", "9999"], "`size`: input should be less than or equal to 1024, but got 9999"),
    ],
)
def test_wrong_path_or_option_is_one_line(own, arguments, message):
    done = study("launch", "own.yaml", *arguments, "--runner", "inline", "--run", "runs/wrong")
    assert done.exit_code == 2 and message in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr


def without_origin(frame):
    """A table's rows without what may differ: the names of the data, hashes of them, and times."""
    own = [name for name in frame if name.endswith("_s") or name in ORIGIN]
    keys = [name for name in ("cell", "seed", "step", "kind", "quantity", "index") if name in frame]
    return frame.drop(columns=own).sort_values(keys, kind="stable", ignore_index=True)


@pytest.mark.thorough
def test_study_dimension_of_a_folder_of_pngs_is_that_of_the_digits_in_them(tmp_path, monkeypatch):
    """Pillow writes what the loader of `digits` makes of 0..16: 255 / 16 times the value, rounded, half to even."""
    monkeypatch.chdir(tmp_path)
    images, labels = load_digits(return_X_y=True)
    greys = np.rint(images * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8)
    for number in np.random.default_rng(0).permutation(len(greys)):  # in an order of their own
        folder = tmp_path / "photos" / f"digit {labels[number]}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(greys[number]).save(folder / f"{number * 31 % 1797}.png")
    runs = {}
    for dataset in ("digits", "photos/"):
        name = f"runs/{dataset[:6]}"
        few = ["--steps", 2, "--seeds", 1, "--cells", "*[s4]", "--runner", "inline", "--run", name]  # images, N = 4 ...
        done = study("launch", "dimension", "--dataset", dataset, *few)
        assert done.exit_code == 0, done.stderr
        runs[dataset] = table.load_tables(name)
    ours, mine = runs.values()
    assert {4, 24, 64} <= set(ours.ends.loc[ours.ends["status"] == "finished", "config/latent_dim"].dropna())
    for kind in ("results", "profiles", "images"):
        one, other = (tables.rows(kind) for tables in (ours, mine))
        if kind != "results":
            one, other = (
                rows.merge(tables.ends[["replicate", "cell", "seed"]], on="replicate")
                for rows, tables in ((one, ours), (other, mine))
            )
        if "quantity" in one:
            one, other = (rows[~rows["quantity"].str.endswith("_s")] for rows in (one, other))
        assert len(one) > 20
        pd.testing.assert_frame_equal(without_origin(one), without_origin(other), check_exact=True)


@pytest.mark.thorough
def test_study_dimension_through_ray_hands_the_images_out_as_mnists(tmp_path, monkeypatch):
    """The folder is gone before a worker begins: as on a cluster where only the head has it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for index, image in enumerate(np.random.default_rng(0).integers(0, 256, (40, 4, 5, 3), dtype=np.uint8)):
        Image.fromarray(image).save(tmp_path / "photos" / f"{index}.png")
    few = ["--dataset", "photos", "--steps", 2, "--seeds", 1, "--cells", "*latent_dim=[28]"]
    inline = study("launch", "dimension", *few, "--runner", "inline", "--run", "runs/inline")
    run = ray_runner.run

    def without_folder(*arguments):
        shutil.move("photos", "elsewhere")
        run(*arguments)

    monkeypatch.setattr(ray_runner, "run", without_folder)
    done = study("launch", "dimension", *few, "--runner", "ray", "--concurrency", 1, "--run", "runs/ray")
    assert (inline.exit_code, done.exit_code) == (0, 0), inline.stderr + done.stderr
    one, other = (table.load_tables(f"runs/{name}").results for name in ("inline", "ray"))
    assert (one["status"] == "finished").sum() > 6 and set(one["replicate"]) == set(other["replicate"])
    pd.testing.assert_frame_equal(without_origin(one), without_origin(other), check_exact=True)


def test_study_dimension_fits_n_and_the_samples_to_the_built_in_digits(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = ["--steps", 2, "--seeds", 1, "--cells", "[pi]*", "--runner", "inline"]  # pca and images
    done = study("launch", "dimension", *arguments)
    assert done.exit_code == 0, done.stderr
    tables = table.load_tables("runs/dimension")
    ends = tables.ends[tables.ends["status"] == "finished"]
    assert ends["config/latent_dim"].max() == 64 and ends["config/sample_size"].max() == 1129
    assert tables.shapes == {"digits": Shape(8, 8)} and set(tables.spec.grids[0]) == {"latent_dim"}
    assert (tables.profiles["quantity"] == "dimension_mle").any()
    again = study("launch", "dimension", *arguments)
    assert (again.exit_code == 0 and "0 to start" in again.stdout) or "finished" in again.stdout
    refused = study("replay", "runs/dimension", ends["replicate"].iloc[0], "--dataset", "elsewhere")
    assert refused.exit_code == 2 and "`--dataset` must be left out: digits is no data set of" in refused.stderr
