from __future__ import annotations

import pytest

from ppd_lightning.distributed.rank import ALONE, Rank, current_rank

TORCHRUN = {
    "RANK": "5",
    "WORLD_SIZE": "8",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "4",
    "MASTER_ADDR": "host",
    "MASTER_PORT": "29500",
}
SLURM = {"SLURM_PROCID": "5", "SLURM_STEP_NUM_TASKS": "8", "SLURM_LOCALID": "1", "SLURM_STEP_NUM_NODES": "2"}


@pytest.mark.parametrize("environment", [TORCHRUN, SLURM, {**SLURM, **TORCHRUN}])
def test_a_rank_knows_its_machine_and_its_number_there(environment: dict[str, str]) -> None:
    assert current_rank(environment) == Rank(5, 8, 1, 4)
    assert (current_rank(environment).node, current_rank(environment).is_first) == (1, False)


@pytest.mark.parametrize(
    "environment",
    [{}, {"RANK": "1"}, {"SLURM_PROCID": "0", "SLURM_NTASKS": "8"}, {**SLURM, "SLURM_STEP_NUM_TASKS": "1"}],
    ids=["nothing", "a part", "a batch script", "a step of one task"],
)
def test_else_a_process_is_alone(environment: dict[str, str]) -> None:
    assert current_rank(environment) == ALONE
    assert ALONE.is_first
