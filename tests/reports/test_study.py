"""Methods are compared on the same comparisons, with figures that are known beforehand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tests.reports.made import CAPTIONS, PEOPLE, made_evaluation, made_run

from ppd_lightning.commands import report
from ppd_lightning.config.compose import compose
from ppd_lightning.config.run_resolver import RunResolver
from ppd_lightning.reports.methods import trained_alike
from ppd_lightning.reports.run_results import read_run_result
from ppd_lightning.reports.study import Settings, Study, studies_of

pytestmark = pytest.mark.usefixtures("without_figure_files")

SETTINGS = Settings(content=None, levels=None, resamples=200)
PPD, SFT = ["experiment=emoji/ppd"], ["experiment=emoji/sft"]


def study_of(*folders: Path, settings: Settings = SETTINGS) -> Study:
    (found,) = studies_of([read_run_result(folder, RunResolver()) for folder in folders], settings)
    return found


def two_methods(output: Path) -> list[Path]:
    """PPD gains 1 and 2 where SFT gains 0.5 and 1, each at contents 0.9 and 0.8; two seeds of PPD, 0.2 apart."""
    folders = []
    for overrides, seed, gain in ((PPD, 0, 0.9), (PPD, 1, 1.1), (SFT, 0, 0.5)):
        config, folder = made_run(output, overrides, seed=seed)
        made_evaluation(config, folder, 2.0, gain=gain, content=0.9)
        made_evaluation(config, folder, 5.0, gain=2 * gain, content=0.8)
        folders.append(folder)
    return folders


def test_runs_that_differ_in_their_seed_alone_are_one_method(tmp_path: Path) -> None:
    folders = [
        made_run(tmp_path, [*PPD, "objective.beta=1"], seed=0)[1],
        made_run(tmp_path, [*PPD, "objective.beta=1"], seed=1)[1],
        made_run(tmp_path, [*PPD, "objective.beta=2"], seed=0)[1],
        made_run(tmp_path, SFT)[1],
    ]
    named = trained_alike([read_run_result(folder, RunResolver()) for folder in reversed(folders)])
    assert [(name, [run.seed for run in runs]) for name, runs in named] == [
        ("ppd objective.beta 2.0", [0]),
        ("ppd objective.beta 1.0", [0, 1]),
        ("sft", [0]),
    ]


def test_the_difference_at_equal_content_is_the_one_that_was_put_there(tmp_path: Path) -> None:
    found = study_of(*two_methods(tmp_path))
    (gain,) = [one for one in found.at_equal_content if one.taste == "gain" and one.group == "all"]
    assert (gain.one, gain.other, gain.n, gain.people) == ("ppd", "sft", PEOPLE * CAPTIONS, PEOPLE)
    mean, *levels = gain.differences
    # Both lines begin at the base, (1, 0); the one falls by 10 a content, the other by 5.
    assert (mean.begin, mean.end) == (0.8, 1.0)
    assert mean.value == pytest.approx(0.5)
    assert {one.level: round(one.value, 6) for one in levels}[0.9] == 0.5
    assert mean.low < 0.5 < mean.high, "two trainings of ppd differ"


def test_a_win_over_another_method_is_counted_on_the_same_comparison(tmp_path: Path) -> None:
    found = study_of(*two_methods(tmp_path))
    over = {(rate.one, rate.other, rate.group, rate.scale): rate for rate in found.rates}
    assert over["ppd", None, "seen", 2.0].rate.value == 1.0
    between = over["ppd", "sft", "unseen", 2.0]
    assert (between.rate.value, between.rate.n, between.rate.trainings) == (1.0, 30, 1)
    assert between.ties == 0.0


def test_differences_within_the_tie_are_half_a_win(tmp_path: Path) -> None:
    config, folder = made_run(tmp_path, PPD)
    made_evaluation(config, folder, 2.0, gain=0.05)
    (seen,) = [rate for rate in study_of(folder).rates if rate.group == "seen"]
    assert (seen.rate.value, seen.ties) == (0.5, 1.0)


def test_rewards_as_users_are_liked_in_their_deviations_and_have_a_table_of_means(tmp_path: Path) -> None:
    rewards = ["clutter", "colourfulness"]
    synthetic = ["experiment=emoji/synthetic", "reward=[colourfulness,clutter]"]
    config, folder = made_run(tmp_path, synthetic)
    for scale in (2.0, 4.0):
        made_evaluation(config, folder, scale, gain=1.0, users=rewards)
    alone, other = made_run(
        tmp_path, ["experiment=emoji/synthetic", "reward=[clutter]", "objective=diffusion_dpo", "user=constant"]
    )
    made_evaluation(alone, other, 2.0, gain=1.5, users=["clutter"])
    found = study_of(folder, other)
    assert (found.terms.labels, found.terms.judge, found.terms.resampled) == ("rewards", None, "captions")
    base = np.random.default_rng(0).normal(size=2 * CAPTIONS)[:CAPTIONS]
    means = {(mean.method, mean.reward): mean.mean for mean in found.means}
    assert means[None, "clutter"].value == pytest.approx(base.mean())
    assert means["ppd", "clutter"].value == pytest.approx(base.mean() + 1)
    assert means["diffusion_dpo", "clutter"].value == pytest.approx(base.mean() + 1.5)
    assert [method.only_reward for method in found.methods] == [None, "clutter"]
    curve = next(one for one in found.curves if one.method == "ppd")
    rates = {rate.group for rate in found.rates if rate.one == "ppd" and rate.other is None}
    assert rates == {"synthetic", *rewards}
    assert curve.taste["win rate"][0].value == 0.5, "guidance 0 is the base"
    assert {one.method for one in found.curves} == {"ppd"}, "one scale is no curve"


def test_evaluations_of_other_weights_are_left_out(tmp_path: Path) -> None:
    config, folder = made_run(tmp_path, PPD)
    made_evaluation(config, folder, 2.0, gain=1.0)
    (folder / "adapter.safetensors").write_bytes(b"trained anew")
    assert studies_of([read_run_result(folder, RunResolver())], SETTINGS) == []


def test_evaluations_on_other_captions_are_another_study(tmp_path: Path) -> None:
    config, folder = made_run(tmp_path, PPD)
    made_evaluation(config, folder, 2.0, gain=1.0)
    other = compose([f"output={tmp_path}", *PPD, "evaluation.captions=train"])
    made_evaluation(other, folder, 5.0, gain=1.0)
    studies = studies_of([read_run_result(folder, RunResolver())], SETTINGS)
    assert [(one.terms.captions, one.methods[0].scales) for one in studies] == [("held_out", [2.0]), ("train", [5.0])]


def test_a_study_leaves_a_page_its_tables_and_numbers_for_programs(tmp_path: Path) -> None:
    folders = two_methods(tmp_path)
    named = ",".join(map(str, folders))
    summary = report.run(
        compose([f"output={tmp_path}", f"report.of=[{named}]", f"report.to={tmp_path}/study", "report.bootstrap=50"])
    )
    assert summary == {"page": f"{tmp_path}/study/report.html", "methods": ["ppd", "sft"]}
    (values,) = json.loads((tmp_path / "study/study.json").read_text())
    assert values["methods"][0]["seeds"] == [0, 1]
    assert values["at_equal_content"]
    tables = {path.stem for path in (tmp_path / "study/tables").iterdir()}
    assert {"equal_content_gain", "win_rates", "win_rates_between", "curves"} <= tables
    lines = (tmp_path / "study/tables/equal_content_gain.csv").read_text().splitlines()
    assert lines[0].startswith("methods,group,at content,difference in gain (95 %),difference in gain (95 %) low")
    assert "| ppd over sft | all |" in (tmp_path / "study/tables.md").read_text()


def test_the_same_folders_have_the_same_page(tmp_path: Path) -> None:
    folders = [made_run(tmp_path, overrides)[1] for overrides in (PPD, SFT)]
    orders = [",".join(map(str, folders)), ",".join(map(str, reversed(folders)))]
    pages = {
        report.run(compose([f"output={tmp_path}", f"report.of=[{named}]", "report.bootstrap=20"]))["page"]
        for named in orders
    }
    (page,) = pages
    assert page.startswith(f"{tmp_path}/reports/")
