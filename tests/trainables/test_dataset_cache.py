"""The cache of drawn datasets: drawn once, drawn again when damaged, and done without where it cannot be written."""

import os
import stat

import numpy as np
import pytest

from trainables import dataset_cache, datasets
from trainables.dataset_cache import cached
from trainables.storage import Folder, StorageError

IMAGES, LABELS = np.arange(20, dtype=np.uint8).reshape(5, 4), np.arange(5, dtype=np.uint8)


@pytest.fixture
def folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "mnist-autoencoder-study" / "controls"


@pytest.fixture
def draws():
    return []


@pytest.fixture
def load(draws):
    def draw():
        draws.append(1)
        return IMAGES, LABELS

    def load():
        images, labels = cached("bars-v1", draw)
        np.testing.assert_array_equal(images, IMAGES)
        np.testing.assert_array_equal(labels, LABELS)

    return load


def test_cached_draws_once_and_leaves_one_file_that_others_can_read(folder, load, draws):
    load()
    load()
    [file] = folder.glob("*.safetensors")
    assert len(draws) == 1 and stat.S_IMODE(file.stat().st_mode) & 0o444 == 0o444 & ~_umask()
    assert {path.name for path in folder.iterdir()} <= {file.name, "bars-v1.lock"}


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "zeros", "other bytes"])
def test_cached_file_that_is_damaged_is_named_once_and_drawn_again(folder, load, draws, caplog, damage):
    load()
    [file] = folder.glob("*.safetensors")
    content = file.read_bytes()
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 1
    changed = {"empty": b"", "cut": content[:-3], "flipped": flipped, "zeros": bytes(len(content))}
    file.write_bytes(changed.get(damage, b"PK\x03\x04"))
    load()
    assert len(draws) == 2 and file.read_bytes() == content
    assert caplog.text.count(f"{file} is damaged") == 1 and len(caplog.records) == 1
    load()
    assert len(draws) == 2 and len(caplog.records) == 1


def test_cached_on_a_full_disk_gives_the_images_and_leaves_no_part(folder, load, draws, caplog, monkeypatch):
    def full(self, name, content):
        raise StorageError(f"{self.url}/{name} cannot be written: No space left on device.")

    with monkeypatch.context() as patch:
        patch.setattr(Folder, "write", full)
        load()
    assert "No space left on device" in caplog.text and "drawn again by the next process" in caplog.text
    assert not list(folder.glob("*.safetensors")) and not list(folder.glob(".*"))
    load()
    assert len(draws) == 2 and len(list(folder.glob("*.safetensors"))) == 1


def test_cached_where_no_folder_can_be_made_gives_the_images_and_says_what_to_set(monkeypatch, tmp_path, load, caplog):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    load()
    [record] = caplog.records
    assert "cannot be written" in record.message and "Set XDG_CACHE_HOME" in record.message


def test_cached_in_a_cache_that_is_read_only_takes_no_lock(folder, load, draws, monkeypatch):
    load()
    monkeypatch.setattr(dataset_cache, "FileLock", lambda *_: pytest.fail("a lock was taken"))
    load()
    assert len(draws) == 1


def test_cache_dir_of_a_user_without_a_home_is_in_the_current_folder(monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    assert str(datasets.cache_dir()) == ".cache/mnist-autoencoder-study"
