"""How often could anybody tell whose choices these are? Ideal observers beside the classifier of `ppd classify`.

    python experiments/emoji/possible/telling_apart.py FOLDER

FOLDER is the output folder of the users' study. Figures go to telling_apart.csv and many_choices.csv there; what was
tested is kept in telling_apart-*.npz, so the command goes on.

P = people to choose among, T = tests of each, M = imagined people, K = concepts, S = styles, A = sets of choices.
"""

from __future__ import annotations

import csv
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from ppd_lightning.commands.classify import users_with_most_pairs
from ppd_lightning.config.compose import compose
from ppd_lightning.config.workspace import Workspace
from ppd_lightning.data.pairs import stable_ids
from ppd_lightning.evaluation.settings import Classification
from ppd_lightning.evaluation.statistics.classification import classify, hits, split_rows
from ppd_lightning.evaluation.statistics.intervals import middle
from ppd_lightning.evaluation.statistics.win_rate import resampled_rates
from ppd_lightning.rewards.image_statistics import STATISTICS
from ppd_lightning.storage.atomic import atomic_path
from ppd_lightning.users.discriminants import describe_choices, discriminant_axes
from ppd_lightning.users.rows import UserRows
from ppd_lightning.users.shot_features import ImageFeatures, features_of_sets, on_principal_axes
from ppd_lightning.users.shot_sets import random_sets
from ppd_lightning.worlds.emoji.oracle import Oracle
from ppd_lightning.worlds.emoji.people import People, choose, make_people, read_people, world_utilities
from ppd_lightning.worlds.emoji.pictures import STYLES
from ppd_lightning.worlds.emoji.real_pictures import RealPictures, read_real_pictures

IMAGINED = 65536
SETTINGS = [(way, n) for way in ("random", "diverse", "caption_aware") for n in (1, 2, 4, 8)]
CLASSIFIED = ("random",)
"""The ways to choose shots for which the classifier is trained here too; its rates for all are in the users' study."""
MANY = (1, 2, 4, 8, 16, 32, 64, 128, 256)
FRESH_SEED = 1000
"""Of choices that are in no data."""
CLASSIFIER, BY_CHOICES, BY_UTILITIES = "classifier", "knows choices", "knows utilities"
"""On the embeddings, whose directions are fitted to the tests as well, and the two ideal observers."""
CLEAN, OF_OTHERS = "clean classifier", "classifier by others"
"""As the classifier, where the directions of the embeddings are learnt without the tests, or of other people."""
OTHERS, CHOICES_EACH, GROUPINGS = 300, 29, 16
"""So many other people with so many choices (the median of those who are told apart) and sets of them."""
RESAMPLES = 2000

log = logging.getLogger("possible")


@dataclass(frozen=True)
class World:
    """What an observer knows of how the world is made.

    real: the pictures. temperature: of the choices. images: features of the pictures, on principal axes, as
    `user=features` has them. pairs: of all people. true, imagined: log-probability that somebody picks a rendering, of
    the P people by their true utilities, (P, K S), and of the imagined ones, (M, K S). column: of each pair, by its
    stable id: concept * S + preferred style.
    """

    real: RealPictures
    temperature: float
    images: ImageFeatures
    pairs: pa.Table
    true: np.ndarray
    imagined: np.ndarray
    column: Mapping[int, int]


def main() -> None:
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    log.setLevel(logging.INFO)
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    write(folder / "many_choices.csv", list(of_many_choices(folder)))
    write(folder / "telling_apart.csv", list(of_settings(folder)))


def of_settings(folder: Path) -> Iterator[dict[str, object]]:
    """A row for each way to choose shots, their number, people, observer and size of the shortlist.

    The directions of embeddings are fitted to those who are seen.
    """
    world: World | None = None
    for way, n in SETTINGS:
        path = folder / f"telling_apart-{way}-{n}.npz"
        workspace = opened(folder, way, n)
        rows, settings = workspace.users.rows(), workspace.config.classification
        names = users_with_most_pairs(workspace.users, rows, settings.users)
        if not path.is_file():
            world = world or known_world(workspace, names)
            with atomic_path(path) as unfinished, unfinished.open("wb") as file:
                features = raw(world, workspace) if way in CLASSIFIED else None
                np.savez(file, **tested(world, rows, names, settings, features))
        found, seen = dict(np.load(path)), np.isin(names, workspace.data.people()["seen"])
        for group, of_group in {"all": seen | True, "seen": seen, "unseen": ~seen}.items():
            for row in table_rows(settings.top, {name: of[:, of_group] for name, of in found.items()}):
                yield {"shots": way, "n": n, "people": group, **row}


