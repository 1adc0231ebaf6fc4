"""Another person for each comparison, and what is drawn for them of the same caption and noise.

N = comparisons.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ppd_lightning.evaluation.comparisons.images import ComparisonImages, draw_own
from ppd_lightning.evaluation.comparisons.selection import Comparison
from ppd_lightning.generation.trained_run import TrainedRun

log = logging.getLogger(__name__)

OTHER = "other"
"""The kind of image that is drawn for the other person."""


@dataclass(frozen=True)
class Others:
    """The other person of each comparison that has one.

    rows: of these comparisons among all. swapped: the comparisons as if the other person were asked, in the same order.
    images: what is drawn for the other person, of all comparisons or of some.
    """

    rows: list[int]
    swapped: list[Comparison]
    images: ComparisonImages


def choose_others(comparisons: Sequence[Comparison], people: Mapping[str, Sequence[str]]) -> list[str | None]:
    """Another person of the same group for each of N comparisons, by hash; None where the group has one person alone.

    It is somebody whose image of the same caption and noise is compared too, as long as there is one: that is drawn
    anyway. Else it is anybody of the group.

    Args:
        people: everybody of each group.
    """
    everybody = {group: sorted(set(users)) for group, users in people.items()}
    compared: dict[tuple[str, str, int], set[str]] = {}
    for one in comparisons:
        compared.setdefault((one.group, one.caption, one.seed), set()).add(one.user)
    drawn = {key: sorted(users) for key, users in compared.items()}
    chosen: list[str | None] = []
    for one in comparisons:
        beside = drawn[one.group, one.caption, one.seed]
        candidates = beside if len(beside) > 1 else everybody[one.group]
        chosen.append(_another(candidates, one))
    return chosen


def draw_others(
    trained: TrainedRun, own: ComparisonImages, people: Mapping[str, Sequence[str]], which: Literal["all", "drawn"]
) -> Others:
    """Choose the others and draw what is missing of their images.

    Args:
        own: what is drawn for the person of each comparison.
        people: everybody of each group.
        which: all draws an image of every other person; drawn takes those alone that are among `own`.

    Raises:
        UserError: somebody cannot be described.
    """
    chosen = choose_others(own.comparisons, people)
    rows = [row for row, other in enumerate(chosen) if other is not None]
    swapped = [replace(own.comparisons[row], user=str(chosen[row])) for row in rows]
    files = dict(zip(own.comparisons, own.files, strict=True))
    missing = [one for one in dict.fromkeys(swapped) if one not in files]
    if which == "all" and missing:
        log.info("%d of %d comparisons need one more image, of another person", len(missing), len(swapped))
        files |= dict(zip(missing, draw_own(trained, missing), strict=True))
    pictured = [number for number, one in enumerate(swapped) if one in files]
    of_pictured = [rows[number] for number in pictured]
    images = ComparisonImages(
        of_pictured,
        [own.comparisons[row] for row in of_pictured],
        [files[swapped[number]] for number in pictured],
    )
    return Others(rows, swapped, images)


def _another(users: Sequence[str], one: Comparison) -> str | None:
    """Somebody else, by hash of the comparison; users: sorted, the person of the comparison among them."""
    others = [user for user in users if user != one.user]
    if not others:
        return None
    name = "\0".join((OTHER, one.group, one.user, one.caption, str(one.seed)))
    return others[int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little") % len(others)]
