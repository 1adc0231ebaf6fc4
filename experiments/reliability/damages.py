"""Damages every kind of file that `ppd` leaves, and sees whether each is noticed, in a sentence whose remedy works.

    python experiments/reliability/damages.py --cases 500          (make faults-long)
    python experiments/reliability/damages.py --cases 20           (make faults)

Makes a small finished line once, in a world of hand-made pictures: prepare, embed, reference, train with stored errors,
evaluate, generate, interpolate, classify, export, report, and a sweep. A case takes one of its files, found by walking
the output folder, and damages it in a copy: a bit or a byte is another, the end or all of it is missing, a block holds
zeros, the file is deleted. Then the verb that reads such a file runs, after what it would skip was removed, and its
result is compared with that of the same verb on an undamaged copy.

silent      exit code 0, another result, and no word of it
traceback   Python's own account of a fault, or another exit code than 0 and 2
dead end    what the message says to do, or the same command again, does not bring the result back

Files that no verb reads again are listed. Writes outputs/reliability/damages.json; exits 1 where a count is not 0.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import commands

sys.path.insert(0, str(Path(__file__).parents[2]))  # for the hand-made world of the tests

SETTINGS = (
    "experiment=emoji/ppd",
    "user.encoder=codec",
    "data.concepts=12",
    "data.held_out_concepts=4",
    "data.people=12",
    "data.unseen_people=6",
    "data.pairs_per_person=12",
    "shots.groupings=4",
    "trainer.max_steps=4",
    "trainer.checkpoint_every=2",
    "trainer.log_every=1",
    "trainer.batch_size=4",
    "trainer.reference=stored",
    "optimizer.warmup_steps=1",
    "generation.steps=2",
    "generation.columns=2",
    "evaluation.comparisons=4",
    "interpolation.users=[1,2]",
    "interpolation.divisions=2",
    "interpolation.captions=1",
    "interpolation.seeds=1",
    "logger.tensorboard=false",
)
LINE = ("prepare", "embed", "reference", "train", "evaluate", "generate", "interpolate", "classify", "export")
SWEEP = ("train", "evaluate", "-m", "seed=0,1")
RUN = "outputs/runs/THE RUN"
"""In patterns: the folder of the run that the verbs read, which is the sweep's first one too."""
SUMMARIES = (f"{RUN}/evaluation-*/summary.json", f"{RUN}/evaluation-*/comparisons.parquet")
TRAINED = (f"{RUN}/adapter.safetensors", f"{RUN}/describer.safetensors", f"{RUN}/summary.json", f"{RUN}/metrics.csv")
TABLES = ("outputs/data/*/*.arrow", "outputs/data/*/latents/*.arrow", "outputs/data/*/text/*.arrow")


@dataclass(frozen=True)
class Reader:
    """What reads a kind of file.

    arguments: of `ppd`, before the settings. reads: the files, by pattern. results: those that are compared. undo: what
    is removed before, so that there is work.
    """

    name: str
    arguments: tuple[str, ...]
    reads: tuple[str, ...]
    results: tuple[str, ...]
    undo: tuple[str, ...] = ()


