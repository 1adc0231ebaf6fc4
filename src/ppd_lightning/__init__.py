"""One text-to-image model, many people's tastes: PPD on Lightning and Hydra.

Reading order: cli.py -> commands/train.py -> training/module.py -> training/objectives/ppd.py.
Everything public is named here and in docs/api.md; a name is imported when it is first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ppd_lightning.backbones.adapter import load_adapter as load_adapter
    from ppd_lightning.backbones.adapter import save_adapter as save_adapter
    from ppd_lightning.backbones.backbone import Backbone as Backbone
    from ppd_lightning.backbones.user_branch import UserBranch as UserBranch
    from ppd_lightning.config.compose import compose as compose
    from ppd_lightning.config.workspace import Workspace as Workspace
    from ppd_lightning.data.prepared import PreparedData as PreparedData
    from ppd_lightning.data.simulation import Simulation as Simulation
    from ppd_lightning.data.source import PeopleSource as PeopleSource
    from ppd_lightning.data.source import Source as Source
    from ppd_lightning.diffusion.losses import preference_loss as preference_loss
    from ppd_lightning.errors import UserError as UserError
    from ppd_lightning.evaluation.vlm_judge.settings import VisionJudge as VisionJudge
    from ppd_lightning.generation.pipeline import UserPipeline as UserPipeline
    from ppd_lightning.generation.trained_run import TrainedRun as TrainedRun
    from ppd_lightning.opened import Model as Model
    from ppd_lightning.opened import Person as Person
    from ppd_lightning.own_training import Training as Training
    from ppd_lightning.rewards.reward import Reward as Reward
    from ppd_lightning.rewards.reward import open_rewards as open_rewards
    from ppd_lightning.training.data_module import PreferenceDataModule as PreferenceDataModule
    from ppd_lightning.training.ema import BranchAverage as BranchAverage
    from ppd_lightning.training.module import PPDModule as PPDModule
    from ppd_lightning.training.objectives.objective import Objective as Objective
    from ppd_lightning.users.describing import Describing as Describing
    from ppd_lightning.users.kind import UserKind as UserKind
    from ppd_lightning.users.shots import Shots as Shots
    from ppd_lightning.users.users import Users as Users

    __version__: str

PUBLIC = {
    "Training": "own_training",
    "Model": "opened",
    "Person": "opened",
    "compose": "config.compose",
    "Workspace": "config.workspace",
    "PreparedData": "data.prepared",
    "Source": "data.source",
    "PeopleSource": "data.source",
    "Simulation": "data.simulation",
    "Backbone": "backbones.backbone",
    "UserBranch": "backbones.user_branch",
    "save_adapter": "backbones.adapter",
    "load_adapter": "backbones.adapter",
    "Users": "users.users",
    "Describing": "users.describing",
    "UserKind": "users.kind",
    "Shots": "users.shots",
    "Reward": "rewards.reward",
    "open_rewards": "rewards.reward",
    "PreferenceDataModule": "training.data_module",
    "PPDModule": "training.module",
    "Objective": "training.objectives.objective",
    "BranchAverage": "training.ema",
    "UserPipeline": "generation.pipeline",
    "TrainedRun": "generation.trained_run",
    "VisionJudge": "evaluation.vlm_judge.settings",
    "preference_loss": "diffusion.losses",
    "UserError": "errors",
}
"""Every public class and function, and its module; `open` is here."""

__all__ = ["__version__", "open", *PUBLIC]


def open(
    folder: str | Path,
    base: str | None = None,
    codec: str | None = None,
    files: Mapping[str, str] | None = None,
) -> Model:
    """A finished training, by the folder of its run or export: it describes people and draws for them.

    Args:
        folder: what `ppd train`, `ppd export` or `Training.save` made.
        base: folder or hub name of the base model, where it is not where the training had it.
        codec: as base, of the codec.
        files: as base, of rewards and the VLM that describe people, by key: rewards.NAME.weights.ROLE, user.path.

    Raises:
        errors.UserError: see `opened.Model`.
    """
    from ppd_lightning.light_imports import light_imports

    with light_imports():
        from ppd_lightning.opened import Model

    return Model(folder, base, codec, files)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("ppd-lightning")
    if name in PUBLIC:
        from importlib import import_module

        return getattr(import_module(f"{__name__}.{PUBLIC[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
