"""The shipped objectives, by name, with the settings of `tiny.objective`."""

from __future__ import annotations

from typing import Any

from tests import tiny

from ppd_lightning.training.objectives.cdpo import CDPO
from ppd_lightning.training.objectives.diffusion_dpo import DiffusionDPO
from ppd_lightning.training.objectives.dispersion import Dispersion
from ppd_lightning.training.objectives.ipo import IPO
from ppd_lightning.training.objectives.kto import KTO
from ppd_lightning.training.objectives.linear_dpo import LinearDPO
from ppd_lightning.training.objectives.mapo import MaPO
from ppd_lightning.training.objectives.objective import Objective
from ppd_lightning.training.objectives.ppd import PPD
from ppd_lightning.training.objectives.sdpo import SDPO
from ppd_lightning.training.objectives.sft import SFT

OTHERS = 3

SHIPPED: dict[str, tuple[type[Objective], dict[str, float | int]]] = {
    "ppd": (PPD, {}),
    "diffusion_dpo": (DiffusionDPO, {}),
    "sft": (SFT, {}),
    "sdpo": (SDPO, {"mu": 0.6}),
    "linear_dpo": (LinearDPO, {"slope": 0.4, "floor": 0.001}),
    "ipo": (IPO, {}),
    "cdpo": (CDPO, {"label_smoothing": 0.1}),
    "kto": (KTO, {"preferred_share": 0.8}),
    "dispersion": (Dispersion, {"dispersion_weight": 0.1, "dispersion_scale": 1.0, "other_users": OTHERS}),
    "mapo": (MaPO, {"margin_weight": 0.1, "margin_scale": 1000.0, "link_scale": 0.5}),
}


def objective(name: str = "ppd", **changes: Any) -> Objective:
    """One of them, without user dropping unless that is changed."""
    settings = {key: value for key, value in vars(tiny.objective()).items() if key not in ("target", "name")}
    made, own = SHIPPED[name]
    return made(**{"name": name} | settings | own | changes)
