"""`trainer.micro_batch_size=auto`: the most pairs that a GPU can work on at once, found by steps that are tried.

A step that is tried is a real one, of a branch of its own, with its gradient and optimizer; it leaves no trace.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

import torch
from torch import nn

from ppd_lightning.diffusion.weighting import TimeWeight
from ppd_lightning.errors import MachineError
from ppd_lightning.training.caption_states import CaptionStates
from ppd_lightning.training.data_module import PreferenceDataModule
from ppd_lightning.training.module import PPDModule
from ppd_lightning.training.objectives.objective import Objective
from ppd_lightning.training.settings import Optimizer

if TYPE_CHECKING:
    from diffusers import ModelMixin

    from ppd_lightning.backbones.backbone import Backbone

log = logging.getLogger(__name__)

SHARE = 0.92
"""Of the memory that this process can have: the rest is for validations, previews, and memory that falls to pieces."""

NO_MEMORY = ("out of memory", "ALLOC_FAILED")
"""In the words of PyTorch, CUDA and its libraries."""


@dataclass(frozen=True)
class Fit:
    """What a training works with: pairs at once, and whether activations are computed again in the backward pass."""

    pairs: int
    checkpointing: bool

    def numbers(self) -> dict[str, Any]:
        """As it is kept in a file."""
        return asdict(self)


class Memory(Protocol):
    """The memory of a device."""

    name: str
    """Of the device, with how much there is."""

    def begin(self) -> None:
        """Free what nobody uses, and measure from here on."""

    def suffices(self) -> bool:
        """Whether the most that was taken since leaves enough."""


class GPUMemory:
    """That of a CUDA device, without what other processes hold of it."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        properties = torch.cuda.get_device_properties(device)
        self.name = f"{properties.name}, {properties.total_memory} bytes"

    def begin(self) -> None:
        """See `Memory`."""
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(self.device)

    def suffices(self) -> bool:
        """See `Memory`."""
        free, _ = torch.cuda.mem_get_info(self.device)
        ours = torch.cuda.memory_reserved(self.device)
        return torch.cuda.max_memory_reserved(self.device) <= SHARE * (free + ours)


def sizes(share: int) -> list[int]:
    """Into how many pairs at once a device's share of a batch can be split equally, ascending."""
    return [size for size in range(1, share + 1) if share % size == 0]


def largest(candidates: Sequence[int], fits: Callable[[int], bool]) -> int | None:
    """The largest of ascending candidates that fits, where all below one that fits do; None where none does.

    Halves what is left with each try, from the smallest on, which needs least.
    """
    if not fits(candidates[0]):
        return None
    low, high = 0, len(candidates)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(candidates[middle]) else (low, middle)
    return candidates[low]


def fit(candidates: Sequence[int], fits: Callable[[Fit], bool], *, checkpointing: bool) -> Fit:
    """The most pairs at once that fit; where not even the fewest do, with activations that are computed again.

    Args:
        candidates: pairs at once, ascending.
        fits: tries one.
        checkpointing: whether activations are computed again in any case.

    Raises:
        MachineError: nothing fits.
    """
    for again in (True,) if checkpointing else (False, True):
        pairs = largest(candidates, lambda size, again=again: fits(Fit(size, again)))  # type: ignore[misc]
        if pairs is not None:
            return Fit(pairs, again)
    raise MachineError(
        f"the GPU has not enough memory for a step of {candidates[0]} pairs at once, also with "
        "trainer.gradient_checkpointing=true; end other processes on it, or use a GPU with more"
    )


def measured_fit(
    backbone: Backbone,
    network: nn.Module,
    data: PreferenceDataModule,
    objective: Objective,
    optimizer: Optimizer,
    memory: Memory,
    *,
    share: int,
    checkpointing: bool,
    text: CaptionStates | None = None,
) -> Fit:
    """The largest that fits, by steps on the first batch; the network, its hooks and random state stay as they are.

    Args:
        backbone: whose network it is, on the device and without a branch.
        data: set up, before stored errors of the reference are read: a step that computes them needs no less.
        objective, optimizer: of the training.
        memory: of the network's device.
        share: pairs of a step that are the device's.
        checkpointing: whether activations are computed again in any case.
        text: gives the text states of batches that hold none.

    Raises:
        MachineError: nothing fits.
    """
    trial = Trial(backbone, network, data, objective, optimizer, memory, text)
    found = fit(sizes(share), trial.fits, checkpointing=checkpointing)
    memory.begin()
    log.info(
        "trainer.micro_batch_size: %d pairs at once%s",
        found.pairs,
        ", with activations computed again" if found.checkpointing and not checkpointing else "",
    )
    return found


@dataclass(frozen=True)
class Trial:
    """Steps that are tried; arguments as of `measured_fit`."""

    backbone: Backbone
    network: nn.Module
    data: PreferenceDataModule
    objective: Objective
    optimizer: Optimizer
    memory: Memory
    text: CaptionStates | None = None

    def fits(self, wanted: Fit) -> bool:
        """Whether a step of so many pairs, of whom nobody is dropped, has enough memory."""
        self.memory.begin()
        try:
            with self._checkpointing(wanted.checkpointing), self._random_state():
                self._step(wanted.pairs)
        except RuntimeError as error:
            if not any(words in str(error) for words in NO_MEMORY):
                raise
            enough = False
        else:
            enough = self.memory.suffices()
        log.info(
            "trying %d pairs at once%s: %s",
            wanted.pairs,
            ", activations computed again" if wanted.checkpointing else "",
            "they fit" if enough else "too many",
        )
        return enough

    def _step(self, pairs: int) -> None:
        objective, device = self.objective, next(self.network.parameters()).device
        branch = self.backbone.attach(self.network, self.data.embedding_dim)
        try:
            module = PPDModule(
                self.backbone,
                self.network,
                branch,
                objective,
                self.optimizer,
                TimeWeight("const", self.backbone.diffusion_path, objective.t_min, objective.t_max),
                latent_shape=self.data.latent_shape,
                max_steps=2,
                seed=0,
                log_every=2,
                text=self.text,
            ).to(device)
            made = module.configure_optimizers()["optimizer"]
            batch = module.draws.of_training(self.data.first_pairs(pairs), pairs)
            try:
                module.training_step({name: part.to(device) for name, part in batch.items()}, 0).backward()
            finally:
                module.on_after_backward()
            made.step()
        finally:
            branch.detach()

    @contextmanager
    def _checkpointing(self, on: bool) -> Iterator[None]:
        if not on:
            yield
            return
        network = cast("ModelMixin", self.network)
        network.enable_gradient_checkpointing()
        try:
            yield
        finally:
            network.disable_gradient_checkpointing()

    @contextmanager
    def _random_state(self) -> Iterator[None]:
        device = next(self.network.parameters()).device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
