"""What README, docs, studies and the heads of the shipped configurations show is true: commands, keys, links, code."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

import ppd_lightning
from ppd_lightning.cli import main
from ppd_lightning.config.groups import LIST_GROUPS, options
from ppd_lightning.config.keys import known_keys

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))]
DOCUMENTS = [*PAGES, ROOT / "CHANGELOG.md", *sorted(ROOT.glob("experiments/**/README.md"))]
PARTS = ROOT / "tests/parts/conf"
STUDY = ROOT / "experiments/emoji/backbones/conf"
CONFIGURATIONS = [*sorted(ROOT.glob("conf/**/*.yaml")), *sorted(STUDY.glob("**/*.yaml"))]
LIMIT_OF_README = 150
FILES = (".arrow", ".csv", ".html", ".json", ".md", ".parquet", ".png", ".py", ".yaml")


def commands() -> dict[str, str]:
    """Each command by where it stands first: indented lines of documents, and the first lines of configurations."""
    found = {}
    for path in DOCUMENTS:
        text = re.sub(r"\\\n\s*", "", path.read_text(encoding="utf-8"))  # a line that goes on in the next
        for line in re.findall(r"^ {4,}(ppd .+)$", text, re.MULTILINE):
            found[f"{path.relative_to(ROOT)}: {line}"] = line
        for line in re.findall(r"^    torchrun .* -m ppd_lightning (.+)$", text, re.MULTILINE):
            found[f"{path.relative_to(ROOT)}: torchrun {line}"] = f"ppd {line}"
    for path in CONFIGURATIONS:
        for line in re.findall(r"^# (ppd [^<]*?)(?:   .*)?$", path.read_text(encoding="utf-8"), re.MULTILINE):
            found[f"{path.relative_to(ROOT)}: {line}"] = line
    first = {command: place for place, command in reversed(found.items())}
    return {first[command]: command for command in dict.fromkeys(found.values())}


def code(path: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)


def test_there_are_commands_to_check() -> None:
    assert len(commands()) > 100


@pytest.mark.parametrize("command", commands().values(), ids=commands())
def test_a_documented_command_is_sound(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folders = {str(folder.relative_to(ROOT)): str(folder) for folder in (PARTS, STUDY)}
    monkeypatch.syspath_prepend(STUDY.parent)
    words = [folders.get(word, word) for word in shlex.split(command, comments=True)[1:]]
    if "sweep=optuna" in words:
        pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    if "--help" not in words:
        words.append("--dry-run")
    assert main(words) == 0


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= LIMIT_OF_README


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = [*re.findall(r"\]\(([^)\s]+)\)", text), *re.findall(r'<img src="([^"]+)"', text)]
    for link in links:
        if "://" in link:
            continue
        name, _, heading = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), f"{page}: {link}"
        if heading:
            headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in [re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in headings], link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_keys_options_and_scripts_that_are_named_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    keys = known_keys(rewards=tuple(options()["reward"]))
    groups = {key.partition(".")[0] for key in keys}
    for name in re.findall(r"`([a-z]\w*(?:\.\w+)+)(?:=[^`]*)?`", text):
        if name.partition(".")[0] in groups and not name.endswith(FILES):
            assert name in keys or name.rpartition(".")[0] in keys, f"{page}: no key {name}"
    for group, option in re.findall(r"`([a-z]\w*)=([\w/]+)`", text):
        known = options().get(group)
        assert known is None or group in LIST_GROUPS or option in known, f"{page}: no option {group}={option}"
    for script in re.findall(r"python (\S+\.py)", text):
        assert (ROOT / script).is_file(), f"{page}: no script {script}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_python_examples_import_is_there(page: Path) -> None:
    for block in code(page, "python"):
        if block.startswith("# tests/"):
            continue  # an excerpt
        compile(block, str(page), "exec")
        for line in re.findall(r"^(?:from ppd_lightning|import ppd_lightning).*$", block, re.MULTILINE):
            exec(line, {})


def test_the_code_of_the_page_on_python_runs(tmp_path: Path) -> None:
    import torch
    from tests import tiny
    from tests.data.handmade import SIZE, rows, write
    from tests.training.tiny_world import overrides

    _, by_configuration, without_hydra, branch_alone = code(ROOT / "docs/python.md", "python")
    tiny.model_folder(tmp_path / "model")
    write(tmp_path / "source", rows())
    settings = overrides(tmp_path, tmp_path / "out", "trainer.progress=false", "generation.steps=1")
    names: dict[str, Any] = {"settings": settings}
    exec(by_configuration, names)
    assert not torch.equal(names["images"], names["base"])
    prepared = names["workspace"].data
    names = {name: getattr(prepared, name) for name in ("folder", "splits", "image_size")}
    exec(without_hydra, names | {"source": str(tmp_path / "source"), "weights": str(tmp_path / "model")}, names)
    assert names["images"].shape == (1, 3, SIZE, SIZE)
    assert (prepared.folder / "adapter.safetensors").exists()
    noised, t, *text = tiny.inputs(2)
    names |= {"u": torch.randn(2, 64), "noised": noised, "t": t, "conditions": tiny.conditions(*text)}
    exec(branch_alone, names)
    assert torch.equal(names["prediction"], names["reference"])  # a new branch changes nothing


def test_the_reference_lists_everything_public() -> None:
    page = (ROOT / "docs/api.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (?:`ppd_lightning\.([.\w]+)`)? ?\| (.+) \|$", page, re.MULTILINE)
    assert [name for name, _, _ in rows] == ppd_lightning.__all__
    assert {name: module for name, module, _ in rows if module} == ppd_lightning.PUBLIC
    for name, module in ppd_lightning.PUBLIC.items():
        assert getattr(ppd_lightning, name) is getattr(importlib.import_module(f"ppd_lightning.{module}"), name)


def test_type_checkers_see_what_is_public() -> None:
    tree = ast.parse(Path(ppd_lightning.__file__).read_text("utf-8"))
    (typed,) = (node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in typed.body if isinstance(node, ast.ImportFrom) and "ppd_lightning" in str(node.module)]
    found = {alias.asname: str(node.module).removeprefix("ppd_lightning.") for node in imports for alias in node.names}
    assert found == ppd_lightning.PUBLIC


def excerpts() -> list[tuple[Path, str]]:
    """The file that a block of docs/extending.md names in its first line, and what it shows of it; `...` leaves out."""
    page = ROOT / "docs/extending.md"
    blocks = [*code(page, "python"), *code(page, "yaml")]
    named = [block.removeprefix("# ").partition("\n")[::2] for block in blocks if block.startswith("# tests/")]
    return [(ROOT / file, part) for file, text in named for part in re.split(r"^\.\.\.\n", text, flags=re.MULTILINE)]


def test_excerpts_of_parts_are_in_the_files_that_they_name() -> None:
    assert len({path for path, _ in excerpts()}) > 6
    for path, part in excerpts():
        assert part.strip("\n") in path.read_text(encoding="utf-8"), f"{path}: {part}"


def test_the_lines_of_parts_are_counted_right() -> None:
    rows = re.findall(
        r"\| `(\w+\.py)`, `(\w+/\w+\.yaml)` \| (\d+) \+ (\d+) \|", (ROOT / "docs/extending.md").read_text("utf-8")
    )
    assert len(rows) == len(sorted(PARTS.rglob("*.yaml")))
    for part, option, *counts in rows:
        files = (PARTS.parent / part, PARTS / option)
        assert [str(sum(map(bool, file.read_text().splitlines()))) for file in files] == counts, part


def test_the_documented_reward_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = ROOT / "docs/extending.md"
    (example,) = (block for block in code(page, "python") if "class Redness" in block)
    (settings,) = (block for block in code(page, "yaml") if "Redness" in block)
    lines, others = (sum(map(bool, block.splitlines())) for block in (example, settings))
    assert f"| below | {lines} + {others} |" in page.read_text("utf-8")
    (tmp_path / "my_rewards.py").write_text(example, encoding="utf-8")
    (tmp_path / "options/reward").mkdir(parents=True)
    (tmp_path / "options/reward/redness.yaml").write_text(settings, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    (command,) = re.findall(r"`PYTHONPATH=\. (ppd [^`]*redness[^`]*)`", page.read_text("utf-8"))
    assert main([*shlex.split(command)[1:], "--dry-run"]) == 0

    from PIL import Image

    from ppd_lightning.config.compose import compose
    from ppd_lightning.rewards.reward import open_rewards

    config = compose(["mode=synthetic", "reward=[redness]"], tmp_path / "options")
    score = open_rewards(config.rewards, "cpu")["redness"].score
    sys.modules.pop("my_rewards")  # other tests have a module of that name
    pictures = [Image.new("RGB", (80, 60), colour) for colour in ("red", "yellow", "blue")]
    assert score(pictures, ["a"] * 3).tolist() == pytest.approx([1, 0.5, 0])
