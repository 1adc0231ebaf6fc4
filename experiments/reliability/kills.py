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
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import uuid
from contextlib import suppress
from pathlib import Path

import small_world as world
from commands import import_all, run

CALLS = ("replace", "fsync", "step")
RANKS = ("trainer.devices=2",)


def main() -> int:
    """The study; 1 where a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=12, help="kill points of one process, over all verbs")
    parser.add_argument("--ranks", type=int, help="kill points with two ranks; else one for each twelve cases")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("outputs/reliability/kills.json"))
    asked = parser.parse_args()
    import_all()
    begun, found, faults = time.monotonic(), 0, []
    place = Path(tempfile.mkdtemp(prefix="kills-"))  # no object that removes it, for commands are forks of this process
    world.own_temporary_folder(place)
    try:
        for verb, points in _points(place, asked.cases, asked.seed).items():
            found += len(points)
            faults += _kill_all(place, verb, points)
        ranks = asked.cases // 12 if asked.ranks is None else asked.ranks
        faults += _kill_ranks(place, ranks, random.Random(asked.seed))
    finally:
        shutil.rmtree(place)
    figures = {"kills": found, "with_two_ranks": ranks, "faulty": len(faults), "faults": faults}
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps(figures, indent=2) + "\n")
    for fault in faults:
        print(fault)
    print(f"{found} kills, {ranks} with two ranks: {len(faults)} faulty; {time.monotonic() - begun:.0f} s")
    return 1 if faults else 0


def _points(place: Path, cases: int, seed: int) -> dict[str, list[tuple[str, int, bool]]]:
    """For each verb, when it is killed; keeps the folder before it and what it comes to undisturbed."""
    output, counts = place / "out", {}
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
    return {verb: [point for own, point in chosen if own == verb] for verb in world.LINE}


def _kill_all(place: Path, verb: str, points: list[tuple[str, int, bool]]) -> list[str]:
    output, faults = place / "out", []
    expected = json.loads((place / f"after-{verb}.json").read_text())
    for what, moment, after in points:
        words, mark = f"{verb}: {'after' if after else 'at'} {what} {moment}", uuid.uuid4().hex
        before = world.in_temporary_folder()
        world.restore(place / f"before-{verb}", output)
        fatal = world.at_call(what, moment, world.kill, after=after)
        killed = run(world.arguments([verb], output), place, first=fatal, environment={world.MARK: mark})
        if killed.code != -signal.SIGKILL:
            faults.append(f"{words}: was not killed, exit code {killed.code}")
            continue
        again = run(world.arguments([verb], output), place)
        wrong = [f"again exit code {again.code}: {again.output[-300:]}"] if again.code else []
        wrong += [f"other {name}" for name in world.differences(expected, world.manifest(output))]
        wrong += [f"left over {name}" for name in world.left_over(output)]
        wrong += [f"left over {name}" for name in world.in_temporary_folder() - before]
        wrong += [f"process {process} lives on" for process in world.orphans(mark)]
        if wrong:
            faults.append(f"{words}: {'; '.join(wrong)}")
    print(f"{verb}: {len(points)} kills, {len(faults)} faulty", flush=True)
    return faults


def _kill_ranks(place: Path, count: int, chance: random.Random) -> list[str]:
    """Kill the command or one of its two ranks, at any time of the training."""
    if not count:
        return []
    output, faults = place / "out", []
    world.restore(place / "before-train", output)
    undisturbed = world.run_apart(world.arguments(["train"], output, *RANKS), place)
    if undisturbed.code:
        return [f"two ranks fail undisturbed: {undisturbed.output}"]
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
        if wrong:
            faults.append(f"{words}: {'; '.join(wrong)}")
    return faults


def _children(process: int) -> list[str]:
    with suppress(OSError):
        return Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return []


if __name__ == "__main__":
    sys.exit(main())
