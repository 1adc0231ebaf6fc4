"""A training in Python: prepared data, a backbone with a user branch, and an objective, for one's own trainer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppd_lightning.commands import embed, label, prepare
from ppd_lightning.commands.fitted import fitted
from ppd_lightning.commands.reference import open_batches, open_stored
from ppd_lightning.commands.run_files import facts, save_branch
from ppd_lightning.config.compose import as_yaml
from ppd_lightning.config.presets import configuration
from ppd_lightning.config.workspace import Workspace
from ppd_lightning.devices import DTYPES
from ppd_lightning.errors import UserError
from ppd_lightning.storage.atomic import write_json_atomic, write_text_atomic
from ppd_lightning.storage.finished_run import mark_finished
from ppd_lightning.training.accumulation import micro_batches
from ppd_lightning.training.build import build_module, step0_test
from ppd_lightning.training.data_module import PreferenceDataModule
from ppd_lightning.training.ema import BranchAverage
from ppd_lightning.training.lightning_trainer import loop_arguments
from ppd_lightning.training.module import PPDModule

if TYPE_CHECKING:
    from ppd_lightning.backbones.backbone import Backbone
    from ppd_lightning.data.prepared import PreparedData
    from ppd_lightning.users.users import Users


class Training:
    """What a training consists of, each piece made when it is asked for; it has no trainer.

    Args:
        preset: an option of `conf/experiment`, such as "paper/real", whose values hold where none are given; None takes
            the shipped defaults.
        changes: by group (data, model, user, shots, objective, optimizer, trainer, ...): an object of the group's
            class, or the settings that differ, among which "option" names another shipped option; and seed, output.

    Raises:
        UserError: faults of the settings, all at once, or they ask for several devices.
    """

    def __init__(self, preset: str | None = None, **changes: Any) -> None:
        config = configuration(preset, changes)
        if config.trainer.devices * config.trainer.nodes > 1:
            raise UserError(
                f"trainer.devices: {config.trainer.devices} on {config.trainer.nodes} nodes; a trainer of your own "
                "trains on one, `ppd train` on several"
            )
        self._workspace = Workspace(config)

    @property
    def data(self) -> PreparedData:
        """The prepared data."""
        return self._workspace.data

    @property
    def backbone(self) -> Backbone:
        """The frozen model."""
        return self._workspace.backbone

    @property
    def users(self) -> Users:
        """The people of the pairs, as vectors."""
        return self._workspace.users

    def prepare(self) -> None:
        """Prepare and describe, as `ppd prepare embed` (and `label`, where rewards are learnt); what is there is kept.

        Raises:
            UserError: as these verbs.
        """
        config = self._workspace.config
        prepare.run(config)
        if config.data.labels == "rewards":
            label.run(config)
        embed.run(config)

    def batches(self) -> PreferenceDataModule:
        """The training and validation batches, set up.

        Raises:
            UserError: the data are not prepared, or users are not described.
        """
        batches = open_batches(self._workspace)
        batches.setup("fit")
        return batches

    def module(self, batches: PreferenceDataModule) -> PPDModule:
        """The frozen network, a new branch drawn from the seed, and the objective; tested for changing nothing yet.

        Raises:
            UserError: files of the model are missing.
            RuntimeError: the new branch changes something.
        """
        workspace, config = self._workspace, self._workspace.config
        network = workspace.backbone.load_network(DTYPES[config.trainer.precision]).to(workspace.device)
        settings = fitted(workspace, batches, network)
        if config.trainer.reference == "stored" and config.objective.needs_reference:
            stored = open_stored(workspace, batches)
            stored.make(lambda: network)
            batches.use_reference(stored.read())
        module = build_module(
            workspace.backbone,
            network,
            batches,
            config.objective,
            config.optimizer,
            settings,
            seed=config.seed,
            text=workspace.caption_states,
        ).to(workspace.device)
        step0_test(module, batches)
        return module

    def trainer_arguments(self, batches: PreferenceDataModule) -> dict[str, Any]:
        """What `lightning.Trainer` must be given for this training: steps, accumulation, clipping, validation, device.

        Callbacks, loggers and checkpoints are one's own. With trainer.micro_batch_size=auto, `module` comes first: it
        finds out how many pairs fit.
        """
        config = self._workspace.config
        settings = config.trainer
        parts = micro_batches(settings.batch_size, batches.micro_batch_size)
        validates = len(batches.val_dataloader()) > 0
        loop = loop_arguments(settings, parts, grad_clip=config.optimizer.grad_clip, validates=validates)
        return loop | {"accelerator": settings.accelerator, "devices": 1}

    def save(self, module: PPDModule, folder: str | Path, average: BranchAverage | None = None) -> Path:
        """Write a trained module as the folder of a run, for `ppd_lightning.open` and the verbs that take one.

        Args:
            folder: new, or what an earlier call wrote.
            average: the callback that kept a moving average of the weights, if there was one; its weights are left in
                the module.

        Returns:
            the folder.

        Raises:
            UserError: the folder is that of a run of `ppd train`, or a part of the data is missing.
        """
        folder, config = Path(folder), self._workspace.config
        if folder.resolve() == self._workspace.run.resolve() or (folder / "checkpoints").exists():
            raise UserError(f"{folder}: belongs to `ppd train`; choose another folder")
        folder.mkdir(parents=True, exist_ok=True)
        write_text_atomic(folder / "config.yaml", as_yaml(config))
        save_branch(self._workspace, folder, module, average)
        summary = {"run": str(folder), **facts(module, module.global_step, config.trainer.batch_size)}
        write_json_atomic(folder / "summary.json", summary)
        mark_finished(folder)
        return folder
