"""The report is whole, escaped, self-contained and the same each time; the command line answers bad input in a line."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml

from analysis.cells import summarise
from analysis.cli import main
from analysis.evidence import Evidence
from analysis.report.page import citations, render
from analysis.report.section import section
from analysis.report.sentences import trouble_sentences
from study.table import Tables
from study.tables.merge import merge
from tests.support.command import call
from tests.support.sweeps import sweep_tables
from tests.support.tables import make_tables, replaced
from trainables.schema import TrialConfig
from trainables.storage import Folder

CSV = ("data:text/csv;base64,", "data:application/gzip;base64,")
HOSTILE = "<script>alert('x')</script>"


@pytest.fixture(scope="module")
def tables() -> Tables:
    return replaced(
        make_tables(seeds=2, title=HOSTILE), "relu", 1, status="diverged", error=f"not finite {HOSTILE}", final=True
    )


@pytest.fixture(scope="module")
def html(tables: Tables) -> str:
    return render([("runs/paper", tables)])


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder with the tables of two of the paper's networks."""
    merge(make_tables(seeds=1, arms=("elu", "pca")), Folder(str(tmp_path / "run")))
    return tmp_path / "run"


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves the figures of runs out, which take most of a page's time: `html` has them all."""
    monkeypatch.setattr("analysis.report.section.draw", lambda *_: [])


