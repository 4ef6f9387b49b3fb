"""One file of a replicate: read back as written, known by its name, and refused when it is not what was written."""

import json

import numpy as np
import pytest
from safetensors.numpy import save

from trainables import replicate_file
from trainables.records import ImageKey, Profile, Record
from trainables.replicate_file import DamagedFileError, FileName, decode, encode
from trainables.storage import Folder

IMAGES = np.zeros((2, 784), np.uint8)


def record():
    keys = [ImageKey(10, "input", place, None, None) for place in range(2)]
    rows = [{"step": 10, "epoch": 0.5, "collapsed": False, "loss": 1.5, "test_kl": None}]
    return Record({"cell": "a"}, rows, [Profile(10, "spectrum", [1.0, None])], keys, 0.1, 2.0, {"device": "cpu"})


def tensors():
    return {"w": np.full((3, 4), 7, np.float32), "images": IMAGES}


def text(**changes):
    return json.dumps(vars(record()) | changes)


@pytest.fixture
def folder(tmp_path):
    return Folder(str(tmp_path))


def test_decode_gives_back_what_was_encoded_with_types():
    arrays, again = decode(encode(tensors(), record()))
    assert again == record()
    assert (type(again.profiles[0]), type(again.images[0])) == (Profile, ImageKey)
    np.testing.assert_array_equal(arrays["w"], tensors()["w"])


@pytest.mark.parametrize(
    ("ending", "meaning"),
    [
        ("-000000010.safetensors", {"step": 10}),
        ("-record.safetensors", {}),
        ("-measured-a-b.safetensors", {"measurement": "a-b"}),
        (".done.json", {"marker": True}),
    ],
)
@pytest.mark.parametrize("digest", [None, "0123456789ab"])
def test_name_is_parsed_with_and_without_a_digest(ending, meaning, digest):
    text = "aaaaaaaa" + (f"-{digest}" if digest else "") + ending
    expected = {"step": None, "measurement": None, "marker": False} | meaning
    assert FileName.parse(text) == FileName(text, "aaaaaaaa", digest, **expected)


@pytest.mark.parametrize(
    "text", ["", "notes.txt", "../aaaaaaaa.done.json", "aaaaaaaa-10.safetensors", "AAAAAAAA.done.json", ".x.tmp"]
)
def test_name_of_another_file_is_none(text):
    assert FileName.parse(text) is None


def test_read_of_any_flipped_byte_raises(folder):
    name = replicate_file.write(folder, "aaaaaaaa", "-record.safetensors", encode(tensors(), record()))
    content = folder.read(name)
    for position in range(0, len(content), 50):
        damaged = bytearray(content)
        damaged[position] ^= 0x10
        folder.write(name, bytes(damaged))
        with pytest.raises(DamagedFileError, match="its digest does not match"):
            replicate_file.read_tensors(folder, name)
    folder.write(name, content)
    assert replicate_file.read_tensors(folder, name)[1] == record()


@pytest.mark.parametrize("length", [0, 4, 8, 100, -1])
def test_decode_of_a_truncated_file_raises(length):
    with pytest.raises(DamagedFileError):
        decode(encode(tensors(), record())[:length])


@pytest.mark.parametrize("name", ["notes.txt", "../aaaaaaaa-record.safetensors", "/etc/hostname"])
def test_read_of_a_name_that_no_attempt_gives_raises(folder, name):
    with pytest.raises(DamagedFileError, match="is not the name of a replicate's file"):
        replicate_file.read(folder, name)


def test_read_of_an_absent_file_raises_that(folder):
    with pytest.raises(FileNotFoundError):
        replicate_file.read(folder, "aaaaaaaa-record.safetensors")


CRAFTED = {
    "rows no list": text(rows=3),
    "row without a step": text(rows=[{"loss": 1.0}]),
    "step no number": text(rows=[{"step": "1"}]),
    "step beyond a file name": text(rows=[{"step": 10**12}]),
    "loss a text": text(rows=[{"step": 1, "loss": "low"}]),
    "loss a list": text(rows=[{"step": 1, "loss": [1]}]),
    "loss a truth value": text(rows=[{"step": 1, "loss": True}]),
    "loss beyond a float": text(rows=[{"step": 1, "loss": 10**400}]),
    "collapsed a number": text(rows=[{"step": 1, "collapsed": 0.5}]),
    "profile too short": text(profiles=[[1, "spectrum"]]),
    "profile of texts": text(profiles=[[1, "spectrum", ["a"]]]),
    "image keys too few": text(images=[]),
    "image key without a kind": text(images=[[1, None, 0, None, None]] * 2),
    "provenance of lists": text(provenance={"device": ["cpu"]}),
    "an unknown field": text(unknown=1),
    "deep": '{"replicate": {}, "rows": ' + "[" * 200_000,
    "no JSON": "record",
}


@pytest.mark.parametrize("crafted", CRAFTED.values(), ids=CRAFTED.keys())
def test_decode_of_a_crafted_record_raises_one_line(crafted):
    if "unknown" in crafted:
        assert decode(save(tensors(), {"record": crafted}))[1] == record()
        return
    with pytest.raises(DamagedFileError) as raised:
        decode(save(tensors(), {"record": crafted}))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "images", [np.zeros((2, 784), np.float32), np.zeros((3, 784), np.uint8), np.zeros(2, np.uint8)]
)
def test_decode_of_other_images_than_the_keys_say_raises(images):
    with pytest.raises(DamagedFileError, match="it must hold 2 images"):
        decode(encode({"images": images}, record()))


@pytest.mark.parametrize(
    "content", [b"[" * 300_000, b"\xff" * 8 + b"{}", (300_000).to_bytes(8, "little") + b"[" * 300_000]
)
def test_read_of_crafted_bytes_under_an_old_name_raises(folder, content):
    folder.write("aaaaaaaa-record.safetensors", content)
    with pytest.raises(DamagedFileError):
        replicate_file.read_tensors(folder, "aaaaaaaa-record.safetensors")
