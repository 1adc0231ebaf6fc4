"""What is random about the pairs of a batch, put into it where it is made, which may be another process.

B = pairs of a batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ppd_lightning.diffusion.draws import Draw, draw_batch, draw_dropping
from ppd_lightning.training.noisy_latents import Batch
from ppd_lightning.training.objectives.objective import Objective

COUNT = "count"
"""In a batch: for how many pairs of the step it stands, () float32, with those that are left out of it."""


@dataclass(frozen=True)
class PairDraws:
    """Draws times, noise and whose user is dropped, from (seed, epoch, pair) alone.

    The pair of a dropped user is left out, for a zero user of a bias-free branch *is* the reference: it would cost a
    step and teach nothing. Where a null user is learned, the user becomes zero instead.

    objective: of the training. seed: of its draws. learned_null: whether its branch learns a null user.
    """

    objective: Objective
    seed: int
    learned_null: bool = False

    def stays(self, epochs: Tensor, pairs: Tensor) -> Tensor:
        """Which pairs remain in the step, (B,) bool, of their epochs and ids (B,) int64."""
        if self.learned_null or not self.objective.drop_user:
            return torch.ones(len(pairs), dtype=torch.bool)
        return draw_dropping(self.seed, epochs, pairs) >= self.objective.drop_user

    def of_training(self, batch: Batch, count: float) -> Batch:
        """A batch of pairs that remain in the step, with what their step needs of the draws.

        Args:
            batch: as the stores give it (see `PreferenceDataModule`).
            count: see `COUNT`.
        """
        batch = self._with_draws(batch, both=self.objective.sees_both)
        if self.learned_null:
            keep = batch["drop_user"] >= self.objective.drop_user
            batch["user"] = batch["user"] * keep[:, None]
        return batch | {COUNT: torch.tensor(float(count))}

    def of_measurement(self, batch: Batch) -> Batch:
        """A batch with the draws of a measurement, which drops nobody."""
        return self._with_draws(batch, both=True)

    def complete(self, batch: Batch) -> Batch:
        """A batch of a training that came without draws, from one's own loader: with them, on its device.

        Its numbers are read on the CPU, so a GPU is waited for.
        """
        if COUNT in batch:
            return batch
        stays = self.stays(batch["epoch"], batch["pair"]).nonzero()[:, 0]
        return self.of_training({name: part[stays.to(part.device)] for name, part in batch.items()}, len(batch["pair"]))

    def _with_draws(self, batch: Batch, *, both: bool) -> Batch:
        """On the batch's device."""
        noises = 2 if both and not self.objective.share_noise else 1
        shape = tuple(batch["latents_preferred"].shape[1:])
        draws = draw_batch(self.seed, batch["epoch"], batch["pair"], shape, noises=noises)
        device = batch["latents_preferred"].device
        return batch | {name: part.to(device) for name, part in vars(draws).items() if part is not None}


def draws_in(batch: Batch) -> Draw:
    """The draws that a batch holds."""
    return Draw(batch["t"], batch["noise_preferred"], batch.get("noise_dispreferred"), batch["drop_user"])
