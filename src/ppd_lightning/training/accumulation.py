"""How the pairs of an optimizer step are split: over devices first, then into what a device works on at once."""

from __future__ import annotations

from typing import Any, Literal

from lightning import Trainer

from ppd_lightning.errors import UserError


def micro_batches(batch_size: int, micro_batch_size: int | Literal["auto"] | None, world_size: int = 1) -> int:
    """How many equal micro-batches, of at most `micro_batch_size` pairs, each device's share of a batch is made of.

    One, where that is None, or auto, in whose place a GPU's training has a number.

    Raises:
        UserError: the devices cannot share the batch equally.
    """
    if batch_size % world_size:
        raise UserError(
            f"trainer.batch_size: {batch_size} pairs cannot be shared equally by {world_size} "
            f"devices; choose a multiple of {world_size}"
        )
    own = batch_size // world_size
    largest = min(micro_batch_size, own) if isinstance(micro_batch_size, int) else own
    return own // next(size for size in range(largest, 0, -1) if own % size == 0)


def ends_step(trainer: Trainer, batch_index: Any) -> bool:
    """Whether this micro-batch was the last one of its optimizer step."""
    return (int(batch_index) + 1) % trainer.accumulate_grad_batches == 0


def is_due(step: int, every: int, last: int) -> bool:
    """Whether something that is done every so many optimizer steps, and at the last one, is done after `step`."""
    return step % every == 0 or step == last


def met_several_times(batch_size: int, pairs: int) -> str:
    """What to say of a step that is longer than an epoch, which the stream of examples allows."""
    return (
        f"trainer.batch_size: a step of {batch_size} pairs meets each of the {pairs} training pairs about "
        f"{batch_size / pairs:.1f} times, with other noise; lower it to at most {pairs} unless this is meant"
    )


def recount(checkpoint: dict[str, Any], micro_batches: int) -> None:
    """Count the steps of a checkpoint in today's micro-batches, so many a step; one of weights alone has no count."""
    if "loops" not in checkpoint:
        return
    batches = checkpoint["global_step"] * micro_batches
    progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
    for part in (progress["total"], progress["current"]):
        shift = batches - part["ready"]
        part |= {name: part[name] + shift for name in ("ready", "started", "processed", "completed")}