def tested(
    world: World, rows: UserRows, names: Sequence[str], settings: Classification, features: np.ndarray | None
) -> dict[str, Any]:
    """The tests of `classification.top_rates`, each put to all observers.

    Args:
        features: of each row before they are brought to the directions in which people differ; None leaves the
            classifiers out.

    Returns:
        apart: (T, P) bool, whether the test shares no pair with what is known of the person. By observer: (T, P, 1 +
        sizes) how many bits of who it is are known after the test, and the hits of each size of the shortlist.
    """
    number = {name: index for index, name in enumerate(names)}
    own = np.array([row for row, name in enumerate(rows.users) if name in number])
    person = np.array([number[rows.users[row]] for row in own])
    vectors, shots = np.asarray(rows.embeddings[own]), rows.shots[own]
    if features is not None:
        features = features[own]
        by_others = features @ directions_of_others(world, shots.shape[1], vectors.shape[1])
    found: dict[str, list[np.ndarray]] = {}
    for turn in range(settings.tests):
        split = split_rows(person, shots, turn)
        asked = counted(world, [shots[row] for row in split.test])  # (P, K S), people in order
        known = [np.unique(shots[split.train[person[split.train] == one]]) for one in range(len(names))]
        odds = {
            BY_UTILITIES: asked @ world.true.T,
            BY_CHOICES: by_choices(world.imagined, counted(world, known), asked),
        }
        if features is not None:
            train, test = split.train, split.test
            axes = discriminant_axes(features[train], person[train], vectors.shape[1])
            for name, of in ((CLASSIFIER, vectors), (CLEAN, features @ axes), (OF_OTHERS, by_others)):
                odds[name] = classify(of[train], person[train], of[test], settings.regularisation)
        found.setdefault("apart", []).append(split.apart)
        for name, of in odds.items():
            likely = np.diag(of - np.logaddexp.reduce(of, 1, keepdims=True))
            bits = np.log2(len(names)) + likely / np.log(2)
            found.setdefault(name, []).append(np.c_[bits, hits(of, person[split.test], settings.top)])
    return {name: np.array(of) for name, of in found.items()}


def raw(world: World, workspace: Workspace) -> np.ndarray:
    """Features (R, F) of the shots of each row of the embeddings, on no directions of people yet."""
    users, rows = workspace.users, workspace.users.rows()
    sets = random_sets(world.pairs, users.shots.n, users.shots.groupings)
    if not np.array_equal(stable_ids(world.pairs["pair_id"])[np.array([one.pairs for one in sets])], rows.shots):
        raise ValueError("the embeddings are not of these sets")
    return features_of_sets(users.using, world.pairs, sets, world.images, None)


def directions_of_others(world: World, n: int, width: int) -> np.ndarray:
    """The directions (F, `width`) in which others differ than those who are told apart, by sets of n choices."""
    real = world.real
    drawn = np.full((*real.statistics.shape[:2], world.images.features.shape[1]), np.nan)
    for image, values in zip(world.images.ids.to_pylist(), world.images.features, strict=True):
        drawn[real.index[image]] = values
    usable = np.flatnonzero(np.isfinite(drawn).all((1, 2)))
    names = [f"other {number}" for number in range(OTHERS)]
    people = make_people(names, FRESH_SEED, STYLES, STATISTICS, real.statistics)
    choices = choose(people, real.statistics[usable], CHOICES_EACH, world.temperature, FRESH_SEED)
    concept = usable[choices.concept]
    sides = (drawn[concept, style].reshape(OTHERS, CHOICES_EACH, -1) for style in (choices.picked, choices.other))
    person = np.repeat(np.arange(OTHERS), GROUPINGS)
    every = np.tile(np.arange(CHOICES_EACH), (len(person), 1))
    sets = np.random.default_rng(FRESH_SEED).permuted(every, axis=1)[:, :n]
    liked, others = (side[person[:, None], sets] for side in sides)
    return discriminant_axes(describe_choices(liked, others), person, width)


def table_rows(sizes: Sequence[int], found: dict[str, np.ndarray]) -> Iterator[dict[str, object]]:
    """Rates with intervals over people, and the share of each ideal observer's that the classifier by others has."""
    apart = found.pop("apart")
    counts = apart.sum(0)
    kept = counts > 0
    means = {name: (of * apart[:, :, None]).sum(0)[kept] / counts[kept, None] for name, of in found.items()}
    drawn = {name: np.stack([resampled(of) for of in mean.T], 1) for name, mean in means.items()}
    people = int(kept.sum())
    for name, mean in means.items():
        for column, size in enumerate(sizes, 1):
            low, high = middle(drawn[name][:, column], people)
            share = [np.nan] * 3
            if OF_OTHERS in means and name in (BY_CHOICES, BY_UTILITIES):
                share[0] = means[OF_OTHERS][:, column].mean() / mean[:, column].mean()
                if drawn[name][:, column].all():
                    share[1:] = middle(drawn[OF_OTHERS][:, column] / drawn[name][:, column], people)
            yield {
                "tested": people,
                "observer": name,
                "top": size,
                **numbers({"rate": mean[:, column].mean(), "low": low, "high": high}),
                **numbers(dict(zip(("classifier_share", "share_low", "share_high"), share, strict=True))),
                **numbers({"bits": mean[:, 0].mean()}),
            }


