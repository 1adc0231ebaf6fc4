"""A training by a trainer of one's own: what the documentation shows, and that it is the training of `ppd train`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from safetensors.torch import load_file
from tests.commands.test_own_pairs import write_tables
from tests.parts.hinge import Hinge
from tests.training.tiny_world import overrides

import ppd_lightning
from ppd_lightning import Training, UserError
from ppd_lightning.commands import train
from ppd_lightning.config.compose import compose
from ppd_lightning.config.presets import configuration
from ppd_lightning.generation.settings import ADAPTERS

PAGE = Path(__file__).parents[2] / "docs/python.md"
SMALLER: dict[str, Any] = {
    "user": {"encoder": "codec", "components": 2},
    "shots": {"groupings": 2},
    "optimizer": {"warmup_steps": 1},
    "generation": {"steps": 2},
}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's training with the settings that make it a matter of seconds."""
    made = Training.__init__

    def init(self: Training, preset: str | None = None, **changes: Any) -> None:
        changes["data"] |= {"held_out_captions": 0.3, "unseen_users": 0.3}
        changes["objective"]["weighting"] = "const"
        changes["trainer"] = {"max_steps": 3, "batch_size": 4}
        made(self, preset, **changes, **SMALLER)

    monkeypatch.setattr(Training, "__init__", init)


@pytest.mark.usefixtures("small")
def test_the_documented_training_ends_in_a_model_that_describes_and_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (block, *_) = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert len(block.splitlines()) <= 20
    assert "hydra" not in block.lower()
    write_tables(tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(block.replace("FOLDER/pairs.csv", str(tmp_path / "mine/pairs.csv")), names)
    model = names["model"]
    assert names["trainer"].global_step == 3
    ann = model.describe([("an apple", tmp_path / "mine/img/0a.png", tmp_path / "mine/img/1b.png")])
    personal, base = model.draw(["apple 1"], users=[ann, None], seeds=[0])
    assert personal.size == (64, 64)
    assert personal.tobytes() != base.tobytes()
    with pytest.raises(UserError, match="belongs to `ppd train`"):
        names["training"].save(names["module"], names["training"]._workspace.run)


@pytest.fixture
def tiny(world: Path) -> dict[str, Any]:
    """The settings of the tiny world as changes."""
    changes: dict[str, Any] = {"data": {"option": "pickapic"}, "trainer": {"option": "cpu"}}
    for text in overrides(world, world / "out")[2:]:
        key, value = text.split("=", 1)
        group, _, name = key.partition(".")
        typed = float(value) if re.fullmatch(r"[\d.]+", value) else value
        typed = int(value) if value.isdigit() else typed
        if name:
            changes.setdefault(group, {})[name] = typed
        else:
            changes[group] = typed
    return changes


def test_it_is_the_training_of_the_command(world: Path, tiny: dict[str, Any], tmp_path: Path) -> None:
    training = Training(**tiny)
    assert training._workspace.config == compose(overrides(world, world / "out"))
    batches = training.batches()
    module = training.module(batches)
    average = ppd_lightning.BranchAverage(module.branch, 0.8)
    trainer = lightning.Trainer(
        **training.trainer_arguments(batches),
        callbacks=[average],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, batches)
    folder = training.save(module, tmp_path / "mine", average)
    expected = Path(train.run(compose(overrides(world, world / "out")))["run"])
    for name in ADAPTERS.values():
        own, other = load_file(folder / name), load_file(expected / name)
        assert own.keys() == other.keys()
        assert all(torch.equal(own[key], other[key]) for key in own)


def test_an_objective_of_ones_own_enters_as_an_object(tiny: dict[str, Any]) -> None:
    values = vars(configuration(None, {"objective": tiny["objective"]}).objective)
    hinge = Hinge(delta=0.1, **{name: values[name] for name in values.keys() - {"target"}})
    assert Training(**tiny | {"objective": hinge})._workspace.config.objective == hinge
    with pytest.raises(UserError, match=r"objective.target: .* cannot be imported"):
        Training(**tiny | {"objective": type("Mine", (Hinge,), {"__module__": "nowhere"})(**vars(hinge))})


def test_faults_are_named_all_at_once_and_by_key() -> None:
    with pytest.raises(UserError) as failure:
        Training(objective={"betta": 1.0}, optimizer={"lr": -1}, dat={"x": 1})
    told = failure.value.faults
    assert any(fault.startswith("objective.betta: no such key") for fault in told)
    assert any(fault.startswith("optimizer.lr: must be") for fault in told)
    assert any(fault.startswith("dat: no such key") for fault in told)
    with pytest.raises(UserError, match="experiment"):
        Training("nobody/knows")
    with pytest.raises(UserError, match="`ppd train` on several"):
        Training(trainer={"devices": 2, "batch_size": 4})


def test_options_are_chosen_and_a_hydra_application_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("mine: 1")
    with initialize_config_dir(str(tmp_path), version_base="1.3"):
        config = configuration("emoji/ppd", {"objective": {"option": "sft", "t_min": 0.25}, "seed": 3})
        assert hydra_compose("config").mine == 1
    assert (config.objective.name, config.objective.t_min, config.objective.beta, config.seed) == ("sft", 0.25, 2.0, 3)
