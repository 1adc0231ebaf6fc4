"""Runs the steps of a target of the Dockerfile without Docker: `python dev/image_steps.py cpu FOLDER`.

COPY copies the files of git into FOLDER. RUN runs in a new virtual environment which sees the packages of this one, so
that pip has little to fetch. ARG takes its default unless the environment has a value. What needs root (a user) is left
out.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OF_ROOT = ("useradd",)


def instructions(text: str) -> list[tuple[str, str]]:
    """The instructions of a Dockerfile with their words; comments are none."""
    joined = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE))
    return [(line.split()[0], line.partition(" ")[2].strip()) for line in joined.splitlines() if line.strip()]


def steps_of(text: str, target: str) -> list[tuple[str, str]]:
    """Those of a target and of the stages that it is built from, in their order."""
    stages: dict[str, tuple[str, list[tuple[str, str]]]] = {}
    name = ""
    for word, rest in instructions(text):
        if word == "FROM":
            origin, _, name = rest.split()
            stages[name] = (origin, [])
        else:
            stages[name][1].append((word, rest))
    found: list[tuple[str, str]] = []
    while target in stages:
        target, own = stages[target][0], stages[target][1]
        found = own + found
    return found


def environment_in(folder: Path) -> dict[str, str]:
    """A virtual environment with pip, behind which the packages of this one lie, and the variables to use it."""
    venv.create(folder, with_pip=True)
    purelib = sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)})
    Path(purelib, "packages.pth").write_text(sysconfig.get_path("purelib") + "\n")  # no .pth of there is read
    others = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return others | {"PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"}


def copy(words: str, to: Path) -> None:
    """COPY: `. .`, or single files."""
    *names, _ = words.split()
    for name in names:
        listed = subprocess.run(
            ["git", "ls-files", "-co", "--exclude-standard", name], cwd=ROOT, capture_output=True, text=True, check=True
        )
        for file in listed.stdout.splitlines():
            if (ROOT / file).is_file():
                (to / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / file, to / file)


def main(target: str, folder: Path) -> None:
    """Run the steps; one that fails ends it."""
    source = folder / "source"
    source.mkdir(parents=True)
    environment = environment_in(folder / "venv")
    for word, rest in steps_of((ROOT / "Dockerfile").read_text("utf-8"), target):
        print(f"{word} {rest}", flush=True)
        if word == "COPY":
            copy(rest, source)
        elif word == "ENV":
            environment |= dict(part.split("=", 1) for part in shlex.split(rest))
        elif word == "ARG":
            name, _, default = rest.partition("=")
            environment.setdefault(name, default)
        elif word == "RUN" and not rest.startswith(OF_ROOT):
            subprocess.run(["/bin/sh", "-c", rest], cwd=source, env=environment, check=True)
        elif word == "ENTRYPOINT":
            subprocess.run([*re.findall(r'"([^"]+)"', rest), "--help"], cwd=folder, env=environment, check=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]).resolve())
