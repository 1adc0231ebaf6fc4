"""Hooks of mkdocs.yml: a site of pages that are readable as plain Markdown, wherever they lie in the repository.

Pages outside of docs/ (DESIGN.md, the studies, the change log) join the site, with the pictures and files that they and
the others link to; links are those of the repository and become those of the site. docs/api.md gets the reference of
each public name after its table.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

log = logging.getLogger("mkdocs.hooks.site")  # a warning fails a strict build

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
LINK = re.compile(r'(\]\(|<img src=")([^)\s"]+)')
ROW = re.compile(r"^\| `(\w+)` \| (?:`ppd_lightning\.([.\w]+)`)? ?\| .+ \|$", re.MULTILINE)
CODE = re.compile(r"(^```.*?^```$|^ {4}.*$)", re.MULTILINE | re.DOTALL)
TIGHT = re.compile(r"^((?![-|>#\s]|\d+\. ).*)\n(?=- |\d+\. )", re.MULTILINE)
"""A list right below a paragraph, which is one on GitHub and none in Python's Markdown."""

FROM_ELSEWHERE = re.compile(
    r'<(?:script|img|iframe)[^>]* src="?https?:|<link[^>]* rel="?(?:stylesheet|preload)[^>]*https?:'
)


def further_pages() -> list[Path]:
    """The pages of the site outside of docs/."""
    heads = (ROOT / f"{name}.md" for name in ("DESIGN", "CHANGELOG", "CONTRIBUTING", "SECURITY"))
    return [*(path for path in heads if path.is_file()), *sorted(ROOT.glob("experiments/**/README.md"))]


def place(path: Path) -> str:
    """Where a file of the repository lies in the site: docs/ is its root; a folder is the README at or above it."""
    if path.is_dir():
        return place(next(above for above in (path, *path.parents) if (above / "README.md").is_file()) / "README.md")
    if path == ROOT / "README.md":
        return "index.md"
    return path.relative_to(DOCS if path.is_relative_to(DOCS) else ROOT).as_posix()


def links(text: str, source: Path) -> Iterator[tuple[re.Match[str], Path, str]]:
    """The relative links of a page: the match, the file, and the heading with its sign."""
    for match in LINK.finditer(text):
        name, sign, heading = match[2].partition("#")
        if name and "://" not in name:
            yield match, (source.parent / name).resolve(), sign + heading


def in_site(text: str, source: Path) -> str:
    """A page's text with the links of the site."""
    parts, end = [], 0
    for match, target, heading in links(text, source):
        link = os.path.relpath(place(target), os.path.dirname(place(source)) or ".") + heading
        parts += [text[end : match.start()], match[1], link]
        end = match.end()
    text = "".join([*parts, text[end:]])
    return "".join(part if CODE.fullmatch(part) else TIGHT.sub(r"\1\n\n", part) for part in CODE.split(text))


def reference(text: str) -> str:
    """A directive of mkdocstrings for each row of the table of public names."""
    rows = [(name, module) for name, module in ROW.findall(text) if not name.startswith("__")]
    names = (f"ppd_lightning.{module}.{name}" if module else f"ppd_lightning.{name}" for name, module in rows)
    return "\n\n## Each of them\n\n" + "\n\n".join(f"::: {name}" for name in names) + "\n"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages outside of docs/, and what pages link to."""
    from mkdocs.structure.files import File

    pages = [*DOCS.glob("**/*.md"), *further_pages()]
    found = set(pages)
    for page in pages:
        found |= {target for _, target, _ in links(page.read_text("utf-8"), page) if target.is_file()}
    for path in sorted(found - {ROOT / "README.md"}):
        if not path.is_relative_to(DOCS):
            files.append(File.generated(config, place(path), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The page as the site has it."""
    assert page.file.abs_src_path is not None
    source = Path(page.file.abs_src_path)
    return in_site(markdown, source) + (reference(markdown) if source.name == "api.md" else "")


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Warn of what a reader's browser would fetch from elsewhere."""
    for found in FROM_ELSEWHERE.findall(output):
        log.warning("%s: loads something from elsewhere: %s", page.file.src_uri, found)
    return output
