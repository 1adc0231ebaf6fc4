"""The folders that a process needs beside those of its configuration: the current one, one for temporary files, caches.

In containers some of them are missing or read-only. What libraries make of that is a trace from deep within an import.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import MutableMapping

from ppd_lightning.errors import UserError

log = logging.getLogger(__name__)

CACHES = ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")
"""Variables with folders of caches that libraries insist on; without them they take one below the temporary one."""

NUMBERS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID")
"""Variables by which processes that train together know each other; Lightning reads them as it is imported."""


def require_folders(environment: MutableMapping[str, str] = os.environ) -> None:
    """See that they are there; a cache that cannot be written is left out, with a warning.

    Raises:
        UserError: there is no current folder, or none for temporary files, or variables of ranks are no numbers.
    """
    faults = [
        f"{name}={environment[name][:80]}: this variable must be a whole number; unset it, unless torchrun or "
        "Slurm started this process"
        for name in NUMBERS
        if name in environment and not environment[name].isdecimal()
    ]
    if faults:
        raise UserError(faults)
    try:
        os.getcwd()
    except FileNotFoundError:
        raise UserError("the current folder was removed; go to one that is there, and run the command again") from None
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        asked = environment.get("TMPDIR")
        tried = f"TMPDIR={asked}, /tmp, /var/tmp" if asked else "/tmp, /var/tmp"
        raise UserError(
            f"no folder for temporary files can be written ({tried}, the current one); set TMPDIR to one that can"
        ) from None
    for name in CACHES:
        if environment.get(name):
            try:
                os.makedirs(environment[name], exist_ok=True)
                with tempfile.TemporaryFile(dir=environment[name]):
                    pass
            except OSError as error:
                log.warning("%s=%s cannot be written (%s) and is not used", name, environment[name], error.strerror)
                del environment[name]
