"""The image files that a table names: which are there, what is wrong with the others, and their bytes.

A table comes from anywhere, so it does not decide what is read: images lie below its folder or below folders that the
user names, links followed first, and are files of a limited size.
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ppd_lightning.data.hosts import absent
from ppd_lightning.data.pictures import MOST_BYTES
from ppd_lightning.data.remote import Location, file_kind, location, without_query
from ppd_lightning.errors import UserError

LONGEST_NAME = 200
"""Letters of a name that a message quotes."""

AT_ONCE = 8
"""Images that are asked for side by side."""

Found = dict[str, dict[str, Any]]
"""What the file system says of images, by their names; `name` is where it has them."""


class ImageFiles:
    """The files beside a table.

    Args:
        table: the file.
        roots: further folders, or URLs of the table's file system, below which images may lie.
        key: of the configuration that names the table, for messages.

    Raises:
        UserError: a root cannot be read.
    """

    def __init__(self, table: Location, roots: Sequence[str] = (), key: str = "data.table") -> None:
        self.table = table
        group = key.rpartition(".")[0]
        self._roots_key = f"{group}.roots" if group else ""
        further = [location(root, self._roots_key or key).path for root in roots]
        absent = [root for root in further if table.is_local and not os.path.isdir(root)]
        if absent:
            raise UserError(f"{self._roots_key}: {root} is no folder; name one that is there" for root in absent)
        self._folder = posixpath.dirname(without_query(table.path))
        folders = [self._folder, *further]
        self._below = [os.path.realpath(folder) for folder in folders] if table.is_local else folders
        self._folders: dict[str, str] = {}
        self._listed: dict[str, dict[str, list[str]]] = {}

    def named(self, name: str) -> str:
        """The path of an image, as the table's file system has it; a URL as it is."""
        if _is_url(name):
            return name
        host, mark, folder = self._folder.rpartition("://")
        return host + mark + posixpath.normpath(posixpath.join(folder, name))

    def find(self, names: Iterable[str]) -> tuple[Found, dict[str, str]]:
        """Which of these images (of `named`) are there, and a sentence for each of the others.

        Raises:
            UserError: a remote file system cannot be reached.
        """
        wanted = dict.fromkeys(names)
        found: Found = {}
        faults: dict[str, str] = {}
        remote = {} if self.table.is_local else self._remote(wanted)
        for name in wanted:
            info: dict[str, Any] | str
            if _is_url(name) and not (self.table.is_web and self._is_below(name) and ".." not in name.split("/")):
                info = f"{quoted(name)} is a URL, and images are read from files only; download it and name the file"
            elif self.table.is_local:
                info = self._local(name)
            elif self._is_below(name):
                info = remote.get(name) or f"there is no image {quoted(name)}"
            else:
                info = self._outside(name, name)
            if isinstance(info, str):
                faults[name] = info + _hint(name, info)
            else:
                found[name] = info
        return found, faults

    def read(self, images: Mapping[str, Mapping[str, Any]]) -> tuple[dict[str, bytes], dict[str, str]]:
        """The bytes of images that were found, and a sentence for each that cannot be read.

        Raises:
            UserError: a remote file system cannot be reached.
        """
        content: dict[str, bytes] = {}
        faults: dict[str, str] = {}
        small = {}
        for name, info in images.items():
            if info["size"] > MOST_BYTES:
                faults[name] = f"{quoted(name)} has {info['size'] / 1e6:,.0f} MB, more than {MOST_BYTES / 1e6:,.0f} MB"
            else:
                small[name] = str(info["name"])
        if not self.table.is_local:
            paths = list(small.values())
            parts = self.table.system.cat_ranges(paths, None, None, on_error="return") if paths else []
            for name, part in zip(small, parts, strict=True):
                if isinstance(part, (FileNotFoundError, PermissionError, IsADirectoryError)):
                    faults[name] = f"{quoted(name)} cannot be read ({type(part).__name__})"
                elif isinstance(part, Exception):
                    raise self.table.unreachable(part) from part
                else:
                    content[name] = part
            return content, faults
        for name, path in small.items():
            try:
                content[name] = read_file(path, follow=False)
            except UserError as error:
                faults[name] = f"{quoted(name)} {error}"
        return content, faults

    def _local(self, path: str) -> dict[str, Any] | str:
        try:
            real = self._real(path)
            if not self._is_below(real):
                return self._outside(path, real)
            status = os.stat(real)
        except FileNotFoundError:
            if os.path.islink(path):
                return f"{quoted(path)} is a link to {quoted(os.readlink(path))}, which is not there"
            return f"there is no image {quoted(path)}"
        except NotADirectoryError:
            return f"there is no image {quoted(path)}"
        except (OSError, ValueError) as error:  # the latter of letters that no path has
            return f"{quoted(path)} cannot be read ({_why(error)})"
        if not stat.S_ISREG(status.st_mode):
            return f"{quoted(path)} is {file_kind(status.st_mode)}; expected an image file"
        return {"name": real, "size": status.st_size, "mtime": status.st_mtime, "created": status.st_ctime}

    def _real(self, path: str) -> str:
        """Where a path leads, links followed; names that are written with other code points for the same letters too.

        Raises:
            OSError, ValueError: it cannot be looked at.
        """
        folder, base = posixpath.split(path)
        if folder not in self._folders:
            self._folders[folder] = os.path.realpath(folder if os.path.isdir(folder) else self._alike(folder))
        found = posixpath.join(self._folders[folder], base)
        try:
            status = os.lstat(found)
        except FileNotFoundError:
            found = self._beside(self._folders[folder], base)
            return os.path.realpath(found)
        return os.path.realpath(found) if stat.S_ISLNK(status.st_mode) else found

    def _alike(self, folder: str) -> str:
        """A folder that is not there as it is written: each part of it as it is there."""
        found = "/"
        for part in folder.split("/")[1:]:
            found = (
                posixpath.join(found, part)
                if os.path.lexists(posixpath.join(found, part))
                else self._beside(found, part)
            )
        return found

    def _beside(self, folder: str, name: str) -> str:
        """The one file in a folder whose name looks the same (in Unicode's composed form), else the path as it is."""
        if name.isascii() or not self._is_below(os.path.realpath(folder)):
            return posixpath.join(folder, name)
        if folder not in self._listed:
            self._listed[folder] = {}
            for other in os.listdir(folder) if os.path.isdir(folder) else ():
                self._listed[folder].setdefault(unicodedata.normalize("NFC", other), []).append(other)
        alike = self._listed[folder].get(unicodedata.normalize("NFC", name), [])
        return posixpath.join(folder, alike[0] if len(alike) == 1 else name)

    def _is_below(self, path: str) -> bool:
        return any(path.startswith(f"{folder.rstrip('/')}/") or path == folder for folder in self._below)

    def _outside(self, path: str, real: str) -> str:
        through = "" if real == path else f" ({quoted(real)})"
        remedy = f"name its folder in {self._roots_key}" if self._roots_key else "move the table to a folder above it"
        return f"{quoted(path)}{through} lies outside of {self._below[0]}; {remedy}"

    def _remote(self, names: Iterable[str]) -> Found:
        """The files of these names, by one listing a folder; each by itself where folders cannot be listed."""
        wanted = {name for name in names if self._is_below(name)}
        if self.table.is_web:
            with ThreadPoolExecutor(AT_ONCE) as pool:
                return {name: info for name, info in zip(wanted, pool.map(self._asked, wanted), strict=True) if info}
        found: Found = {}
        for folder in sorted({posixpath.dirname(path) for path in wanted}):
            try:
                listed = self.table.system.ls(folder, detail=True)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except Exception as error:  # each file system has its own
                raise self.table.unreachable(error) from error
            alike = {unicodedata.normalize("NFC", info["name"]): info for info in listed if info["type"] != "directory"}
            for name in wanted:
                info = alike.get(unicodedata.normalize("NFC", name)) if posixpath.dirname(name) == folder else None
                if info is not None:
                    found[name] = info
        return found

    def _asked(self, path: str) -> dict[str, Any]:
        """What a web server says of a file; nothing where it has none."""
        try:
            info = self.table.system.info(path)
        except FileNotFoundError as error:
            if absent(error):
                return {}
            raise self.table.unreachable(error) from error
        return {**info, "size": info["size"] or 0}


