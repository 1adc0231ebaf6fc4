"""The preference accuracy after a training is that of `ppd evaluate`, measured once."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from tests.training.tiny_world import STEPS, overrides

from ppd_lightning.commands import evaluate, report, train
from ppd_lightning.config.compose import compose
from ppd_lightning.config.root import Config
from ppd_lightning.config.workspace import Workspace
from ppd_lightning.errors import UserError
from ppd_lightning.evaluation.preference_accuracy import HeldOutPreferences
from ppd_lightning.training.logged_rows import read_metrics

DRAWS = ("evaluation.preference_draws=2", "evaluation.bootstrap=50", "trainer.preference_accuracy=true")


@pytest.fixture
def finished(world: Path, tmp_path: Path) -> Config:
    """The configuration of a copy of the finished run."""
    shutil.copytree(world / "out", tmp_path / "out")
    return compose(overrides(world, tmp_path / "out", *DRAWS))


def test_a_training_measures_what_evaluate_reads(
    finished: Config, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Workspace(finished).run
    before = read_metrics(folder / "metrics.csv")
    with caplog.at_level("INFO"):
        rates = train.run(finished)["preference_accuracy"]
    assert rates.keys() == {"seen", "unseen"}
    assert f"held-out pairs, unseen users: {rates['unseen']['rate']:.3f}" in caplog.text
    assert json.loads((folder / "summary.json").read_text())["preference_accuracy"] == rates
    (*others, last) = read_metrics(folder / "metrics.csv")
    assert int(last["step"]) == STEPS
    added = {f"test/preference_accuracy_{group}": f"{rate['rate']:.8g}" for group, rate in rates.items()}
    assert [*others, last] == [*before[:-1], before[-1] | added]

    def never(_: HeldOutPreferences) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr(HeldOutPreferences, "_margins", never)
    assert train.run(finished)["preference_accuracy"] == rates
    assert evaluate.measure(finished)["preference_accuracy"] == rates
    page = report.run(replace(finished, report=replace(finished.report, of=[str(folder)])))["page"]
    assert "held-out pairs of unseen users" in Path(page).read_text("utf-8")


def test_a_training_is_finished_where_it_cannot_be_measured(
    finished: Config, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lacking(_: Workspace) -> None:
        raise UserError("model.codec_path: no decoder")

    monkeypatch.setattr(Workspace, "trained_run", lacking)
    assert "preference_accuracy" not in train.run(finished)
    assert "the preference accuracy is not measured: model.codec_path: no decoder" in caplog.text
