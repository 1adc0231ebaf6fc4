"""The logged figures of a step: their names, and their means over the pairs of all ranks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, distributed

from ppd_lightning.training.objectives.objective import Objective, PairErrors


def figures_of(objective: Objective) -> tuple[str, ...]:
    """The names of its figures: a rank without pairs in a step has to know them too."""
    zeros = (torch.zeros(1), torch.zeros(1)) if objective.needs_reference else (torch.zeros(1),)
    errors = PairErrors(zeros, zeros if objective.needs_reference else ())
    return tuple(objective.loss(errors, torch.ones(1)).figures)


def means_of_all(
    figures: dict[str, Tensor], names: Sequence[str], device: torch.device
) -> tuple[dict[str, Tensor], int]:
    """The means of each pair's figures over all ranks, and how many pairs these have; a rank may have none."""
    sums = torch.zeros(len(names) + 1, device=device)
    if figures:
        own = [figures[name].sum() for name in names]
        sums = torch.stack([*own, sums.new_tensor(float(len(figures[names[0]])))])
    distributed.all_reduce(sums)
    count = int(sums[-1])
    return {name: total / count for name, total in zip(names, sums[:-1], strict=True)} if count else {}, count
