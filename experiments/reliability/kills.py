"""Kills `ppd` by kill -9 at chosen moments of every verb, runs the same command again, and compares the folders.

    python experiments/reliability/kills.py                 a dozen points, a minute or two
    python experiments/reliability/kills.py --cases 110     also with two ranks

A point is the n-th time that a file takes its name (os.replace) or is synced (os.fsync), on either side of it, or the
n-th step of a training; with two ranks, a moment at which the command or a rank is killed from outside. Afterwards the
folder's bytes must be those of an undisturbed run (but for seconds), with nothing left over: no temporary file, no
process.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import small_world as world
from commands import import_all, run, time_left

CALLS = ("replace", "fsync", "step")
RANKS = ("trainer.devices=2",)


def main() -> int:
    """The study; 1 where a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=12, help="kill points of one process, over all verbs")
    parser.add_argument("--ranks", type=int, help="kill points with two ranks; else one for each twelve cases")
    parser.add_argument("--minutes", type=float, help="after which no further case begins")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("outputs/reliability/kills.json"))
    asked = parser.parse_args()
    import_all()
    begun, tried, faults, chance = time.monotonic(), 0, [], random.Random(asked.seed)
    most, going_on = time_left(asked.minutes, 0.75), time_left(asked.minutes)
    place = Path(tempfile.mkdtemp(prefix="kills-"))  # no object that removes it, for commands are forks of this process
    world.own_temporary_folder(place)
    try:
        points = _points(place, asked.cases)
        chance.shuffle(points)  # so that those which there is time for are of all verbs
        for verb, point in itertools.takewhile(lambda case: most(), points):
            tried += 1
            faults += _told(_kill(place, verb, *point))
        ranks = 0
        for fault in _kill_ranks(place, asked.cases // 12 if asked.ranks is None else asked.ranks, chance):
            ranks += 1
            faults += _told(fault)
            if not going_on():
                break
    finally:
        shutil.rmtree(place)
    figures = {"kills": tried, "with_two_ranks": ranks, "faulty": len(faults), "faults": faults}
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps(figures, indent=2) + "\n")
    print(f"{tried} kills, {ranks} with two ranks: {len(faults)} faulty; {time.monotonic() - begun:.0f} s")
    return 1 if faults else 0


def _told(fault: str) -> list[str]:
    """The fault, which is printed at once, or nothing."""
    if fault:
        print(fault, flush=True)
    return [fault] if fault else []


def _points(place: Path, cases: int) -> list[tuple[str, tuple[str, int, bool]]]:
    """Verbs and when they are killed; keeps the folder before each verb and what it comes to undisturbed."""
    output = place / "out"
    counts: dict[str, dict[str, int]] = {}
    output.mkdir()
    for verb in world.LINE:
        shutil.copytree(output, place / f"before-{verb}", symlinks=True)
        counts[verb], outcome = world.count_calls(CALLS, [verb], output)
        if outcome.code:
            raise SystemExit(f"{verb} fails undisturbed:\n{outcome.output}")
        (place / f"after-{verb}.json").write_text(json.dumps(world.manifest(output)))
    everything = [
        (verb, (what, moment, after))
        for verb, calls in counts.items()
        for what, count in calls.items()
        for moment in range(1, count + 1)
        for after in (False, True)
    ]
    chosen = [everything[index - 1] for index in world.evenly(len(everything), cases)]
    print(f"{len(everything)} moments, {len(chosen)} of them are tried", flush=True)
    return chosen


def _kill(place: Path, verb: str, what: str, moment: int, after: bool) -> str:
    """Kill a verb there, and run it again; what is wrong then, or nothing."""
    output, mark = place / "out", uuid.uuid4().hex
    expected = json.loads((place / f"after-{verb}.json").read_text())
    words = f"{verb}: {'after' if after else 'at'} {what} {moment}"
    before = world.in_temporary_folder()
    world.restore(place / f"before-{verb}", output)
    fatal = world.at_call(what, moment, world.kill, after=after)
    killed = run(world.arguments([verb], output), place, first=fatal, environment={world.MARK: mark})
    if killed.code != -signal.SIGKILL:
        return f"{words}: was not killed, exit code {killed.code}"
    again = run(world.arguments([verb], output), place)
    wrong = [f"again exit code {again.code}: {again.output[-300:]}"] if again.code else []
    wrong += [f"other {name}" for name in world.differences(expected, world.manifest(output))]
    wrong += [f"left over {name}" for name in world.left_over(output)]
    wrong += [f"left over {name}" for name in world.in_temporary_folder() - before]
    wrong += [f"process {process} lives on" for process in world.orphans(mark)]
    return f"{words}: {'; '.join(wrong)}" if wrong else ""


def _kill_ranks(place: Path, count: int, chance: random.Random) -> Iterator[str]:
    """Kill the command or one of its two ranks, at any time of the training; what is wrong then, case by case."""
    if not count:
        return
    output = place / "out"
    world.restore(place / "before-train", output)
    undisturbed = world.run_apart(world.arguments(["train"], output, *RANKS), place)
    if undisturbed.code:
        yield f"two ranks fail undisturbed: {undisturbed.output}"
        return
    expected = world.manifest(output)
    for case in range(count):
        world.restore(place / "before-train", output)
        who, moment = chance.choice(["the command", "rank 0", "rank 1"]), chance.uniform(0.3, 0.98)
        mark, words = uuid.uuid4().hex, f"two ranks, {case}: {who} at {moment:.2f} of the time"

        def during(process: int, who: str = who, wait: float = moment * undisturbed.seconds) -> None:
            time.sleep(wait)
            ranks = [int(child) for child in _children(process)]
            victim = ranks[int(who[-1])] if who.startswith("rank") and len(ranks) == 2 else process
            with suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)

        command = world.arguments(["train"], output, *RANKS)
        world.run_apart(command, place, mark=mark, during=during)
        wrong = [f"process {process} lives on" for process in world.orphans(mark)]
        again = world.run_apart(command, place)
        wrong += [f"again exit code {again.code}: {again.output[-300:]}"] if again.code else []
        wrong += [f"other {name}" for name in world.differences(expected, world.manifest(output))]
        wrong += [f"left over {name}" for name in world.left_over(output)]
        yield f"{words}: {'; '.join(wrong)}" if wrong else ""


def _children(process: int) -> list[str]:
    with suppress(OSError):
        return Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return []


if __name__ == "__main__":
    sys.exit(main())
