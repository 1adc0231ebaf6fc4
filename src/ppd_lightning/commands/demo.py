"""`ppd demo`: the whole line in the embedded world, ending with a picture and win rates in one folder."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ppd_lightning.commands import embed, evaluate, label, prepare, train
from ppd_lightning.config.folders import data_folder
from ppd_lightning.config.schemas import Config
from ppd_lightning.data.splits import choose_count
from ppd_lightning.distributed.rank import current_rank
from ppd_lightning.errors import UserError
from ppd_lightning.generation.grid import as_pictures, draw_grid
from ppd_lightning.generation.sampling import draw_sheet
from ppd_lightning.generation.selection import chosen_captions
from ppd_lightning.generation.trained_run import open_run
from ppd_lightning.storage.atomic import atomic_path, write_json_atomic
from ppd_lightning.users.embeddings import people_served
from ppd_lightning.worlds.emoji.people import People, read_people

STEPS = {"prepare": prepare.run, "label": label.run, "embed": embed.run, "train": train.run, "evaluate": evaluate.run}


def run(config: Config) -> dict[str, Any]:
    """All verbs up to evaluate, then draw; write {output}/demo/grid.png and summary.json and print a table.

    Raises:
        UserError: as the verbs do; data.name is not emoji, or this is one of several processes.
    """
    if current_rank().size > 1:
        raise UserError("demo: starts its own processes; run it in one, with trainer.devices where you want several")
    begun, seconds, summaries = time.monotonic(), {}, {}
    for verb, work in STEPS.items():
        if verb == "label" and config.data.labels == "people":
            continue
        started = time.monotonic()
        summaries[verb] = work(config)
        seconds[verb] = round(time.monotonic() - started, 1)
    folder, started = Path(config.output) / "demo", time.monotonic()
    draw_people(config, folder / "grid.png")
    seconds["grid"] = round(time.monotonic() - started, 1)
    seconds["total"] = round(time.monotonic() - begun, 1)
    measured = ("win_rate", "oracle_win_rate", "concept_accuracy")
    kept = {"step0_loss": summaries["train"]["step0_loss"]}
    kept |= {name: value for name, value in summaries["evaluate"].items() if name.startswith(measured)}
    summary = {**kept, "pairs": summaries["train"]["pairs"], "seconds": seconds}
    write_json_atomic(folder / "summary.json", summary)
    _print(summary, folder)
    return {"folder": str(folder), **summary}


def draw_people(config: Config, path: Path) -> None:
    """Held-out captions for people, one for each favourite style, or for the rewards; the base is beside."""
    users, names = _rewards(config) if config.data.labels == "rewards" else _favourites(config)
    config = replace(config, generation=replace(config.generation, users=[*users]))
    trained, captions = open_run(config), chosen_captions(config)
    images = draw_sheet(trained.draw, captions, trained.sheet(users, captions), config.generation.seeds[0])
    with atomic_path(path) as unfinished:
        draw_grid(as_pictures(images), captions, ["the base\nknows nobody", *names]).save(unfinished)


def _rewards(config: Config) -> tuple[list[str], list[str]]:
    """The users that rewards are, and what stands above their pictures."""
    users = people_served(config)[0]["seen"]
    return users, [f"more\n{user}" for user in users]


def _favourites(config: Config) -> tuple[list[str], list[str]]:
    """A person for each favourite style, and what stands above their pictures; an unseen one if any can be served."""
    people, (groups, _) = read_people(data_folder(config) / "people.json"), people_served(config)
    shown = people.select(groups["unseen"] or groups["seen"])
    users = [_somebody_who_likes(shown, style) for style in range(len(shown.styles))]
    return users, [f"person {user}\nlikes {style}" for user, style in zip(users, shown.styles, strict=True)]


def _somebody_who_likes(people: People, style: int) -> str:
    """One of those whose favourite is this style; by hash."""
    favourites = people.style_weights.argmax(1)
    (chosen,) = choose_count(
        "demo", [user for user, own in zip(people.ids, favourites, strict=True) if own == style], 1
    )
    return chosen


def _print(summary: dict[str, Any], folder: Path) -> None:
    table = Table(title="Is the picture drawn for a person liked better than the base's?", title_justify="left")
    for name in ("people", "judge", "win rate", "95 %", "won", "lost", "tied", "of decided"):
        table.add_column(name, justify="right" if name not in ("people", "judge") else "left")
    for key, rates in summary.items():
        if "win_rate" in key:
            judge = {"win_rate": "first", "oracle_win_rate": "oracle"}.get(key, key.removeprefix("win_rate_by_"))
            for group, rate in rates.items():
                row = (f"{rate['rate']:.3f}", f"{rate['low']:.2f}-{rate['high']:.2f}", rate["wins"], rate["losses"])
                table.add_row(group, judge, *map(str, row), str(rate["ties"]), f"{rate['decided']:.2f}")
    console = Console()
    console.print(table)
    concepts = ", ".join(f"{name} {value:.3f}" for name, value in summary["concept_accuracy"].items())
    console.print(f"concept recognised: {concepts}; loss at step 0: {summary['step0_loss']:.6f}")
    console.print(f"seconds: {json.dumps(summary['seconds'])}\npictures: {folder / 'grid.png'}")
