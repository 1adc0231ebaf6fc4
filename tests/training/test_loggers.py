"""Figures, pictures and settings reach the loggers, and every logger is ended whatever becomes of the run."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from tests.training.tiny_world import STEPS, overrides

from ppd_lightning.commands import train
from ppd_lightning.config.compose import compose
from ppd_lightning.config.folders import run_folder
from ppd_lightning.config.root import Config
from ppd_lightning.distributed.rank import Rank
from ppd_lightning.errors import UserError
from ppd_lightning.training import loggers
from ppd_lightning.training.module import PPDModule


@pytest.fixture
def config(world: Path) -> Config:
    return compose(overrides(world, world / "out"))


def events(folder: Path) -> EventAccumulator:
    read = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0, "images": 0})
    return read.Reload()


def hparams(folder: Path) -> HParamsPluginData:
    content = events(folder).SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    return HParamsPluginData.FromString(content)


def test_tensorboard_compares_runs_by_settings_and_final_figures(config: Config) -> None:
    settings = hparams(run_folder(config)).session_start_info.hparams
    assert settings["objective.drop_user"].number_value == 0.3
    assert settings["objective.weighting"].string_value == "adaptive"
    assert settings["seed"].number_value == 0
    figures = events(run_folder(config))
    assert {"train/loss", "train/margin", "validation/loss"} <= set(figures.Tags()["scalars"])
    (final,) = figures.Scalars("final/validation/loss")
    assert final.step == STEPS
    assert final.value == pytest.approx(figures.Scalars("validation/loss")[-1].value)


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """How each logger was ended, at last."""
    outcomes: list[str] = []
    end = TensorBoardLogger.finalize

    def noted(self: TensorBoardLogger, status: str) -> None:
        outcomes.append(status)
        end(self, status)

    monkeypatch.setattr(TensorBoardLogger, "finalize", noted)
    return outcomes


@pytest.mark.parametrize("moment", ["in a step", "before the first step"])
def test_a_run_that_fails_ends_its_loggers(
    world: Path, monkeypatch: pytest.MonkeyPatch, ended: list[str], moment: str
) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError("on purpose")

    owner, name = (PPDModule, "on_after_backward") if moment == "in a step" else (train, "step0_test")
    monkeypatch.setattr(owner, name, fail)
    with pytest.raises(ZeroDivisionError):
        train.run(compose(overrides(world, world / "out", "seed=11")))
    assert set(ended) == {"failed"}


def test_an_interrupt_ends_the_loggers_and_stays_one(
    world: Path, monkeypatch: pytest.MonkeyPatch, ended: list[str]
) -> None:
    before = signal.getsignal(signal.SIGINT)

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(PPDModule, "on_after_backward", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train.run(compose(overrides(world, world / "out", "seed=12")))
    assert set(ended) == {"failed"}
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("tracker", ["wandb", "mlflow"])
def test_a_tracker_that_is_not_installed_is_refused_at_once(
    world: Path, monkeypatch: pytest.MonkeyPatch, tracker: str
) -> None:
    monkeypatch.setattr(loggers, "find_spec", lambda name: None)
    config = compose(overrides(world, world / "none", f"logger={tracker}"))
    with pytest.raises(UserError, match=rf"{tracker} is not installed; pip install 'ppd-lightning\[{tracker}\]'"):
        train.run(config)
    assert not (world / "none").exists()


def test_wandb_gets_the_project_the_run_and_is_ended(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later run of the same process begins another one, and one that goes on has its old name."""
    made, codes = {}, []

    class Standin:
        def __init__(self, **given: Any) -> None:
            made.update(given)

        def finalize(self, status: str) -> None:
            codes.append(status)

    wandb = ModuleType("wandb")
    wandb.finish = lambda exit_code: codes.append(exit_code)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    monkeypatch.setattr(loggers, "WandbLogger", Standin)
    config = compose(overrides(world, tmp_path, "logger=wandb", "logger.project=mine", "logger.tensorboard=false"))
    (logger,) = loggers.make_loggers(config.logger, run_folder(config), tmp_path)
    name = run_folder(config).name
    records = {"save_dir": tmp_path, "offline": True}
    assert made == {"project": "mine", "name": name, "version": name, **records}
    loggers.end_loggers([logger], loggers.FAILED)
    loggers.end_loggers([logger], loggers.FINISHED)
    assert codes == ["failed", 1, "success", 0]


def test_mlflow_gets_no_second_value_of_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that was resumed may have another trainer.log_every; MLflow would refuse it."""
    sent: list[dict[str, Any]] = []

    class Standin:
        run_id = "a"
        experiment = SimpleNamespace(
            get_run=lambda run_id: SimpleNamespace(data=SimpleNamespace(params={"seed": "0", "trainer.log_every": "5"}))
        )

        def log_hyperparams(self, values: dict[str, Any]) -> None:
            sent.append(values)

        def log_metrics(self, figures: dict[str, float], step: int) -> None:
            sent.append(figures)

    monkeypatch.setattr(loggers, "MLFlowLogger", Standin)
    settings = {"seed": 0, "trainer.log_every": 4, "objective.beta": 2.0}
    loggers.log_final([Standin()], settings, {"train/loss": 0.5}, 3)  # type: ignore[list-item]
    assert sent == [{"objective.beta": 2.0}, {"final/train/loss": 0.5}]


def test_mlflow_goes_on_in_the_run_that_the_folder_has_begun(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def standin(**given: Any) -> SimpleNamespace:
        made.append(given)
        return SimpleNamespace(run_id=given["run_id"] or "new")

    monkeypatch.setattr(loggers, "MLFlowLogger", standin)
    config = compose(overrides(world, tmp_path, "logger=mlflow", "logger.tensorboard=false"))
    for rank in (Rank(1, 2, 1, 2), Rank(0, 2, 0, 2), Rank(0, 2, 0, 2)):
        loggers.make_loggers(config.logger, run_folder(config), tmp_path, rank=rank)
    assert [given["run_id"] for given in made] == [None, None, "new"]
    assert made[0]["tracking_uri"] == f"sqlite:///{tmp_path / 'mlflow.db'}"
