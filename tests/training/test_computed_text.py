"""Captions that are encoded in the training step: the same training as with a text store, and no such store."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file
from tests.training.tiny_world import overrides

from ppd_lightning import Training, UserError
from ppd_lightning.commands import embed, prepare, reference, train
from ppd_lightning.commands.preferences import held_out_preferences
from ppd_lightning.config.compose import compose
from ppd_lightning.config.folders import run_folder
from ppd_lightning.config.root import Config
from ppd_lightning.config.workspace import Workspace
from ppd_lightning.data.pickapic_source import PickapicSource
from ppd_lightning.training import caption_states
from ppd_lightning.training.caption_states import CaptionStates
from ppd_lightning.training.logged_rows import read_metrics
from ppd_lightning.training.module import PPDModule

SHORT = ("trainer.max_steps=6", "trainer.checkpoint_every=3", "trainer.threads=1", "evaluation.preference_draws=2")
COMPUTED = "trainer.text=computed"


@pytest.fixture(scope="module")
def both(world: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The outputs of the tiny world, prepared with a text store in fp32 and without any."""
    outputs = {way: tmp_path_factory.mktemp(way) for way in ("stored", "computed")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PickapicSource, "half_precision", False)
        for way, output in outputs.items():
            prepare.run(on(world, output, f"trainer.text={way}"))
            embed.run(on(world, output, f"trainer.text={way}"))
    return outputs


def on(world: Path, output: Path, *further: str) -> Config:
    return compose(overrides(world, output, *SHORT, *further))


def text_store(output: Path) -> list[Path]:
    return list(output.glob("data/*/text"))


def adapter(config: Config) -> dict[str, torch.Tensor]:
    return load_file(run_folder(config) / "adapter.safetensors")


@pytest.mark.parametrize("way", ["computed", pytest.param("stored", marks=pytest.mark.long)])
def test_a_training_is_the_one_that_reads_a_text_store(world: Path, both: dict[str, Path], way: str) -> None:
    """States of a batch differ from a store's in the last bits alone, so losses, validation and weights hardly do."""
    further = f"trainer.reference={way}"
    stored, computed = (on(world, both[text], further, f"trainer.text={text}") for text in ("stored", "computed"))
    assert run_folder(stored).name != run_folder(computed).name
    summaries = [train.run(config) for config in (stored, computed)]
    assert text_store(both["stored"])
    assert not text_store(both["computed"])
    figures = [name for name in summaries[0] if name.startswith(("step0", "train/error", "train/loss", "validation/"))]
    assert {"step0_loss", "train/loss", "validation/loss"} <= set(figures)
    assert {name: summaries[0][name] for name in figures} == pytest.approx(
        {name: summaries[1][name] for name in figures},
        rel=5e-4,  # the margin is a difference of nearly equal errors
    )
    weights = [adapter(config) for config in (stored, computed)]
    for name, weight in weights[0].items():
        torch.testing.assert_close(weight, weights[1][name], rtol=1e-3, atol=1e-5)
    margins = []
    for workspace in map(Workspace, (stored, computed)):
        preferences = held_out_preferences(workspace, workspace.trained_run())
        assert preferences is not None
        margins.append(preferences.table()["margin"].to_pylist())
    assert margins[0] == pytest.approx(margins[1], rel=1e-3, abs=1e-6)


def test_batches_hold_numbers_and_their_states_are_those_of_the_store(world: Path, both: dict[str, Path]) -> None:
    spaces = {way: Workspace(on(world, both[way], f"trainer.text={way}")) for way in both}
    batches = {way: reference.open_batches(space) for way, space in spaces.items()}
    for one in batches.values():
        one.setup("fit")
    assert spaces["stored"].caption_states is None
    states = spaces["computed"].caption_states
    assert states is not None
    for step in range(3):
        stored, computed = (batches[way].batch(step) for way in both)
        assert computed["caption"].dtype == torch.int64
        assert not computed.keys() & {"text", "text_pooled"}
        filled = states(computed)
        assert filled.keys() == stored.keys()
        for name, part in stored.items():
            assert filled[name].dtype == part.dtype
            torch.testing.assert_close(filled[name], part, rtol=1e-5, atol=1e-5)


