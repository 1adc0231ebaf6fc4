"""Base types of people: utilities of pictures such that each person's own is a weighted sum of them.

They are clusters of people by their choices (PIPE, openreview G5GipElVVe, has K base types; how it learns them is not
in its abstract). A type's utility is the logistic regression of all choices of its people, and a person belongs to the
type that makes their choices likeliest.

U = people, N = choices of all of them, P = features of a picture, K = types.
"""

from __future__ import annotations

import numpy as np

from ppd_lightning.users.choice_regression import choice_weights

ROUNDS = 50
"""Most times that people are assigned anew."""
FIRST_CHOICES = 32
"""Of each person, from which the first clusters are made."""
AT_ONCE = 512
"""People whose choices are regressed at once."""


def base_types(differences: np.ndarray, people: np.ndarray, count: int, regularisation: float) -> np.ndarray:
    """Utilities (P, K) of min(`count`, U) base types, to unit size of their margins over the choices.

    Clusters begin around people who are most unlike each other, and people move to the type under which their choices
    are likeliest until nobody moves, or for `ROUNDS` rounds. The same choices in the same order give the same types.

    Args:
        differences: (N, P) float64, features of the preferred picture less those of the other.
        people: (N,) int, whose choice each is.
        regularisation: see `choice_weights`; differences are brought to unit length in the mean before.
    """
    _, person = np.unique(people, return_inverse=True)
    scaled = differences / max(float(np.sqrt((differences**2).sum(1).mean())), 1e-12)
    types = _unlike(_own_utilities(scaled, person, regularisation), count)
    member = np.full(person.max() + 1, -1)
    for _ in range(ROUNDS):
        fits = -np.logaddexp(0, -scaled @ types)  # (N, K), log-likelihoods
        likelihood = np.zeros((len(member), types.shape[1]))
        np.add.at(likelihood, person, fits)
        moved = likelihood.argmax(1)
        if (moved == member).all():
            break
        member = moved
        for kind in np.unique(member):
            types[:, kind] = choice_weights(scaled[member[person] == kind][None], regularisation)[0]
    size = np.sqrt(((differences @ types) ** 2).mean(0))
    return types / np.where(size > 1e-12, size, 1)


def _own_utilities(differences: np.ndarray, person: np.ndarray, regularisation: float) -> np.ndarray:
    """Each person's own, of their first choices, (U, P)."""
    order = np.argsort(person, kind="stable")
    counts = np.bincount(person)
    number = np.empty(len(person), int)
    number[order] = np.arange(len(person)) - np.repeat(np.cumsum(counts) - counts, counts)
    kept = number < FIRST_CHOICES
    found = []
    for begin in range(0, len(counts), AT_ONCE):
        block = kept & (person >= begin) & (person < begin + AT_ONCE)
        # A choice of no difference tells nothing, so people with fewer choices are filled up with these.
        filled = np.zeros((min(AT_ONCE, len(counts) - begin), FIRST_CHOICES, differences.shape[1]))
        filled[person[block] - begin, number[block]] = differences[block]
        found.append(choice_weights(filled, regularisation))
    return np.concatenate(found)


def _unlike(utilities: np.ndarray, count: int) -> np.ndarray:
    """Those (P, min(count, U)) of the utilities (U, P) whose directions are far apart; the strongest one first."""
    lengths = np.linalg.norm(utilities, axis=1)
    directions = utilities / np.maximum(lengths, 1e-12)[:, None]
    chosen = [int(lengths.argmax())]
    nearest = directions @ directions[chosen[0]]
    while len(chosen) < min(count, len(utilities)):
        nearest[chosen] = np.inf
        chosen.append(int(nearest.argmin()))
        nearest = np.maximum(nearest, directions @ directions[chosen[-1]])
    return utilities[chosen].T.copy()
