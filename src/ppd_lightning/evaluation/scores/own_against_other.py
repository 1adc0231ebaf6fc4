"""Is it personal? A person's image judged by another person, and beside another person's image.

N = comparisons.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ppd_lightning.evaluation.comparisons.images import BASE, OWN, ComparisonImages
from ppd_lightning.evaluation.comparisons.others import Others
from ppd_lightning.evaluation.scores.group_win_rates import WinRates, margins
from ppd_lightning.evaluation.scores.scorers import Scorers

PERSONAL = {
    "other_taste_win_rate": "judged by another person: the user's image over the base's",
    "own_against_other": "judged by the user: the user's image over another person's",
}
"""Parts of an evaluation's summary that say whether it is personal, and what they compare."""


@dataclass(frozen=True)
class OwnAgainstOther:
    """Scores by what decides for a person, each with the comparisons that have it.

    by_other: of the kinds base and own, what the other person thinks of the image, by the scorer's name, for
    `others.rows`. of_other: what the person thinks of the other person's image, for `others.images.rows`. own: of their
    own image, for the same.
    """

    others: Others
    by_other: Mapping[str, Mapping[str, np.ndarray]]
    of_other: Mapping[str, np.ndarray]
    own: Mapping[str, np.ndarray]

    def rates(self, scorers: Scorers, rates: WinRates) -> dict[str, Any]:
        """The win rates for a summary, by group of people.

        other_taste_win_rate: the person's image against the base's, where the other person decides; one half if the
        image is right for this person alone. own_against_other: the person's image against the other person's, where
        the person decides.
        """
        found: dict[str, Any] = {}
        if self.others.rows:
            margin = margins(scorers.deciding, self.others.swapped, self.by_other[BASE], self.by_other[OWN])
            found["other_taste_win_rate"] = rates.by_group(self.others.swapped, margin.decisive)
        if self.others.images.rows:
            comparisons = self.others.images.comparisons
            margin = margins(scorers.deciding, comparisons, self.of_other, self.own)
            found["own_against_other"] = rates.by_group(comparisons, margin.decisive)
        return found

    def columns(self) -> dict[str, tuple[list[int], list[Any]]]:
        """Further columns of comparisons.parquet: rows and their values, by name.

        other is the other person; {kind}/other_taste what they think of the image of that kind.
        """
        users = [one.user for one in self.others.swapped]
        found: dict[str, tuple[list[int], list[Any]]] = {"other": (self.others.rows, users)}
        for kind, scores in self.by_other.items():
            taste = next(iter(scores.values())).copy()
            for name, values in scores.items():
                own = np.array([user == name for user in users])
                taste[own] = values[own]
            found[f"{kind}/other_taste"] = (self.others.rows, taste.tolist())
        return found


def score_others(
    scorers: Scorers,
    images: Mapping[str, ComparisonImages],
    scores: Mapping[str, Mapping[str, np.ndarray]],
    others: Others,
) -> OwnAgainstOther:
    """Ask those who decide about the images that were scored for their own person, and about the others' images.

    Args:
        images, scores: by kind of image.
    """
    deciding = scorers.deciding
    by_other = {
        kind: deciding.score(others.swapped, [images[kind].files[row] for row in others.rows], content=False)
        for kind in (BASE, OWN)
    }
    of_other = deciding.score(others.images.comparisons, others.images.files, content=False)
    own = {name: scores[OWN][name][others.images.rows] for name in deciding.names}
    return OwnAgainstOther(others, by_other, of_other, own)
