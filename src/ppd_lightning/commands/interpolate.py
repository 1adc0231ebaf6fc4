"""`ppd interpolate`: blends of users in a grid, what each of them likes against their weight (PPD paper, Figure 4)."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from ppd_lightning.backbones.known_captions import remark_on_captions
from ppd_lightning.config.root import Config
from ppd_lightning.config.workspace import Workspace
from ppd_lightning.console import table_console
from ppd_lightning.data.splits import choose_count
from ppd_lightning.errors import UserError
from ppd_lightning.evaluation.comparisons.selection import FIRST_SEED, OF_DATA, Comparison, evaluated_captions
from ppd_lightning.evaluation.scores.reward_scores import score_images
from ppd_lightning.evaluation.scores.scorers import Scorers
from ppd_lightning.evaluation.statistics.intervals import rounded, words
from ppd_lightning.evaluation.statistics.simplex import rank_correlations, simplex_grid
from ppd_lightning.figures.files import save_figure
from ppd_lightning.figures.simplex import simplex_figure
from ppd_lightning.generation.drawn_files import read_picture
from ppd_lightning.generation.gallery import own_gallery
from ppd_lightning.generation.grid import cell_for
from ppd_lightning.rewards.reward import fingerprints_of
from ppd_lightning.storage.fingerprints import fingerprint
from ppd_lightning.storage.result_folder import finish_folder, finished_summary

log = logging.getLogger(__name__)

DRAWN_AT_MOST = 3
"""Users whose grid fits on a page."""
NAMED = 12
"""People whom a message names."""


def run(config: Config) -> dict[str, Any]:
    """Draw `interpolation`'s captions at every point of the grid, and score each image by what every corner likes.

    That is the reward of a synthetic user, and the first of `evaluation.judges` for a simulated person. Nothing is
    known of others, such as people of `generation.people` who are not in the data: they are drawn and not scored.
    Writes into the run's folder interpolation-{key}/: summary.json and, of two or three users, simplex.png, .pdf and
    .svg with the images of one caption and noise at their weights.

    Returns:
        the summary: users, and points, a row each: the weights and the mean score by each user; of each user
        the rank correlation of the mean of their own score with their weight, its interval over captions, the share
        of steps along which it rises, and its rise from weight 0 to 1 in deviations over all images; not_scored, whose
        score is not known, if there are any.

    Raises:
        UserError: the users are not two to four who can be blended, or the training is not finished.
    """
    begun, workspace, settings = time.monotonic(), Workspace(config), config.interpolation
    users = _corners(workspace)
    scorers = _Scorers(workspace, users)
    if not scorers.users and len(users) > DRAWN_AT_MOST:
        raise UserError(
            f"interpolation.users: nothing says what {', '.join(users)} like, and the grid of {len(users)} fits on no "
            f"page; name at most {DRAWN_AT_MOST}"
        )
    captions = evaluated_captions(config.evaluation.captions, workspace.data)
    if config.evaluation.captions not in OF_DATA:
        remark_on_captions(workspace.backbone, captions, "evaluation.captions")
    if settings.captions is not None:
        captions = sorted(choose_count("interpolation", captions, settings.captions))
    trained = workspace.trained_run()
    gallery = own_gallery(trained)
    key = {
        "interpolation": settings,
        "users": users,
        "images": gallery.folder.name,
        "captions": captions,
        "rewards": scorers.key,
        "bootstrap": config.evaluation.bootstrap,
        **trained.described_key,
    }
    folder = trained.folder / f"interpolation-{fingerprint(key)}"
    if (finished := finished_summary(folder)) is not None:
        log.info("%s is finished; delete it to draw again", folder)
        _print(finished)
        return finished
    weights = simplex_grid(len(users), settings.divisions)  # (G, K)
    blends = [dict(zip(users, map(float, point), strict=True)) for point in weights]
    images = list(product(captions, range(FIRST_SEED, FIRST_SEED + settings.seeds), blends))
    prompts = [caption for caption, _, _ in images]
    embeddings = trained.embeddings([blend for *_, blend in images], prompts)
    files = gallery.draw(prompts, embeddings, [seed for _, seed, _ in images])
    summary: dict[str, Any] = {
        "folder": str(folder),
        "users": users,
        "captions": len(captions),
        "seeds": settings.seeds,
        "images": len(set(files)),
        "points": [{"weights": blend} for blend in blends],
    }
    if scorers.users:
        scores = np.stack([scorers.score(user, files, prompts) for user in users])  # (K, N)
        shaped = scores.reshape(len(users), len(captions), settings.seeds, len(weights)).mean(2)  # (K, C, G)
        found = rank_correlations(weights, shaped.transpose(1, 2, 0), resamples=config.evaluation.bootstrap)
        means, deviations = shaped.mean(1), scores.std(1)  # (K, G), (K)
        rows = [(row, user) for row, user in enumerate(users) if user in scorers.users]
        for point, entry in enumerate(summary["points"]):
            entry["scores"] = {user: round(float(means[row, point]), 4) for row, user in rows}
        summary["rank_correlation"] = {
            user: {name: rounded(value) for name, value in asdict(found[row]).items()}
            | {"rise": round(_rise(weights[:, row], means[row], float(deviations[row])), 4)}
            for row, user in rows
        }
    not_scored = [user for user in users if user not in scorers.users]
    if not_scored:
        log.warning("nothing says what %s would like: drawn and not scored", ", ".join(not_scored))
        summary["not_scored"] = not_scored
    summary["seconds"] = round(time.monotonic() - begun, 1)
    if len(users) <= DRAWN_AT_MOST:
        _draw(files[: len(weights)], weights, users, folder / "simplex.png")
    finish_folder(folder, summary, [f"simplex.{end}" for end in ("pdf", "png", "svg")])
    _print(summary)
    return summary


class _Scorers:
    """What scores an image for each of the users of whom that is known.

    users: these. key: what the scores depend on.

    Raises:
        UserError: files of rewards are missing, or there is no such judge.
    """

    def __init__(self, workspace: Workspace, users: Sequence[str]) -> None:
        self._rewards = workspace.open_rewards(users) if workspace.data.by_rewards else {}
        self._judges: Scorers | None = None
        self.users, self.progress = list(self._rewards), workspace.progress
        self.key: Any = fingerprints_of(self._rewards)
        if not workspace.data.by_rewards and workspace.simulation is not None:
            judges = workspace.config.evaluation.judges[:1]
            self._judges = Scorers({}, simulation=workspace.simulation, judges=judges, progress=self.progress)
            known = {user for people in workspace.data.people().values() for user in people}
            self.users, self.key = [user for user in users if user in known], judges

    def score(self, user: str, files: Sequence[Path], captions: Sequence[str]) -> np.ndarray:
        """(N,) of N images; zeros for one of whom nothing is known."""
        if user not in self.users:
            return np.zeros(len(files))
        if self._judges is None:
            return score_images(self._rewards[user], files, captions, progress=self.progress)
        comparisons = [Comparison("", user, caption, FIRST_SEED) for caption in captions]
        return self._judges.score(comparisons, files, content=False)[self._judges.names[0]]


def _corners(workspace: Workspace) -> list[str]:
    """The users at the corners: of the synthetic users, or people of the data and of `generation.people`.

    Raises:
        UserError: they are not two to four who can be blended.
    """
    config = workspace.config
    named = config.interpolation.users
    if config.data.labels == "rewards":
        if config.user.kind != "one_hot":
            raise UserError(
                f"interpolation: the rewards are the users here, and user.kind={config.user.kind} gives them no "
                "dimensions of their own; use mode=synthetic with objective=ppd or sft"
            )
        users, known = list(named or workspace.rewards_that_label), set(workspace.rewards_that_label)
    else:
        if config.user.same_for_all:
            raise UserError(
                f"interpolation: user.kind={config.user.kind} is the same for all, so there is nothing between two "
                "users; use objective=ppd or sft with another kind of user"
            )
        described = workspace.described
        users, known = list(named or sorted(described)), set(described)
        if not known.issuperset(users):
            known |= {user for people in workspace.users.served()[0].values() for user in people}
    absent = sorted(set(users) - known)
    if absent or not 2 <= len(set(users)) <= 4 or len(set(users)) < len(users):
        among = ", ".join(sorted(known)) if len(known) <= NAMED else "the people of the data and of generation.people"
        raise UserError(
            f"interpolation.users: expected two to four different ones of {among or 'the people of the data'}, got "
            f"{', '.join(users) or 'none'}"
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
    if "rank_correlation" not in summary:
        return
    points, each = len(summary["points"]), summary["captions"] * summary["seeds"]
    title = f"{points} blends, {each} images each; 95 % intervals: bootstrap over captions"
    table = Table(title=title, title_justify="left")
    for name in ("user", "rank correlation", "95 % interval", "steps that rise", "rise, in deviations"):
        table.add_column(name, justify="left" if name == "user" else "right")
    for user, one in summary["rank_correlation"].items():
        interval = words(one["low"], one["high"], ".2f")
        table.add_row(user, f"{one['correlation']:.2f}", interval, f"{one['rises']:.2f}", f"{one['rise']:.2f}")
    table_console().print(table)
