"""The sheet that a training shows: the settings of `generation`, the networks as they stand, and no trace of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests import tiny
from tests.training import tiny_world

from ppd_lightning.backbones.cascade.prior import predict_noise
from ppd_lightning.backbones.released import ReleasedModel, open_model
from ppd_lightning.backbones.user_branch import UserBranch, attach_user_branch
from ppd_lightning.config.compose import compose
from ppd_lightning.config.schemas import Config
from ppd_lightning.errors import UserError
from ppd_lightning.generation.grid import as_bytes, draw_grid
from ppd_lightning.generation.pipeline import Guidance, UserPipeline
from ppd_lightning.generation.previews import preview_sheet
from ppd_lightning.users.blends import sheet_embeddings

CAPTIONS, USERS = ["tree", "a red fox"], ["3", {"1": 0.5, "2": 0.5}]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_world.make(tmp_path_factory.mktemp("previews"))


def configured(world: Path, **generation: Any) -> Config:
    config = compose([*tiny_world.overrides(world, world / "out"), "generation.steps=3", "generation.seeds=[4,9]"])
    return replace(config, generation=replace(config.generation, **{"captions": CAPTIONS, "users": USERS} | generation))


def trained() -> tuple[Any, UserBranch]:
    prior = tiny.unet()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        branch = attach_user_branch(prior, 5)
        for block in branch.blocks:
            torch.nn.init.normal_(block.to_v.weight, std=0.2)
    return prior, branch


def test_it_is_the_images_of_the_pipeline(world: Path) -> None:
    config, (prior, branch) = configured(world), trained()
    model = open_model(config.model)
    sheet = preview_sheet(config, model, prior, branch)()
    users = sheet_embeddings(config, model, USERS, CAPTIONS)
    pipeline = UserPipeline.of(model, prior, branch, image_size=32)
    guidance = Guidance(config.generation.text_guidance, config.generation.user_guidance)
    columns = [
        pipeline(CAPTIONS, None if user is None else user, [4, 4], steps=3, guidance=guidance)
        for user in (None, *users.unbind(1))
    ]
    pictures = [[Image.fromarray(as_bytes(images)[row]) for images in columns] for row in range(2)]
    expected = draw_grid(pictures, CAPTIONS, ["base", "3", "0.5 1 + 0.5 2"])
    assert np.abs(np.asarray(sheet).astype(int) - np.asarray(expected)).max() <= 2


def test_it_shows_the_branch_as_it_stands_and_leaves_everything_as_it_was(world: Path) -> None:
    config, (prior, branch) = configured(world), trained()
    branch.train()
    before = {name: weight.clone() for name, weight in branch.state_dict().items()}
    for weight in branch.parameters():
        weight.grad = torch.ones_like(weight)
    state = torch.get_rng_state()
    draw = preview_sheet(config, open_model(config.model), prior, branch)
    first, again = np.asarray(draw()), np.asarray(draw())
    assert torch.equal(torch.get_rng_state(), state)
    assert branch._tokens is None
    assert branch.training
    assert not prior.training
    assert all(torch.equal(weight, before[name]) for name, weight in branch.state_dict().items())
    assert all(bool((weight.grad == 1).all()) for weight in branch.parameters())
    np.testing.assert_array_equal(first, again)
    with torch.no_grad():
        for block in branch.blocks:
            block.to_v.weight.mul_(2)
    assert (np.asarray(draw()) != first).any()


def test_a_compiled_prior_draws_the_same_and_compiles_nothing_for_it(world: Path) -> None:
    """One layer of it: tracing them all takes its time."""
    config, (prior, branch), graphs = configured(world), trained(), []
    draw = preview_sheet(config, open_model(config.model), prior, branch)
    plain = np.asarray(draw())
    prior.clf.compile(backend=lambda graph, _: graphs.append(graph) or graph.forward)
    np.testing.assert_array_equal(np.asarray(draw()), plain)
    assert not graphs
    with torch.no_grad():
        predict_noise(prior, *tiny.inputs(2))
    assert graphs


def test_the_text_encoder_is_there_for_the_first_sheet_only(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, loaded = configured(world), []
    load = ReleasedModel.load_text
    monkeypatch.setattr(ReleasedModel, "load_text", lambda *args: loaded.append(args) or load(*args))
    draw = preview_sheet(config, open_model(config.model), *trained())
    assert not loaded  # processes that draw nothing load nothing
    draw()
    draw()
    assert len(loaded) == 1


def test_what_cannot_be_drawn_is_told_before_the_training(world: Path, tmp_path: Path) -> None:
    config = configured(world, users=["1", {"2": 0.5, "nobody": 0.5}])
    with pytest.raises(UserError, match=r"generation\.users: nobody in the pairs is called nobody"):
        preview_sheet(config, open_model(config.model), *trained())
    with pytest.raises(UserError, match="codec"):
        preview_sheet(configured(world), ReleasedModel("emoji", str(tmp_path)), *trained())
