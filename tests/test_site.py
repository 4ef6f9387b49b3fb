"""The site of docs/: every page is in its contents, and no link of a page leads out of it."""

from __future__ import annotations

import re
import runpy
from types import SimpleNamespace

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
    assert sorted(listed) == sorted([*PAGES, "index.md"])
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
