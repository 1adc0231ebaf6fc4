"""`ppd demo`: the whole line in the embedded world, ending with an image sheet and win rates in one folder."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from ppd_lightning.commands import embed, evaluate, label, prepare, train
from ppd_lightning.commands.win_rate_table import MEASURES, print_win_rates
from ppd_lightning.config.root import Config
from ppd_lightning.config.workspace import Workspace
from ppd_lightning.distributed.rank import current_rank
from ppd_lightning.errors import UserError
from ppd_lightning.generation.grid import draw_grid
from ppd_lightning.generation.selection import chosen_captions
from ppd_lightning.generation.sheets import draw_sheets
from ppd_lightning.storage.atomic import FORBIDDEN, atomic_path, write_json_atomic

STEPS = {
    "prepare": prepare.run,
    "label": label.run,
    "embed": embed.run,
    "train": train.run,
    "evaluate": evaluate.measure,
}


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
    reported = ("win_rate", "oracle_win_rate", "share_of_possible", "concept_accuracy", "content", *MEASURES)
    kept = {"step0_loss": summaries["train"]["step0_loss"]}
    kept |= {name: value for name, value in summaries["evaluate"].items() if name.startswith(reported)}
    summary = {**kept, "pairs": summaries["train"]["pairs"], "seconds": seconds}
    try:
        write_json_atomic(folder / "summary.json", summary)
    except OSError as error:
        if error.errno not in FORBIDDEN or not (folder / "summary.json").exists():
            raise  # else it is there already, with the seconds of who made it
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
    print_win_rates(summary)
    print(f"loss at step 0: {summary['step0_loss']:.6f}")
    print(f"seconds: {json.dumps(summary['seconds'])}\nimages: {folder / 'grid.png'}")
