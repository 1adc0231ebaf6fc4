"""Does the trained model prefer what people preferred? Its implicit reward on held-out pairs, without any judge.

N = pairs, B = pairs in a batch.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from torch import Tensor

from ppd_lightning.data.splits import choose_count
from ppd_lightning.diffusion import draws
from ppd_lightning.diffusion.weighting import TimeWeight
from ppd_lightning.evaluation.statistics.win_rate import win_rate
from ppd_lightning.generation.trained_run import TrainedRun
from ppd_lightning.progress import Counted
from ppd_lightning.storage.atomic import atomic_path
from ppd_lightning.storage.checksums import known_sha256, note_checksum, noted_fault
from ppd_lightning.storage.fingerprints import fingerprint
from ppd_lightning.training.caption_states import CaptionStates, caption_states, open_captions
from ppd_lightning.training.groupings import EachItsOwn
from ppd_lightning.training.noisy_latents import Batch, drawn_times, noisy_latents
from ppd_lightning.training.objectives.objective import Objective, PairErrors

log = logging.getLogger(__name__)

VERSION = 1
"""Raised when the same pairs would be preferred otherwise."""
PURPOSE = "preference"
"""Of the draws: other noise than training's."""
GROUPS = {"test_seen": "seen", "test_unseen": "unseen"}
"""The group of people of each split."""


