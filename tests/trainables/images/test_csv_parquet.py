"""Tables of images: Kaggle's CSV with and without names, parquet as the Hugging Face hub writes it, and others."""

import io

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from trainables.errors import DataError
from trainables.images import csv_parquet
from trainables.images.source import ImageSource

SOURCE = ImageSource(path="x")
PIXELS = np.arange(36, dtype=np.uint8).reshape(4, 9)


def png(row):
    content = io.BytesIO()
    Image.fromarray(row.reshape(3, 3)).save(content, "PNG")
    return content.getvalue()


@pytest.mark.parametrize("named", [True, False], ids=["Kaggle's train.csv", "without names"])
def test_read_csv_takes_the_label_and_the_pixels(tmp_path, named):
    frame = pd.DataFrame(PIXELS, columns=[f"pixel{i}" for i in range(9)])
    frame.insert(0, "label", list("abab") if named else [0, 1, 0, 1])
    frame.to_csv(tmp_path / "a.csv", index=False, header=named)
    part = csv_parquet.read_csv(tmp_path / "a.csv")
    np.testing.assert_array_equal(part.images, PIXELS)
    assert part.labels.tolist() == (list("abab") if named else [0, 1, 0, 1])


@pytest.mark.parametrize("first", [0, 1])
def test_read_csv_whose_columns_are_numbered_does_not_take_the_numbers_for_an_image(tmp_path, first):
    frame = pd.DataFrame(PIXELS, columns=range(first, first + PIXELS.shape[1]))
    frame.to_csv(tmp_path / "a.csv", index=False)
    np.testing.assert_array_equal(csv_parquet.read_csv(tmp_path / "a.csv").images, PIXELS)
    frame = pd.DataFrame(np.hstack([[[7]] * 4, PIXELS]), columns=range(first, first + 10))
    frame.to_csv(tmp_path / "a.csv", index=False)
    part = csv_parquet.read_csv(tmp_path / "a.csv")
    assert part.labels.tolist() == [7] * 4 and part.images.tolist() == PIXELS.tolist()


def test_read_csv_without_labels(tmp_path):
    pd.DataFrame(PIXELS[::-1]).to_csv(tmp_path / "a.csv", index=False, header=False)
    part = csv_parquet.read_csv(tmp_path / "a.csv")
    np.testing.assert_array_equal(part.images, PIXELS[::-1])
    assert part.labels is None
    pd.DataFrame(PIXELS).add_prefix("pixel").to_csv(tmp_path / "a.csv", index=False)
    assert csv_parquet.read_csv(tmp_path / "a.csv").labels is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("label,a,b\n1,2,3\n", "must have a column for each pixel of a square image .* but it has 2 columns beside"),
        ("label,p0,p1,p2,p3\n1,0,0,0,x\n", "values of pixels must be numbers with commas between .* column 'p3' has"),
        ("label;p0\n1;2\n", "must be numbers with commas between them, but column 'label;p0' has others"),
        (
            "# mine\nlabel,p0\n1,2\n",
            "must have a name for each .* its first row has 1, and the next has 2 values",
        ),
        ("label,p0\n1,2,\n3,4,\n", "its first row has 2, and the next has 3 values"),
    ],
)
def test_read_csv_of_other_columns_names_them(tmp_path, text, message):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(DataError, match=rf"a\.csv.*{message}"):
        csv_parquet.read_csv(tmp_path / "a.csv")


def test_read_csv_takes_the_names_below_an_empty_line_for_names(tmp_path):
    (tmp_path / "a.csv").write_text("\n\nlabel,7\n1,2\n\n3,4\n")
    part = csv_parquet.read_csv(tmp_path / "a.csv")
    assert part.images.tolist() == [[2], [4]] and part.labels.tolist() == [1, 3]


def hub_table(rows, labels=True):
    images = pa.array([{"bytes": png(row), "path": f"{i}.png"} for i, row in enumerate(rows)])
    columns = {"image": images} | ({"label": pa.array(range(len(rows)))} if labels else {})
    return pa.table(columns).replace_schema_metadata({"huggingface": '{"info": {}}'})


def test_read_parquet_of_the_hub_reads_the_pictures_of_its_structs(tmp_path):
    pq.write_table(hub_table(PIXELS), tmp_path / "a.parquet")
    part = csv_parquet.read_parquet(tmp_path / "a.parquet", SOURCE)
    np.testing.assert_array_equal(part.images.reshape(4, 9), PIXELS)
    assert part.labels.tolist() == [0, 1, 2, 3]


def test_read_parquet_of_plain_bytes_under_another_name(tmp_path):
    pq.write_table(pa.table({"id": [1, 2], "photo": [png(row) for row in PIXELS[:2]]}), tmp_path / "a.parquet")
    part = csv_parquet.read_parquet(tmp_path / "a.parquet", SOURCE)
    np.testing.assert_array_equal(part.images.reshape(2, 9), PIXELS[:2])
    assert part.labels is None


def test_read_parquet_without_pictures_or_with_a_damaged_one_says_which(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"image": ["a.png"], "label": [1]}), path)
    with pytest.raises(DataError, match=r"a\.parquet must have a column of pictures .*, but has image, label"):
        csv_parquet.read_parquet(path, SOURCE)
    pq.write_table(pa.table({"image": [png(PIXELS[0]), b"no picture"]}), path)
    with pytest.raises(DataError, match=r"a\.parquet, row 1 cannot be read as a picture"):
        csv_parquet.read_parquet(path, SOURCE)
    pq.write_table(pa.table({"image": pa.array([{"bytes": None, "path": "a.png"}], hub_type())}), path)
    with pytest.raises(DataError, match="column 'image' must hold the bytes of a picture in each row, but some are"):
        csv_parquet.read_parquet(path, SOURCE)


def hub_type():
    return pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def test_read_files_joins_the_shards_of_a_split_and_drops_labels_that_not_all_have(tmp_path):
    shards = {"train-0.parquet": PIXELS[:2], "train-1.parquet": PIXELS[2:], "test-0.parquet": PIXELS[:1]}
    for name, rows in shards.items():
        pq.write_table(hub_table(rows, labels=name != "train-1.parquet"), tmp_path / name)
    parts = csv_parquet.read_files(sorted(tmp_path.iterdir()), SOURCE)
    np.testing.assert_array_equal(parts["train"].images.reshape(4, 9), PIXELS)
    assert parts["train"].labels is None and parts["test"].labels.tolist() == [0]


def test_read_files_of_folders_called_like_sets_are_these_sets_and_a_table_of_none_is_named(tmp_path):
    for split, rows in {"train": PIXELS[:3], "test": PIXELS[3:]}.items():
        (tmp_path / split).mkdir()
        pq.write_table(hub_table(rows), tmp_path / split / "0000.parquet")
    parts = csv_parquet.read_files(sorted(tmp_path.rglob("*.parquet")), SOURCE)
    assert {name: len(part.images) for name, part in parts.items()} == {"train": 3, "test": 1}
    for name, text in {"train.csv": "1,2,3,4\n", "submission.csv": "Id,Label\n1,0\n"}.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=r"one shape, but have \(1,\) in .*submission\.csv and \(4,\) in .*train\.csv"):
        csv_parquet.read_files(sorted(tmp_path.glob("*.csv")), SOURCE)


def test_read_parquet_finds_labels_as_csv_does(tmp_path):
    pq.write_table(pa.table({"Image": list(map(png, PIXELS)), "Label": [3, 1, 2, 0]}), tmp_path / "a.parquet")
    assert csv_parquet.read_parquet(tmp_path / "a.parquet", SOURCE).labels.tolist() == [3, 1, 2, 0]
