"""`data=hpdv2`: the test set of Human Preference Dataset v2, where ten people ranked the images of every prompt.

test.json is an array of objects with prompt, image_path (a list), rank (averaged over people, not read) and
raw_annotations: of each person the user_hash and, as annotation, the rank of each image, 0 being the best. The data
set's card calls the latter rank; both names are read. (Wu et al., Human Preference Score v2, arXiv 2306.09341)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from ppd_lightning.data.converted_source import ConvertedSource
from ppd_lightning.data.rankings import Ranking, number_of
from ppd_lightning.data.table_cells import caption_of, user_of
from ppd_lightning.settings.part import settings

if TYPE_CHECKING:
    from ppd_lightning.data.converted import Faults, Rows


@settings
class Hpdv2Source(ConvertedSource):
    """People's rankings of the images of a prompt, as in HPDv2's test.json."""

    NAMES: ClassVar = {
        "caption": ("prompt", "caption"),
        "images": ("image_path", "images"),
        "annotations": ("raw_annotations",),
    }
    NEEDED: ClassVar = (("caption",), ("images",), ("annotations",))
    title: ClassVar = "Rankings by people in the form of HPDv2's test set"

    def rankings(self, rows: Rows, image: Callable[[Any], str], faults: Faults) -> Iterator[Ranking]:
        """One of each annotation."""
        for number, (line, row) in enumerate(rows, 1):
            try:
                caption = _read("prompt", caption_of, row["caption"])
                images = tuple(_read("image_path", image, path) for path in _list(row["images"], "image_path"))
            except ValueError as error:
                faults.append((line, f"prompt {number}: {error}"))
                continue
            annotations = row["annotations"]
            for place, annotation in enumerate(annotations if isinstance(annotations, list) else [None], 1):
                try:
                    user, ranks = _annotation(annotation, len(images))
                    yield Ranking(line, caption, user, images, ranks, part=f"prompt {number}, user {user}")
                except ValueError as error:
                    faults.append((line, f"prompt {number}: raw_annotations: {place}: {error}"))


def _annotation(annotation: Any, images: int) -> tuple[str, tuple[float, ...]]:
    if not isinstance(annotation, dict):
        raise ValueError("must be an object with user_hash and annotation")
    user = _read("user_hash", user_of, annotation.get("user_hash"))
    ranks = _list(annotation.get("annotation", annotation.get("rank")), "annotation")
    if len(ranks) != images:
        raise ValueError(f"annotation has {len(ranks)} ranks, and there are {images} images")
    return user, tuple(_read("a rank", number_of, rank) for rank in ranks)


def _read(name: str, read: Callable[[Any], Any], value: Any) -> Any:
    try:
        return read(value)
    except ValueError as error:
        raise ValueError(f"{name} {error}") from None


def _list(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{name} must be a list")
    return value
