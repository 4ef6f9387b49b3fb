"""The report in a real browser: nothing on the console or the network, tables and viewer work, everybody can read it.

Chromium is the system's (Debian's package `chromium`); where there is none these are skipped, unless STUDY_BROWSER says
that there is to be one.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from analysis.report.page import citations, render
from analysis.search import importance
from study.run.provenance import program
from study.table import load_tables

ROOT = Path(__file__).resolve().parents[3]
RUNS = ("results/latent", "results/paper", "results/vae", "results/intrinsic")
HOSTILE = "<img src=x onerror=\"document.title='run'\"><script>document.title='run'</script>"
CHROMIUM = os.environ.get("STUDY_BROWSER") or shutil.which("chromium") or shutil.which("google-chrome")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of real runs, one of them with a hostile title and error."""
    runs = [(run, load_tables(str(ROOT / run))) for run in RUNS]
    latent = runs[0][1]
    latent.__dict__["spec"] = latent.spec.model_copy(update={"title": f"Latent {HOSTILE}"})
    latent.ends.loc[latent.ends.index[-1], ["status", "error"]] = ["failed", f"ValueError: {HOSTILE}"]
    path = tmp_path_factory.mktemp("report") / "report.html"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importance, "RESAMPLES", 3)  # its numbers are not what is looked at here
        patch.setattr(importance, "TREES", 4)
        path.write_text(render(runs), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


class Watched:
    """A page, what it asked the network for, and what it said on the console."""

    def __init__(self, browser: Browser, report: Path, **options: Any):
        self.context = browser.new_context(offline=True, **options)
        self.page: Page = self.context.new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(report.as_uri())

    def unfold(self) -> Page:
        """Opens all that is folded, and waits until it is there."""
        for _ in range(2):  # a run's part holds folded parts of its own
            self.page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true })")
            self.page.wait_for_function("!document.querySelector('details > template')")
        return self.page


@pytest.fixture
def watched(browser: Browser, report: Path) -> Iterator[Watched]:
    opened = Watched(browser, report, viewport={"width": 1280, "height": 900})
    yield opened
    opened.context.close()


def column(page: Page, table: str, number: int) -> list[str]:
    cells = page.locator(f"#{table} tbody tr:not([hidden]) > :nth-child({number})")
    return [text.strip() for text in cells.all_inner_texts()]


def test_page_loads_without_a_word_on_the_console_and_without_the_network(watched: Watched, report: Path) -> None:
    watched.unfold()
    viewer = watched.page.locator(".viewer").first
    viewer.locator(".panel").first.locator("select").first.select_option("vae")
    assert watched.said == []
    assert [url for url in watched.asked if not url.startswith("data:")] == [report.as_uri()]


def test_title_and_error_with_html_are_shown_and_not_run(watched: Watched) -> None:
    page = watched.unfold()
    assert page.title() != "run" and HOSTILE in page.title()
    assert page.locator("#r1-run > summary h3").inner_text() == f"Latent {HOSTILE}"
    assert f"ValueError: {HOSTILE}" in page.locator("#r1-trouble-table").inner_text()


def test_first_screen_answers_the_question_and_links_each_claim_to_its_tests(watched: Watched) -> None:
    page = watched.page
    answer = page.locator(".answer")
    box = answer.locator(".picture svg").bounding_box()
    assert box is not None and box["y"] + box["height"] < 900
    assert "10 < N < 100" in answer.inner_text() and "Active units" in answer.inner_text()
    assert column(page, "claims-table", 1) == [f"C{number}" for number in range(1, 22)]
    links = answer.locator(".by-verdict a")
    assert sorted(links.all_inner_texts()) == sorted(f"C{number}" for number in range(1, 22))
    assert links.last.get_attribute("title") and str(links.last.get_attribute("href")).startswith("#claim-c")
    link = answer.get_by_role("link", name="C14", exact=True)
    tests = page.locator("#claim-c14 table")
    assert not tests.is_visible()
    link.click()
    assert tests.is_visible() and "TwoNN" in tests.inner_text()
    page.locator("#claim-c14 summary").click()
    assert not tests.is_visible()
    link.click()
    page.wait_for_timeout(100)
    assert tests.is_visible(), "a link works a second time"


