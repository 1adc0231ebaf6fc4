"""Where is what an oracle reaches lost? A finished run's win rate beside that of choosers who know more or draw better.

    python experiments/emoji/possible/gap.py RUN

RUN is the folder of a finished run in the embedded world, such as the demo's; it is evaluated first where that is
missing, and the base draws 16 further pictures of each caption. Figures go to RUN/gap.json. One thread.

N = comparisons, C = pictures to choose from, S = styles, J = image statistics, E = width of an embedding.
"""

from __future__ import annotations

import itertools
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from choosing import Menu, Tastes, chosen, one_hot, with_one

from ppd_lightning.commands.evaluate import TABLE, measure
from ppd_lightning.config.finished import config_of
from ppd_lightning.config.workspace import Workspace
from ppd_lightning.data.pairs import stable_ids
from ppd_lightning.data.simulation import RECOGNISED
from ppd_lightning.evaluation.statistics.bootstrap import estimate
from ppd_lightning.evaluation.statistics.share_of_possible import share_of_possible
from ppd_lightning.evaluation.statistics.win_rate import win_rate
from ppd_lightning.generation.gallery import base_gallery, read_images
from ppd_lightning.rewards.image_statistics import image_statistics
from ppd_lightning.storage.atomic import write_json_atomic
from ppd_lightning.worlds.emoji.judges import load_judge
from ppd_lightning.worlds.emoji.oracle import Oracle
from ppd_lightning.worlds.emoji.people import read_people
from ppd_lightning.worlds.emoji.real_pictures import read_real_pictures
from ppd_lightning.worlds.emoji.simulation import EmojiSimulation

FURTHER, FIRST_SEED = 16, 2000
"""Of the base's further pictures; no comparison has these."""
JUDGES = ("pixels", "statistics")
RIDGE, RESAMPLES, WORST = 1e-3, 2000, 15

log = logging.getLogger("possible")


def main() -> None:
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    log.setLevel(logging.INFO)
    torch.set_num_threads(1)
    run = Path(sys.argv[1])
    study = Study(run)
    report = {group: study.of_group(group) for group in dict.fromkeys(study.groups)}
    write_json_atomic(run / "gap.json", report)
    print(json.dumps(report, indent=1))


