"""`ppd report`: the runs of a sweep beside each other, as a page, and the best of them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from ppd_lightning.config.schemas import Config
from ppd_lightning.run.atomic import write_text_atomic
from ppd_lightning.run.errors import UserError
from ppd_lightning.run.sweep_table import read_runs, read_sweep
from ppd_lightning.sweeps.best import best_run, metric_of
from ppd_lightning.sweeps.page import page

log = logging.getLogger(__name__)


def run(config: Config) -> dict[str, Any]:
    """Write `report.html` into the sweep's folder, as it stands now, also while its runs are under way.

    Returns:
        the page, how many runs are in each state, and the best one.

    Raises:
        UserError: there is no such sweep, or nothing measured what `report.metric` names.
    """
    folder = _newest(Path(config.output)) if config.report.sweep is None else Path(config.report.sweep)
    sweep, runs = read_sweep(folder), read_runs(folder)
    metric = metric_of(runs, config.report.metric)
    best = None if metric is None else best_run(runs, metric, config.report.goal)
    write_text_atomic(folder / "report.html", page(sweep, runs, metric, best))
    log.info("%s", folder / "report.html")
    summary: dict[str, Any] = {
        "page": str(folder / "report.html"),
        "runs": {state: sum(run.state == state for run in runs) for state in ("done", "failed", "running", "waiting")},
    }
    if best is not None and metric is not None:
        summary["best"] = {"run": best.number, "folder": best.folder, metric: best.numbers[metric], **best.overrides}
        log.info("best by %s: run %d, %.4g, in %s", metric, best.number, best.numbers[metric], best.folder)
    return summary


def _newest(output: Path) -> Path:
    tables = sorted((output / "sweeps").glob("*/runs.csv"), key=lambda path: path.stat().st_mtime)
    if not tables:
        raise UserError(f"report.sweep: {output / 'sweeps'} holds no sweep yet; `ppd VERB... -m KEY=A,B` makes one")
    return tables[-1].parent
