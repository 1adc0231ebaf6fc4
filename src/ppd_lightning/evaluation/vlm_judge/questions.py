"""What a judge is asked: pairs of images, of which one is the person's, beside the person's few-shot pairs.

N = cases.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL.Image import Image

from ppd_lightning.data.pairs import stable_ids
from ppd_lightning.data.splits import hash_fraction
from ppd_lightning.evaluation.comparisons.selection import Comparison
from ppd_lightning.evaluation.vlm_judge.judge import Question
from ppd_lightning.generation.drawn_files import read_picture
from ppd_lightning.users.shot_sets import DESCRIBING
from ppd_lightning.users.vlm_pairs import PromptPairs

BLOCK = 32
"""Cases whose shots are in memory at once."""

ROUNDING = 1
"""By how much a byte of an image may differ because of the other images of its batch (`generation.gallery`)."""


@dataclass(frozen=True)
class Case:
    """An image that should be preferred and another one, for a person.

    Of a comparison: the files of the person's image and of the base's, and the noise seed of both. Of a person's own
    choice: its id and its row in the pairs; the preferred image is the one that should be.
    """

    group: str
    user: str
    caption: str
    seed: int | None = None
    files: tuple[Path, Path] | None = None
    pair: str | None = None
    row: int | None = None


def comparison_cases(comparisons: Sequence[Comparison], own: Sequence[Path], base: Sequence[Path]) -> list[Case]:
    """A case for each comparison; one that comes twice is one.

    Args:
        own: the person's image of each comparison.
        base: the base's image of each.
    """
    cases = [
        Case(one.group, one.user, one.caption, one.seed, files)
        for one, files in zip(comparisons, zip(own, base, strict=True), strict=True)
    ]
    return list(dict.fromkeys(cases))


def choice_cases(pairs: pa.Table, group: str, users: Sequence[str], count: int) -> list[Case]:
    """Up to `count` held-out choices of these people, by hash: one of each before anybody has a second.

    Args:
        pairs: `data.pairs.PAIRS_SCHEMA`.
        group: seen or unseen; their held-out pairs are the split test_{group}.
    """
    held_out = pc.and_(
        pc.equal(pairs["split"], f"test_{group}"), pc.is_in(pairs["user_id"], pa.array(users, pa.string()))
    )
    rows = np.flatnonzero(np.asarray(held_out))
    listed = pairs.select(["pair_id", "user_id", "caption"]).take(pa.array(rows)).to_pylist()
    own: dict[str, list[Case]] = {}
    for row, pair in zip(rows.tolist(), listed, strict=True):
        case = Case(group, pair["user_id"], pair["caption"], pair=pair["pair_id"], row=row)
        own.setdefault(pair["user_id"], []).append(case)
    turns = []
    for user, cases in own.items():
        cases.sort(key=lambda case: hash_fraction("agreement", str(case.pair)))
        turns += [(turn, hash_fraction("agreement", user), case) for turn, case in enumerate(cases)]
    return [case for *_, case in sorted(turns, key=lambda one: one[:2])[:count]]


def few_shot_rows(cases: Sequence[Case], pairs: pa.Table, described: np.ndarray, count: int) -> list[tuple[int, ...]]:
    """The few-shot set of each case, as rows of the pairs: those that describe the person for this caption.

    A pair of the very caption is left out, and another of the person's describing pairs, by hash, replaces it. So it is
    for people whom no pairs describe: `count` are taken by hash.

    Args:
        pairs: `data.pairs.PAIRS_SCHEMA`.
        described: (N, S) stable ids of the pairs that describe each case's person; S is 0 where none do.
        count: of pairs, where S is 0.
    """
    wanted = described.shape[1] or count
    people = pa.array(sorted({case.user for case in cases}), pa.string())
    usable = pc.and_(pc.is_in(pairs["split"], pa.array(DESCRIBING)), pc.is_in(pairs["user_id"], people))
    rows = np.flatnonzero(np.asarray(usable))
    own = pairs.select(["pair_id", "user_id", "caption"]).take(pa.array(rows))
    row_of = dict(zip(stable_ids(own["pair_id"]).tolist(), rows.tolist(), strict=True))
    captions = dict(zip(rows.tolist(), own["caption"].to_pylist(), strict=True))
    hashed: dict[str, list[tuple[float, int]]] = {}
    for row, pair in zip(rows.tolist(), own.select(["pair_id", "user_id"]).to_pylist(), strict=True):
        hashed.setdefault(pair["user_id"], []).append((hash_fraction("shown", pair["pair_id"]), row))
    further = {user: [row for _, row in sorted(listed)] for user, listed in hashed.items()}
    few_shot = []
    for case, first in zip(cases, described.tolist(), strict=True):
        listed = dict.fromkeys([*(row_of[pair] for pair in first), *further.get(case.user, [])])
        few_shot.append(tuple([row for row in listed if captions[row] != case.caption][:wanted]))
    return few_shot


def differs(case: Case) -> bool:
    """Whether a comparison's two images are not the same, but for rounding; people's own pairs always are two."""
    if case.files is None:
        return True
    own, base = (np.asarray(read_picture(file), np.int16) for file in case.files)
    return own.shape != base.shape or bool((np.abs(own - base) > ROUNDING).any())


def questions_of(
    cases: Sequence[Case],
    few_shot: Sequence[Sequence[int]],
    read_pairs: Callable[[Sequence[int]], PromptPairs],
    side: int,
) -> Iterator[Question]:
    """Two questions a case: the image that should be preferred comes first, then second.

    Args:
        few_shot: `few_shot_rows` of these cases.
        read_pairs: reads rows of the pairs with their images.
        side: longest side in pixels of an image.

    Raises:
        UserError: an image is missing or damaged.
    """
    for begin in range(0, len(cases), BLOCK):
        block = range(begin, min(begin + BLOCK, len(cases)))
        read = read_pairs([row for index in block for row in (*few_shot[index], *_own_row(cases[index]))])
        for index in block:
            case = cases[index]
            question = Question(tuple(read.of(few_shot[index])), case.caption, _images(case, read, side))
            yield question
            yield question.swapped()


def _own_row(case: Case) -> tuple[int, ...]:
    return () if case.row is None else (case.row,)


def _images(case: Case, read: PromptPairs, side: int) -> tuple[Image, Image]:
    """The image that should be preferred, and the other."""
    if case.files is None:
        [pair] = read.of(_own_row(case))
        return pair.images if pair.preferred == 1 else (pair.images[1], pair.images[0])
    own, base = map(read_picture, case.files)
    for image in (own, base):
        image.thumbnail((side, side))
    return own, base
