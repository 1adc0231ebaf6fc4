"""What was measured of one run's pictures: win rates, rewards, people told apart, a judge's verdicts, blends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ppd_lightning.reports.blocks import Block, More, Section, Sheet, Words
from ppd_lightning.reports.results import RunResult, read_json
from ppd_lightning.reports.thumbnails import SHEET, thumbnail
from ppd_lightning.reports.told import matrix, number_table, rate_blocks

APART = ("long_tail", "profiles", "concept_accuracy", "mean_own_score", "mean_scores", "lowest")
"""Parts of an evaluation's summary that have tables of their own."""


def evaluation_sections(run: RunResult) -> Iterator[Section]:
    """A section for each evaluation of the run's weights."""
    for one in run.evaluations:
        judged, drawn = one.settings["evaluation"], one.settings["generation"]
        yield Section(
            f"Evaluation at user guidance {one.guidance:g}",
            [
                Words(
                    f"Pictures for a person against the base's, of the same caption and noise; captions: "
                    f"{judged['captions']}, {drawn['steps']} steps, text guidance {drawn['text_guidance']}, user "
                    f"shown at times {drawn['user_guidance_interval']}. "
                    f"A tie (a difference up to {judged['tie']}) counts half; the "
                    f"intervals are of {judged['bootstrap']} resamplings of people (captions where rewards are users).",
                    "note",
                ),
                *_evaluation(one.summary),
                Words(one.folder.name, "note"),
            ],
        )


def _evaluation(summary: Mapping[str, Any]) -> Iterator[Block]:
    yield from rate_blocks(
        {key: value for key, value in summary.items() if key not in APART}, "Win rates over the base"
    )
    if "concept_accuracy" in summary:
        yield matrix({"recognised": summary["concept_accuracy"]}, "Concept recognised in the pictures", "")
    if "mean_own_score" in summary:
        yield matrix({"mean": summary["mean_own_score"]}, "Mean score by what decides for each user", "")
    if "mean_scores" in summary:
        yield matrix(summary["mean_scores"], "Mean rewards of the pictures", "drawn by or for")
    if "long_tail" in summary:
        told = rate_blocks(summary["long_tail"], "Win rates by thirds of people")
        yield More("The long tail: people by how many choices they made, and by how consistent these are", told)
    if "profiles" in summary:
        told = [
            *rate_blocks(summary["profiles"], "Win rates over the base"),
            *number_table(summary["profiles"], "Captions"),
        ]
        yield More("The base told of a person in words: the profile appended to the caption", told)
    rest = {key: value for key, value in summary.items() if key not in APART and "rate" not in key}
    yield from number_table(rest, "Further numbers")


def classification_section(run: RunResult) -> Section:
    """How well the embeddings that the run reads tell users apart, where `ppd classify` measured it."""
    blocks: list[Block] = []
    measured = any((run.output / "data").glob("**/classification-*/summary.json"))
    if measured and run.config is not None:
        from ppd_lightning.users.embeddings import embeddings_folder  # it takes seconds, which most pages do not need

        for path in sorted(embeddings_folder(run.config).glob("classification-*/summary.json")):
            summary = read_json(path)
            blocks += rate_blocks(summary, "The right user among the first k", level=None)
            blocks += number_table({key: value for key, value in summary.items() if "top_" not in key}, "Tested")
    return Section("Telling users apart", blocks)


def judge_section(run: RunResult) -> Section:
    """What a vision-language judge said of each pair of pictures."""
    blocks: list[Block] = []
    for one in run.measured("judge"):
        blocks += rate_blocks(one.summary, "By the judge")
        blocks += number_table(one.summary, "Asked, answered, dropped")
        blocks.append(Words(one.folder.name, "note"))
    return Section("A vision-language model as judge", blocks)


def interpolation_section(run: RunResult) -> Section:
    """Blends of synthetic users over a simplex, and how each reward follows its own weight."""
    blocks: list[Block] = []
    for one in run.measured("interpolation"):
        for path in sorted(one.folder.glob("*.png")):
            picture = thumbnail(path, SHEET)
            if picture:
                blocks.append(Sheet(path.stem.replace("_", " ").capitalize(), picture))
        blocks += rate_blocks(one.summary, "Rates")
        blocks += number_table(one.summary, "Each reward against its weight")
        blocks.append(Words(one.folder.name, "note"))
    return Section("Blends of users", blocks)
