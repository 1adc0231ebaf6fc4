"""The settings of `ppd describe`."""

from __future__ import annotations

from ppd_lightning.settings.part import settings
from ppd_lightning.settings.values import FolderText, PathText


@settings
class Describe:
    """How people who are not in the data are described."""

    of: PathText | None
    """The folder of a run or of an export, whose people they join; null is the run of this configuration."""
    choices: PathText | None
    """A CSV, JSONL or parquet file with the columns caption, image_0, image_1, choice and user, as for data=folder;
    with user=stated columns user and text, as for user.texts."""
    roots: list[PathText]
    """Folders below which the images of such a table may lie, beside its own; as data.roots."""
    to: FolderText | None
    """The file that they are written to, ending in .safetensors; null names one in the output folder by the table."""
