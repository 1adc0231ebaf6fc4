"""Where networks run outside of training, and in what."""

from __future__ import annotations

import torch

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
"""What the frozen network's weights are kept in, by trainer.precision."""


def compute_device(accelerator: str) -> torch.device:
    """A GPU where `trainer.accelerator` allows one and there is one, else the CPU."""
    return torch.device("cuda" if accelerator != "cpu" and torch.cuda.is_available() else "cpu")