class Checker(HTMLParser):
    """Collects tags, ids and links, and checks that elements are closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "br", "link", "img", "input"):
            self.open.append(tag)
        self._note(attrs)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._note(attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def _note(self, attrs: list[tuple[str, str | None]]) -> None:
        given = {key: value or "" for key, value in attrs}
        self.ids += [given["id"]] if "id" in given else []
        self.links += [value for key, value in given.items() if key in ("href", "xlink:href")]
        self.sources += [value for key, value in given.items() if key in ("src", "srcset")]


def test_render_hostile_texts_are_escaped(html: str) -> None:
    assert "alert('x')</script" not in html
    assert html.count("<script") == html.count("</script") == 5  # the viewer's data, and four of the page's own
    assert html.count("&lt;script&gt;") >= 3  # the page's title, the heading, the error


def test_render_page_is_well_formed_with_ids_of_its_own_and_links_that_lead_somewhere(html: str) -> None:
    page = Checker()
    page.feed(html)
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    inner = [link for link in page.links if link.startswith("#")]
    assert {link[1:] for link in inner} <= set(page.ids)
    assert len(inner) > 10


def test_render_page_needs_nothing_from_elsewhere(html: str) -> None:
    page = Checker()
    page.feed(html)
    assert page.sources == []
    assert all(link.startswith(("#", "data:image/png;base64,", *CSV)) for link in page.links)
    assert "@import" not in html


def test_citations_say_what_the_citation_file_says() -> None:
    software, paper = (dict(re.findall(r"(\w+) += \{+(.*?)\}+,?$", entry, re.M)) for entry in citations(paper=True))
    cited = yaml.safe_load((Path(__file__).parents[3] / "CITATION.cff").read_text())
    (author,), (article,) = cited["authors"], cited["references"]
    wanted = {"title": cited["title"], "version": cited["version"], "license": cited["license"]}
    assert software == wanted | {"author": author["name"], "year": str(cited.get("date-released", "2026"))[:4]}
    (writer,) = article["authors"]
    name = f"{writer['family-names']}, {writer['given-names']}"
    assert paper == {"author": name, "title": article["title"], "year": str(article["year"])}
    assert len(citations(paper=False)) == 1


def test_render_twice_is_the_same() -> None:
    tables = make_tables(arms=("pca",))
    assert render([("runs/paper", tables)]) == render([("runs/paper", tables)])


def test_render_states_settings_provenance_trouble_and_the_command(html: str) -> None:
    assert all(field in html for field in TrialConfig.model_fields)
    assert "analysis report runs/paper" in html
    assert "study launch paper" in html
    assert "versions: torch" in html
    assert re.search(r"relu</th><td class=\"n\" data-sort=\"1\">1</td><td>diverged", html)


def test_render_final_table_shows_interval_and_counts(html: str) -> None:
    row = re.search(r"</span>elu</th>.*?</tr>", html, flags=re.DOTALL)
    assert row is not None
    assert "101.00" in row[0]  # seeds 100 and 102
    assert "[88.29, 113.71]" in row[0]  # 101 -+ 12.7062 * 1
    assert "2 of 2" in row[0]


def test_render_of_two_runs_has_a_section_for_each_and_no_id_twice() -> None:
    page = Checker()
    small = make_tables(arms=("pca",))
    page.feed(render([("runs/a", small), ("runs/b", small)]))
    assert {"r1-run", "r2-run"} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))


def test_what_went_wrong_is_named(tables: Tables) -> None:
    assert trouble_sentences(summarise(tables)) == ["Replicates that diverged: relu (1)."]
    assert trouble_sentences(summarise(make_tables(seeds=1))) == []


def test_final_table_leaves_out_usual_values(no_figures: None) -> None:
    grid = {"init": ["he", "xavier", "default"], "grad_clip": [5.0, 0.0], "l2": [1e-5, 0.0]}
    tables = make_tables(seeds=1, arms=("elu", "pca"), grid=grid)
    names = {row.name: row.cell for row in section("runs/a", tables, [], "", None, shown=False).final}
    assert names["elu"] == "elu init=he grad_clip=5.0 l2=1e-05" and len(names) == 13
    assert names["elu, init xavier, L2 0.0"] == "elu init=xavier grad_clip=5.0 l2=0.0"
    page = render([("runs/a", tables)])
    assert 'title="elu init=xavier grad_clip=5.0 l2=0.0">elu, init xavier, L2 0.0</span>' in page
    assert "A name leaves out what is at its usual value" in page


def test_paper_numbers_and_readings_are_of_a_study_with_the_papers_networks_alone(html: str) -> None:
    other = render([("runs/other", make_tables(seeds=1, arms=("elu", "vae")))])
    assert "(Fig. 6)" in html and "The paper reads" in html
    assert not re.search(r"\(Fig\. \d\)|The paper (reads|shows|draws)", other)
    assert "Loss against training step, all networks" in other


def test_cli_figures_writes_three_files_each_and_says_what_it_skipped(run: Path) -> None:
    result = call(main, ["figures", str(run), "--only", "f1_autoencoder", "--only", "f2_linear"])
    assert result.exit_code == 0
    assert sorted(path.name for path in (run / "figures").iterdir()) == [
        f"f1_autoencoder.{suffix}" for suffix in ("csv", "png", "svg")
    ]
    assert "skipped f2_linear: no reconstruction of a linear auto-encoder" in result.stdout


def test_cli_figures_of_two_runs_go_to_a_folder_each(run: Path, tmp_path: Path) -> None:
    arguments = ["figures", str(run), f"{run}/", "--only", "f1_autoencoder", "-o", str(tmp_path / "out")]
    assert call(main, arguments).exit_code == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["run-1", "run-2"]


def test_cli_report_writes_into_the_run_folder(run: Path) -> None:
    result = call(main, ["report", str(run)])
    assert result.exit_code == 0
    assert result.stdout.strip() == str(run / "report.html")
    assert (run / "report.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_cli_bad_input_gets_one_line_and_exit_code_2(run: Path, tmp_path: Path, no_figures: None) -> None:
    missing = tmp_path / "missing"
    merge(make_tables(seeds=1, arms=("elu",)), Folder(str(missing)))
    results = pq.read_table(missing / "results.parquet")
    pq.write_table(results.drop_columns(["test_nll"]), missing / "results.parquet")
    unevaluated = tmp_path / "unevaluated"
    merge(replaced(make_tables(seeds=1, arms=("elu",)), "elu", 0, test_nll=None), Folder(str(unevaluated)))
    cases = {
        ("report", str(missing)): "test_nll",
        ("report", str(tmp_path / "absent")): "absent",
        ("figures", str(unevaluated)): "no evaluated network",
        ("figures", str(run), "--only", "f1_autoencode"): "Did you mean 'f1_autoencoder'?",
        ("figures", str(run), "--only", "f2_linear"): "none of the figures",
        ("dimension", str(run), "--dataset", "mnst"): "but got 'mnst'. Did you mean 'mnist'?",
        ("report", str(run), "-o", str(run / "spec.yaml")): "cannot be written",
    }
    for arguments, message in cases.items():
        result = call(main, list(arguments))
        assert result.exit_code == 2, arguments
        assert message in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1


def test_importing_analysis_loads_neither_torch_nor_ray() -> None:
    code = (
        "import importlib, json, pkgutil, sys, analysis\n"
        "names = [module.name for module in pkgutil.iter_modules(analysis.__path__)]\n"
        "[importlib.import_module(f'analysis.{name}') for name in names]\n"
        "print(json.dumps([names, sorted({'torch', 'ray'} & set(sys.modules))]))"
    )
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    names, loaded = json.loads(done.stdout)
    assert {"cli", "figures", "report"} <= set(names)
    assert loaded == []


def test_cli_claims_prints_every_verdict_and_writes_the_page(run: Path, tmp_path: Path) -> None:
    result = call(main, ["claims", str(run), "-o", str(tmp_path / "out")])
    assert result.exit_code == 0, result.stdout
    assert all(f" C{number} " in result.stdout for number in range(1, 22))
    page = (tmp_path / "out" / "claims.md").read_text(encoding="utf-8")
    assert f"`analysis claims {run}`" in page and "## C21: not measured" in page and "needs `study launch beta`" in page
    frame = pd.read_csv(tmp_path / "out" / "claims.csv")
    assert frame["claim"].nunique() == 21


def test_cli_dimension_prints_the_headline_and_writes_the_card(run: Path, tmp_path: Path) -> None:
    result = call(main, ["dimension", str(run), "-o", str(tmp_path / "out")])
    assert result.exit_code == 0, result.stdout
    assert "MNIST. " in result.stdout and "To reconstruct: " in result.stdout
    written = {path.name for path in (tmp_path / "out").iterdir()}
    card = {f"dimension_card.{suffix}" for suffix in ("svg", "png", "csv")}
    assert written == card | {"dimension.md", "dimension.csv", "dimension_controls.csv"}
    assert "](dimension_card.png)" in (tmp_path / "out" / "dimension.md").read_text(encoding="utf-8")


def test_cli_infers_the_data_set_or_asks_for_it(tmp_path: Path) -> None:
    for name in ("strokes", "kmnist", "fashion_mnist"):
        tables = sweep_tables(dims=(2, 5, 10), dataset=name, seeds=2, provenance={"data_digests": {name: "d1"}})
        merge(tables, Folder(str(tmp_path / name)))
    alone = call(main, ["dimension", str(tmp_path / "kmnist"), str(tmp_path / "strokes")])
    assert alone.exit_code == 0 and "KMNIST. " in alone.stdout and "10 < N < 100" not in alone.stdout
    several = call(main, ["dimension", str(tmp_path / "kmnist"), str(tmp_path / "fashion_mnist")])
    assert several.exit_code == 2 and "choose one with `--dataset`: fashion_mnist, kmnist" in several.stderr
    asked = call(main, ["dimension", str(tmp_path / "kmnist"), str(tmp_path / "strokes"), "--dataset", "strokes"])
    assert asked.exit_code == 0 and "strokes. " in asked.stdout


def test_report_of_other_data_answers_for_them_and_leaves_the_paper_out(no_figures: None) -> None:
    tables = sweep_tables(dims=(2, 5, 10, 20, 64), dataset="kmnist", seeds=2)
    html = render([("runs/mine", tables)], evidence=Evidence([tables], "kmnist"))
    assert "N for these images (KMNIST)" in html and "To classify: " in html
    assert "10 &lt; N &lt; 100" not in html and 'id="claims"' not in html and 'id="published"' not in html
    assert "--dataset kmnist" in html


def test_cli_run_that_trains_nothing_has_a_part_in_the_report_and_is_read_by_dimension(
    run: Path, tmp_path: Path, no_figures: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 1)  # other processes, which make the same, would import all anew
    frames = make_tables(seeds=1, arms=("pca",))
    estimator = {"config/task": "intrinsic_dimension", "config/sample_size": 500, "test_nll": None}
    untrained = replaced(frames, "pca", 0, **estimator)
    merge(untrained, Folder(str(tmp_path / "images")))
    arguments = ["report", str(run), str(tmp_path / "images"), "-o", str(tmp_path)]
    result = call(main, arguments)
    assert result.exit_code == 0, result.stdout
    html = (tmp_path / "report.html").read_text()
    assert f"<code>{tmp_path / 'images'}</code>" in html and 'id="r1-final"' in html and 'id="r2-final"' not in html
    assert 'id="r2-cost"' in html and 'id="r2-provenance"' in html
    assert call(main, ["report", str(tmp_path / "images")]).exit_code == 0


def test_networks_that_have_not_begun_are_counted_and_in_no_table(no_figures: None) -> None:
    tables = make_tables(seeds=1, arms=("elu", "relu"))
    waiting = {"status": "pending", "step": None, "test_nll": None, "final": False}
    part = section("runs/a", replaced(tables, "relu", 0, **waiting), [], "", None, shown=False)
    assert [row.name for row in part.final] == ["elu"] and part.unfinished == []
    assert part.not_begun.startswith("1 replicate of 1 network has not begun (seed 0)")
    assert "Networks of which none has begun, 1, are in no table here." in part.not_begun
    assert section("runs/a", tables, [], "", None, shown=False).not_begun == ""


def test_settings_name_an_arm_once_where_its_networks_are_alike(no_figures: None) -> None:
    tables = make_tables(seeds=1, arms=("elu", "pca"), grid={"latent_dim": [2, 5, 10]})
    common = {row.name: row.cells for row in section("runs/a", tables, [], "", None, shown=False).settings.common}
    assert common["hidden_dims"] == "elu" and common["dataset"] == "all"
