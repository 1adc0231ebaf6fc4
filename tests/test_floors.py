"""The rules of the house: imports go down, the configuration stays upstairs, families and worlds keep to rooms."""

from __future__ import annotations

import ast
import re
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "src/ppd_lightning"
FLOORS = [
    {
        "errors",
        "machine_faults",
        "signals",
        "light_imports",
        "process_folders",
        "logging_setup",
        "markdown",
        "source_commit",
        "masking",
        "progress",
        "console",
        "devices",
        "settings",
        "storage",
        "diffusion",
        "distributed",
        "figures",
    },
    {"backbones", "data"},
    {"rewards"},
    {"users"},
    {"training", "generation"},
    {"evaluation"},
    {"worlds"},
    {"reports", "model_card", "studio"},
    {"config"},
    {"commands", "cli", "endings", "multirun", "sweeps", "help", "completion", "flags", "opened", "own_training"},
]
FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names}
FILES = sorted(PACKAGE.rglob("*.py"))
TOP = len(FLOORS) - 1
UPSTAIRS = {"__init__", "config", *FLOORS[TOP]}
"""Where the root configuration is seen."""


def name_of(path: Path) -> str:
    """The dotted name of a module."""
    return ".".join(("ppd_lightning", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")


MODULES = {name_of(path) for path in FILES}


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path, *, types: bool) -> set[str]:
    """The modules of the package that a file imports, at its head or in functions; with those for types alone."""
    found: set[str] = set()
    tree = ast.parse(path.read_text())
    if not types:
        tree.body = [
            node for node in tree.body if not (isinstance(node, ast.If) and "TYPE_CH" in ast.unparse(node.test))
        ]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ppd_lightning"):
            named = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else str(node.module) for name in named}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("ppd_lightning")}
    return found


IMPORTS = {name_of(path): imported(path, types=True) - {name_of(path)} for path in FILES}
AT_RUN_TIME = {name_of(path): imported(path, types=False) - {name_of(path)} for path in FILES}


def test_every_room_is_on_a_floor() -> None:
    rooms = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert rooms - {"__init__", "__main__"} == set(FLOOR)


def test_imports_only_go_down() -> None:
    wrong = []
    for path in FILES:
        own = room_of(path)
        if own not in FLOOR:
            continue
        rooms = {module.split(".")[1] for module in IMPORTS[name_of(path)] if "." in module} - {own}
        beside = FLOOR[own] in (0, TOP)  # files there are few; that none import each other is tested below
        wrong += [(name_of(path), room) for room in rooms if FLOOR[room] >= FLOOR[own] + beside]
    assert wrong == []


def test_no_files_import_each_other() -> None:
    """Not in a circle either: whoever reads one file never comes back to it."""
    done: set[str] = set()

    def walk(module: str, above: tuple[str, ...]) -> None:
        assert module not in above, " -> ".join([*above[above.index(module) :], module])
        if module not in done:
            for other in sorted(AT_RUN_TIME.get(module, ())):
                walk(other, (*above, module))
            done.add(module)

    for module in sorted(AT_RUN_TIME):
        walk(module, ())


def lines_with(words: str, *, outside: tuple[str, ...]) -> list[tuple[str, str]]:
    """The lines that hold a regular expression, in all rooms but some."""
    found = re.compile(words, re.IGNORECASE)
    files = [path for path in FILES if room_of(path) not in outside]
    return [(name_of(path), line) for path in files for line in path.read_text().splitlines() if found.search(line)]


def test_the_root_configuration_stays_upstairs() -> None:
    words = r"(?<!uvicorn\.)\bConfig\b|ppd_lightning\.config"
    found = lines_with(words, outside=tuple(UPSTAIRS))
    assert [line for line in found if re.search(words, line[1])] == []


def test_the_embedded_world_enters_by_the_doors_alone() -> None:
    found = lines_with("emoji", outside=("worlds",))
    assert [line for line in found if "experiment=emoji/" not in line[1]] == []  # examples of commands in the help
    assert {module for module, _ in found} <= {"ppd_lightning.help"}


def test_only_the_backbones_know_a_model_family() -> None:
    families = r"stage.?c\b|stable.?cascade|wuerstchen|paella|efficientnetv2"
    assert lines_with(families, outside=("backbones", "worlds")) == []
