"""Where networks run outside of training, and in what."""

from __future__ import annotations

import torch

from ppd_lightning.config.schemas import Trainer

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
"""What the frozen prior's weights are kept in, by trainer.precision."""


def compute_device(config: Trainer) -> torch.device:
    """A GPU where the configuration allows one and there is one, else the CPU."""
    return torch.device("cuda" if config.accelerator != "cpu" and torch.cuda.is_available() else "cpu")
