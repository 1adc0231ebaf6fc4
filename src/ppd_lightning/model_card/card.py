"""README.md of an export: the model card. Every number in it is a setting, a count of the data, or was measured."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from string import Template
from typing import Any

import yaml

from ppd_lightning.backbones.adapter import adapter_base
from ppd_lightning.backbones.backbone import Backbone
from ppd_lightning.backbones.card_facts import CardFacts
from ppd_lightning.data.prepared import PreparedData
from ppd_lightning.data.source import Source
from ppd_lightning.data.splits import choose_count
from ppd_lightning.generation.settings import Generation
from ppd_lightning.markdown import code, fenced
from ppd_lightning.masking import visible
from ppd_lightning.model_card.drawing_files import read_template, settings_as_arguments
from ppd_lightning.model_card.sections import data_section, read_summary, results_section, training_section
from ppd_lightning.rewards.encoder_code import EncoderCode
from ppd_lightning.storage.checksums import known_sha256
from ppd_lightning.training.objectives.objective import Objective
from ppd_lightning.training.settings import Optimizer, Trainer
from ppd_lightning.users.kind import UserKind
from ppd_lightning.users.shots import Shots

MOST_NAMES = 12
"""So many users are named, the others counted."""


@dataclass(frozen=True)
class ExportedTraining:
    """A training whose adapter is given away.

    run: its folder. adapter: the file of the weights that are given away. source, data: what it was trained on.
    rewards: names of those that describe users. settings: the whole configuration, as plain values without the folders
    of this machine. users: those that go with the adapter, by name, with the width of their vectors. encoder:
    `UserKind.encoder_code`. The others are the training's parts and settings.
    """

    run: Path
    adapter: Path
    backbone: Backbone
    source: Source
    data: PreparedData
    user: UserKind
    shots: Shots
    rewards: Collection[str]
    objective: Objective
    optimizer: Optimizer
    trainer: Trainer
    generation: Generation
    settings: Mapping[str, Any]
    users: Mapping[str, int]
    encoder: EncoderCode | str


def model_card(training: ExportedTraining) -> str:
    """The card in Markdown, with the hub's front matter.

    Raises:
        UserError: what `ppd prepare` or `ppd train` left is missing or damaged.
    """
    summary = read_summary(training.run / "summary.json", "ppd train")
    facts, drawing = training.backbone.card_facts(), training.backbone.drawing_code()
    generation, objective, data = training.generation, training.objective, training.data
    low, high = generation.user_guidance_interval
    caption = facts.caption or min(choose_count("grid", data.captions(held_out=True), 1))
    names = list(map(code, training.users))
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    module, _, kind = drawing.base.rpartition(".")
    paths = ", ".join("None" if path is None else json.dumps(path) for path in (facts.base, facts.codec, None))
    values = {
        "front_matter": _yaml(_front_matter(facts, objective, training.source)),
        "title": f"{objective.title} adapter for {training.backbone.title}",
        "what": f"Weights beside a frozen base, trained by {objective.title}: {objective.summary}.",
        "version": version("ppd-lightning"),
        "parameters": f"{summary['trainable_parameters']:,}",
        "weights": "those of the last step" if generation.weights == "trained" else "their moving average",
        "width": next(iter(training.users.values())),
        "users": ", ".join(names[:MOST_NAMES]) + more,
        "carried": "".join(_carried(training)),
        "new_people": _new_people(training, facts, caption),
        "base": facts.origin,
        "command": _command(facts, caption, "--user", min(training.users)),
        "module": module.rpartition(".")[2],
        "kind": kind,
        "arguments": paths + settings_as_arguments(drawing),
        "image_size": data.image_size,
        "user": _literal(min(training.users)),
        "caption": _literal(caption),
        "steps": generation.steps,
        "text_guidance": generation.text_guidance,
        "user_guidance": generation.user_guidance,
        "low": low,
        "high": high,
        "fingerprint": adapter_base(training.adapter),
        "guidance": " ".join(_guidance(training)),
        "data": data_section(training.source, data, training.user.sentence(training.shots, training.rewards)),
        "training": training_section(objective, training.optimizer, training.trainer, summary),
        "results": results_section(training.run, known_sha256(training.adapter)),
        "limits": "\n".join(f"- {limit}" for limit in _limits(training, facts)),
        "licence": "\n\n".join(_licence(training.source, facts)),
        "configuration": fenced(_yaml(training.settings), "yaml"),
    }
    return Template(read_template("card.md.txt")).substitute(values)


def _yaml(values: Mapping[str, Any]) -> str:
    text: str = yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True)
    return text


def _front_matter(facts: CardFacts, objective: Objective, source: Source) -> dict[str, Any]:
    tags = [*facts.tags, "personalization", "preference-optimization", objective.name, "ppd-lightning"]
    data = {} if source.hub_name() is None else {"datasets": [source.hub_name()]}
    return {**facts.front_matter, **data, "library_name": "diffusers", "pipeline_tag": "text-to-image", "tags": tags}


def _command(facts: CardFacts, caption: str, *options: str) -> str:
    codec = [] if facts.codec is None else ["--decoder", facts.codec]
    return " ".join(map(_shell_word, ["python", "draw.py", facts.base, caption, *codec, *options]))


def _shell_word(word: str) -> str:
    """The word as bash reads it, in one line and with nothing invisible in it."""
    if visible(word) == word and not re.search(r"[\n\t]", word):
        return shlex.quote(word)
    escaped = {"\\": r"\\", "'": r"\'", "\n": r"\n", "\t": r"\t"}
    return f"$'{visible(''.join(escaped.get(letter, letter) for letter in word))}'"


def _literal(text: str) -> str:
    """The text in Python's source."""
    return visible(json.dumps(text, ensure_ascii=False))


