"""The settings of `ppd describe`."""

from __future__ import annotations

from ppd_lightning.settings.part import settings


@settings
class Describe:
    """How people who are not in the data are described."""

    of: str | None
    """The folder of a run or of an export, whose people they join; null is the run of this configuration."""
    choices: str | None
    """A CSV, JSONL or parquet file with the columns caption, image_0, image_1, choice and user, as for data=folder;
    with user=stated columns user and text, as for user.texts."""
    roots: list[str]
    """Folders below which the images of such a table may lie, beside its own; as data.roots."""
    to: str | None
    """The file that they are written to, ending in .safetensors; null names one in the output folder by the table."""
