"""Pairs as a vision-language model sees them: the caption, both images, and which of them the person chose."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc
from PIL.Image import Image

from ppd_lightning.data.pictures import as_rgb, open_picture
from ppd_lightning.data.prepared import PreparedData
from ppd_lightning.errors import UserError
from ppd_lightning.users.vlm_prompts import PromptPair, preferred_number

NAMED = 5
"""People or pairs that a message names."""


class PromptPairs:
    """Some pairs as parts of prompts, their images compressed in memory.

    Args:
        pairs: `data.pairs.PAIRS_SCHEMA`.
        wanted: rows of it, any number of times each.
        side: longest side in pixels at which the model gets an image.

    Raises:
        UserError: images are missing or damaged; the first pairs are named.
    """

    def __init__(self, data: PreparedData, pairs: pa.Table, wanted: Iterable[int], side: int) -> None:
        rows = list(dict.fromkeys(wanted))
        columns = ["pair_id", "user_id", "caption", "preferred", "dispreferred"]
        self._pairs = dict(zip(rows, pairs.select(columns).take(pa.array(rows, pa.int64())).to_pylist(), strict=True))
        self._side = side
        images = {row[name] for row in self._pairs.values() for name in ("preferred", "dispreferred")}
        table = data.images_table()
        table = table.filter(pc.is_in(table["image_id"], value_set=pa.array(sorted(images), pa.string())))
        self._files = dict(data.stored_images(table)) if len(table) else {}
        broken = {image for image in images if not _is_sound(self._files.get(image))}
        faults = [
            f"{row['pair_id']} of {row['user_id']}"
            for row in self._pairs.values()
            if {row["preferred"], row["dispreferred"]} & broken
        ]
        if faults:
            raise UserError(
                f"{data.source.root}: an image is missing or damaged of the {named(faults, 'pairs')} that are asked "
                "about; mend the source or leave the pairs out, and run `ppd prepare` again"
            )

    def of(self, pairs: Sequence[int]) -> list[PromptPair]:
        """These pairs, in their order."""
        return [self._prompt_pair(self._pairs[pair]) for pair in pairs]

    def _prompt_pair(self, pair: Mapping[str, str]) -> PromptPair:
        preferred, other = (open_picture(self._files[pair[side]]) for side in ("preferred", "dispreferred"))
        return prompt_pair(pair["pair_id"], pair["caption"], preferred, other, self._side)


def _is_sound(data: bytes | None) -> bool:
    try:
        as_rgb(open_picture(data))
    except UserError:
        return False
    return True


def prompt_pair(pair_id: str, caption: str, preferred: Image, other: Image, side: int) -> PromptPair:
    """A pair as a part of a prompt; which picture is the first follows from the pair's id.

    Args:
        side: longest side in pixels at which the model gets a picture.
    """
    images = []
    for picture in (preferred, other):
        small = as_rgb(picture)
        small.thumbnail((side, side))
        images.append(small)
    number = preferred_number(pair_id)
    first, second = images if number == 1 else images[::-1]
    return PromptPair(caption, (first, second), number)


def named(names: Sequence[str], what: str) -> str:
    """The first few names of `what`, and how many more there are."""
    rest = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{what} {', '.join(names[:NAMED])}{rest}"
