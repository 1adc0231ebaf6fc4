"""The learning rate over a run, relative to its highest value."""

from __future__ import annotations

import math

SCHEDULES = ("constant", "linear", "cosine")


def learning_rate_factor(step: int, max_steps: int, warmup_steps: int, schedule: str) -> float:
    """Linear from 1/(warmup_steps + 1) to 1, then constant, linear to 0 or a half cosine to 0 at `max_steps`.

    Args:
        step: optimizer steps done, 0 at the first.
        max_steps: optimizer steps of the whole run.
        warmup_steps: the first of them.
        schedule: "constant", "linear" or "cosine".

    Raises:
        ValueError: an unknown schedule.
    """
    if schedule not in SCHEDULES:
        raise ValueError(f"schedule must be one of {', '.join(SCHEDULES)}, got {schedule!r}")
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    done = min(1.0, (step - warmup_steps) / max(1, max_steps - warmup_steps))
    if schedule == "constant":
        return 1.0
    if schedule == "linear":
        return 1.0 - done
    return 0.5 * (1 + math.cos(math.pi * done))
