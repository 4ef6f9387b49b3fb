"""No measured number is typed into README.md, docs/ or the notebook: results stand in blocks that a command writes."""

from __future__ import annotations

import json
import re

import pytest

from tests.test_repository import DOCUMENTS, ROOT

WRITTEN = (
    r"<!-- make (?:report|bench).*?<!-- end -->",  # written from tables
    r"^```.*?^```",  # commands with what they print; `make tutorial` writes those of the tutorial
    r"`[^`]+`",
    r"\]\([^)]*\)",
    r"^#+ .*?$",
)
"""Parts of a page that are not read: blocks, code, the targets of links, headings."""
_WORD = "half|two|three|four|five|six|seven|eight|nine|ten|twelve|fifteen|twenty|thirty|forty|fifty"
_UNIT = (
    "nats?|times|latents?|points?|pages?|[mµn]?s|min|minutes?|hours?|seconds?|days?|[kKMGT]i?B|bytes|"
    r"(?:\w+-)?steps(?:/s| a second| per second)|(?:core|device)-hours?"
)
MEASURED = re.compile(
    rf"\d[\d,]*\.\d[\d.]*(?:e[-+]?\d+)?(?: ?%| (?:{_UNIT})\b)?"  # any number with decimals
    rf"|\d[\d,]*(?: ?%| (?:{_UNIT})\b)"
    rf"|\b(?:{_WORD}) (?:an? )?(?:(?:{_UNIT})\b|%)"
    r"|\b(?:two|three|four|five) (?:thirds|quarters|fifths|sixths|tenths)\b|\btwice\b|\bhalf as\b",
    re.IGNORECASE,
)
"""Numbers that look like the outcome of a measurement."""
ALLOWED = {
    "a version of a program or of a licence": (
        "Python 3.11 to 3.13",
        "Python 3.11",
        "1.6 or newer",
        "KubeRay 1.7.0",
        "Debian's 22.05",
        "CC BY-SA 3.0",
        "CC BY-SA 4.0",
        "CC BY 4.0",
    ),
    "the level of an interval or a test": (
        "95 % intervals",
        "95 % t interval",
        "t intervals at 95 %",
        "p < 0.05",
        "(TOST) at 5 %, the 90 % interval",
        "the 95 % interval",
        "1.96 standard errors",
    ),
    "a margin or threshold that the ledger or an estimate sets": (
        "within 1 nat",
        "margin of 1 nat",
        "margin is 1 nat",
        "1 nat per image",
        "(beside it: 1 % and 5 % of the excess)",
        "within 1 % as well as the originals",
        "90, 95, 99 % of the variance",
        "above 0.01; beside it: KL above 0.01 nats",
        "moved by more than 5 % over the last fifth",
        "four fifths of their latents",
        "at most four fifths of them",
        "at least 1.5 times the first",
        "that of 4 nats",
        "rises by more than 2 %",
    ),
    "a setting of the code or of Ray": (
        "log-spaced steps to 1 % of the run",
        "three fifths",
        "costs up to 30 s of training",
        "costs up to 30 seconds of training",
        "every 30 seconds",
        "three times in all",
        "gives a worker ten seconds",
        "within eight seconds",
        "twice the steps",
    ),
    "a definition": (
        "decoder with 8 latents",
        "two latents to look at",
        "N = 5 latent dimensions",
    ),
    "a goal or a budget that something was made for": (
        "under 15 % of its training time",
        "made for half an hour",
        "budget of half an hour",
    ),
}
"""Phrases with such a number that nobody measured, by the reason."""


def prose(text: str) -> str:
    """A page's text without the parts that are written by a command, on one line."""
    for pattern in WRITTEN:
        text = re.sub(pattern, "", text, flags=re.DOTALL | re.MULTILINE)
    return " ".join(text.split())


def typed(text: str) -> list[str]:
    """The numbers of a page that look measured, each with the words before it."""
    words = prose(text)
    for phrases in ALLOWED.values():
        for phrase in sorted(phrases, key=len, reverse=True):
            words = words.replace(phrase, "")
    return [f"{words[max(0, one.start() - 40) : one.start()]}{one[0]}" for one in MEASURED.finditer(words)]


def notebook() -> str:
    """The prose of docs/notebook.ipynb."""
    cells = json.loads((ROOT / "docs" / "notebook.ipynb").read_text())["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


@pytest.mark.parametrize("document", DOCUMENTS)
def test_document_has_no_number_that_no_command_writes(document: str) -> None:
    found = typed((ROOT / document).read_text())
    assert not found, f"{document}: put it into a block, say it in words, or name it in ALLOWED: {found}"


def test_notebook_has_no_number_that_no_command_writes() -> None:
    assert notebook() and not typed(notebook())


@pytest.mark.parametrize(
    "sentence",
    [
        "It trained at 22,000 network-steps a second.",
        "A step took 0.97 of the time.",
        "They differ by 1.3e-05.",
        "Measuring took 13 to 17 % of it.",
        "It takes 190 s there.",
        "It trains for about three minutes.",
        "A loop takes twice as long.",
        "It is\nfour times slower.",
        "Three quarters of a step are matrix products.",
        "The report weighs 8 MB, and its summary has 12 pages.",
        "The loss falls by 2 nats.",
        "After half an hour it ends.",
        "| ELU | +0.000011 |",
        "costs up to 30 s of training, measured 12 s",
    ],
)
def test_measured_number_in_a_sentence_is_found(sentence: str) -> None:
    assert len(typed(f"Before.\n\n{sentence}\n")) >= 1


@pytest.mark.parametrize(
    "text",
    [
        "<!-- make bench -->\n\n| a | 0.97 s |\n\n<!-- end -->\n",
        "<!-- make report: law results/* -->\n\nb = 1.03\n\n<!-- end -->\n",
        "```console\n$ study show\n0.01 core-hours\n```\n",
        "# 0.2.0 in 3 s\n",
        "`--price 0.05` and [the law](laws.md#1.5)",
        "784-500-500-N, N = 5, 50,000 steps of 100 images, 10 < N < 100, Eq. 1, version 6, 3 seeds",
    ],
)
def test_what_a_command_writes_and_settings_are_left_alone(text: str) -> None:
    assert typed(text) == []


def test_every_allowed_phrase_is_on_a_page_and_needed() -> None:
    pages = " ".join([*(prose((ROOT / document).read_text()) for document in DOCUMENTS), prose(notebook())])
    for phrases in ALLOWED.values():
        assert [phrase for phrase in phrases if phrase not in pages or not MEASURED.search(phrase)] == []
