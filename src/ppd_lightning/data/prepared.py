"""What lies where in a prepared data folder, and the keys that bind one part to the others."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from ppd_lightning.config.folders import data_folder, rewards_that_label, splits_folder
from ppd_lightning.config.schemas import Config, PickapicData
from ppd_lightning.data.images import IMAGES_SCHEMA
from ppd_lightning.data.pairs import PAIRS_SCHEMA, REWARD_PAIRS_SCHEMA, load_pairs
from ppd_lightning.data.stores import Store
from ppd_lightning.data.tables import read_table, table_key
from ppd_lightning.errors import UserError
from ppd_lightning.storage.fingerprints import fingerprint

CAPTIONS_SCHEMA = pa.schema({"caption_id": pa.string(), "caption": pa.string(), "held_out": pa.bool_()})


def source_folder(config: Config) -> str:
    """Where the source's parquet files are: a folder, or what else `remote` can read."""
    if isinstance(config.data, PickapicData):
        return config.data.root
    return str(data_folder(config) / "source")


def source_files(config: Config) -> str:
    """Which files of that folder are the source's, as a glob."""
    return config.data.files if isinstance(config.data, PickapicData) else "*.parquet"


def images_path(config: Config) -> Path:
    """The table of every usable image (`images.IMAGES_SCHEMA`)."""
    return data_folder(config) / "images.arrow"


def captions_path(config: Config) -> Path:
    """The table of every caption."""
    return splits_folder(config) / "captions.arrow"


def rewards_folder(config: Config) -> Path:
    """What `ppd label` makes of the chosen rewards together: labels.arrow, pairs.arrow and summary.json."""
    return splits_folder(config) / f"rewards-{rewards_fingerprint(config)}"


def rewards_fingerprint(config: Config) -> str:
    """12 hex digits of the settings of the rewards that label; their order does not count."""
    return fingerprint(rewards_that_label(config))


def labels_name(config: Config) -> str:
    """Whose labels the configuration asks for: people, or which rewards."""
    return "people" if config.data.labels == "people" else f"rewards-{rewards_fingerprint(config)}"


def pairs_path(config: Config) -> Path:
    """The pairs table of the labels and splits that the configuration asks for."""
    return _labels_folder(config) / "pairs.arrow"


def told_path(config: Config) -> Path:
    """What was told by the command that made the pairs: JSON, its `summary` among it, with the counts."""
    return _labels_folder(config) / ("prepared.json" if config.data.labels == "people" else "summary.json")


def pairs_made_by(config: Config) -> str:
    """The command that makes the pairs."""
    return "ppd prepare" if config.data.labels == "people" else "ppd label"


def _labels_folder(config: Config) -> Path:
    return splits_folder(config) if config.data.labels == "people" else rewards_folder(config)


def images_key(config: Config) -> str:
    """The fingerprint of all usable images' ids and bytes: everything that is computed of images carries it.

    Raises:
        UserError: the data are not prepared.
    """
    return table_key(images_path(config)).get("images", "")


def pairs_key(config: Config) -> dict[str, str]:
    """What the pairs table must have been made from."""
    return {"images": images_key(config), "labels": labels_name(config)}


def latents_key(config: Config, codec: str) -> dict[str, str]:
    """What the store of latents must have been made from; `codec` is the codec's fingerprint."""
    return {"images": images_key(config), "codec": codec}


def text_key(config: Config, text_encoder: str, tokenizer: str) -> dict[str, str]:
    """What the store of text states must have been made from; with the fingerprints of the model's parts."""
    captions = table_key(captions_path(config)).get("captions", "")
    return {"captions": captions, "text_encoder": text_encoder, "tokenizer": tokenizer}


def read_pairs(config: Config, split: str | None = None) -> pa.Table:
    """The pairs of a prepared folder, or one split of them, in the order of the pair ids.

    Returns:
        `pairs.PAIRS_SCHEMA`, or `pairs.REWARD_PAIRS_SCHEMA` where rewards labelled them.

    Raises:
        UserError: they are missing, damaged, stale or leak, or the split is empty.
    """
    schema = PAIRS_SCHEMA if config.data.labels == "people" else REWARD_PAIRS_SCHEMA
    return load_pairs(pairs_path(config), split, pairs_key(config), schema, made_by=pairs_made_by(config))


def read_counts(config: Config) -> dict[str, int]:
    """What the command that made the pairs counted.

    Raises:
        UserError: it is missing or damaged.
    """
    path = told_path(config)
    try:
        counts: dict[str, int] = json.loads(path.read_text(encoding="utf-8"))["summary"]["counts"]
        return counts
    except (OSError, ValueError, KeyError, TypeError) as error:
        remedy = f"run `{pairs_made_by(config)}` with the same settings"
        raise UserError(f"{path}: missing or damaged; {remedy}") from error


def people_of(config: Config) -> dict[str, list[str]]:
    """Who is in the pairs: `seen`, who are trained on, and `unseen`, who are only described by their shots."""
    pairs = read_pairs(config)
    groups = {"seen": ("train", "validation"), "unseen": ("shots",)}
    return {
        group: sorted(pc.unique(pairs.filter(pc.is_in(pairs["split"], pa.array(splits)))["user_id"]).to_pylist())
        for group, splits in groups.items()
    }


def captions_of(config: Config, *, held_out: bool) -> list[str]:
    """The captions that only the tests see, or the others."""
    table = read_captions(config)
    return [row["caption"] for row in table.to_pylist() if row["held_out"] == held_out]


def read_images_table(config: Config, columns: Sequence[str] | None = None) -> pa.Table:
    """Every usable image: its caption, the model that drew it (an emoji's style) and where its bytes are."""
    return read_table(images_path(config), IMAGES_SCHEMA, columns=columns)


def read_captions(config: Config) -> pa.Table:
    """Every caption (`CAPTIONS_SCHEMA`), in alphabetical order; `held_out` says that only the tests see it."""
    return read_table(captions_path(config), CAPTIONS_SCHEMA)


def open_latents(config: Config, codec: str) -> Store:
    """The store of latents, array `latents` (N, 16, h, w), by image id; `codec` is the codec's fingerprint.

    Raises:
        UserError: it is missing, damaged or stale.
    """
    return Store.open(data_folder(config) / "latents", latents_key(config, codec))


def open_text(config: Config, text_encoder: str, tokenizer: str) -> Store:
    """The store of text states, arrays `text` (N, L, C) and `text_pooled` (N, 1, C'), by caption id.

    Raises:
        UserError: it is missing, damaged or stale.
    """
    return Store.open(data_folder(config) / "text", text_key(config, text_encoder, tokenizer))
