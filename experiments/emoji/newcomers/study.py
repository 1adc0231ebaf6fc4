"""How good a newcomer's vector is after 1 to 16 answers, to random pairs and to those of `next_pair`.

    python experiments/emoji/newcomers/study.py RUN FOLDER

RUN is the folder of a finished run in the embedded world. Vectors go to FOLDER/vectors.npz, what each person thinks of
the images of a caption to FOLDER/CAPTION.npz, figures to FOLDER/results.csv; what is there is not made again.

P = people, A = orders, L = numbers of answers, E = width of an embedding.
"""

from __future__ import annotations

import csv
import logging
import sys
from pathlib import Path

import numpy as np
import torch
from answers import MANY, POOL, Newcomers, newcomers

import ppd_lightning
from ppd_lightning.config.finished import config_of
from ppd_lightning.config.workspace import Workspace
from ppd_lightning.evaluation.statistics.bootstrap import Estimate, estimate
from ppd_lightning.opened import Model, Person
from ppd_lightning.rewards.image_statistics import image_statistics
from ppd_lightning.storage.atomic import atomic_path
from ppd_lightning.worlds.emoji.judges import load_judge
from ppd_lightning.worlds.emoji.people import utilities

PEOPLE, ANSWERS, ORDERS = 100, (1, 2, 4, 8, 16), ("random", "next_pair")
CAPTIONS_EACH = 4
"""Held-out captions that are drawn for each person."""
RESAMPLES = 2000

log = logging.getLogger("newcomers")


def main() -> None:
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    logging.getLogger("ppd_lightning").setLevel(logging.ERROR)  # how few choices there are is the point here
    log.setLevel(logging.INFO)
    torch.set_num_threads(1)
    run, folder = Path(sys.argv[1]), Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    model, people = ppd_lightning.open(run), newcomers(run, "newcomer", PEOPLE)
    if not (folder / "vectors.npz").is_file():
        with atomic_path(folder / "vectors.npz") as unfinished, unfinished.open("wb") as file:
            np.savez(file, **describe(model, people))
    vectors = np.load(folder / "vectors.npz")
    by_answers, many = vectors["by_answers"], vectors["many"]
    tie = Workspace(config_of(run)).config.evaluation.tie
    shares = won(model, people, every_vector(by_answers, many), folder, tie)
    write(folder / "results.csv", by_answers, many, shares)


def every_vector(by_answers: np.ndarray, many: np.ndarray) -> np.ndarray:
    """Those of `describe` in a row a person, (P, A L + 1, E); that of many choices is the last."""
    return np.concatenate([by_answers.reshape(PEOPLE, -1, many.shape[1]), many[:, None]], 1)


def won(model: Model, people: Newcomers, vectors: np.ndarray, folder: Path, tie: float) -> np.ndarray:
    """How often each person's own images are liked better than the base's, for vectors (P, V, E): (P, V).

    Ties count one half.
    """
    captions = Workspace(config_of(model.folder)).data.captions(held_out=True)
    thought = np.full((PEOPLE, CAPTIONS_EACH, vectors.shape[1]), np.nan)
    for number, caption in enumerate(captions):
        path = folder / f"{caption}.npz"
        asked = [(p, k) for p in range(PEOPLE) for k in range(CAPTIONS_EACH) if (p + 5 * k) % len(captions) == number]
        if asked and not path.is_file():
            log.info("drawing %s (%d of %d)", caption, number + 1, len(captions))
            with atomic_path(path) as unfinished, unfinished.open("wb") as file:
                np.savez(file, differences=draw(model, people, caption, [p for p, _ in asked], vectors))
        for (p, k), differences in zip(asked, np.load(path)["differences"] if asked else [], strict=True):
            thought[p, k] = differences
    shares: np.ndarray = (0.5 + 0.5 * (thought > tie) - 0.5 * (thought < -tie)).mean(1)
    return shares


def describe(model: Model, people: Newcomers) -> dict[str, np.ndarray]:
    """by_answers: (P, A, L, E). many: (P, E)."""
    pool = model.pool(people.pairs[:POOL])
    by_answers, many = [], []
    for person in range(PEOPLE):
        orders = [np.random.default_rng(person).permutation(POOL)[: ANSWERS[-1]].tolist(), list[int]()]
        for _ in range(ANSWERS[-1]):
            orders[1].append(model.next_pair([people.choice(person, pair) for pair in orders[1]], pool))
        choices = [[people.choice(person, pair) for pair in order] for order in orders]
        by_answers.append([[model.describe(own[:n]).vector for n in ANSWERS] for own in choices])
        many.append(model.describe([people.choice(person, POOL + pair) for pair in range(MANY)]).vector)
        log.info("described %d of %d", person + 1, PEOPLE)
    return {"by_answers": np.array(by_answers), "many": np.array(many)}


def draw(model: Model, people: Newcomers, caption: str, rows: list[int], vectors: np.ndarray) -> np.ndarray:
    """What people think of the image of each of their vectors less what they think of the base's, (rows, vectors)."""
    identity = model.describe([people.choice(0, 0)]).model
    own = [Person(vector, identity) for row in rows for vector in vectors[row]]
    images = model.draw([caption], [None, *own], [0])
    pixels = torch.from_numpy(np.stack([np.asarray(image) for image in images])).permute(0, 3, 1, 2).float() / 255
    styles, statistics = load_judge("pixels").probabilities(pixels).numpy(), image_statistics(pixels).numpy()
    liked = utilities(people.people, styles, statistics)[rows]  # (rows, images)
    each = liked[:, 1:].reshape(len(rows), len(rows), -1)
    differences: np.ndarray = each[np.arange(len(rows)), np.arange(len(rows))] - liked[:, :1]
    return differences


def write(path: Path, found: np.ndarray, many: np.ndarray, shares: np.ndarray) -> None:
    """The table: a row an order and number of answers; the last order is the difference, person by person.

    Args:
        found: (P, A, L, E). many: (P, E). shares: (P, A L + 1), what `won` gave for them.
    """
    lengths = np.linalg.norm(found, axis=-1) * np.linalg.norm(many, axis=-1)[:, None, None]
    measures = {
        "length": np.linalg.norm(found, axis=-1),
        "distance": np.linalg.norm(found - many[:, None, None], axis=-1),
        "cosine": np.einsum("pale,pe->pal", found, many) / lengths,
        "win_rate": shares[:, :-1].reshape(found.shape[:3]),
    }
    rows: list[tuple[str, str, str, Estimate]] = []
    for name, values in measures.items():
        for column, n in enumerate(ANSWERS):
            of_orders = dict(zip(ORDERS, values[:, :, column].T, strict=True))
            of_orders["difference"] = of_orders["next_pair"] - of_orders["random"]
            rows += [(name, order, str(n), interval(own)) for order, own in of_orders.items()]
    rows.append(("length", "random", str(MANY), interval(np.linalg.norm(many, axis=-1))))
    rows.append(("win_rate", "random", str(MANY), interval(shares[:, -1])))
    with atomic_path(path) as unfinished, unfinished.open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["measure", "order", "answers", "value", "low", "high", "people"])
        for name, order, n, one in rows:
            table.writerow([name, order, n, *(f"{x:.4f}" for x in (one.value, one.low, one.high)), one.people])
    log.info("wrote %s", path)


def interval(values: np.ndarray) -> Estimate:
    """The mean over people with a bootstrap over them."""
    return estimate(values, [str(person) for person in range(len(values))], RESAMPLES)


if __name__ == "__main__":
    main()
