"""Faults of the machine and of where files lie, in a sentence: a full disk, a forbidden folder, no memory.

Libraries raise them in ways of their own, some without the number of the operating system: it is found in their words.
Anything else is a bug, and keeps its traceback.
"""

from __future__ import annotations

import errno
import os
import re
from dataclasses import dataclass

from ppd_lightning.errors import USER_MISTAKE

FAILED = 1

OF_PATHS = {
    errno.EACCES: "no permission",
    errno.EPERM: "no permission",
    errno.EROFS: "the file system is read-only",
    errno.ENOTDIR: "a folder above it is a file",
    errno.EEXIST: "something that is no folder has this name: a file, or a link that leads nowhere",
    errno.EISDIR: "it is a folder, where a file was expected",
    errno.ENAMETOOLONG: "the name is too long for the file system",
    errno.ELOOP: "links lead in a circle",
}
"""Faults of a path that somebody gave, and what is the matter."""

OF_MACHINE = {
    errno.ENOSPC: ("no space left on the device", "make room, or choose another folder"),
    errno.EDQUOT: ("the disk quota is used up", "make room, or choose another folder"),
    errno.EFBIG: ("the file is larger than is allowed here", "raise `ulimit -f`, or choose another file system"),
    errno.EMFILE: ("too many files are open", "raise `ulimit -n`, or set data.workers lower"),
    errno.ENFILE: ("too many files are open on this machine", "end other processes"),
    errno.ESTALE: ("the network file system lost the file", "see that it is mounted"),
    errno.EIO: ("the device failed to read or write", "look at the disk and the mount"),
    errno.ENOMEM: ("not enough memory", "end other processes, or set trainer.micro_batch_size or data.workers lower"),
    errno.EAGAIN: ("the machine starts no more processes or threads", "raise `ulimit -u`, or set data.workers lower"),
}
"""Faults of the machine: what is the matter, and what to do."""

AWAY = {errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH}
"""A network file system that is away, where a path is named; without one it is a server's silence."""

MEMORY = ("can't allocate memory", "bad allocation", "std::bad_alloc", "unable to mmap")
GPU_MEMORY = ("CUDA out of memory", "CUDA error: out of memory")
NO_GPU = ("No supported gpu backend found", "Found no NVIDIA driver", "no CUDA-capable device", "No CUDA GPUs are")
CUT_OFF = ("PytorchStreamWriter failed writing file", "inline_container.cc")
"""Torch's words where a file could not be written, by who noticed it: they do not say why."""


@dataclass(frozen=True)
class MachineFault:
    """The sentence, and the exit code: 2 where what was asked for is to be changed, 1 where the machine is."""

    sentence: str
    code: int


def fault_of(error: BaseException, keys: dict[str, str] | None = None) -> MachineFault | None:
    """The fault of the machine or of a path that an exception is, if it is one.

    Args:
        error: what was raised.
        keys: paths of the configuration, by key, to name the key that a path comes from.
    """
    words = f"{error}"
    if type(error).__name__ == "OutOfMemoryError" or any(text in words for text in GPU_MEMORY):
        return MachineFault(
            f"the GPU has not enough memory ({_first(words)}); set trainer.micro_batch_size or generation.batch_size "
            "lower (for a vision-language model user.batch_size, judge.batch_size), or use a GPU with more",
            FAILED,
        )
    if any(text in words for text in NO_GPU):
        return MachineFault(f"there is no usable GPU ({_first(words)}); set trainer.accelerator=cpu", USER_MISTAKE)
    if isinstance(error, MemoryError) or any(text in words for text in MEMORY):
        why = f" ({_first(words)})" if words else ""
        return MachineFault(f"not enough memory{why}; {OF_MACHINE[errno.ENOMEM][1]}", FAILED)
    number, path = error_number(error), path_of(error)
    if number in OF_PATHS and path:
        key = _key(path, keys or {})
        choose = f"choose another {key}=..." if key else "choose another one"
        if key == "output":
            choose += " (to work on somebody else's, copy the run into its runs/ and link the data as its data/)"
        return MachineFault(
            f"{key + ': ' if key else ''}{path} cannot be read or written ({OF_PATHS[number]}); "
            f"{'give yourself the permission, or ' if number in (errno.EACCES, errno.EPERM) else ''}{choose}",
            USER_MISTAKE,
        )
    if number in OF_MACHINE:
        why, remedy = OF_MACHINE[number]
        key = _key(path, keys or {}) if path else ""
        where = f"{key + ': ' if key else ''}{path}: " if path else ""
        return MachineFault(f"{where}{why}; {remedy}{f' ({key}=...)' if key and 'folder' in remedy else ''}", FAILED)
    if number in AWAY and path:
        return MachineFault(f"{path}: the file system gave no answer; see that it is mounted", FAILED)
    return None


def error_number(error: BaseException) -> int | None:
    """The operating system's number of what went wrong, also where a library only gives it in words."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    if not isinstance(error, (OSError, RuntimeError, ValueError)) and type(error).__name__ != "SafetensorError":
        return None
    words = str(error)
    found = re.search(r"(?:os error|[Ee]rrno) (\d+)", words)
    if found:
        return int(found[1])
    return next((number for number in {**OF_PATHS, **OF_MACHINE} if os.strerror(number) in words), None)


def path_of(error: BaseException) -> str:
    """The path that an exception names, or nothing."""
    name = getattr(error, "filename2", None) or getattr(error, "filename", None)
    return os.fsdecode(name) if isinstance(name, (str, bytes, os.PathLike)) else ""


def _key(path: str, keys: dict[str, str]) -> str:
    """The key whose value is the path or a folder above it, the nearest one."""
    parts = os.path.abspath(path)
    above = {key: os.path.abspath(value) for key, value in keys.items()}
    fitting = [key for key, value in above.items() if parts == value or parts.startswith(value.rstrip("/") + "/")]
    return max(fitting, key=lambda key: len(above[key]), default="")


def _first(words: str) -> str:
    """The first sentence of a message, short."""
    line = words.strip().partition("\n")[0]
    return line.partition(". ")[0][:160].rstrip(".")
