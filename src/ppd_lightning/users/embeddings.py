"""Everybody's embeddings, by what kind of user the configuration asks for.

R = rows, N = rows that are asked for, E = width of an embedding, S = shots of a row.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ppd_lightning.backbones.released import ReleasedModel, open_model
from ppd_lightning.config.folders import rewards_of_users
from ppd_lightning.config.schemas import Config, DescribedUser
from ppd_lightning.data import prepared as layout
from ppd_lightning.data.pairs import caption_id, stable_ids
from ppd_lightning.data.stores import Store, StoredArray, write_store
from ppd_lightning.errors import UserError
from ppd_lightning.storage.fingerprints import fingerprint
from ppd_lightning.users.captions import caption_vectors
from ppd_lightning.users.discriminants import standard, standardise
from ppd_lightning.users.kinds import is_described, needs_captions, open_kind
from ppd_lightning.users.shots import ShotSet, diverse_sets, nearest_sets, random_sets

VERSION = 2
"""Raised when the same settings would give other embeddings."""

STANDARD = "standard"
"""The store beside the embeddings that holds their centre and scale."""


NOT_SERVED = {
    "id": "user=id has a dimension for each person who was trained on and cannot serve anybody else; use a kind that "
    "describes people, such as user=features",
    "vlm": "the vision-language model wrote no profile from their choices; its answers are in the quarantine",
}
"""Why a kind of user leaves people out."""


@dataclass(frozen=True)
class UserRows:
    """Embeddings with one row a user, or several: one for each grouping of shots, or for each caption.

    users: R user ids. embeddings: (R, E) floats, in memory or stored. shots: (R, S) int64, the stable ids of the pairs
    that made each row; S is 0 where no pair did. captions: R ids of the captions that the rows are for; None where a
    row is for every caption.
    """

    users: tuple[str, ...]
    embeddings: np.ndarray | StoredArray
    shots: np.ndarray
    captions: tuple[str, ...] | None = None


def embeddings_folder(config: Config) -> Path:
    """Where `ppd embed` stores the embeddings of the users who are described."""
    settings: list[object] = [config.user, config.shots if isinstance(config.user, DescribedUser) else None]
    if rewards_of_users(config):
        settings.append(rewards_of_users(config))
    return layout.pairs_path(config).parent / f"users-{config.user.kind}-{fingerprint(settings)}"


def embeddings_key(config: Config, model: ReleasedModel) -> dict[str, str]:
    """What those embeddings must have been made from."""
    key = {**layout.pairs_key(config), "encoder": open_kind(config).seen_with(config, model), "version": str(VERSION)}
    if isinstance(config.user, DescribedUser) and config.shots.select != "random":
        key["text_encoder"] = model.fingerprint("text_encoder")
    return key


def users_fingerprint(config: Config, model: ReleasedModel) -> str:
    """12 hex digits for what the vectors of the users depend on, beside the settings: a training belongs to it."""
    if is_described(config):
        return fingerprint(embeddings_key(config, model))
    return fingerprint(list(open_user_rows(config, model).users))


def describe_users(config: Config, model: ReleasedModel) -> None:
    """Describe every user of the pairs and store that, standardised over those who are trained on.

    With `shots.select=caption_aware` there is a row for each caption of a user's own pairs that are not of the tests.

    Raises:
        UserError: the data are not prepared, people have too few choices, or what describes them is missing.
    """
    pairs, key = layout.read_pairs(config), embeddings_key(config, model)
    sets = _sets(config, model, pairs)
    if not sets:
        raise UserError(f"{layout.pairs_path(config)}: nobody has {config.shots.n} choices of other captions")
    raw = open_kind(config).describe(config, model, pairs, sets)
    seen = np.isin([one.user for one in sets], layout.people_of(config)["seen"])
    if not np.isfinite(raw[seen]).all(1).any():
        raise UserError(f"user={config.user.kind}: nobody who is trained on could be described")
    scale = standard(raw[seen & np.isfinite(raw).all(1)])
    write_store(embeddings_folder(config) / STANDARD, ["centre", "scale"], {"value": scale}, key)
    _write(embeddings_folder(config), pairs, sets, raw, scale, key)


def open_user_rows(config: Config, model: ReleasedModel) -> UserRows:
    """The rows that describe the users of the pairs.

    - who are described: what `ppd embed` stored.
    - one_hot: a dimension for each user, in alphabetical order; id: for each user who is trained on.
    - constant: the same one-dimensional vector for everybody.

    Raises:
        UserError: the store or the pairs are missing, damaged or stale.
    """
    if is_described(config):
        return _open(config, embeddings_folder(config), embeddings_key(config, model))
    if config.user.kind == "id":
        users = tuple(layout.people_of(config)["seen"])
    else:
        users = tuple(sorted(pc.unique(layout.read_pairs(config)["user_id"]).to_pylist()))
    vectors = np.ones((len(users), 1), np.float32)
    if config.user.kind in ("one_hot", "id"):
        vectors = np.eye(len(users), dtype=np.float32)
    return UserRows(users, vectors, np.empty((len(users), 0), np.int64))


def people_served(config: Config) -> tuple[dict[str, list[str]], list[str]]:
    """`layout.people_of` without those whom this kind of user cannot serve (`NOT_SERVED` says why), and these.

    Raises:
        UserError: the pairs are missing, or `ppd embed` has to say of whom there is a profile and has not run.
    """
    groups = layout.people_of(config)
    if config.user.kind not in NOT_SERVED:
        return groups, []
    served = set(open_user_rows(config, open_model(config.model)).users)
    kept = {group: [user for user in users if user in served] for group, users in groups.items()}
    return kept, [user for users in groups.values() for user in users if user not in served]


def asked_rows(config: Config, model: ReleasedModel, users: Sequence[str], captions: Sequence[str]) -> UserRows:
    """One row for each of N users, who is asked for with the caption beside it.

    It is the user's first grouping, where there are several. With `shots.select=caption_aware` the rows of these users
    and captions are described now and kept beside the others.

    Raises:
        UserError: somebody cannot be described.
    """
    if needs_captions(config):
        asked = list(zip(users, map(caption_id, captions), strict=True))
        rows = _rows_of_captions(config, model, sorted(set(asked)), captions)
        assert rows.captions is not None
        first = {one: row for row, one in enumerate(zip(rows.users, rows.captions, strict=True))}
    else:
        asked, rows = [(user, "") for user in users], open_user_rows(config, model)
        first = {(user, ""): row for row, user in reversed(list(enumerate(rows.users)))}
    unknown = sorted({user for user, caption in asked if (user, caption) not in first})
    if unknown:
        raise UserError(f"{', '.join(unknown)}: {_why_unknown(config)}")
    chosen = np.array([first[one] for one in asked], np.int64)
    return UserRows(tuple(users), np.asarray(rows.embeddings[chosen], np.float32), rows.shots[chosen])


def _why_unknown(config: Config) -> str:
    if config.user.kind == "id":
        return NOT_SERVED["id"]
    if config.user.kind == "vlm":
        return f"{NOT_SERVED['vlm']}, or nobody of that name is in the pairs"
    if needs_captions(config):
        return (
            f"nobody of that name has {config.shots.n} choices of other captions; use a smaller shots.n, or "
            "shots.select=random"
        )
    return "nobody of that name is in the pairs; run `ppd embed` for these pairs"


def _sets(config: Config, model: ReleasedModel, pairs: pa.Table) -> list[ShotSet]:
    """Every row that `ppd embed` makes; for words instead of choices, one a user without any."""
    shots = config.shots
    if not isinstance(config.user, DescribedUser):
        return [ShotSet(f"{user}/0", user, ()) for user in sorted(pc.unique(pairs["user_id"]).to_pylist())]
    if shots.select == "random":
        return random_sets(pairs, shots.n, shots.groupings)
    captions = caption_vectors(config, model)
    if shots.select == "diverse":
        return diverse_sets(pairs, shots.n, shots.groupings, captions)
    own = pairs.filter(pc.is_in(pairs["split"], pa.array(["train", "validation", "shots"])))
    asked = own.select(["user_id", "caption_id"]).group_by(["user_id", "caption_id"]).aggregate([])
    return nearest_sets(pairs, shots.n, zip(*(column.to_pylist() for column in asked.columns), strict=True), captions)


def _rows_of_captions(
    config: Config, model: ReleasedModel, asked: Sequence[tuple[str, str]], captions: Iterable[str]
) -> UserRows:
    """Rows of users and caption ids, `asked`, made where they are not there; of those whom somebody can describe."""
    folder, key = embeddings_folder(config), embeddings_key(config, model)
    own = folder / f"asked-{fingerprint(asked)}"
    try:
        return _open(config, own, key)
    except UserError:
        scale = Store.open(folder / STANDARD, key, made_by="ppd embed").arrays["value"][:]
    pairs = layout.read_pairs(config)
    sets = nearest_sets(pairs, config.shots.n, asked, caption_vectors(config, model, sorted(set(captions))))
    if not sets:
        return UserRows((), np.empty((0, scale.shape[1])), np.empty((0, config.shots.n), np.int64), ())
    _write(own, pairs, sets, open_kind(config).describe(config, model, pairs, sets), scale, key)
    return _open(config, own, key)


def _write(
    folder: Path, pairs: pa.Table, sets: Sequence[ShotSet], raw: np.ndarray, scale: np.ndarray, key: dict[str, str]
) -> None:
    usable = np.flatnonzero(np.isfinite(raw).all(1)).tolist()
    shots = np.array([sets[row].pairs for row in usable], np.int64)
    arrays = {"embedding": standardise(raw[usable], scale)}
    if shots.shape[1]:
        arrays["shots"] = stable_ids(pairs["pair_id"])[shots]
    write_store(folder, [sets[row].row for row in usable], arrays, key)


def _open(config: Config, folder: Path, key: dict[str, str]) -> UserRows:
    store = Store.open(folder, key, made_by="ppd embed")
    users, kinds = zip(*(row.rsplit("/", 1) for row in store.ids.to_pylist()), strict=True)
    shots = store.arrays["shots"][:] if "shots" in store.arrays else np.empty((len(store), 0), np.int64)
    return UserRows(users, store.arrays["embedding"], shots, kinds if needs_captions(config) else None)
