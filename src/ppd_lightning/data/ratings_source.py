"""`data=imagereward`, `data=pamela`: a row an image that somebody ranked or rated.

Rows of one caption, one user and one group are one ranking: its images are compared with each other and no others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ppd_lightning.data.converted_source import ConvertedSource
from ppd_lightning.data.rankings import Ranking, number_of
from ppd_lightning.data.table_cells import caption_of, label_of, user_of
from ppd_lightning.settings.part import settings
from ppd_lightning.settings.values import Name

if TYPE_CHECKING:
    from ppd_lightning.data.converted import Faults, Rows


@settings
class RatingsSource(ConvertedSource):
    """A row an image that somebody ranked or rated; columns: caption, image, value, and user, group, model if there."""

    best: Literal["lowest", "highest"]
    """Which value is the best: the lowest of ranks, the highest of ratings."""
    everyone: Name | None
    """The user whom all choices are given to where the table has no column of users; null refuses such a table."""

    NAMES: ClassVar = {
        "caption": ("caption", "prompt"),
        "image": ("image", "image_path"),
        "value": ("value", "rank", "rating"),
        "user": ("user", "user_id", "participant_id", "annotator_id"),
        "group": ("group", "prompt_id"),
        "model": ("model",),
    }
    NEEDED: ClassVar = (("caption",), ("image",), ("value",))
    title: ClassVar = "Images that people ranked or rated, each pair of a caption and a person"

    def rankings(self, rows: Rows, image: Callable[[Any], str], faults: Faults) -> Iterator[Ranking]:
        """One of each caption, user and group; those of a caption follow on each other."""
        read = {"caption": caption_of, "value": number_of, "user": user_of, "group": label_of, "model": label_of}
        captions: dict[str, dict[tuple[str, str], list[tuple[int, str, float, str]]]] = {}
        for line, row in rows:
            if "user" not in row and self.everyone is None:
                faults.append((line, NO_USERS))
                break
            cells, wrong = _cells(row, read | {"image": image})
            faults += [(line, fault) for fault in wrong]
            if not wrong:
                user = cells["user"] if "user" in row else str(self.everyone)
                value = cells["value"] if self.best == "lowest" else -cells["value"]
                judged = (line, cells["image"], value, cells.get("model", ""))
                groups = captions.setdefault(cells["caption"], {})
                groups.setdefault((user, cells.get("group", "")), []).append(judged)
        for caption, groups in captions.items():
            for (user, group), own in groups.items():
                lines, images, values, models = zip(*own, strict=True)
                yield Ranking(lines[0], caption, user, images, values, models, group, f"user {user}")


NO_USERS = "no column says who chose; name it by data.columns, or give all choices to one user by data.everyone"


def _cells(row: Mapping[str, Any], read: Mapping[str, Callable[[Any], Any]]) -> tuple[dict[str, Any], list[str]]:
    """What a row says, and what is wrong with it."""
    cells, wrong = {}, []
    for name, cell in row.items():
        try:
            cells[name] = read[name](cell)
        except ValueError as error:
            wrong.append(f"{name} {error}")
    return cells, wrong
