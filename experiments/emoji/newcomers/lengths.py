"""Whether lengthened vectors of many answers serve people better, and what that costs in content.

    python experiments/emoji/newcomers/lengths.py RUN FOLDER

after study.py with the same RUN and FOLDER. Vectors of more answers than a set of the training has are lengthened as
`describe` lengthens them (`SetSpread`). By how much was chosen with the first caption of each person, among powers of
the quotient; further captions measure it. What is found of images goes to FOLDER/trial and FOLDER/lengths, the figures
to FOLDER/lengths.csv.
"""

from __future__ import annotations

import csv
import logging
import sys
from pathlib import Path

import numpy as np
import torch
from answers import MANY, newcomers
from study import ANSWERS, ORDERS, PEOPLE, every_vector, interval, judged, log, won

import ppd_lightning
from ppd_lightning.config.finished import config_of
from ppd_lightning.config.workspace import Workspace
from ppd_lightning.storage.atomic import atomic_path
from ppd_lightning.users.describer import open_of_run

TRIED, POWERS, TRIAL = (("random", MANY), ("next_pair", 16), ("random", 1)), (0, 0.5, 1), (0,)
"""In the trial: whose vectors, to which powers of the quotient they are multiplied, with which captions of a person."""
MEASURED, CAPTIONS = (("random", 8), ("random", 16), ("random", MANY), ("next_pair", 8), ("next_pair", 16)), (1, 2)

Measures = dict[str, np.ndarray]


def main() -> None:
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    logging.getLogger("ppd_lightning").setLevel(logging.ERROR)  # how many choices there are is the point here
    log.setLevel(logging.INFO)
    torch.set_num_threads(1)
    run, folder = Path(sys.argv[1]), Path(sys.argv[2])
    stored = np.load(folder / "vectors.npz")
    model, people = ppd_lightning.open(run), newcomers(run, "newcomer", PEOPLE)
    workspace = Workspace(config_of(run))
    tie, spread = workspace.config.evaluation.tie, open_of_run(run, workspace.config.user).facts["spread"]
    every = every_vector(stored["by_answers"], stored["many"])

    def quotient(n: int) -> float:
        """As `SetSpread.stretch`, also of fewer answers than a set's."""
        within = spread["within"] * spread["shots"] / n
        return float((spread["between"] + spread["within"]) / (spread["between"] + within))

    def of_images(vectors: list[np.ndarray], kind: str, numbers: tuple[int, ...]) -> list[Measures]:
        (folder / kind).mkdir(exist_ok=True)
        asked = np.stack(vectors, 1)
        liked, shown = (judged(model, people, asked, folder / kind, name, numbers) for name in ("differences", "shown"))
        measures = {"win_rate": won(liked, tie), "utility": liked.mean(1), "content": shown.mean(1)}
        return [{name: values[:, column] for name, values in measures.items()} for column in range(len(vectors))]

    ways = [(order, n, power) for order, n in TRIED for power in POWERS]
    trial = of_images(
        [every[:, column_of(order, n)] * quotient(n) ** power for order, n, power in ways], "trial", TRIAL
    )
    after = of_images([every[:, column_of(order, n)] * quotient(n) for order, n in MEASURED], "lengths", CAPTIONS)
    plain = judged(model, people, every, folder)[:, list(CAPTIONS)]
    rows: list[tuple[str, str, int, str, Measures]] = []
    for row, (order, n, power) in enumerate(ways):
        rows.append(("trial", order, n, f"{power:g}", trial[row]))
        if power:
            rows.append(("trial", order, n, f"{power:g} less 0", less(trial[row], trial[ways.index((order, n, 0))])))
    for own, (order, n) in zip(after, MEASURED, strict=True):
        before, of_a_set = (
            {"win_rate": won(liked, tie)[:, 0], "utility": liked.mean((1, 2))}
            for liked in (plain[:, :, [column_of(order, count)]] for count in (n, spread["shots"]))
        )
        rows += [("measured", order, n, "0", before), ("measured", order, n, "1", own)]
        rows.append(("measured", order, n, "1 less 0", less(own, before)))
        rows.append(("measured", order, n, "1 less those of a set", less(own, of_a_set)))
    with atomic_path(folder / "lengths.csv") as unfinished, unfinished.open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["part", "order", "answers", "power", "measure", "value", "low", "high", "people"])
        for part, order, n, power, measures in rows:
            for name, values in measures.items():
                one = interval(values)
                figures = [f"{x:.4f}" for x in (one.value, one.low, one.high)]
                table.writerow([part, order, n, power, name, *figures, one.people])


def column_of(order: str, n: int) -> int:
    """Of the vectors of `every_vector`."""
    return len(ORDERS) * len(ANSWERS) if n == MANY else ORDERS.index(order) * len(ANSWERS) + ANSWERS.index(n)


def less(own: Measures, other: Measures) -> Measures:
    """Differences, person by person, of what both have."""
    return {name: own[name] - other[name] for name in own if name in other}


if __name__ == "__main__":
    main()
