"""The LightningModule, the LightningDataModule and what a training run needs around them."""

from ppd_lightning.training.data_module import PreferenceDataModule
from ppd_lightning.training.module import PPDModule

__all__ = ["PPDModule", "PreferenceDataModule"]
