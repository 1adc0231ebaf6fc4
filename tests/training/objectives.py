"""The shipped objectives, by name, with the settings of `tiny.objective`."""

from __future__ import annotations

from typing import Any

from tests import tiny

from ppd_lightning.training.objectives.diffusion_dpo import DiffusionDPO
from ppd_lightning.training.objectives.objective import Objective
from ppd_lightning.training.objectives.ppd import PPD
from ppd_lightning.training.objectives.sft import SFT

SHIPPED: dict[str, type[Objective]] = {"ppd": PPD, "diffusion_dpo": DiffusionDPO, "sft": SFT}


def objective(name: str = "ppd", **changes: Any) -> Objective:
    """One of them, without user dropping unless that is changed."""
    settings = {key: value for key, value in vars(tiny.objective()).items() if key not in ("target", "name")}
    return SHIPPED[name](**{"name": name} | settings | changes)
