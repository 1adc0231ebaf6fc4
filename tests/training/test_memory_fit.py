"""`trainer.micro_batch_size=auto`: the search for what fits, on made-up devices, and steps that leave no trace."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests import tiny
from tests.training.objectives import objective as objective_of
from tests.training.tiny_world import overrides

from ppd_lightning.commands import fitted as of_a_run
from ppd_lightning.commands.reference import open_batches
from ppd_lightning.config.compose import compose
from ppd_lightning.config.workspace import Workspace
from ppd_lightning.errors import MachineError
from ppd_lightning.training.accumulation import micro_batches
from ppd_lightning.training.memory_fit import Fit, Trial, fit, largest, sizes
from ppd_lightning.training.module import PPDModule


@dataclass
class Device:
    """Has room for so many pairs at once, or for `again` times as many whose activations are computed again."""

    room: int
    again: int = 4
    tried: list[Fit] = field(default_factory=list)

    def fits(self, wanted: Fit) -> bool:
        self.tried.append(wanted)
        return wanted.pairs <= self.room * (self.again if wanted.checkpointing else 1)


@pytest.mark.parametrize("room", [1, 2, 7, 8, 11, 12, 95, 768, 5000])
@pytest.mark.parametrize("share", [768, 96, 7, 1])
def test_the_largest_equal_part_that_fits_is_found_in_few_tries(room: int, share: int) -> None:
    device = Device(room)
    found = fit(sizes(share), device.fits, checkpointing=False)
    assert found == Fit(max(size for size in range(1, share + 1) if share % size == 0 and size <= room), False)
    assert micro_batches(share, found.pairs) == share // found.pairs
    assert len(device.tried) <= 1 + len(sizes(share)).bit_length()


def test_activations_are_computed_again_where_nothing_fits_without_or_it_is_asked_for() -> None:
    assert fit([2, 4, 8, 16], Device(1).fits, checkpointing=False) == Fit(4, True)
    assert fit([2, 4, 8, 16], Device(3).fits, checkpointing=True) == Fit(8, True)
    with pytest.raises(MachineError, match="not enough memory for a step of 2 pairs at once"):
        fit([2, 4], Device(0).fits, checkpointing=False)
    assert largest([3], lambda size: size == 3) == 3


class Memory:
    """So many bytes, of which a pair whose prediction is kept takes 10."""

    def __init__(self, size: int, name: str = "made up") -> None:
        self.size, self.name, self.most = size, name, 0

    def begin(self) -> None:
        self.most = 0

    def suffices(self) -> bool:
        return self.most <= self.size

    def measure(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Count what training steps take; beyond twice the size they fail as on a GPU."""
        whole = PPDModule.training_step

        def step(module: PPDModule, batch: Any, index: int) -> Any:
            loss = whole(module, batch, index)
            self.most = max(self.most, 10 * len(batch["pair"]))
            if self.most > 2 * self.size:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
            return loss

        monkeypatch.setattr(PPDModule, "training_step", step)


class Pairs:
    """A data module of random pairs."""

    embedding_dim, latent_shape = tiny.EMBEDDING, tiny.LATENT

    def first_pairs(self, count: int) -> dict[str, torch.Tensor]:
        return tiny.batch(count)


def test_a_tried_step_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    network, memory = tiny.unet(), Memory(30)
    memory.measure(monkeypatch)
    trial = Trial(tiny.backbone(), network, Pairs(), objective_of(drop_user=0.9), tiny.optimizer(), memory)  # type: ignore[arg-type]
    before = {name: value.clone() for name, value in network.state_dict().items()}
    hooks, state = [len(part._forward_hooks) for part in network.modules()], torch.get_rng_state()
    tried = [trial.fits(Fit(pairs, again)) for pairs, again in ((3, False), (3, True), (4, False), (7, False))]
    assert tried == [True, True, False, False]
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert [len(part._forward_hooks) for part in network.modules()] == hooks
    assert not network.is_gradient_checkpointing
    assert all(weight.grad is None for weight in network.parameters())
    monkeypatch.setattr(PPDModule, "training_step", lambda *_: torch.ones(2) @ torch.ones(3))
    with pytest.raises(RuntimeError, match="size"):
        trial.fits(Fit(1, False))


def test_a_run_keeps_what_was_found_for_as_long_as_its_devices_are_the_same(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = Workspace(compose(overrides(world, world / "out", "trainer.micro_batch_size=auto")))
    plain = of_a_run.fitted(workspace, open_batches(workspace), tiny.unet())
    assert plain == replace(workspace.config.trainer, micro_batch_size=None)

    def found(memory: Memory) -> tuple[int, int]:
        with monkeypatch.context() as patch:
            memory.measure(patch)
            batches, network = open_batches(workspace), tiny.unet()
            batches.setup("fit")
            settings = of_a_run.fitted(workspace, batches, network, folder=tmp_path, memory=memory)
        assert settings == replace(workspace.config.trainer, micro_batch_size=batches.micro_batch_size)
        return settings.micro_batch_size, memory.most

    assert found(Memory(25)) == (2, 0)
    assert found(Memory(100)) == (2, 0)  # taken from the folder
    assert found(Memory(100, "another one")) == (6, 0)
    (tmp_path / of_a_run.NAME).write_text("{")
    assert found(Memory(30)) == (3, 0)
