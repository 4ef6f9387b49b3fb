"""The site of docs/: it builds, every page is in its contents, no link leads out of it, and it loads nothing."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from study import spec
from tests.test_repository import ROOT

PAGES = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
SITE = runpy.run_path(str(ROOT / "docs" / "site.py"))


def rewritten(name: str, repo_url: str | None = None) -> str:
    """The page's text as the site shows it."""
    text = (ROOT / "docs" / name).read_text()
    inside = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*")}
    files = SimpleNamespace(get_file_from_path=lambda path: path in inside)
    page, config = SimpleNamespace(file=SimpleNamespace(src_uri=name)), SimpleNamespace(repo_url=repo_url)
    found: str = SITE["on_page_markdown"](text, page, config, files)
    return found


def test_contents_list_every_page_once() -> None:
    listed = re.findall(r": (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted([*PAGES, "index.md", "notebook.md"])
    assert yaml.safe_load((ROOT / "mkdocs.yml").read_text())["docs_dir"] == "docs"


def test_links_out_of_docs_become_names_or_lead_to_the_repository() -> None:
    assert not re.search(r"\]\(\.\./(?!index\.md)", "".join(rewritten(name) for name in PAGES if "/" not in name))
    assert "ledger.yaml (`analysis/claims/ledger.yaml`)" in rewritten("claims.md")
    linked = rewritten("claims.md", "https://example.org/repository")
    assert "[ledger.yaml](https://example.org/repository/blob/main/analysis/claims/ledger.yaml)" in linked


def test_links_to_the_readme_lead_home_and_those_between_pages_stay() -> None:
    assert "[README's tree](index.md#the-code)" in rewritten("design.md")
    assert "[cluster.md](../cluster.md)" in rewritten("clusters/README.md")
    assert "[numerics](numerics.md)" in rewritten("design.md")


def test_every_built_in_study_is_explained() -> None:
    text = (ROOT / "docs" / "science.md").read_text()
    assert {name for name in spec.names() if f"`{name}`" not in text} == set()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` does; a broken link or anchor ends the build."""
    folder = tmp_path_factory.mktemp("site")
    words = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_site_has_every_page_and_loads_nothing_from_elsewhere(site):
    pages = {str(path.relative_to(site)): path.read_text() for path in site.rglob("*.html")}
    names = {re.sub("README.md$", "index.md", name) for name in [*PAGES, "index.md", "notebook.md"]}
    assert {name.removesuffix(".md") + ".html" for name in names} | {"404.html"} == set(pages)
    for name, text in pages.items():
        assert not re.findall(r"""<(?:script|img|link|iframe)[^>]+(?:src|href)=["']?(?:https?:)?//""", text), name


def test_notebook_is_a_page_with_its_pictures_and_tables(site):
    text = (site / "notebook.html").read_text()
    pictures = re.findall(r'src="(output_\d+_\d+\.png)"', text)
    assert len(pictures) == 3 and all((site / name).read_bytes().startswith(b"\x89PNG") for name in pictures)
    assert "The linear network is orders of magnitude worse." in text and "<style scoped>" not in text