DATA = "outputs/data/*"
CLASSIFIED = f"{DATA}/**/classification-*"
SWEPT = ("outputs/sweeps/*/*.json", "outputs/sweeps/*/runs/*")
STORES = (f"{DATA}/*.arrow", f"{DATA}/images.json", f"{DATA}/latents/*", f"{DATA}/text/*", f"{DATA}/splits-*/*.arrow")
USERS = (f"{DATA}/splits-*/users-*/*.*",)
READERS = (
    Reader("prepare", ("prepare",), (*STORES, f"{DATA}/splits-*/*.json", f"{DATA}/source.key"), TABLES),
    Reader("verify", ("verify",), (*STORES, *USERS), ()),
    Reader("embed", ("embed",), USERS, (f"{DATA}/splits-*/users-*/*.arrow",)),
    Reader(
        "train",
        ("train",),
        (*STORES, *USERS, f"{DATA}/splits-*/reference-*/*", f"{DATA}/splits-*/*.json"),
        TRAINED,
        (RUN,),
    ),
    Reader("resume", ("train",), (f"{RUN}/checkpoints/*",), TRAINED, (f"{RUN}/.done", *TRAINED)),
    Reader("train again", ("train",), (f"{RUN}/.done", f"{RUN}/*.*"), TRAINED),
    Reader(
        "evaluate",
        ("evaluate",),
        (
            f"{RUN}/.done",
            f"{RUN}/adapter.safetensors",
            "outputs/images/*/*.png",
            f"{RUN}/images-*/*.png",
            f"{RUN}/preferences-*",
            f"{DATA}/people.json",
            f"{DATA}/images.*",
            f"{DATA}/source/*.parquet",
            *USERS,
        ),
        SUMMARIES,
        (f"{RUN}/evaluation-*",),
    ),
    Reader("evaluate again", ("evaluate",), (f"{RUN}/evaluation-*/*", f"{RUN}/images-*/*.png"), SUMMARIES),
    Reader("generate", ("generate",), (f"{RUN}/generation-*/*", f"{RUN}/images-*/*.png"), (f"{RUN}/generation-*/*.*",)),
    Reader("interpolate", ("interpolate",), (f"{RUN}/interpolation-*/*",), (f"{RUN}/interpolation-*/*.*",)),
    Reader("classify", ("classify",), (f"{CLASSIFIED}/*",), (f"{CLASSIFIED}/summary.json",)),
    Reader("export", ("export",), (f"{RUN}/*.*", f"{RUN}/evaluation-*/summary.json"), (f"{RUN}/export/*.*",)),
    Reader(
        "report",
        ("report",),
        (
            f"{RUN}/config.yaml",
            f"{RUN}/summary.json",
            f"{RUN}/metrics.csv",
            f"{RUN}/evaluation-*/*",
            f"{RUN}/generation-*/manifest.parquet",
            f"{RUN}/interpolation-*/summary.json",
            f"{RUN}/images-*/*.png",
        ),
        (f"{RUN}/report.html",),
    ),
    Reader("runs", ("runs",), (f"{RUN}/config.yaml", f"{RUN}/*.json", "outputs/sweeps/*/*.json"), ()),
    Reader("sweep", SWEEP, SWEPT, ("outputs/sweeps/*/runs.csv",)),
    Reader("select", ("select",), SWEPT, ("outputs/sweeps/*/selected.*",)),
    Reader("the export in Python", (), (f"{RUN}/export/*.safetensors",), ()),
)

TIMED = ("seconds", "drawing", "judging", "preferring", "train/pairs_per_second", "train/memory_gib")
TIMES = re.compile(rf'"({"|".join(TIMED)})": [\d.]+')
DELETED = re.compile(r"^(?:ppd: )?(\S+?): .*?delete (it|the folder|\S+) and", re.MULTILINE)
NAMED = re.compile(r"`ppd (\w+)`")


def flip(data: bytes, chance: random.Random) -> bytes:
    """One bit of one byte is another."""
    at = chance.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]


def replace(data: bytes, chance: random.Random) -> bytes:
    """One byte is another."""
    at = chance.randrange(len(data))
    return data[:at] + bytes([(data[at] + chance.randrange(1, 256)) % 256]) + data[at + 1 :]


def cut(data: bytes, chance: random.Random) -> bytes:
    """The end is missing."""
    return data[: chance.randrange(len(data))]


def zero(data: bytes, chance: random.Random) -> bytes:
    """A block holds zeros, as after a power cut."""
    begin = chance.randrange(len(data))
    end = min(len(data), begin + 512)
    return data[:begin] + bytes(end - begin) + data[end:]


def empty(data: bytes, chance: random.Random) -> bytes:
    """Nothing is left."""
    return b""


DAMAGES: dict[str, Callable[[bytes, random.Random], bytes] | None] = {
    "flip": flip,
    "replace": replace,
    "cut": cut,
    "zero": zero,
    "empty": empty,
    "delete": None,
}


