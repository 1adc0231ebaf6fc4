"""Which recipe moves PPD off SFT's curve? Trains and evaluates recipes with seeds, and compares them at equal content.

    python experiments/emoji/recipes/study.py FOLDER [--recipes ppd,sft,sdpo] [--seeds 3] [--experiment emoji/generated]
    python experiments/emoji/recipes/study.py FOLDER --reported --recipes ppd,sft,diffusion_dpo --seeds 5

The first decides: its people are others than in every reported study (data.seed), its captions such as no reported
study draws: 40 concepts are held out in place of 25, and what is drawn are the 15 that the others train on. The second
reports, with the people and captions of the experiment itself. FOLDER is the output folder of all commands, with
study.log and results.csv, a table of all recipes that have trainings there. What is finished there is not made again;
the same command goes on. One thread.
"""

from __future__ import annotations

import argparse
import csv
import logging
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipes import RECIPES

from ppd_lightning.config.compose import compose
from ppd_lightning.config.folders import run_folder
from ppd_lightning.config.run_resolver import RunResolver
from ppd_lightning.config.workspace import Workspace
from ppd_lightning.data.splits import choose_count
from ppd_lightning.evaluation.statistics.bootstrap import Estimate
from ppd_lightning.reports.run_results import RunResult, read_run_result
from ppd_lightning.reports.study import Settings, Study, studies_of
from ppd_lightning.storage.atomic import atomic_path

VALIDATION = ("data.seed=19", "data.held_out_concepts=40")
REPORTED = 25
"""Concepts that the studies hold out."""
SCALES = (1.0, 2.0, 3.5, 5.0, 7.0, 10.0)
RIVALS = ("sft", "sft to 1.0", "ppd", "ppd to 0.95")
RESAMPLES = 1000
INTERVAL = "user_guidance_interval"
CONTENT = "concept_probability"
"""Where recipes are compared at equal content: it has no ceiling, as the share of recognised concepts has."""
COLUMNS = ("recipe", "group", "what", "at", "value", "low", "high", "content", "comparisons", "people", "trainings")

log = logging.getLogger("recipes")


def main() -> None:
    asked = arguments()
    asked.folder.mkdir(parents=True, exist_ok=True)
    handlers: list[logging.Handler] = [logging.StreamHandler(), logging.FileHandler(asked.folder / "study.log")]
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", handlers=handlers)
    log.setLevel(logging.INFO)
    common = [
        f"experiment={asked.experiment}",
        *(() if asked.reported else VALIDATION),
        f"output={asked.folder}",
        f"trainer.max_steps={asked.steps}",
        f"trainer.checkpoint_every={asked.steps}",
        "trainer.threads=1",
        *asked.set,
    ]
    command(asked.folder, "data", ["prepare", *common])
    captions = "held_out" if asked.reported else captions_file(asked.folder, common)
    drawn = [f"evaluation.captions={captions}", f"evaluation.comparisons={asked.comparisons}", *asked.evaluate]
    for seed in range(asked.seeds):
        for name in asked.recipes:
            settings = [*common, *RECIPES[name], f"seed={seed}"]
            make(asked.folder, settings, drawn, asked.scales, f"{name}, seed {seed}")
    found: dict[str, Finished] = {}
    for name in dict.fromkeys([*asked.recipes, *RECIPES]):
        one = Finished.of([*common, *RECIPES[name]])
        if one.runs and not any(one.is_also(other) for other in found.values()):
            found[name] = one
    write(asked.folder / "results.csv", rows_of(found), asked.recipes)


@dataclass(frozen=True)
class Finished:
    """The trainings of a recipe, one a seed, and the times at which it draws for users: recipes may share trainings."""

    runs: list[RunResult]
    interval: list[float]

    @classmethod
    def of(cls, settings: Sequence[str]) -> Finished:
        """What these settings have left, for seeds from 0 on as far as they are evaluated."""
        runs: list[RunResult] = []
        while (run := result([*settings, f"seed={len(runs)}"])) is not None and run.evaluations:
            runs.append(run)
        return cls(runs, interval_of(settings))

    def is_also(self, other: Finished) -> bool:
        """Whether two recipes are the same under the settings of this call."""
        return [run.folder for run in self.runs] == [run.folder for run in other.runs] and (
            self.interval == other.interval
        )

    def names(self, study: Study) -> set[str]:
        """Of the study's methods, those that are this recipe."""
        own = {run.folder for run in self.runs}
        return {
            method.name
            for method in study.methods
            if method.runs[0].folder in own and method.settings[f"generation.{INTERVAL}"] == self.interval
        }


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--recipes", type=lambda text: text.split(","), default=list(RECIPES))
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each recipe")
    parser.add_argument("--steps", type=int, default=600, help="of a training")
    parser.add_argument("--comparisons", type=int, default=150, help="in each group of people")
    parser.add_argument("--experiment", default="emoji/ppd", help="what the recipes change: emoji/ppd, emoji/generated")
    parser.add_argument("--reported", action="store_true", help="the experiment's own people and captions")
    parser.add_argument("--scales", type=lambda text: [float(one) for one in text.split(",")], default=SCALES)
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="further settings of all recipes")
    parser.add_argument("--evaluate", nargs="*", default=["evaluation.others=null", "evaluation.preference_draws=0"])
    asked = parser.parse_args()
    unknown = [name for name in asked.recipes if name not in RECIPES]
    if unknown:
        parser.error(f"--recipes: {', '.join(unknown)} is none of {', '.join(RECIPES)}")
    return asked


