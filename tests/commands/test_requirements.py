"""What a verb needs of the machine is said before it works."""

from __future__ import annotations

from pathlib import Path

import pytest

from ppd_lightning import devices
from ppd_lightning.cli import main
from ppd_lightning.commands import requirements


@pytest.mark.parametrize("verb", ["prepare", "embed", "train"])
def test_a_missing_gpu_is_one_sentence(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(devices.torch.cuda, "is_available", lambda: False)
    words = ["experiment=emoji/ppd", "trainer.accelerator=gpu", f"output={tmp_path}"]
    assert main([verb, *words]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("ppd: trainer.accelerator: gpu is asked for, and PyTorch")
    assert not list(tmp_path.iterdir())
    assert main(["validate", *words]) == 0


def test_batches_that_do_not_fit_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(requirements, "memory", lambda: 1_000_000)
    words = ["experiment=emoji/ppd", f"output={tmp_path}", "trainer.batch_size=1000", "generation.batch_size=1000"]
    assert main(["train", *words]) == main(["generate", *words]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("ppd: trainer.batch_size: the latents and captions of 1,000 pairs take ")
    assert second.startswith("ppd: generation.batch_size: 1,000 images and their latents take 0.")
