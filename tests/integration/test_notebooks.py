"""The notebooks in examples/ run from top to bottom, and keep small outputs that name no machine."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
LARGEST = 500_000
"""Bytes of a notebook with its outputs."""


def cells(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text("utf-8"))["cells"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_sound_and_small(path: Path) -> None:
    assert path.stat().st_size < LARGEST
    code = [cell for cell in cells(path) if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1)), "run it from top to bottom"
    assert any(part["output_type"] == "display_data" for cell in code for part in cell["outputs"])
    for cell in code:
        tree = ast.parse("".join(cell["source"]))
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                name = node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
                assert importlib.util.find_spec(str(name).partition(".")[0]) is not None
        words = json.dumps(cell["outputs"])
        assert '"stderr"' not in words
        assert not re.search(r"/(home|root|tmp|work|Users)/", words)
    for cell in cells(path):
        if cell["cell_type"] == "markdown":
            for link in re.findall(r"\]\(([^)#\s]+)", "".join(cell["source"])):
                assert "://" in link or (path.parent / link).exists(), link
            for script in re.findall(r"`python (\S+\.py)", "".join(cell["source"])):
                assert (ROOT / script).is_file()


@pytest.mark.long
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path) -> None:
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    command = [sys.executable, str(ROOT / "dev/notebooks.py"), str(path), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
