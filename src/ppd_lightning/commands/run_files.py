"""What a finished training leaves in its folder, whoever's trainer it had."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ppd_lightning.backbones.adapter import base_fingerprint, save_adapter
from ppd_lightning.config.exported import exported_values
from ppd_lightning.config.workspace import Workspace
from ppd_lightning.errors import UserError
from ppd_lightning.generation.settings import ADAPTERS
from ppd_lightning.training.ema import BranchAverage
from ppd_lightning.training.finite import first_nonfinite
from ppd_lightning.training.module import PPDModule
from ppd_lightning.users.describer import NAME as DESCRIBER


def save_branch(workspace: Workspace, folder: Path, module: PPDModule, average: BranchAverage | None) -> None:
    """Write the trained weights and their average with the run's metadata, and how its people were described.

    Leaves the average in the module.

    Raises:
        UserError: a weight is not finite.
    """
    weights = {"": module.branch.state_dict(), "average ": {} if average is None else average.weights()}
    for what, content in weights.items():
        broken = first_nonfinite(content)
        if broken is not None:
            raise UserError(f"the trained {what}weight {broken[0]} is {broken[1]}; {module.remedy()}")
    if workspace.users.kind.described:
        workspace.users.describer().save(folder / DESCRIBER)
    metadata: dict[str, Any] = {
        "base": base_fingerprint(module.network),
        "run": folder.name,
        "configuration": exported_values(workspace.config),
        "users": workspace.users.fingerprint(),
    }
    save_adapter(module.branch, folder / ADAPTERS["trained"], **metadata)
    if average is not None:
        module.branch.load_state_dict(average.weights())
        save_adapter(module.branch, folder / ADAPTERS["ema"], **metadata)


def facts(module: PPDModule, steps: int, batch_size: int) -> dict[str, Any]:
    """What a training's summary says of it, beside its figures.

    Args:
        steps: that it was trained.
        batch_size: pairs of each.
    """
    return {
        "steps": steps,
        "pairs": steps * batch_size,
        "trainable_parameters": sum(weight.numel() for weight in module.branch.parameters()),
        "coefficient": module.coefficient,
        "beta_dpo": 2 * module.coefficient,
    }