def test_tables_sort_by_number_and_by_keyboard(watched: Watched) -> None:
    page = watched.unfold()
    head = page.locator("#r1-final-table thead th")
    place = [text.strip() for text in head.all_inner_texts()].index("test NLL") + 1
    head.nth(place - 1).click()
    page.wait_for_timeout(100)
    texts = column(page, "r1-final-table", place)
    rising = [float(text.replace(",", "")) for text in texts if text != "–"]
    assert rising == sorted(rising) and len(set(rising)) > 20
    assert texts[len(rising) :] == ["–"] * (len(texts) - len(rising)), "what has no number stands last"
    head.nth(place - 1).focus()
    page.keyboard.press("Enter")
    page.wait_for_timeout(100)
    falling = [float(text.replace(",", "")) for text in column(page, "r1-final-table", place) if text != "–"]
    assert falling == rising[::-1]
    assert head.nth(place - 1).get_attribute("aria-sort") == "descending"


def test_networks_sort_by_the_numbers_in_their_names(watched: Watched) -> None:
    page = watched.unfold()
    page.locator("#r1-final-table thead th").first.click()
    page.wait_for_timeout(100)
    names = [name for name in column(page, "r1-final-table", 1) if name.startswith("elu")]
    dims = [int(name.rpartition("=")[2]) for name in names]
    assert dims == sorted(dims) and len(dims) > 5


def test_claims_sort_as_numbers(watched: Watched) -> None:
    page = watched.page
    head = page.locator("#claims-table thead th").first
    for wanted in (range(1, 22), range(21, 0, -1)):
        head.click()
        page.wait_for_timeout(100)
        assert column(page, "claims-table", 1) == [f"C{number}" for number in wanted]


def test_tests_of_a_claim_sort_by_the_number_of_their_effect(watched: Watched) -> None:
    page = watched.unfold()
    page.locator("#claim-c16 thead th").nth(2).click()
    page.wait_for_timeout(100)
    texts = page.locator("#claim-c16 tbody tr > :nth-child(3)").all_inner_texts()
    effects = [float(text.split()[0].replace(",", "")) for text in texts if text]
    assert effects == sorted(effects) and len(effects) > 10 and effects != sorted(effects, key=str)


def test_filter_keeps_the_rows_with_every_word_and_counts_them(watched: Watched) -> None:
    page = watched.page
    field = page.get_by_label("Filter rows").first
    field.fill("latent DIMENSION")
    assert column(page, "claims-table", 1) == ["C15"]
    assert page.locator("output[for=claims-table-filter]").inner_text() == "1 of 21 rows"
    field.fill("no such words")
    assert column(page, "claims-table", 1) == []
    field.fill("")
    assert len(column(page, "claims-table", 1)) == 21


def test_viewer_steps_through_latent_dimension_and_training_by_keyboard(watched: Watched) -> None:
    page = watched.unfold()
    viewer = page.locator("#r1-run .panel").first
    dim, step = viewer.locator("input").first, viewer.locator("input").last
    assert viewer.locator("select").first.locator("option").all_inner_texts() == [
        "linear",
        "elu",
        "vae",
        "pca",
        "pixels",
    ]
    viewer.locator("select").first.select_option("vae")
    assert viewer.locator("output.dim").inner_text() == "N = 200"
    pictures = {viewer.locator("img.drawing").get_attribute("src")}
    dim.focus()
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
        pictures.add(viewer.locator("img.drawing").get_attribute("src"))
    assert viewer.locator("output.dim").inner_text() == "N = 64" and len(pictures) == 4
    assert dim.get_attribute("aria-valuetext") == "N = 64"
    last = viewer.locator("output.step").inner_text()
    step.focus()
    page.keyboard.press("ArrowLeft")
    assert last == "50,000 steps" and viewer.locator("output.step").inner_text() == "30,000 steps"
    caption = viewer.locator("figcaption").inner_text()
    assert re.match(r"vae, N = 64, seed \d, 30,000 steps; test NLL 6\d\.\d nats per image\.", caption)
    alt = viewer.locator("img.drawing").get_attribute("alt")
    assert alt == "reconstruction: vae, N = 64, 30,000 steps"
    source = viewer.locator(".source")
    assert source.inner_text().endswith("--only reconstructions")
    viewer.locator("select").last.select_option("sample")
    assert "drawn from the prior" in viewer.locator("figcaption").inner_text()
    assert "kind == 'sample'" in source.inner_text() and source.inner_text().endswith("--only vae_samples")
    viewer.locator("select").first.select_option("elu")
    assert viewer.locator("select").last.input_value() == "reconstruction", "an auto-encoder has no prior"
    assert "No sample of it was recorded" in viewer.locator("figcaption").inner_text()
    viewer.locator("select").first.select_option("vae")
    assert viewer.locator("select").last.input_value() == "sample", "the wish is remembered"
    viewer.locator("select").first.select_option("elu")
    dim.focus()
    page.keyboard.press("ArrowRight")
    viewer.locator("select").last.select_option("traversal")
    assert "kind == 'traversal'" in source.inner_text() and "--only" not in source.inner_text(), "no figure draws it"
    assert viewer.locator("output.step").inner_text() == "50,000 steps", "it is taken at the end alone"
    viewer.locator("select").last.select_option("reconstruction")
    assert (
        viewer.locator("output.step").inner_text() == "30,000 steps"
        and dim.get_attribute("aria-valuetext") == "N = 100"
    )
    assert viewer.locator("img.drawing").evaluate("image => image.complete && image.naturalWidth") == 307
    viewer.locator("select").first.select_option("pca")
    assert viewer.locator("output.step").inner_text() == "closed form, not trained"


