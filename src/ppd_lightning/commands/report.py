"""`ppd report`: a page about a run, a sweep, or several of them as a study that compares methods."""

from __future__ import annotations

import errno
import logging
from pathlib import Path
from typing import Any

from ppd_lightning.config.root import Config
from ppd_lightning.config.run_resolver import RunResolver
from ppd_lightning.errors import UserError
from ppd_lightning.reports.page_files import Page, write_page
from ppd_lightning.reports.pages import run_page, study_page, sweep_page
from ppd_lightning.reports.run_results import RunResult, read_run_result
from ppd_lightning.reports.study import Settings
from ppd_lightning.storage.checksums import DONE
from ppd_lightning.storage.fingerprints import fingerprint
from ppd_lightning.storage.finished_run import AGAIN
from ppd_lightning.storage.result_folder import require_whole
from ppd_lightning.storage.sweep_table import SweepRun, newest_sweep, read_runs, read_sweep
from ppd_lightning.sweeps.best import MAIN_NUMBERS, best_run, metric_of

log = logging.getLogger(__name__)

RESOLVER = RunResolver()


def run(config: Config) -> dict[str, Any]:
    """Write report.html and figures/ into the folder of the run or sweep; of methods also tables and study.json.

    Returns:
        the page; of a sweep how many runs are in each state, and the best one; of a study its methods.

    Raises:
        UserError: a folder holds neither run nor sweep, or nothing measured what `report.metric` names.
    """
    asked = config.report
    settings = Settings(asked.content, asked.levels, asked.bootstrap)
    folders = (
        [newest_sweep(Path(config.output), "report.of")] if asked.of is None else [Path(name) for name in asked.of]
    )
    if len(folders) > 1:
        page = study_page([result for folder in folders for result in _results(folder)], settings)
        to = (
            Path(config.output) / "reports" / fingerprint(sorted(asked.of or []))
            if asked.to is None
            else Path(asked.to)
        )
        return _written(to, page, {"methods": page.methods})
    [folder] = folders
    to = folder if asked.to is None else Path(asked.to)
    if not _is_sweep(folder):
        return _written(to, run_page(_run_result(folder), settings), {})
    sweep, runs = read_sweep(folder), read_runs(folder)
    metric = metric_of(runs, asked.metric)
    best = None if metric is None else best_run(runs, metric, asked.goal)
    main = [*([metric] if metric else []), *MAIN_NUMBERS]
    states = ("done", "failed", "running", "stopped", "waiting")
    values: dict[str, Any] = {"runs": {state: sum(run.state == state for run in runs) for state in states}}
    if best is not None and metric is not None:
        values["best"] = {"run": best.number, "folder": best.folder, metric: best.numbers[metric], **best.overrides}
        log.info("best by %s: run %d, %.4g, in %s", metric, best.number, best.numbers[metric], best.folder)
    return _written(to, sweep_page(sweep, runs, _existing(folder, runs), main, best, settings), values)


def _written(folder: Path, page: Page, values: dict[str, Any]) -> dict[str, Any]:
    try:
        path = write_page(folder, page)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        raise UserError(
            f"{folder}: the page cannot be written there ({error.strerror}); name another folder as report.to"
        ) from None
    log.info("%s", path)
    return {"page": str(path), **values}


def _results(folder: Path) -> list[RunResult]:
    """The run in a folder, or the runs of the sweep in it that have begun."""
    return _existing(folder, read_runs(folder)) if _is_sweep(folder) else [_run_result(folder)]


def _run_result(folder: Path) -> RunResult:
    if not (folder / "config.yaml").exists():
        if (folder / DONE).exists():
            raise UserError(f"{folder / 'config.yaml'}: missing; {AGAIN}")
        raise UserError(
            f"report.of: {folder} is no sweep's folder (it holds no sweep.json) and no run's (it holds no config.yaml)"
        )
    return read_run_result(folder, RESOLVER)


def _existing(folder: Path, runs: list[SweepRun]) -> list[RunResult]:
    """The runs of a sweep that have a folder: beside the sweep's, wherever that was moved to, or where it was noted.

    One that is damaged is left out, with a warning.
    """
    found: dict[Path, RunResult] = {}
    for run in runs:
        for place in (folder.absolute().parent.parent / "runs" / Path(run.folder).name, Path(run.folder)):
            if run.folder and (place / "config.yaml").exists():
                if (result := _sound(place)) is not None:
                    found.setdefault(place, result)
                break
    return list(found.values())


def _sound(folder: Path) -> RunResult | None:
    """The run in a folder if what a page of several reads of it is whole; else None, and a warning."""
    try:
        result = read_run_result(folder, RESOLVER)
        for one in result.evaluations:
            _ = one.comparisons  # read when they are first asked for
        require_whole(folder / "metrics.csv")
    except UserError as error:
        for fault in error.faults:
            log.warning("%s; %s is left out", fault, folder)
        return None
    return result


def _is_sweep(folder: Path) -> bool:
    """Whether it is a sweep's folder, also one that has lost a file."""
    return any((folder / name).exists() for name in ("sweep.json", "runs.csv"))
