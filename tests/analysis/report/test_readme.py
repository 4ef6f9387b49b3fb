"""README.md says what the tables under results/ say, and a number that is changed in either is named."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from scipy import stats
from typer.testing import CliRunner

from analysis.claims.ledger import load
from analysis.evidence import Evidence
from analysis.report import readme
from study.table import Tables, load_tables
from tests.support.sweeps import sweep_tables
from tests.support.tables import SEED_STEP, make_tables, replaced

ROOT = Path(__file__).resolve().parents[3]
TEXT = (ROOT / "README.md").read_text()
LOSSES = "losses results/paper"


@pytest.fixture(scope="module")
def made() -> str:
    """The README as the tables would have it."""
    return readme.filled(TEXT, readme.reader(ROOT))


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A folder with a README that holds the block of the losses alone, as it stands in ours, and with the tables."""
    block = re.search(rf"<!-- make report: {LOSSES} -->.*?<!-- end -->", TEXT, re.DOTALL)
    assert block
    (tmp_path / "results").symlink_to(ROOT / "results")
    (tmp_path / "README.md").write_text(f"# Before\n\n{block[0]}\n\nAfter, 1.0.\n")
    return tmp_path


def table(text: str) -> list[list[str]]:
    """The cells of the rows of a block's table."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))] for line in lines[2:]]


def run(*arguments: str | Path) -> tuple[int, str]:
    app = typer.Typer()
    app.command()(readme.main)
    ran = CliRunner().invoke(app, list(map(str, arguments)))
    return ran.exit_code, ran.output


def test_readme_is_what_the_tables_give(made: str) -> None:
    assert readme.differing(TEXT, made) == [], "run `make report`, and commit README.md"
    assert made == TEXT


def test_readme_headline_is_the_verdict_on_its_claim(made: str) -> None:
    (verdict,) = [row[2] for row in table(made) if row[0] == "C15"]
    assert f"**10 < N < 100: {verdict.strip('*')}.**" in made


def test_readme_shows_every_block_once() -> None:
    assert sorted(re.findall(r"<!-- make report: (\S+)", TEXT)) == sorted(readme.BLOCKS)


def test_number_changed_in_the_readme_is_named_with_its_block(made: str) -> None:
    begins = [match.start() for match in re.finditer("<!-- make report: ", made)]
    for begin in begins:
        body = made.index("-->", begin)
        digit = re.search(r"\d", made[body : made.index("<!-- end -->", begin)])
        assert digit
        at = body + digit.start()
        changed = made[:at] + str((int(made[at]) + 1) % 10) + made[at + 1 :]
        name = made[begin:body].removeprefix("<!-- make report: ").strip()
        assert readme.differing(changed, made) == [name]


def test_number_changed_in_the_tables_is_named(copy: Path) -> None:
    text = (copy / "README.md").read_text()
    paper = load_tables(str(ROOT / "results" / "paper"))
    rows = paper.results
    rows.loc[rows["cell"] == "linear", "test_nll"] += 1
    content = io.BytesIO()
    pq.write_table(pa.Table.from_pandas(rows, paper.files["results"].schema_arrow, preserve_index=False), content)
    changed = Tables({**paper.files, "results": pq.ParquetFile(content)}, paper.spec, paper.provenance)
    made = readme.filled(text, lambda runs: ([runs], Evidence([changed])))
    assert readme.differing(text, made) == [LOSSES]
    assert "| linear | 147.6 [147.5, 147.6] |" in made


def test_check_of_a_changed_number_exits_with_1_and_writes_nothing(copy: Path) -> None:
    path = copy / "README.md"
    assert run(path, "--check") == (0, "")
    changed = path.read_text().replace("| linear | 146.6 [", "| linear | 146.7 [")
    path.write_text(changed)
    code, output = run(path, "--check")
    assert code == 1 and LOSSES in output
    assert path.read_text() == changed


def test_check_with_a_report_is_refused_and_writes_nothing(copy: Path) -> None:
    code, output = run(copy / "README.md", "--check", "--report", copy / "report")
    assert code == 2 and "--check writes nothing" in output
    assert not (copy / "report").exists()


@pytest.mark.slow
def test_report_and_readme_are_written_and_its_figures_are_drawn(copy: Path) -> None:
    path = copy / "README.md"
    whole = path.read_text()
    path.write_text(whole.replace("| linear | 146.6 [", "| linear | 146.7 ["))
    (copy / "docs").mkdir()
    code, output = run(path, "--report", copy / "report")
    assert code == 0 and LOSSES in output
    assert path.read_text() == whole
    assert f"<code>{copy / 'results' / 'latent'}</code>" in (copy / "report" / "report.html").read_text()
    names = {"dimension_card.png", "f6_loss_all.png", "reconstructions.png"}
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
    code, output = run(copy / "README.md")
    assert code == 2 and message in output and len(output.splitlines()) == 1
    assert (copy / "README.md").read_text() == text


def test_headline_is_that_of_known_curves() -> None:
    three = readme.headline(Evidence([sweep_tables()]))
    assert "10 < N < 100: confirmed" in three
    assert "keeps **25 [22.5, 27.5]** of them active (variance of the mean > 0.01): *confirmed*" in three
    assert "10 < N < 100: inconclusive" in readme.headline(Evidence([sweep_tables(seeds=1)]))
    assert "10 < N < 100: not measured" in readme.headline(Evidence([make_tables()]))


def test_claims_without_tables_are_all_listed_and_not_measured() -> None:
    rows = table(readme.claims(Evidence([])))
    assert [row[0] for row in rows] == [claim.id for claim in load().claims]
    assert {row[2] for row in rows} == {"**not measured**"}
    assert all(row[3].startswith("needs study") for row in rows)


def test_losses_have_means_intervals_and_what_collapsed() -> None:
    evidence = Evidence([replaced(make_tables(), "relu", 0, collapsed=True)])
    rows = {row[0]: row for row in table(readme.losses(evidence))}
    half = stats.t.ppf(0.975, 2) * SEED_STEP / 3**0.5
    assert rows["elu"][1] == f"102.0 [{102 - half:.1f}, {102 + half:.1f}]"
    assert rows["linear"][3] == f"{150 / 102:.2f}"
    assert "relu, **collapsed**" in rows and rows["pca"][4] == "closed form"
    assert next(iter(rows)) == "elu" and rows["elu"][4] == "3"


def test_sweep_numbers_are_those_of_the_table() -> None:
    text = readme.sweep(Evidence([load_tables(str(ROOT / "results" / "latent"))]))
    rows = pd.read_parquet(ROOT / "results" / "latent" / "results.parquet")
    last = rows[(rows["status"] == "finished") & rows["final"]]
    shown = {row[0]: row for row in table(text)}
    assert set(shown) == set(last["config/latent_dim"].astype(str))
    for column, model, metric in [
        (1, "autoencoder", "test_nll"),
        (2, "vae", "test_nll"),
        (4, "vae", "test_active_units"),
    ]:
        own = last[(last["config/model"] == model) & (last["config/activation"] == "elu")]
        for latent_dim, mean in own.groupby("config/latent_dim")[metric].mean().items():
            assert shown[str(latent_dim)][column].split()[0] == f"{mean:.1f}"


def test_searches_tell_cost_and_fresh_seeds() -> None:
    read = readme.reader(ROOT)
    rows = table(readme.searches(read("results/vae results/vae-best")[1]))
    vae = next(row for row in rows if row[0].startswith("`vae`"))
    fresh = read("results/vae-best")[1].tables[0].ends
    means = fresh[fresh["seed"] > 0].groupby("cell")["test_neg_elbo"].mean()
    assert vae[1] == "60"
    assert float(vae[4].split()[0]) in means.round(1).tolist()
