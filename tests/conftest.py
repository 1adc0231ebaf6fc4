"""Settings of every test: one thread, for the tests' tiny models are much slower and erratic with more."""

from __future__ import annotations

import os
import sys

import pytest

os.environ["OMP_NUM_THREADS"] = "1"  # also for the processes that tests start
os.environ.setdefault("COLUMNS", "160")


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Torch reads the variable when it is imported, which a plugin may have done before."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
