"""What becomes of an export."""

from __future__ import annotations

from ppd_lightning.settings.part import settings
from ppd_lightning.settings.values import Repository, Switch


@settings
class Export:
    """Where an export goes beside its folder."""

    push: Repository | None
    """The repository on the model hub, OWNER/NAME, that the export is uploaded to; null uploads nothing."""
    private: Switch
    """Whether a repository that is made for it is private; one that is there stays as it is."""
