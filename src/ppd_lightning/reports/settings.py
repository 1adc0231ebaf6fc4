"""What a report is about."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from ppd_lightning.settings.part import settings
from ppd_lightning.settings.values import FolderText, PathText, Real, Resamples

MEASURING = frozenset(
    (
        *("prepare", "label", "stats", "verify", "embed", "classify", "reference", "train", "evaluate"),
        *("interpolate", "judge", "describe", "generate", "export", "demo"),
    )
)
"""The verbs whose summaries hold figures."""


def _of_a_verb(metric: str) -> str:
    verb, _, name = metric.partition(".")
    if verb not in MEASURING or not name.strip("."):
        raise PydanticCustomError(
            "metric", "a figure is named by its verb and its path in the summary, such as evaluate.win_rate.unseen.rate"
        )
    return metric


@settings
class Report:
    """What a page says, and by which number a run is chosen."""

    of: Annotated[list[PathText], Field(min_length=1)] | None
    """Folders of runs and sweeps: one has a page of its own, several are compared as a study; null is the sweep of
    output that was last worked on."""
    to: FolderText | None
    """The folder of the page and its tables; null is that of the run or sweep itself, of a study one in
    {output}/reports that follows from report.of."""
    metric: Annotated[str, Field(min_length=1), AfterValidator(_of_a_verb)] | None
    """The number that names the best run, as a column of runs.csv; null is the first main number that was measured."""
    goal: Literal["maximize", "minimize"]
    """Which way that number is better."""
    unfinished: bool
    """Whether ppd select may choose from a sweep of which runs are missing."""
    content: Annotated[str, Field(min_length=1)] | None
    """What curves of taste are drawn against, as in a column own/NAME of comparisons.parquet; null is concept, else
    CLIP's score."""
    levels: list[Real] | None
    """At which of its values methods are compared; null takes round ones that all curves reach."""
    bootstrap: Resamples
    """Resamplings of people and trainings for the intervals of a study."""