def make_line(folder: Path) -> None:
    """The undisturbed output, below `folder`."""
    from tests.worlds.emoji import packages

    from ppd_lightning.training import stored_reference
    from ppd_lightning.worlds.emoji import choices
    from ppd_lightning.worlds.emoji.concepts import shipped_concepts

    packages.CODES = {name: f"1f6{number:02d}" for number, name in enumerate(shipped_concepts(12))}
    files = packages.packages(folder.with_name("packages"))
    choices.fetch_packages = lambda _: files
    stored_reference.UNIT = 32  # of so short a training
    folder.mkdir()
    for arguments in ([*LINE], [*SWEEP], ["report"]):
        outcome = run(arguments, folder)
        if outcome.code:
            sys.exit(f"the line itself failed:\n{outcome.output}")
        if not (folder / "the_run").exists():
            [made] = folder.glob("outputs/runs/*-*")
            (folder / "the_run").write_text(made.relative_to(folder).as_posix(), encoding="utf-8")


def run(arguments: Sequence[str], folder: Path) -> commands.Outcome:
    """A verb in a folder of its own; the page is that of the one run."""
    own = []
    if arguments[0] == "report":
        own = [f"report.of=[{found(folder, RUN)[0].relative_to(folder)}]"]
    seed = [] if "-m" in arguments else ["seed=0"]
    return commands.run([*arguments, *SETTINGS, *seed, *own], folder, timeout=180)


def use_export(folder: Path) -> commands.Outcome:
    """What `draw.py` and `ppd_lightning.open` read of an export."""
    from ppd_lightning.backbones.adapter_file import read_adapter
    from ppd_lightning.errors import UserError
    from ppd_lightning.users.describer import Describer
    from ppd_lightning.users.vectors_file import read_vectors

    [export] = found(folder, f"{RUN}/export")
    try:
        read_adapter(export / "adapter.safetensors")
        read_vectors(export / "users.safetensors")
        Describer.open(export / "describer.safetensors", "run `ppd export` again, or fetch it again")
    except UserError as error:
        return commands.Outcome(2, str(error), 0.0, False)
    return commands.Outcome(0, "", 0.0, False)


def read_by(reader: Reader, folder: Path) -> commands.Outcome:
    """The verb that reads."""
    return run(reader.arguments, folder) if reader.arguments else use_export(folder)


def results(reader: Reader, folder: Path) -> dict[str, bytes]:
    """What is compared, without the times that a verb took."""
    content: dict[str, bytes] = {}
    for pattern in reader.results:
        for path in found(folder, pattern):
            if path.is_file():
                content[str(path.relative_to(folder))] = _timeless(path)
    return content


def _timeless(path: Path) -> bytes:
    data = path.read_bytes()
    if path.suffix == ".json":
        return TIMES.sub("", data.decode(errors="surrogateescape")).encode(errors="surrogateescape")
    if path.suffix == ".csv":
        lines = [line.split(",") for line in data.decode(errors="surrogateescape").splitlines()]
        kept = [n for n, name in enumerate(lines[0] if lines else []) if name not in TIMED]
        return "\n".join(",".join(line[n] for n in kept if n < len(line)) for line in lines).encode(
            errors="surrogateescape"
        )
    return data


def found(folder: Path, pattern: str) -> list[Path]:
    """The files and folders of a pattern, in their order."""
    [run] = (folder / "the_run").read_text(encoding="utf-8").splitlines()
    return sorted(folder.glob(pattern.replace(RUN, run)))


def kind_of(path: Path) -> str:
    """A path without hashes and numbers."""
    return re.sub(r"[0-9a-f]{12,}", "H", re.sub(r"\d{4,}", "N", path.as_posix()))


