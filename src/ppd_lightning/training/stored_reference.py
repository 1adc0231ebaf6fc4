"""The reference's errors of every training pair, computed once and read by every run of a sweep.

What is random about a pair is a function of (seed, epoch, pair), and the reference is frozen: its two errors do not
depend on beta, the learning rate, the users or the loss. They lie in the order of the stream of all training pairs, in
units of so many positions, so that a run computes those that it needs and a longer one adds to them. As in
`data.encoding`, any number of processes share the work without knowing of each other.

B = pairs in a batch, P = positions of the stream that are read.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from ppd_lightning.data.shards import finished_units, is_finished, read_shard, write_shard
from ppd_lightning.diffusion import draws
from ppd_lightning.distributed.rank import ALONE, Rank
from ppd_lightning.errors import UserError
from ppd_lightning.progress import Counted
from ppd_lightning.storage.atomic import write_json_atomic
from ppd_lightning.storage.fingerprints import fingerprint
from ppd_lightning.storage.json_files import read_json
from ppd_lightning.training.caption_states import CaptionStates
from ppd_lightning.training.data_module import PreferenceDataModule
from ppd_lightning.training.noisy_latents import noisy_latents
from ppd_lightning.training.objectives.objective import Objective
from ppd_lightning.training.pair_draws import PairDraws, draws_in

if TYPE_CHECKING:
    from ppd_lightning.backbones.backbone import Backbone

VERSION = 1
"""Raised when the same settings would give other errors."""
UNIT = 1024
"""Positions of the stream that are computed and stored together."""


class KeysOfStores(Protocol):
    """What stored errors ask of prepared data (`data.prepared.PreparedData`): what these were made from."""

    @property
    def stores_text(self) -> bool:
        """Whether text states are stored."""

    def latents_key(self) -> dict[str, str]:
        """Of the latents."""

    def text_key(self) -> dict[str, str]:
        """Of the text states."""


class StoredReference:
    """The reference errors that a run needs: where they are, what they are made from, and which are missing.

    Args:
        folder: in which a folder `reference-{hash}` holds them.
        data: prepared.
        batches: of these data, set up.
        backbone: whose network is the reference.
        objective: of the run: at which times, with which noise.
        precision: of the network's weights, fp32 or bf16.
        seed: of the run.
        steps: of the run.
        device: where they are computed, cpu or cuda: their last digits depend on it.
        progress: whether a terminal gets a bar.
        text: gives what puts text states into batches that hold none; called only where something is missing.

    Raises:
        UserError: files of the model are missing.
    """

    def __init__(
        self,
        folder: Path,
        data: KeysOfStores,
        batches: PreferenceDataModule,
        backbone: Backbone,
        objective: Objective,
        *,
        precision: str,
        seed: int,
        steps: int,
        device: torch.device,
        progress: bool = True,
        text: Callable[[], CaptionStates | None] = lambda: None,
    ) -> None:
        self.text = text
        self.batches, self.backbone, self.objective = batches, backbone, objective
        self.seed, self.device, self.progress = seed, device, progress
        settings = {
            "model": [backbone.name, backbone.path, backbone.codec_path],
            "seed": seed,
            "times": [objective.t_min, objective.t_max],
            "share_noise": objective.share_noise,
            "precision": precision,
            **backbone.prediction_settings(),
            **({} if data.stores_text else {"text": "computed"}),
        }
        self.folder = folder / f"reference-{fingerprint(settings)}"
        self.key: dict[str, Any] = {
            **settings,
            "version": f"{VERSION}, draws {draws.VERSION}",
            "device": device.type,
            "prior": backbone.fingerprint("prior"),
            **data.latents_key(),
            **data.text_key(),
            "pairs": _pairs_fingerprint(batches),
        }
        self.length = batches.reference_length(steps)
        # Whole units: a longer run goes on from where this one's end lies.
        self.units = {f"{begin:09}": begin for begin in range(0, self.length, UNIT)}

    def require_fresh(self) -> None:
        """Refuse errors of the same settings that were made from something else.

        Raises:
            UserError: there are such, with what differs.
        """
        try:
            made_from = read_json(self._key_file, "run `ppd reference` with the same settings")
        except FileNotFoundError:
            return
        now = json.loads(json.dumps(self.key))
        if made_from != now:
            parts = sorted(part for part in now.keys() | made_from.keys() if now.get(part) != made_from.get(part))
            changes = "; ".join(f"{part} was {made_from.get(part)!r}, now {now.get(part)!r}" for part in parts)
            raise UserError(
                f"{self.folder}: these reference errors are stale ({changes}); run `ppd reference` with the same "
                f"settings, or train with trainer.reference=computed"
            )

    def make(self, load_network: Callable[[], nn.Module], rank: Rank = ALONE) -> int:
        """Compute the units that are missing, beside other processes; each rank begins with its own share.

        Args:
            load_network: gives the backbone's network on `device`; called only where something is missing.
            rank: of this process.

        Returns:
            how many pairs were computed here.
        """
        try:
            self.require_fresh()
        except UserError:
            self._key_file.unlink(missing_ok=True)
        missing = sorted(self.units.keys() - finished_units(self.folder, self.key))
        if not self._key_file.exists():
            write_json_atomic(self._key_file, self.key)
        if not missing:
            return 0
        network, computed, total = load_network(), 0, UNIT * len(self.units)
        done = total - UNIT * len(missing)
        with Counted("reference errors", total, done=done, bar=self.progress) as counted:
            for unit in _in_own_order(missing, rank):
                if not is_finished(self.folder, unit, self.key):
                    self._write(unit, network)
                    computed += UNIT
                counted.add(UNIT)
        return computed

    def read(self) -> np.ndarray:
        """The errors (P, 2) float32 of the preferred and the dispreferred images.

        Raises:
            UserError: a unit is missing or damaged, or holds what is not finite.
        """
        parts = []
        for unit, begin in self.units.items():
            ids, arrays = read_shard(self.folder, unit, self.key)
            if ids.to_pylist() != _ids(begin, begin + UNIT):
                raise UserError(f"{self.folder}: the unit {unit} is damaged; delete it and run the same command again")
            if not np.isfinite(arrays["errors"]).all():
                raise UserError(
                    f"{self.folder}: errors of the unit {unit} are not finite; delete this folder and run "
                    "`ppd reference` with the same settings"
                )
            parts.append(arrays["errors"])
        return np.concatenate(parts)

    @property
    def _key_file(self) -> Path:
        return self.folder / "key.json"

    def _write(self, unit: str, network: nn.Module) -> None:
        begin, size = self.units[unit], self.batches.pairs_at_once
        end = begin + UNIT
        errors = [self._errors(network, at, min(at + size, end)) for at in range(begin, end, size)]
        write_shard(self.folder, unit, _ids(begin, end), {"errors": torch.cat(errors).numpy()}, self.key, ["errors"])

    @torch.no_grad()
    def _errors(self, network: nn.Module, begin: int, end: int) -> Tensor:
        batch = self.batches.reference_batch(begin, end)
        batch = PairDraws(self.objective, self.seed).of_measurement(batch)
        batch = {name: part.to(self.device) for name, part in batch.items()}
        text = self.text()
        if text is not None:
            batch = text(batch)
        noisy = noisy_latents(self.backbone, self.objective, batch, draws_in(batch))
        return torch.stack(noisy.errors(self.backbone, network), 1).cpu()


def _pairs_fingerprint(batches: PreferenceDataModule) -> str:
    digest = hashlib.sha256()
    for part in batches.reference_pairs():
        digest.update(np.ascontiguousarray(part, np.int64).tobytes())
    return digest.hexdigest()[:12]


def _ids(begin: int, end: int) -> list[str]:
    return [str(position) for position in range(begin, end)]


def _in_own_order(units: list[str], rank: Rank) -> list[str]:
    """The share of this rank, then what the others may not have come to; other runs begin elsewhere."""
    mine = units[rank.index :: rank.size]
    return _from_anywhere(mine) + _from_anywhere(sorted(set(units) - set(mine)))


def _from_anywhere(units: list[str]) -> list[str]:
    begin = random.Random().randrange(len(units) or 1)
    return units[begin:] + units[:begin]
