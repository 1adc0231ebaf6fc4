"""What containers and clusters lack: a home, a folder for temporary files, caches, shared memory, a name for the user.

    python experiments/reliability/containers.py --cases 6
    python experiments/reliability/containers.py

Each case runs a small line (prepare stats embed train generate export on a table of 28 pictures) as a process of its
own and counts it as ok (exit code 0 and the export is there), sentence (exit code 1 or 2, a line that begins with
`ppd:`), traceback or hang. The goal: no traceback, no hang, and ok wherever the case says that the line can run. Mounts
and foreign user ids need root; without it those cases are left out and named.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[2]
VERBS = ("prepare", "stats", "embed", "train", "generate", "export")
SMALL = (
    "experiment=emoji/own",
    "trainer.max_steps=2",
    "trainer.progress=false",
    "trainer.preference_accuracy=false",
    "optimizer.warmup_steps=1",
    "trainer.batch_size=4",
    "user.encoder=codec",
    "user.components=2",
    "shots.groupings=2",
    "data.held_out_captions=0.3",
    "data.unseen_users=0.3",
    "generation.steps=2",
    "generation.columns=2",
    "generation.users=[ann]",
)
NOBODY = 12345
"""A user id that has no entry in /etc/passwd."""

AS_NOBODY = (
    f"setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups --inh-caps=+dac_read_search "
    "--ambient-caps=+dac_read_search"  # what runs may lie in root's home; writing stays forbidden
)
READ_ONLY = "mount -t tmpfs -o size=1m tmpfs {spare}; touch {spare}/x; mount -o remount,ro {spare};"
CACHES = ["XDG_CACHE_HOME", "HF_HOME", "MPLCONFIGDIR", "TORCH_HOME", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"]


@dataclass(frozen=True)
class Case:
    """A situation.

    mounts: shell commands in a mount namespace of its own. prefix: what the command is run by. settings: further ones.
    can_run: whether the line is to run all the same. verbs: of the line.
    """

    name: str
    prefix: str = ""
    mounts: str = ""
    settings: tuple[str, ...] = ()
    can_run: bool = True
    verbs: tuple[str, ...] = VERBS

    @property
    def needs_root(self) -> bool:
        """Whether it mounts something or changes the user."""
        return bool(self.mounts) or "setpriv" in self.prefix


CASES = (
    Case("shared memory of 64 MB", mounts="mount -t tmpfs -o size=64m tmpfs /dev/shm;", settings=("data.workers=2",)),
    Case("no user of this id, home is /", f"{AS_NOBODY} env HOME=/"),
    Case("no folder for temporary files", mounts="{all_read_only}", can_run=False, verbs=("prepare",)),
    Case("the current folder was removed", "cd {gone}; rmdir {gone};", can_run=False, verbs=("prepare",)),
    Case("caches are read-only", f"env {' '.join(f'{name}={{spare}}/c' for name in CACHES)}", READ_ONLY),
    Case("an empty environment", "env -i OMP_NUM_THREADS=1 PYTHONPATH={source}"),
    Case("no HOME", "env -u HOME"),
    Case("HOME is missing", "env HOME=/nonexistent XDG_CACHE_HOME=/nonexistent"),
    Case("HOME is read-only", "env HOME={spare}", READ_ONLY),
    Case("HOME is a file", "env HOME=/etc/hostname XDG_CACHE_HOME=/etc/hostname"),
    Case("TMPDIR is missing", "env TMPDIR=/nonexistent"),
    Case("TMPDIR is read-only", "env TMPDIR={spare}", READ_ONLY),
    Case("TMPDIR is full", "env TMPDIR={spare}", "mount -t tmpfs -o size=16k tmpfs {spare};"),
    Case("no user of this id, no HOME", f"{AS_NOBODY} env -u HOME -u USER -u LOGNAME"),
    Case("shared memory is full", mounts="mount -t tmpfs -o size=4k tmpfs /dev/shm;", settings=("data.workers=2",)),
    Case("shared memory is read-only", mounts="mount -t tmpfs -o ro tmpfs /dev/shm;", settings=("data.workers=2",)),
    Case("umask 077", "umask 077;"),
    Case("the current folder is read-only", "cd {spare};", READ_ONLY),
    Case("ASCII only", "env LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0"),
    Case("the code is read-only", mounts="mount --bind {source} {source}; mount -o remount,ro,bind {source};"),
)


def main() -> int:
    """Run the cases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=len(CASES), help="the first so many")
    parser.add_argument("--seed", type=int, default=0, help="of the pictures")
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds after which a case hangs")
    given = parser.parse_args()
    left_out = [case.name for case in CASES[: given.cases] if case.needs_root and os.geteuid()]
    counts: Counter[str] = Counter()
    failed = []
    with tempfile.TemporaryDirectory(prefix="ppd-containers-", dir="/var/tmp") as work:
        os.chmod(work, 0o755)
        table = write_table(Path(work) / "mine", given.seed)
        for number, case in enumerate(CASES[: given.cases]):
            if case.name in left_out:
                continue
            came, command, output = run(case, Path(work) / f"{number}", table, given.timeout)
            counts[came] += 1
            print(f"{case.name}: {came}", flush=True)
            if came in ("traceback", "hang") or (case.can_run and came != "ok"):
                failed.append({"case": case.name, "came": came, "command": command, "output": output[-2000:]})
                print(f"  {command}\n{output[-2000:]}")
    print(", ".join(f"{what} {counts[what]}" for what in ("ok", "sentence", "traceback", "hang")), end="")
    print(f"; left out for want of root: {', '.join(left_out)}" if left_out else "")
    path = ROOT / "outputs/reliability/containers.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"counts": counts, "left_out": left_out, "failed": failed}, indent=1) + "\n")
    return int(bool(failed))