def undo(reader: Reader, folder: Path) -> None:
    """Remove what the verb would find finished."""
    for pattern in reader.undo:
        for path in found(folder, pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def apply_remedy(message: str, folder: Path) -> list[str]:
    """Do what the message says: delete what it names, run the verbs that it names; what was done, in words."""
    done = []
    for path, what in DELETED.findall(message):
        target = folder / (path if what in ("it", "the folder") else what)
        if target.exists():
            shutil.rmtree(target) if target.is_dir() else target.unlink()
            done.append(f"deleted {target.relative_to(folder)}")
    for verb in dict.fromkeys(NAMED.findall(message)):
        done.append(f"ppd {verb}: exit code {run([verb], folder).code}")
    if "the sweep's command" in message:
        done.append(f"the sweep: exit code {run(SWEEP, folder).code}")
    return done


def judge(reader: Reader, outcome: commands.Outcome, expected: dict[str, bytes], folder: Path) -> tuple[str, str]:
    """What a case came to, and why."""
    if outcome.traceback or outcome.hung or outcome.code not in (0, 2):
        return "traceback", outcome.output[-1500:]
    words = "damaged" in outcome.output or "missing" in outcome.output or "made again" in outcome.output
    if outcome.code == 0:
        if results(reader, folder) == expected:
            return ("healed" if words else "harmless"), ""
        if not words:
            return "silent", outcome.output[-1500:]
    message, steps = outcome.output, []
    for _ in range(2):
        steps += apply_remedy(message, folder)
        again = read_by(reader, folder)
        if again.traceback:
            return "traceback", again.output[-1500:]
        if again.code == 0 and (reader.name == "report" or results(reader, folder) == expected):
            return "refused, and the remedy works", ""
        message = again.output
    return "dead end", f"{outcome.output[-800:]}\n--- {steps}\n{again.output[-800:]}"


def main() -> int:
    """Make the line, damage it, count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, help="after which no further case begins")
    parser.add_argument("--only", help="a part of the kinds' names")
    parser.add_argument("--output", type=Path, default=Path("outputs"))
    args = parser.parse_args()
    commands.import_all()
    begun, going_on = time.monotonic(), commands.time_left(args.minutes)
    work = Path(tempfile.mkdtemp())  # no TemporaryDirectory: the first fork to end would remove it
    try:
        make_line(work / "line")
        numbers = itertools.takewhile(lambda number: going_on(), range(args.cases))
        report = damaged_cases(work / "line", numbers, args.seed, args.only)
    finally:
        shutil.rmtree(work)
    report["seconds"] = round(time.monotonic() - begun, 1)
    target = args.output / "reliability" / "damages.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    counts = report["counts"]
    print(f"{sum(counts.values())} damages to {report['kinds']} kinds of files: {counts}; {report['seconds']} s")
    return int(any(counts.get(bad) for bad in ("silent", "traceback", "dead end")))


def damaged_cases(line: Path, cases: Iterable[int], seed: int, only: str | None) -> dict[str, Any]:
    """Damage, read, judge."""
    read: dict[str, list[tuple[Path, Reader]]] = {}
    for reader in READERS:
        for path in sorted({path for pattern in reader.reads for path in found(line, pattern) if path.is_file()}):
            read.setdefault(kind_of(path.relative_to(line)), []).append((path.relative_to(line), reader))
    everything = {kind_of(path.relative_to(line)) for path in line.glob("outputs/**/*") if path.is_file()}
    unread = sorted(everything - read.keys())
    kinds = [kind for kind in sorted(read) if only is None or only in kind]
    expected: dict[str, dict[str, bytes]] = {}
    counts: Counter[str] = Counter()
    failures = []
    for number in cases:
        chance = random.Random(f"{seed}/{number}")
        path, reader = chance.choice(read[kinds[number % len(kinds)]])
        damage = chance.choice(sorted(DAMAGES))
        folder = Path(tempfile.mkdtemp(dir=line.parent)) / "copy"
        try:
            if reader.name not in expected:
                shutil.copytree(line, folder)
                undo(reader, folder)
                read_by(reader, folder)
                expected[reader.name] = results(reader, folder)
                shutil.rmtree(folder)
            shutil.copytree(line, folder)
            harm(folder / path, damage, chance)
            undo(reader, folder)
            outcome, why = judge(reader, read_by(reader, folder), expected[reader.name], folder)
        finally:
            shutil.rmtree(folder.parent)
        counts[outcome] += 1
        if outcome in ("silent", "traceback", "dead end"):
            case = {"case": number, "file": str(path), "damage": damage, "reader": reader.name, "outcome": outcome}
            failures.append(case | {"why": why})
            print(f"{outcome}: {damage} of {path}, read by {reader.name} (--seed {seed}, case {number})\n{why}\n")
        if not (number + 1) % 25:
            print(f"{number + 1} damages: {dict(counts)}", flush=True)
    return {"counts": dict(counts), "kinds": len(kinds), "never read again": unread, "failures": failures}


def harm(path: Path, damage: str, chance: random.Random) -> None:
    """Damage a file; one without bytes is deleted."""
    change, data = DAMAGES[damage], path.read_bytes()
    if change is None or not data:
        path.unlink()
    else:
        path.write_bytes(change(data, chance))


if __name__ == "__main__":
    sys.exit(main())