class Study:
    """The comparisons of the evaluation of a run's folder, what is drawn for them, and who could choose for them."""

    def __init__(self, run: Path) -> None:
        config = config_of(run)
        self.tie, summary = config.evaluation.tie, measure(config)
        self.workspace = workspace = Workspace(config)
        table = pq.read_table(Path(summary["folder"]) / TABLE)
        self.groups: list[str] = table["group"].to_pylist()
        self.users: list[str] = table["user"].to_pylist()
        self.captions: list[str] = table["caption"].to_pylist()
        assert isinstance(workspace.simulation, EmojiSimulation)
        self.simulation = workspace.simulation
        log.info("evaluated; looking at the pictures")
        self.world = read_people(workspace.data.folder / "people.json")
        self.real = read_real_pictures(workspace.data, self.world.styles)
        self.concept = np.array([self.real.concepts.index(caption) for caption in self.captions])
        people = self.world.select(self.users)
        self.truth = Tastes(people.style_weights, people.statistic_weights)
        self.oracle = self._by_oracle()
        self.read_out, self.read = self._by_read_out()
        files = {
            kind: [workspace.output / name for name in table[f"{kind}_image"].to_pylist()] for kind in ("base", "own")
        }
        self.base, self.own = (self._menu([[file] for file in files[kind]]) for kind in ("base", "own"))
        self.drawn = self._drawn()
        self.vendors = self._vendors()

    def of_group(self, group: str) -> dict[str, Any]:
        """All figures of one group of people."""
        rows = np.array([row for row, name in enumerate(self.groups) if name == group])
        whose = [self.users[row] for row in rows]
        base = self.truth.of(self.base)[:, 0]
        margins, shows = self._choosers()
        margins = {name: (value - base)[rows] for name, value in margins.items()}
        rates: dict[str, Any] = {}
        for name, margin in margins.items():
            rates[name] = win_rate(margin, whose, tie=self.tie, resamples=RESAMPLES).numbers()
            if name in shows:
                rates[name]["concept"] = round(float(shows[name][rows].mean()), 4)
        scores = {name: 0.5 * (m > self.tie) - 0.5 * (m < -self.tie) for name, m in margins.items()}
        lost = {}
        for one, next_one in itertools.pairwise(
            ("vendors, oracle", "base's 16, oracle", "base's 16, read-out", "model")
        ):
            found = estimate(scores[one] - scores[next_one], whose, RESAMPLES)
            lost[f"{one} less {next_one}"] = [round(value, 4) for value in (found.value, found.low, found.high)]
        share = {
            best: share_of_possible(margins["model"], margins[best], whose, tie=self.tie, resamples=RESAMPLES)
            for best in ("vendors, oracle", "base's 16, oracle", "base's 16, known", "base's 16, read-out")
        }
        return {
            "rates": rates,
            "lost": lost,
            "share": share,
            "styles": self._styles(rows),
            "by_style": self._by_style(rows, scores["model"]),
            "combinations": self._combinations(rows),
            "by_certainty": self._by_certainty(rows, scores),
            "cells": self._cells(rows, scores),
            "utility": self._utility(rows),
            "read_out": self.read[group],
        }

    def _choosers(self) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """What people think of the picture that is chosen for them, and whether it shows its concept, (N,) by name."""
        tastes = {"known": self.truth, "oracle": self.oracle, "read-out": self.read_out}
        liked = {"model": self.truth.of(self.own)[:, 0]}
        shows = {"model": self.own.shows[:, 0], "base": self.base.shows[:, 0]}
        for who, taste in tastes.items():
            liked[f"vendors, {who}"] = chosen(self.truth.of(self.vendors), taste.of(self.vendors))
            pick = taste.of(self.drawn)
            liked[f"base's 16, {who}"] = chosen(self.truth.of(self.drawn), pick)
            shows[f"base's 16, {who}"] = chosen(self.drawn.shows, pick)
        by_other = self.oracle.of(self.drawn, "statistics")
        liked["base's 16, oracle by the other judge"] = chosen(self.truth.of(self.drawn), by_other)
        for count in (1, 2, 4, 8):
            menu = self.drawn.first(count)
            liked[f"base's {count}, oracle"] = chosen(self.truth.of(menu), self.oracle.of(menu))
        style = self.guess()
        right = self.drawn.styles["pixels"].argmax(2) == style[:, None]
        liked["base's first of the oracle's style"] = chosen(self.truth.of(self.drawn), right.astype(float))
        # The model's own picture, made better step by step until it is what the oracle takes.
        sharp = one_hot(self.own.styles["pixels"][:, 0].argmax(1), self.base)
        for name, of_style in (
            ("model, its style pure", sharp),
            ("model, the oracle's style", one_hot(style, self.base)),
        ):
            changed = Menu({"pixels": of_style[:, None]}, self.own.statistics, self.own.shows)
            liked[name] = self.truth.of(changed)[:, 0]
        return liked, shows

    def guess(self) -> np.ndarray:
        """The style of the vendors' picture that the oracle takes, (N,)."""
        return np.asarray(self.oracle.of(self.vendors).argmax(1))

    def _styles(self, rows: np.ndarray) -> dict[str, float]:
        """How often what is drawn has the style that the oracle takes, or of the vendors' picture liked most."""
        guess, favourite = self.guess()[rows], self.truth.of(self.vendors).argmax(1)[rows]
        found = {"oracle_is_favourite": (guess == favourite).mean()}
        for judge in JUDGES:
            for name, menu in (("model", self.own), ("base", self.base)):
                style = menu.styles[judge][rows, 0].argmax(1)
                found[f"{name}_is_oracles_by_{judge}"] = (style == guess).mean()
                found[f"{name}_is_favourite_by_{judge}"] = (style == favourite).mean()
        among = self._times(rows) > 0
        right = self.own.styles["pixels"][rows, 0].argmax(1) == guess
        found |= {"among_the_16": among.mean(), "right_if_among": right[among].mean()}
        found["right_if_not_among"] = right[~among].mean()
        by_other = self.own.styles["statistics"][rows, 0].argmax(1) == guess
        found["model_is_oracles_by_either"] = (right | by_other).mean()
        return {name: round(float(value), 4) for name, value in found.items()}

    def _by_style(self, rows: np.ndarray, score: np.ndarray) -> dict[str, dict[str, float]]:
        """By the style that the oracle takes: how often, whether it is drawn, and the model's win rate."""
        guess, own = self.guess()[rows], self.own.styles["pixels"][rows, 0].argmax(1)
        found = {}
        for number, name in enumerate(self.world.styles):
            of = guess == number
            times = self._times(rows)[of]
            numbers = {
                "share": of.mean(),
                "of_bases_pictures": times.mean() / FURTHER,
                "among_the_16": (times > 0).mean(),
                "model_draws_it": (own == guess)[of].mean(),
                "model": score[of].mean() + 0.5,
            }
            found[name] = {key: round(float(value), 4) for key, value in numbers.items()}
        return found

    def _combinations(self, rows: np.ndarray) -> dict[str, float]:
        """Whether some captions cannot be drawn in some styles: misses by pairs of caption and the oracle's style.

        dispersion: of the rates of pairs, 1 if chance alone made them differ. worst: the 15 pairs with the most misses.
        """
        right = self.own.styles["pixels"][rows, 0].argmax(1) == self.guess()[rows]
        _, pair = np.unique(np.c_[self.concept[rows], self.guess()[rows]], axis=0, return_inverse=True)
        counts, misses = np.bincount(pair.ravel()), np.bincount(pair.ravel(), ~right)
        rate = misses.sum() / len(rows)
        spread = np.square(misses - rate * counts) / (counts * rate * (1 - rate))
        worst = misses.argsort()[::-1][:WORST]
        pixels = torch.from_numpy(self.real.pixels[np.unique(self.concept)]).flatten(0, 1).float() / 255
        read = load_judge("pixels").probabilities(pixels).argmax(1).view(-1, len(self.world.styles))
        numbers = {
            "pairs": len(counts),
            "dispersion": spread.sum() / (len(counts) - 1),
            "median_right": np.median(1 - misses / counts),
            "worst_share_of_comparisons": counts[worst].sum() / len(rows),
            "worst_share_of_misses": misses[worst].sum() / misses.sum(),
            "vendors_pictures_read_rightly": (read == torch.arange(len(self.world.styles))).double().mean(),
        }
        return {name: round(float(value), 4) for name, value in numbers.items()}

    def _by_certainty(self, rows: np.ndarray, scores: Mapping[str, np.ndarray]) -> dict[str, dict[str, float]]:
        """Thirds of the comparisons, by how far the read-out's best style is ahead of its second for the caption."""
        liked = np.sort(self.read_out.of(self.vendors)[rows], 1)
        ahead, style = liked[:, -1] - liked[:, -2], self.read_out.of(self.vendors)[rows].argmax(1)
        own, found = self.own.styles["pixels"][rows, 0].argmax(1), {}
        for name, third in zip(("least", "middle", "most"), np.array_split(ahead.argsort(), 3), strict=True):
            numbers = {
                "ahead_by": ahead[third].mean(),
                "read_out_is_oracles": (style == self.guess()[rows])[third].mean(),
                "model_draws_read_out": (own == style)[third].mean(),
                "model": scores["model"][third].mean() + 0.5,
                "read_out": scores["vendors, read-out"][third].mean() + 0.5,
                "oracle": scores["vendors, oracle"][third].mean() + 0.5,
            }
            found[name] = {key: round(float(value), 4) for key, value in numbers.items()}
        return found

    def _times(self, rows: np.ndarray) -> np.ndarray:
        """How many of the base's 16 pictures have the oracle's style, (rows,)."""
        return np.asarray((self.drawn.styles["pixels"][rows].argmax(2) == self.guess()[rows, None]).sum(1))

    def _cells(self, rows: np.ndarray, scores: Mapping[str, np.ndarray]) -> dict[str, dict[str, float]]:
        """Comparisons by whether the model's and the base's picture have the oracle's style; the parts add up."""
        guess = self.guess()[rows]
        own, base = (menu.styles["pixels"][rows, 0].argmax(1) == guess for menu in (self.own, self.base))
        found = {}
        for of_own in (True, False):
            for of_base in (True, False):
                cell = (own == of_own) & (base == of_base)
                model, best = scores["model"][cell], scores["vendors, oracle"][cell]
                name = f"model {'right' if of_own else 'wrong'}, base {'right' if of_base else 'wrong'}"
                numbers = {
                    "share": cell.mean(),
                    "model": model.mean() + 0.5,
                    "oracle": best.mean() + 0.5,
                    "part_of_gap": (best - model).sum() / len(rows),
                    "model_ties": (model == 0).mean(),
                    "oracle_ties": (best == 0).mean(),
                }
                found[name] = {key: round(float(value), 4) for key, value in numbers.items()}
        return found

    def _utility(self, rows: np.ndarray) -> dict[str, float]:
        """Mean utility over the base's picture, and what the model's lacks of the oracle's, in parts that add up."""
        guess, truth = self.guess(), self.truth
        base, own = truth.of(self.base)[:, 0], truth.of(self.own)[:, 0]
        best = chosen(truth.of(self.vendors), self.oracle.of(self.vendors))
        pure = one_hot(guess, self.base)
        style = ((pure - self.own.styles["pixels"][:, 0]) * truth.styles).sum(1)
        statistics = best - own - style
        right = self.own.styles["pixels"][:, 0].argmax(1) == guess
        parts = {
            "model": own - base,
            "oracle": best - base,
            "lost": best - own,
            "lost_by_wrong_style": np.where(right, 0, best - own),
            "lost_by_impure_style": np.where(right, style, 0),
            "lost_by_statistics": np.where(right, statistics, 0),
        }
        return {name: round(float(value[rows].mean()), 4) for name, value in parts.items()}

    def _by_oracle(self) -> Tastes:
        """The mean of the tastes of imagined people, weighted by how likely they make the shots."""
        source = vars(self.workspace.source)
        world, real = self.world, self.real
        oracle = Oracle(
            real.statistics, world.styles, world.statistics, source["choice_temperature"], seed=source["seed"]
        )
        shots = self.workspace.users.asked(self.users, self.captions).shots
        sets, own = np.unique(shots, axis=0, return_inverse=True)
        pairs = self.workspace.data.read_pairs()
        images = dict(zip(stable_ids(pairs["pair_id"]).tolist(), pairs["preferred"].to_pylist(), strict=True))
        picked = [np.array([real.index[images[pair]] for pair in seen]) for seen in sets.tolist()]
        weights = np.stack([oracle.posterior(seen[:, 0], seen[:, 1]) for seen in picked])
        of_sets = (weights @ oracle.people.style_weights, weights @ oracle.people.statistic_weights)
        return Tastes(*(of[own.ravel()] for of in of_sets))

    def _by_read_out(self) -> tuple[Tastes, dict[str, dict[str, float]]]:
        """A linear reading of the vectors that the model gets, fitted to everybody who is trained on."""
        users, data = self.workspace.users, self.workspace.data
        rows, seen = users.rows(), data.people()["seen"]
        vectors = with_one(np.asarray(rows.embeddings[np.arange(len(rows.users))], np.float64))
        people = self.world.select(rows.users)
        weights = np.c_[people.style_weights, people.statistic_weights]
        fitted = np.isin(rows.users, seen)
        gram = vectors[fitted].T @ vectors[fitted] + RIDGE * np.eye(vectors.shape[1])
        solved = np.linalg.solve(gram, vectors[fitted].T @ weights[fitted])
        styles, figures = len(self.world.styles), {}
        for group, of in (("seen", fitted), ("unseen", ~fitted)):
            guess, truth = vectors[of] @ solved, weights[of]
            left = ((truth - guess) ** 2).sum(0) / ((truth - weights[fitted].mean(0)) ** 2).sum(0)
            figures[group] = {
                "r2_styles": round(float(1 - left[:styles].mean()), 4),
                "r2_statistics": round(float(1 - left[styles:].mean()), 4),
                "favourite": round(float((guess[:, :styles].argmax(1) == truth[:, :styles].argmax(1)).mean()), 4),
            }
        asked = with_one(np.asarray(users.asked(self.users, self.captions).embeddings, np.float64)) @ solved
        return Tastes(asked[:, :styles], asked[:, styles:]), figures

    def _vendors(self) -> Menu:
        """Their pictures of the caption, in all styles."""
        styles = np.tile(np.eye(len(self.world.styles)), (len(self.users), 1, 1))
        return Menu(
            {"pixels": styles}, self._standard(self.real.statistics[self.concept]), np.ones(styles.shape[:2], bool)
        )

    def _drawn(self) -> Menu:
        """Further pictures of the base, the same for everybody."""
        trained, captions = self.workspace.trained_run(), sorted(set(self.captions))
        seeds = list(range(FIRST_SEED, FIRST_SEED + FURTHER))
        files = base_gallery(trained).draw(
            [caption for caption in captions for _ in seeds], None, [seed for _ in captions for seed in seeds]
        )
        first = {caption: FURTHER * row for row, caption in enumerate(captions)}
        return self._menu([files[first[caption] : first[caption] + FURTHER] for caption in self.captions])

    def _menu(self, files: Sequence[Sequence[Path]]) -> Menu:
        """Pictures (N lists of C files) as the judges see them."""
        caption = {file: self.captions[row] for row, of_row in enumerate(files) for file in of_row}
        row = {file: number for number, file in enumerate(caption)}
        images = read_images(list(caption))
        where = np.array([[row[file] for file in of_row] for of_row in files])
        styles = {name: load_judge(name).probabilities(images).double().numpy()[where] for name in JUDGES}
        shows = self.simulation.content(list(caption.values()), images)[RECOGNISED]
        return Menu(styles, self._standard(image_statistics(images).numpy()[where]), shows[where])

    def _standard(self, statistics: np.ndarray) -> np.ndarray:
        return np.asarray((statistics - self.world.centre) / self.world.scale)


if __name__ == "__main__":
    main()
