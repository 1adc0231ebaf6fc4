"""Scores of a source's images by rewards: one pass over the images for all of them, then captions.

Where a reward's features of an image do not depend on the caption they are stored, and scores of any caption follow
from them; else the scores of the image for its own captions are stored.

B = images of a batch, N = images to be scored, K = captions of the image that has most.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from ppd_lightning.data.encoding import Encode, ImageEncoder, encode_usable, open_encoded
from ppd_lightning.data.images import ids_fingerprint
from ppd_lightning.data.pickapic_rows import read_rows
from ppd_lightning.data.prepared import PreparedData
from ppd_lightning.errors import UserError
from ppd_lightning.rewards.reward import Reward
from ppd_lightning.storage.fingerprints import fingerprint

AT_ONCE = 1024
"""Features that are compared with their captions at once; in the order of the captions, so each is read about once."""

SCORED_SCHEMA = pa.schema({"image_id": pa.string(), "caption": pa.string()})
"""An image and a caption that it is scored for."""


class Scorer:
    """The images of a prepared source as rewards see them.

    Args:
        scored: the images with their captions (`SCORED_SCHEMA`), in any order and as often as they come.
        workers: processes that decode images beside this one.
        progress: whether a terminal gets a bar.
    """

    def __init__(
        self,
        data: PreparedData,
        rewards: Mapping[str, Reward],
        scored: pa.Table,
        *,
        workers: int = 0,
        progress: bool = True,
    ) -> None:
        self.data, self.rewards, self.workers, self.progress = data, rewards, workers, progress
        order = [("image_id", "ascending"), ("caption", "ascending")]
        self._scored = scored.group_by(["image_id", "caption"]).aggregate([]).sort_by(order)
        self._captions: dict[str, list[str]] = {}
        self._encoders = {name: self._encoder(name, reward) for name, reward in rewards.items()}

    def prepare(self) -> None:
        """Fill the stores that are missing, reading every image once for all of them.

        Raises:
            UserError: weights or data are missing or damaged.
        """
        names = ", ".join(self.rewards)
        encoders = list(self._encoders.values())
        encode_usable(self.data, f"images for {names}", encoders, workers=self.workers, progress=self.progress)

    @torch.no_grad()
    def scores(self, name: str, images: pa.ChunkedArray, captions: pa.ChunkedArray) -> np.ndarray:
        """Scores (N,) float32 of N images, each for its caption, by one reward; NaN where it cannot see the image.

        Raises:
            UserError: the store is missing, damaged or stale; or a caption is refused.
        """
        reward = self.rewards[name]
        store = open_encoded(self.data, self._encoders[name], made_by="ppd label")
        array = store.arrays[self._encoders[name].array_name]
        words = pc.unique(captions).sort()
        row = np.asarray(pc.fill_null(pc.index_in(images, value_set=store.ids), -1)).astype(np.int64)
        word = np.asarray(pc.index_in(captions, value_set=words)).astype(np.int64)
        if not reward.needs_captions:
            word[:] = 0
        wanted, position = np.unique(np.stack([word, row]), axis=1, return_inverse=True)  # in the order of the captions
        found = np.full(wanted.shape[1], np.nan, np.float32)
        seen = np.flatnonzero(wanted[1] >= 0)
        for begin in range(0, len(seen), AT_ONCE):
            part = seen[begin : begin + AT_ONCE]
            text = words.take(pa.array(wanted[0, part])).to_pylist()
            values = array[wanted[1, part]]
            if reward.keeps_features:
                found[part] = reward.scores(torch.from_numpy(values), text).float().cpu().numpy()
            else:
                ids = store.ids.take(pa.array(wanted[1, part])).to_pylist()
                column = [self._captions_of(image).index(caption) for image, caption in zip(ids, text, strict=True)]
                found[part] = values[np.arange(len(part)), column]
        broken = seen[~np.isfinite(found[seen])]
        if len(broken):
            word_of, row_of = wanted[:, broken[0]]
            raise UserError(
                f"reward {name}: {found[broken[0]]} is no score, and {len(broken)} images have such, such as "
                f"{store.ids[row_of].as_py()} for {words[word_of].as_py()[:80]!r}; look at its weights and its class"
            )
        scores: np.ndarray = found[position.reshape(-1)]
        return scores

    def features(self, name: str, images: pa.Array) -> np.ndarray:
        """What one reward's vision tower saw of N images, (N, ...) float32; NaN where it cannot see the image.

        Raises:
            UserError: the store is missing, damaged or stale; or the tower sees the caption too, so nothing is stored.
        """
        if not self.rewards[name].keeps_features:
            raise UserError(
                f"reward {name}: what it sees of an image depends on the caption, so it has no features of images "
                "alone; take another, such as clip"
            )
        store = open_encoded(self.data, self._encoders[name], made_by="ppd label")
        array = store.arrays[self._encoders[name].array_name]
        row = np.asarray(pc.fill_null(pc.index_in(images, value_set=store.ids), -1)).astype(np.int64)
        found = np.full((len(row), *array.shape[1:]), np.nan, np.float32)
        found[row >= 0] = array[row[row >= 0]]
        return found

    def _encoder(self, name: str, reward: Reward) -> ImageEncoder:
        key = {"reward": reward.fingerprint()}
        folder = f"reward-{name}-{fingerprint(reward.settings)}"
        if reward.keeps_features:
            return ImageEncoder(folder, key, lambda: _features_by(reward), reward.preprocess, "features")
        key["captions"] = fingerprint([ids_fingerprint(self._scored[column]) for column in ("image_id", "caption")])
        return ImageEncoder(folder, key, lambda: self._scores_by(reward), reward.preprocess, "scores")

    def _captions_of(self, image: str) -> list[str]:
        if not self._captions:
            for row in zip(*(self._scored[name].to_pylist() for name in ("image_id", "caption")), strict=True):
                self._captions.setdefault(row[0], []).append(row[1])
        return self._captions.get(image, [])

    def _scores_by(self, reward: Reward) -> Encode:
        most = pc.max(pc.value_counts(self._scored["image_id"]).field("counts")).as_py()

        @torch.no_grad()
        def encode(pixels: np.ndarray, ids: Sequence[str]) -> np.ndarray:
            """Scores (B, K) of the images for their captions; NaN where an image has fewer."""
            scores = np.full((len(ids), most), np.nan, np.float32)
            features = reward.image_features(torch.from_numpy(pixels))
            captions = [self._captions_of(image) for image in ids]
            for column in range(most):
                rows = [row for row, own in enumerate(captions) if column < len(own)]
                if rows:
                    text = [captions[row][column] for row in rows]
                    scores[rows, column] = reward.scores(features[rows], text).float().cpu().numpy()
            return scores

        return encode


def open_scorer(
    data: PreparedData, rewards: Mapping[str, Reward], *, workers: int = 0, progress: bool = True
) -> Scorer:
    """A scorer of a prepared source's images, each for the captions that it has there.

    The source is read where a reward needs to know the captions beforehand.

    Raises:
        UserError: the data are not prepared.
    """
    if all(reward.keeps_features for reward in rewards.values()):
        scored = SCORED_SCHEMA.empty_table()
    else:
        scored = images_with_captions(usable_rows(data)[0])
    return Scorer(data, rewards, scored, workers=workers, progress=progress)


def usable_rows(data: PreparedData) -> tuple[pa.Table, dict[str, int]]:
    """The rows of a prepared source whose images are usable (`pickapic_rows.Rows.table`), and what was counted.

    Raises:
        UserError: the data are not prepared, or the source cannot be read.
    """
    read = read_rows(data.source.root, data.source.files)
    known = data.images_table(("image_id",))["image_id"]
    usable = pc.and_(*(pc.is_in(read.table[side], value_set=known) for side in ("image_0", "image_1")))
    rows = read.table.filter(usable)
    counts = {"damaged_image": len(read.table) - len(rows), "images": len(known), "usable": len(rows)}
    return rows, read.counts | counts


def images_with_captions(rows: pa.Table) -> pa.Table:
    """Every image of the rows with its caption (`SCORED_SCHEMA`)."""
    sides = [rows.select([side, "caption"]).rename_columns(SCORED_SCHEMA.names) for side in ("image_0", "image_1")]
    return pa.concat_tables(sides)


def _features_by(reward: Reward) -> Encode:
    @torch.no_grad()
    def encode(pixels: np.ndarray, _: Sequence[str]) -> np.ndarray:
        return reward.image_features(torch.from_numpy(pixels)).float().cpu().numpy()

    return encode
