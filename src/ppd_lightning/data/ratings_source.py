"""`data=imagereward`, `data=pamela`: a row an image that somebody ranked or rated.

Rows of one caption, one user and one group are one ranking: its images are compared with each other and no others.
Where a table has splits, in a column or as files of their own, the people of those whose names end with "unseen" are
never trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ppd_lightning.data.converted_source import ConvertedSource
from ppd_lightning.data.rankings import Ranking, number_of
from ppd_lightning.data.table_cells import caption_of, filled, label_of, user_of
from ppd_lightning.errors import UserError
from ppd_lightning.settings.part import settings
from ppd_lightning.settings.values import User

if TYPE_CHECKING:
    from ppd_lightning.data.converted_rows import Faults, Rows


@settings
class RatingsSource(ConvertedSource):
    """A row an image that somebody ranked or rated: caption, image, value; and user, group, model, split if there."""

    best: Literal["lowest", "highest"]
    """Which value is the best: the lowest of ranks, the highest of ratings."""
    everyone: User | None
    """The user whom all choices are given to where the table has no column of users; null refuses such a table."""

    NAMES: ClassVar = {
        "caption": ("caption", "prompt"),
        "image": ("image", "image_path"),
        "value": ("value", "rank", "rating"),
        "user": ("user", "user_id", "participant_id", "annotator_id"),
        "group": ("group", "prompt_id"),
        "model": ("model",),
        "split": ("split",),
    }
    FORMS: ClassVar = (("caption", "image", "value"),)
    title: ClassVar = "Images that people ranked or rated, each pair of a caption and a person"

    def rankings(self, rows: Rows, image: Callable[[Any], str], faults: Faults) -> Iterator[Ranking]:
        """One of each caption, user and group; those of a caption follow on each other.

        An image that comes again with the same value counts once.
        """
        read: dict[str, Callable[[Any], Any]]
        read = {"caption": filled(caption_of), "image": filled(image), "value": number_of, "user": filled(user_of)}
        read |= {"group": label_of, "model": label_of}
        captions: dict[str, dict[tuple[str, str], dict[tuple[str, float], tuple[str, str]]]] = {}
        for row in rows:
            if "user" not in row.called:
                if self.everyone is None:
                    raise UserError(f"{self.table}: {NO_USERS}")
                read["user"] = lambda _: str(self.everyone)
            said = row.read_all(read, faults)
            if said is not None:
                own = captions.setdefault(said["caption"], {}).setdefault((said["user"], said["group"]), {})
                own.setdefault((said["image"], said["value"]), (row.place, said["model"]))
        for caption, groups in captions.items():
            for (user, group), own in groups.items():
                places, models = zip(*own.values(), strict=True)
                images, values = zip(*own, strict=True)
                ranks = values if self.best == "lowest" else tuple(-value for value in values)
                yield Ranking(f"{places[0]}, user {user}", caption, user, images, ranks, models, group)

    def unseen(self, users: Iterable[str]) -> frozenset[str]:
        """Those whom the table's own splits call unseen; where they call nobody so, about `unseen_users`, by hash."""
        from ppd_lightning.data.converted import read_unseen

        return read_unseen(self._form()) or super().unseen(users)


NO_USERS = "no column says who chose; name it by data.columns, or give all choices to one user by data.everyone"