def captions_file(folder: Path, common: Sequence[str]) -> Path:
    """The captions that are drawn, a line each, of data that are prepared first.

    Raises:
        SystemExit: those of other settings are there.
    """
    path, data = folder / "captions.txt", Workspace(compose(common)).data
    held_out = data.captions(held_out=True)
    every = [*held_out, *data.captions(held_out=False)]
    kept = sorted(set(held_out) - choose_count("caption", every, REPORTED))
    lines = "".join(f"{caption}\n" for caption in kept)
    if path.exists() and path.read_text() != lines:
        sys.exit(f"{path}: these captions are not those of these settings; take another folder")
    with atomic_path(path) as unfinished:
        unfinished.write_text(lines)
    return path.absolute()


def make(folder: Path, settings: Sequence[str], drawn: Sequence[str], asked: Sequence[float], name: str) -> None:
    """One training, evaluated along the user guidance scale, unless that is there."""
    run, config = result(settings), compose([*settings, *drawn])
    done = {
        one.guidance
        for one in (run.evaluations if run else ())
        if one.settings["generation"][INTERVAL] == list(config.generation.user_guidance_interval)
        and serves(one.settings["evaluation"], vars(config.evaluation))
    }
    missing = sorted(set(asked) - done)
    if run is None:
        command(folder, name, ["embed", "train", *settings])
    if missing:
        scales = ",".join(map(str, missing))
        command(folder, name, ["evaluate", "-m", *settings, *drawn, f"generation.user_guidance={scales}"])


def serves(evaluated: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether an evaluation has what is wanted: the same settings, and comparisons enough."""
    others = {key: value for key, value in wanted.items() if key != "comparisons"}
    made, asked = evaluated["comparisons"], wanted["comparisons"]
    enough = made is None or (asked is not None and made >= asked)  # None is all that there are
    return enough and all(evaluated.get(key) == value for key, value in others.items())


def command(folder: Path, name: str, words: Sequence[str]) -> None:
    """Run `ppd` with its log in study.log.

    Raises:
        SystemExit: it failed.
    """
    log.info("%s: ppd %s", name, " ".join(words))
    with (folder / "study.log").open("a") as file:
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, "-m", "ppd_lightning", *words], stdout=file, stderr=file, env=environment
        )
    if done.returncode:
        sys.exit(f"{name}: ppd {words[0]} ended with {done.returncode}; see {folder / 'study.log'}")


def result(settings: Sequence[str]) -> RunResult | None:
    """The finished run of these settings."""
    folder = run_folder(compose(settings))
    run = read_run_result(folder, RunResolver()) if (folder / "config.yaml").exists() else None
    return run if run is not None and run.finished else None


def interval_of(settings: Sequence[str]) -> list[float]:
    """The times at which images are drawn for users."""
    return list(compose(settings).generation.user_guidance_interval)


def rows_of(found: dict[str, Finished]) -> list[dict[str, object]]:
    """Win rates and gains over the base at each scale, then the differences to the rivals at equal content."""
    rows: list[dict[str, object]] = []
    for name, one in found.items():
        study = compared(one.runs)
        for curve in [curve for curve in study.curves if curve.method in one.names(study)]:
            for what, taste in curve.taste.items():
                for scale, found_taste, content in zip(curve.scales, taste, curve.content, strict=True):
                    rows.append(row(name, curve.group, what, scale, found_taste, content.value))
    for name, one in found.items():
        for rival in RIVALS:
            if rival in found and name != rival:
                rows += differences(name, one, rival, found[rival])
    return rows


def compared(runs: Sequence[RunResult]) -> Study:
    """On the terms on which most was evaluated."""
    return studies_of(runs, Settings(CONTENT, None, RESAMPLES))[0]


def differences(name: str, own: Finished, rival_name: str, rival: Finished) -> list[dict[str, object]]:
    """Of the recipe's win rate to the rival's: the mean over the contents that both reach, in each group."""
    study = compared(list({run.folder: run for run in (*own.runs, *rival.runs)}.values()))
    names, others = own.names(study), rival.names(study)
    rows = []
    for one in study.at_equal_content:
        mean = one.differences[0]
        forward, backward = one.one in names and one.other in others, one.other in names and one.one in others
        if mean.level is not None or not (forward or backward):
            continue
        value, low, high = (mean.value, mean.low, mean.high)
        if backward:
            value, low, high = -value, -high, -low
        estimate = Estimate(value, low, high, one.n, one.people, len(own.runs))
        rows.append(
            row(name, one.group, f"{one.taste} over {rival_name}", f"{mean.begin:.3f} to {mean.end:.3f}", estimate, "")
        )
    return rows


def row(name: str, group: str, what: str, at: object, found: Estimate, content: object) -> dict[str, object]:
    numbers = (found.value, found.low, found.high)
    return dict(
        zip(COLUMNS, (name, group, what, at, *numbers, content, found.n, found.people, found.trainings), strict=True)
    )


def write(path: Path, rows: Sequence[dict[str, object]], printed: Sequence[str]) -> None:
    """As CSV; those of some recipes as lines."""
    with atomic_path(path) as unfinished, unfinished.open("w", newline="") as file:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    for one in (one for one in rows if one["recipe"] in printed):
        content = f", content {one['content']:.3f}" if one["content"] != "" else ""
        print(
            f"{one['recipe']:16} {one['group']:7} {one['what']:17} at {one['at']!s:15} "
            f"{one['value']:+.3f} ({one['low']:+.3f} to {one['high']:+.3f}){content}"
        )


if __name__ == "__main__":
    main()
