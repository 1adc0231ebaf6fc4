"""Three rewards as users: what each likes at its corner, and along the edges between two of them.

    python experiments/emoji/blends/edges.py FOLDER KEY=VALUE ...
    python experiments/emoji/blends/edges.py FOLDER --trainings 0,1,2 --noises 8 --mixed --alone KEY=VALUE ...

The words are the overrides of the trainings, which are finished (`ppd prepare label embed train`). Draws every caption
of `evaluation.captions` at every point of the three edges of the triangle of users, with the same noises, and scores
each picture by every reward. Writes results.json, curves.csv and strip.png into FOLDER; the strip is the caption and
noise in which the three corners gain most. Pictures are kept in the runs' folders and shared with
`ppd evaluate`; what is there is not drawn again.

S = trainings, C = captions, M = noises, G = points, K = rewards, R = resamples.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ppd_lightning.backbones.user_branch import UserBranch
from ppd_lightning.config.compose import compose
from ppd_lightning.config.workspace import Workspace
from ppd_lightning.evaluation.comparisons.selection import FIRST_SEED, evaluated_captions
from ppd_lightning.evaluation.scores.reward_scores import score_images
from ppd_lightning.evaluation.statistics.bootstrap import draw_people, draw_trainings, estimate
from ppd_lightning.evaluation.statistics.intervals import middle, rounded
from ppd_lightning.evaluation.statistics.intervals import words as interval_words
from ppd_lightning.evaluation.statistics.simplex import spearman
from ppd_lightning.generation.drawn_files import read_picture
from ppd_lightning.generation.gallery import Gallery, base_gallery, own_gallery
from ppd_lightning.generation.grid import draw_grid
from ppd_lightning.generation.pipeline import UserPipeline
from ppd_lightning.generation.sampling import draw_images
from ppd_lightning.generation.trained_run import TrainedRun
from ppd_lightning.storage.atomic import write_json_atomic

RESAMPLES, TIE = 1000, 0.1


class Mixed(UserPipeline):
    """Blends by their predictions instead of by their vectors: e_text + sum_k w_k (e_k - e_text), users (B, K) of w."""

    def _for_users(self, branch: UserBranch, users: Tensor, of_text: Tensor, *noised: Any) -> Tensor:
        mixed = of_text.clone()
        for corner, weights in zip(torch.eye(users.shape[1]), users.T, strict=True):
            asked = corner * (weights > 0).float()[:, None]
            of_corner = super()._for_users(branch, asked, of_text, *noised)
            mixed += weights.view(-1, *[1] * (of_text.ndim - 1)) * (of_corner - of_text)
        return mixed


def ring(corners: int, divisions: int) -> np.ndarray:
    """Weights (G, K) of the points around the triangle, each once: corner, edge, corner, ..."""
    points = []
    for first in range(corners):
        for part in range(divisions):
            point = np.zeros(corners)
            point[first], point[(first + 1) % corners] = 1 - part / divisions, part / divisions
            points.append(point)
    return np.array(points)


def gallery_of(run: TrainedRun, mixed: bool) -> Gallery:
    own = own_gallery(run)
    if not mixed:
        return own
    first = run.pipeline
    pipeline = Mixed(
        first.backbone, first.network, first.branch, first.codec, first.text, image_size=run.data.image_size
    )

    def paint(captions: Sequence[str], users: Tensor | None, seeds: Sequence[int], prompts: Sequence[str]) -> Tensor:
        return draw_images(pipeline, run.settings, captions, users, seeds, prompts)

    return Gallery(own.folder.with_name(own.folder.name + "-mixed"), paint, own.batch_size, progress=run.progress)


def drawn(gallery: Gallery, captions: Sequence[str], users: Tensor | None, seeds: Sequence[int]) -> list[Path]:
    """As `Gallery.draw`, noise by noise: so more noises add to what fewer have drawn."""
    files: dict[int, Path] = {}
    for seed in dict.fromkeys(seeds):
        rows = [row for row, own in enumerate(seeds) if own == seed]
        owners = None if users is None else users[rows]
        files |= zip(rows, gallery.draw([captions[row] for row in rows], owners, [seed] * len(rows)), strict=True)
    return [files[row] for row in range(len(seeds))]


def resampled(values: np.ndarray) -> np.ndarray:
    """Means (R, ...) of values (S, C, ...) over captions and trainings drawn anew."""
    captions = values.shape[1]
    times = draw_people(np.arange(captions), RESAMPLES).times / captions
    again: np.ndarray = np.einsum("sc...,rs,rc->r...", values, draw_trainings(len(values), RESAMPLES), times)
    return again


def with_interval(value: float, again: np.ndarray, captions: int) -> dict[str, float | None]:
    low, high = middle(again, captions)
    return {"value": round(value, 4), "low": rounded(float(low)), "high": rounded(float(high))}


def edge(weights: np.ndarray, values: np.ndarray) -> dict[str, Any]:
    """A reward's values (S, C, G) along an edge, by its own weight (G)."""
    order = np.argsort(weights)
    weights, values = weights[order], values[:, :, order]
    mean, again, captions = values.mean((0, 1)), resampled(values), values.shape[1]
    steps, each = np.diff(mean), np.diff(values.mean(1), axis=1)
    return {
        "rank_correlation": with_interval(float(spearman(weights, mean[None])[0]), spearman(weights, again), captions),
        "steps": len(steps),
        "steps_that_rise": int((steps > 0).sum()),
        "of_each_training": (each > 0).sum(1).tolist(),
        "steps_certain": int((middle(np.diff(again, axis=1), captions)[0] > 0).sum()),
        "monotone_in_resamples": round(float((np.diff(again, axis=1) > 0).all(1).mean()), 3),
        "weights": np.round(weights, 4).tolist(),
        "means": np.round(mean, 4).tolist(),
        "deviation_from_a_line": round(
            float(np.abs(mean - np.interp(weights, [0, 1], mean[[0, -1]])).max() / abs(mean[-1] - mean[0])), 3
        ),
    }


