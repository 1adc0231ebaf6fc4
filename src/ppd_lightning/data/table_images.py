"""The bytes of the images of one's own table, from files beside it or from the table itself."""

from __future__ import annotations

from collections.abc import Sequence

from ppd_lightning.data.image_files import ImageFiles
from ppd_lightning.data.own_table import Choice, OwnTable, held_image
from ppd_lightning.data.remote import Location
from ppd_lightning.data.table_parts import rows_of


class TableImages:
    """The images of a table, read for its choices in their order; never more than those of a group are in memory.

    Args:
        table: the file.
        read: what was read of it.
        key: of the configuration that names it, for messages.
    """

    def __init__(self, table: Location, read: OwnTable, key: str = "data.table") -> None:
        self.table, self.read = table, read
        self._files = ImageFiles(table, key=key)
        holding = read.holding or ()
        self._rows = rows_of(table, key, lambda _: holding) if holding else iter(())

    def of(self, group: Sequence[Choice]) -> tuple[dict[str, bytes], dict[str, str]]:
        """The bytes of those images that are there, by their names in the choices; a sentence for those not readable.

        Args:
            group: the choices that follow on those that were asked for before.

        Raises:
            UserError: a remote file system cannot be reached, or the table is damaged.
        """
        held: dict[str, bytes] = {}
        for choice in group if self.read.holding else ():
            row = next((row for line, row in self._rows if line == choice.line), "")  # empty rows are no choices
            for name, column in zip(choice.images, self.read.holding or (), strict=True):
                data = held_image(row[column]) if not isinstance(row, str) else None
                if data is not None:
                    held[name] = data
        names = dict.fromkeys(name for choice in group for name in choice.images)
        files = {name: self.read.images[name] for name in names if name in self.read.images and name not in held}
        content, faults = self._files.read(files)
        return held | content, faults
