"""Whether a training is sound: every loss, figure, gradient and weight is finite, or it stops with a sentence.

What is looked at stays on its device until it is checked, so that a GPU is not waited for in each step.

B = pairs of a micro-batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, distributed

from ppd_lightning.errors import UserError
from ppd_lightning.training.finite import first_nonfinite
from ppd_lightning.training.objectives.objective import Objective
from ppd_lightning.training.settings import Optimizer

NAMED = 3
"""Pairs that a sentence names."""
SHRINKING = 0.1
"""Of a weight, that weight decay takes in a step: from there on it may be what makes weights infinite."""


@dataclass(frozen=True)
class Fault:
    """The first thing that is not finite.

    figure: its name. value: the first such value. step: the optimizer step, counted from 1. pairs: stable ids of the
    pairs whose figure it is, or of those of the step, the highest loss first. of: how many pairs were looked at
    together, where the figure is that of single pairs.
    """

    figure: str
    value: float
    step: int
    pairs: tuple[int, ...] = ()
    of: int = 0

    def __str__(self) -> str:
        named = ", ".join(f"{pair & 2**64 - 1:016x}" for pair in self.pairs[:NAMED])
        if self.of:
            whose = f" for {len(self.pairs)} of {self.of} pairs ({named}{', ...' if len(self.pairs) > NAMED else ''})"
        else:
            whose = f" (pairs of the step with the highest loss: {named})" if named else ""
        return f"step {self.step}: {self.figure} is {self.value}{whose}"


class NotFiniteError(UserError):
    """A training came to something that is not finite.

    Args:
        found: the first fault.
        remedy: what to change, as a sentence.
    """

    def __init__(self, found: Fault, remedy: str) -> None:
        self.found = found
        super().__init__(f"{found}; {remedy}")


@dataclass(frozen=True)
class _Figures:
    """Those (B,) of the pairs (B,) of a micro-batch; the first one is the loss."""

    split: str
    step: int
    pairs: Tensor
    values: dict[str, Tensor]

    def total(self) -> Tensor:
        """Finite where all are, unless they are so large that no mean of them is."""
        return torch.stack(list(self.values.values())).sum()

    def worst(self) -> tuple[int, ...]:
        """The pairs, the highest loss first."""
        order = next(iter(self.values.values())).argsort(descending=True)
        return tuple(self.pairs.cpu()[order.cpu()].tolist())

    def fault(self) -> Fault | None:
        for name, values in self.values.items():
            broken = ~values.isfinite()
            if broken.any():
                pairs = tuple(self.pairs.cpu()[broken.cpu()].tolist())
                return Fault(f"{self.split}/{name}", values[broken][0].item(), self.step, pairs, len(self.pairs))
        total = self.total().item()
        return None if math.isfinite(total) else Fault(f"the sum of {self.split}/*", total, self.step, self.worst())


class Health:
    """What a training came to since it was last checked."""

    def __init__(self) -> None:
        self._figures: list[_Figures] = []
        self._numbers: list[tuple[str, int, Tensor]] = []

    def note(self, split: str, step: int, pairs: Tensor, figures: Mapping[str, Tensor]) -> None:
        """Keep the figures, each (B,), of the pairs (B,) of a micro-batch of a step; the first one is the loss."""
        values = {name: value.detach().float() for name, value in figures.items()}
        self._figures.append(_Figures(split, step, pairs, values))

    def note_number(self, name: str, step: int, value: Tensor) -> None:
        """Keep a number of a whole step, such as the norm of its gradient."""
        self._numbers.append((name, step, value.detach().float()))

    def check(self) -> Fault | None:
        """The first fault in what was noted, if there is one; forgets what was noted.

        Of several ranks all must call it at the same time, and all get the same.
        """
        figures, self._figures = self._figures, []
        numbers, self._numbers = self._numbers, []
        parts = [*(part.total() for part in figures), *(value for _, _, value in numbers)]
        sound = torch.stack(parts).isfinite().all() if parts else torch.ones((), dtype=torch.bool)
        if not distributed.is_initialized():
            return None if sound else _first(figures, numbers)
        agreed = sound.to(_device_of_group(), torch.int32)
        distributed.all_reduce(agreed, distributed.ReduceOp.MIN)
        if agreed:
            return None
        found: list[Fault | None] = [None] * distributed.get_world_size()
        distributed.all_gather_object(found, None if sound else _first(figures, numbers))
        return first_of_ranks([fault for fault in found if fault is not None])


def first_of_ranks(faults: Sequence[Fault]) -> Fault:
    """The fault of the lowest step, with the pairs of all ranks that have it."""
    first = min(faults, key=lambda fault: fault.step)
    same = [fault for fault in faults if (fault.step, fault.figure) == (first.step, first.figure)]
    pairs = tuple(dict.fromkeys(pair for fault in same for pair in fault.pairs))
    return replace(first, pairs=pairs, of=sum(fault.of for fault in same))


def require_finite(content: Any, what: str, step: int, remedy: str) -> None:
    """Refuse tensors, nested in mappings and lists, that are not finite.

    Args:
        what: they are, before the name of the one that is not.
        step: that they were left by.

    Raises:
        NotFiniteError: some are not.
    """
    broken = first_nonfinite(content)
    if broken is not None:
        raise NotFiniteError(Fault(f"{what} {broken[0]}", broken[1], step), remedy)


def remedy(objective: Objective, optimizer: Optimizer, skipped: int) -> str:
    """What to change where a training comes to something that is not finite.

    Args:
        objective, optimizer: of the training.
        skipped: most steps that it may leave out.
    """
    lower = {"optimizer.lr": optimizer.lr}
    if objective.needs_reference:
        lower["objective.beta"] = objective.beta
        if objective.sft_weight:
            lower["objective.sft_weight"] = objective.sft_weight
    if optimizer.lr * optimizer.weight_decay > SHRINKING:
        lower["optimizer.weight_decay"] = optimizer.weight_decay
    if optimizer.grad_clip is not None and optimizer.grad_clip > 1:
        lower["optimizer.grad_clip"] = optimizer.grad_clip
    words = f"lower {_either(f'{key} ({value:g})' for key, value in lower.items())}"
    if optimizer.grad_clip is None:
        words += ", set optimizer.grad_clip"
    steps = f", of which {skipped} were left out already" if skipped else ""
    return f"{words}, or let more such steps be left out by trainer.skip_nonfinite ({skipped}{steps})"


def _either(words: Iterable[str]) -> str:
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last


def _first(figures: Sequence[_Figures], numbers: Sequence[tuple[str, int, Tensor]]) -> Fault:
    """The fault of the lowest step; that of single pairs before that of the step."""
    of_pairs = next((fault for part in figures if (fault := part.fault()) is not None), None)
    of_step = next(((name, step, value.item()) for name, step, value in numbers if not value.isfinite()), None)
    if of_step is None or (of_pairs is not None and of_pairs.step <= of_step[1]):
        assert of_pairs is not None
        return of_pairs
    name, step, value = of_step
    return Fault(name, value, step, tuple(pair for part in figures if part.step == step for pair in part.worst()))


def _device_of_group() -> torch.device:
    on_gpu = distributed.get_backend() == "nccl"
    return torch.device("cuda", torch.cuda.current_device()) if on_gpu else torch.device("cpu")
