"""`ppd stats`: what the prepared pairs are made of, as tables and a figure."""

from __future__ import annotations

import dataclasses
import logging
import math
from typing import Any

from matplotlib.figure import Figure
from rich.table import Table

from ppd_lightning.config.root import Config
from ppd_lightning.config.workspace import Workspace
from ppd_lightning.console import table_console
from ppd_lightning.data.left_out import LEFT_OUT, NOT_PAIRED, require_pairs
from ppd_lightning.data.splits import SPLITS
from ppd_lightning.data.tally import Tally, tally
from ppd_lightning.figures.data_statistics import Bar, statistics_figure
from ppd_lightning.figures.files import save_figure
from ppd_lightning.storage.atomic import FORBIDDEN

log = logging.getLogger(__name__)

MODELS, BARS = 20, 10
"""So many models are listed, and so many have a bar in the figure; the others are one."""


def run(config: Config) -> dict[str, Any]:
    """Print the tables and write the figure, stats.png, stats.pdf and stats.svg beside the pairs.

    Returns:
        the summary: rows, ties, pairs, users and their pairs at some quantiles, captions, images, models and splits.

    Raises:
        UserError: the data are not prepared, or no row became a pair.
    """
    data, title = Workspace(config).data, f"{config.data.name}, {config.data.labels}"
    counts = data.read_counts()
    pairs = data.read_pairs()
    require_pairs(data.pairs_path, {**counts, "pairs": len(pairs)})
    found = tally(pairs, data.images_table(("image_id", "model")))
    usable = counts["rows"] - sum(counts.get(reason, 0) for reason in LEFT_OUT)
    path = data.pairs_path.with_name("stats.png")
    summary = {
        "rows": counts["rows"],
        "usable": usable,
        "ties": counts["ties"],
        "share_of_ties": round(counts["ties"] / usable, 4) if usable else 0.0,
        "left_out": {name: counts[name] for name in (*LEFT_OUT, *NOT_PAIRED) if counts.get(name)},
        **dataclasses.asdict(found.splits["all"]),
        "pairs_per_user": found.quantiles(),
        "splits": {name: dataclasses.asdict(part) for name, part in found.splits.items() if name != "all"},
        "models": {model.name or "unknown": dataclasses.asdict(model) for model in found.models},
        "picture": str(path),
    }
    _print(title, found, summary)
    ties = f"{100 * summary['share_of_ties']:.1f} % of the choices are ties"
    try:
        save_figure(tally_figure(found, f"{title}: {ties}"), path)
    except OSError as error:
        if error.errno not in FORBIDDEN or not path.exists():
            raise
        log.warning("%s stays as it is: nothing can be written there", path)
    return summary


def tally_figure(found: Tally, title: str) -> Figure:
    """The long tail of pairs over users, the splits, and how often each model's images win."""
    whole, median = found.splits["all"], found.quantiles()["median"]
    splits = [
        Bar(name, part.pairs / whole.pairs, f"{part.pairs:,} pairs, {part.users:,} users")
        for name, part in ((name, found.splits[name]) for name in SPLITS)
    ]
    return statistics_figure(
        title,
        found.pairs_per_user,
        splits,
        _model_bars(found) if len(found.models) > 1 else [],
        users_words=f"{whole.users:,} users; median {median:,}, most {found.pairs_per_user[0]:,}",
        splits_words=f"{whole.pairs:,} pairs, {whole.captions:,} captions",
    )


def _model_bars(found: Tally) -> list[Bar]:
    own = found.models if len(found.models) <= BARS else found.models[: BARS - 1]
    bars = []
    for model in own:
        rate = None if math.isnan(model.win_rate) else model.win_rate
        words = "no pairs" if rate is None else f"{100 * rate:.0f} %"
        bars.append(Bar(model.name or "unknown", rate, f"{words}, {model.images:,} images"))
    rest = found.models[len(own) :]
    if rest:
        won, lost = sum(model.won for model in rest), sum(model.lost for model in rest)
        images = sum(model.images for model in rest)
        bars.append(Bar(f"{len(rest)} others", won / max(1, won + lost), f"{images:,} images"))
    return bars


def _print(title: str, found: Tally, summary: dict[str, Any]) -> None:
    whole = Table("", "number", title=title, title_justify="left")
    whole.columns[1].justify = "right"
    whole.add_row("rows of the source", f"{summary['rows']:,}")
    for name, count in summary["left_out"].items():
        share = f" ({100 * summary['share_of_ties']:.1f} % of the usable)" if name == "ties" else ""
        whole.add_row(f"  left out: {name.replace('_', ' ')}", f"{count:,}{share}")
    for name in ("pairs", "users", "captions", "images"):
        whole.add_row(name, f"{summary[name]:,}")
    for name, count in summary["pairs_per_user"].items():
        whole.add_row(f"  pairs a user, {name}", f"{count:,}")
    whole.add_row("  pairs of the most active 10 %", f"{100 * found.share_of_most_active(0.1):.0f} %")
    splits = _table("split", "pairs", "users", "captions", "images")
    for name, part in found.splits.items():
        splits.add_row(name, *(f"{value:,}" for value in dataclasses.astuple(part)))
    models = _table("model", "images", "won", "lost", "win rate")
    for model in found.models[:MODELS]:
        rate = f"{100 * model.win_rate:.1f} %" if model.won + model.lost else "-"
        models.add_row(model.name or "unknown", f"{model.images:,}", f"{model.won:,}", f"{model.lost:,}", rate)
    if len(found.models) > MODELS:
        models.add_row(f"and {len(found.models) - MODELS} more")
    console = table_console()
    for table in (whole, splits, models):
        console.print(table)


def _table(first: str, *numbers: str) -> Table:
    table = Table(first)
    for name in numbers:
        table.add_column(name, justify="right")
    return table
