"""`ppd evaluate`: does each person prefer what is drawn for them? Win rates against the base, with their counts."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ppd_lightning.config.schemas import Config, DescribedUser, EmojiData
from ppd_lightning.data.layout import captions_of, open_latents, read_pairs
from ppd_lightning.data.stores import Store, write_store
from ppd_lightning.evaluation.comparisons import Comparison, choose_comparisons
from ppd_lightning.evaluation.emoji_world import EmojiWorld
from ppd_lightning.evaluation.judges import load_judge
from ppd_lightning.evaluation.long_tail import consistencies, numbers_of_pairs, thirds
from ppd_lightning.evaluation.win_rate import win_rate
from ppd_lightning.generation.grid import as_bytes, as_picture
from ppd_lightning.generation.trained import TrainedRun, open_run
from ppd_lightning.models.devices import compute_device
from ppd_lightning.rewards.reward import Reward, fingerprints_of, open_rewards
from ppd_lightning.run.atomic import write_json_atomic
from ppd_lightning.run.errors import UserError
from ppd_lightning.run.fingerprints import file_sha256, fingerprint
from ppd_lightning.run.folders import run_folder
from ppd_lightning.users.embeddings import NOT_SERVED, asked_rows, people_served

log = logging.getLogger(__name__)

FIRST_SEED, SEEDS = 1000, 4
"""The noises of the comparisons, more where few users and captions need them; `ppd generate`'s sheets use others."""


def run(config: Config) -> dict[str, Any]:
    """Draw and judge the comparisons of `evaluation`; images and result are kept in the run's folder.

    Returns:
        the summary: a win rate for each group of people, by the first judge and by the others, the oracle's beside it;
        where rewards are the users, a win rate by each user's own reward, and the mean of every reward over the
        images that are drawn for each user and over the base's; of people, the first judge's rate by how many pairs
        they have and by how consistent their choices are (long_tail). In the emoji world also how often the concept is
        still recognised, in the base's pictures and in the people's.

    Raises:
        UserError: the training is not finished, a reward is missing, or this source has no judge.
    """
    if not isinstance(config.data, EmojiData) and config.data.labels == "people":
        raise UserError(f"data.name={config.data.name}: its people's tastes are not known; only data=emoji has judges")
    rewards = open_rewards(config.rewards, compute_device(config.trainer)) if config.data.labels == "rewards" else {}
    scored_by = fingerprints_of(rewards)
    begun = time.monotonic()
    trained = open_run(config)
    key = {
        "adapter": file_sha256(trained.adapter),
        "generation": config.generation,
        "evaluation": config.evaluation,
    }
    if rewards:
        key["rewards"] = scored_by
    folder = run_folder(config) / f"evaluation-{fingerprint(key)}"
    if (folder / "summary.json").exists():
        log.info("%s is finished; delete it to evaluate again", folder)
        finished: dict[str, Any] = json.loads((folder / "summary.json").read_text())
        return finished
    comparisons = _comparisons(config)
    base, own = _images(trained, comparisons, folder / "images")
    drawn = time.monotonic()
    summary: dict[str, Any] = {"folder": str(folder)}
    if rewards:
        summary |= _by_rewards(config, rewards, comparisons, own, base)
    not_served = people_served(config)[1]
    if not_served:
        why = NOT_SERVED[config.user.kind]
        log.warning("%d people are not drawn for: %s", len(not_served), why)
        summary["not_served"] = {"people": len(not_served), "why": why}
    if isinstance(config.data, EmojiData) and config.data.labels == "people":
        people = [comparison.user for comparison in comparisons]
        world = EmojiWorld(config, config.data)
        for judge in config.evaluation.judges:
            style = load_judge(judge)
            before = world.utilities(comparisons, base, style)
            differences = world.utilities(comparisons, own, style) - before
            rates = _rates(config, comparisons, differences)
            if "win_rate" not in summary:
                summary["win_rate"] = rates
                summary["long_tail"] = _long_tail(config, trained, comparisons, differences)
                if isinstance(config.user, DescribedUser):
                    captions = [one.caption for one in comparisons]
                    best = world.oracle_utilities(comparisons, asked_rows(config, trained.model, people, captions))
                    summary["oracle_win_rate"] = _rates(config, comparisons, best - before)
            else:
                summary[f"win_rate_by_{judge}"] = rates
    if isinstance(config.data, EmojiData):
        summary["concept_accuracy"] = {
            name: round(float(_recognised(config, comparisons, images).mean()), 4)
            for name, images in (("base", base), (config.objective.name, own))
        }
    summary["seconds"] = {"drawing": round(drawn - begun, 1), "judging": round(time.monotonic() - drawn, 1)}
    settings = {name: asdict(getattr(config, name)) for name in ("generation", "evaluation")}
    write_json_atomic(folder / "settings.json", {"adapter": key["adapter"], **settings})
    write_json_atomic(folder / "summary.json", summary)
    return summary


def _comparisons(config: Config) -> list[Comparison]:
    """`evaluation.comparisons` of each group that has people, over the captions that `evaluation.captions` names."""
    captions = captions_of(config, held_out=config.evaluation.captions == "held_out")
    chosen, count = [], config.evaluation.comparisons
    for group, users in people_served(config)[0].items():
        if users:
            rounds = math.ceil(math.ceil(count / len(users)) / len(captions))
            seeds = range(FIRST_SEED, FIRST_SEED + max(SEEDS, rounds))
            chosen += choose_comparisons(group, users, captions, seeds, count)
    return chosen


