"""Which sections a page has: about a run, a sweep, or a study of methods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ppd_lightning.reports.blocks import Section, Words
from ppd_lightning.reports.evaluated import (
    classification_section,
    evaluation_sections,
    interpolation_section,
    judge_section,
)
from ppd_lightning.reports.images import failures_section, grids_section, sample_section
from ppd_lightning.reports.methods import trained_alike
from ppd_lightning.reports.reproduce import reproduce_section
from ppd_lightning.reports.results import RunResult
from ppd_lightning.reports.study import Settings, studies_of
from ppd_lightning.reports.study_sections import as_values, study_sections, terms_words
from ppd_lightning.reports.swept import sweep_section
from ppd_lightning.reports.training import curves_section, trained_section
from ppd_lightning.storage.sweep_table import Sweep, SweepRun

MOST_METHODS = 8
"""More are not compared one with another: nobody reads so many pairs."""


@dataclass(frozen=True)
class About:
    """A page's title, the line below it, its sections, and what programs may read of it (`study.json`)."""

    title: str
    subtitle: str
    sections: list[Section]
    values: list[dict[str, Any]] = field(default_factory=list)

    @property
    def methods(self) -> list[str]:
        """The names of the methods that are compared."""
        return list(dict.fromkeys(method["name"] for study in self.values for method in study["methods"]))


def about_run(run: RunResult, settings: Settings) -> About:
    """Everything that is known of one run."""
    values = run.settings
    state = "finished" if run.finished else "not finished"
    studies = studies_of([run], settings)
    curves = [section for study in studies for section in study_sections(study, alone=True)]
    sections = [
        trained_section(run),
        curves_section([(run.objective, 0, [run])]),
        grids_section(run),
        *evaluation_sections(run),
        *curves,
        sample_section(run),
        failures_section(run),
        judge_section(run),
        interpolation_section(run),
        classification_section(run),
        reproduce_section([run]),
    ]
    subtitle = (
        f"{run.folder.name}: {values['data']['name']}, users by {values['user']['kind']}, seed {run.seed}, {state}"
    )
    return About(f"{run.objective}: one training", subtitle, sections)


def about_sweep(
    sweep: Sweep,
    noted: Sequence[SweepRun],
    runs: Sequence[RunResult],
    main: Sequence[str],
    best: SweepRun | None,
    settings: Settings,
) -> About:
    """A sweep's runs against the swept keys, and as methods where they were evaluated.

    Args:
        noted: all of its runs; runs: those that have begun.
        main, best: see `swept.sweep_section`.
    """
    states = [run.state for run in noted]
    counted = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    command = f"ppd {' '.join(sweep.verbs)} -m {' '.join(sweep.overrides)}"
    compared, values = _compared(runs, settings)
    sections = [sweep_section(noted, main, best), _training(runs), *compared, reproduce_section(runs, [command])]
    return About(f"{' '.join(sweep.verbs)}: {len(noted)} runs, {counted}", command, sections, values)


def about_study(runs: Sequence[RunResult], settings: Settings) -> About:
    """Methods beside each other."""
    unique = list({run.folder.absolute(): run for run in runs}.values())
    compared, values = _compared(unique, settings)
    names = [name for name, _ in trained_alike(unique)]
    sections = [*compared, _training(unique), reproduce_section(unique)]
    return About(f"{', '.join(names)}", f"{len(names)} methods, {len(unique)} trainings", sections, values)


def _compared(runs: Sequence[RunResult], settings: Settings) -> tuple[list[Section], list[dict[str, Any]]]:
    trained = [run for run in runs if run.evaluations]
    without = [run.folder.name for run in runs if run not in trained]
    left_out = Words(
        f"Not compared, because they have no evaluation of their weights: {', '.join(without)}.", "warning"
    )
    names = trained_alike(trained)
    if len(names) > MOST_METHODS:
        words = f"{len(names)} methods are too many to compare each with each; name up to {MOST_METHODS} as report.of."
        return [Section("Methods", [Words(words)])], []
    studies = studies_of(trained, settings)
    sections: list[Section] = []
    for study in studies:
        where = f" ({study.terms.labels}, {study.terms.captions})" if len(studies) > 1 else ""
        told: list[Section] = [Section("How it was compared", [Words(terms_words(study))]), *study_sections(study)]
        sections += [Section(section.title + where, section.blocks) for section in told]
    if without and sections:
        sections[0].blocks.append(left_out)
    elif without:
        sections.append(Section("Methods", [left_out]))
    return sections, as_values(studies)


def _training(runs: Sequence[RunResult]) -> Section:
    named = trained_alike(runs)
    few = len(named) <= MOST_METHODS
    return curves_section([(name if few else "", place, members) for place, (name, members) in enumerate(named)])
