"""`ppd demo`: the whole line in the embedded world, ending with an image sheet and win rates in one folder."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ppd_lightning.commands import embed, evaluate, label, prepare, train
from ppd_lightning.config.root import Config
from ppd_lightning.config.workspace import Workspace
from ppd_lightning.distributed.rank import current_rank
from ppd_lightning.errors import UserError
from ppd_lightning.generation.grid import draw_grid
from ppd_lightning.generation.selection import chosen_captions
from ppd_lightning.generation.sheets import draw_sheets
from ppd_lightning.storage.atomic import atomic_path, write_json_atomic

STEPS = {"prepare": prepare.run, "label": label.run, "embed": embed.run, "train": train.run, "evaluate": evaluate.run}

PERSONAL = {
    "other_taste_win_rate": "own image over the base's, judged by another person",
    "own_against_other": "own image over another person's, judged by the person",
    "preference_accuracy": "held-out pairs that the model's implicit reward orders rightly",
}
"""Parts of an evaluation's summary that say whether it is personal, and what they measure."""


def run(config: Config) -> dict[str, Any]:
    """All verbs up to evaluate, then draw; write {output}/demo/grid.png and summary.json and print a table.

    Raises:
        UserError: as the verbs do; the data's people are not simulated, or this is one of several processes.
    """
    if not config.data.simulated:
        raise UserError(
            f"demo: needs simulated people, and those of data={config.data.name} are not; run the verbs alone"
        )
    if current_rank().size > 1:
        raise UserError("demo: starts its own processes; run it in one, with trainer.devices where you want several")
    begun, seconds, summaries = time.monotonic(), {}, {}
    for verb, work in STEPS.items():
        if verb == "label" and config.data.labels == "people":
            continue
        started = time.monotonic()
        summaries[verb] = work(config)
        seconds[verb] = round(time.monotonic() - started, 1)
    workspace, started = Workspace(config), time.monotonic()
    folder = workspace.output / "demo"
    draw_people(workspace, folder / "grid.png")
    seconds["grid"] = round(time.monotonic() - started, 1)
    seconds["total"] = round(time.monotonic() - begun, 1)
    reported = ("win_rate", "oracle_win_rate", "concept_accuracy", *PERSONAL)
    kept = {"step0_loss": summaries["train"]["step0_loss"]}
    kept |= {name: value for name, value in summaries["evaluate"].items() if name.startswith(reported)}
    summary = {**kept, "pairs": summaries["train"]["pairs"], "seconds": seconds}
    write_json_atomic(folder / "summary.json", summary)
    _print(summary, folder)
    return {"folder": str(folder), **summary}


def draw_people(workspace: Workspace, path: Path) -> None:
    """Held-out captions for people, one for each kind of taste, or for the rewards; the base is beside."""
    settings, data = workspace.config.generation, workspace.data
    groups, simulation = workspace.users.served()[0], workspace.simulation
    if simulation is None or data.by_rewards:
        people = [(user, f"more\n{user}") for user in groups["seen"]]
    else:
        people = simulation.representatives(groups["unseen"] or groups["seen"])
    captions = chosen_captions(settings, data)
    (sheet,) = draw_sheets(workspace.trained_run(), captions, [user for user, _ in people], settings.seeds[:1])
    with atomic_path(path) as unfinished:
        draw_grid(sheet.pictures(), captions, ["the base\nknows nobody", *(name for _, name in people)]).save(
            unfinished
        )


def _print(summary: dict[str, Any], folder: Path) -> None:
    intervals = "captions" if "win_rate_of_each" in summary else "users"
    title = f"Is the image drawn for a person liked better than the base's? 95 % intervals: bootstrap over {intervals}"
    table = Table(title=title, title_justify="left")
    for name in ("people", "judge", "win rate", "95 % interval", "won", "lost", "tied", "of decided"):
        table.add_column(name, justify="right" if name not in ("people", "judge") else "left")
    for key, rates in summary.items():
        if "win_rate" in key and key not in PERSONAL:
            judge = {"win_rate": "first", "oracle_win_rate": "oracle"}.get(key, key.removeprefix("win_rate_by_"))
            for group, rate in rates.items():
                row = (f"{rate['rate']:.3f}", f"{rate['low']:.2f}-{rate['high']:.2f}", rate["wins"], rate["losses"])
                table.add_row(group, judge, *map(str, row), str(rate["ties"]), f"{rate['decided']:.2f}")
    console = Console()
    console.print(table)
    console.print(_personal_table(summary, intervals))
    for name, accuracy in summary.get("concept_accuracy", {}).items():
        console.print(f"concept recognised, {name}: {accuracy:.3f}")
    console.print(f"loss at step 0: {summary['step0_loss']:.6f}")
    console.print(f"seconds: {json.dumps(summary['seconds'])}\nimages: {folder / 'grid.png'}")


def _personal_table(summary: dict[str, Any], intervals: str) -> Table:
    title = f"Is it personal? 95 % intervals: bootstrap over {intervals}; 0.5 is chance"
    table = Table(title=title, title_justify="left")
    for name in ("people", "measure", "rate", "95 % interval", "n"):
        table.add_column(name, justify="left" if name in ("people", "measure") else "right")
    for key, words in PERSONAL.items():
        for group, rate in summary.get(key, {}).items():
            interval = f"{rate['low']:.2f}-{rate['high']:.2f}"
            table.add_row(group, words, f"{rate['rate']:.3f}", interval, str(rate["n"]))
    return table
