"""`ppd classify`: how well embeddings identify users, by a classifier of whose choices made an embedding."""

from __future__ import annotations

import hashlib
import logging
import math
import time
from fractions import Fraction
from typing import Any

import numpy as np
from rich.table import Table

from ppd_lightning.config.root import Config
from ppd_lightning.config.workspace import Workspace
from ppd_lightning.console import table_console
from ppd_lightning.errors import UserError
from ppd_lightning.evaluation.scores.long_tail import numbers_of_pairs
from ppd_lightning.evaluation.settings import Classification
from ppd_lightning.evaluation.statistics.classification import splits_of, top_rates
from ppd_lightning.evaluation.statistics.intervals import words
from ppd_lightning.storage.fingerprints import fingerprint
from ppd_lightning.storage.result_folder import finish_folder, finished_summary
from ppd_lightning.users.rows import UserRows
from ppd_lightning.users.scale import LEAST_PEOPLE
from ppd_lightning.users.users import Users

log = logging.getLogger(__name__)

VERSION = 3
"""Raised when the same embeddings would give other figures."""
LEFT = Fraction(1, 6)
"""The share of people who are left to learn of, at least: 60 of the embedded world's 360."""


def run(config: Config) -> dict[str, Any]:
    """Train and test the classifiers of `classification`; the result is kept beside the embeddings.

    Where a kind of user learns of people's choices (directions, types), it learns anew here, of people who are not told
    apart: else a tested row would lie nearer to its user's other rows for having been learnt of.

    Returns:
        the summary: users, rows, how many others the kind learnt of (null where it learns of nobody), how many users
        could be tested on pairs that were not trained on, and of each size k of the shortlist, top_{k}: rate, low and
        high of its interval, and chance.

    Raises:
        UserError: the embeddings are missing, there is one row a user, or too few others to learn of.
    """
    begun, settings, people = time.monotonic(), config.classification, Workspace(config).users
    rows = people.rows()
    chosen = users_with_most_pairs(people, rows, settings.users)
    key = {"settings": settings, "embeddings": people.key(), "version": VERSION}
    folder = people.folder / f"classification-{fingerprint(key)}"
    if (finished := finished_summary(folder)) is not None:
        _print(settings, finished)
        return finished | {"folder": str(folder)}
    number = {user: index for index, user in enumerate(chosen)}
    place = np.array([row for row, user in enumerate(rows.users) if user in number])
    own = UserRows(tuple(rows.users[row] for row in place), np.asarray(rows.embeddings[place]), rows.shots[place])
    users = np.array([number[user] for user in own.users])
    splits = splits_of(users, own.shots, settings.tests)  # before anything is learnt, which takes long
    if (most := int(np.bincount(users).max())) < settings.tests:
        log.warning(
            "classification.tests=%d: users have %d rows at most, so the same rows are tested again; classification."
            "tests=%d says as much",
            settings.tests,
            most,
            most,
        )
    others, vectors = None, np.asarray(own.embeddings)
    if people.kind.learns_of_people:
        others = set(rows.users).difference(chosen)
        vectors = people.vectors_learnt_of(others, own)
        if vectors.shape[1] < own.embeddings.shape[1]:
            log.warning(
                "%d users are told apart, so directions or types are learnt of the %d others: %d, where embeddings "
                "have %d; a smaller classification.users leaves more others",
                len(chosen),
                len(others),
                vectors.shape[1],
                own.embeddings.shape[1],
            )
    rates, tested = top_rates(
        vectors,
        users,
        splits,
        sizes=settings.top,
        regularisation=settings.regularisation,
        resamples=settings.bootstrap,
    )
    summary = {
        "users": len(chosen),
        "rows": len(users),
        "width": vectors.shape[1],
        "learnt_of_others": None if others is None else len(others),
        "tests": settings.tests,
        "users_tested": tested,
        **{f"top_{size}": rate for size, rate in zip(settings.top, rates, strict=True)},
        "seconds": round(time.monotonic() - begun, 1),
    }
    finish_folder(folder, summary)
    _print(settings, summary)
    return summary | {"folder": str(folder)}


def users_with_most_pairs(people: Users, rows: UserRows, count: int) -> list[str]:
    """The `count` users with the most pairs, ties by hash; only those who have several rows.

    Where the kind learns of people, a `LEFT` of everybody is left to learn of at least.
    """
    names, counts = np.unique(np.array(rows.users, object).astype(str), return_counts=True)
    several = {str(name) for name in names[counts > 1]}
    if len(several) < 2 or not rows.shots.shape[1]:
        if len(names) < 2:
            remedy = "add choices of others"
        elif people.kind.by_shots:
            remedy = "set shots.groupings above 1, and run `ppd embed` with it"
        else:
            remedy = "take a kind that choices describe, such as user=features, with shots.groupings above 1"
        raise UserError(
            f"user={people.kind.kind}: a classifier learns from some rows of each user and is tested on others, and "
            f"{len(several)} of {len(names)} users have several; {remedy}"
        )
    if people.kind.learns_of_people:
        left = max(LEAST_PEOPLE, math.ceil(LEFT * len(names)))
        if (most := len(names) - left) < 2:
            raise UserError(
                f"user={people.kind.kind}: what it learns of people has to come from others than those who are "
                f"told apart, so {LEAST_PEOPLE + 2} people are needed, and there are {len(names)}; add choices of "
                "others, or take a kind that compares nobody, such as user=reward"
            )
        if most < min(count, len(several)):
            log.warning(
                "user=%s: %d of %d users are told apart, since what is learnt of people comes from the others; compare "
                "with kinds that learn of nobody at classification.users=%d",
                people.kind.kind,
                most,
                len(names),
                most,
            )
            count = most
    pairs = numbers_of_pairs(people.data.read_pairs())
    order = sorted(several, key=lambda user: (-pairs[user], hashlib.blake2b(user.encode()).digest()))
    return sorted(order[:count])


def _print(settings: Classification, summary: dict[str, Any]) -> None:
    table = Table(title=f"Whose choices are these? {summary['users']} users", title_justify="left")
    for name in ("among the first", "right", "95 % interval", "chance"):
        table.add_column(name, justify="right")
    for size in settings.top:
        rate = summary[f"top_{size}"]
        interval = words(rate["low"], rate["high"], ".3f", "-")
        table.add_row(str(size), f"{rate['rate']:.3f}", interval, f"{rate['chance']:.3f}")
    console = table_console()
    console.print(table)
    console.print(f"tests of a user: {summary['tests']} at most; intervals: bootstrap over users")
    if (others := summary["learnt_of_others"]) is not None:
        console.print(f"what embeddings learn of people was learnt anew, of the {others} others")
    console.print(
        f"tested: {summary['users_tested']} users, on rows that share no pair with those that were trained on; "
        "the others' rows all share pairs"
        if summary["users_tested"] < summary["users"]
        else "no row that is tested shares a pair with its user's rows that were trained on"
    )
