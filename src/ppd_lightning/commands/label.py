"""`ppd label`: scores of all images by the rewards, pairs relabelled by them, and how far they agree."""

from __future__ import annotations

import logging
import time
from typing import Any

import numpy as np
import pyarrow as pa
from rich.table import Table

from ppd_lightning.config.root import Config
from ppd_lightning.config.workspace import Workspace
from ppd_lightning.console import table_console
from ppd_lightning.data.pairs import REWARD_PAIRS_SCHEMA, pairs_of_rewards, write_pairs
from ppd_lightning.data.pickapic import source_fingerprint
from ppd_lightning.data.prepared import PreparedData
from ppd_lightning.data.splits import SPLITS
from ppd_lightning.data.tables import table_key, verified, write_table
from ppd_lightning.errors import UserError
from ppd_lightning.rewards.agreement import agreement
from ppd_lightning.rewards.reward import fingerprints_of
from ppd_lightning.rewards.scoring import Scorer, images_with_captions, usable_rows
from ppd_lightning.storage.json_files import read_checked_json, write_checked_json

log = logging.getLogger(__name__)

PEOPLE = "people"
"""Stands among the labellers for the people of the source."""


def run(config: Config) -> dict[str, Any]:
    """Label prepared pairs by the rewards of a configuration; what is there already and still right is kept.

    Any number of processes may do so at once, as with `ppd prepare`. In the folder of these rewards:
    labels.arrow has a row for every usable pair of images, ties included, with each reward's score of both, the margin
    between them and the person's own label (1: image_0 was preferred, 0.5: a tie); pairs.arrow is what is trained on,
    each pair labelled by one of the rewards, its user.

    Returns:
        the summary: counts, ties, agreement of the rewards with each other and with people, and the files of the
        rewards with their SHA-256.

    Raises:
        UserError: the data are not prepared, or a reward is missing or faulty.
    """
    begun, workspace = time.monotonic(), Workspace(config)
    data = workspace.data
    if not data.by_rewards:
        raise UserError(
            "data.labels: people's own labels are asked for, and `ppd label` makes others; use mode=synthetic"
        )
    source = _source(data)
    rewards = workspace.open_rewards(workspace.rewards_that_label)
    key = {"images": data.images_key(), "source": source, "rewards": fingerprints_of(rewards)}
    finished = _finished(data, key)
    if finished is not None:
        _print(finished)
        return finished
    rows, counts = usable_rows(data)
    scorer = Scorer(
        data,
        rewards,
        images_with_captions(rows),
        workers=workspace.source.workers,
        progress=workspace.progress,
    )
    scorer.prepare()
    rows, scores = _scored(rows, scorer)
    counts["not_scored"] = counts.pop("usable") - len(rows)
    leads = {name: both[:, 0] - both[:, 1] for name, both in scores.items()}
    write_table(data.labels_folder / "labels.arrow", _labels(rows, scores, leads), data.pairs_key())
    counts |= _write_pairs(data, rows, leads, workspace.source.validation)
    agreed = agreement(leads | {PEOPLE: np.asarray(rows["label_0"]) - 0.5})
    summary = {
        "folder": str(data.labels_folder),
        "counts": counts,
        "ties": dict(zip(agreed.names, agreed.ties.tolist(), strict=True)),
        "agreement": agreed.as_dict(),
        "files": {name: reward.sha256 for name, reward in rewards.items()},
        "seconds": round(time.monotonic() - begun, 1),
    }
    write_checked_json(data.summary_path, {"key": key, "summary": summary})
    _print(summary)
    return summary


def _source(data: PreparedData) -> str:
    """The hash of the source, which must be the one that was prepared."""
    prepared = table_key(data.images_path).get("source", "")
    if source_fingerprint(data.source.root, data.source.files) != prepared:
        raise UserError(
            f"{data.source.root}: this source is another than when it was prepared; run `ppd prepare` with "
            "the same settings"
        )
    return prepared


def _finished(data: PreparedData, key: dict[str, Any]) -> dict[str, Any] | None:
    """The summary of an earlier run whose results are still there and right."""
    try:
        stored = read_checked_json(data.summary_path, "it is made again")
        if stored["key"] != key:
            return None
        data.read_pairs()
        labels = data.labels_folder / "labels.arrow"
        verified(labels)
        summary: dict[str, Any] = stored["summary"] | {"folder": str(data.labels_folder)}  # it may have been moved
        return summary if table_key(labels) == data.pairs_key() else None
    except (OSError, ValueError, KeyError, TypeError, UserError):
        return None


def _scored(rows: pa.Table, scorer: Scorer) -> tuple[pa.Table, dict[str, np.ndarray]]:
    """The rows whose images every reward can see, and each reward's scores of both, (len(rows), 2)."""
    scores = {
        name: np.stack([scorer.scores(name, rows[side], rows["caption"]) for side in ("image_0", "image_1")], axis=1)
        for name in scorer.rewards
    }
    seen = np.all([np.isfinite(both).all(1) for both in scores.values()], axis=0)
    return rows.filter(pa.array(seen)), {name: both[seen] for name, both in scores.items()}


def _labels(rows: pa.Table, scores: dict[str, np.ndarray], leads: dict[str, np.ndarray]) -> pa.Table:
    columns = {name: rows[name] for name in ("pair_id", "user_id", "caption", "image_0", "image_1")}
    columns["people"] = rows["label_0"]
    for name, both in scores.items():
        columns |= {f"{name}_0": pa.array(both[:, 0]), f"{name}_1": pa.array(both[:, 1])}
        columns[f"{name}_margin"] = pa.array(leads[name])
    return pa.table(columns).sort_by("pair_id")


def _write_pairs(data: PreparedData, rows: pa.Table, leads: dict[str, np.ndarray], validation: float) -> dict[str, int]:
    """Write the pairs and return what was left out and how many are in each split, and of each user."""
    held_out = frozenset(data.captions(held_out=True))
    pairs, counts = pairs_of_rewards(rows, leads, held_out=held_out, validation=validation)
    write_pairs(data.pairs_path, pairs, data.pairs_key(), REWARD_PAIRS_SCHEMA)
    splits, users = pairs["split"].to_pylist(), pairs["user_id"].to_pylist()
    own = {f"pairs_of_{name}": users.count(name) for name in leads}
    return counts | {"pairs": len(pairs)} | own | {split: splits.count(split) for split in SPLITS}


def _print(summary: dict[str, Any]) -> None:
    counts, agreed = summary["counts"], summary["agreement"]
    table = Table(title="Of the pairs that two both order, the share that they order alike", title_justify="left")
    table.add_column("")
    for name in (*agreed, "ties", "pairs of its own"):
        table.add_column(name, justify="right", overflow="fold")
    for name, others in agreed.items():
        shares = [others.get(other) for other in agreed]
        cells = [
            "" if one is None else "-" if one["share"] is None else f"{one['share']:.3f}\nof {one['n']:,}"
            for one in shares
        ]
        own = f"{counts[f'pairs_of_{name}']:,}" if name != PEOPLE else ""
        table.add_row(name, *cells, f"{summary['ties'][name]:,}", own)
    console = table_console()
    console.print(table)
    for name, files in summary["files"].items():
        for path, digest in files.items():
            console.print(f"{name}: {path}, SHA-256 {digest}", soft_wrap=True, markup=False, highlight=False)
    console.print(f"{counts['pairs']:,} pairs in {summary['folder']}", soft_wrap=True, markup=False)
