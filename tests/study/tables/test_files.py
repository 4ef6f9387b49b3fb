"""Frames as CSV that no reader takes for something else."""

import io

import pandas as pd
import pytest

from study.table import to_csv


@pytest.mark.parametrize("text", ["=HYPERLINK(1)", "+cmd|' /C calc'!A0", "-1+1", "@SUM(A1)", "-x"])
def test_to_csv_formula_is_text(text):
    assert pd.read_csv(io.StringIO(to_csv(pd.DataFrame({"cell": [text]}))))["cell"].tolist() == [f"'{text}"]


@pytest.mark.parametrize(
    "text", ["-", "+", "-1.5", "+3", "-1e-5", "vae latent_dim=2", "a, b", "–", "1 [-2, 3]", "two\nlines"]
)
def test_to_csv_other_text_stays(text):
    read = pd.read_csv(io.StringIO(to_csv(pd.DataFrame({"cell": [text]}))), dtype=str)
    assert read["cell"].tolist() == [text]


def test_to_csv_control_characters_are_escaped():
    assert to_csv(pd.DataFrame({"cell": ["a\x1b[2Jb\x9b\r"]})) == "cell\na\\x1b[2Jb\\x9b\\r\n"


def test_to_csv_numbers_truths_and_nulls():
    frame = pd.DataFrame({"x": [-1.5, None], "ok": [True, False], "text": ["a", None], "mixed": [-2, "=x"]})
    assert to_csv(frame) == "x,ok,text,mixed\n-1.5,TRUE,a,-2\n,FALSE,,'=x\n"