def _carried(training: ExportedTraining) -> Iterator[str]:
    """Rows of the table of files, each with its line break."""
    if not training.user.not_for_new:
        yield "| `describer.safetensors` | how people are described: what describing new ones needs |\n"
    if not isinstance(training.encoder, str):
        for name in training.encoder.files:
            yield f"| {code(name)} | of what sees the images of new people's choices |\n"


def _new_people(training: ExportedTraining, facts: CardFacts, caption: str) -> str:
    encoder = training.encoder
    if isinstance(encoder, str):
        return f"`draw.py --choices` is refused: {encoder}."
    packages = f" With {' and '.join(encoder.packages)} installed beside the above:" if encoder.packages else ""
    return (
        "A few choices between images are enough to draw for somebody new. `choices.csv` is a table with a row a "
        "choice and the columns `caption`, `chosen`, `rejected` (files of images, relative to the table) and `user`. "
        f"Fewer than {training.shots.n} choices of a person are served, with a warning.{packages}\n\n"
        f"    {_command(facts, caption, '--choices', 'choices.csv')}\n\n"
        "Of several people in the table `--user` names one; `--to people.safetensors` keeps their vectors, and "
        f"`--people people.safetensors` takes them again. The images are seen by {encoder.words}; another one is "
        "refused by its hash."
    )


def _guidance(training: ExportedTraining) -> Iterator[str]:
    settings = training.generation
    low, high = settings.user_guidance_interval
    yield (
        "Guidance has two scales, of the caption and of the user, e_null + w (e_text - e_null) + v (e_user - e_text), "
        f"here w = {settings.text_guidance} and v = {settings.user_guidance}."
    )
    if training.backbone.null_user == "learned":
        yield "A zero vector is not the base but what people in general prefer; v = 0 is the base."
    if (low, high) != (0, 1):
        yield f"The user counts at times from {low} to {high} only; at the others the base draws."


def _limits(training: ExportedTraining, facts: CardFacts) -> Iterator[str]:
    user = training.user
    if training.source.simulated:
        yield "The people are simulated: nothing here says how real people would choose."
    else:
        yield (
            "A vector is personal: it follows from what somebody likes. "
            "Give it away only with the consent of those whose choices made it."
        )
    yield from facts.limits
    if not user.described and not user.same_for_all:
        yield "Only the users above, and blends of them, have a meaning; nobody can be added without training."
    if user.described:
        yield "A new person's vector must be made by `draw.py --choices` or `ppd describe`, from the same encoder."
    if user.by_shots and training.shots.per_caption:
        yield "A vector is for one user and one caption: the choices that made it were those nearest to the caption."
    yield "The branch follows what was chosen in its data, also where one would not want it to."


def _licence(source: Source, facts: CardFacts) -> Iterator[str]:
    yield from facts.licence
    credits = dict.fromkeys([*facts.credits, *source.credits()])
    if credits:
        yield "\n".join(f"- {line}" for line in credits)
    if not source.credits():
        yield "The terms of the data that it was trained on apply beside this."
