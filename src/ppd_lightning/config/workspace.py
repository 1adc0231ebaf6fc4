"""A configuration resolved: where its things lie, and the objects that the rooms below take.

A verb makes one `Workspace` and hands its objects down. Each is made once, when it is first asked for, and what is
heavy is imported then.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ppd_lightning.config.folders import data_folder, rewards_that_label, run_folder, splits_folder
from ppd_lightning.config.root import Config
from ppd_lightning.light_imports import light_imports
from ppd_lightning.storage.fingerprints import fingerprint

if TYPE_CHECKING:
    import numpy as np
    import torch

    from ppd_lightning.backbones.backbone import Backbone
    from ppd_lightning.data.prepared import PreparedData
    from ppd_lightning.data.simulation import Simulation
    from ppd_lightning.data.source import Source
    from ppd_lightning.generation.trained_run import TrainedRun
    from ppd_lightning.rewards.reward import Reward
    from ppd_lightning.rewards.settings import RewardSettings
    from ppd_lightning.training.caption_states import CaptionStates
    from ppd_lightning.users.describing import Instruments
    from ppd_lightning.users.users import Users


class Workspace:
    """The objects of one configuration."""

    def __init__(self, config: Config) -> None:
        self.config = config

    @property
    def output(self) -> Path:
        """The folder of everything."""
        return Path(self.config.output)

    @property
    def run(self) -> Path:
        """The folder of the training."""
        return run_folder(self.config)

    @property
    def source(self) -> Source:
        """Where the pairs come from."""
        return self.config.data

    @property
    def backbone(self) -> Backbone:
        """The frozen model."""
        return self.config.model

    @property
    def progress(self) -> bool:
        """Whether a terminal gets progress bars."""
        return self.config.trainer.progress

    @cached_property
    def device(self) -> torch.device:
        """Where networks run outside of training."""
        with light_imports():  # torch with it
            from ppd_lightning.devices import compute_device

        return compute_device(self.config.trainer.accelerator)

    @cached_property
    def rewards_that_label(self) -> dict[str, RewardSettings]:
        """The synthetic users."""
        return rewards_that_label(self.config)

    @cached_property
    def data(self) -> PreparedData:
        """The prepared data."""
        from ppd_lightning.data.prepared import PreparedData

        folder = data_folder(self.config)
        return PreparedData(
            folder,
            splits_folder(self.config),
            self.source.parquet(folder),
            self.source.image_size,
            None if self.source.labels == "people" else fingerprint(self.rewards_that_label),
            self.backbone.fingerprint,
            stores_text=self.config.trainer.text == "stored",
        )

    @cached_property
    def caption_states(self) -> CaptionStates | None:
        """What puts text states into a training's batches, on the device; None where these hold them.

        Raises:
            UserError: the data are not prepared, or files of the text encoder are missing.
        """
        from ppd_lightning.training.caption_states import caption_states

        return caption_states(self.data, lambda: self.backbone.load_text(self.device))

    @cached_property
    def simulation(self) -> Simulation | None:
        """The truth about the people, where they are simulated."""
        return self.source.simulation(self.data)

    @cached_property
    def users(self) -> Users:
        """The people of the pairs, as vectors."""
        from ppd_lightning.users.describing import Describing
        from ppd_lightning.users.users import Users

        config = self.config
        return Users(
            config.user,
            Describing(
                backbone=self.backbone,
                image_size=self.source.image_size,
                rewards=config.user.rewards_used(config.rewards),
                device=self.device,
                data=self.data,
                shots=config.shots,
                workers=self.source.workers,
                progress=self.progress,
            ),
        )

    @cached_property
    def instruments(self) -> Instruments:
        """The networks that see the choices of people who are not in the data."""
        from ppd_lightning.users.describing import Instruments

        return Instruments(
            backbone=self.backbone,
            image_size=self.source.image_size,
            rewards=self.config.user.rewards_used(self.config.rewards),
            device=self.device,
        )

    @cached_property
    def described(self) -> dict[str, np.ndarray]:
        """The vectors of the people in the files of `generation.people`, by name.

        They are those of the training that is finished or is to be, whose people are described already.

        Raises:
            UserError: the users serve nobody new or are not described, or a file is damaged or of another training.
        """
        files = self.config.generation.people
        if not files:
            return {}
        from ppd_lightning.users.describer import NAME, open_of_run
        from ppd_lightning.users.people_file import read_people

        kept = (self.run / NAME).exists()  # then the data may be elsewhere
        describer = open_of_run(self.run, self.config.user) if kept else self.users.describer()
        return read_people(files, describer.fingerprint())

    def open_rewards(self, names: Iterable[str]) -> dict[str, Reward]:
        """Some of the rewards that are chosen, on the device.

        Raises:
            UserError: a class, a role or an option is none; every fault of every reward is named.
        """
        from ppd_lightning.rewards.reward import open_rewards

        return open_rewards({name: self.config.rewards[name] for name in names}, self.device)

    def trained_run(self, folder: Path | None = None) -> TrainedRun:
        """The finished training, to draw with; that in `folder`, where it was moved.

        Raises:
            UserError: there is none, or files of the model are missing.
        """
        from ppd_lightning.generation.trained_run import open_trained_run

        config = self.config
        return open_trained_run(
            folder or self.run,
            self.backbone,
            self.data,
            self.users,
            config.generation,
            output=self.output,
            device=self.device,
            precision=config.trainer.precision,
            threads=config.trainer.threads,
            progress=self.progress,
            described=self.described,
        )
