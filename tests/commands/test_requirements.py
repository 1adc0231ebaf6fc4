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


def test_more_threads_than_processors_can_serve_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(requirements.os, "cpu_count", lambda: 2)
    assert main(["train", "experiment=emoji/ppd", f"output={tmp_path}", "trainer.threads=1024"]) == 2
    assert capsys.readouterr().err.startswith("ppd: trainer.threads: 1,024 threads on 2 CPUs")


def test_batches_that_do_not_fit_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(requirements, "memory", lambda: 1_000_000)
    monkeypatch.setattr(devices.torch.cuda, "device_count", lambda: 0)
    words = ["experiment=emoji/ppd", f"output={tmp_path}", "trainer.batch_size=1000", "generation.batch_size=1000"]
    assert main(["train", *words]) == main(["generate", *words]) == 2
    assert main(["train", *words, "trainer.devices=1000"]) == 2
    first, second, third = capsys.readouterr().err.splitlines()
    assert first.startswith("ppd: trainer.batch_size: the latents and captions of 1,000 pairs take ")
    assert third.startswith("ppd: trainer.devices: 1,000 processes on the CPU take 300.0 GB alone")
    assert second.startswith("ppd: generation.batch_size: 1,000 images and their latents take 0.")
    with pytest.raises(SystemExit):
        main(["doctor", *words])
    assert "generation.batch_size: 1,000 images and their latents take" in capsys.readouterr().out
