"""What was measured of one run: win rates, mean rewards, user classification, a judge's verdicts, interpolation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ppd_lightning.evaluation.scores.own_against_other import PERSONAL
from ppd_lightning.evaluation.statistics.intervals import NONE, words
from ppd_lightning.reports.blocks import Block, Folded, LargeImage, Section, Text
from ppd_lightning.reports.image_sections import LARGEST, image_url
from ppd_lightning.reports.run_results import Measured, RunResult, read_json
from ppd_lightning.reports.summary_tables import bootstrap, matrix, number_table, rate_blocks
from ppd_lightning.storage.result_folder import require_whole, result_files

OWN_TABLES = (
    "long_tail",
    "profiles",
    "concept_accuracy",
    "content",
    "mean_own_score",
    "mean_scores",
    "lowest",
    "preference_accuracy",
    "share_of_possible",
    *PERSONAL,
)
"""Parts of an evaluation's summary that have tables of their own."""


def headlines(run: RunResult) -> list[Block]:
    """The win rate over the base in each group of users, in a sentence each."""
    one = run.main_evaluation
    if one is None:
        return [Text("Not evaluated: `ppd evaluate` measures win rates over the base.", "note")]
    lines: list[Block] = []
    for group, rate in sorted(one.summary.get("win_rate", {}).items(), reverse=True):  # unseen before seen
        words = (
            f"{group.capitalize()} users: the image for the user wins over the base's in {100 * rate['rate']:.1f} % of "
            f"{rate['n']:,} comparisons; {bootstrap(run.settings)} {_percent(rate)}."
        )
        lines.append(Text(words, "headline"))
    accuracy = {} if lines else one.summary.get("preference_accuracy", {})
    for group, rate in sorted(accuracy.items(), reverse=True):
        words = (
            f"{group.capitalize()} users: the model prefers what the user preferred in {100 * rate['rate']:.1f} % of "
            f"{rate['n']:,} held-out pairs; {bootstrap(run.settings)} {_percent(rate)}."
        )
        lines.append(Text(words, "headline"))
    return lines


def _percent(rate: Mapping[str, Any]) -> str:
    """The interval of a rate, in percent."""
    if rate["low"] is None:
        return NONE
    return f"{words(100 * rate['low'], 100 * rate['high'], '.1f')} %"


def evaluation_sections(run: RunResult) -> Iterator[Section]:
    """A section for each evaluation of the run's weights."""
    for one in run.evaluations:
        people = f", people of {', '.join(one.people)}" if one.people else ""
        yield Section(f"Evaluation at user guidance {one.guidance:g}{people}", list(_evaluation(run, one)))


def _evaluation(run: RunResult, one: Measured) -> Iterator[Block]:
    summary, interval = one.summary, bootstrap(run.settings)
    own = {key: value for key, value in summary.items() if key not in OWN_TABLES}
    yield from rate_blocks(own, "Win rates over the base", interval=interval)
    if "share_of_possible" in summary:
        title = "Share of the possible: the win rate above one half, of the oracle's"
        yield from rate_blocks(summary["share_of_possible"], title, level=1, interval=interval)
    personal = {words: summary[key] for key, words in PERSONAL.items() if key in summary}
    yield from rate_blocks(personal, "Win rates of own against other", interval=interval)
    if "preference_accuracy" in summary:
        yield from rate_blocks(
            summary["preference_accuracy"], "Preference accuracy on held-out pairs", interval=interval
        )
    if "concept_accuracy" in summary:
        yield matrix({"recognised": summary["concept_accuracy"]}, "Concept accuracy of the images", "")
    if "content" in summary:
        title = "How well the images show their captions"
        yield from rate_blocks(summary["content"], title, level=None, interval=interval)
    if "mean_own_score" in summary:
        yield matrix({"mean": summary["mean_own_score"]}, "Mean score by each user's own judge", "")
    if "mean_scores" in summary:
        yield matrix(summary["mean_scores"], "Mean rewards of the images", "images by or for")
    if "long_tail" in summary:
        rates = rate_blocks(summary["long_tail"], "Win rates by thirds of users", interval=interval)
        yield Folded("Long tail: users by their number of choices, and by how consistent these are", rates)
    if "profiles" in summary:
        profiles = [
            *rate_blocks(summary["profiles"], "Win rates over the base, of profiles in the prompt", interval=interval),
            *number_table(summary["profiles"], "Prompts"),
        ]
        yield Folded("The base with each user's profile appended to the prompt", profiles)
    yield from number_table({key: value for key, value in own.items() if "rate" not in key}, "Further numbers")
    judged, sampled = one.settings["evaluation"], one.settings["generation"]
    if "preference_accuracy" in summary:
        yield Text(
            "Preference accuracy: the share of held-out pairs in which the implicit reward of the preferred image is "
            f"the higher one, averaged over {judged['preference_draws']} draws of times and noise; no judge is asked.",
            "note",
        )
    if "win_rate" not in summary:
        return
    yield Text(
        f"Each comparison has two images of the same prompt and noise, with and without the user. Prompts: "
        f"{judged['captions']}; {sampled['steps']} steps, text guidance scale {sampled['text_guidance']}, user "
        f"conditioning at times {sampled['user_guidance_interval']}. Differences up to {judged['tie']} are ties and "
        f"count half. {interval}, {judged['bootstrap']} resamples. Folder: {one.folder.name}.",
        "note",
    )


def classification_section(run: RunResult) -> Section:
    """How well the embeddings that the run reads identify users, where `ppd classify` measured it."""
    blocks: list[Block] = []
    measured = any((run.output / "data").glob("**/classification-*/summary.json"))
    if measured and run.users is not None:
        for path in result_files(run.users.folder, "classification"):
            summary = read_json(path)
            blocks += rate_blocks(summary, "Top-k accuracy: the right user among the first k", level=None)
            blocks += number_table({key: value for key, value in summary.items() if "top_" not in key}, "Test set")
    return Section("User classification", blocks)


def judge_section(run: RunResult) -> Section:
    """Verdicts of a vision-language model on pairs of images."""
    blocks: list[Block] = []
    for one in run.measured("judge"):
        blocks += rate_blocks(one.summary, "Win rates by the judge", interval=bootstrap(run.settings))
        blocks += number_table(one.summary, "Requests and answers")
        blocks.append(Text(f"Folder: {one.folder.name}.", "note"))
    return Section("Vision-language model as judge", blocks)


def interpolation_section(run: RunResult) -> Section:
    """Blends of synthetic users over a simplex, and how each reward follows its own weight."""
    blocks: list[Block] = []
    for one in run.measured("interpolation"):
        for path in sorted(one.folder.glob("*.png")):
            require_whole(path)
            url = image_url(path, LARGEST, "ppd interpolate")
            if url:
                blocks.append(LargeImage(_title(one.summary, path.stem), url))
        title = "Rank correlation of each reward with its user's weight"
        blocks += rate_blocks(one.summary, title, level=0, interval=bootstrap(run.settings))
        blocks += number_table(one.summary, "Images")
        blocks.append(Text(f"Folder: {one.folder.name}.", "note"))
    return Section("Interpolation between users", blocks)


def _title(summary: Mapping[str, Any], name: str) -> str:
    users = summary.get("users", [])
    return f"{name.replace('_', ' ').capitalize()}{': ' if users else ''}{', '.join(users)}"
