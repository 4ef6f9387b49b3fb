"""MkDocs' hooks: README.md becomes the home page, notebook.ipynb a page; links out of docs/ become plain names.

MkDocs serves the pages of docs/ alone. A link to a file of the repository leads nowhere there, unless `repo_url` in
mkdocs.yml says where the repository is; then it leads to the file on its main branch.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mkdocs.structure.files import Files

ROOT = Path(__file__).resolve().parents[1]
_STYLE = re.compile(r"<style scoped>.*?</style>\n", re.DOTALL)
"""What pandas puts before each table."""
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)#\s:]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Adds README.md as the home page, its links relative to docs/, and the notebook with what its cells have shown."""
    from mkdocs.structure.files import File
    from nbconvert import MarkdownExporter

    text = re.sub(r"\]\(docs/", "](", (ROOT / "README.md").read_text(encoding="utf-8"))
    files.append(File.generated(config, "index.md", content=text))
    page, resources = MarkdownExporter().from_filename(str(ROOT / "docs" / "notebook.ipynb"))
    files.append(File.generated(config, "notebook.md", content=_STYLE.sub("", page)))
    for name, picture in resources["outputs"].items():
        files.append(File.generated(config, name, content=picture))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Rewrites the links of a page that lead out of docs/."""

    def link(match: re.Match[str]) -> str:
        text, path, anchor = match[1], match[2], match[3] or ""
        if path == "notebook.ipynb":
            return f"[{text}](notebook.md{anchor})"
        folder = posixpath.dirname(page.file.src_uri)
        if files.get_file_from_path(posixpath.normpath(posixpath.join(folder, path))):
            return match[0]
        home = page.file.src_uri == "index.md"
        target = posixpath.normpath(path if home else posixpath.join("docs", folder, path))
        if target == "README.md":
            return f"[{text}]({posixpath.relpath('index.md', folder or '.')}{anchor})"
        if config.repo_url:
            return f"[{text}]({config.repo_url}/blob/main/{target})"
        return f"`{target}`" if text.strip("/") == target else f"{text} (`{target}`)"

    return _LINK.sub(link, markdown)
