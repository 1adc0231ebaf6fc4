"""Figure 5's baseline: a text about the person is appended to the caption that the base reads."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

from ppd_lightning.errors import UserError
from ppd_lightning.evaluation.comparisons.selection import Comparison
from ppd_lightning.users.texts import read_texts

log = logging.getLogger(__name__)

KEY = "evaluation.profiles"


def read_profiles(path: Path) -> dict[str, str]:
    """The text of each user in the file that `evaluation.profiles` names, by the user's name.

    It is such a table as `users.texts.read_texts` reads, or the profiles.parquet that `ppd embed` leaves with
    user=vlm, of which a user's first set of choices, by its name, is taken.

    Raises:
        UserError: the file is missing, damaged or of another form.
    """
    return read_texts(path, KEY, profiles=True)


def augmented(comparisons: Iterable[Comparison], profiles: dict[str, str]) -> dict[Comparison, str]:
    """The caption with the person's text appended, of each comparison whose person has one.

    Raises:
        UserError: nobody has one.
    """
    listed = list(comparisons)
    prompts = {one: f"{one.caption}. {profiles[one.user]}" for one in listed if one.user in profiles}
    without = sorted({one.user for one in listed} - profiles.keys())
    if not prompts:
        raise UserError(
            f"{KEY}: it has no text of anybody who is compared, such as {', '.join(without[:3])}; the users of the "
            "file must be called as in the pairs"
        )
    if without:
        log.warning("%s: %d people have no text and are left out of this baseline", KEY, len(without))
    return prompts
