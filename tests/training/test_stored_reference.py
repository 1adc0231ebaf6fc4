"""The reference's errors, computed once and read back, are those of every step, whoever makes them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests import tiny
from tests.training.tiny_world import STEPS, overrides

from ppd_lightning.commands import embed, reference, train
from ppd_lightning.config.compose import compose
from ppd_lightning.config.folders import run_folder
from ppd_lightning.config.root import Config
from ppd_lightning.config.workspace import Workspace
from ppd_lightning.distributed.rank import Rank
from ppd_lightning.errors import UserError
from ppd_lightning.training import stored_reference
from ppd_lightning.training.build import build_module
from ppd_lightning.training.data_module import PreferenceDataModule
from ppd_lightning.training.pair_draws import draws_in
from ppd_lightning.training.stored_reference import StoredReference

STORED = ("trainer.reference=stored", "objective.drop_user=0", "optimizer.ema_decay=null", "trainer.threads=1")
UNIT = 16


@pytest.fixture(autouse=True)
def _small_units(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_reference, "UNIT", UNIT)


@pytest.fixture
def output(world: Path, tmp_path: Path) -> Path:
    shutil.copytree(world / "out" / "data", tmp_path / "data")
    return tmp_path


def on(world: Path, output: Path, *further: str) -> Config:
    return compose(overrides(world, output, *STORED, *further))


def opened(config: Config) -> tuple[StoredReference, PreferenceDataModule]:
    workspace = Workspace(config)
    data = reference.open_batches(workspace)
    data.setup("fit")
    return reference.open_stored(workspace, data), data


def refuse(*_: object, **__: object) -> None:
    pytest.fail("computed again")


@pytest.mark.parametrize(
    "further",
    [pytest.param((), marks=pytest.mark.long), ("objective.share_noise=false", "objective.t_min=0.4", "seed=3")],
)
def test_a_batch_has_the_errors_that_its_step_would_compute(
    world: Path, output: Path, further: tuple[str, ...]
) -> None:
    """In every batch of a run over more than one epoch, some of whose pairs no grouping may describe."""
    config = on(world, output, *further)
    stored, data = opened(config)
    stored.make(tiny.unet)
    data.use_reference(stored.read())
    groups = (config.objective, config.optimizer, config.trainer)
    module = build_module(config.model, tiny.unet(), data, *groups, seed=config.seed)
    epochs = set()
    for step in range(STEPS):
        batch = data.batch(step)
        epochs |= set(batch["epoch"].tolist())
        assert batch["reference"].dtype == torch.float32
        read = batch.pop("reference")
        batch = module.draws.of_measurement(batch)
        computed = module._errors(batch, draws_in(batch), both=True, reference=True).reference
        torch.testing.assert_close(read, torch.stack(computed, 1), rtol=1e-5, atol=0)
    assert len(epochs) > 1


def test_batches_that_are_fetched_ahead_of_the_last_step_stop_nothing(world: Path, output: Path) -> None:
    stored, data = opened(on(world, output))
    data.use_reference(np.zeros((stored.length, 2), np.float32))
    assert data.batch(STEPS - 1)["reference"].isfinite().all()
    assert data.batch(STEPS + 20)["reference"].isnan().all()


def test_a_training_with_stored_errors_is_the_one_that_computes_them(world: Path, output: Path) -> None:
    stored, computed = on(world, output), on(world, output, "trainer.reference=computed")
    assert run_folder(stored) != run_folder(computed)
    summaries = [train.run(config) for config in (stored, computed)]
    ours, theirs = (load_file(run_folder(config) / "adapter.safetensors") for config in (stored, computed))
    for name, weight in ours.items():
        torch.testing.assert_close(weight, theirs[name], rtol=1e-3, atol=2e-5)
    assert summaries[0]["step0_loss"] == summaries[1]["step0_loss"]
    assert summaries[0]["train/loss"] == pytest.approx(summaries[1]["train/loss"], rel=1e-3)


@pytest.mark.long
def test_the_runs_of_a_sweep_read_what_the_first_has_made(
    world: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = reference.run(on(world, output))
    assert summary["computed"] == UNIT * -(-summary["pairs"] // UNIT) >= summary["pairs"] >= STEPS * 6
    monkeypatch.setattr(StoredReference, "_errors", refuse)
    for further in ("objective.beta=0.5", "optimizer.lr=0.001", "user=constant", "trainer.max_steps=4"):
        words = overrides(world, output, *STORED, further)
        if further.startswith("user="):
            words = [word for word in words if not word.startswith("user.")]
            embed.run(compose(words))
        config = compose(words)
        train.run(config)
        assert (run_folder(config) / ".done").exists()
    assert reference.run(on(world, output))["computed"] == 0


def test_a_longer_run_computes_only_what_it_needs_more(world: Path, output: Path) -> None:
    short = reference.run(on(world, output, "trainer.max_steps=4"))
    more = reference.run(on(world, output))
    whole = UNIT * -(-more["pairs"] // UNIT)
    assert short["folder"] == more["folder"]
    assert 0 < short["computed"] < whole
    assert more["computed"] == whole - short["computed"]


def test_a_broken_off_making_goes_on(world: Path, output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, write, written = on(world, output), StoredReference._write, []

    def until_the_third(self: StoredReference, unit: str, prior: object) -> None:
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(unit)
        write(self, unit, prior)

    with monkeypatch.context() as patch:
        patch.setattr(StoredReference, "_write", until_the_third)
        with pytest.raises(KeyboardInterrupt):
            reference.run(config)
    stored, _ = opened(config)
    with pytest.raises(UserError, match="is not written yet"):
        stored.read()
    assert stored.make(tiny.unet) == UNIT * (len(stored.units) - 2)
    damaged = next(stored.folder.glob("*.arrow"))
    damaged.write_bytes(damaged.read_bytes()[:-9])
    assert stored.make(tiny.unet) == UNIT
    assert stored.read().shape == (UNIT * len(stored.units), 2)


@pytest.mark.long
@pytest.mark.parametrize("what", ["another base", "a key that is no JSON"])
def test_errors_of_something_else_are_refused_and_made_anew(world: Path, output: Path, what: str) -> None:
    model = output / "model"
    shutil.copytree(world / "model", model)
    config = on(world, output, f"model.path={model}")
    folder = Path(reference.run(config)["folder"])
    if what == "another base":
        tiny.unet(seed=1).save_pretrained(model / "prior")
        fault = r"these reference errors are stale \(prior was '\w+', now '\w+'\); run `ppd reference`"
    else:
        (folder / "key.json").write_text("{")
        fault = r"key\.json: damaged .* run `ppd reference`"
    with pytest.raises(UserError, match=fault):
        train.run(config)
    reference.run(config)
    train.run(config)
    assert json.loads((folder / "key.json").read_text())["prior"] == config.model.fingerprint("prior")


def test_whatever_the_errors_depend_on_gives_other_ones(world: Path, output: Path) -> None:
    settings = (
        (),
        ("seed=1",),
        ("objective.t_min=0.2",),
        ("objective.t_max=0.9",),
        ("objective.share_noise=false",),
        ("trainer.precision=bf16",),
    )
    stores = [opened(on(world, output, *further))[0] for further in settings]
    assert len({store.folder for store in stores}) == len(settings)
    same = opened(on(world, output, "objective.beta=9", "objective.drop_user=0.5", "trainer.batch_size=12"))[0]
    assert (same.folder, same.key) == (stores[0].folder, stores[0].key)


def test_errors_that_do_not_fit_stop_the_run(world: Path, output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StoredReference, "read", lambda self: np.random.default_rng(0).random((1000, 2), np.float32))
    with pytest.raises(UserError, match=r"trainer\.reference: stored errors of the reference add \S+ to a logit"):
        train.run(on(world, output))


def test_supervised_training_needs_none(world: Path, output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StoredReference, "make", refuse)
    train.run(on(world, output, "objective=sft", "trainer.max_steps=4"))


def test_ranks_begin_with_units_of_their_own_and_leave_none() -> None:
    units = [str(number) for number in range(10)]
    orders = [stored_reference._in_own_order(units, Rank(rank, 3, rank, 3)) for rank in range(3)]
    assert all(sorted(order) == units for order in orders)
    assert sorted(unit for rank, order in enumerate(orders) for unit in order[: len(units[rank::3])]) == units
