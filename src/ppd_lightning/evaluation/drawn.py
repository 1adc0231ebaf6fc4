"""The pictures of comparisons, drawn or found: files of the run's gallery and of the base's.

N = comparisons.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ppd_lightning.evaluation.comparisons import Comparison
from ppd_lightning.generation.gallery import base_gallery, own_gallery
from ppd_lightning.generation.trained import TrainedRun


def draw_base(trained: TrainedRun, comparisons: Sequence[Comparison]) -> list[Path]:
    """The base's image of each comparison, N files."""
    return base_gallery(trained).draw([one.caption for one in comparisons], None, [one.seed for one in comparisons])


def draw_own(trained: TrainedRun, comparisons: Sequence[Comparison]) -> list[Path]:
    """The run's image for the person of each comparison, N files; where all users are one, so are their images.

    Raises:
        UserError: somebody cannot be described.
    """
    captions = [one.caption for one in comparisons]
    users = trained.users([one.user for one in comparisons], captions)
    return own_gallery(trained).draw(captions, users, [one.seed for one in comparisons])


def draw_for_profiles(
    trained: TrainedRun, comparisons: Sequence[Comparison], prompts: Mapping[Comparison, str]
) -> list[Path]:
    """The base's image of each comparison's prompt, N files, with the noise of its caption."""
    return base_gallery(trained).draw(
        [one.caption for one in comparisons],
        None,
        [one.seed for one in comparisons],
        [prompts[one] for one in comparisons],
    )
