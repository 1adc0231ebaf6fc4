"""`user=vlm`: a hidden state of a vision-language model that writes a profile of the user from a few choices.

Sets of shots are answered in units of a few batches. A unit is stored as soon as it is done, so a killed command goes
on with the next one and comes to the same; several processes share the units without knowing of each other. A set that
is asked for twice, as a grouping or for a caption, is answered once.

R = rows that are asked for, E = width of an embedding, L = bytes of the longest record of a unit.
"""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from ppd_lightning.backbones.released import ReleasedModel
from ppd_lightning.config.folders import data_folder
from ppd_lightning.config.schemas import Config, StatedUser, VlmUser
from ppd_lightning.data import prepared as layout
from ppd_lightning.data.stores import finished_units, is_finished, read_shard, write_shard
from ppd_lightning.devices import compute_device
from ppd_lightning.errors import UserError
from ppd_lightning.progress import Counted
from ppd_lightning.storage.atomic import atomic_path
from ppd_lightning.storage.fingerprints import fingerprint
from ppd_lightning.users import vlm_prompts as prompts
from ppd_lightning.users.shots import ShotSet
from ppd_lightning.users.vlm_files import vlm_fingerprint, vlm_folder
from ppd_lightning.users.vlm_pairs import ShownPairs, named
from ppd_lightning.users.vlm_writer import ProfileWriter

log = logging.getLogger(__name__)

UNIT_BATCHES = 4
"""Batches of a unit, whose images are read together."""

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


def describe(config: Config, model: ReleasedModel, pairs: pa.Table, sets: Sequence[ShotSet]) -> np.ndarray:
    """Raw vectors (R, E) float32 of sets of shots; a row of NaN where no answer held a profile.

    Beside the units lie profiles.parquet (set, user, profile, answer, seed, retries) and quarantine.parquet (set, user,
    answers), of every set that was answered with these settings. A set's name is its user and the ids of its pairs.

    Raises:
        UserError: files of the model are missing, an image of a shot is missing or damaged, or more sets than
            `user.max_unusable` have no profile.
    """
    user = _settings(config)
    place = _Place(config, vlm_folder(user.path))
    pair_ids = pairs["pair_id"].to_pylist()
    names = [f"{one.user}/{'-'.join(pair_ids[pair] for pair in one.pairs)}" for one in sets]
    distinct = dict(zip(names, sets, strict=True))
    units = {fingerprint(unit): unit for unit in _cut(list(distinct), UNIT_BATCHES * user.batch_size)}
    missing = [unit for unit in units if not place.is_done(unit, _retries(user))]
    if missing:
        writer = _open_writer(config, user)
        done = len(distinct) - sum(len(units[unit]) for unit in missing)
        with Counted("profiles", len(distinct), done=done, bar=config.trainer.progress) as counted:
            # In an order that no other process has, so that few units are made twice; nothing depends on it.
            for unit in random.Random().sample(missing, len(missing)):
                if not place.is_done(unit, _retries(user)):
                    _answer_unit(config, writer, place, unit, {name: distinct[name] for name in units[unit]}, pairs)
                counted.add(len(units[unit]))
    records, states = place.read(units)
    _tell(config, place, records, {name: one.user for name, one in distinct.items()})
    return np.stack([states[name] for name in names])


def seen_with(config: Config, model: ReleasedModel) -> str:
    """A fingerprint of the vision-language model and of what it is asked."""
    return fingerprint([vlm_fingerprint(vlm_folder(_settings(config).path)), prompts.VERSION])


def states_of_words(config: Config, words: Sequence[str]) -> np.ndarray:
    """People's own words as the vision-language model reads them, raw (R, E) float32: the states of a written profile.

    Args:
        config: whose user says path, position and layer.
        words: none of them blank.

    Raises:
        UserError: files of the model are missing or damaged.
    """
    user, device = config.user, compute_device(config.trainer)
    assert isinstance(user, StatedUser)
    assert user.path is not None
    writer = ProfileWriter(user.path, device, _dtype(device), position=user.position, layer=user.layer)
    return writer.states_of_words(words)


class _Place:
    """The folder of the units that were answered with one model, wording and settings.

    Of each set a unit holds `embedding` (E,), NaN where there is no profile, and `record` (L,) uint8: JSON, then zeros.
    """

    def __init__(self, config: Config, model: Path) -> None:
        user = _settings(config)
        self.key = {
            **{name: getattr(user, name) for name in RESULT_KEYS},
            "images": layout.images_key(config),
            "labels": config.data.labels,
            "model": vlm_fingerprint(model),
            "prompts": prompts.VERSION,
            "dtype": str(_dtype(compute_device(config.trainer))),
        }
        self.folder = data_folder(config) / f"profiles-{fingerprint(self.key)}"

    def is_done(self, unit: str, retries: int) -> bool:
        """Whether every set of a unit has a profile, or has been asked often enough."""
        if not is_finished(self.folder, unit, self.key):
            return False
        return all(record.is_done(retries) for record in self.read([unit])[0].values())

    def read(self, units: Sequence[str] | Mapping[str, object]) -> tuple[dict[str, Record], dict[str, np.ndarray]]:
        """The records and states of the sets of these units, by name."""
        records: dict[str, Record] = {}
        states: dict[str, np.ndarray] = {}
        for unit in units:
            names, arrays = read_shard(self.folder, unit, self.key)
            for name, state, told in zip(names.to_pylist(), arrays["embedding"], arrays["record"], strict=True):
                records[name] = Record(**json.loads(told.tobytes().rstrip(b"\0")))
                states[name] = state
        return records, states

    def write(self, unit: str, records: Mapping[str, Record], states: Mapping[str, np.ndarray]) -> None:
        """Store a unit, instead of what is stored of it."""
        told = [json.dumps(asdict(record)).encode() for record in records.values()]
        longest = max(map(len, told))
        padded = np.frombuffer(b"".join(one.ljust(longest, b"\0") for one in told), np.uint8).reshape(-1, longest)
        embedding = np.stack([states[name] for name in records])
        write_shard(self.folder, unit, list(records), {"embedding": embedding, "record": padded}, self.key)


