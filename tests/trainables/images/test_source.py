"""Where images are: paths and names told apart, names made of paths, and what does not fit the memory."""

import os

import pytest
from pydantic import ValidationError

from trainables.errors import DataError
from trainables.images.source import ImageSource, check_memory, is_path, name_of, visible


def test_is_path_tells_files_and_folders_from_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    assert all(map(is_path, ["photos", "a.npz", "a.NPY", "train.csv", "x.parquet", "photos/", "/nowhere", "~/x"]))
    assert not any(map(is_path, ["mnist", "strokes-8-one", "", " ", "mnits", 3, None, True, ["a.npz"]]))


def test_visible_lists_files_behind_links_and_no_hidden_ones(tmp_path):
    for name in ("b/c.png", "a.png", "._a.png", ".cache/a.png", "b/__MACOSX/d.png", "b/__d.png"):
        (tmp_path / "mine" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mine" / name).touch()
    (tmp_path / "other").symlink_to(tmp_path / "mine" / "b")
    (tmp_path / "mine" / "z").symlink_to(tmp_path / "other")
    names = [str(path.relative_to(tmp_path / "mine")) for path in visible(tmp_path / "mine")]
    assert names == ["a.png", "b/__d.png", "b/c.png", "z/__d.png", "z/c.png"]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("data/flowers.npz", "flowers"),
        ("flowers.v2.npy", "flowers.v2"),
        ("photos/", "photos"),
        ("data/photos.v2", "photos.v2"),
        ("my photos (2024)/", "my-photos-2024"),
        ("FashionMNIST/raw", "FashionMNIST"),
        ("Blüten.csv", "Blüten"),
        ("$(x)`.npz", "x"),
        ("??.npz", "images"),
    ],
)
def test_name_of_a_path_can_be_read_and_needs_no_quotes(path, name):
    assert name_of(path) == name


def test_name_of_the_current_folder_is_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert name_of(".") == tmp_path.name


@pytest.mark.parametrize(
    "fields", [{"path": ""}, {"size": 0}, {"size": 2000}, {"white": 0}, {"white": float("nan")}, {"sizes": 3}]
)
def test_source_of_another_value_is_refused(fields):
    with pytest.raises(ValidationError):
        ImageSource(**{"path": "x"} | fields)


def test_check_memory_refuses_more_than_a_share_of_it_and_names_both_sizes():
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    check_memory(memory // 3, "here")
    with pytest.raises(DataError, match=r"^here: images must take less than 50% of .* GB of memory, but take .* GB"):
        check_memory(memory, "here")


def test_visible_follows_links_but_for_those_without_an_end(tmp_path):
    elsewhere, images = tmp_path / "elsewhere", tmp_path / "images"
    for folder in (elsewhere, images / "a", images / ".cache", images / "__MACOSX"):
        folder.mkdir(parents=True)
        (folder / "1.png").touch()
    (images / "a" / ".hidden.png").touch()
    (images / "b").symlink_to(elsewhere)
    (images / "c").symlink_to(elsewhere)
    (images / "a" / "up").symlink_to(images)
    (elsewhere / "back").symlink_to(images)
    (images / "gone.png").symlink_to(tmp_path / "nowhere")
    found = [str(path.relative_to(images)) for path in visible(images)]
    assert found == ["a/1.png", "b/1.png", "c/1.png", "gone.png"], "each in each folder that leads there"
