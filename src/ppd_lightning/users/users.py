"""Everybody's embeddings, of whatever kind of user.

R = rows, N = rows that are asked for, E = width of an embedding, S = shots of a row.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ppd_lightning.data.pairs import caption_id, stable_ids
from ppd_lightning.data.shards import require_finite
from ppd_lightning.data.stores import Store
from ppd_lightning.errors import UserError
from ppd_lightning.storage.fingerprints import fingerprint
from ppd_lightning.users.captions import caption_vectors
from ppd_lightning.users.describer import NAME, Describer
from ppd_lightning.users.describing import Describing
from ppd_lightning.users.kind import UserKind
from ppd_lightning.users.rows import MADE_BY, UserRows, open_rows, write_rows
from ppd_lightning.users.scale import Scale, standardise
from ppd_lightning.users.set_spread import SetSpread
from ppd_lightning.users.shot_sets import ShotSet

VERSION = 3
"""Raised when the same settings would give other embeddings."""


class Users:
    """The users of prepared pairs and their embeddings.

    Embeddings of kinds that are described lie in `folder`; `describe` makes them. The others follow from who the users
    are.
    """

    def __init__(self, kind: UserKind, using: Describing) -> None:
        self.kind, self.using, self.data, self.shots = kind, using, using.data, using.shots

    @property
    def per_caption(self) -> bool:
        """Whether a user has a vector of their own for each caption that is asked for."""
        return self.kind.by_shots and self.shots.per_caption

    @property
    def folder(self) -> Path:
        """Where the embeddings of users who are described are stored."""
        settings: list[object] = [self.kind, self.shots if self.kind.by_shots else None]
        if self.using.rewards:
            settings.append(dict(self.using.rewards))
        return self.data.pairs_path.parent / f"users-{self.kind.kind}-{fingerprint(settings)}"

    def key(self) -> dict[str, str]:
        """What the embeddings must have been made from.

        Raises:
            UserError: the data are not prepared, or what describes users is missing.
        """
        key = {**self.data.pairs_key(), "encoder": self.kind.seen_with(self.using), "version": str(VERSION)}
        if self.kind.by_shots and self.shots.uses_captions:
            key["text_encoder"] = self.using.backbone.fingerprint("text_encoder")
        return key

    def fingerprint(self) -> str:
        """12 hex digits for what the vectors depend on, beside the settings: a training belongs to it."""
        return fingerprint(self.key() if self.kind.described else list(self.rows().users))

    def is_finished(self) -> bool:
        """Whether there is nothing for `describe` to do."""
        try:
            if self.kind.described:
                Store.open(self.folder, self.key()).verify()
                self.describer()
        except UserError:
            return False
        return True

    def describe(self) -> None:
        """Describe every user of the pairs and store that, standardised over those who are trained on.

        Where sets of shots are per caption there is a row for each caption of a user's own pairs that are not of the
        tests.

        Raises:
            UserError: the data are not prepared, people have too few choices, or what describes them is missing.
        """
        pairs, key = self.data.read_pairs(), self.key()
        sets = self._sets(pairs)
        if not sets:
            raise UserError(f"{self.data.pairs_path}: nobody has {self.shots.n} choices of other captions")
        raw = self.kind.describe(self.using, pairs, sets)
        seen = np.isin([one.user for one in sets], self.data.people()["seen"])
        if not np.isfinite(raw[seen]).all(1).any():
            raise UserError(f"user={self.kind.kind}: nobody who is trained on could be described")
        trained = np.flatnonzero(seen & np.isfinite(raw).all(1))
        scale = Scale.fitted(raw[trained], len({sets[row].user for row in trained}))
        facts = {
            "kind": self.kind.kind,
            "shots": self.shots.n if self.kind.by_shots else 1,
            "people": len(self.data.people()["seen"]),
            "seen_by": self.kind.seen_by(self.using),
            "spread": self._spread(scale, raw[trained], [sets[row] for row in trained]),
            "key": key,
        }
        Describer(scale, self.kind.fitted(self.using, pairs), facts).save(self.folder / NAME)
        write_rows(self.folder, pairs, sets, raw, scale, key)

    def describer(self) -> Describer:
        """How `describe` described them, for people who are not in the pairs.

        Raises:
            UserError: they are not described, by these settings or at all.
        """
        if not self.kind.described:
            raise UserError(f"user={self.kind.kind}: nobody new can be described: {self.kind.not_for_new}")
        found = Describer.open(self.folder / NAME)
        if found.facts["key"] != self.key():
            raise UserError(f"{self.folder / NAME}: made from other data or networks; run `{MADE_BY}` again")
        return found

    def rows(self) -> UserRows:
        """The rows of all users: as `describe` stored them, or one each, in alphabetical order, as the kind gives them.

        Raises:
            UserError: the store or the pairs are missing, damaged or stale.
        """
        if self.kind.described:
            return open_rows(self.folder, self.key(), per_caption=self.per_caption)
        if self.kind.seen_only:
            users = self.data.people()["seen"]
        else:
            users = sorted(pc.unique(self.data.read_pairs()["user_id"]).to_pylist())
        return UserRows(tuple(users), self.kind.vectors(users), np.empty((len(users), 0), np.int64))

    def vectors_learnt_of(self, people: Collection[str], rows: UserRows) -> np.ndarray:
        """Raw vectors (R, E) of the shots of some of `rows`, where the kind learns of these people's choices alone.

        Nobody else's rows are described, and how shots were chosen is not looked up again.

        Raises:
            UserError: as `describe`, or a vector is not finite.
        """
        pairs = self.data.read_pairs()
        ids = stable_ids(pairs["pair_id"])
        order = np.argsort(ids)
        places = order[np.searchsorted(ids, rows.shots, sorter=order)].tolist()
        sets = [
            ShotSet(f"{user}/{row}", user, tuple(own))
            for row, (user, own) in enumerate(zip(rows.users, places, strict=True))
        ]
        raw = self.kind.describe(replace(self.using, learnt_of=frozenset(people)), pairs, sets)
        require_finite(f"user={self.kind.kind}", rows.users, raw)
        return raw

    @property
    def embedding_dim(self) -> int:
        """E.

        Raises:
            UserError: as `rows`.
        """
        return int(self.rows().embeddings.shape[1])

    def served(self) -> tuple[dict[str, list[str]], list[str]]:
        """`PreparedData.people` without those who have no vector (`kind.not_served` says why), and these.

        Raises:
            UserError: the pairs are missing, or `ppd embed` has to find out who has a vector and has not run.
        """
        groups = self.data.people()
        if not self.kind.not_served:
            return groups, []
        served = set(self.rows().users)
        kept = {group: [user for user in users if user in served] for group, users in groups.items()}
        return kept, [user for users in groups.values() for user in users if user not in served]

    def asked(self, users: Sequence[str], captions: Sequence[str]) -> UserRows:
        """One row for each of N users, who is asked for with the caption beside it.

        It is the user's first grouping, where there are several. Where sets of shots are per caption the rows of these
        users and captions are described now and kept beside the others.

        Raises:
            UserError: somebody cannot be described.
        """
        if self.per_caption:
            asked = list(zip(users, map(caption_id, captions), strict=True))
            rows = self._rows_of_captions(sorted(set(asked)), captions)
            assert rows.captions is not None
            first = {one: row for row, one in enumerate(zip(rows.users, rows.captions, strict=True))}
        else:
            asked, rows = [(user, "") for user in users], self.rows()
            first = {(user, ""): row for row, user in reversed(list(enumerate(rows.users)))}
        unknown = sorted({user for user, caption in asked if (user, caption) not in first})
        if unknown:
            raise UserError(f"{', '.join(unknown)}: {self._why_unknown()}")
        chosen = np.array([first[one] for one in asked], np.int64)
        return UserRows(tuple(users), np.asarray(rows.embeddings[chosen], np.float32), rows.shots[chosen])

    def _why_unknown(self) -> str:
        if self.kind.not_served:
            return f"nobody of that name is in the pairs, or {self.kind.not_served}"
        if self.per_caption:
            return (
                f"nobody of that name has {self.shots.n} choices of other captions; use a smaller shots.n, or "
                "shots.select=random"
            )
        return f"nobody of that name is in the pairs; run `{MADE_BY}` for these pairs"

    def _spread(self, scale: Scale, raw: np.ndarray, sets: Sequence[ShotSet]) -> dict[str, float] | None:
        """How far vectors (R, E) of sets of those who are trained on spread, as JSON; None where that says nothing."""
        if not self.kind.mean_of_choices:
            return None
        shots = np.array([one.pairs for one in sets])
        found = SetSpread.fitted(standardise(raw, scale.standard), [one.user for one in sets], shots)
        return None if found is None else found.facts()

    def _sets(self, pairs: pa.Table) -> list[ShotSet]:
        """The set of every row that `describe` makes; an empty one a user, where no choices describe them."""
        if self.kind.by_shots:
            return self.shots.sets(pairs, lambda: caption_vectors(self.data, self.using.backbone))
        return [ShotSet(f"{user}/0", user, ()) for user in sorted(pc.unique(pairs["user_id"]).to_pylist())]

    def _rows_of_captions(self, asked: Sequence[tuple[str, str]], captions: Iterable[str]) -> UserRows:
        """Rows of users and caption ids, `asked`, made unless they are stored; only of those who can be described."""
        key, own = self.key(), self.folder / f"asked-{fingerprint(asked)}"
        try:
            return open_rows(own, key, per_caption=True)
        except UserError:
            scale = self.describer().scale
        pairs, further = self.data.read_pairs(), sorted(set(captions))
        sets = self.shots.sets(pairs, lambda: caption_vectors(self.data, self.using.backbone, further), asked)
        if not sets:
            return UserRows((), np.empty((0, scale.standard.shape[1])), np.empty((0, self.shots.n), np.int64), ())
        write_rows(own, pairs, sets, self.kind.describe(self.using, pairs, sets), scale, key)
        return open_rows(own, key, per_caption=True)
