"""The sections of a page: about a run, a sweep, or a study of methods; results first, settings last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ppd_lightning.reports.blocks import Section, Text
from ppd_lightning.reports.evaluation_sections import (
    classification_section,
    evaluation_sections,
    headlines,
    interpolation_section,
    judge_section,
)
from ppd_lightning.reports.few_shot_images import FewShotImages
from ppd_lightning.reports.image_sections import failures_section, result_images
from ppd_lightning.reports.methods import trained_alike
from ppd_lightning.reports.page_files import Page
from ppd_lightning.reports.reproduction import reproduction_section
from ppd_lightning.reports.run_results import RunResult
from ppd_lightning.reports.study import Settings, studies_of
from ppd_lightning.reports.study_sections import as_values, conditions_of, curves_of_taste, study_sections
from ppd_lightning.reports.sweep_section import sweep_section
from ppd_lightning.reports.training_sections import curves_section, settings_section
from ppd_lightning.storage.sweep_table import Sweep, SweepRun

MOST_METHODS = 8
"""More are not compared one with another."""


def run_page(run: RunResult, settings: Settings) -> Page:
    """Everything that is known of one run."""
    values, choices = run.settings, FewShotImages(run)
    state = "finished" if run.finished else "not finished"
    sections = [
        Section("Result", [*headlines(run), *result_images(run, choices)]),
        *evaluation_sections(run),
        *(curves_of_taste(study) for study in studies_of([run], settings)),
        curves_section([(run.objective, 0, [run])]),
        failures_section(run, choices),
        judge_section(run),
        interpolation_section(run),
        classification_section(run),
        settings_section(run),
        reproduction_section([run]),
    ]
    subtitle = (
        f"{run.folder.name}: {values['data']['name']}, users by {values['user']['kind']}, seed {run.seed}, {state}"
    )
    return Page(f"{run.objective}: one training", subtitle, sections)


def sweep_page(
    sweep: Sweep,
    states: Sequence[SweepRun],
    runs: Sequence[RunResult],
    main: Sequence[str],
    best: SweepRun | None,
    settings: Settings,
) -> Page:
    """A sweep's runs against the swept keys, and as methods where they were evaluated.

    Args:
        states: all of its runs; runs: those that have begun.
        main, best: see `sweep_section`.
    """
    names = [run.state for run in states]
    counts = ", ".join(f"{names.count(name)} {name}" for name in dict.fromkeys(names))
    command = f"ppd {' '.join(sweep.verbs)} -m {' '.join(sweep.overrides)}"
    compared, conditions, values = _compared(runs, settings)
    sections = [
        sweep_section(states, main, best),
        *compared,
        _training_curves(runs),
        *conditions,
        reproduction_section(runs, [command]),
    ]
    return Page(f"{' '.join(sweep.verbs)}: {len(states)} runs, {counts}", command, sections, values)


def study_page(runs: Sequence[RunResult], settings: Settings) -> Page:
    """Methods beside each other."""
    unique = list({run.folder.absolute(): run for run in runs}.values())
    compared, conditions, values = _compared(unique, settings)
    names = [name for name, _ in trained_alike(unique)]
    sections = [*compared, _training_curves(unique), *conditions, reproduction_section(unique)]
    return Page(f"{', '.join(names)}", f"{len(names)} methods, {len(unique)} trainings", sections, values)


def _compared(
    runs: Sequence[RunResult], settings: Settings
) -> tuple[list[Section], list[Section], list[dict[str, Any]]]:
    """The results, under which conditions they were measured, and the same for programs."""
    evaluated = [run for run in runs if run.evaluations]
    without = [run.folder.name for run in runs if run not in evaluated]
    left_out = Text(f"Not compared, because their weights have no evaluation: {', '.join(without)}.", "warning")
    names = trained_alike(evaluated)
    if len(names) > MOST_METHODS:
        words = f"{len(names)} methods are too many for a comparison; name up to {MOST_METHODS} in report.of."
        return [Section("Methods", [Text(words)])], [], []
    studies = studies_of(evaluated, settings)
    sections: list[Section] = []
    conditions: list[Section] = []
    for study in studies:
        which = f" ({study.terms.labels}, {study.terms.captions})" if len(studies) > 1 else ""
        sections += [Section(section.title + which, section.blocks) for section in study_sections(study)]
        conditions.append(Section(f"Conditions of the comparison{which}", [Text(conditions_of(study))]))
    if without and sections:
        sections[0].blocks.insert(0, left_out)
    elif without:
        sections.append(Section("Methods", [left_out]))
    return sections, conditions, as_values(studies)


def _training_curves(runs: Sequence[RunResult]) -> Section:
    named = trained_alike(runs)
    few = len(named) <= MOST_METHODS
    return curves_section([(name if few else "", colour, members) for colour, (name, members) in enumerate(named)])
