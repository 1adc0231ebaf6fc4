"""The generated world: how mixed its pictures are, what decides its choices, and what four of them can tell.

    python experiments/emoji/generated/study.py
    python experiments/emoji/generated/study.py data.faithfulness=1.0

Needs `ppd prepare embed experiment=emoji/generated` with the same overrides. Writes study.json into the data folder and
prints it. No model is trained or asked, and nothing is drawn.

N = pictures, P = people, M = choices, R = draws of four shots.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import pyarrow.compute as pc
import torch

from ppd_lightning.config.compose import compose
from ppd_lightning.config.workspace import Workspace
from ppd_lightning.data.pictures import Square
from ppd_lightning.data.prepared import PreparedData
from ppd_lightning.evaluation.statistics.win_rate import win_rate
from ppd_lightning.storage.atomic import write_json_atomic
from ppd_lightning.users.users import Users
from ppd_lightning.worlds.emoji.generated_choices import Merits
from ppd_lightning.worlds.emoji.generated_simulation import GeneratedSimulation
from ppd_lightning.worlds.emoji.people import read_people, utilities
from ppd_lightning.worlds.emoji.pool import Pool, read_pool
from ppd_lightning.worlds.emoji.pool_oracle import PoolOracle
from ppd_lightning.worlds.emoji.sides import CHOOSING, JUDGING

SHOTS, DRAWS, TIE, RESAMPLES, RIDGE = 4, 4, 0.1, 1000, 1e-3


def main() -> None:
    torch.set_num_threads(1)
    config = compose(["experiment=emoji/generated", *sys.argv[1:]])
    workspace = Workspace(config)
    data, simulation = workspace.data, workspace.simulation
    assert isinstance(simulation, GeneratedSimulation)
    pool, source = read_pool(data.folder), config.data
    merits = Merits(source.faithfulness, source.quality, source.merit_spread)
    report = {
        "settings": {"images": source.images, **vars(merits), "candidates": source.candidates},
        "drawers": by_drawer(data, simulation, pool),
        "choices": what_decides(data, pool, merits, source.seed),
        "four_shots": what_shots_tell(data, pool, merits, source),
        "vectors": what_vectors_tell(workspace.users, data),
    }
    text = json.dumps(report, indent=2)
    write_json_atomic(data.folder / "study.json", report)
    print(text)


def by_drawer(data: PreparedData, simulation: GeneratedSimulation, pool: Pool) -> dict[str, dict[str, float]]:
    """Content, style and merits of each drawer's pictures, and of the vendors' (drawn)."""
    table = data.images_table()
    row = {uid: number for number, uid in enumerate(pool.uids)}
    captions = dict(zip(table["image_id"].to_pylist(), table["caption"].to_pylist(), strict=True))
    shown: dict[str, list[float]] = {}
    for batch in data.read_images(table, [Square(data.image_size)]):
        images = torch.from_numpy(batch.pixels[0]).float() / 255
        found = simulation.content([captions[image] for image in batch.ids], images)
        shown |= {image: values for image, *values in zip(batch.ids, *found.values(), strict=True)}
    names = list(found)
    content = np.full((len(pool.uids), len(names)), np.nan)
    for image, values in shown.items():
        content[row[image]] = values
    report = {}
    for number in np.unique(pool.model):
        own = pool.model == number
        one: dict[str, float] = {"pictures": int(own.sum())}
        if np.isfinite(content[own, 0]).any():
            one |= dict(zip(names, np.nanmean(content[own], 0), strict=True))
        for side in (JUDGING, CHOOSING):
            faithful, quality = pool.merits(side)[own].mean(0)
            one[f"{side}_shows_concept"] = float((np.exp(pool.seen[side].merits[own, 0]) > 0.5).mean())
            one |= {f"{side}_faithfulness": float(faithful), f"{side}_quality": float(quality)}
        shares = np.bincount(pool.seen[JUDGING].styles[own].argmax(1), minlength=4) / own.sum()
        one |= {f"share_{name}": float(share) for name, share in zip(pool.models, shares, strict=False)}
        report[pool.models[number]] = {name: round(value, 3) for name, value in one.items()}
    first, second = (pool.merits(side)[pool.generated] for side in (JUDGING, CHOOSING))
    alike = pool.seen[JUDGING].styles.argmax(1) == pool.seen[CHOOSING].styles.argmax(1)
    report["sides"] = {
        "correlation_faithfulness": round(float(np.corrcoef(first[:, 0], second[:, 0])[0, 1]), 3),
        "correlation_quality": round(float(np.corrcoef(first[:, 1], second[:, 1])[0, 1]), 3),
        "same_style": round(float(alike[pool.generated].mean()), 3),
    }
    return report


def what_decides(data: PreparedData, pool: Pool, merits: Merits, seed: int) -> dict[str, Any]:
    """Of all choices among generated pictures: shares in which the picked picture is ahead in this or that."""
    pairs, row = data.read_pairs(), {uid: number for number, uid in enumerate(pool.uids)}
    users = pc.unique(pairs["user_id"]).to_pylist()
    person = np.array([users.index(user) for user in pairs["user_id"].to_pylist()])
    picked, other = (np.array([row[one] for one in pairs[name].to_pylist()]) for name in ("preferred", "dispreferred"))
    kept = picked >= len(pool.drawings)
    person, picked, other = person[kept], picked[kept], other[kept]
    people, weights = read_people(data.folder / "people.json").select(users), merits.weights(users, seed)
    taste = utilities(people, pool.seen[CHOOSING].styles, pool.statistics)
    parts = weights[:, :, None] * pool.merits(CHOOSING).T  # (P, 2, N)
    margins = {
        "taste": (taste[person, picked] - taste[person, other]),
        "faithfulness": parts[person, 0, picked] - parts[person, 0, other],
        "quality": parts[person, 1, picked] - parts[person, 1, other],
    }
    whole = sum(margins.values())
    merit = margins["faithfulness"] + margins["quality"]
    opposed = (np.sign(margins["taste"]) != np.sign(merit)) & (np.abs(margins["taste"]) > TIE) & (np.abs(merit) > TIE)
    judged = pool.utilities(people, weights, JUDGING)
    report = {
        "choices": len(picked),
        "share_of_variance": {
            name: float(np.cov(one, whole)[0, 1] / whole.var(ddof=1)) for name, one in margins.items()
        },
        "picked_is_ahead": {name: float((one > 0).mean()) for name, one in (margins | {"whole": whole}).items()},
        "picked_is_ahead_by_the_judge": float((judged[person, picked] > judged[person, other]).mean()),
        "taste_and_merits_opposed": float(opposed.mean()),
        "taste_wins_of_opposed": float((margins["taste"][opposed] > 0).mean()),
    }
    return _rounded(report)


def what_shots_tell(data: PreparedData, pool: Pool, merits: Merits, source: Any) -> dict[str, Any]:
    """Win rates, for unseen people and held-out captions, over a random picture that the good drawer made.

    Each is decided by the judging side. The oracle has four of a person's choices, then none; who knows the person has
    the true utility by the choosing side. Best of: the vendors' pictures in all styles, or the good drawer's own.
    """
    pairs, row = data.read_pairs(), {uid: number for number, uid in enumerate(pool.uids)}
    unseen, asked = data.people()["unseen"], [pool.concepts.index(one) for one in data.captions(held_out=True)]
    people, weights = read_people(data.folder / "people.json").select(unseen), merits.weights(unseen, source.seed)
    judged, truth = (pool.utilities(people, weights, side) for side in (JUDGING, CHOOSING))
    whole = read_people(data.folder / "people.json")
    oracle = PoolOracle(pool, whole, merits, source.choice_temperature, source.candidates, seed=source.seed)
    generator, first = np.random.default_rng(0), len(pool.drawings)
    good = np.flatnonzero(pool.model == pool.models.index("good"))
    rows = {
        "vendors": np.stack([np.flatnonzero(pool.concept[:first] == concept) for concept in asked]),
        "good_drawer": np.stack([good[pool.concept[good] == concept] for concept in asked]),
    }
    user, images = np.array(pairs["user_id"].to_pylist()), {}
    for name in ("preferred", "dispreferred"):
        images[name] = np.array([row[one] for one in pairs[name].to_pylist()])
    gains: dict[str, list[np.ndarray]] = {}
    for number, name in enumerate(unseen):
        own = np.flatnonzero(user == name)
        for _ in range(DRAWS):
            shots = generator.choice(own, SHOTS, replace=False)
            base = generator.permuted(rows["good_drawer"], axis=1)[:, 0]
            picked, other = images["preferred"][shots], images["dispreferred"][shots]
            for among, of_concept in rows.items():
                guesses = {
                    "four_shots": oracle.expected_utilities(picked, other, of_concept),
                    "no_shots": oracle.expected_utilities(picked[:0], other[:0], of_concept),
                    "known": truth[number][of_concept],
                }
                for who, liked in guesses.items():
                    best = of_concept[np.arange(len(of_concept)), liked.argmax(1)]
                    gains.setdefault(f"{among}_{who}", []).append(judged[number, best] - judged[number, base])
    whose = [name for name in unseen for _ in range(DRAWS) for _ in asked]
    return {
        name: win_rate(np.concatenate(gain), whose, tie=TIE, resamples=RESAMPLES).numbers()
        for name, gain in gains.items()
    }


def what_vectors_tell(users: Users, data: PreparedData) -> dict[str, float]:
    """A ridge regression from vectors on style weights, fitted to seen people: R2 and favourites of unseen ones."""
    rows, people = users.rows(), read_people(data.folder / "people.json")
    vectors = np.asarray(rows.embeddings[np.arange(len(rows.users))], np.float64)
    inputs = np.concatenate([vectors, np.ones((len(vectors), 1))], 1)
    weights = people.select(rows.users).style_weights
    seen = np.isin(rows.users, data.people()["seen"])
    gram = inputs[seen].T @ inputs[seen] + RIDGE * np.eye(inputs.shape[1])
    guess, truth = inputs[~seen] @ np.linalg.solve(gram, inputs[seen].T @ weights[seen]), weights[~seen]
    explained = 1 - ((truth - guess) ** 2).sum() / ((truth - weights[seen].mean(0)) ** 2).sum()
    return _rounded({"r2": float(explained), "favourite": float((guess.argmax(1) == truth.argmax(1)).mean())})


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(one) for name, one in value.items()}
    return round(value, 3) if isinstance(value, float) else value


if __name__ == "__main__":
    main()
