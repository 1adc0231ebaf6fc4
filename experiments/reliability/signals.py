"""Sends signals to `ppd` at chosen moments of every verb, and looks at how it ends and goes on.

    python experiments/reliability/signals.py                a short form, about two minutes
    python experiments/reliability/signals.py --cases 100    all

Alone, in a sweep (in this process, and through joblib in others), and with two ranks. Each must end with 128 + the
signal's number, one line that says so, no traceback, no process and no temporary file left; later verbs are not run; a
sweep's run is stopped; the same command again comes to the bytes of an undisturbed run.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import small_world as world
from commands import Outcome, heed_signals, import_all, run, time_left

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP)
CALLS = ("verb", "replace", "step")
SWEEP = ("-m", "seed=0,1")
JOBLIB = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
RANKS = ("trainer.devices=2",)


def main() -> int:
    """The study; 1 where a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=12, help="signals to a command alone, over all verbs")
    parser.add_argument("--others", type=int, help="signals to sweeps and to ranks, each; else one for each twelve")
    parser.add_argument("--minutes", type=float, help="after which no further case begins")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("outputs/reliability/signals.json"))
    asked = parser.parse_args()
    import_all()
    heed_signals()
    begun, faults = time.monotonic(), []
    counts = dict.fromkeys(("alone", "sweep", "joblib", "two ranks"), 0)
    ends = {kind: time_left(asked.minutes, share) for kind, share in zip(counts, (0.55, 0.65, 0.8, 1.0), strict=True)}
    others = max(1, asked.cases // 12) if asked.others is None else asked.others
    chance = random.Random(asked.seed)
    place = Path(tempfile.mkdtemp(prefix="signals-"))  # no object removes it: commands are forks of this process
    world.own_temporary_folder(place)
    try:
        points = _points(place, asked.cases)
        chance.shuffle(points)  # so that those which there is time for are of all verbs
        in_sweep = [("train", "step", moment) for moment in world.evenly(24, others)]
        for kind, cases in (("alone", points), ("sweep", in_sweep)):
            for (verb, what, moment), number in zip(cases, itertools.cycle(SIGNALS)):
                if ends[kind]():
                    counts[kind] += 1
                    further = SWEEP if kind == "sweep" else ()
                    faults += _try_inside(place, kind, verb, what, moment, number, further)
        for kind, further in (("joblib", (*SWEEP, *JOBLIB)), ("two ranks", RANKS)):
            for found in _try_from_outside(place, kind, further, others, chance):
                counts[kind] += 1
                faults += found
                if not ends[kind]():
                    break
    finally:
        shutil.rmtree(place)
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps({"signals": counts, "faulty": len(faults), "faults": faults}, indent=2) + "\n")
    told = ", ".join(f"{count} {kind}" for kind, count in counts.items())
    print(f"signals: {told}; {len(faults)} faulty; {time.monotonic() - begun:.0f} s")
    return 1 if faults else 0


def _points(place: Path, cases: int) -> list[tuple[str, str, int]]:
    """Verbs and moments; keeps the folder before each verb and what it comes to undisturbed."""
    output, everything = place / "out", []
    output.mkdir()
    for verb in world.LINE:
        shutil.copytree(output, place / f"before-{verb}", symlinks=True)
        counts, outcome = world.count_calls(CALLS, [verb], output)
        if outcome.code:
            raise SystemExit(f"{verb} fails undisturbed:\n{outcome.output}")
        (place / f"after-{verb}.json").write_text(json.dumps(world.manifest(output)))
        everything += [(verb, what, moment) for what, count in counts.items() for moment in range(1, count + 1)]
    return [everything[index - 1] for index in world.evenly(len(everything), cases)]


def _try_inside(
    place: Path, kind: str, verb: str, what: str, moment: int, number: signal.Signals, further: Sequence[str]
) -> list[str]:
    """A signal that the process gets while it is in a certain call."""
    output, mark = place / "out", uuid.uuid4().hex
    expected = _expected(place, verb, further)
    world.restore(place / f"before-{verb}", output)
    command = world.arguments([verb, "validate"], output, *further)  # validate must not be run
    at = world.at_call(what, moment, lambda: os.kill(os.getpid(), number))
    stopped = run(command, place, first=at)
    left = _left(output, mark, further)
    words = f"{kind}: {verb} at {what} {moment}, {number.name}"
    again = run(world.arguments([verb], output, *further), place, timeout=300)
    return _judge(words, stopped, number, output, expected, again, further, left)


