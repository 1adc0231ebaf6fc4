"""A script in a process that has torch, diffusers and transformers, and not this package."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

RUN = """
import runpy, sys
for name in (
    "ppd_lightning", "pydantic", "omegaconf", "pyarrow", "lightning", "pytorch_lightning",
    "diffusers.pipelines.deprecated", "diffusers.pipelines.stable_cascade",
):
    sys.modules[name] = None  # every import of it or of a part of it now fails
try:
    import ppd_lightning
except ImportError:
    pass
else:
    raise SystemExit("the package can be imported")
script, *sys.argv[1:] = sys.argv[1:]
sys.path[0] = script.rpartition("/")[0]
runpy.run_path(script, run_name="__main__")
"""


def without_the_package(words: Sequence[str | Path], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a script, the first word, in a folder.

    What diffusers no longer maintains cannot be imported either, nor what only this package needs.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {
        "HF_HUB_OFFLINE": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = [sys.executable, "-c", RUN, *map(str, words)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
