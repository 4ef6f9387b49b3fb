"""The tutorial's commands print what the page shows, one after another in an empty folder, a kill among them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.tutorial import KILLED, PAGE, PICTURE, done, outputs

COMMANDS = {
    "study show first.yaml",
    "study launch first.yaml",
    "study status runs/first",
    "analysis report runs/first",
    "study launch mine.yaml | tail -1",
    "analysis dimension runs/mine | head -1",
    "study launch mine.yaml --dataset stroke-4-one || true",
}


def steady(lines: set[str]) -> set[str]:
    """Lines without what depends on the moment of the kill and, in an answer, on the last digits of a processor."""
    starts = (r"(runs/first: # replicates).*", r"(.* It depends on what a dimension costs).*")
    return {re.sub("|".join(starts), lambda found: found[1] or found[2], line) for line in lines}


def test_page_shows_every_command_with_what_it_prints_a_kill_and_the_picture():
    text = PAGE.read_text()
    shown = outputs(text)
    assert set(shown) == COMMANDS and all(shown.values())
    assert text.count("$ study launch first.yaml\n") == 2 and text.count(f"\n{KILLED}\n") == 1
    assert f"({PICTURE.name})" in text and PICTURE.read_bytes().startswith(b"\x89PNG")


def test_outputs_leave_numbers_and_order_out_and_keep_words():
    page = "```console\n$ a\none 1.5\ntwo\n$ b\n```\n```bash\n$ c\n```\n"
    assert outputs(page) == {"a": {"one #", "two"}, "b": set()}
    assert outputs(page.replace("1.5", "2")) == outputs(page) != outputs(page.replace("two", "three"))


def test_commands_are_done_in_order_on_the_files_of_the_page_and_progress_is_left_out(tmp_path: Path):
    page = "```yaml\n# a.yaml\nk: 1\n```\n```console\n$ cat a.yaml; echo '[0:01] 1/2 done'\nold\n$ echo b\n```\n"
    assert done(page, tmp_path) == page.replace("old\n", "# a.yaml\nk: 1\n").replace("$ echo b\n", "$ echo b\nb\n")


def test_command_that_fails_is_an_error(tmp_path: Path):
    with pytest.raises(AssertionError, match="false has ended with 1"):
        done("```console\n$ false\n```\n", tmp_path)


@pytest.mark.thorough
def test_tutorial_goes_as_the_page_says(tmp_path: Path) -> None:
    before = PAGE.read_text()
    shown, seen = outputs(before), outputs(done(before, tmp_path))
    assert {words: steady(lines) for words, lines in seen.items()} == {w: steady(lines) for w, lines in shown.items()}
