"""What `ppd train` leaves behind, on a tiny prepared world."""

from __future__ import annotations

import json
import logging
import math
import shutil
from contextlib import nullcontext
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests import tiny
from tests.training.tiny_world import CHECKPOINT_EVERY, LOG_EVERY, STEPS, overrides

from ppd_lightning.backbones.adapter import adapter_metadata, load_adapter
from ppd_lightning.commands import embed, prepare, train
from ppd_lightning.commands.reference import open_batches
from ppd_lightning.config.compose import compose
from ppd_lightning.config.folders import run_folder
from ppd_lightning.config.root import Config
from ppd_lightning.config.workspace import Workspace
from ppd_lightning.distributed.group import Group
from ppd_lightning.distributed.rank import Rank
from ppd_lightning.errors import UserError
from ppd_lightning.storage.finished_run import is_whole
from ppd_lightning.training.build import build_module
from ppd_lightning.training.checkpoints import last_checkpoint
from ppd_lightning.training.learning_rate import learning_rate_factor
from ppd_lightning.training.logged_rows import read_metrics


@pytest.fixture
def config(world: Path) -> Config:
    return compose(overrides(world, world / "out"))


def test_the_summary_says_what_was_done(config: Config) -> None:
    summary = json.loads((run_folder(config) / "summary.json").read_text())
    assert summary["step0_loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert (summary["steps"], summary["pairs"]) == (STEPS, 6 * STEPS)
    assert summary["coefficient"] == math.prod(tiny.LATENT) / 2
    assert summary["beta_dpo"] == math.prod(tiny.LATENT)
    blocks = sum(2 * 24 * width for width in (32, 48, 48, 48, 48, 32))
    assert summary["trainable_parameters"] == blocks + 5 * 4 * 24


def test_metrics_are_rows_of_logged_steps_with_a_validation_at_each_checkpoint(config: Config) -> None:
    """The last of 20 steps has both, though it is no multiple of either."""
    rows = {int(row["step"]): row for row in read_metrics(run_folder(config) / "metrics.csv")}
    assert list(rows) == [*range(LOG_EVERY, STEPS + 1, LOG_EVERY), STEPS]
    measured = ("loss", "implicit_accuracy", "margin", "error_preferred", "error_dispreferred")
    for step, row in rows.items():
        parts = ["train", *(["validation"] if step % CHECKPOINT_EVERY == 0 or step == STEPS else [])]
        assert {name for name in row if name.endswith("/loss")} == {f"{part}/loss" for part in parts}
        assert {f"{part}/{name}" for part in parts for name in measured} <= set(row)
        assert all(float(row[f"train/{name}"]) > 0 for name in ("pairs_per_second", "gradient_norm", "memory_gib"))
    factors = {step: learning_rate_factor(step - 1, STEPS, 3, "cosine") for step in rows}
    assert {step: float(row["train/learning_rate"]) for step, row in rows.items()} == pytest.approx(
        {step: 0.003 * factor for step, factor in factors.items()}
    )


def test_a_logged_figure_is_the_mean_over_the_steps_since_the_one_before(world: Path) -> None:
    losses: dict[int, list[float]] = {}
    for every in (1, LOG_EVERY):
        settings = (f"trainer.log_every={every}", "objective.drop_user=0", "seed=5", "trainer.max_steps=7")
        config = compose(overrides(world, world / f"every-{every}", *settings))
        shutil.copytree(world / "out" / "data", Path(config.output) / "data")
        train.run(config)
        losses[every] = [float(row["train/loss"]) for row in read_metrics(run_folder(config) / "metrics.csv")]
    each = losses[1]
    assert losses[LOG_EVERY] == pytest.approx([fmean(each[:3]), fmean(each[3:6]), each[6]], rel=1e-5)


def test_a_validation_is_the_mean_over_all_its_pairs(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last one, again from the checkpoint that was saved after it."""
    workspace = Workspace(config)
    folder, data = workspace.run, open_batches(workspace)
    data.setup("fit")
    groups = (config.objective, config.optimizer, config.trainer)
    module = build_module(workspace.backbone, tiny.unet(), data, *groups, seed=config.seed)
    module.load_state_dict(torch.load(last_checkpoint(folder), weights_only=True)["state_dict"], strict=False)
    seen: list[dict[str, torch.Tensor]] = []
    monkeypatch.setattr(module, "log_dict", lambda figures, **_: seen.append(figures))
    sums, count = {}, 0
    for batch in data.val_dataloader():
        module.validation_step(batch, 0)
        for name, value in seen[-1].items():
            sums[name] = sums.get(name, 0) + value.double().item() * len(batch["pair"])
        count += len(batch["pair"])
    assert count > 6
    row = next(row for row in read_metrics(folder / "metrics.csv") if row["step"] == str(STEPS))
    for name, total in sums.items():
        assert float(row[name]) == pytest.approx(total / count, rel=1e-4, abs=1e-6), name


def test_the_checkpoint_loads_without_unpickling_and_holds_the_branch_only(config: Config) -> None:
    checkpoint = torch.load(last_checkpoint(run_folder(config)), weights_only=True)
    assert checkpoint["global_step"] == STEPS
    assert all(name.startswith("branch.") for name in checkpoint["state_dict"])
    assert sum(value.numel() for value in checkpoint["state_dict"].values()) < 20_000


def test_the_adapter_fits_its_base_and_has_learnt_something(config: Config) -> None:
    branch = load_adapter(config.model, tiny.unet(), run_folder(config) / "adapter.safetensors")
    assert branch.config == {"embedding_dim": 5, "num_tokens": 4, "null": "zero"}
    assert all(block.to_v.weight.abs().max() > 0 for block in branch.blocks)
    assert adapter_metadata(run_folder(config) / "adapter.safetensors")["run"] == run_folder(config).name


def test_training_raises_the_margin(config: Config) -> None:
    margins = [float(row["train/margin"]) for row in read_metrics(run_folder(config) / "metrics.csv")]
    assert sum(margins[-2:]) > sum(margins[:2])


def test_the_resolved_configuration_is_kept(config: Config) -> None:
    text = (run_folder(config) / "config.yaml").read_text()
    assert f"max_steps: {STEPS}" in text
    assert "${" not in text


def test_a_finished_run_is_not_trained_again(
    config: Config, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(train, "open_batches", None)
    caplog.set_level(logging.INFO)
    summary = train.run(config)
    assert summary == json.loads((run_folder(config) / "summary.json").read_text())
    assert "is finished" in caplog.text


def test_the_first_rank_alone_hashes_the_files_of_a_finished_run(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[int] = []

    class Two(Group):
        def gather(self, value: Any) -> list[Any]:
            first = True if value in (True, False) else value  # what rank 0 finds
            return [first, value]

    for index in (0, 1):
        group = Two(Rank(index, 2, index, 2))
        monkeypatch.setattr(train, "current_rank", lambda group=group: group.rank)
        monkeypatch.setattr(train, "connected", lambda *args, group=group, **settings: nullcontext(group))
        monkeypatch.setattr(train, "require_fitting", lambda *args, **settings: None)
        monkeypatch.setattr(train, "result_faults", lambda folder, index=index: hashed.append(index) or [])
        train.run(config)
    assert hashed == [0]


def test_a_run_that_was_cut_off_after_its_last_checkpoint_only_writes_its_end(world: Path) -> None:
    config = compose(overrides(world, world / "out", "seed=3", f"trainer.max_steps={CHECKPOINT_EVERY}"))
    summary = train.run(config)
    adapter = run_folder(config) / "adapter.safetensors"
    before = load_file(adapter)
    adapter.unlink()
    (run_folder(config) / ".done").unlink()
    assert train.run(config) | {"seconds": 0} == summary | {"seconds": 0}
    assert all(torch.equal(weight, before[name]) for name, weight in load_file(adapter).items())


@pytest.mark.parametrize(
    "name", ["adapter.safetensors", "summary.json", "metrics.csv", ".done", "describer.safetensors"]
)
def test_a_damaged_result_is_written_again_by_the_same_command(
    world: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Cut in the middle; everything from the last checkpoint, so it takes no step."""
    config = compose(overrides(world, world / "out", "seed=3", f"trainer.max_steps={CHECKPOINT_EVERY}"))
    folder, summary = run_folder(config), train.run(config)
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    (folder / name).write_bytes(before[name][: len(before[name]) // 2])
    assert not is_whole(folder)
    assert train.run(config) | {"seconds": 0} == summary | {"seconds": 0}
    assert f"{folder / name}: " in caplog.text
    for kept in ("adapter.safetensors", "describer.safetensors", "metrics.csv", "config.yaml"):
        assert (folder / kept).read_bytes() == before[kept], kept
    assert is_whole(folder)


def test_no_damage_of_what_a_training_reads_gets_into_it_and_the_named_command_heals_it(world: Path) -> None:
    config = compose(overrides(world, world / "healing", "trainer.max_steps=4"))
    shutil.copytree(world / "out" / "data", Path(config.output) / "data")
    data = Workspace(config).data
    users = Workspace(config).users.folder
    for folder, verb, made_by in ((data.folder / "latents", prepare, "prepare"), (users, embed, "embed")):
        (path,) = folder.glob("*.arrow")
        whole = path.read_bytes()
        for at in (len(whole) // 3, len(whole) // 2):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
            with pytest.raises(UserError, match=f"damaged .*; run `ppd {made_by}` with the same settings"):
                train.run(config)
            verb.run(config)
            assert path.read_bytes() == whole
    train.run(config)


def test_without_validation_pairs_checkpoints_come_all_the_same(world: Path) -> None:
    settings = ("data.validation=0", "trainer.max_steps=7", "trainer.threads=1", "logger.tensorboard=false")
    config = compose(overrides(world, world / "other", *settings))
    prepare.run(config)
    embed.run(config)
    summary = train.run(config)
    assert torch.load(last_checkpoint(run_folder(config)), weights_only=True)["global_step"] == 7
    assert not [name for name in summary if name.startswith("validation/")]
    assert not list(run_folder(config).rglob("*tfevents*"))


def test_a_branch_that_changes_the_base_stops_the_run_at_once(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = type(tiny.backbone())
    attach = backbone.attach

    def attach_changed(*args: object, **kwargs: object) -> object:
        branch = attach(*args, **kwargs)
        for block in branch.blocks:
            torch.nn.init.normal_(block.to_v.weight)
        return branch

    monkeypatch.setattr(backbone, "attach", attach_changed)
    config = compose(overrides(world, world / "out", "seed=1"))
    with pytest.raises(RuntimeError, match=r"step-0 self-test: .* must give a loss of 0\.693147"):
        train.run(config)
    assert last_checkpoint(run_folder(config)) is None


def test_log_lines_have_the_figures_of_their_own_step(
    world: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, logger="ppd_lightning")
    config = compose(overrides(world, world / "out", "seed=2", "trainer.max_steps=7"))
    train.run(config)
    rows = read_metrics(run_folder(config) / "metrics.csv")
    lines = [record.getMessage() for record in caplog.records if record.getMessage().startswith("step ")]
    assert [line.split(" loss ")[0] for line in lines] == ["step 3/7", "step 6/7", "step 7/7"]
    for line, row in zip(lines, rows, strict=True):
        assert f"loss {float(row['train/loss']):.4g} " in line
        assert "pairs/s" in line
