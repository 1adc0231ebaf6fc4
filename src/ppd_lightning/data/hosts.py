"""Hosts that files are read from: how long one may be silent, and what is said of one that fails."""

from __future__ import annotations

import errno
import io
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import IO, Any

import fsspec

SILENCE = 30.0
"""Seconds to connect, and afterwards without a byte, after which a host counts as silent."""

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Faults of the folder for temporary files."""

ABSENT = (404, 410)
"""What a web server answers where it has no such file."""


def limit_silence(protocol: str) -> None:
    """Let reading from hosts by this protocol end with an error where they are silent.

    Packages with limits of their own keep them (s3fs: 15 s a try). What fsspec's configuration says goes first.
    """
    settings = fsspec.config.conf
    if protocol in ("http", "https"):
        with suppress(ImportError):  # whoever opens the URL says what to install
            import aiohttp

            # Its own limit is five minutes in all, which large files need longer than and silence does not.
            patience = aiohttp.ClientTimeout(total=None, sock_connect=SILENCE, sock_read=SILENCE)
            options = settings.setdefault("http", {})
            options["client_kwargs"] = {"timeout": patience, **options.get("client_kwargs", {})}
    elif protocol in ("sftp", "ssh"):
        settings.setdefault(protocol, {}).setdefault("timeout", SILENCE)
    elif protocol == "hf":
        with suppress(ImportError, AttributeError):
            import huggingface_hub

            huggingface_hub.get_session().timeout = SILENCE  # its requests without a limit of their own have none


def absent(error: Exception) -> bool:
    """Whether a FileNotFoundError says that there is no such file, and not that nobody could be asked."""
    cause = error.__cause__
    return cause is None or isinstance(cause, FileNotFoundError) or _status(cause) in ABSENT


def host_fault(error: BaseException) -> str:
    """What is the matter with a host, in words; "" where an error is none that hosts make."""
    seen: BaseException | None = error
    for _ in range(8):
        if seen is None:
            break
        kinds, status = {kind.__name__ for kind in type(seen).__mro__}, _status(seen)
        if isinstance(seen, TimeoutError) or any("Timeout" in kind for kind in kinds):
            return f"the host did not answer within {SILENCE:.0f} s"
        if "TooManyRedirects" in kinds:
            return "the host leads from one address to the next in a circle"
        if kinds & {"ServerDisconnectedError", "RemoteProtocolError"}:
            return "the host closed the connection without an answer"
        if kinds & {"ClientPayloadError", "IncompleteRead"}:
            return "the host stopped in the middle of it"
        if status in (401, 403, 407):
            return f"the host refuses access ({status})"
        if status >= 400:
            return f"the host answers with the error {status}"
        seen = seen.__cause__ or seen.__context__
    return ""


class RemoteFile(io.RawIOBase):
    """A file on a host, whose faults are those of the host: never an end where the file has none.

    Args:
        file: of fsspec, binary, seekable, closed with this one.
        fault: makes of what was raised the error to raise.
    """

    def __init__(self, file: Any, fault: Callable[[Exception], Exception]) -> None:
        self._file, self._fault = file, fault

    def read(self, size: int = -1, /) -> bytes:
        """As many bytes as are asked for and there are."""
        begin, whole = self._file.tell(), getattr(self._file, "size", None)
        try:
            data: bytes = self._file.read(size)
        except Exception as error:  # each file system has its own
            if "support range requests" in str(error):
                error = OSError("the host sends files as a whole only: download it and name the file")
            raise self._fault(error) from error
        if whole is not None:
            expected = max(0, whole - begin) if size < 0 else min(size, max(0, whole - begin))
            if len(data) < expected:
                raise self._fault(OSError(f"the host sent {begin + len(data):,} of {whole:,} bytes"))
        return data

    def readinto(self, buffer: Any, /) -> int:
        """See the base class."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def readable(self) -> bool:
        """See the base class."""
        return True

    def seekable(self) -> bool:
        """See the base class."""
        return True

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """See the base class."""
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        """See the base class."""
        return int(self._file.tell())

    def close(self) -> None:
        """See the base class."""
        if not self.closed:
            self._file.close()
        super().close()


def fetched(system: Any, path: str) -> IO[bytes]:
    """A file as a whole, by one request, in a temporary file that is gone when it is closed.

    Web servers say another length than they send, send no parts, or ignore what is asked: one answer to its end is what
    they all give.

    Raises:
        FileNotFoundError: there is none. OSError: the folder for temporary files is full. Others: of the file system.
    """
    with ExitStack() as stack:
        file = stack.enter_context(tempfile.TemporaryFile())
        system.get_file(path, file)
        file.seek(0)
        stack.pop_all()
    return file


def _status(error: BaseException) -> int:
    """The number that a web server answered with, 0 where it did not."""
    status = getattr(error, "status", None) or getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else 0