def won(own: np.ndarray, base: np.ndarray) -> np.ndarray:
    """Whether own scores (S, C, M) are above the base's (C, M): 1, 0, or a half."""
    lead = (own - base[None]) / base.std()
    wins: np.ndarray = 0.5 + 0.5 * (lead > TIE) - 0.5 * (lead < -TIE)
    return wins


def share_of_alone(shared: np.ndarray, alone: np.ndarray, base: np.ndarray) -> dict[str, float | None]:
    """The win rate of one model for all users, as a share of that of a model of one's own; scores as for `won`."""
    ours, theirs = (won(one, base).mean(2) for one in (shared, alone))  # (S, C)
    return with_interval(float(ours.mean() / theirs.mean()), resampled(ours) / resampled(theirs), base.shape[0])


def corner(own: np.ndarray, base: np.ndarray, captions: list[str]) -> dict[str, Any]:
    """How far own scores (S, C, M) are above the base's (C, M): how often, in deviations, and the mean itself."""
    noises = base.shape[1]
    lead = ((own - base[None]) / base.std()).reshape(len(own), -1)
    wins = won(own, base).reshape(len(own), -1)
    people = [caption for caption in captions for _ in range(noises)]
    found = {}
    for name, values in (("win_rate", wins), ("lead_in_deviations", lead), ("mean", own.reshape(len(own), -1))):
        one = estimate(values, people, RESAMPLES)
        found[name] = {"value": round(one.value, 4), "low": rounded(one.low), "high": rounded(one.high)}
    return found


