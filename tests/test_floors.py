"""The rules of the house: imports go down, the configuration stays upstairs, families and worlds keep to rooms."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src/ppd_lightning"
FLOORS = [
    {"errors", "logging_setup", "progress", "devices", "settings", "storage", "diffusion", "distributed", "figures"},
    {"backbones", "data"},
    {"rewards"},
    {"users"},
    {"training", "generation"},
    {"evaluation"},
    {"worlds"},
    {"reports", "model_card"},
    {"config"},
    {"commands", "cli", "multirun", "sweeps", "help", "completion", "flags"},
]
FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names}
FILES = sorted(PACKAGE.rglob("*.py"))
TOP = len(FLOORS) - 1
UPSTAIRS = {"config", *FLOORS[TOP]}
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


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_only_go_down(path: Path) -> None:
    own = room_of(path)
    if own not in FLOOR:
        return
    rooms = {module.split(".")[1] for module in IMPORTS[name_of(path)] if "." in module} - {own}
    not_below = {room for room in rooms if FLOOR[room] >= FLOOR[own]}
    if FLOOR[own] in (0, TOP):  # files there are few; that none import each other is tested below
        not_below = {room for room in not_below if FLOOR[room] > FLOOR[own]}
    assert not_below == set()


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


@pytest.mark.parametrize("path", [path for path in FILES if room_of(path) not in UPSTAIRS], ids=name_of)
def test_the_root_configuration_stays_upstairs(path: Path) -> None:
    assert re.findall(r"\bConfig\b|ppd_lightning\.config", path.read_text()) == []


@pytest.mark.parametrize("path", [path for path in FILES if room_of(path) != "worlds"], ids=name_of)
def test_the_embedded_world_enters_by_the_doors_alone(path: Path) -> None:
    words = [line for line in path.read_text().splitlines() if re.search(r"emoji", line, re.IGNORECASE)]
    if room_of(path) in ("cli", "help"):  # examples of commands
        words = [line for line in words if "experiment=emoji/" not in line]
    assert words == []


@pytest.mark.parametrize("path", [path for path in FILES if room_of(path) not in ("backbones", "worlds")], ids=name_of)
def test_only_the_backbones_know_a_model_family(path: Path) -> None:
    families = r"stage.?c\b|stage_c|stable.?cascade|wuerstchen|paella|efficientnetv2|StableCascadeUNet"
    assert re.findall(families, path.read_text(), re.IGNORECASE) == []
