"""Profiles of users by a vision-language model, and its hidden states as their vectors.

Sets of shots are answered in units of a few batches. A unit is stored as soon as it is done, so a killed command goes
on with the next one and comes to the same; several processes share the units without knowing of each other. A set that
is asked for twice, as a grouping or for a caption, is answered once.

R = rows that are asked for, E = width of an embedding.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ppd_lightning.errors import UserError
from ppd_lightning.progress import Counted
from ppd_lightning.storage.atomic import atomic_path
from ppd_lightning.storage.fingerprints import fingerprint
from ppd_lightning.users.new_choices import NewChoice
from ppd_lightning.users.shot_sets import ShotSet
from ppd_lightning.users.vlm_pairs import PromptPairs, named, prompt_pair
from ppd_lightning.users.vlm_records import ProfileUnits, Record
from ppd_lightning.users.vlm_settings import VlmSettings
from ppd_lightning.users.vlm_writer import ProfileWriter, vlm_dtype

if TYPE_CHECKING:
    from ppd_lightning.data.prepared import PreparedData
    from ppd_lightning.users.describing import Describing, Instruments

log = logging.getLogger(__name__)

UNIT_BATCHES = 4
"""Batches of a unit, whose images are read together."""


def describe_by_profiles(user: VlmSettings, using: Describing, pairs: pa.Table, sets: Sequence[ShotSet]) -> np.ndarray:
    """Raw vectors (R, E) float32 of sets of shots; a row of NaN where no answer held a profile.

    Beside the units lie profiles.parquet (set, user, profile, answer, seed, retries) and quarantine.parquet (set, user,
    answers), of every set that was answered with these settings. A set's name is its user and the ids of its pairs.

    Raises:
        UserError: files of the model are missing, an image of a shot is missing or damaged, or more sets than
            `user.max_unusable` have no profile.
    """
    stored = ProfileUnits(user, using)
    pair_ids = pairs["pair_id"].to_pylist()
    names = [set_of(one.user, [pair_ids[pair] for pair in one.pairs]) for one in sets]
    distinct = dict(zip(names, sets, strict=True))
    units = {fingerprint(unit): unit for unit in _cut(list(distinct), UNIT_BATCHES * user.batch_size)}
    missing = [unit for unit in units if not stored.is_done(unit, _retries(user))]
    if missing:
        writer = _open_writer(user, using)
        done = len(distinct) - sum(len(units[unit]) for unit in missing)
        with Counted("profiles", len(distinct), done=done, bar=using.progress) as counted:
            # In an order that no other process has, so that few units are made twice; nothing depends on it.
            for unit in random.Random().sample(missing, len(missing)):
                if not stored.is_done(unit, _retries(user)):
                    own = {name: distinct[name] for name in units[unit]}
                    _answer_unit(user, using.data, writer, stored, unit, own, pairs)
                counted.add(len(units[unit]))
    records, states = stored.read(units)
    _report(user, stored, records, {name: one.user for name, one in distinct.items()})
    return np.stack([states[name] for name in names])


def describe_new_by_profiles(
    user: VlmSettings, using: Instruments, people: Mapping[str, Sequence[NewChoice]]
) -> np.ndarray:
    """As `describe_by_profiles`, of people who are not in the data: asked one after the other, and nothing is stored.

    Raises:
        UserError: files of the model are missing.
    """
    writer = using.once("writer", lambda: _open_writer(user, using))
    states = np.full((len(people), writer.width), np.nan, np.float32)
    for row, (name, own) in enumerate(people.items()):
        asked = [prompt_pair(one.pair_id, one.caption, one.preferred, one.other, user.image_size) for one in own]
        set_name = set_of(name, [one.pair_id for one in own])
        for trial in range(_retries(user) + 1):
            (profile,) = writer.profiles([asked], [_seed(user.seed, set_name, trial)])
            if profile.state is not None:
                states[row] = profile.state
                break
    return states


def set_of(user: str, pair_ids: Sequence[str]) -> str:
    """The name of a set of shots: its user and the ids of its pairs."""
    return f"{user}/{'-'.join(pair_ids)}"


def _answer_unit(
    user: VlmSettings,
    data: PreparedData,
    writer: ProfileWriter,
    stored: ProfileUnits,
    unit: str,
    sets: Mapping[str, ShotSet],
    pairs: pa.Table,
) -> None:
    """Ask about the sets of a unit until each has a profile or was asked often enough, and store the unit."""
    records = dict.fromkeys(sets, Record())
    states = {name: np.full(writer.width, np.nan, np.float32) for name in sets}
    if stored.is_written(unit):
        records, states = stored.read([unit])
    asked = [one for name, one in sets.items() if not records[name].is_done(_retries(user))]
    prompt_pairs = PromptPairs(data, pairs, [pair for one in asked for pair in one.pairs], user.image_size)
    for batch in _cut(list(sets), user.batch_size):
        for trial in range(_retries(user) + 1):
            # The same sets side by side in each try, whether or not the command was stopped in between.
            open_sets = [n for n in batch if records[n].profile is None and len(records[n].refused) == trial]
            if not open_sets:
                continue
            seeds = [_seed(user.seed, name, trial) for name in open_sets]
            profiles = writer.profiles([prompt_pairs.of(sets[name].pairs) for name in open_sets], seeds)
            for name, profile in zip(open_sets, profiles, strict=True):
                refused = records[name].refused + ([] if profile.text is not None else [profile.answer])
                records[name] = Record(profile.text, profile.answer, profile.seed, refused)
                if profile.state is not None:
                    states[name] = profile.state
    stored.write(unit, records, states)


def _report(user: VlmSettings, stored: ProfileUnits, records: Mapping[str, Record], owner: Mapping[str, str]) -> None:
    """Write the tables of profiles and of answers without one, and name the people whom no profile describes.

    Raises:
        UserError: more than the share `user.max_unusable` of the sets that were asked for have no profile.
    """
    every = stored.read(stored.written())[0] | dict(records)
    rows = [{"set": name, "user": name.rpartition("/")[0], **asdict(record)} for name, record in sorted(every.items())]
    written = [{**row, "retries": len(row["refused"])} for row in rows if row["profile"] is not None]
    text, count = pa.string(), pa.int64()
    _write_table(
        stored.folder / "profiles.parquet",
        written,
        {"set": text, "user": text, "profile": text, "answer": text, "seed": count, "retries": count},
    )
    quarantine = stored.folder / "quarantine.parquet"
    refused = [{**row, "answers": row["refused"]} for row in rows if row["profile"] is None]
    _write_table(quarantine, refused, {"set": text, "user": text, "answers": pa.list_(text)})

    without = [name for name, record in records.items() if record.profile is None]
    if not without:
        return
    described = {owner[name] for name, record in records.items() if record.profile is not None}
    nobody = sorted({owner[name] for name in without} - described)
    share = f"{len(without)} of {len(records)} sets of shots have no profile after {_retries(user)} retries"
    left_out = f"; nothing describes {named(nobody, 'people')}" if nobody else ""
    if len(without) > user.max_unusable * len(records):
        raise UserError(
            f"{share}, more than user.max_unusable={user.max_unusable:g} allows{left_out}; read the "
            f"answers in {quarantine}, and use more user.retries (only these sets are asked again), or a larger model"
        )
    log.warning("%s%s; their answers are in %s", share, left_out, quarantine)


def _write_table(path: Path, rows: Sequence[Mapping[str, object]], columns: Mapping[str, pa.DataType]) -> None:
    schema = pa.schema(dict(columns))
    with atomic_path(path) as temporary:
        pq.write_table(pa.Table.from_pylist([{name: row[name] for name in columns} for row in rows], schema), temporary)


def _open_writer(user: VlmSettings, using: Instruments) -> ProfileWriter:
    return ProfileWriter(
        user.path,
        using.device,
        vlm_dtype(using.device),
        position=user.position,
        layer=user.layer,
        max_new_tokens=user.max_new_tokens,
        temperature=user.temperature,
        top_p=user.top_p,
    )


def _retries(user: VlmSettings) -> int:
    """How often a set is asked again; not at all where the answer would be the same."""
    return user.retries if user.temperature else 0


def _seed(seed: int, name: str, trial: int) -> int:
    """63 bits for one try at a set of shots."""
    digest = blake2b(f"profile/{seed}/{name}/{trial}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def _cut(names: Sequence[str], length: int) -> Iterator[Sequence[str]]:
    for begin in range(0, len(names), length):
        yield names[begin : begin + length]
