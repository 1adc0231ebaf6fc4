"""The documentation as a whole: each page is in the site's menu, each block of code is checked, each name is there."""

from __future__ import annotations

import ast
import csv
import importlib.util
import io
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from ppd_lightning.commands.verbs import VERBS

ROOT = Path(__file__).parents[1]
SOURCES = ROOT / "src/ppd_lightning"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))]
TROUBLES = (ROOT / "docs/troubleshooting.md").read_text("utf-8")
RUN = ("beta.md", "science.md")
"""Pages whose Python needs nothing but the package; that of others is run with a training, or is an excerpt."""
FOR_VISITORS = "studio/"
SHELL = re.compile(r"(ppd|make|python3?|python3\.11|pip|git|docker|torchrun|source|grep|sbatch|cd) ")


class Loader(yaml.SafeLoader):
    """Of mkdocs.yml, which names a function."""


Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, suffix, node: suffix)


@pytest.fixture(scope="module")
def site() -> ModuleType:
    spec = importlib.util.spec_from_file_location("site_hooks", ROOT / "dev/site.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def menu(entry: Any) -> Iterator[str]:
    if isinstance(entry, str):
        yield entry
    else:
        for part in entry.values() if isinstance(entry, dict) else entry:
            yield from menu(part)


def test_every_page_is_in_the_menu_once_and_the_readme_links_the_index(site: ModuleType) -> None:
    names = list(menu(yaml.load((ROOT / "mkdocs.yml").read_text("utf-8"), Loader)["nav"]))
    assert sorted(names) == sorted(map(site.place, [*ROOT.glob("docs/**/*.md"), *site.further_pages()]))
    readme, index = ((ROOT / name).read_text("utf-8") for name in ("README.md", "docs/index.md"))
    assert "](docs/index.md)" in readme
    pages = [page.name for page in ROOT.glob("docs/*.md") if page.name != "index.md"]
    assert [name for name in pages if f"]({name})" not in index] == []


def test_links_become_those_of_the_site(site: ModuleType) -> None:
    page = ROOT / "docs/beta.md"
    text = '[a](../experiments/bench/README.md#x) [b](data.md) [c](https://d) <img src="images/demo.png">'
    assert site.in_site(text, page) == text.replace("../", "")
    study = ROOT / "experiments/emoji/demo/README.md"
    assert site.in_site("[a](../../../docs/data.md) [b](..)", study) == "[a](../../../data.md) [b](../../README.md)"
    assert site.in_site("a\n- b\n- c\n\n```\na\n- b\n```\n", page) == "a\n\n- b\n- c\n\n```\na\n- b\n```\n"


def test_the_reference_has_all_that_is_public(site: ModuleType) -> None:
    import ppd_lightning

    found = re.findall(r"::: ([\w.]+)", site.reference((ROOT / "docs/api.md").read_text("utf-8")))
    assert found == [
        "ppd_lightning.open",
        *(f"ppd_lightning.{module}.{name}" for name, module in ppd_lightning.PUBLIC.items()),
    ]


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    """Language and text of each block of code of a page; indented ones are of the shell."""
    text = page.read_text("utf-8")
    fenced = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    yield from fenced.findall(text)
    for block in re.findall(r"(?:^ {4}\S.*\n)+", re.sub(r"\\\n\s*", "", fenced.sub("", text)), re.MULTILINE):
        yield "shell", re.sub(r"^ {4}", "", block, flags=re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_of_code_is_of_a_kind_that_is_checked(page: Path) -> None:
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    extras = re.search(r"\[project\.optional-dependencies\]\n(.*?)\n\[", (ROOT / "pyproject.toml").read_text(), re.S)
    assert extras is not None
    for language, text in blocks(page):
        if language == "shell":
            for line in text.splitlines():
                assert SHELL.match(line), f"{page.name}: {line}"
                for target in re.findall(r"^make ([\w-]+)", line):
                    assert target in targets, line
                for script in re.findall(r"^python3? ([\w/]+\.py)", line):
                    assert (ROOT / script).is_file(), line
        elif language == "python" and not text.startswith("# tests/"):  # an excerpt of a file that is checked
            compile(text, str(page), "exec")
        elif language == "yaml":
            yaml.safe_load(text.replace("\n...\n", "\n"))
        elif language == "csv":
            rows = list(csv.reader(io.StringIO(text)))
            assert len({len(row) for row in rows}) == 1, text
        elif language == "json":
            json.loads(text)
        else:
            assert language in ("python", "text", "bibtex"), f"{page.name}: {language}"
    for extra in re.findall(r"ppd-lightning\[([a-z]+)\]", page.read_text("utf-8")):
        assert re.search(rf"^{extra} = ", extras[1], re.MULTILINE), extra


@pytest.mark.parametrize("name", RUN)
def test_python_that_needs_nothing_else_runs(name: str) -> None:
    found = [text for language, text in blocks(ROOT / "docs" / name) if language == "python"]
    assert found
    for text in found:
        exec(text, {})


def test_the_code_that_the_science_names_is_there() -> None:
    for file, name in re.findall(r"`([\w/]+\.py)`(?: `([\w.]+)`)?", (ROOT / "docs/science.md").read_text("utf-8")):
        defined = set()
        for node in ast.parse((SOURCES / file).read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                defined.add(node.name)
            if isinstance(node, ast.ClassDef):
                defined |= {f"{node.name}.{part.name}" for part in node.body if isinstance(part, ast.FunctionDef)}
        assert not name or name in defined, f"{file}: no {name}"


def words(node: ast.AST) -> str:
    """The text of a string; {} stands for what it takes from elsewhere."""
    if isinstance(node, ast.JoinedStr):
        return "".join(words(part) if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


@cache
def messages() -> tuple[str, list[tuple[str, str]]]:
    """All strings of the sources, and the texts that are raised for people, with their files."""
    strings, raised = [], []
    for path in sorted(SOURCES.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            strings.append(words(node))
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("UserError", "MachineError"):
                text = " ".join(words(part) for part in ast.walk(node))
                if len(re.findall(r"[a-z]{3}", text)) > 2:
                    raised.append((path.relative_to(SOURCES).as_posix(), text))
    return "\n".join(strings), raised


def families() -> list[str]:
    """The words of messages that the page on troubles explains."""
    cells = [line.partition(" | ")[0] for line in TROUBLES.splitlines() if line.startswith("| `")]
    return [long or short for cell in cells for long, short in re.findall(r"``(.+?) ``|`([^`]+)`", cell)]


def test_the_messages_on_the_page_on_troubles_are_those_of_the_code() -> None:
    strings, _ = messages()
    assert len(families()) > 100
    assert [family for family in families() if family not in strings] == []


def test_every_message_belongs_to_a_family_with_a_remedy() -> None:
    _, raised = messages()
    assert len(raised) > 200
    others = [
        (path, text)
        for path, text in raised
        if not path.startswith(FOR_VISITORS) and not any(family in text for family in families())
    ]
    assert others == [], "add words of these messages to a table of docs/troubleshooting.md"


def test_verbs_have_a_page() -> None:
    page = (ROOT / "docs/cli.md").read_text("utf-8")
    assert [verb for verb in VERBS if f"`{verb}`" not in page] == []
