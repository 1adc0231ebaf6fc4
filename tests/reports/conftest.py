from __future__ import annotations

import pytest

from ppd_lightning.reports import page_files


@pytest.fixture
def without_figure_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages hold their figures, and write no files of them, which takes most of a page's time."""
    monkeypatch.setattr(page_files, "save_figure", lambda figure, path: None)