def _answer_unit(
    config: Config, writer: ProfileWriter, place: _Place, unit: str, sets: Mapping[str, ShotSet], pairs: pa.Table
) -> None:
    """Ask about the sets of a unit until each has a profile or was asked often enough, and store the unit."""
    user = _settings(config)
    records = dict.fromkeys(sets, Record())
    states = {name: np.full(writer.width, np.nan, np.float32) for name in sets}
    if is_finished(place.folder, unit, place.key):
        records, states = place.read([unit])
    asked = [one for name, one in sets.items() if not records[name].is_done(_retries(user))]
    shown = ShownPairs(config, pairs, [pair for one in asked for pair in one.pairs], user.image_size)
    for batch in _cut(list(sets), user.batch_size):
        for trial in range(_retries(user) + 1):
            # The same sets side by side in each try, whether or not the command was stopped in between.
            open_sets = [n for n in batch if records[n].profile is None and len(records[n].refused) == trial]
            if not open_sets:
                continue
            seeds = [_seed(user.seed, name, trial) for name in open_sets]
            for name, told in zip(
                open_sets, writer.profiles([shown.of(sets[name].pairs) for name in open_sets], seeds), strict=True
            ):
                refused = records[name].refused + ([] if told.text is not None else [told.answer])
                records[name] = Record(told.text, told.answer, told.seed, refused)
                if told.state is not None:
                    states[name] = told.state
    place.write(unit, records, states)


def _tell(config: Config, place: _Place, records: Mapping[str, Record], owner: Mapping[str, str]) -> None:
    """Write the tables of profiles and of answers without one, and name the people whom no profile describes.

    Raises:
        UserError: more than the share `user.max_unusable` of the sets that were asked for have no profile.
    """
    every = place.read(sorted(finished_units(place.folder, place.key)))[0] | dict(records)
    told = [{"set": name, "user": name.rpartition("/")[0], **asdict(record)} for name, record in sorted(every.items())]
    written = [{**row, "retries": len(row["refused"])} for row in told if row["profile"] is not None]
    text, count = pa.string(), pa.int64()
    _write_table(
        place.folder / "profiles.parquet",
        written,
        {"set": text, "user": text, "profile": text, "answer": text, "seed": count, "retries": count},
    )
    quarantine = place.folder / "quarantine.parquet"
    refused = [{**row, "answers": row["refused"]} for row in told if row["profile"] is None]
    _write_table(quarantine, refused, {"set": text, "user": text, "answers": pa.list_(text)})

    without = [name for name, record in records.items() if record.profile is None]
    if not without:
        return
    described = {owner[name] for name, record in records.items() if record.profile is not None}
    nobody = sorted({owner[name] for name in without} - described)
    share = (
        f"{len(without)} of {len(records)} sets of shots have no profile after {_retries(_settings(config))} retries"
    )
    left_out = f"; nothing describes {named(nobody, 'people')}" if nobody else ""
    if len(without) > _settings(config).max_unusable * len(records):
        raise UserError(
            f"{share}, more than user.max_unusable={_settings(config).max_unusable:g} allows{left_out}; read the "
            f"answers in {quarantine}, and use more user.retries (only these sets are asked again), or a larger model"
        )
    log.warning("%s%s; their answers are in %s", share, left_out, quarantine)


def _write_table(path: Path, rows: Sequence[Mapping[str, object]], columns: Mapping[str, pa.DataType]) -> None:
    schema = pa.schema(dict(columns))
    with atomic_path(path) as temporary:
        pq.write_table(pa.Table.from_pylist([{name: row[name] for name in columns} for row in rows], schema), temporary)


def _open_writer(config: Config, user: VlmUser) -> ProfileWriter:
    device = compute_device(config.trainer)
    return ProfileWriter(
        user.path,
        device,
        _dtype(device),
        position=user.position,
        layer=user.layer,
        max_new_tokens=user.max_new_tokens,
        temperature=user.temperature,
        top_p=user.top_p,
    )


def _dtype(device: torch.device) -> torch.dtype:
    return torch.bfloat16 if device.type == "cuda" else torch.float32


def _settings(config: Config) -> VlmUser:
    assert isinstance(config.user, VlmUser)
    return config.user


def _retries(user: VlmUser) -> int:
    """How often a set is asked again; not at all where the answer would be the same."""
    return user.retries if user.temperature else 0


def _seed(seed: int, name: str, trial: int) -> int:
    """63 bits for one try at a set of shots."""
    digest = blake2b(f"profile/{seed}/{name}/{trial}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def _cut(names: Sequence[str], length: int) -> Iterator[Sequence[str]]:
    for begin in range(0, len(names), length):
        yield names[begin : begin + length]
