"""What becomes of rows that are no pairs: the names under which they are counted, and what to do where none is left."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ppd_lightning.data.pickapic_rows import REASONS
from ppd_lightning.errors import UserError

LEFT_OUT = (*REASONS, "repeated", "contradictory", "damaged_image")
"""What `ppd prepare` and `ppd label` count of rows that nothing can be learnt from, whoever is asked."""

NOT_PAIRED = ("ties", "few_pairs", "users_with_few_pairs", "image_of_tests", "not_scored")
"""What they count of usable rows that became no pairs."""

REMEDIES = {
    "few_pairs": "add choices of the same people, or lower data.min_pairs, data.held_out_captions or data.unseen_users",
    "image_of_tests": "show an image with one caption and to one person only: those of the tests are never learnt from",
    "contradictory": "keep one of two rows that say the opposite of each other",
    "ties": "add choices in which one of the images is preferred",
}
"""What to do where most rows are left out for that reason."""


def require_pairs(path: Path, counts: Mapping[str, int]) -> None:
    """Raise a `UserError` with reasons and remedy where no row became a pair.

    Args:
        path: of the pairs. counts: of rows, of those left out by reason, and of pairs.
    """
    if counts["pairs"]:
        return
    why = ", ".join(f"{name} {counts[name]}" for name in (*LEFT_OUT, *NOT_PAIRED) if counts.get(name))
    most = max(REMEDIES, key=lambda name: counts.get(name, 0))
    remedy = REMEDIES[most] if counts.get(most) else "add choices"
    raise UserError(f"{path}: none of {counts['rows']} rows became a pair ({why}); {remedy}")
