"""Runs and evaluations as verbs leave them, with scores that are known."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from ppd_lightning.config.compose import as_yaml, compose
from ppd_lightning.config.folders import run_folder
from ppd_lightning.config.root import Config
from ppd_lightning.config.workspace import Workspace
from ppd_lightning.data.images import IMAGES_SCHEMA
from ppd_lightning.data.pairs import stable_ids, write_pairs
from ppd_lightning.data.stores import write_store
from ppd_lightning.data.tables import write_table
from ppd_lightning.storage.fingerprints import file_sha256
from ppd_lightning.storage.finished_run import mark_finished

PEOPLE, CAPTIONS = 12, 5
Scores = Callable[[np.random.Generator, int], np.ndarray]


def made_run(output: Path, overrides: Sequence[str], *, seed: int = 0, finished: bool = True) -> tuple[Config, Path]:
    """A run's folder: configuration, curves, weights (a few bytes), summary."""
    config = compose([f"output={output}", f"seed={seed}", *overrides])
    folder = run_folder(config)
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(as_yaml(config))
    rows = [f"{step},{0.7 - step / 1000},,{0.5 + step / 500}" for step in (25, 50)] + ["75,0.6,0.65,0.7", "100,0."]
    (folder / "metrics.csv").write_text("step,train/loss,validation/loss,train/implicit_accuracy\n" + "\n".join(rows))
    if finished:
        (folder / "adapter.safetensors").write_bytes(f"{folder.name}".encode())
        (folder / "summary.json").write_text(
            json.dumps({"run": str(folder), "steps": 100, "step0_loss": 0.6931, "pairs": 1600, "seconds": 3.5})
        )
        mark_finished(folder)
    return config, folder


def made_evaluation(
    config: Config,
    folder: Path,
    scale: float,
    *,
    gain: float,
    content: float = 1.0,
    noise: float = 0.0,
    users: Sequence[str] | None = None,
) -> Path:
    """An evaluation at a user guidance scale, each person's picture `gain` better than the base's (a base's is 0 +- 1).

    Args:
        content: the share of pictures whose concept is recognised; of the base's all are.
        noise: deviation of the gains.
        users: synthetic ones, each of whom is a reward; None is people.
    """
    generator = np.random.default_rng(int(scale * 10))
    place = folder / f"evaluation-{scale:g}-{len(users or [])}".replace(".", "_")
    place.mkdir()
    names = list(users) if users else [f"person {number:02}" for number in range(PEOPLE)]
    told = [(user, f"caption {caption}") for user in names for caption in range(CAPTIONS)]
    groups = ["synthetic" if users else ("seen" if user < "person 06" else "unseen") for user, _ in told]
    columns = {
        "group": groups,
        "user": [user for user, _ in told],
        "caption": [caption for _, caption in told],
        "seed": [1000] * len(told),
    }
    base = np.random.default_rng(0).normal(size=len(told))
    own = base + gain + noise * generator.normal(size=len(told))
    images = folder.parent.parent / "images"
    images.mkdir(exist_ok=True)
    Image.new("RGB", (8, 8), "red").save(images / "base.png")
    Image.new("RGB", (8, 8), "blue").save(images / "own.png")
    for side, scores in (("base", base), ("own", own)):
        columns[f"{side}_image"] = [f"images/{side}.png"] * len(told)
        for name in users or ["pixels", "statistics"]:
            columns[f"{side}/{name}"] = scores
    lost = round((1 - content) * CAPTIONS * len(names))
    columns["base/concept"] = [True] * len(told)
    columns["own/concept"] = [row >= lost for row in range(len(told))]
    pq.write_table(pa.table(columns), place / "comparisons.parquet")
    rate = {"rate": 0.8, "low": 0.7, "high": 0.9, "n": len(told), "wins": 40, "losses": 4, "ties": 16, "decided": 0.9}
    lowest = [{"user": names[0], "group": groups[0], "rate": 0.2, "n": CAPTIONS, "margin": -0.5}]
    summary = {"folder": str(place), "win_rate": dict.fromkeys(dict.fromkeys(groups), rate), "lowest": lowest}
    summary["concept_accuracy"] = {"base": 1.0, config.objective.name: content}
    (place / "summary.json").write_text(json.dumps(summary))
    settings = {
        "adapter": file_sha256(folder / "adapter.safetensors"),
        "generation": asdict(replace(config.generation, user_guidance=scale)),
        "evaluation": asdict(config.evaluation),
    }
    (place / "settings.json").write_text(json.dumps(settings))
    return place


def made_choices(config: Config, colours: Mapping[str, str], chosen: Mapping[str, Sequence[str]]) -> None:
    """Prepared images of one colour each, and embeddings of users who preferred these over an image of another."""
    other = {"grey": "grey"}
    source = Path(Workspace(config).data.source.root)
    source.mkdir(parents=True)
    pngs = [_png(colour) for colour in [*colours.values(), *other.values()]]
    pq.write_table(pa.table({"jpg_0": pngs, "jpg_1": pngs}), source / "choices.parquet")
    names = [*colours, *other]
    rows = [
        {
            "image_id": name,
            "caption": "x",
            "model": "m",
            "file": "choices.parquet",
            "row_group": 0,
            "row": row,
            "side": 0,
        }
        for row, name in enumerate(names)
    ]
    images = pa.Table.from_pylist(rows, schema=IMAGES_SCHEMA)
    write_table(Workspace(config).data.images_path, images, {"source": "s", "images": "i"})
    pairs = [
        {
            "pair_id": f"{number:016x}",
            "user_id": user,
            "caption_id": "c",
            "caption": "x",
            "preferred": image,
            "dispreferred": "grey",
            "split": "shots",
        }
        for number, (user, image) in enumerate((user, image) for user, own in chosen.items() for image in own)
    ]
    write_pairs(Workspace(config).data.pairs_path, pa.Table.from_pylist(pairs), Workspace(config).data.pairs_key())
    shots = np.array([[number for number, pair in enumerate(pairs) if pair["user_id"] == user] for user in chosen])
    ids = stable_ids([pair["pair_id"] for pair in pairs])[shots]
    write_store(Workspace(config).users.folder, [f"{user}/0" for user in chosen], {"shots": ids}, {})


def _png(colour: str) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(data, "PNG")
    return data.getvalue()
