from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ppd_lightning.machine_faults import fault_of


class SafetensorError(Exception):
    """Has the name of safetensors' own."""


class OutOfMemoryError(RuntimeError):
    """Has the name of torch's own."""


KEYS = {"output": "/work/out", "data.table": "/data/pairs.csv"}


@pytest.mark.parametrize(
    ("error", "words", "code"),
    [
        (OSError(errno.ENOSPC, "", "/work/out/a"), "output: /work/out/a: no space left on the device; make room", 1),
        (OSError(errno.EDQUOT, "", "/x"), "/x: the disk quota is used up", 1),
        (SafetensorError("I/O error: No space left on device (os error 28)"), "no space left on the device", 1),
        (OSError("[Errno 28] Error writing bytes to file. Detail: ..."), "no space left on the device", 1),
        (OSError(errno.EMFILE, "Too many open files"), "too many files are open; raise `ulimit -n`", 1),
        (OSError(errno.ESTALE, "", "/x"), "/x: the network file system lost the file", 1),
        (MemoryError(), "not enough memory", 1),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes."), "not enough", 1),
        (OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB. GPU 0"), "trainer.micro_batch_size", 1),
        (RuntimeError("No CUDA GPUs are available"), "there is no usable GPU", 2),
        (PermissionError(errno.EACCES, "", "/work/out/a"), "output: /work/out/a cannot be read or written (no perm", 2),
        (PermissionError(errno.EACCES, "", "/elsewhere"), "/elsewhere cannot be read or written (no permission)", 2),
        (OSError(errno.EROFS, "", "/data/pairs.csv"), "data.table: /data/pairs.csv cannot be read or written", 2),
        (FileExistsError(errno.EEXIST, "", "/work/out"), "output: /work/out cannot be read or written (something", 2),
        (OSError(errno.ENAMETOOLONG, "", "/x"), "the name is too long", 2),
        (OSError(errno.ELOOP, "", "/x"), "links lead in a circle", 2),
    ],
)
def test_a_fault_of_the_machine_is_a_sentence_with_the_path_its_key_and_the_remedy(
    error: Exception, words: str, code: int
) -> None:
    fault = fault_of(error, KEYS)
    assert fault is not None
    assert words in fault.sentence
    assert "\n" not in fault.sentence
    assert fault.code == code


@pytest.mark.parametrize(
    "error",
    [
        ZeroDivisionError(),
        FileNotFoundError(errno.ENOENT, "", "/work/out/adapter.safetensors"),
        ValueError("no such thing"),
        KeyError("Errno 28"),
        OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)),  # a server's, not a file's
    ],
)
def test_anything_else_is_a_bug(error: Exception) -> None:
    assert fault_of(error, KEYS) is None


def test_a_file_never_takes_the_number_of_a_closed_standard_output(tmp_path: Path) -> None:
    code = (
        "import sys; from ppd_lightning.endings import open_what_is_closed; open_what_is_closed()\n"
        "with open(sys.argv[1], 'w') as file: print('lost'); sys.stdout.flush(); file.write(str(file.fileno() > 2))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "file")], preexec_fn=lambda: os.closerange(0, 3)
    )
    assert process.wait(30) == 0
    assert (tmp_path / "file").read_text() == "True"
