from __future__ import annotations

import os
import pickle
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from ppd_lightning.training import checkpoints
from ppd_lightning.training.checkpoints import AtomicCheckpointIO, LastCheckpoint


class Command:
    """What a hostile checkpoint may hold."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_a_checkpoint_comes_back(tmp_path: Path) -> None:
    checkpoint = {"global_step": 3, "state_dict": {"branch.w": torch.rand(2)}, "loops": {"a": {"b": None}}}
    AtomicCheckpointIO().save_checkpoint(checkpoint, tmp_path / "new" / "last.ckpt")
    loaded = AtomicCheckpointIO().load_checkpoint(tmp_path / "new" / "last.ckpt")
    assert torch.equal(loaded["state_dict"].pop("branch.w"), checkpoint["state_dict"].pop("branch.w"))
    assert loaded == checkpoint


def test_code_in_a_checkpoint_is_not_run_whatever_is_asked(tmp_path: Path) -> None:
    torch.save({"state_dict": Command(tmp_path / "harm")}, tmp_path / "last.ckpt")
    with pytest.raises(pickle.UnpicklingError):
        AtomicCheckpointIO().load_checkpoint(tmp_path / "last.ckpt", weights_only=False)
    assert not (tmp_path / "harm").exists()


def test_a_failed_write_raises_and_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"global_step": 1}, path)

    def breaks_off(checkpoint: object, unfinished: Path) -> None:
        unfinished.write_bytes(b"half")
        raise PermissionError("read-only")

    monkeypatch.setattr(checkpoints.torch, "save", breaks_off)
    with pytest.raises(PermissionError):
        AtomicCheckpointIO().save_checkpoint({"global_step": 2}, path)
    assert AtomicCheckpointIO().load_checkpoint(path) == {"global_step": 1}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("validates", "expected"), [(False, [4, 8, 9]), (True, [])])
def test_it_saves_every_so_many_steps_and_at_the_last_after_the_step_or_after_its_validation(
    tmp_path: Path, validates: bool, expected: list[int]
) -> None:
    saved: list[int] = []
    callback = LastCheckpoint(tmp_path / "last.ckpt", 4, validates=validates)
    trainer = SimpleNamespace(
        accumulate_grad_batches=1,
        sanity_checking=False,
        max_steps=9,
        should_stop=False,
        save_checkpoint=lambda _: saved.append(trainer.global_step),
    )
    for trainer.global_step in range(1, 10):
        callback.on_train_batch_end(trainer, None, None, None, 0)
        assert trainer.should_stop == (trainer.global_step == 9)
    assert saved == expected
    saved.clear()
    for trainer.global_step in (4, 5, 8, 9):
        callback.on_validation_end(trainer, None)
    assert saved == ([4, 8, 9] if validates else [])
