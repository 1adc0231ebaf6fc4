import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src/ppd_lightning"
FLOORS = [
    {"diffusion", "config", "run", "figures"},
    {"models", "data"},
    {"rewards"},
    {"users"},
    {"training", "generation"},
    {"evaluation"},
    {"reports"},
    {"commands", "cli", "multirun", "sweeps", "help"},
]
FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names}


def imported(path: Path) -> set[str]:
    """The parts of the package that a file imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names |= {module.split(".")[1] for module in modules if module.startswith("ppd_lightning.")}
    return names


def test_every_part_of_the_package_is_on_a_floor() -> None:
    parts = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert parts - {"__init__", "__main__"} == set(FLOOR)


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_only_go_down(path: Path) -> None:
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if own not in FLOOR:
        return
    for name in imported(path) - {own}:
        allowed = FLOOR[name] < FLOOR[own] or FLOOR[own] in (0, len(FLOORS) - 1)
        assert allowed, f"{path} imports {name}"