class HeldOutPreferences:
    """By how much a run prefers the preferred images of held-out pairs.

    A pair's margin is Diffusion-DPO's difference of implicit rewards, w(t) times how much lower than the reference's
    the policy's error on the preferred image is than on the other one, averaged over `count` draws of times and noise.
    Both images of a pair get the same noise. Who is seen and unseen is described as for drawing.

    Args:
        trained: the run.
        objective: of the run: at which times, with which weights over time.
        weight: gives these weights; called only where something is missing.
        seed: of the run, which the draws follow from.
        count: draws of each pair.
        most: pairs of each group of people, by hash; None is all.
    """

    def __init__(
        self,
        trained: TrainedRun,
        objective: Objective,
        weight: Callable[[], TimeWeight],
        *,
        seed: int,
        count: int,
        most: int | None,
    ) -> None:
        self.trained, self.objective, self.weight = trained, objective, weight
        self.seed, self.count = seed, count
        self.pairs = _chosen(trained, most)

    def key(self) -> str:
        """12 hex digits for what the margins depend on."""
        return fingerprint(
            {
                "version": f"{VERSION}, draws {draws.VERSION}",
                "adapter": known_sha256(self.trained.adapter),
                "pairs": self.pairs.select(["pair_id", "user_id", "preferred"]).to_pydict(),
                "latents": self.trained.data.latents_key(),
                "objective": self.objective,
                "draws": [self.seed, self.count],
                "dtype": str(self.trained.dtype),
                **self.trained.described_key,
            }
        )

    def table(self) -> pa.Table:
        """The pairs with their margins: group, user, caption, pair and margin float64; measured once a run.

        Raises:
            UserError: somebody cannot be described.
        """
        path = self.trained.folder / f"preferences-{self.key()}.parquet"
        if (table := _read(path)) is None:
            table = pa.table(
                {
                    "group": [GROUPS[split] for split in self.pairs["split"].to_pylist()],
                    "user": self.pairs["user_id"].cast(pa.string()),
                    "caption": self.pairs["caption"].cast(pa.string()),
                    "pair": self.pairs["pair_id"].cast(pa.string()),
                    "margin": self._margins(),
                }
            )
            with atomic_path(path) as unfinished:
                pq.write_table(table, unfinished)
            note_checksum(path)
        return table

    @torch.no_grad()
    def _margins(self) -> np.ndarray:
        from ppd_lightning.training.examples import Examples

        trained, captions = self.trained, self.pairs["caption"].to_pylist()
        users = trained.embeddings(self.pairs["user_id"].to_pylist(), captions).cpu().numpy()
        latents, text = trained.data.open_latents(), open_captions(trained.data)
        text_arrays = trained.backbone.text_arrays
        examples = Examples(self.pairs, latents, text, users, EachItsOwn(), self.seed, text_arrays=text_arrays)
        states = caption_states(trained.data, lambda: trained.pipeline.text)
        weight, size = self.weight(), max(1, trained.settings.batch_size // 2)
        margins = torch.zeros(len(examples), dtype=torch.float64)
        with Counted("held-out pairs", len(examples), bar=trained.progress) as counted:
            for begin in range(0, len(examples), size):
                rows = np.arange(begin, min(begin + size, len(examples)))
                for epoch in range(self.count):
                    batch = examples.batch(rows, np.full(len(rows), epoch))
                    margins[rows] += self._margin(batch, weight, states).double().cpu() / self.count
                counted.add(len(rows))
        return margins.numpy()

    def _margin(self, batch: Batch, weight: TimeWeight, states: CaptionStates | None) -> Tensor:
        """(B,), of one draw for each pair of a batch."""
        backbone, pipeline = self.trained.backbone, self.trained.pipeline
        assert pipeline.branch is not None
        latents = batch["latents_preferred"]
        drawn = draws.draw_batch(self.seed, batch["epoch"], batch["pair"], latents.shape[1:], PURPOSE, noises=1)
        drawn = draws.Draw(drawn.t, drawn.noise_preferred, drawn.noise_preferred, drawn.drop_user)
        batch = {name: part.to(self.trained.device) for name, part in batch.items()}
        drawn = draws.Draw(**{name: part.to(self.trained.device) for name, part in vars(drawn).items()})
        if states is not None:
            batch = states(batch)
        noisy = noisy_latents(backbone, self.objective, batch, drawn)
        reference = noisy.errors(backbone, pipeline.network)
        with pipeline.branch.user(batch["user"].repeat(noisy.sides, 1)):
            policy = noisy.errors(backbone, pipeline.network)
        return PairErrors(policy, reference).margin(weight(drawn_times(self.objective, drawn)))


def preference_accuracy(table: pa.Table, resamples: int, *, by_captions: bool = False) -> dict[str, dict[str, Any]]:
    """The share of pairs that a run orders rightly, by group of people; equal rewards count one half.

    Args:
        table: of `HeldOutPreferences.table`.
        resamples: of the bootstrap for the 95 % intervals.
        by_captions: whether captions are resampled, for there are no other users than these; else users.

    Returns:
        rate, low, high and n of each group; low and high are None where there is no interval.
    """
    found = {}
    for group in pc.unique(table["group"]).to_pylist():
        rows = table.filter(pc.equal(table["group"], group))
        clusters = rows["caption" if by_captions else "user"].to_pylist()
        rate = win_rate(rows["margin"].to_numpy(), clusters, tie=0.0, resamples=resamples).numbers()
        found[group] = {name: rate[name] for name in ("rate", "low", "high", "n")}
    return found


def _read(path: Path) -> pa.Table | None:
    """The table that was measured; None where there is none, or with a warning where it is damaged."""
    if not path.exists():
        return None
    try:
        fault, table = noted_fault(path), pq.read_table(path)
    except (OSError, ValueError, pa.ArrowException) as error:
        fault = f"{path}: damaged ({' '.join(str(error).split())})"
    if fault is None:
        return table
    log.warning("%s; it is measured again", fault)
    return None


def _chosen(trained: TrainedRun, most: int | None) -> pa.Table:
    """The test pairs, of people who are served; of many the `most` of each group with the lowest hashes."""
    pairs, groups = trained.data.read_pairs(), trained.users.served()[0]
    ids: set[str] = set()
    for split, group in GROUPS.items():
        of_split = pairs.filter(
            pc.and_(pc.equal(pairs["split"], split), pc.is_in(pairs["user_id"], pa.array(groups[group], pa.string())))
        )
        names = of_split["pair_id"].to_pylist()
        ids |= set(names) if most is None else choose_count(PURPOSE, names, most)
    return pairs.filter(pc.is_in(pairs["pair_id"], pa.array(sorted(ids), pa.string())))