def write_table(folder: Path, seed: int) -> Path:
    """Choices of six people between 28 pictures."""
    (folder / "img").mkdir(parents=True)
    generator = np.random.default_rng(seed)
    lines = ["prompt,chosen,rejected,user"]
    for number in range(14):
        for side in "ab":
            pixels = generator.integers(0, 256, (64, 64, 3), np.uint8)
            Image.fromarray(pixels).save(folder / f"img/{number}{side}.png")
        for place, user in enumerate(("ann", "bob", "cem", "dee", "eve", "fay")):
            first, second = "ab" if place % 2 else "ba"
            lines.append(f"apple {number},img/{number}{first}.png,img/{number}{second}.png,{user}")
    (folder / "pairs.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "pairs.csv"


def run(case: Case, folder: Path, table: Path, timeout: float) -> tuple[str, str, str]:
    """What a case came to, its command, and what it wrote."""
    places = {name: folder / name for name in ("spare", "gone", "here")}
    for place in places.values():
        place.mkdir(parents=True)
        place.chmod(0o777)
    settings = [*SMALL, *case.settings, f"data.table={table}", f"output={places['here']}/out"]
    words = [sys.executable, "-m", "ppd_lightning", *case.verbs, *settings]
    source = ROOT / "src"
    read_only = "".join(f"mount --bind {p} {p}; mount -o remount,ro,bind {p}; " for p in ("/tmp", "/var/tmp"))
    known = {**{name: str(place) for name, place in places.items()}, "source": str(source)}
    known["all_read_only"] = read_only + "cd /tmp;"
    prefix, mounts = case.prefix.format(**known), case.mounts.format(**known)
    script = f"cd {places['here']}; {mounts} {prefix} {shlex.join(words)}"
    command = f"unshare -m bash -c {shlex.quote(script)}" if case.mounts else f"bash -c {shlex.quote(script)}"
    environment = {**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        shlex.split(command),
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=timeout)
        came = kind(process.returncode, output, places["here"] / "out", case.verbs)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, came = process.communicate()[0], "hang"
    shutil.rmtree(folder, ignore_errors=True)
    return came, f"PYTHONPATH={source} {command}", output


def kind(code: int, output: str, made: Path, verbs: Sequence[str]) -> str:
    """Whether it ran, said a sentence, or neither."""
    if "Traceback (most recent call last)" in output:
        return "traceback"
    if code == 0:
        whole = "export" not in verbs or len(list(made.glob("runs/*/export/README.md"))) == 1
        return "ok" if whole and "damaged" not in output else "traceback"
    said = any(line.startswith("ppd: ") for line in output.splitlines())
    return "sentence" if code in (1, 2) and said else "traceback"


if __name__ == "__main__":
    sys.exit(main())
