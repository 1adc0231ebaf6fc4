"""How soon pictures of a new person are there: four choices in, eight pictures out, from the start of a process.

    python experiments/bench/newcomer.py          (make bench)

In the embedded world, with the demo's training, which is made first where it is not there. In turn: importing torch
alone; `ppd describe generate` (four captions, for the person and by the base); a Python script with
`ppd_lightning.open` (eight captions for the person), which then describes and draws twice more in the same process.
Seconds by the clock and of the processor, the least of some rounds, and both as multiples of importing torch, for other
work on the machine slows all alike. Prints and writes outputs/bench/newcomer.json.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import ppd_lightning
from ppd_lightning.commands import embed, prepare, train
from ppd_lightning.config.compose import compose
from ppd_lightning.config.folders import run_folder

CAPTIONS = ("a cat", "a boat", "a red apple", "a house", "a dog", "a tree", "a car", "a bus")
SCRIPT = """
import json, sys, time
import ppd_lightning

folder, captions, pictures = json.loads(sys.argv[1])
choices = [(caption, *pair) for caption, pair in zip(captions, pictures)]
model = ppd_lightning.open(folder)
for number in range(3):
    begun = time.perf_counter(), time.process_time()
    images = model.draw(captions, users=[model.describe(choices)])
assert len(images) == 8
print(json.dumps([time.perf_counter() - begun[0], time.process_time() - begun[1]]))
"""
ONCE = SCRIPT.replace("range(3)", "range(1)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--output", type=Path, default=Path("outputs"))
    args = parser.parse_args()
    (args.output / "bench").mkdir(parents=True, exist_ok=True)
    config = compose(["experiment=emoji/demo", f"output={args.output}"])
    for verb in (prepare, embed, train):
        verb.run(config)
    least: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(dir=args.output) as temporary:
        folder = Path(temporary)
        run, table, pictures = newcomer(run_folder(config), folder)
        people = f"{folder}/ann.safetensors"
        command = [
            *("-m", "ppd_lightning", "describe", "generate", "experiment=emoji/demo", f"output={folder}"),
            *(f"describe.choices={table}", f"describe.to={people}", f"generation.people=[{people}]"),
            f"generation.captions=[{','.join(CAPTIONS[:4])}]",
        ]
        given = json.dumps([str(run), CAPTIONS, pictures])
        for _ in range(args.rounds):
            for drawn in (*run.glob("generation-*"), *run.glob("images-*"), folder / "images"):
                shutil.rmtree(drawn, ignore_errors=True)
            found = {"import torch": timed(["-c", "import torch"])[0], "ppd": timed(command)[0]}
            found["python"] = timed(["-c", ONCE, given])[0]
            found["warm"] = tuple(json.loads(timed(["-c", SCRIPT, given])[1]))
            for name, seconds in found.items():
                least[name] = [min(pair) for pair in zip(least.get(name, seconds), seconds, strict=True)]
    report = {
        name: {
            "seconds": round(clock, 2),
            "processor_seconds": round(processor, 2),
            "times_import_torch": round(clock / least["import torch"][0], 2),
            "processor_times_import_torch": round(processor / least["import torch"][1], 2),
        }
        for name, (clock, processor) in least.items()
    }
    text = json.dumps(report | {"load": round(os.getloadavg()[0], 1), "rounds": args.rounds}, indent=2)
    print(text)
    (args.output / "bench" / "newcomer.json").write_text(text + "\n")


def newcomer(trained: Path, folder: Path) -> tuple[Path, Path, list[list[str]]]:
    """A copy of the run, without its data, and the choices of somebody between the base's pictures, in a folder.

    Returns:
        the run, the table of choices, and the two files of each choice, the preferred one first.
    """
    run = folder / "runs" / trained.name
    shutil.copytree(trained, run, ignore=shutil.ignore_patterns("checkpoints", "images-*", "generation-*"))
    drawn = ppd_lightning.open(run).draw(CAPTIONS[:4], seeds=[1, 2])
    for number, picture in enumerate(drawn):
        picture.save(folder / f"{number}.png")
    lines = [f"{caption},{2 * row}.png,{2 * row + 1}.png,0,ann" for row, caption in enumerate(CAPTIONS[:4])]
    table = folder / "choices.csv"
    table.write_text("\n".join(["caption,image_0,image_1,choice,user", *lines]) + "\n")
    return run, table, [[str(folder / f"{2 * row}.png"), str(folder / f"{2 * row + 1}.png")] for row in range(4)]


def timed(arguments: list[str]) -> tuple[tuple[float, float], str]:
    """Seconds of a new Python by the clock and of the processor, and what it printed."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, check=True)
    seconds, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return (seconds, processor), done.stdout


if __name__ == "__main__":
    main()
