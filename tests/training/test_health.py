"""A training that comes to something that is not finite stops with a sentence, and nothing of it is kept."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Trainer
from tests import tiny
from tests.training.tiny_world import overrides
from torch.utils.data import DataLoader

from ppd_lightning.commands import train
from ppd_lightning.commands.reference import open_batches
from ppd_lightning.commands.run_files import save_branch
from ppd_lightning.config.compose import compose
from ppd_lightning.config.folders import run_folder
from ppd_lightning.config.workspace import Workspace
from ppd_lightning.diffusion.weighting import TimeWeight
from ppd_lightning.errors import UserError
from ppd_lightning.training.checkpoints import last_checkpoint, step_of
from ppd_lightning.training.drift import LONG, drifts, rise
from ppd_lightning.training.finite import first_nonfinite
from ppd_lightning.training.health import Fault, Health, NotFiniteError, first_of_ranks
from ppd_lightning.training.module import PPDModule
from ppd_lightning.training.sound_inputs import unsound_inputs

NAN, INFINITY = float("nan"), float("inf")


def made(*, skip: int = 0) -> PPDModule:
    backbone, network = tiny.backbone(), tiny.unet()
    return PPDModule(
        backbone,
        network,
        tiny.branch(network),
        tiny.objective(),
        tiny.optimizer(lr=0.01),
        TimeWeight("const", backbone.diffusion_path, 0.001, 1.0, None),
        latent_shape=tiny.LATENT,
        max_steps=4,
        seed=5,
        skip_nonfinite=skip,
    )


def fit(module: PPDModule, folder: Path, broken: int | None = None, steps: int = 4) -> None:
    """Train on batches of which number `broken` holds a NaN."""
    batches = [tiny.batch(4, seed) for seed in range(steps)]
    if broken is not None:
        batches[broken]["latents_preferred"][2, 0, 0, 0] = NAN
    Trainer(
        accelerator="cpu",
        max_steps=steps,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        default_root_dir=folder,
    ).fit(module, DataLoader(batches, batch_size=None))


def test_the_figure_its_value_the_step_and_the_pair_are_named(tmp_path: Path) -> None:
    pair = f"{int(tiny.batch(4, 1)['pair'][2]):016x}"
    sentence = (
        rf"step 2: train/loss is nan for 1 of 4 pairs \({pair}\); lower optimizer.lr \(0.01\) or objective.beta \(1\)"
    )
    with pytest.raises(NotFiniteError, match=sentence):
        fit(made(), tmp_path, broken=1)


def test_a_step_that_may_be_left_out_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The last one: the weights are those of the training that had ended before."""
    module, expected = made(skip=1), made()
    fit(module, tmp_path, broken=3)
    fit(expected, tmp_path, steps=3)
    assert module.skipped_steps == 1
    assert "step left out, 1 of at most 1" in caplog.text
    found = module.branch.state_dict()
    assert all(torch.equal(found[name], value) for name, value in expected.branch.state_dict().items())
    module.on_save_checkpoint(saved := {"state_dict": module.state_dict()})
    assert saved["skipped_steps"] == 1
    with pytest.raises(NotFiniteError, match=r"trainer.skip_nonfinite \(1, of which 1 were left out already\)"):
        fit(module, tmp_path, broken=0)


def test_what_is_looked_at_late_is_found_before_it_is_saved(tmp_path: Path) -> None:
    module = made()
    module.health.note("train", 7, torch.tensor([1, 2]), {"loss": torch.tensor([1.0, 2.0])})
    module.health.note("train", 8, torch.tensor([3, 4]), {"loss": torch.tensor([1.0, 9.0])})
    module.health.note_number("train/gradient_norm", 8, torch.tensor(INFINITY))
    with pytest.raises(NotFiniteError, match=r"step 8: train/gradient_norm is inf .*: 0{15}4, 0{15}3\)"):
        module.on_save_checkpoint({"state_dict": module.state_dict()})
    with torch.no_grad():
        next(iter(module.branch.parameters())).view(-1)[0] = INFINITY
    with pytest.raises(NotFiniteError, match=r"the weight .* is inf"):
        module.on_save_checkpoint({"state_dict": module.state_dict()})


