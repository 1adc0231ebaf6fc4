"""Shards of WebDataset: tar files whose samples are files of one key next to each other, `KEY.json`, `KEY.0.jpg`, ...

A sample is a row: the fields of its JSON; each text (`KEY.caption.txt`) and each image (`KEY.left.png`) by what stands
between the key and the last point. Images called 0 and 1 are image_0 and image_1, a text without a name is the
caption. Nothing is extracted: a shard is read from its beginning, and a name in it is only a name.
"""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import re
import tarfile
import zlib
from collections.abc import Iterator
from typing import IO, Any, cast

from ppd_lightning.data.remote import first_line
from ppd_lightning.errors import UserError

ENDS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
"""The ends of names of shards."""

IMAGES = frozenset(
    ("jpg", "jpeg", "jpe", "png", "webp", "bmp", "gif", "tif", "tiff", "avif", "heic", "heif", "jxl", "jp2", "tga")
)
"""The ends of names of images; whether one can be read is looked at later, as for any other."""

TEXTS = frozenset(["txt", "text"])

USUAL = {"0": "image_0", "1": "image_1"}
"""What images with short names are."""

MEMBER_BYTES, TEXT_BYTES, HEADER_BYTES = 64 << 20, 1 << 20, 1 << 20
"""The largest file in a shard, the largest text and JSON, and the largest header of a file."""

NAME = re.compile(r"((?:.*/)?[^./][^./]*)\.([^/]*)")
"""Key, and what kind of file of the sample it is."""

DEEP = re.compile(r"[\[{]")
DEEPEST = 1000
"""Brackets of a JSON; Python's reader goes down into each."""

DAMAGE = (tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError)
"""What the readers of archives raise at a damaged one."""

Sample = tuple[str, dict[str, Any] | str]
"""Its key, and its fields; or what is wrong with it."""


def samples(file: IO[bytes], url: str) -> Iterator[Sample]:
    """The samples of a shard in their order; an image is `{"bytes": ..., "path": its name in the shard}`.

    Args:
        file: binary, can be sought in.
        url: as messages name it.

    Raises:
        UserError: it is damaged, does not end where it should, or holds what nobody should have to read.
    """
    try:
        yield from _samples(_unpacked(file, url), url)
    except DAMAGE as error:
        raise UserError(f"{url}: damaged, or no tar file ({first_line(error)}); fetch or make it again") from error


def _unpacked(file: IO[bytes], url: str) -> IO[bytes]:
    """The archive, whatever packs it; its first bytes say what that is."""
    first = file.read(6)
    file.seek(0)
    if first.startswith(b"\x1f\x8b"):
        return cast(IO[bytes], gzip.GzipFile(fileobj=file))
    if first.startswith(b"BZh"):
        return bz2.BZ2File(file)
    if first.startswith(b"\xfd7zXZ"):
        return lzma.LZMAFile(file)
    if first.startswith((b"\x28\xb5\x2f\xfd", b"PK")):
        packed = "ZIP" if first.startswith(b"PK") else "zstd"
        raise UserError(f"{url}: is packed by {packed}, which is not read; unpack it, images are packed already")
    return file


def _samples(archive: IO[bytes], url: str) -> Iterator[Sample]:
    key, seen = "", set[str]()
    fields: dict[str, Any] = {}
    faults: list[str] = []
    with tarfile.open(fileobj=archive, mode="r:", tarinfo=_Member) as shard:
        while (member := shard.next()) is not None:
            shard.members.clear()  # type: ignore[attr-defined]  # it would keep them all
            found = NAME.fullmatch(member.name)
            if member.isdir() or found is None:
                continue  # such as ._name, which macOS adds
            if member.size > MEMBER_BYTES:
                raise UserError(
                    f"{url}: {_short(member.name)} is {member.size:,} bytes large; files in a shard may have "
                    f"{MEMBER_BYTES:,}: take it out or make it smaller"
                )
            if found[1] != key:
                if key:
                    yield _short(key), "; ".join(faults) or fields
                    seen.add(key)
                key, fields, faults = found[1], {}, []
                if key in seen:
                    faults.append("its key came before; the files of a sample lie next to each other")
            fault = _add(fields, shard, member, found[2].lower())
            faults += [fault] if fault else []
        if key:
            yield _short(key), "; ".join(faults) or fields
        _ends(archive, url)


