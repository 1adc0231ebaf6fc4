"""What numbers launchers and sweepers of Hydra can work with: they themselves look at them when runs start, or never.

Kinds of values are Hydra's: its plugins say of each key whether it is a number. Keys of other plugins are left to them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard

from ppd_lightning.settings.flat import flat

AT_LEAST_1 = (
    "launcher.nodes",
    "launcher.tasks_per_node",
    "launcher.timeout_min",
    "launcher.cpus_per_task",
    "launcher.cpus_per_gpu",
    "launcher.mem_gb",
    "launcher.array_parallelism",
    "sweeper.n_trials",
    "sweeper.n_jobs",
    "sweeper.max_batch_size",
    "sweeper.sampler.n_ei_candidates",
    "sweeper.sampler.population_size",
)
AT_LEAST_0 = (
    "launcher.gpus_per_node",
    "launcher.gpus_per_task",
    "launcher.signal_delay_s",
    "launcher.max_num_timeout",
    "launcher.timeout",
    "launcher.verbose",
    "sweeper.sampler.seed",
    "sweeper.sampler.n_startup_trials",
    "sweeper.sampler.prior_weight",
)
SHARES = ("sweeper.max_failure_rate", "sweeper.sampler.mutation_prob", "sweeper.sampler.crossover_prob")
MOST = 2**32 - 1
"""Of any: a seed's largest, and more than any machine has of the others."""

DIRECTIONS = ("minimize", "maximize")


def launch_faults(part: str, settings: Mapping[str, Any]) -> list[str]:
    """One sentence for each value that cannot be.

    Args:
        part: launcher or sweeper. settings: its values; those that are no numbers yet are left out.
    """
    values = {
        f"{part}.{key}": value for key, value in flat({k: v for k, v in settings.items() if k != "params"}).items()
    }
    faults = []
    for least, keys in ((1, AT_LEAST_1), (0, AT_LEAST_0)):
        for key in keys:
            value = values.get(key)
            if _is_number(value) and not least <= value <= MOST:
                faults.append(f"hydra.{key}: must be at least {least} (and at most {MOST}), not {value}")
    for key in SHARES:
        value = values.get(key)
        if _is_number(value) and not 0 <= value <= 1:
            faults.append(f"hydra.{key}: must be a share between 0 and 1, not {value}")
    if values.get("launcher.n_jobs") == 0:
        faults.append("hydra.launcher.n_jobs: must be how many runs work at once, or -1 for one on each core, not 0")
    direction = values.get("sweeper.direction")
    name = getattr(direction, "name", direction)
    if name is not None and "${" not in str(name) and name not in DIRECTIONS:
        faults.append(f"hydra.sweeper.direction: must be minimize or maximize, not {name}; report.goal says which")
    return faults


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
