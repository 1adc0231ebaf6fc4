"""Whether vectors of many answers serve people better at the length of the training's vectors.

    python experiments/emoji/newcomers/lengths.py RUN FOLDER

after study.py with the same RUN and FOLDER. Vectors of the training have unit variance in each direction, so their
length is about the root of their width E; a mean over more choices is shorter. Those of 16 answers in both orders and
of many are made that long. What people think of the images goes to FOLDER/lengths, the figures to FOLDER/lengths.csv.
"""

from __future__ import annotations

import csv
import logging
import sys
from pathlib import Path

import numpy as np
import torch
from answers import MANY, newcomers
from study import ANSWERS, ORDERS, PEOPLE, every_vector, interval, log, won

import ppd_lightning
from ppd_lightning.config.finished import config_of
from ppd_lightning.config.workspace import Workspace
from ppd_lightning.storage.atomic import atomic_path


def main() -> None:
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    log.setLevel(logging.INFO)
    torch.set_num_threads(1)
    run, folder = Path(sys.argv[1]), Path(sys.argv[2])
    stored = np.load(folder / "vectors.npz")
    asked = np.concatenate([stored["by_answers"][:, :, -1], stored["many"][:, None]], 1)  # (P, orders + 1, E)
    long = asked * np.sqrt(asked.shape[2]) / np.linalg.norm(asked, axis=2, keepdims=True)
    (folder / "lengths").mkdir(exist_ok=True)
    model, people = ppd_lightning.open(run), newcomers(run, "newcomer", PEOPLE)
    tie = Workspace(config_of(run)).config.evaluation.tie
    last = len(ANSWERS) - 1
    as_they_are = won(model, people, every_vector(stored["by_answers"], stored["many"]), folder, tie)
    lengthened = won(model, people, long, folder / "lengths", tie)
    names = [(order, ANSWERS[-1], number * len(ANSWERS) + last) for number, order in enumerate(ORDERS)]
    with atomic_path(folder / "lengths.csv") as unfinished, unfinished.open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["order", "answers", "vectors", "win_rate", "low", "high", "people"])
        for column, (order, n, own) in enumerate([*names, ("random", MANY, as_they_are.shape[1] - 1)]):
            before, after = as_they_are[:, own], lengthened[:, column]
            for kind, values in (("as they are", before), ("lengthened", after), ("difference", after - before)):
                one = interval(values)
                table.writerow([order, n, kind, *(f"{x:.4f}" for x in (one.value, one.low, one.high)), one.people])


if __name__ == "__main__":
    main()
