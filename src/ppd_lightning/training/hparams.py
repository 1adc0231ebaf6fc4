"""A run in TensorBoard's HParams tab: its settings as a session, and as its metrics every scalar of its folder.

No summary says which columns there are: TensorBoard would take the first run's for all, which may have other settings
and may not be evaluated. Without one it derives the columns from all runs, those that differ first.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

FOLDER = "tensorboard"
"""Of the events, in a run's folder."""


def log_session(writer: Any, settings: Mapping[str, bool | float | str], step: int) -> None:
    """Say which settings a run has.

    Args:
        writer: of the run's events, a `torch.utils.tensorboard.FileWriter`.
        settings: values by dotted key.
        step: the last one.
    """
    from torch.utils.tensorboard.summary import hparams

    _, begin, end = hparams(dict(settings), {})
    writer.add_summary(begin, step)
    writer.add_summary(end, step)


def log_rates(folder: Path, name: str, rates: Mapping[str, Mapping[str, Any]], step: int) -> None:
    """Add rates to the events of a run, where it has some, as `evaluation/NAME/GROUP`; the last ones count.

    Args:
        folder: of the run.
        name: of what was measured.
        rates: with a rate for each group of people.
        step: the last one of the training.
    """
    if not (folder / FOLDER).exists():
        return
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(folder / FOLDER) as writer:
        for group, rate in rates.items():
            writer.add_scalar(f"evaluation/{name}/{group}", rate["rate"], step)
