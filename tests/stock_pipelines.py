"""Stable Cascade's pipelines of diffusers, to compare ours with; diffusers has deprecated them and may drop them."""

from __future__ import annotations

from typing import Any

import diffusers
import pytest


def stock_pipeline(name: str) -> Any:
    """The class of that name; the test is skipped where this diffusers has none."""
    try:
        return getattr(diffusers, name)
    except (AttributeError, ImportError, RuntimeError) as error:
        pytest.skip(f"diffusers {diffusers.__version__} has no {name} to compare with ({error})")