@pytest.mark.parametrize("width", [400, 1600])
def test_nothing_overflows(browser: Browser, report: Path, width: int) -> None:
    opened = Watched(browser, report, viewport={"width": width, "height": 900})
    page = opened.unfold()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    outside = page.evaluate(
        """() => [...document.querySelectorAll("main *")].filter((one) => {
            const box = one.getBoundingClientRect();
            return box.width && box.right > innerWidth + 1 && !one.closest(".scroll, .paper, pre");
        }).map((one) => one.outerHTML.slice(0, 120))"""
    )
    assert outside == []
    answer = page.locator(".answer > p").first.bounding_box()
    assert answer is not None and answer["x"] + answer["width"] <= width, "the answer is seen without scrolling"
    opened.context.close()


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("scheme", "rules"),
    [("light", {}), ("dark", {"runOnly": ["color-contrast"]})],  # only colours differ
    ids=["light", "dark"],
)
def test_everybody_can_read_it(browser: Browser, report: Path, scheme: Any, rules: dict[str, list[str]]) -> None:
    opened = Watched(browser, report, viewport={"width": 1280, "height": 900}, color_scheme=scheme)
    page = opened.unfold()
    rest = {"exclude": ["tbody tr:nth-child(n + 6)"]}  # a table's rows are alike
    found = Axe().run(page, context=rest, options=rules | {"resultTypes": ["violations"]})
    serious = [rule for rule in found.response["violations"] if rule["impact"] in ("serious", "critical")]
    told = [f"{rule['id']}: {rule['help']}: {[node['html'][:150] for node in rule['nodes'][:3]]}" for rule in serious]
    assert told == []
    opened.context.close()


def test_page_opens_with_few_nodes_and_weighs_little(watched: Watched, report: Path) -> None:
    assert watched.page.evaluate("document.querySelectorAll('*').length") < 15_000
    assert report.stat().st_size < 8e6


def test_print_is_a_summary_without_what_is_folded(watched: Watched) -> None:
    page = watched.page
    pdf = page.pdf(format="A4")
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 12
    assert page.locator("#r1-provenance").count() == 0


def test_claims_filter_by_verdict_and_by_words_together(watched: Watched) -> None:
    page = watched.page
    chips = page.locator(".chips button")
    verdicts = column(page, "claims-table", 3)
    chip = chips.filter(has_text=re.compile(r"^✓?\s*confirmed \d+$"))
    chip.click()
    shown = column(page, "claims-table", 3)
    assert shown and set(shown) == {"confirmed"} and len(shown) == verdicts.count("confirmed")
    assert chip.get_attribute("aria-pressed") == "true" and chip.inner_text() == f"confirmed {len(shown)}"
    page.get_by_label("Filter rows").first.fill("linear")
    assert 0 < len(column(page, "claims-table", 3)) < len(shown)
    page.get_by_label("Filter rows").first.fill("")
    chip.click()
    assert column(page, "claims-table", 3) == verdicts


def test_search_finds_what_is_folded_and_opens_it(watched: Watched) -> None:
    page = watched.page
    assert page.locator("#r1-provenance").count() == 0
    page.fill("#search", "final numbers latent")
    hit = page.locator("#hits a").first
    hit.click()
    assert page.locator("#r1-final-table").is_visible() and not page.locator("#hits").is_visible()
    page.fill("#search", "no such words anywhere")
    assert "Nothing" in page.locator("#hits").inner_text()
    page.keyboard.press("Escape")
    assert not page.locator("#hits").is_visible()


