"""The reference's errors of every training pair, computed once and read by every run of a sweep.

What is random about a pair is a function of (seed, epoch, pair), and the reference is frozen: its two errors do not
depend on beta, the learning rate, the users or the objective. They lie in the order in which a run without left-out
pairs meets them, in units of so many places, so that a run makes those that it needs and a longer one adds to them. As
in `data.encoding`, any number of processes share the work without knowing of each other.

B = pairs in a batch, P = places of the stream that are read.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import StableCascadeUNet
from torch import Tensor

from ppd_lightning.backbones.released import ReleasedModel
from ppd_lightning.config.folders import splits_folder
from ppd_lightning.config.schemas import Config
from ppd_lightning.data import prepared as layout
from ppd_lightning.data.stores import finished_units, is_finished, read_shard, write_shard
from ppd_lightning.diffusion import draws
from ppd_lightning.distributed.rank import Place
from ppd_lightning.errors import UserError
from ppd_lightning.progress import Counted
from ppd_lightning.storage.atomic import write_json_atomic
from ppd_lightning.storage.fingerprints import fingerprint
from ppd_lightning.training.data_module import PreferenceDataModule
from ppd_lightning.training.noisy_latents import noised_sides

VERSION = 1
"""Raised when the same settings would give other errors."""
UNIT = 1024
"""Places of the stream that are computed and stored together."""


class StoredReference:
    """The reference errors that a run needs: where they are, what they are made from, and which are missing.

    Args:
        config: of the run; its objective says at which times, its trainer in which precision.
        data: set up.
        device: where they are computed, cpu or cuda: their last digits depend on it.

    Raises:
        UserError: the model is not there.
    """

    def __init__(self, config: Config, model: ReleasedModel, data: PreferenceDataModule, device: torch.device) -> None:
        self.config, self.data, self.device = config, data, device
        objective = config.objective
        settings = {
            "model": [config.model.name, config.model.path, config.model.codec_path],
            "seed": config.seed,
            "times": [objective.t_min, objective.t_max],
            "share_noise": objective.share_noise,
            "precision": config.trainer.precision,
        }
        self.folder: Path = splits_folder(config) / f"reference-{fingerprint(settings)}"
        self.key: dict[str, Any] = {
            **settings,
            "version": f"{VERSION}, draws {draws.VERSION}",
            "device": device.type,
            "prior": model.fingerprint("prior"),
            **layout.latents_key(config, model.fingerprint("encoder")),
            **layout.text_key(config, model.fingerprint("text_encoder"), model.fingerprint("tokenizer")),
            "pairs": _pairs_fingerprint(data),
        }
        self.places = data.reference_places(config.trainer.max_steps)
        # Whole units: a longer run goes on from where this one's end lies.
        self.units = {f"{begin:09}": begin for begin in range(0, self.places, UNIT)}

    def require_fresh(self) -> None:
        """Refuse errors of the same settings that were made from something else.

        Raises:
            UserError: there are such, with what differs.
        """
        try:
            made_from = json.loads(self._told.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return
        except ValueError as error:
            raise UserError(f"{self._told}: damaged ({error}); run `ppd reference` with the same settings") from error
        now = json.loads(json.dumps(self.key))
        if made_from != now:
            parts = sorted(part for part in now.keys() | made_from.keys() if now.get(part) != made_from.get(part))
            told = "; ".join(f"{part} was {made_from.get(part)!r}, now {now.get(part)!r}" for part in parts)
            raise UserError(
                f"{self.folder}: these reference errors are stale ({told}); run `ppd reference` with the same "
                f"settings, or train with trainer.reference=computed"
            )

    def make(self, load_prior: Callable[[], StableCascadeUNet], place: Place) -> int:
        """Compute the units that are missing, beside whoever else does; each rank begins with its own.

        Returns:
            how many pairs were computed here.
        """
        try:
            self.require_fresh()
        except UserError:
            self._told.unlink(missing_ok=True)
        missing = sorted(self.units.keys() - finished_units(self.folder, self.key))
        if not self._told.exists():
            write_json_atomic(self._told, self.key)
        if not missing:
            return 0
        prior, computed, total = load_prior(), 0, UNIT * len(self.units)
        done = total - UNIT * len(missing)
        with Counted("reference errors", total, done=done, bar=self.config.trainer.progress) as counted:
            for unit in _in_own_order(missing, place):
                if not is_finished(self.folder, unit, self.key):
                    self._write(unit, prior)
                    computed += UNIT
                counted.add(UNIT)
        return computed

    def read(self) -> np.ndarray:
        """The errors (P, 2) float32 of the preferred and the dispreferred images.

        Raises:
            UserError: a unit is missing or damaged.
        """
        parts = []
        for unit, begin in self.units.items():
            ids, arrays = read_shard(self.folder, unit, self.key)
            if ids.to_pylist() != _ids(begin, begin + UNIT):
                raise UserError(f"{self.folder}: the unit {unit} is damaged; delete it and run the same command again")
            parts.append(arrays["errors"])
        return np.concatenate(parts)

    @property
    def _told(self) -> Path:
        return self.folder / "key.json"

    def _write(self, unit: str, prior: StableCascadeUNet) -> None:
        begin, size = self.units[unit], self.data.pairs_at_once
        end = begin + UNIT
        errors = [self._errors(prior, at, min(at + size, end)) for at in range(begin, end, size)]
        write_shard(self.folder, unit, _ids(begin, end), {"errors": torch.cat(errors).numpy()}, self.key)

    @torch.no_grad()
    def _errors(self, prior: StableCascadeUNet, begin: int, end: int) -> Tensor:
        batch = self.data.reference_batch(begin, end)
        drawn = draws.draw_batch(self.config.seed, batch["epoch"], batch["pair"], self.data.latent_shape)
        batch = {name: part.to(prior.device) for name, part in batch.items()}
        drawn = draws.Draw(**{name: part.to(prior.device) for name, part in vars(drawn).items()})
        return torch.stack(noised_sides(self.config.objective, batch, drawn).errors(prior), 1).cpu()


def _pairs_fingerprint(data: PreferenceDataModule) -> str:
    digest = hashlib.sha256()
    for part in data.reference_pairs():
        digest.update(np.ascontiguousarray(part, np.int64).tobytes())
    return digest.hexdigest()[:12]


def _ids(begin: int, end: int) -> list[str]:
    return [str(place) for place in range(begin, end)]


def _in_own_order(units: list[str], place: Place) -> list[str]:
    """The share of this rank, then what the others may not have come to; other runs begin elsewhere."""
    mine = units[place.rank :: place.size]
    return _from_anywhere(mine) + _from_anywhere(sorted(set(units) - set(mine)))


def _from_anywhere(units: list[str]) -> list[str]:
    begin = random.Random().randrange(len(units) or 1)
    return units[begin:] + units[:begin]