def _try_from_outside(
    place: Path, kind: str, further: Sequence[str], count: int, chance: random.Random
) -> Iterator[list[str]]:
    """A signal to a command that has other processes, at any time of their training; what is wrong, case by case."""
    output = place / "out"
    seconds: list[float] = []
    if not count:
        return
    expected = _expected(place, "train", further, seconds)
    command = world.arguments(["train"], output, *further)
    for _, number in zip(range(count), itertools.cycle(SIGNALS)):
        world.restore(place / "before-train", output)
        mark, moment = uuid.uuid4().hex, chance.uniform(0.3, 0.6)
        during = _signalling(number, moment * seconds[0])
        stopped = world.run_apart(command, place, mark=mark, during=during)
        left = _left(output, mark, further)
        again = world.run_apart(command, place)
        words = f"{kind}: train at {moment:.2f} of the time, {number.name}"
        yield _judge(words, stopped, number, output, expected, again, further, left)


def _left(output: Path, mark: str, further: Sequence[str]) -> list[str]:
    """What a stopped command has left that it should not."""
    wrong = [f"process {process} lives on" for process in world.orphans(mark, 12.0)]
    wrong += [f"left over {name}" for name in world.left_over(output)]
    if "-m" in further:
        states = [json.loads(file.read_text())["state"] for file in output.glob("sweeps/*/runs/*.json")]
        wrong += [] if "stopped" in states and "failed" not in states else [f"states {states}"]
    return wrong


def _signalling(number: signal.Signals, wait: float) -> Callable[[int], None]:
    def during(process: int) -> None:
        time.sleep(wait)
        with suppress(ProcessLookupError):
            os.kill(process, number)

    return during


def _expected(place: Path, verb: str, further: Sequence[str], seconds: list[float] | None = None) -> dict[str, str]:
    """What the undisturbed command comes to."""
    file = place / (f"after-{verb}.json" if not further else f"after-{verb}-{abs(hash(tuple(further)))}.json")
    if not file.exists():
        world.restore(place / f"before-{verb}", place / "out")
        command = world.arguments([verb], place / "out", *further)
        done = run(command, place, timeout=300) if seconds is None else world.run_apart(command, place)
        if done.code:
            raise SystemExit(f"{verb} {' '.join(further)} fails undisturbed:\n{done.output}")
        file.write_text(json.dumps(_of_runs(world.manifest(place / "out"), further)))
        if seconds is not None:
            seconds.append(done.seconds)
    known: dict[str, str] = json.loads(file.read_text())
    return known


def _of_runs(manifest: dict[str, str], further: Sequence[str]) -> dict[str, str]:
    """Without what a sweep notes of its runs: their processes differ, and checkpoints are of other steps."""
    left_out = ("sweeps/",) if "-m" in further else ()
    return {name: value for name, value in manifest.items() if not name.startswith(left_out)}


def _judge(
    words: str,
    stopped: Outcome,
    number: signal.Signals,
    output: Path,
    expected: dict[str, str],
    finished: Outcome,
    further: Sequence[str],
    left: Sequence[str],
) -> list[str]:
    if stopped.code in (0, -number) and not stopped.hung and "train: " in stopped.output:
        print(f"{words}: it was at its end", flush=True)
        return []
    wrong = [] if stopped.code == 128 + number else [f"exit code {stopped.code}"]
    lines = [line for line in stopped.output.splitlines() if line.startswith("ppd: ")]
    wrong += [] if len(lines) == 1 and f"stopped by {number.name}" in lines[0] else [f"lines {lines}"]
    wrong += ["a traceback"] if stopped.traceback or "most recent call" in stopped.output else []
    wrong += ["it hung"] if stopped.hung else []
    wrong += ["a later verb was run"] if "# run folder" in stopped.output and "-m" not in further else []
    wrong += left
    wrong += [f"again exit code {finished.code}"] if finished.code else []
    found = _of_runs(world.manifest(output), further)
    checkpoints = re.compile(r"/checkpoints/|/tensorboard/")  # their steps and times are those of the interruption
    wrong += [f"other {name}" for name in world.differences(expected, found) if not checkpoints.search(name)]
    said = f"\n{stopped.output[-3000:]}" if wrong else ""
    print(f"{words}: {'; '.join(wrong) or 'right'}{said}", flush=True)
    return [f"{words}: {'; '.join(wrong)}{said}"] if wrong else []


if __name__ == "__main__":
    sys.exit(main())