def _add(fields: dict[str, Any], shard: tarfile.TarFile, member: tarfile.TarInfo, ending: str) -> str | None:
    """Put a file of a sample into its fields, or say what is wrong with it."""
    called, _, kind = ending.rpartition(".")
    name = _short(member.name)
    if kind not in IMAGES and kind not in TEXTS and kind != "json":
        return None  # of no use here
    if member.name.startswith("/") or ".." in member.name.split("/"):
        return f"{name} names a place outside of the shard"
    if not member.isreg() or member.issparse():
        return f"{name} is {'a link' if member.islnk() or member.issym() else 'no plain file'}; shards hold files"
    if kind not in IMAGES and member.size > TEXT_BYTES:
        return f"{name} is {member.size:,} bytes large; a text may have {TEXT_BYTES:,}"
    file = shard.extractfile(member)
    data = file.read() if file is not None else b""
    if len(data) != member.size:
        raise tarfile.ReadError(f"unexpected end of data in {name}")
    try:
        if kind == "json":
            read = _object(data)
            twice = [field for field in read if field in fields and not isinstance(fields[field], dict)]
            fields.update({field: value for field, value in read.items() if not isinstance(fields.get(field), dict)})
        else:
            column = (USUAL.get(called, called) or kind) if kind in IMAGES else called or "caption"
            twice = [column] if isinstance(fields.get(column), dict) or (kind in TEXTS and column in fields) else []
            fields[column] = {"bytes": data, "path": name} if kind in IMAGES else data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return f"{name} is no text in UTF-8"
    except ValueError as error:
        return f"{name} is no JSON object ({first_line(error)})"
    return f"{', '.join(map(_short, twice))} is there twice" if twice else None


def _object(data: bytes) -> dict[str, Any]:
    text = data.decode("utf-8-sig")
    if len(DEEP.findall(text)) > DEEPEST:
        raise ValueError("it has too many brackets")
    read = json.loads(text)
    if not isinstance(read, dict):
        raise ValueError(f"it is a {type(read).__name__}")
    return read


def _ends(archive: IO[bytes], url: str) -> None:
    """Nothing but zeros may follow on the end: a reader would not see what does.

    Raises:
        UserError: it is so.
    """
    while rest := archive.read(1 << 20):
        if rest.strip(b"\0"):
            raise UserError(
                f"{url}: goes on behind its end, as archives do that were joined by cat; give them as several shards"
            )


class _Member(tarfile.TarInfo):
    """A header; `tarfile` takes one that it cannot read as the end of the archive, and reads what one claims."""

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> _Member:
        try:
            return super().fromtarfile(tarfile_)
        except tarfile.EmptyHeaderError as error:  # type: ignore[attr-defined]
            if tarfile_.offset:
                raise tarfile.ReadError("it has no end; two empty blocks are missing") from error
            raise
        except (tarfile.InvalidHeaderError, tarfile.TruncatedHeaderError) as error:  # type: ignore[attr-defined]
            raise tarfile.ReadError(f"{first_line(error)} at byte {tarfile_.offset:,}") from error

    def _proc_member(self, tarfile_: tarfile.TarFile) -> tarfile.TarInfo:
        long = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE)
        if self.type in (*long, tarfile.SOLARIS_XHDTYPE) and not 0 <= self.size <= HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {self.size:,} bytes at byte {tarfile_.offset:,}")
        if self.size < 0:
            raise tarfile.ReadError(f"a file of {self.size:,} bytes at byte {tarfile_.offset:,}")
        return super()._proc_member(tarfile_)  # type: ignore[misc,no-any-return]


def _short(name: str) -> str:
    """A name for messages: without control characters, and not endless."""
    plain = "".join(letter if letter.isprintable() else "?" for letter in name)
    return plain if len(plain) <= 120 else f"...{plain[-117:]}"