def test_figures_that_are_finite_and_whose_sum_is_not_are_found() -> None:
    health = Health()
    health.note("train", 3, torch.tensor([1, 2]), {"loss": torch.tensor([3e38, 3e38])})
    fault = health.check()
    assert fault is not None
    assert (fault.step, fault.value, fault.pairs) == (3, INFINITY, (1, 2))
    assert health.check() is None


def test_the_faults_of_ranks_are_one() -> None:
    late, here, there = Fault("a", NAN, 4, (9,), 2), Fault("a", NAN, 3, (1,), 2), Fault("a", NAN, 3, (5, 6), 2)
    assert str(first_of_ranks([late, here, there])).startswith("step 3: a is nan for 3 of 4 pairs (")


def test_a_run_keeps_its_last_sound_checkpoint_and_stops_again_with_the_same_sentence(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(world / "out" / "data", tmp_path / "data")
    config = compose(overrides(world, tmp_path, "trainer.threads=1"))
    step = PPDModule.on_before_optimizer_step

    def diverge(self: PPDModule, optimizer: Any) -> None:
        if self.global_step == 7:
            next(iter(self.branch.parameters())).grad.fill_(NAN)
        step(self, optimizer)

    monkeypatch.setattr(PPDModule, "on_before_optimizer_step", diverge)
    sentences = []
    for _ in range(2):
        with pytest.raises(UserError, match=r"step 8: train/gradient_norm is nan .* is kept: .* of step 6$") as error:
            train.run(config)
        sentences.append(str(error.value))
        assert step_of(last_checkpoint(run_folder(config))) == 6
    assert sentences[0] == sentences[1]
    assert not (run_folder(config) / "adapter.safetensors").exists()
    # What may be left out is no part of the run's name, so the same run goes on.
    summary = train.run(compose(overrides(world, tmp_path, "trainer.threads=1", "trainer.skip_nonfinite=1")))
    assert summary["skipped_steps"] == 1


def test_inputs_that_are_not_finite_are_named_by_their_store(world: Path) -> None:
    config = compose(overrides(world, world / "out"))
    batches = open_batches(Workspace(config))
    batches.setup("fit")
    examples, pairs = copy.copy(batches._examples()), batches.first_batch()["pair"].tolist()
    assert batches.unsound_inputs(pairs) == []
    users = examples.users[:].copy()
    row = int((examples.pairs == pairs[0]).nonzero()[0][0])
    users[examples.user_rows[row, 0]] = INFINITY
    examples.users = users
    (sentence,) = unsound_inputs(examples, pairs[:1])
    assert "the user embeddings of 1 pairs of this step hold NaN or infinity" in sentence
    assert "`ppd verify`" in sentence
    assert "`ppd embed`" in sentence


def test_a_trained_branch_that_is_not_finite_is_not_written(world: Path, tmp_path: Path) -> None:
    module = made()
    with torch.no_grad():
        next(iter(module.branch.parameters())).view(-1)[0] = NAN
    with pytest.raises(UserError, match=r"the trained weight .* is nan; lower optimizer.lr"):
        save_branch(Workspace(compose(overrides(world, world / "out"))), tmp_path, module, None)
    assert not list(tmp_path.iterdir())


def test_the_first_tensor_that_is_not_finite_is_found_wherever_it_lies() -> None:
    content = {"a": torch.ones(2), "b": [{"c": torch.tensor([1, 2])}, {"d": torch.tensor([1.0, -INFINITY])}], "e": 1}
    assert first_nonfinite(content) == ("b.1.d", -INFINITY)
    assert first_nonfinite({"a": torch.ones(0)}) is None


def figures(preferred: float, dispreferred: float) -> dict[str, float]:
    """Of errors that are so much above a reference's 2."""
    gains = {"preferred": 2 * preferred, "dispreferred": 2 * dispreferred}
    return {f"train/gain_{side}": gain for side, gain in gains.items()} | {
        f"train/error_{side}": 2 + gain for side, gain in gains.items()
    }


def test_a_training_drifts_where_both_errors_are_far_above_the_references_for_long() -> None:
    assert rise(figures(0.1, 0.7)) == pytest.approx(0.1)
    assert rise({"train/error_preferred": 1.0}) is None
    high = rise(figures(3.0, 0.8))
    assert drifts([0.1, *[high] * LONG])
    assert not drifts([high] * (LONG - 1))
    assert not drifts([*[high] * (LONG - 1), rise(figures(0.1, 0.8))])
