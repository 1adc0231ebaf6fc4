"""Pairs as they are shown to a vision-language model: the caption, both images, and which of them the person chose."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from ppd_lightning.config.schemas import Config
from ppd_lightning.data import prepared as layout
from ppd_lightning.data.images import open_picture, stored_images
from ppd_lightning.errors import UserError
from ppd_lightning.users.vlm_prompts import ShownPair, preferred_place

NAMED = 5
"""People or pairs that a message names."""


class ShownPairs:
    """Some pairs as they are shown, their images compressed in memory.

    Args:
        pairs: `data.pairs.PAIRS_SCHEMA`.
        wanted: rows of it, any number of times each.
        side: longest side in pixels at which an image is shown.

    Raises:
        UserError: images are missing or damaged; the first pairs are named.
    """

    def __init__(self, config: Config, pairs: pa.Table, wanted: Iterable[int], side: int) -> None:
        rows = list(dict.fromkeys(wanted))
        columns = ["pair_id", "user_id", "caption", "preferred", "dispreferred"]
        self._pairs = dict(zip(rows, pairs.select(columns).take(pa.array(rows, pa.int64())).to_pylist(), strict=True))
        self._side = side
        images = {row[name] for row in self._pairs.values() for name in ("preferred", "dispreferred")}
        table = layout.read_images_table(config)
        table = table.filter(pc.is_in(table["image_id"], value_set=pa.array(sorted(images), pa.string())))
        source = layout.source_folder(config)
        self._data = dict(stored_images(source, table)) if len(table) else {}
        sound = {image for image in images if open_picture(self._data.get(image)) is not None}
        faults = [
            f"{row['pair_id']} of {row['user_id']}"
            for row in self._pairs.values()
            if not {row["preferred"], row["dispreferred"]} <= sound
        ]
        if faults:
            raise UserError(
                f"{source}: an image is missing or damaged of the {named(faults, 'pairs')} that are shown; mend the "
                "source or leave the pairs out, and run `ppd prepare` again"
            )

    def of(self, pairs: Sequence[int]) -> list[ShownPair]:
        """These pairs, in their order."""
        return [self._shown(self._pairs[pair]) for pair in pairs]

    def _shown(self, pair: Mapping[str, str]) -> ShownPair:
        images = []
        for side in ("preferred", "dispreferred"):
            picture = open_picture(self._data[pair[side]])
            assert picture is not None  # looked at above
            picture = picture.convert("RGB")
            picture.thumbnail((self._side, self._side))
            images.append(picture)
        place = preferred_place(pair["pair_id"])
        first, second = images if place == 1 else images[::-1]
        return ShownPair(pair["caption"], (first, second), place)


def named(names: Sequence[str], what: str) -> str:
    """The first few names of `what`, and how many more there are."""
    rest = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{what} {', '.join(names[:NAMED])}{rest}"
