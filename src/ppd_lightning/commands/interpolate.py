"""`ppd interpolate`: blends of synthetic users in a grid, each reward against its own weight (PPD paper, Figure 4)."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from ppd_lightning.config.root import Config
from ppd_lightning.config.workspace import Workspace
from ppd_lightning.console import table_console
from ppd_lightning.data.splits import choose_count
from ppd_lightning.errors import UserError
from ppd_lightning.evaluation.comparisons.selection import FIRST_SEED, evaluated_captions
from ppd_lightning.evaluation.scores.reward_scores import score_images
from ppd_lightning.evaluation.statistics.simplex import rank_correlations, simplex_grid
from ppd_lightning.figures.files import save_figure
from ppd_lightning.figures.simplex import simplex_figure
from ppd_lightning.generation.gallery import own_gallery, read_picture
from ppd_lightning.generation.grid import cell_for
from ppd_lightning.rewards.reward import fingerprints_of
from ppd_lightning.storage.atomic import write_json_atomic
from ppd_lightning.storage.fingerprints import fingerprint

log = logging.getLogger(__name__)

DRAWN_AT_MOST = 3
"""Users whose grid fits on a page."""


def run(config: Config) -> dict[str, Any]:
    """Draw `interpolation`'s captions at every point of the grid, and score each image by the reward of every corner.

    Writes into the run's folder interpolation-{key}/: summary.json and, of two or three users, simplex.png, .pdf and
    .svg with the images of one caption and noise at their weights.

    Returns:
        the summary: users, and points, a row each: the weights and the mean score by each user's reward; of each user
        the rank correlation of the mean of their own score with their weight, its interval over captions, the share
        of steps along which it rises, and its rise from weight 0 to 1 in deviations over all images.

    Raises:
        UserError: people are no synthetic users, there are too few, or the training is not finished.
    """
    begun, workspace, settings = time.monotonic(), Workspace(config), config.interpolation
    users = _corners(config, list(workspace.rewards_that_label))
    rewards = workspace.open_rewards(users)
    captions = evaluated_captions(config.evaluation.captions, workspace.data)
    if settings.captions is not None:
        captions = sorted(choose_count("interpolation", captions, settings.captions))
    trained = workspace.trained_run()
    gallery = own_gallery(trained)
    key = {
        "interpolation": settings,
        "users": users,
        "images": gallery.folder.name,
        "captions": captions,
        "rewards": fingerprints_of(rewards),
        "bootstrap": config.evaluation.bootstrap,
    }
    folder = trained.folder / f"interpolation-{fingerprint(key)}"
    if (folder / "summary.json").exists():
        log.info("%s is finished; delete it to draw again", folder)
        finished: dict[str, Any] = json.loads((folder / "summary.json").read_text())
        _print(finished)
        return finished
    weights = simplex_grid(len(users), settings.divisions)  # (G, K)
    blends = [dict(zip(users, map(float, point), strict=True)) for point in weights]
    images = list(product(captions, range(FIRST_SEED, FIRST_SEED + settings.seeds), blends))
    prompts = [caption for caption, _, _ in images]
    embeddings = trained.embeddings([blend for *_, blend in images], prompts)
    files = gallery.draw(prompts, embeddings, [seed for _, seed, _ in images])
    scores = np.stack(
        [score_images(reward, files, prompts, progress=workspace.progress) for reward in rewards.values()]
    )
    shaped = scores.reshape(len(users), len(captions), settings.seeds, len(weights)).mean(2)  # (K, C, G)
    found = rank_correlations(weights, shaped.transpose(1, 2, 0), resamples=config.evaluation.bootstrap)
    means, deviations = shaped.mean(1), scores.std(1)  # (K, G), (K)
    summary = {
        "folder": str(folder),
        "users": users,
        "captions": len(captions),
        "seeds": settings.seeds,
        "images": len(set(files)),
        "points": [
            {
                "weights": blend,
                "scores": {user: round(float(means[row, point]), 4) for row, user in enumerate(users)},
            }
            for point, blend in enumerate(blends)
        ],
        "rank_correlation": {
            user: {name: round(value, 4) for name, value in asdict(one).items()}
            | {"rise": round(_rise(weights[:, row], means[row], float(deviations[row])), 4)}
            for row, (user, one) in enumerate(zip(users, found, strict=True))
        },
        "seconds": round(time.monotonic() - begun, 1),
    }
    if len(users) <= DRAWN_AT_MOST:
        _draw(files[: len(weights)], weights, users, folder / "simplex.png")
    write_json_atomic(folder / "summary.json", summary)
    _print(summary)
    return summary


def _corners(config: Config, synthetic_users: Sequence[str]) -> list[str]:
    """The users at the corners.

    Raises:
        UserError: they are not two to four of the synthetic users.
    """
    if config.data.labels != "rewards" or config.user.kind != "one_hot":
        raise UserError(
            f"interpolation: blends are scored by the rewards that are the users, and here data.labels="
            f"{config.data.labels}, user.kind={config.user.kind}; use mode=synthetic with objective=ppd or sft"
        )
    users = list(config.interpolation.users or synthetic_users)
    absent = sorted(set(users) - set(synthetic_users))
    if absent or not 2 <= len(set(users)) <= 4 or len(set(users)) < len(users):
        raise UserError(
            f"interpolation.users: expected two to four different ones of {', '.join(synthetic_users)}, got "
            f"{', '.join(users)}"
        )
    return users


def _rise(weights: np.ndarray, means: np.ndarray, deviation: float) -> float:
    """The mean at weight 1 less that of the points with weight 0, in deviations; means (G) of one user."""
    return float((means[weights == 1].mean() - means[weights == 0].mean()) / max(deviation, np.finfo(np.float32).tiny))


def _draw(files: Sequence[Path], weights: np.ndarray, users: Sequence[str], path: Path) -> None:
    pictures = [read_picture(file) for file in files]
    side = round(weights.shape[0] ** 0.5) + 1
    save_figure(simplex_figure(pictures, weights, users, cell=cell_for(max(pictures[0].size), side, side)), path)


def _print(summary: dict[str, Any]) -> None:
    points, each = len(summary["points"]), summary["captions"] * summary["seeds"]
    title = f"{points} blends, {each} images each; 95 % intervals: bootstrap over captions"
    table = Table(title=title, title_justify="left")
    for name in ("user", "rank correlation", "95 % interval", "steps that rise", "rise, in deviations"):
        table.add_column(name, justify="left" if name == "user" else "right")
    for user, one in summary["rank_correlation"].items():
        interval = f"{one['low']:.2f} to {one['high']:.2f}"
        table.add_row(user, f"{one['correlation']:.2f}", interval, f"{one['rises']:.2f}", f"{one['rise']:.2f}")
    table_console().print(table)
