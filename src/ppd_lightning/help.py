"""`ppd --help` and `ppd VERB --help`: verbs, options of each group, keys with what they mean and their default."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ppd_lightning.commands.verbs import VERBS
from ppd_lightning.config.groups import OF_HYDRA, options
from ppd_lightning.flags import FLAGS

USAGE = "ppd VERB... [group=option] [key=value] [-m] [--dry-run] [--config-dir DIR]"
EXAMPLES = (
    "ppd prepare embed train evaluate generate experiment=emoji/demo",
    "ppd train experiment=emoji/ppd -m objective.beta=0.1,0.5,2 mode=synthetic,real",
    "ppd train evaluate experiment=emoji/ppd -m sweep=beta hydra/launcher=joblib hydra.launcher.n_jobs=2",
    "ppd report",
    "ppd validate experiment=emoji/ppd optimizer.lr=1e-4",
)

COMPLETION = 'eval "$(register-python-argcomplete ppd)"'


def print_help(verbs: Sequence[str], config_dir: Path | None = None) -> None:
    """Help on the command or, where verbs are given, on these."""
    console = Console(highlight=False)
    if not verbs:
        console.print(f"[bold]{escape(USAGE)}[/]\n")
        console.print("Several verbs run in the order given; the same command again resumes.")
        _section(console, "Verbs", [(name, verb.meaning) for name, verb in VERBS.items()])
        _section(console, "Groups and their options", _option_rows([*options(), *OF_HYDRA], config_dir))
        _section(console, "Flags", [(f"{', '.join(flag.names)} {flag.value}".strip(), flag.meaning) for flag in FLAGS])
        console.print("\n[bold]Examples[/]\n  " + "\n  ".join(EXAMPLES), soft_wrap=True)
        console.print(f"\n[bold]Tab completion[/] (bash, zsh)\n  {COMPLETION}", soft_wrap=True)
        return
    for verb in verbs:
        groups = VERBS[verb].groups
        console.print(f"[bold]ppd {verb} {escape('[group=option] [key=value]')}[/]\n\n{VERBS[verb].meaning}")
        _section(console, "Groups that it reads", _option_rows([*groups, "experiment"], config_dir))
        _section(console, "With -m", _option_rows(["sweep", *OF_HYDRA], config_dir))
        _section(console, "Keys", list(_key_rows([*groups, "seed", "output"], config_dir)))


def _section(console: Console, title: str, rows: Sequence[Sequence[str]]) -> None:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 2))
    for row in rows:
        table.add_row(*map(escape, row))
    console.print(f"\n[bold]{title}[/]")
    console.print(table)


def _option_rows(groups: Sequence[str], config_dir: Path | None) -> list[tuple[str, str]]:
    found = {group: dict.fromkeys(known) for group, known in options(config_dir).items()}
    for group, known in OF_HYDRA.items():
        found[group] = dict.fromkeys([*known, *found.get(group, {})])
    return [(f"{group}=", ", ".join(found[group])) for group in dict.fromkeys(groups) if group in found]


def _key_rows(groups: Sequence[str], config_dir: Path | None) -> Iterator[tuple[str, str]]:
    from ppd_lightning.config.compose import compose  # Hydra and pydantic: the general help does without them
    from ppd_lightning.config.keys import known_keys

    values = dict(_leaves(dataclasses.asdict(compose([], config_dir))))
    read = {"rewards" if group == "reward" else group for group in groups}
    for key in known_keys(config_dir=config_dir).values():
        if key.name.partition(".")[0] not in read:
            continue
        default = f" [default {json.dumps(values[key.name])}]" if key.name in values else ""
        yield key.name, f"{key.meaning} ({key.expected}){default}"


def _leaves(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
