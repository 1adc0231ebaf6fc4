"""Fuzzed configurations: whether every one ends in a result or a sentence that names its key, within seconds.

    python experiments/reliability/configurations.py --cases 250            about a minute
    python experiments/reliability/configurations.py --cases 5000 --trainings 100

Each case is one command (`validate`, `train -m --dry-run`, `train --dry-run`, tab completion) with one mutation: an
extreme or wrong value of any key of the schema, another option of a group, a misspelt key, a line of other characters,
a sweep expression, or a file of options in `--config-dir`. It passes if the exit code is 0 or 2, there is no traceback,
it takes less than 10 s of the processor, and what is refused is called by its name. Of the settings that `validate`
takes, and of the ends of all ranges, some are then trained with for one step on a few pairs of one's own, to find what
validation lets through. What is still at work after 20 s gets SIGTERM, and must end by it with a sentence.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import json
import os
import random
import re
import shlex
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType

from commands import import_all, run, time_left
from configuration_cases import Case, cases

from ppd_lightning.cli import main as ppd
from ppd_lightning.completion import words_for
from ppd_lightning.config.keys import known_keys

LIMIT, LONGEST, PATIENCE = 10, 60, 20
"""Seconds of the processor that a command may take, seconds after which it counts as hung, and those after which a
training is stopped by SIGTERM: it may be long work, such as a billion steps."""
READ = ("data", "model", "user", "shots", "objective", "optimizer", "trainer", "logger", "generation")
"""The groups whose settings are tried in a training."""
STOPPED = 128 + signal.SIGTERM
BATCH = 25
"""Commands of one process."""


@dataclass(frozen=True)
class Found:
    """What a command came to; fault is empty where all is well."""

    code: int
    fault: str
    output: str
    seconds: float


class Hung(BaseException):
    """A command takes too long."""


def tried(batch: Sequence[Case], folder: Path) -> list[Found]:
    """The commands of a batch, in a process of their own; what ends that process is found, and the others go on."""
    found: list[Found] = []
    while len(found) < len(batch):
        result = folder / "results"
        result.write_text("")
        process = os.fork()
        if process == 0:
            try:
                _children(batch[len(found) :], folder, result)
            finally:
                os._exit(0)
        until = time.monotonic() + LONGEST * len(batch)
        while not os.waitpid(process, os.WNOHANG)[0]:
            if time.monotonic() > until:
                os.kill(process, signal.SIGKILL)
                os.waitpid(process, 0)
                break
            time.sleep(0.05)
        found += [Found(**json.loads(line)) for line in result.read_text().splitlines()]
        if len(found) < len(batch):
            found.append(Found(-1, "ended its process, or hung in it", "", LIMIT))
    return found[: len(batch)]


def _children(batch: Sequence[Case], folder: Path, result: Path) -> None:
    signal.signal(signal.SIGALRM, _hang)
    os.chdir(folder)
    for case in batch:
        found = _once(case, folder)
        with result.open("a") as file:
            file.write(json.dumps(asdict(found)) + "\n")


def _hang(number: int, frame: FrameType | None) -> None:
    raise Hung


def _once(case: Case, folder: Path) -> Found:
    shutil.rmtree(folder / "options", ignore_errors=True)
    (folder / "options").mkdir()
    for name, content in case.files.items():
        path = folder / "options" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    output, began, fault, code = io.StringIO(), time.process_time(), "", -1
    signal.alarm(LONGEST)
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            if case.kind == "completion":
                code = 0
                list(words_for(case.words[1], ["train"], folder / "options"))
            else:
                code = ppd(case.words)
    except Hung:
        fault = f"took more than {LONGEST} s"
    except SystemExit as end:
        fault = f"ended by SystemExit({end.code})"
    except BaseException:
        fault = "traceback: " + traceback.format_exc()[-900:]
    signal.alarm(0)
    said = output.getvalue()
    seconds = time.process_time() - began
    if not fault and seconds > LIMIT:
        fault = f"took {seconds:.0f} s of the processor"
    if not fault and code not in (0, 2):
        fault = f"exit code {code}"
    if not fault and "Traceback (most recent" in said:
        fault = "a traceback is printed"
    if not fault and code == 2 and not any(name and name in said for name in case.names):
        fault = f"none of {case.names} is named"
    return Found(code, fault, said[-600:], seconds)


def trainings(accepted: Sequence[str], folder: Path, count: int, seed: int) -> Iterator[tuple[list[str], int, str]]:
    """A step of training with settings that `validate` takes, the exit code, and what went wrong, if anything."""
    import_all()
    table = _pairs(folder / "own")
    base = [
        *("experiment=emoji/own", f"data.table={table}", "trainer.max_steps=1", "trainer.batch_size=4", "trainer=cpu"),
        *("optimizer.warmup_steps=0", "data.min_pairs=2", "shots.n=1", "trainer.progress=false", "data.workers=0"),
    ]
    made = run(["prepare", "embed", *base, "output=made"], folder)
    assert made.code == 0, made.output
    for word in random.Random(seed).sample(list(accepted), min(count, len(accepted))):
        shutil.rmtree(folder / "outputs", ignore_errors=True)
        shutil.copytree(folder / "made", folder / "outputs", symlinks=True)
        kept = [setting for setting in base if setting.partition("=")[0] != word.partition("=")[0]]
        words = ["prepare", "embed", "train", *kept, word]
        outcome = run(words, folder, timeout=120, during=_stop_late)
        stopped = outcome.code == STOPPED and "stopped by SIGTERM" in outcome.output
        sound = (outcome.code in (0, 2) or stopped) and not outcome.traceback and not outcome.hung
        yield words, outcome.code, "" if sound else f"exit code {outcome.code}: {outcome.output[-900:]}"


def _stop_late(process: int, output: Path) -> None:
    """Send SIGTERM to a command that is still at work after some time."""
    until = time.monotonic() + PATIENCE
    while os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if time.monotonic() > until:
            os.kill(process, signal.SIGTERM)
            return
        time.sleep(0.05)


def ends_of_ranges() -> Iterator[str]:
    """The smallest and the largest number that each key of a training may have."""
    for name, key in known_keys().items():
        for number in re.findall(r"[<>]= ([\d,.]+)", key.expected):
            if "a list" not in key.expected:
                yield f"{name}={number.replace(',', '')}"


def _pairs(folder: Path) -> Path:
    """A table of a few pairs of coloured squares."""
    from PIL import Image

    folder.mkdir(parents=True)
    rows = ["caption,image_0,image_1,choice,user"]
    for number in range(48):
        names = [f"{number}-{side}.png" for side in "ab"]
        for side, name in enumerate(names):
            Image.new("RGB", (64, 64), (number * 5, 255 * side, 40)).save(folder / name)
        rows.append(
            f"square {number % 12},{names[0]},{names[1]},{number % 2},{['ann', 'bob', 'cat', 'dan'][number % 4]}"
        )
    (folder / "pairs.csv").write_text("\n".join(rows) + "\n")
    return folder / "pairs.csv"


@contextlib.contextmanager
def _scratch() -> Iterator[Path]:
    """A folder for the time being; a `TemporaryDirectory` would go when the first fork ends."""
    folder = Path(tempfile.mkdtemp())
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    """The study; 0 where nothing was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=250)
    parser.add_argument("--trainings", type=int, default=0)
    parser.add_argument("--minutes", type=float, help="after which no further batch, and no further training, begins")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--to", type=Path, default=Path("outputs/reliability/configurations.json"))
    asked = parser.parse_args()
    os.environ.update(COLUMNS="160", OMP_NUM_THREADS="1")
    fuzzing, going_on = time_left(asked.minutes, 0.7), time_left(asked.minutes)
    study = Study(asked.cases, asked.seed, asked.to)
    with _scratch() as folder:
        (folder / "fuzz").mkdir()
        made = cases(asked.seed)
        for first in itertools.takewhile(lambda first: fuzzing(), range(0, asked.cases, BATCH)):
            batch = [next(made) for _ in range(min(BATCH, asked.cases - first))]
            for case, found in zip(batch, tried(batch, folder / "fuzz"), strict=True):
                study.count(case, found)
            study.write()
        settings = [word for word in (*study.accepted, *ends_of_ranges()) if word.partition(".")[0] in READ]
        for words, code, fault in trainings(settings, folder, asked.trainings, asked.seed) if asked.trainings else ():
            study.trainings += 1
            study.stopped += code == STOPPED
            if fault:
                study.fail(shlex.join(["ppd", *words]), fault)
            study.write()
            if not going_on():
                break
    print(
        f"{study.tried} configurations, {study.trainings} trainings ({study.stopped} stopped), "
        f"slowest {study.slowest[0]:.1f} s: {len(study.failures)} failed"
    )
    return int(bool(study.failures))