def by_choices(imagined: np.ndarray, known: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Log-likelihood (A, P) of sets of choices, if each person is known by other choices alone.

    It is the mean over imagined people, weighted by how likely they make the other choices.

    Args:
        imagined: (M, K S). known: (P, K S) how often each rendering was picked. asked: (A, K S), the same.
    """
    of_known, of_asked = (likelihoods(counts.astype(np.float32) @ imagined.T) for counts in (known, asked))
    effective = of_known.sum(1) ** 2 / np.square(of_known).sum(1)
    log.info("imagined people who count: 5 %% quantile %.0f, least %.0f", np.quantile(effective, 0.05), effective.min())
    among: np.ndarray = of_asked @ of_known.T
    odds: np.ndarray = np.log(np.maximum(among, np.finfo(np.float32).tiny)) - np.log(of_known.sum(1))
    return odds


def likelihoods(logarithms: np.ndarray) -> np.ndarray:
    """Of rows of log-likelihoods; the highest of each is 1."""
    found: np.ndarray = np.exp(logarithms - logarithms.max(1, keepdims=True))
    return found


def counted(world: World, sets: Sequence[np.ndarray]) -> np.ndarray:
    """How often each rendering is preferred in each of the sets of pairs, (sets, K S)."""
    counts = np.zeros((len(sets), world.true.shape[1]))
    for row, pairs in enumerate(sets):
        np.add.at(counts[row], [world.column[pair] for pair in pairs.tolist()], 1)
    return counts


def of_many_choices(folder: Path) -> Iterator[dict[str, object]]:
    """As many choices as one likes, of the same people: who knows their utilities."""
    workspace = opened(folder, "random", 4)
    names = users_with_most_pairs(workspace.users, workspace.users.rows(), workspace.config.classification.users)
    real, people, temperature = hidden(workspace, names)
    surprise = log_choices(people, real, temperature)
    choices = choose(people, real.statistics, MANY[-1], temperature, FRESH_SEED)
    column = (choices.concept * len(people.styles) + choices.picked).reshape(len(names), -1)
    for n in MANY:
        odds = np.stack([surprise[:, own[:n]].sum(1) for own in column])
        found = hits(odds, np.arange(len(names)), workspace.config.classification.top)
        for size, of in zip(workspace.config.classification.top, found.T, strict=True):
            low, high = middle(resampled(of), len(of))
            yield {"n": n, "top": size, **numbers({"rate": of.mean(), "low": low, "high": high})}


def opened(folder: Path, way: str, n: int) -> Workspace:
    """Of the users' study, as one of its runs."""
    return Workspace(compose(["experiment=emoji/users", f"shots={way}", f"shots.n={n}", f"output={folder}"]))


def known_world(workspace: Workspace, names: Sequence[str]) -> World:
    real, people, temperature = hidden(workspace, names)
    oracle = Oracle(real.statistics, people.styles, people.statistics, temperature, imagined=IMAGINED)
    pairs = workspace.data.read_pairs()
    places = [real.index[image] for image in pairs["preferred"].to_pylist()]
    columns = [concept * len(people.styles) + style for concept, style in places]
    return World(
        real,
        temperature,
        on_principal_axes(workspace.users.using, "efficientnet_lite0")[0],
        pairs,
        log_choices(people, real, temperature),
        oracle.log_likelihood.reshape(IMAGINED, -1),
        dict(zip(stable_ids(pairs["pair_id"]).tolist(), columns, strict=True)),
    )


def hidden(workspace: Workspace, names: Sequence[str]) -> tuple[RealPictures, People, float]:
    """The world's pictures, these people and the noise of their choices."""
    people = read_people(workspace.data.folder / "people.json").select(names)
    temperature = float(vars(workspace.source)["choice_temperature"])
    return read_real_pictures(workspace.data, people.styles), people, temperature


def log_choices(people: People, real: RealPictures, temperature: float) -> np.ndarray:
    """Log-probability that each person picks each rendering of a concept, (P, K S): Plackett and Luce's first pick."""
    scaled = world_utilities(people, real.statistics) / temperature
    surprise: np.ndarray = scaled - np.logaddexp.reduce(scaled, 2, keepdims=True)
    return surprise.reshape(len(people.ids), -1)


def resampled(values: np.ndarray) -> np.ndarray:
    """Means over resampled people; the same people for all that is asked of them."""
    return resampled_rates(values, np.ones(len(values), np.int64), RESAMPLES, 0)


def numbers(values: Mapping[str, float]) -> dict[str, object]:
    return {name: "" if np.isnan(value) else round(float(value), 4) for name, value in values.items()}


def write(path: Path, rows: Sequence[dict[str, object]]) -> None:
    with atomic_path(path) as unfinished, unfinished.open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    log.info("wrote %s", path)


if __name__ == "__main__":
    main()