def test_two_networks_are_shown_side_by_side_and_the_address_brings_them_back(watched: Watched, report: Path) -> None:
    page = watched.page
    page.goto(f"{report.as_uri()}#r1-viewer")
    left, right = page.locator("#r1-run .panel").all()
    assert left.is_visible() and not right.is_visible()
    page.locator("#r1-run .compare").click()
    right.locator("select").first.select_option("vae")
    right.locator("input").first.fill("0")
    left.locator("select").first.select_option("elu")
    captions = [panel.locator("figcaption").inner_text() for panel in (left, right)]
    assert captions[0].startswith("elu") and captions[1].startswith("vae, N = 1,")
    assert left.locator(".strip span").all_inner_texts() == ["image", "network"]
    address = page.url
    page.goto("about:blank")
    page.goto(address)
    left, right = page.locator("#r1-run .panel").all()
    assert [panel.locator("figcaption").inner_text() for panel in (left, right)] == captions


def test_contents_stay_in_view_and_commands_have_a_button(watched: Watched) -> None:
    page = watched.page
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    assert page.locator(".bar").bounding_box()["y"] == 0  # type: ignore[index]
    page.evaluate(
        "Object.defineProperty(navigator, 'clipboard', {value: {writeText: (text) => (window.copied = text)}})"
    )
    button = page.locator("pre + button.copy").last
    button.click()
    assert page.evaluate("window.copied") == page.locator("pre").last.inner_text()


def test_figures_take_the_pages_colours_in_the_dark(browser: Browser, report: Path) -> None:
    colours = {}
    for scheme in ("light", "dark"):
        opened = Watched(browser, report, color_scheme=scheme)
        text = opened.page.locator("figure svg text").first
        colours[scheme] = sum(map(int, re.findall(r"\d+", text.evaluate("one => getComputedStyle(one).fill"))))
        opened.context.close()
    assert colours["light"] < 3 * 130 and colours["dark"] > 3 * 150, "dark ink by day, light ink by night"


def ink(page: Page) -> int:
    """The brightness of a figure's text as the page shows it, from 0 to 765."""
    colour = page.locator("figure svg text").first.evaluate("one => getComputedStyle(one).fill")
    return sum(map(int, re.findall(r"\d+", colour)))


def test_colours_are_chosen_followed_by_figures_ignored_by_print_and_remembered(watched: Watched) -> None:
    page = watched.page
    by_day = ink(page)
    page.get_by_label("colours").select_option("dark")
    by_night = ink(page)
    assert by_day < 3 * 130 and by_night > 3 * 150
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(22, 24, 27)"
    page.emulate_media(media="print")
    assert ink(page) == 0 and page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    page.emulate_media(media="screen", color_scheme="dark")
    page.reload()
    assert page.get_by_label("colours").input_value() == "dark" and ink(page) == by_night
    page.get_by_label("colours").select_option("light")
    assert ink(page) == by_day, "the reader's choice goes before the system's"
    page.get_by_label("colours").select_option("auto")
    assert ink(page) == by_night
    assert watched.said == []


def test_colours_are_chosen_where_a_page_may_store_nothing(watched: Watched, report: Path) -> None:
    page = watched.page
    page.add_init_script("Object.defineProperty(window, 'localStorage', {get() { throw new Error('refused') }})")
    page.goto(report.as_uri())
    page.get_by_label("colours").select_option("dark")
    assert ink(page) > 3 * 150 and watched.said == []


@pytest.mark.parametrize("figure", ["claims_forest", "paper-f5_vae_reconstructions"])
def test_figure_is_saved_as_svg_and_as_png_in_the_colours_of_paper(watched: Watched, figure: str) -> None:
    page = watched.page
    page.get_by_label("colours").select_option("dark")
    box = page.locator(f"#{figure}")
    texts = box.locator("svg text").all_text_contents()
    files = {}
    for kind in ("SVG", "PNG"):
        with page.expect_download() as download:
            box.get_by_role("button", name=f"Save as {kind}").click()
        assert download.value.suggested_filename == f"{figure.removeprefix('paper-')}.{kind.lower()}"
        files[kind] = download.value.path()
    svg = files["SVG"].read_text()
    tree = ElementTree.fromstring(svg)
    assert texts and all(text in "".join(tree.itertext()) for text in texts) and "var(" not in svg
    classes, rules = (set(re.findall(pattern, svg)) for pattern in (r'class="(s\d+)"', r"\.(s\d+) \{"))
    assert classes <= rules, "a style of the page that the file would lack"
    width, height = (float(tree.attrib[side]) for side in ("width", "height"))
    with Image.open(files["PNG"]) as opened:
        image = opened.convert("RGB")
    assert image.size == (round(3 * width), round(3 * height))
    assert image.getpixel((2, 2)) == (255, 255, 255)
    dark = sum(image.convert("L").histogram()[:100]) / (image.width * image.height)
    assert 0.002 < dark < 0.9, "it has ink, on white"
    assert watched.said == []


