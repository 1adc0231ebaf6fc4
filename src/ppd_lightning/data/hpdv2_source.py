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
from ppd_lightning.data.table_cells import caption_of, filled, list_of, read_as, user_of
from ppd_lightning.settings.part import settings

if TYPE_CHECKING:
    from ppd_lightning.data.converted_rows import Faults, Rows


@settings
class Hpdv2Source(ConvertedSource):
    """People's rankings of the images of a prompt, as in HPDv2's test.json."""

    NAMES: ClassVar = {
        "caption": ("prompt", "caption"),
        "images": ("image_path", "images"),
        "annotations": ("raw_annotations",),
    }
    FORMS: ClassVar = (("caption", "images", "annotations"),)
    title: ClassVar = "Rankings by people in the form of HPDv2's test set"

    def rankings(self, rows: Rows, image: Callable[[Any], str], faults: Faults) -> Iterator[Ranking]:
        """One of each annotation."""

        def images_of(value: Any) -> tuple[str, ...]:
            return tuple(filled(image)(path) for path in list_of(value))

        for row in rows:
            try:
                caption, images = row.read("caption", filled(caption_of)), row.read("images", images_of)
                annotations = row.read("annotations", list_of)
            except ValueError as error:
                faults.append((row.place, str(error)))
                continue
            for number, annotation in enumerate(annotations, 1):
                place = f"{row.place}, annotation {number}"
                try:
                    user, ranks = _annotation(annotation, len(images))
                except ValueError as error:
                    faults.append((place, str(error)))
                else:
                    yield Ranking(f"{place}, user {user}", caption, user, images, ranks)


def _annotation(annotation: Any, images: int) -> tuple[str, tuple[float, ...]]:
    if not isinstance(annotation, dict):
        raise ValueError("must be an object with user_hash and annotation")
    user = read_as("user_hash", filled(user_of), annotation.get("user_hash"))
    ranks = read_as("annotation", list_of, annotation.get("annotation", annotation.get("rank")))
    if len(ranks) != images:
        raise ValueError(f"annotation has {len(ranks)} ranks, and there are {images} images")
    return user, tuple(read_as("a rank", number_of, rank) for rank in ranks)
