"""Where networks run outside of training, in what, and how much memory that took."""

from __future__ import annotations

import resource
import sys

import torch

from ppd_lightning.errors import UserError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
"""What the frozen network's weights are kept in, by trainer.precision."""


def require_accelerator(accelerator: str) -> None:
    """Raise a `UserError` where `trainer.accelerator` asks for a GPU and there is none."""
    if accelerator == "gpu" and not torch.cuda.is_available():
        raise UserError(
            f"trainer.accelerator: gpu is asked for, and PyTorch {torch.__version__} sees none on this machine; use "
            "trainer.accelerator=auto, which takes the CPU where there is no GPU, or see `ppd doctor`"
        )


def compute_device(accelerator: str) -> torch.device:
    """A GPU where `trainer.accelerator` allows one and there is one, else the CPU."""
    return torch.device("cuda" if accelerator != "cpu" and torch.cuda.is_available() else "cpu")


def peak_memory(device: torch.device) -> int:
    """The largest memory in bytes so far: what this process held of the GPU, or its resident set on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