def test_head_names_version_commit_and_day_and_its_citations_can_be_copied(watched: Watched) -> None:
    page = watched.page
    assert page.locator("#cite summary").inner_text() == f"{program()} · how to cite"
    assert not page.locator("#cite pre").first.is_visible()
    page.locator("#cite summary").click()
    page.evaluate(
        "Object.defineProperty(navigator, 'clipboard', {value: {writeText: (text) => (window.copied = text)}})"
    )
    for place, entry in enumerate(citations(paper=True)):
        page.locator("#cite pre + button.copy").nth(place).click()
        assert page.evaluate("window.copied") == entry


def test_pointer_shows_the_values_of_the_nearest_point_and_series_can_be_hidden(watched: Watched) -> None:
    page = watched.page
    page.goto(f"{page.url.partition('#')[0]}#r1-sweep")
    figure = page.locator("#r1-sweep")
    line = figure.locator("svg [data-series]:has(> path)").first
    marker = line.locator("use").nth(3).bounding_box()
    assert marker is not None
    page.mouse.move(marker["x"] + 3, marker["y"] + 3)
    tip = figure.locator(".tip")
    series, across, up = tip.inner_text().splitlines()
    assert series in ("vae", "linear", "elu", "pca") and across.startswith("latent dimension N: ")
    assert re.fullmatch(r"test NLL, nats/image: [\d.]+", up)
    frame = load_tables(str(ROOT / "results/latent")).ends
    cell = frame[frame["cell"] == f"{series} latent_dim={across.split()[-1]}"]
    assert float(up.split()[-1]) == pytest.approx(cell["test_nll"].mean(), rel=0.01)
    figure.locator(".series summary").click()
    chip = figure.get_by_role("button", name=series, exact=True)
    chip.click()
    assert not line.is_visible() and chip.get_attribute("aria-pressed") == "false"
    chip.click()
    assert line.is_visible()


def test_forest_plot_leads_from_each_claim_to_its_tests(watched: Watched) -> None:
    page = watched.page
    forest = page.locator("#claims_forest")
    names = [text.strip() for text in forest.locator("svg a").all_text_contents()]
    assert names == [f"C{number}" for number in range(1, 22)]
    size = forest.locator("svg text", has_text="C14").evaluate("one => one.getBoundingClientRect().height")
    assert size > 9, "it is legible at the width of the page"
    assert "in margins" in forest.locator("figcaption").inner_text()
    forest.locator("svg a", has_text="C14").click()
    page.wait_for_timeout(100)
    assert page.locator("#claim-c14 table").is_visible() and page.url.endswith("#claim-c14")


def test_section_answers_its_question_first_and_folds_the_rest(watched: Watched) -> None:
    page = watched.page
    page.locator("#r1-run > summary").click()
    section = page.locator("#r1-run")
    assert "between 10 and 100" in section.locator(".question").inner_text()
    answer = page.locator("#r1-outcome").inner_text()
    assert "latents in use (U)" in answer and "at N = 200 elu" in answer and "latent_dim" not in answer
    assert page.locator("#r1-sweep svg").is_visible() and not page.locator("#r1-final-table").is_visible()
    panels = page.locator("#r1-sweep svg").text_content() or ""
    assert all(label in panels for label in ("test NLL", "KL", "active units", "latent dimension N"))
    page.locator("#r1-final > summary").click()
    assert page.locator("#r1-final-table").is_visible() and "elu, N = 5" in column(page, "r1-final-table", 1)


def test_search_is_told_in_its_objective_and_drawn_in_parallel_coordinates(watched: Watched) -> None:
    page = watched.page
    page.locator("#r3-run > summary").click()
    assert "The best validation negative ELBO is" in page.locator("#r3-outcome").inner_text()
    figure = page.locator("#r3-vae_parallel")
    drawn = figure.locator("svg").text_content() or ""
    assert figure.is_visible() and all(text in drawn for text in ("learning", "activation", "ELBO"))
    assert not page.locator("#r3-vae_history").is_visible(), "the rest is folded"
