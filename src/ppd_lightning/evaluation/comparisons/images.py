"""The images of comparisons, drawn or found in the galleries of the run and of the base.

N = comparisons.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ppd_lightning.evaluation.comparisons.selection import Comparison
from ppd_lightning.generation.gallery import base_gallery, own_gallery
from ppd_lightning.generation.trained_run import TrainedRun

BASE, OWN, PROFILE = "base", "own", "profile"
"""The kinds of image: by the base, by the run for the person, by the base with the person's profile in its prompt."""


@dataclass(frozen=True)
class ComparisonImages:
    """Images of one kind, each of one comparison.

    rows: of these comparisons among all. comparisons: these. files: the images, in the same order.
    """

    rows: list[int]
    comparisons: list[Comparison]
    files: list[Path]


def draw_comparisons(
    trained: TrainedRun, comparisons: Sequence[Comparison], prompts: Mapping[Comparison, str] | None = None
) -> dict[str, ComparisonImages]:
    """Draw what is missing of N comparisons; where all users have one vector, they have one image.

    Args:
        prompts: what the base reads about the person of a comparison; who has none has no image of that kind.

    Returns:
        the images by kind.

    Raises:
        UserError: somebody cannot be described.
    """
    every = list(range(len(comparisons)))
    images = {
        BASE: ComparisonImages(every, [*comparisons], draw_base(trained, comparisons)),
        OWN: ComparisonImages(every, [*comparisons], draw_own(trained, comparisons)),
    }
    if prompts is not None:
        rows = [row for row, one in enumerate(comparisons) if one in prompts]
        of_rows = [comparisons[row] for row in rows]
        files = draw_base(trained, of_rows, [prompts[one] for one in of_rows])
        images[PROFILE] = ComparisonImages(rows, of_rows, files)
    return images


def draw_base(
    trained: TrainedRun, comparisons: Sequence[Comparison], prompts: Sequence[str] | None = None
) -> list[Path]:
    """The base's image of each comparison, N files; the model reads the prompts instead of the captions, if any."""
    captions, seeds = [one.caption for one in comparisons], [one.seed for one in comparisons]
    return base_gallery(trained).draw(captions, None, seeds, prompts)


def draw_own(trained: TrainedRun, comparisons: Sequence[Comparison]) -> list[Path]:
    """The run's image for the person of each comparison, N files.

    Raises:
        UserError: somebody cannot be described.
    """
    captions, seeds = [one.caption for one in comparisons], [one.seed for one in comparisons]
    users = trained.embeddings([one.user for one in comparisons], captions)
    return own_gallery(trained).draw(captions, users, seeds)
