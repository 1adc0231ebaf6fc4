"""What a process tells as it works: lines on standard error."""

from __future__ import annotations

import logging


def set_up_logging() -> None:
    """Plain lines with the time on standard error: ours from INFO, other libraries' from WARNING."""
    handler = logging.StreamHandler()
    handler.addFilter(lambda line: line.name.startswith("ppd_lightning") or line.levelno >= logging.WARNING)
    logging.basicConfig(
        level=logging.INFO, handlers=[handler], format="%(asctime)s %(message)s", datefmt="%H:%M:%S", force=True
    )
