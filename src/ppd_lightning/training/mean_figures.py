"""The logged figures of a step: their names, their means over all ranks, and those that are not logged yet."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, distributed
from torch.utils._pytree import tree_map_only

from ppd_lightning.training.objectives.objective import Objective, PairErrors


def figures_of(objective: Objective) -> tuple[str, ...]:
    """The names of its figures: a rank without pairs in a step has to know them too."""
    zeros = (torch.zeros(1), torch.zeros(1)) if objective.sees_both else (torch.zeros(1),)
    product = torch.zeros(1) if objective.needs_product else None
    distances = torch.zeros(1, objective.compared_users) if objective.compared_users else None
    errors = PairErrors(zeros, zeros if objective.needs_reference else (), product, distances)
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


def waiting_of_all(figures: list[dict[str, Tensor]], norms: list[Tensor]) -> list[dict[str, Any]]:
    """The `figures` and `norms` of each rank that are not logged yet, on the CPU, in the order of the ranks."""
    own = {"figures": figures, "norms": norms}
    on_cpu: dict[str, Any] = tree_map_only(Tensor, lambda tensor: tensor.detach().cpu(), own)
    if not distributed.is_initialized():
        return [on_cpu]
    parts: list[dict[str, Any]] = [{} for _ in range(distributed.get_world_size())]
    distributed.all_gather_object(parts, on_cpu)
    return parts


def own_waiting(parts: list[dict[str, Any]], device: torch.device) -> tuple[list[dict[str, Tensor]], list[Tensor]]:
    """The figures and norms that this rank goes on with: its own; the first one has all where there are others now."""
    index, size = (distributed.get_rank(), distributed.get_world_size()) if distributed.is_initialized() else (0, 1)
    own = parts[index : index + 1] if len(parts) == size else parts if index == 0 else []
    here = partial(tree_map_only, Tensor, lambda tensor: tensor.to(device))
    return here([figures for part in own for figures in part["figures"]]), here(list(own[0]["norms"])) if own else []
