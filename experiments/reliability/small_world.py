"""A small embedded world whose verbs take seconds, and what a folder holds, to compare it and to find left-overs."""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from commands import Outcome, run

SETTINGS = [
    "experiment=emoji/ppd",
    "trainer=cpu",
    "trainer.threads=1",
    "trainer.max_steps=12",
    "trainer.log_every=5",
    "trainer.checkpoint_every=4",
    "trainer.batch_size=4",
    "trainer.preference_accuracy=false",
    "optimizer.warmup_steps=3",
    "objective.weighting=const",
    "data.concepts=12",
    "data.held_out_concepts=3",
    "data.people=24",
    "data.unseen_people=4",
    "data.pairs_per_person=12",
    "evaluation.comparisons=4",
    "evaluation.preference_pairs=4",
    "evaluation.preference_draws=1",
    "evaluation.bootstrap=10",
    "generation.steps=2",
    "logger.tensorboard=false",
]

LINE = ("prepare", "stats", "verify", "embed", "classify", "train", "evaluate", "generate", "export", "report")
"""The verbs, each of which needs those before it."""

UNSTABLE = re.compile(r"sha256|seconds|per_second|memory_gib|created|tfevents")
"""Names of figures and files that differ between two undisturbed runs."""

LEFT_OVER = re.compile(r"^\.(?!done$|submitit$)")
MARK = "PPD_RELIABILITY"
"""The variable by which the processes of a case are found."""


def arguments(verbs: Sequence[str], output: Path, *further: str) -> list[str]:
    """The command line of some verbs."""
    page = [f"report.of=[{folder}]" for folder in (output / "runs").glob("*") if "report" in verbs]
    return [*verbs, *SETTINGS, f"output={output}", *page, *further]


def manifest(folder: Path) -> dict[str, str]:
    """A hash of each file of a folder, by its path, without what depends on time."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_file() and "tfevents" not in name:
            found[re.sub(r"\.[0-9a-f]{16}\.ckpt$", ".ckpt", name)] = hashlib.sha256(_stable(path)).hexdigest()
    return found


def differences(expected: dict[str, str], found: dict[str, str]) -> list[str]:
    """The files that are missing, others, or too many."""
    return [name for name in sorted(expected.keys() | found.keys()) if expected.get(name) != found.get(name)]


def left_over(*folders: Path) -> list[str]:
    """Temporary files in folders."""
    return [str(path) for folder in folders for path in folder.rglob(".*") if LEFT_OVER.match(path.name)]


def in_temporary_folder() -> set[str]:
    """What lies in the folder for temporary files, but for the outputs of commands."""
    return {path.name for path in Path(tempfile.gettempdir()).iterdir() if path.suffix != ".output"}


def own_temporary_folder(place: Path) -> None:
    """Let commands use a folder for temporary files that nobody else does."""
    folder = place / "tmp"
    folder.mkdir()
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)


def orphans(mark: str, patience: float = 15.0) -> list[int]:
    """The processes of a case that are still there after some time."""
    until = time.monotonic() + patience
    while True:
        found = [int(path.parent.name) for path in Path("/proc").glob("[0-9]*/environ") if _has(path, f"{MARK}={mark}")]
        found = [process for process in found if _state(process) not in "ZX"]
        if not found or time.monotonic() > until:
            return found
        time.sleep(0.2)


def run_apart(
    arguments: Sequence[str],
    folder: Path,
    *,
    timeout: float = 300.0,
    mark: str = "",
    during: Callable[[int], None] | None = None,
) -> Outcome:
    """As `commands.run`, in a process that was started anew: for commands that start processes themselves."""
    with (folder / "output").open("w+") as output:
        begun = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "ppd_lightning", *arguments],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=os.environ | {MARK: mark},
            start_new_session=True,
        )
        if during is not None:
            during(process.pid)
        try:
            process.wait(timeout)
            hung = False
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            hung = True
        output.seek(0)
        return Outcome(process.returncode, output.read(), time.monotonic() - begun, hung)


def restore(saved: Path, folder: Path) -> None:
    """Put a folder back to what it was."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(saved, folder, symlinks=True)