def test_a_store_in_fp16_is_left_by_its_rounding_alone(world: Path) -> None:
    """Also where it is there already: it is not read."""
    spaces = [Workspace(on(world, world / "out", further)) for further in ("trainer.text=stored", COMPUTED)]
    stored, computed = (reference.open_batches(space) for space in spaces)
    stored.setup("fit")
    computed.setup("fit")
    states = spaces[1].caption_states
    assert states is not None
    ours, theirs = states(computed.batch(0))["text"], stored.batch(0)["text"]
    assert not torch.equal(ours, theirs)
    torch.testing.assert_close(ours, theirs, rtol=2**-11, atol=2**-11)


def test_each_caption_of_a_batch_is_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caption_states, "AT_ONCE", 2)
    asked: list[list[str]] = []

    def encode(captions: list[str]) -> dict[str, torch.Tensor]:
        asked.append(captions)
        return {"text": torch.tensor([[float(ord(caption))] for caption in captions], dtype=torch.bfloat16)}

    states = CaptionStates(pa.chunked_array([["a", "b"], ["c", "d"]]), encode)
    batch = {"pair": torch.arange(5), "caption": torch.tensor([3, 0, 3, 2, 0])}
    filled = states(batch)
    assert asked == [["a", "c"], ["d"]]
    assert filled.keys() == {"pair", "text"}
    assert filled["text"].dtype == torch.float32
    assert filled["text"].flatten().tolist() == [float(ord(caption)) for caption in "dadca"]


@pytest.mark.long
def test_a_run_that_broke_off_goes_on_to_the_same_end(
    world: Path, both: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = on(world, both["computed"], COMPUTED, "seed=3")
    train.run(whole)
    shutil.copytree(both["computed"] / "data", tmp_path / "data")
    broken = on(world, tmp_path, COMPUTED, "seed=3")
    step, calls = PPDModule.training_step, []

    def until_the_ninth(self: PPDModule, batch: dict[str, torch.Tensor], index: int) -> torch.Tensor:
        calls.append(index)
        if len(calls) == 9:  # two micro-batches a step
            raise KeyboardInterrupt
        return step(self, batch, index)

    with monkeypatch.context() as patch:
        patch.setattr(PPDModule, "training_step", until_the_ninth)
        with pytest.raises(KeyboardInterrupt):
            train.run(broken)
    train.run(broken)
    ours, theirs = adapter(broken), adapter(whole)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    rows = [read_metrics(run_folder(config) / "metrics.csv") for config in (broken, whole)]
    for row in (*rows[0], *rows[1]):
        del row["train/pairs_per_second"], row["train/memory_gib"]
    assert rows[0] == rows[1]


def test_stored_reference_errors_of_the_two_ways_lie_apart_and_are_the_same(world: Path, both: dict[str, Path]) -> None:
    folders, errors = [], []
    for text, output in both.items():
        workspace = Workspace(on(world, output, "trainer.reference=stored", f"trainer.text={text}"))
        batches = reference.open_batches(workspace)
        batches.setup("fit")
        stored = reference.open_stored(workspace, batches)
        folders.append(stored.folder.name)
        errors.append(stored._errors(workspace.backbone.load_network(), 0, 12))
    assert folders[0] != folders[1]
    torch.testing.assert_close(*errors, rtol=1e-4, atol=0)


def test_preparing_for_a_store_later_adds_it_and_nothing_else(
    world: Path, both: dict[str, Path], tmp_path: Path
) -> None:
    shutil.copytree(both["computed"] / "data", tmp_path / "data")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("latents/*")}
    with pytest.raises(UserError, match="text: this store is missing; run `ppd prepare`"):
        train.run(on(world, tmp_path))
    prepare.run(on(world, tmp_path))
    assert len(text_store(tmp_path)) == 1
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_shots_that_compare_captions_need_the_store(world: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"shots\.select: diverse compares captions by their stored text states"):
        on(world, tmp_path, COMPUTED, "shots=diverse")
    on(world, tmp_path, "shots=diverse")


def test_a_training_in_python_computes_them_too(world: Path, tmp_path: Path) -> None:
    config = on(world, world / "out", COMPUTED, "objective.weighting=const")
    training = Training()
    training._workspace = Workspace(config)
    batches = training.batches()
    module = training.module(batches)
    assert module.training_step(batches.batch(0), 0).isfinite()
    assert "text" not in dict(module.named_children())
