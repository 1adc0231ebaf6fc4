"""The verbs in the order of the work, and how one is run; a verb's own module is imported only then."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from ppd_lightning.distributed.rank import current_rank
from ppd_lightning.errors import UserError
from ppd_lightning.light_imports import light_imports

if TYPE_CHECKING:
    from ppd_lightning.config.root import Config


@dataclass(frozen=True)
class Verb:
    """What a verb does, in a line, and the groups of the configuration that it reads."""

    meaning: str
    groups: tuple[str, ...]


LONGEST = 80
"""Letters that a message quotes of a word that is no verb."""

RESULTS = ("page", "picture", "file", "folder", "run", "sweep")
"""The names under which summaries give the path of what was made."""

TRAINING = ("data", "model", "user", "shots", "objective", "optimizer", "trainer", "logger", "reward", "mode")
DRAWING = (*TRAINING, "generation")
DESCRIBING = ("data", "model", "user", "shots", "reward", "mode")
WITHOUT_NETWORKS = ("stats", "verify", "export", "report", "runs", "select", "validate", "doctor")
"""The verbs that compute nothing on a device; they load no torch for it."""
VERBS = {
    "prepare": Verb("fetch a source, make its pairs and splits, encode its images and captions", ("data", "model")),
    "label": Verb("score the images by rewards and label the pairs by them", ("data", "reward", "trainer", "mode")),
    "stats": Verb("show what the prepared pairs are made of, as a table and a picture", ("data", "reward", "mode")),
    "verify": Verb("read every byte of the prepared data and name what is damaged", ("data",)),
    "embed": Verb("describe every user by an embedding", DESCRIBING),
    "classify": Verb("measure how well embeddings tell users apart", (*DESCRIBING, "classification")),
    "reference": Verb("compute the reference's errors once, for all runs with trainer.reference=stored", TRAINING),
    "train": Verb("train the user branch on the pairs", TRAINING),
    "evaluate": Verb("measure how often people prefer their images to the base model's", (*DRAWING, "evaluation")),
    "interpolate": Verb(
        "draw blends of users and score them by what each likes", (*DRAWING, "evaluation", "interpolation")
    ),
    "judge": Verb(
        "ask a vision-language model whether people prefer their images to the base model's",
        (*DRAWING, "evaluation", "judge"),
    ),
    "describe": Verb("describe new people by a few choices each, for a finished training", (*TRAINING, "describe")),
    "generate": Verb("draw captions for people, the base model's image beside", DRAWING),
    "studio": Verb("open a page on which people pick pictures and the model draws for them", (*TRAINING, "studio")),
    "export": Verb(
        "give the result away: a folder that works in plain diffusers, with its model card", (*DRAWING, "export")
    ),
    "report": Verb("make a page about a run, a sweep, or methods beside each other", ("report",)),
    "runs": Verb("list the runs and sweeps of the output folder with their state and figures", ("report",)),
    "select": Verb("choose the best setting of a finished sweep and write it down", ("report",)),
    "demo": Verb("do all of this in the embedded world, ending with a picture and win rates", (*DRAWING, "evaluation")),
    "validate": Verb(
        "show the whole configuration, or every fault of it",
        (*DRAWING, "describe", "evaluation", "interpolation", "judge", "classification", "report", "studio", "export"),
    ),
    "doctor": Verb("show what this configuration needs and this machine lacks", (*DRAWING, "evaluation", "judge")),
}


def require_known(verbs: Sequence[str]) -> None:
    """Raise a `UserError` that names what is no verb, with the nearest one."""
    unknown = [verb for verb in verbs if verb not in VERBS]
    if unknown:
        raise UserError(_not_a_verb(word) for word in unknown)


def run_verb(verb: str, config: Config) -> dict[str, Any]:
    """Do one verb's work and return its summary.

    Of the processes that train one run together, the first does the other verbs alone; theirs return nothing.
    """
    if verb != "train" and not current_rank().is_first:
        return {}
    with light_imports():
        command: Callable[[Config], dict[str, Any]] = importlib.import_module(f"ppd_lightning.commands.{verb}").run
        if verb not in WITHOUT_NETWORKS:
            from ppd_lightning.commands.requirements import require_machine

            require_machine(verb, config)
    return command(config)


def result_of(summary: Mapping[str, Any]) -> str | None:
    """The path of what a verb has made, by its summary; None where it made nothing to look at."""
    return next((str(summary[name]) for name in RESULTS if name in summary), None)


def _not_a_verb(word: str) -> str:
    close = get_close_matches(word, VERBS, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    named = word if 0 < len(word) <= LONGEST else repr(word[:LONGEST]) + "..." * (len(word) > LONGEST)
    return f"{named}: no such verb{hint} (the verbs are {', '.join(VERBS)}; settings are written key=value)"
