"""Where networks run outside of training."""

from __future__ import annotations

import torch

from ppd_lightning.config.schemas import Trainer


def compute_device(config: Trainer) -> torch.device:
    """A GPU where the configuration allows one and there is one, else the CPU."""
    return torch.device("cuda" if config.accelerator != "cpu" and torch.cuda.is_available() else "cpu")