def _images(trained: TrainedRun, comparisons: Sequence[Comparison], folder: Path) -> tuple[Tensor, Tensor]:
    """The base's image and the person's of each comparison, (N, 3, H, W) each; drawn once, then read back."""
    wanted = [("base", one.caption, one.seed) for one in comparisons]
    unique = sorted(set(wanted))
    key = {"comparisons": fingerprint(list(comparisons))}
    try:
        store = Store.open(folder, key)
    except UserError:
        log.info("drawing %d images by the base and %d for people", len(unique), len(comparisons))
        base = trained.draw([caption for _, caption, _ in unique], None, [seed for *_, seed in unique])
        captions = [one.caption for one in comparisons]
        users = trained.users([one.user for one in comparisons], captions)
        own = trained.draw(captions, users, [one.seed for one in comparisons])
        names = ["/".join(map(str, one)) for one in [*unique, *(tuple(vars(one).values()) for one in comparisons)]]
        write_store(folder, names, {"images": as_bytes(torch.cat([base, own]))}, key)
        store = Store.open(folder, key)
    images = torch.from_numpy(store.arrays["images"][:]).permute(0, 3, 1, 2).float() / 255
    place = {one: row for row, one in enumerate(unique)}
    return images[[place[one] for one in wanted]], images[len(unique) :]


def _rates(config: Config, comparisons: Sequence[Comparison], differences: np.ndarray) -> dict[str, Any]:
    """A win rate for each group of people.

    People are drawn anew for its interval; rewards are not, for there are no others than these, but captions are.
    """
    rates = {}
    drawn = [one.caption if config.data.labels == "rewards" else one.user for one in comparisons]
    for group in dict.fromkeys(one.group for one in comparisons):
        rows = [row for row, one in enumerate(comparisons) if one.group == group]
        rate = win_rate(
            differences[rows],
            [drawn[row] for row in rows],
            tie=config.evaluation.tie,
            resamples=config.evaluation.bootstrap,
        )
        rates[group] = {name: round(value, 4) for name, value in asdict(rate).items()} | {
            "decided": round(rate.decided, 4)
        }
    return rates


def _by_rewards(
    config: Config, rewards: Mapping[str, Reward], comparisons: Sequence[Comparison], own: Tensor, base: Tensor
) -> dict[str, Any]:
    """The win rate by each user's own reward, in deviations over all images, and the means of all rewards."""
    captions, users = [one.caption for one in comparisons], np.array([one.user for one in comparisons])
    pictures = [as_picture(image) for image in torch.cat([own, base])]
    differences = np.zeros(len(users))
    means: dict[str, dict[str, float]] = {user: {} for user in ("base", *sorted(set(users.tolist())))}
    for name, reward in rewards.items():
        scores = reward.score(pictures, captions + captions).double().numpy()
        mine, other = np.split(scores, 2)
        rows = users == name
        differences[rows] = (mine - other)[rows] / max(scores.std(), np.finfo(np.float32).tiny)
        for user, mean in means.items():
            mean[name] = round(float(other.mean() if user == "base" else mine[users == user].mean()), 4)
    of_each = [replace(one, group=one.user) for one in comparisons]
    rates = {"win_rate": comparisons, "win_rate_of_each": of_each}
    return {key: _rates(config, grouped, differences) for key, grouped in rates.items()} | {"mean_scores": means}


def _long_tail(
    config: Config, trained: TrainedRun, comparisons: Sequence[Comparison], differences: np.ndarray
) -> dict[str, Any]:
    """Win rates of thirds of each group of people, by number of pairs and by consistency, with the range of each."""
    pairs = read_pairs(config)
    measures: dict[str, Mapping[str, float]] = {
        "pairs": numbers_of_pairs(pairs),
        "consistency": consistencies(pairs, open_latents(config, trained.model.fingerprint("encoder"))),
    }
    told: dict[str, Any] = {}
    for name, values in measures.items():
        for group in dict.fromkeys(one.group for one in comparisons):
            drawn_for = {one.user: float(values.get(one.user, 0)) for one in comparisons if one.group == group}
            for third, people in thirds(drawn_for).items():
                rows = [row for row, one in enumerate(comparisons) if one.group == group and one.user in set(people)]
                [rate] = _rates(config, [comparisons[row] for row in rows], differences[rows]).values()
                span = {"people": len(people), "from": min(drawn_for[one] for one in people)}
                span["to"] = max(drawn_for[one] for one in people)
                told.setdefault(name, {}).setdefault(group, {})[third] = span | rate
    return told


def _recognised(config: Config, comparisons: Sequence[Comparison], images: Tensor) -> np.ndarray:
    """Whether each image is taken for its own concept rather than another of the world, (N,)."""
    judge = load_judge("concepts")
    world = captions_of(config, held_out=True) + captions_of(config, held_out=False)
    columns = [judge.labels.index(concept) for concept in world]
    guessed = judge.probabilities(images)[:, columns].argmax(1).numpy()
    right: np.ndarray = guessed == np.array([world.index(one.caption) for one in comparisons])
    return right