def at_call(what: str, moment: int, act: Callable[[], None], *, after: bool = False) -> Callable[[], None]:
    """For a command's process: do something at the `moment`th call of a function of `os` or of the training's step."""

    def first() -> None:
        owner, name = _owner(what)
        real, calls = getattr(owner, name), itertools.count(1)

        def called(*given: Any, **named: Any) -> Any:
            now = next(calls) == moment
            if now and not after:
                act()
            result = real(*given, **named)
            if now and after:
                act()
            return result

        setattr(owner, name, called)

    return first


def count_calls(
    what: Sequence[str], verbs: Sequence[str], output: Path, *further: str
) -> tuple[dict[str, int], Outcome]:
    """How often an undisturbed command calls these functions."""
    notes = {name: output.parent / f"calls-{index}" for index, name in enumerate(what)}

    def first() -> None:
        for name, note in notes.items():
            owner, own = _owner(name)
            setattr(owner, own, _counted(getattr(owner, own), note))

    for note in notes.values():
        note.write_bytes(b"")
    outcome = run(arguments(verbs, output, *further), output.parent, timeout=300, first=first)
    return {name: note.stat().st_size for name, note in notes.items()}, outcome


def kill() -> None:
    """Die as by the power switch."""
    os.kill(os.getpid(), signal.SIGKILL)


def _counted(real: Callable[..., Any], note: Path) -> Callable[..., Any]:
    def called(*given: Any, **named: Any) -> Any:
        with note.open("ab") as file:
            file.write(b".")
        return real(*given, **named)

    return called


def _owner(what: str) -> tuple[Any, str]:
    if what == "step":
        from ppd_lightning.training.module import PPDModule

        return PPDModule, "on_after_backward"
    if what == "verb":
        from ppd_lightning import cli
        from ppd_lightning.sweeps import job

        job.run_verb = lambda *given: cli.run_verb(*given)  # one name for both ways
        return cli, "run_verb"
    return os, what


def _stable(path: Path) -> bytes:
    """The content of a file without figures that depend on time."""
    content = path.read_bytes()
    if path.suffix == ".json":
        with suppress(ValueError):
            return json.dumps(_without_times(json.loads(content)), sort_keys=True).encode()
    if path.name in ("metrics.csv", "runs.csv"):
        rows = csv.DictReader(io.StringIO(content.decode()))
        return repr([{name: row[name] for name in row if not UNSTABLE.search(name)} for row in rows]).encode()
    if path.suffix == ".ckpt":  # Lightning counts in it how a training was interrupted
        checkpoint = torch.load(path, weights_only=True)
        return repr([checkpoint["global_step"], checkpoint["state_dict"], checkpoint["optimizer_states"]]).encode()
    if path.name in (".done", "SHA256SUMS") or path.suffix == ".sha256":  # also of files that hold seconds
        return re.sub(rb"[0-9a-f]{64}", b"", content)
    if path.suffix == ".html":
        content = re.sub(rb"commit [\w.-]+", b"", content)  # of the source, which somebody may be working on
        return re.sub(rb"\d[\d.,]* ?(?:s|min|h|pairs/s|GiB)\b", b"", content)
    return content


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_times(part) for name, part in value.items() if not UNSTABLE.search(name)}
    return [_without_times(part) for part in value] if isinstance(value, list) else value


def _has(environment: Path, entry: str) -> bool:
    with suppress(OSError):
        return entry.encode() in environment.read_bytes().split(b"\0")
    return False


def _state(process: int) -> str:
    with suppress(OSError, IndexError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    return "X"


def evenly(most: int, count: int) -> Iterator[int]:
    """`count` numbers from 1 to `most`, the first and the last among them; all where there are fewer."""
    if most <= count:
        yield from range(1, most + 1)
    else:
        yield from sorted({1 + round(place * (most - 1) / max(1, count - 1)) for place in range(count)})
