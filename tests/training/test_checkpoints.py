from __future__ import annotations

import logging
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ppd_lightning.errors import UserError
from ppd_lightning.storage.fingerprints import file_sha256
from ppd_lightning.training import checkpoints
from ppd_lightning.training.checkpoints import (
    PARTS,
    AtomicCheckpointIO,
    DamagedError,
    LastCheckpoint,
    last_checkpoint,
    read_checkpoint,
    sound_checkpoint,
    step_of,
)


class Command:
    """What a hostile checkpoint may hold."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def checkpoint(step: int) -> dict[str, Any]:
    return dict.fromkeys(PARTS, None) | {"global_step": step, "state_dict": {"branch.w": torch.full((9,), step / 7)}}


def save(run: Path, *steps: int) -> None:
    for step in steps:
        AtomicCheckpointIO().save_checkpoint(checkpoint(step), run / "checkpoints" / f"step-{step:06d}.ckpt")


def write(run: Path, step: int, content: Any) -> Path:
    """A checkpoint that somebody else made, under the right name."""
    file = run / "checkpoints" / "new"
    torch.save(content, file)
    return file.rename(file.with_name(f"step-{step:06d}.{file_sha256(file)[:16]}.ckpt"))


def names(run: Path) -> list[str]:
    return sorted(path.name.split(".")[0] for path in (run / "checkpoints").iterdir())


def test_the_last_two_are_kept_each_with_its_step_and_the_checksum_of_its_content(tmp_path: Path) -> None:
    save(tmp_path, 3, 6, 9)
    assert names(tmp_path) == ["step-000006", "step-000009"]
    newest = sound_checkpoint(tmp_path)
    assert newest == last_checkpoint(tmp_path)
    assert (step_of(newest), newest.name.split(".")[1]) == (9, file_sha256(newest)[:16])
    loaded, expected = AtomicCheckpointIO().load_checkpoint(newest), checkpoint(9)
    assert torch.equal(loaded.pop("state_dict")["branch.w"], expected.pop("state_dict")["branch.w"])
    assert loaded == expected


def test_what_a_kill_after_saving_left_goes_when_the_run_goes_on(tmp_path: Path) -> None:
    save(tmp_path, 3, 6)
    write(tmp_path, 9, checkpoint(9))
    assert step_of(sound_checkpoint(tmp_path)) == 9
    assert names(tmp_path) == ["step-000006", "step-000009"]


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [flip, cut, empty])
def test_a_damaged_one_is_set_aside_and_the_one_before_is_used(
    tmp_path: Path, damage: Any, caplog: pytest.LogCaptureFixture
) -> None:
    save(tmp_path, 3, 6)
    damage(last_checkpoint(tmp_path))
    with pytest.raises(DamagedError, match="its checksum differs"):
        AtomicCheckpointIO().load_checkpoint(last_checkpoint(tmp_path))
    assert step_of(sound_checkpoint(tmp_path)) == 3
    (message,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert "step-000006" in message
    assert "step 3 of" in message
    assert names(tmp_path) == ["damaged-step-000006", "step-000003"]
    save(tmp_path, 6)
    assert names(tmp_path) == ["step-000003", "step-000006"]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (lambda run: {"state_dict": Command(run / "harm")}, "more than weights"),
        (lambda run: {"global_step": 6}, "it lacks loops, lr_schedulers"),
        (lambda run: [1], "it lacks global_step"),
        (
            lambda run: checkpoint(6) | {"state_dict": {"branch.w": torch.tensor([torch.nan])}},
            "branch.w holds nan",
        ),
    ],
    ids=["code", "other keys", "no mapping", "not finite"],
)
def test_what_is_no_sound_checkpoint_of_a_training_is_none_whatever_its_name(
    tmp_path: Path, content: Any, fault: str
) -> None:
    save(tmp_path, 3)
    with pytest.raises(DamagedError, match=fault):
        read_checkpoint(write(tmp_path, 6, content(tmp_path)))
    assert step_of(sound_checkpoint(tmp_path)) == 3
    assert not (tmp_path / "harm").exists()


def test_where_none_is_sound_nothing_is_trained_until_they_are_deleted(tmp_path: Path) -> None:
    assert sound_checkpoint(tmp_path) is None
    save(tmp_path, 3, 6)
    for path in (tmp_path / "checkpoints").iterdir():
        cut(path)
    for _ in range(2):
        with pytest.raises(UserError, match=r"no checkpoint of this run is sound .*delete this folder"):
            sound_checkpoint(tmp_path)
    for path in (tmp_path / "checkpoints").iterdir():
        path.unlink()
    assert sound_checkpoint(tmp_path) is None


def test_a_failed_write_raises_and_leaves_the_old_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, 3, 6)

    def breaks_off(checkpoint: object, unfinished: Path) -> None:
        unfinished.write_bytes(b"half")
        raise PermissionError("read-only")

    monkeypatch.setattr(checkpoints.torch, "save", breaks_off)
    with pytest.raises(PermissionError):
        save(tmp_path, 9)
    assert names(tmp_path) == ["step-000003", "step-000006"]


@pytest.mark.parametrize(("validates", "expected"), [(False, [4, 8, 9]), (True, [])])
def test_it_saves_every_so_many_steps_and_at_the_last_after_the_step_or_after_its_validation(
    tmp_path: Path, validates: bool, expected: list[int]
) -> None:
    saved: list[int] = []
    callback = LastCheckpoint(tmp_path, 4, validates=validates)
    trainer = SimpleNamespace(
        accumulate_grad_batches=1,
        sanity_checking=False,
        max_steps=9,
        should_stop=False,
        save_checkpoint=lambda path: saved.append(step_of(path)),
    )
    for trainer.global_step in range(1, 10):
        callback.on_train_batch_end(trainer, None, None, None, 0)
        assert trainer.should_stop == (trainer.global_step == 9)
    assert saved == expected
    saved.clear()
    for trainer.global_step in (4, 5, 8, 9):
        callback.on_validation_end(trainer, None)
    assert saved == ([4, 8, 9] if validates else [])
