"""The table of this study's README, from the sweep's own table: python experiments/emoji/first/table.py [runs.csv]."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from statistics import fmean

COLUMNS = {
    "win rate, seen": "evaluate.win_rate.seen.rate",
    "win rate, unseen": "evaluate.win_rate.unseen.rate",
    "of decided, unseen": "evaluate.win_rate.unseen.decided",
    "by the second judge, seen": "evaluate.win_rate_by_statistics.seen.rate",
    "by the second judge, unseen": "evaluate.win_rate_by_statistics.unseen.rate",
    "concept, base": "evaluate.concept_accuracy.base",
    "concept": None,
    "training seconds": "train.seconds",
}


def main() -> None:
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("runs.csv")
    with path.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["state"] == "done"]
    print("| objective | seeds | " + " | ".join(COLUMNS) + " |\n|" + "---|" * (len(COLUMNS) + 2))
    for experiment in dict.fromkeys(row["experiment"] for row in rows):
        own, name = [row for row in rows if row["experiment"] == experiment], experiment.split("/")[-1]
        cells = []
        for column in COLUMNS.values():
            key = column or f"evaluate.concept_accuracy.{name}"
            values = [float(row[key]) for row in own]
            spread = f" ({min(values):.3g}-{max(values):.3g})" if len(values) > 1 else ""
            cells.append(f"{fmean(values):.3f}{spread}" if max(values) < 10 else f"{fmean(values):.0f}")
        print(f"| {name} | {len(own)} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
