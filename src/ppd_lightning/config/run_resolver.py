"""A run's stored settings as this version reads them: where its data are, and the command that trains it."""

from __future__ import annotations

import json
import logging
import shlex
from collections.abc import Mapping
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppd_lightning.config.compose import compose, of_this_version
from ppd_lightning.config.folders import run_folder
from ppd_lightning.config.groups import options
from ppd_lightning.config.trusted import untrusted
from ppd_lightning.config.typed import quoted
from ppd_lightning.config.validation import check
from ppd_lightning.errors import UserError
from ppd_lightning.settings.flat import flat

if TYPE_CHECKING:
    from ppd_lightning.users.users import Users

log = logging.getLogger(__name__)

CHOICES = {"data": "name", "model": "name", "user": "kind", "objective": "name"}
"""Groups, and their key that names the chosen option."""
READ = ("data", "model", "user", "shots", "objective", "optimizer", "trainer", "mode", "seed", "output")
"""What a training reads, besides the rewards."""


class RunResolver:
    """Resolves the settings of runs, also of earlier versions; what this version does not know resolves to nothing."""

    @cached_property
    def defaults(self) -> dict[str, Any]:
        """The shipped defaults by dotted key."""
        return flat(asdict(compose()))

    def users_of(self, settings: Mapping[str, Any], output: Path) -> Users | None:
        """The users of a run with their data, below the output folder where the run lies now; None if not valid.

        Classes that only the run names are not imported: it may be somebody else's.
        """
        classes = untrusted(settings)
        if classes:
            log.warning(
                "%s: not imported for a run's sake; give the options that name it by --config-dir", *classes[:1]
            )
            return None
        config, _ = check(of_this_version({**settings, "output": str(output)}))
        if config is None:
            return None
        from ppd_lightning.config.workspace import Workspace

        return Workspace(config).users

    def command_of(self, settings: Mapping[str, Any], name: str) -> str | None:
        """A command line that trains the run, derived from its settings; None if none has the folder `name`."""
        known = options()
        overrides = []
        for group, key in CHOICES.items():
            if group in settings and settings[group].get(key) in known.get(group, {}):
                overrides.append(f"{group}={settings[group][key]}")
        if settings.get("rewards"):
            overrides.append(f"reward=[{','.join(settings['rewards'])}]")
        try:
            shipped = flat({key: value for key, value in asdict(compose(overrides)).items() if key in READ})
            own = flat({key: value for key, value in settings.items() if key in READ and key != "output"})
            overrides += [
                f"{key}={_override(value)}" for key, value in own.items() if key in shipped and shipped[key] != value
            ]
            if run_folder(compose(overrides)).name != name:
                return None
        except UserError:
            return None
        return shlex.join(["ppd", "train", *overrides])


def _override(value: Any) -> str:
    if isinstance(value, str):
        return quoted(value)
    return json.dumps(value, separators=(",", ":"))
