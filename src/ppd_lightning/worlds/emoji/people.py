"""Simulated people: a hidden taste each, and the choices that it leads to.

P = people, K = concepts, S = styles, J = image statistics, B = images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ppd_lightning.errors import UserError
from ppd_lightning.storage.json_files import read_checked_json, write_checked_json

FAVOURITE_WEIGHT = 2.0
"""Added to the weight of one style, drawn for each person, so that a few choices can tell which it is."""

STATISTIC_WEIGHT = 0.25
"""Deviation of a statistic's weight over people; that of a style's weight is 1, before all are scaled together."""


@dataclass(frozen=True)
class People:
    """Hidden utilities: a weight for each style and for each image statistic.

    ids: P user ids. styles: S names. statistics: J names. style_weights: (P, S). statistic_weights: (P, J), on
    statistics that are standardised with centre (J,) and scale (J,). Over the world's real pictures every person's
    utility has mean 0 and deviation 1.
    """

    ids: tuple[str, ...]
    styles: tuple[str, ...]
    statistics: tuple[str, ...]
    style_weights: np.ndarray
    statistic_weights: np.ndarray
    centre: np.ndarray
    scale: np.ndarray

    def select(self, ids: Sequence[str]) -> People:
        """The people with these ids, in this order; an unknown id is a KeyError."""
        number = {name: row for row, name in enumerate(self.ids)}
        rows = [number[name] for name in ids]
        return People(
            tuple(ids),
            self.styles,
            self.statistics,
            self.style_weights[rows],
            self.statistic_weights[rows],
            self.centre,
            self.scale,
        )


@dataclass(frozen=True)
class Choices:
    """Who picked what, one row a choice, all (N,) integers: rows of people and concepts, and two of the styles."""

    person: np.ndarray
    concept: np.ndarray
    picked: np.ndarray
    other: np.ndarray


def make_people(
    ids: Sequence[str], seed: int, styles: Sequence[str], statistics: Sequence[str], world_statistics: np.ndarray
) -> People:
    """Draw a taste for each id; a person's taste depends on the seed and the own id, not on who else there is.

    Args:
        world_statistics: (K, S, J), of the world's real pictures.
    """
    flat = world_statistics.reshape(-1, len(statistics)).astype(np.float64)
    centre, scale = flat.mean(0), flat.std(0)
    if not (scale > 0).all():
        raise ValueError("a statistic is the same for every picture of the world")
    style_weights, statistic_weights = np.empty((len(ids), len(styles))), np.empty((len(ids), len(statistics)))
    for row, name in enumerate(ids):
        generator = person_generator(seed, "taste", name)
        style_weights[row] = generator.standard_normal(len(styles))
        style_weights[row, generator.integers(len(styles))] += FAVOURITE_WEIGHT
        statistic_weights[row] = STATISTIC_WEIGHT * generator.standard_normal(len(statistics))
    people = People(tuple(ids), tuple(styles), tuple(statistics), style_weights, statistic_weights, centre, scale)
    utility = world_utilities(people, world_statistics).reshape(len(ids), -1)  # (P, K S)
    deviation = utility.std(1, keepdims=True)
    style_weights = (style_weights - utility.mean(1, keepdims=True)) / deviation
    return People(
        people.ids, people.styles, people.statistics, style_weights, statistic_weights / deviation, centre, scale
    )


def utilities(people: People, style_probabilities: np.ndarray, statistics: np.ndarray) -> np.ndarray:
    """How much each person likes each image, (P, B).

    Args:
        style_probabilities: (B, S), one-hot where the style is known.
        statistics: (B, J), raw, as `image_statistics` gives them.
    """
    standard = (statistics - people.centre) / people.scale
    liked: np.ndarray = people.style_weights @ style_probabilities.T + people.statistic_weights @ standard.T
    return liked


def world_utilities(people: People, world_statistics: np.ndarray) -> np.ndarray:
    """`utilities` of real pictures with statistics (K, S, J), as (P, K, S)."""
    concepts, styles, count = world_statistics.shape
    known = np.tile(np.eye(styles), (concepts, 1))
    liked = utilities(people, known, world_statistics.reshape(-1, count))
    return liked.reshape(len(people.ids), concepts, styles)


def choose(people: People, world_statistics: np.ndarray, each: int, temperature: float, seed: int) -> Choices:
    """Let everybody make `each` choices: the liked one of all renderings of a concept, beside a random other one.

    Plackett-Luce choice: the rendering with the highest utility + temperature * Gumbel noise is picked. A person meets
    every concept before one comes again. A person's choices depend on the seed and the own id alone.

    Args:
        world_statistics: (K, S, J), of the world's real pictures.
    """
    liked = world_utilities(people, world_statistics)
    _, concepts, styles = liked.shape
    met, picked, other = [], [], []
    for name, utility in zip(people.ids, liked, strict=True):
        generator = person_generator(seed, "choices", name)
        rounds = -(-each // concepts)
        met.append(np.concatenate([generator.permutation(concepts) for _ in range(rounds)])[:each])
        noisy = utility[met[-1]] + temperature * generator.gumbel(size=(each, styles))
        picked.append(noisy.argmax(1))
        other.append((picked[-1] + generator.integers(1, styles, size=each)) % styles)
    person = np.repeat(np.arange(len(people.ids)), each)
    return Choices(person, np.concatenate(met), np.concatenate(picked), np.concatenate(other))


def write_people(path: Path, people: People) -> None:
    """Keep the hidden truth, for evaluation only."""
    rows = zip(people.ids, people.style_weights.tolist(), people.statistic_weights.tolist(), strict=True)
    write_checked_json(
        path,
        {
            "styles": people.styles,
            "statistics": people.statistics,
            "centre": people.centre.tolist(),
            "scale": people.scale.tolist(),
            "people": {name: {"styles": styles, "statistics": statistics} for name, styles, statistics in rows},
        },
    )


def read_people(path: Path) -> People:
    """What `write_people` wrote.

    Raises:
        UserError: the file is missing or not such a file.
    """
    try:
        stored = read_checked_json(path, "delete it and run `ppd prepare` with the same settings")
        weights = stored["people"]
        return People(
            tuple(weights),
            tuple(stored["styles"]),
            tuple(stored["statistics"]),
            np.array([one["styles"] for one in weights.values()]),
            np.array([one["statistics"] for one in weights.values()]),
            np.array(stored["centre"]),
            np.array(stored["scale"]),
        )
    except FileNotFoundError:
        raise UserError(f"{path}: the simulated people are missing; run `ppd prepare` with the same settings") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: damaged ({error!r}); delete it and run `ppd prepare` with the same settings"
        ) from error


def person_generator(seed: int, purpose: str, name: str) -> np.random.Generator:
    """What draws something of a person, whoever else there is."""
    return np.random.default_rng(np.random.SeedSequence([seed, *f"{purpose}/{name}".encode()]))
