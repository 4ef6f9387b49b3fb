"""README.md and docs/ say what the tables under results/ say, and a number that is changed in either is named."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner

from analysis.report import readme
from analysis.report.blocks import BLOCKS
from study.table import Tables, load_tables
from study.tables.columns import SCHEMAS
from tests.support.markdown import table_rows

ROOT = Path(__file__).resolve().parents[3]
TEXTS = {str(path.relative_to(ROOT)): path.read_text() for path in readme.documents(ROOT)}
"""The documents with blocks."""
LOSSES = "losses results/paper"
BEGIN = "<!-- make report: "


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    """The documents as the tables would have them."""
    read = readme.reader(ROOT)
    return {name: readme.filled(text, read) for name, text in TEXTS.items()}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A root whose README.md holds the block of the losses alone, as it stands in ours, with the tables."""
    block = re.search(rf"{BEGIN}{LOSSES} -->.*?<!-- end -->", TEXTS["docs/results.md"], re.DOTALL)
    assert block
    (tmp_path / "results").symlink_to(ROOT / "results")
    (tmp_path / "README.md").write_text(f"# Before\n\n{block[0]}\n\nAfter, 1.0.\n")
    return tmp_path


def run(*arguments: str | Path) -> tuple[int, str]:
    app = typer.Typer()
    app.command()(readme.main)
    ran = CliRunner().invoke(app, list(map(str, arguments)))
    return ran.exit_code, ran.output


def test_documents_are_what_the_tables_give(made: dict[str, str]) -> None:
    differing = {name: readme.differing(text, made[name]) for name, text in TEXTS.items()}
    assert not any(differing.values()), f"run `make report`, and commit what it wrote: {differing}"
    assert made == TEXTS


def test_answer_is_the_verdict_on_its_claim(made: dict[str, str]) -> None:
    (verdict,) = {row[3] for row in table_rows(made["docs/claims.md"]) if row[0] == "C15"}
    assert f"so the verdict on them is {verdict.strip('*')}." in made["README.md"]


def test_every_block_is_shown() -> None:
    shown = {name for text in TEXTS.values() for name in re.findall(rf"{BEGIN}(\S+)", text)}
    assert shown == set(BLOCKS)


def test_readme_is_short() -> None:
    assert len(TEXTS["README.md"].splitlines()) <= 150


def test_number_changed_in_a_document_is_named_with_its_block(made: dict[str, str]) -> None:
    changed_blocks = 0
    for text in made.values():
        for match in re.finditer(BEGIN, text):
            body = text.index("-->", match.start())
            digit = re.search(r"\d", text[body : text.index("<!-- end -->", body)])
            if digit is None:
                continue
            changed_blocks += 1
            at = body + digit.start()
            changed = text[:at] + str((int(text[at]) + 1) % 10) + text[at + 1 :]
            name = text[match.start() : body].removeprefix(BEGIN).strip()
            assert readme.differing(changed, text) == [name]
    assert changed_blocks >= len(BLOCKS) - 1, "all but the kinds of image have a number"


def test_number_changed_in_the_tables_is_named(copy: Path) -> None:
    text = (copy / "README.md").read_text()
    paper = load_tables(str(ROOT / "results" / "paper"))
    rows = paper.results
    rows.loc[rows["cell"] == "linear", "test_nll"] += 1
    content = io.BytesIO()
    pq.write_table(pa.Table.from_pandas(rows, paper.files["results"].schema_arrow, preserve_index=False), content)
    changed = Tables({**paper.files, "results": pq.ParquetFile(content)}, paper.spec, paper.provenance)
    made = readme.filled(text, lambda runs: {runs: changed})
    assert readme.differing(text, made) == [LOSSES]
    assert "| linear | 147.6 [147.5, 147.6] |" in made


def test_check_of_a_changed_number_exits_with_1_and_writes_nothing(copy: Path) -> None:
    path = copy / "README.md"
    assert run(copy, "--check") == (0, "")
    changed = path.read_text().replace("| linear | 146.6 [", "| linear | 146.7 [")
    path.write_text(changed)
    code, output = run(copy, "--check")
    assert code == 1 and LOSSES in output
    assert path.read_text() == changed


def test_check_with_a_report_is_refused_and_writes_nothing(copy: Path) -> None:
    code, output = run(copy, "--check", "--report", copy / "report")
    assert code == 2 and "--check writes nothing" in output
    assert not (copy / "report").exists()


@pytest.mark.slow
def test_report_and_documents_are_written_and_their_figures_are_drawn(copy: Path) -> None:
    path = copy / "README.md"
    whole = path.read_text()
    path.write_text(whole.replace("| linear | 146.6 [", "| linear | 146.7 ["))
    (copy / "docs").mkdir()
    code, output = run(copy, "--report", copy / "report")
    assert code == 0 and LOSSES in output
    assert path.read_text() == whole
    assert f"<code>{copy / 'results' / 'latent'}</code>" in (copy / "report" / "report.html").read_text()
    names = {"answer.png", "dimension_card.png", "f6_loss_all.png", "reconstructions.png"}
    assert {figure.name for figure in (copy / "docs").iterdir()} == names
    assert names <= {found.name for found in (ROOT / "docs").iterdir()}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!-- make report: losses results/paper -->\n", "must have its `<!-- end -->`"),
        ("<!-- make report: losses results/paper -->\n<!-- make report: sweep x -->\n<!-- end -->", "must have its"),
        ("<!-- make report: loses results/paper -->\n<!-- end -->", "losses"),
        ("<!-- make report: losses results/none -->\n<!-- end -->", "results/none must name a folder"),
    ],
)
def test_block_that_cannot_be_made_is_one_line_and_exit_code_2(copy: Path, text: str, message: str) -> None:
    (copy / "README.md").write_text(text)
    code, output = run(copy)
    assert code == 2 and message in output and len(output.splitlines()) == 1
    assert (copy / "README.md").read_text() == text


def test_every_column_of_the_tables_is_explained() -> None:
    text = TEXTS["docs/tables.md"]
    columns = {name for schema in SCHEMAS.values() for name in schema.names}
    unexplained = {name for name in columns if f"`{name.removeprefix('config/')}`" not in text}
    assert not unexplained
