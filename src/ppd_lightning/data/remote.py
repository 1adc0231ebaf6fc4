"""Where files are read from: a local folder, or any URL that fsspec knows, a data set on the model hub among them."""

from __future__ import annotations

import glob
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import fsspec
from fsspec.implementations.local import LocalFileSystem

from ppd_lightning.data.hosts import FULL, RemoteFile, absent, fetched, host_fault, limit_silence
from ppd_lightning.errors import UserError
from ppd_lightning.masking import MASK

PACKAGES = {
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "az": "adlfs",
    "abfs": "adlfs",
    "http": "aiohttp",
    "https": "aiohttp",
    "sftp": "paramiko",
}
"""What to install beside fsspec for a protocol."""

HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


@dataclass(frozen=True)
class Location:
    """A folder or a file somewhere.

    url: as messages name it. path: as the file system names it.
    """

    url: str
    path: str
    system: Any

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine's own file systems."""
        return isinstance(self.system, LocalFileSystem)

    @property
    def is_web(self) -> bool:
        """Whether a web server has it: its folders are pages, and it may send files as a whole only."""
        return "https" in self.system.protocol

    def place(self, line: int) -> str:
        """What a row of a table is called."""
        return f"{'row' if without_query(self.path).lower().endswith('.parquet') else 'line'} {line}"

    def listed(self, pattern: str) -> dict[str, dict[str, Any]]:
        """The files below that match a glob, by their path from here, in alphabetical order; hidden ones are not there.

        Raises:
            UserError: a remote location cannot be reached, or one of them is no file.
        """
        try:
            found = self.system.glob(f"{glob.escape(self.path)}/{pattern}", detail=True)
        except Exception as error:  # each file system has its own
            raise self.unreachable(error) from error
        below = {path.removeprefix(f"{self.path}/"): info for path, info in found.items()}
        names = {name: info for name, info in below.items() if info["type"] != "directory"}  # a link is neither
        shown = {name: names[name] for name in sorted(names) if not any(part[0] == "." for part in name.split("/"))}
        if self.is_local:
            for name in shown:
                require_file(f"{self.path}/{name}", self.url)
        return shown

    def open(self, name: str) -> BinaryIO:
        """A file below, read in just the ranges that are asked for."""
        file = self.system.open(f"{self.path}/{name}", "rb", cache_type="none")
        return cast(BinaryIO, file if self.is_local else RemoteFile(file, self.unreachable))

    def open_itself(self, *, in_parts: bool) -> BinaryIO:
        """The file that it is.

        Args:
            in_parts: little of it will be read.

        Raises:
            FileNotFoundError, IsADirectoryError, NotADirectoryError: there is none.
            UserError: a remote location cannot be reached.
        """
        if self.is_local:
            return cast(BinaryIO, self.system.open(self.path, "rb"))
        try:
            file = self.system.open(self.path, "rb") if in_parts or not self.is_web else None
            if file is None or (self.is_web and file.size is None):  # then there is no seeking in it
                return cast(BinaryIO, fetched(self.system, self.path))
            return cast(BinaryIO, RemoteFile(file, self.unreachable))
        except FileNotFoundError as error:
            if absent(error):
                raise
            raise self.unreachable(error) from error
        except (IsADirectoryError, NotADirectoryError):
            raise
        except Exception as error:  # each file system has its own
            if isinstance(error, OSError) and error.errno in FULL:
                raise
            raise self.unreachable(error) from error

    def is_folder(self) -> bool:
        """Whether there is such a folder.

        Raises:
            UserError: a remote location cannot be reached.
        """
        if self.is_web:
            return False
        try:
            return bool(self.system.info(self.path)["type"] == "directory")
        except (FileNotFoundError, NotADirectoryError):
            return False
        except Exception as error:
            raise self.unreachable(error) from error

    def unreachable(self, error: Exception) -> UserError:
        """What is said where a file system fails; what was said already stays."""
        if isinstance(error, UserError):
            return error
        what = "" if self.is_local else host_fault(error)
        what = what or (f"{type(error).__name__}: {first_line(error)}" if str(error) else type(error).__name__)
        check = "the path" if self.is_local else "the name, your access to it and this machine's network"
        return UserError(f"{self.url}: cannot be read ({what}); check {check}, and run the same command again")


def data_set(root: str | Path, key: str) -> Location:
    """As `location`, for a folder of files; OWNER/NAME that is no folder here is a data set on the model hub."""
    name = str(root)
    return location(f"hf://datasets/{name}" if HUB_NAME.fullmatch(name) and not Path(name).exists() else name, key)


def location(url: str | Path, key: str) -> Location:
    """The location that a setting names.

    Args:
        key: of the configuration, for messages.

    Raises:
        UserError: nothing that is installed can read such a URL.
    """
    url = str(url)
    if MASK in url and "://" in url:
        raise UserError(
            f"{key}: the password or query of {url} is kept in no file; give the whole URL again, best by an "
            "environment variable: '${oc.env:VARIABLE}'"
        )
    protocol = url.partition("://")[0]
    for part in url.split("::") if "://" in url else ():  # fsspec's chains
        limit_silence(part.partition("://")[0])
    try:
        # A local path is no URL: fsspec would take "::" in it for a chain of file systems.
        local = LocalFileSystem() if "://" not in url else None
        system, path = (local, local._strip_protocol(url)) if local is not None else fsspec.core.url_to_fs(url)
    except ImportError as error:
        package = PACKAGES.get(protocol)
        remedy = f"pip install {package}" if package else first_line(error)
        raise UserError(f"{key}: {url} needs a package that is not installed; {remedy}") from error
    except ValueError as error:
        known = "a folder, hf://datasets/OWNER/NAME, s3://, gs:// or another protocol of fsspec"
        raise UserError(f"{key}: {url} cannot be read ({first_line(error)}); name {known}") from error
    return Location(url.rstrip("/"), path.rstrip("/"), system)


def without_query(path: str) -> str:
    """A path on a web server without what is asked there beside the name; others as they are."""
    return path.partition("?")[0] if "://" in path else path


def require_file(path: str, key: str) -> None:
    """Raise a `UserError` where something on this machine is there but no file: reading it may never end.

    Args:
        key: the message begins with it.
    """
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        if os.path.islink(path):
            raise UserError(f"{key}: {path} is a link to {os.readlink(path)}, which is not there") from None
        return
    except (OSError, ValueError):
        return  # whoever opens it says why not
    if not stat.S_ISREG(mode):
        raise UserError(f"{key}: {path} is {file_kind(mode)}; expected a file")


def file_kind(mode: int) -> str:
    """What something is that is no file, by its mode."""
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def first_line(error: Exception) -> str:
    """The first line of an error's message, or its kind where it has none, without a full stop."""
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
