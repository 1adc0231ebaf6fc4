"""Runs the notebooks from top to bottom and keeps their outputs: `python dev/notebooks.py [NOTEBOOK...] [--check]`.

What differs from machine to machine is left out: times, paths of temporary folders, lines of logs. With --check nothing
is written. Needs nbclient and ipykernel.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
TEMPORARY = re.compile(r"/[^\s'\"]*/tmp\w{8}|/tmp/tmp\w+")


def cleaned(notebook: Any) -> Any:
    """Without times and logs, and with one name for temporary folders."""
    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.outputs = [part for part in cell.outputs if part.get("name") != "stderr"]
            for part in cell.outputs:
                part.get("metadata", {}).clear()
                for holder, name in ((part, "text"), (part.get("data", {}), "text/plain")):
                    if name in holder:
                        holder[name] = TEMPORARY.sub("FOLDER", holder[name])
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    return notebook


def run(path: Path) -> Any:
    """The notebook with its outputs; raises where a cell fails."""
    import nbformat
    from nbclient import NotebookClient

    os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=1800, resources={"metadata": {"path": str(path.parent)}}).execute()
    return cleaned(notebook)


def main(words: list[str]) -> None:
    """Of the command line."""
    import nbformat

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("notebooks", nargs="*", type=Path, default=sorted(EXAMPLES.glob("*.ipynb")))
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args(words)
    for path in given.notebooks:
        notebook = run(path)
        print(f"{path.name}: {len(notebook.cells)} cells", flush=True)
        if not given.check:
            nbformat.write(notebook, path)


if __name__ == "__main__":
    main(sys.argv[1:])