@dataclass
class Study:
    """What came out so far; failures are printed at once, and all figures are in a file after each batch."""

    cases: int
    seed: int
    to: Path
    tried: int = 0
    trainings: int = 0
    stopped: int = 0
    slowest: tuple[float, str] = (0.0, "")
    outcomes: dict[str, int] = field(default_factory=dict)
    accepted: dict[str, None] = field(default_factory=dict)
    failures: list[dict[str, str]] = field(default_factory=list)

    def count(self, case: Case, found: Found) -> None:
        """Add a case; settings that are taken are kept for trainings."""
        self.tried += 1
        outcome = f"{case.kind}: exit code {found.code}"
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
        self.slowest = max(self.slowest, (found.seconds, shlex.join(case.words)[:400]))
        if found.fault:
            files = "".join(f" [{path}: {content[:80]!r}]" for path, content in case.files.items())
            self.fail(shlex.join(["ppd", *case.words])[:400] + files, found.fault, found.output)
        elif case.kind == "value" and found.code == 0:
            self.accepted |= dict.fromkeys(word for word in case.words if _is_of(word, case.names[0]))

    def fail(self, command: str, fault: str, said: str = "") -> None:
        """Add a failure and print it."""
        self.failures.append({"command": command[:600], "fault": fault, "said": said})
        print(f"{command[:600]}\n    {fault}\n    {said[:300]!r}", flush=True)

    def write(self) -> None:
        """All figures as JSON."""
        left_out = ("to", "accepted")
        figures = {name: value for name, value in asdict(self).items() if name not in left_out}
        self.to.parent.mkdir(parents=True, exist_ok=True)
        self.to.write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n")


def _is_of(word: str, key: str) -> bool:
    """Whether an override sets the key, and not the place of what the study made."""
    return word.partition("=")[0] == key and not key.startswith(("output", "data.table"))


if __name__ == "__main__":
    sys.exit(main())
