"""A moving average of the branch's weights, beside the trained ones."""

from __future__ import annotations

from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from ppd_lightning.backbones.user_branch import UserBranch


class BranchAverage(EMAWeightAveraging):
    """Lightning's moving average, of the user branch alone: the frozen network is never copied.

    Training and validation go on with the trained weights; the average lies in the checkpoint under its own name and is
    read with `weights()`.

    Args:
        branch: what is averaged.
        decay: share of the average that a step leaves.
    """

    def __init__(self, branch: UserBranch, decay: float) -> None:
        super().__init__(decay=decay, use_buffers=False)
        self._trained: Any = nn.ModuleDict(dict(branch.named_children()))  # its weights, without the network it is on

    def weights(self) -> dict[str, Tensor]:
        """The averaged weights, by the names of the branch's own.

        Raises:
            RuntimeError: training has not begun.
        """
        if self._average_model is None:
            raise RuntimeError("there is no average before a training has begun")
        return {name: tensor.clone() for name, tensor in self._average_model.module.state_dict().items()}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """The average begins with the weights after the first step."""
        self._average_model = AveragedModel(self._trained, **self._kwargs)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """After each optimizer step."""
        super().on_train_batch_end(trainer, self._trained, outputs, batch, batch_idx)

    def on_train_epoch_end(self, *args: Any) -> None:
        """Steps count, not epochs."""

    def on_train_end(self, *args: Any) -> None:
        """The trained weights stay where they are."""

    def on_validation_epoch_start(self, *args: Any) -> None:
        """The trained weights are validated."""

    def on_validation_epoch_end(self, *args: Any) -> None:
        """They were never changed."""

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep the average beside the trained weights."""
        assert self._average_model is not None
        checkpoint["average"] = self._average_model.state_dict()

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Go on with the average of the checkpoint."""
        assert self._average_model is not None
        self._average_model.load_state_dict(checkpoint["average"])