def tables(report: dict[str, Any]) -> str:
    """The users, and the edges, as tables of Markdown."""

    def words(one: dict[str, Any], form: str = ".3f") -> str:
        return f"{one['value']:{form}} ({interval_words(one['low'], one['high'], form)})"

    lines = ["| user | mean of its reward | the base's | win rate | by " + " | by ".join(report["base"]) + " |"]
    lines.append("|---" * (4 + len(report["base"])) + "|")
    alone = {f"{name}, Diffusion-DPO alone": (name, one) for name, one in report.get("alone", {}).items()}
    shared = {user: (user, of[user]) for user, of in report["users"].items()}
    for title, (name, one) in {**shared, **alone}.items():
        rates = [words(of["win_rate"]) for of in report["users"][name].values()] if title == name else []
        cells = [title, words(one["mean"]), f"{report['base'][name]:.3f}", words(one["win_rate"]), *rates]
        lines.append("| " + " | ".join([*cells, *[""] * (4 + len(report["base"]) - len(cells))]) + " |")
    for name, one in report.get("alone", {}).items():
        lines += [
            "",
            f"{name}: one model has {words(one['share_that_one_model_has'])} of the win rate of a model alone",
        ]
    lines += [
        "",
        "| edge: reward | rank correlation | steps that rise | certain | of each training | monotone | bent |",
    ]
    lines.append("|---" * 7 + "|")
    for title, one in report["edges"].items():
        steps = [f"{one['steps_that_rise']} of {one['steps']}", one["steps_certain"], one["of_each_training"]]
        ends = [one["monotone_in_resamples"], one["deviation_from_a_line"]]
        lines.append(
            f"| {title} | {words(one['rank_correlation'], '.2f')} | " + " | ".join(map(str, steps + ends)) + " |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--trainings", default="0")
    parser.add_argument("--noises", type=int, default=8)
    parser.add_argument("--divisions", type=int, default=8)
    parser.add_argument("--captions", type=int, help="the first so many; else all")
    parser.add_argument(
        "--mixed", action="store_true", help="mix the predictions of the corners instead of their vectors"
    )
    parser.add_argument("--alone", action="store_true", help="also one Diffusion-DPO a reward, trained beforehand")
    options = parser.parse_intermixed_args()
    trainings = options.trainings.split(",")
    workspaces = [Workspace(compose([*options.overrides, f"seed={seed}"])) for seed in trainings]
    first = workspaces[0]
    names = list(first.rewards_that_label)
    rewards = first.open_rewards(names)
    captions = evaluated_captions(first.config.evaluation.captions, first.data)[: options.captions]
    seeds = range(FIRST_SEED, FIRST_SEED + options.noises)
    weights = ring(len(names), options.divisions)
    asked = [{name: float(part) for name, part in zip(names, point, strict=True) if part} for point in weights]
    cells = [(caption, seed) for caption in captions for seed in seeds]
    base_files = drawn(base_gallery(first.trained_run()), [one for one, _ in cells], None, [seed for _, seed in cells])
    shape = (len(captions), options.noises)

    def scored(name: str, files: Sequence[Path], prompts: Sequence[str]) -> np.ndarray:
        return score_images(rewards[name], files, prompts, progress=False)

    base = {name: scored(name, base_files, [one for one, _ in cells]).reshape(shape) for name in names}
    scores: dict[str, list[np.ndarray]] = {name: [] for name in names}
    strip: list[Path] = []
    rows = [(caption, seed, blend) for caption, seed in cells for blend in asked]
    prompts = [caption for caption, _, _ in rows]
    for workspace in workspaces:
        run = workspace.trained_run()
        embeddings = run.embeddings([blend for *_, blend in rows], prompts)
        files = drawn(gallery_of(run, options.mixed), prompts, embeddings, [seed for _, seed, _ in rows])
        strip = strip or files
        for name in names:
            scores[name].append(scored(name, files, prompts).reshape(*shape, len(weights)))
    of = {name: np.stack(each) for name, each in scores.items()}  # (S, C, M, G)
    at = {name: number * options.divisions for number, name in enumerate(names)}
    report: dict[str, Any] = {
        "overrides": [word for word in options.overrides if not word.startswith("output=")],
        "trainings": trainings,
        "mixed": options.mixed,
        "pictures_a_point": len(cells),
        "base": {name: round(float(base[name].mean()), 4) for name in names},
        "users": {
            user: {name: corner(of[name][..., at[user]], base[name], captions) for name in names} for user in names
        },
        "edges": {},
    }
    curves = []
    for number, start in enumerate(names):
        end = names[(number + 1) % len(names)]
        points = [(number * options.divisions + part) % len(weights) for part in range(options.divisions + 1)]
        for name in (start, end):
            own = weights[points, names.index(name)]
            report["edges"][f"{start} - {end}: {name}"] = edge(own, of[name][..., points].mean(2))
        for point in points:
            share = weights[point, names.index(end)]
            curves.append([start, end, share, *(round(float(of[name][..., point].mean()), 5) for name in names)])
    if options.alone:
        report["alone"] = {}
        for name in names:
            of_trainings: list[np.ndarray] = []
            for seed in trainings:
                alone = Workspace(
                    compose([*options.overrides, "objective=diffusion_dpo", f"reward=[{name}]", f"seed={seed}"])
                ).trained_run()
                texts = [one for one, _ in cells]
                vectors = alone.embeddings([name] * len(cells), texts)
                files = drawn(own_gallery(alone), texts, vectors, [seed for _, seed in cells])
                of_trainings.append(scored(name, files, texts).reshape(shape))
            alone_scores = np.stack(of_trainings)
            report["alone"][name] = corner(alone_scores, base[name], captions) | {
                "share_that_one_model_has": share_of_alone(of[name][..., at[name]], alone_scores, base[name])
            }
    options.folder.mkdir(parents=True, exist_ok=True)
    write_json_atomic(options.folder / "results.json", report)
    with (options.folder / "curves.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["from", "to", "weight of to", *names])
        writer.writerows(curves)
    leads = [(of[name][0, :, :, at[name]] - base[name]) / base[name].std() for name in names]  # (C, M) each
    best = int(np.argmax(np.sum(leads, axis=0))) * len(weights)
    around = [*strip[best : best + len(weights)], strip[best]]
    lines = [around[at[name] : at[name] + options.divisions + 1] for name in names]
    draw_grid(
        ([read_picture(file) for file in line] for line in lines),
        [f"{name} to {names[(number + 1) % len(names)]}" for number, name in enumerate(names)],
        [f"{part / options.divisions:g}" for part in range(options.divisions + 1)],
        title=prompts[best],
    ).quantize(256).save(options.folder / "strip.png", optimize=True)
    print(tables(report))


if __name__ == "__main__":
    main()
