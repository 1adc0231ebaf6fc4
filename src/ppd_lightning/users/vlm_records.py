"""What a vision-language model answered about sets of shots, stored in units.

E = width of an embedding, L = bytes of the longest record of a unit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ppd_lightning.data.shards import finished_units, is_finished, read_shard, write_shard
from ppd_lightning.storage.fingerprints import fingerprint
from ppd_lightning.users.vlm_files import vlm_fingerprint, vlm_folder
from ppd_lightning.users.vlm_prompts import VERSION
from ppd_lightning.users.vlm_settings import VlmSettings
from ppd_lightning.users.vlm_writer import vlm_dtype

if TYPE_CHECKING:
    from ppd_lightning.users.describing import Describing

RESULT_KEYS = ("temperature", "top_p", "max_new_tokens", "position", "layer", "batch_size", "image_size", "seed")
"""Settings that an answer and its state depend on; with more retries only sets without a profile are asked again."""


@dataclass(frozen=True)
class Record:
    """What is kept of a set beside its embedding.

    profile: None where no answer held one. answer: the last one. seed: that drew it. refused: the answers before, or
    all of them, that held no profile, in the order of the tries.
    """

    profile: str | None = None
    answer: str = ""
    seed: int = 0
    refused: list[str] = field(default_factory=list)

    def is_done(self, retries: int) -> bool:
        """Whether nothing more is to be asked."""
        return self.profile is not None or len(self.refused) > retries


class ProfileUnits:
    """The units that were answered by one model, with one wording and one choice of settings.

    Of each set a unit holds `embedding` (E,), NaN where there is no profile, and `record` (L,) uint8: JSON, then zeros.

    Raises:
        UserError: files of the model are missing or damaged, or the data are not prepared.
    """

    def __init__(self, user: VlmSettings, using: Describing) -> None:
        self.key = {
            **{name: getattr(user, name) for name in RESULT_KEYS},
            "images": using.data.images_key(),
            "labels": using.data.labels_name,
            "model": vlm_fingerprint(vlm_folder(user.path)),
            "prompts": VERSION,
            "dtype": str(vlm_dtype(using.device)),
        }
        self.folder = using.data.folder / f"profiles-{fingerprint(self.key)}"

    def written(self) -> list[str]:
        """The names of all units that are there."""
        return sorted(finished_units(self.folder, self.key))

    def is_written(self, unit: str) -> bool:
        """Whether a unit is there, all of its sets answered or not."""
        return is_finished(self.folder, unit, self.key)

    def is_done(self, unit: str, retries: int) -> bool:
        """Whether every set of a unit has a profile, or has been asked often enough."""
        return self.is_written(unit) and all(record.is_done(retries) for record in self.read([unit])[0].values())

    def read(self, units: Sequence[str] | Mapping[str, object]) -> tuple[dict[str, Record], dict[str, np.ndarray]]:
        """The records and states of the sets of these units, by name."""
        records: dict[str, Record] = {}
        states: dict[str, np.ndarray] = {}
        for unit in units:
            names, arrays = read_shard(self.folder, unit, self.key)
            for name, state, record in zip(names.to_pylist(), arrays["embedding"], arrays["record"], strict=True):
                records[name] = Record(**json.loads(record.tobytes().rstrip(b"\0")))
                states[name] = state
        return records, states

    def write(self, unit: str, records: Mapping[str, Record], states: Mapping[str, np.ndarray]) -> None:
        """Store a unit, instead of what is stored of it."""
        encoded = [json.dumps(asdict(record)).encode() for record in records.values()]
        longest = max(map(len, encoded))
        padded = np.frombuffer(b"".join(one.ljust(longest, b"\0") for one in encoded), np.uint8).reshape(-1, longest)
        embedding = np.stack([states[name] for name in records])
        write_shard(self.folder, unit, list(records), {"embedding": embedding, "record": padded}, self.key)
