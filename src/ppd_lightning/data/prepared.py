"""A prepared data folder: what lies where in it, and the keys that bind one part to the others.

    images.arrow                            every usable image
    latents/, text/, reward-*/              what was computed of images and captions, for all splits and labels
    splits-{hash}/                          one choice of splits: captions.arrow, and people's own pairs, pairs.arrow
    splits-{hash}/rewards-{hash}/           the same pairs labelled by rewards: pairs.arrow, labels.arrow

N = images or captions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from ppd_lightning.data.images import IMAGES_SCHEMA, DecodedImages, Preprocess, read_images, stored_images
from ppd_lightning.data.pairs import PAIRS_SCHEMA, REWARD_PAIRS_SCHEMA, load_pairs
from ppd_lightning.data.parquet_files import ParquetFiles
from ppd_lightning.data.stores import Store
from ppd_lightning.data.tables import read_table, table_key
from ppd_lightning.errors import UserError
from ppd_lightning.storage.json_files import read_checked_json

CAPTIONS_SCHEMA = pa.schema({"caption_id": pa.string(), "caption": pa.string(), "held_out": pa.bool_()})


@dataclass(frozen=True)
class PreparedData:
    """The tables and stores of a data folder, in one choice of splits and labels; each is opened when it is asked for.

    Args:
        folder: the data folder.
        splits: the folder of a choice of splits, below it.
        source: where the source's files are.
        image_size: side in pixels to which images are brought for the backbone.
        rewards: hash of the rewards that label the pairs; None where people's own labels are learnt.
        part_fingerprint: the hash of a part of the backbone (encoder, text_encoder, tokenizer): stores are bound to it.
        stores_text: whether text states are stored; else each step of a training computes those of its captions.
    """

    folder: Path
    splits: Path
    source: ParquetFiles
    image_size: int
    rewards: str | None
    part_fingerprint: Callable[[str], str]
    stores_text: bool = True

    @property
    def by_rewards(self) -> bool:
        """Whether the pairs are labelled by rewards, which are the users then."""
        return self.rewards is not None

    @property
    def images_path(self) -> Path:
        """The table of every usable image (`images.IMAGES_SCHEMA`)."""
        return self.folder / "images.arrow"

    @property
    def captions_path(self) -> Path:
        """The table of every caption (`CAPTIONS_SCHEMA`)."""
        return self.splits / "captions.arrow"

    @property
    def labels_folder(self) -> Path:
        """The folder of the pairs: that of the splits, or where `ppd label` leaves what it makes of the rewards."""
        return self.splits if self.rewards is None else self.splits / self.labels_name

    @property
    def labels_name(self) -> str:
        """Whose labels they are: people, or rewards-{hash}."""
        return "people" if self.rewards is None else f"rewards-{self.rewards}"

    @property
    def pairs_path(self) -> Path:
        """The pairs table."""
        return self.labels_folder / "pairs.arrow"

    @property
    def summary_path(self) -> Path:
        """The summary of the command that made the pairs: JSON, with its key and counts."""
        return self.labels_folder / ("prepared.json" if self.rewards is None else "summary.json")

    @property
    def pairs_made_by(self) -> str:
        """The command that makes the pairs."""
        return "ppd prepare" if self.rewards is None else "ppd label"

    def images_key(self) -> str:
        """The hash of all usable images' ids and bytes: everything that is computed of images carries it.

        Raises:
            UserError: the data are not prepared.
        """
        return table_key(self.images_path).get("images", "")

    def pairs_key(self) -> dict[str, str]:
        """What the pairs table must have been made from."""
        return {"images": self.images_key(), "labels": self.labels_name}

    def latents_key(self) -> dict[str, str]:
        """What the store of latents must have been made from."""
        return {"images": self.images_key(), "codec": self.part_fingerprint("encoder")}

    def text_key(self) -> dict[str, str]:
        """What the store of text states must have been made from."""
        captions = table_key(self.captions_path).get("captions", "")
        return {"captions": captions, **{part: self.part_fingerprint(part) for part in ("text_encoder", "tokenizer")}}

    def read_pairs(self, split: str | None = None) -> pa.Table:
        """The pairs, or one split of them, in the order of the pair ids.

        Returns:
            `pairs.PAIRS_SCHEMA`, or `pairs.REWARD_PAIRS_SCHEMA` where rewards labelled them.

        Raises:
            UserError: they are missing, damaged, stale or leak, or the split is empty.
        """
        schema = PAIRS_SCHEMA if self.rewards is None else REWARD_PAIRS_SCHEMA
        return load_pairs(self.pairs_path, split, self.pairs_key(), schema, made_by=self.pairs_made_by)

    def read_counts(self) -> dict[str, int]:
        """What the command that made the pairs counted.

        Raises:
            UserError: it is missing or damaged.
        """
        path, remedy = self.summary_path, f"run `{self.pairs_made_by}` with the same settings"
        try:
            counts: dict[str, int] = read_checked_json(path, remedy)["summary"]["counts"]
            return counts
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path}: missing or damaged; {remedy}") from error

    def people(self) -> dict[str, list[str]]:
        """Who is in the pairs: `seen`, who are trained on, and `unseen`, who are only described by their shots."""
        pairs = self.read_pairs()
        groups = {"seen": ("train", "validation"), "unseen": ("shots",)}
        return {
            group: sorted(pc.unique(pairs.filter(pc.is_in(pairs["split"], pa.array(splits)))["user_id"]).to_pylist())
            for group, splits in groups.items()
        }

    def captions(self, *, held_out: bool) -> list[str]:
        """The captions that only the tests see, or the others."""
        return [row["caption"] for row in self.captions_table().to_pylist() if row["held_out"] == held_out]

    def images_table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Every usable image: its caption, the model that drew it and where its bytes are (`images.IMAGES_SCHEMA`)."""
        return read_table(self.images_path, IMAGES_SCHEMA, columns=columns)

    def captions_table(self) -> pa.Table:
        """Every caption (`CAPTIONS_SCHEMA`), in alphabetical order; `held_out` says that only the tests see it."""
        return read_table(self.captions_path, CAPTIONS_SCHEMA)

    def open_latents(self) -> Store:
        """The store of latents, array `latents` (N, C, h, w), by image id.

        Raises:
            UserError: it is missing, damaged or stale.
        """
        return Store.open(self.folder / "latents", self.latents_key())

    def open_text(self) -> Store:
        """The store of text states, an array (N, ...) for each of the backbone's `text_arrays`, by caption id.

        Raises:
            UserError: it is missing, damaged or stale.
        """
        return Store.open(self.folder / "text", self.text_key())

    def read_images(self, table: pa.Table, views: Sequence[Preprocess]) -> Iterator[DecodedImages]:
        """Decode images of the source; see `images.read_images`."""
        return read_images(self.source.root, table, views)

    def stored_images(self, table: pa.Table) -> Iterator[tuple[str, bytes | None]]:
        """The bytes of images of the source; see `images.stored_images`."""
        return stored_images(self.source.root, table)