def read_file(path: str | os.PathLike[str], *, follow: bool = True) -> bytes:
    """The bytes of an image's file, and of nothing else: what has no end or waits for somebody is not read.

    Args:
        follow: whether it may be a link.

    Raises:
        UserError: it cannot be read, is no file, or too large; to stand behind its name.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | (0 if follow else getattr(os, "O_NOFOLLOW", 0))
    try:
        with open(os.open(path, flags), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise UserError(f"is {file_kind(status.st_mode)}; expected an image file")
            if status.st_size > MOST_BYTES:
                raise UserError(f"has {status.st_size / 1e6:,.0f} MB, more than {MOST_BYTES / 1e6:,.0f} MB")
            return file.read(MOST_BYTES)
    except FileNotFoundError:
        raise UserError("is not there") from None
    except (OSError, ValueError) as error:
        raise UserError(f"cannot be read ({_why(error)})") from None


def quoted(name: str) -> str:
    """A name as a message says it: as it is, or cut off and quoted where it is long or breaks the line."""
    if len(name) <= LONGEST_NAME and name.isprintable():
        return name
    return f"{name[:LONGEST_NAME]!r}{'...' if len(name) > LONGEST_NAME else ''}"


def _is_url(name: str) -> bool:
    return "://" in name or name[:5].lower() == "data:"


def _hint(name: str, fault: str) -> str:
    is_missing = fault.startswith("there is no image")
    return "; write / between folders, not a backslash" if is_missing and "\\" in name else ""


def _why(error: OSError | ValueError) -> str:
    if isinstance(error, OSError) and error.errno == errno.ELOOP:
        return "a link that leads to itself"
    return error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
