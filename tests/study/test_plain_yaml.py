"""YAML is read as its author means it, or refused in one line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.plain_yaml import YamlError, read, write


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("no: [yes, on, off, y, n]", {"no": ["yes", "on", "off", "y", "n"]}),
        ("a: 2026-11-30\nb: 1:30\nc: 1e-3\nd: 1_000", {"a": "2026-11-30", "b": "1:30", "c": "1e-3", "d": "1_000"}),
        ("a: 0x1F\nb: 0o17\nc: -5\nd: 0", {"a": 31, "b": 15, "c": -5, "d": 0}),
        ("a: 1.0e-4\nb: .5\nc: -.inf\nd: 2.", {"a": 1e-4, "b": 0.5, "c": float("-inf"), "d": 2.0}),
        ("a: ~\nb: null\nc:", {"a": None, "b": None, "c": None}),
        ("", None),
    ],
)
def test_read_plain_words_and_numbers_are_what_they_look_like(text, content):
    assert read(text) == content


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: {c: 1, c: 2}", r"^line 2: a key must stand once, but 'c' stands twice\.$"),
        ("arms:\n  010: {}", r"^line 2: a number must not begin with 0, but got 010: it may be decimal or octal\.$"),
        ("a: -07", "must not begin with 0"),
        ("arms: {5: {}}", r"^line 1: a key must be text, but got '5': put it in quotes\.$"),
        ("arms: {true: {}}", "a key must be text, but got 'true'"),
        ("? [a]\n: b", "a key must be text, but got a list or mapping"),
        ("beta: true", r"^`beta` must not be a truth value, but got true\.$"),
        ("arms: {vae: {beta: [1, false]}}", r"^`arms\.vae\.beta` must not be a truth value, but got false\.$"),
        ('name: "\\e[2J"', "must have no control characters"),
        ("a: &x [1]\nb: *x", "must not use aliases"),
        ("a: [", "^line 2: "),
        ("--- a\n--- b", "^line 2: .*document"),
        ("a: !!python/name:os.system", "tag"),
        ("a: !!binary AA==", "tag"),
        ("[" * 30, "depth"),
    ],
)
def test_read_what_may_mean_something_else_is_refused_in_one_line(text, message):
    with pytest.raises(YamlError, match=message) as caught:
        read(text, truths={"log"})
    assert "\n" not in str(caught.value)


def test_read_truth_values_of_the_keys_that_hold_them():
    assert read("range: {low: 1, log: true}", truths={"log"}) == {"range": {"low": 1, "log": True}}


PLAIN = st.recursive(
    st.none() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(exclude_categories=["C"])),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("ab01:~oxyesn.-", max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(PLAIN)
def test_write_is_read_back_as_the_same(content):
    assert read(write({"content": content})) == {"content": content}
