"""The sheet that a training logs: the settings of `generation`, the networks as they are, and no side effects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests import tiny
from tests.training import tiny_world

from ppd_lightning.backbones.user_branch import UserBranch
from ppd_lightning.config.compose import compose
from ppd_lightning.config.workspace import Workspace
from ppd_lightning.errors import UserError
from ppd_lightning.generation.grid import as_bytes, draw_grid
from ppd_lightning.generation.pipeline import Guidance, UserPipeline
from ppd_lightning.generation.previews import preview_sheet
from ppd_lightning.generation.settings import Generation
from ppd_lightning.settings.values import Share
from ppd_lightning.users.blends import sheet_embeddings
from ppd_lightning.worlds.emoji.backbone import EmojiBackbone

CAPTIONS, USERS = ["tree", "a red fox"], ["3", [Share(user="1", weight=0.5), Share(user="2", weight=0.5)]]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    world = tiny_world.make(tmp_path_factory.mktemp("previews"))
    config = compose([*tiny_world.overrides(world, world / "out"), "generation.steps=3", "generation.seeds=[4,9]"])
    return Workspace(config)


def settings_of(workspace: Workspace, **changes: Any) -> Generation:
    return replace(workspace.config.generation, **{"captions": CAPTIONS, "users": USERS} | changes)


def trained() -> tuple[Any, UserBranch]:
    network = tiny.unet()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        branch = tiny.backbone().attach(network, 5)
        for block in branch.blocks:
            torch.nn.init.normal_(block.to_v.weight, std=0.2)
    return network, branch


def sheet_of(workspace: Workspace, network: Any, branch: UserBranch, **changes: Any) -> Callable[[], Image.Image]:
    settings = settings_of(workspace, **changes)
    return preview_sheet(workspace.backbone, network, branch, workspace.data, workspace.users, settings)


def test_it_is_the_images_of_the_pipeline(workspace: Workspace) -> None:
    settings, (network, branch) = settings_of(workspace), trained()
    sheet = sheet_of(workspace, network, branch)()
    users = sheet_embeddings(workspace.users, ["3", {"1": 0.5, "2": 0.5}], CAPTIONS)
    pipeline = UserPipeline.of(workspace.backbone, network, branch, image_size=32)
    guidance = Guidance(settings.text_guidance, settings.user_guidance)
    columns = [
        pipeline(CAPTIONS, None if user is None else user, [4, 4], steps=3, guidance=guidance)
        for user in (None, *users.unbind(1))
    ]
    pictures = [[Image.fromarray(as_bytes(images)[row]) for images in columns] for row in range(2)]
    expected = draw_grid(pictures, CAPTIONS, ["base", "3", "0.5 1 + 0.5 2"])
    assert np.abs(np.asarray(sheet).astype(int) - np.asarray(expected)).max() <= 2


def test_it_draws_by_the_branch_as_it_is_and_leaves_everything_as_it_was(workspace: Workspace) -> None:
    network, branch = trained()
    branch.train()
    before = {name: weight.clone() for name, weight in branch.state_dict().items()}
    for weight in branch.parameters():
        weight.grad = torch.ones_like(weight)
    state = torch.get_rng_state()
    draw = sheet_of(workspace, network, branch)
    first, again = np.asarray(draw()), np.asarray(draw())
    assert torch.equal(torch.get_rng_state(), state)
    assert branch._tokens is None
    assert branch.training
    assert not network.training
    assert all(torch.equal(weight, before[name]) for name, weight in branch.state_dict().items())
    assert all(bool((weight.grad == 1).all()) for weight in branch.parameters())
    np.testing.assert_array_equal(first, again)
    with torch.no_grad():
        for block in branch.blocks:
            block.to_v.weight.mul_(2)
    assert (np.asarray(draw()) != first).any()


def test_a_compiled_network_draws_the_same_and_compiles_nothing_for_it(workspace: Workspace) -> None:
    """One layer of it: tracing them all takes its time."""
    (network, branch), graphs = trained(), []
    draw = sheet_of(workspace, network, branch)
    plain = np.asarray(draw())
    network.clf.compile(backend=lambda graph, _: graphs.append(graph) or graph.forward)
    np.testing.assert_array_equal(np.asarray(draw()), plain)
    assert not graphs
    noised, times, *states = tiny.inputs(2)
    with torch.no_grad():
        workspace.backbone.predict(network, noised, times, tiny.conditions(*states))
    assert graphs


def test_the_text_encoder_is_there_for_the_first_sheet_only(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    load, loaded = EmojiBackbone.load_text, []
    monkeypatch.setattr(EmojiBackbone, "load_text", lambda *args: loaded.append(args) or load(*args))
    draw = sheet_of(workspace, *trained())
    assert not loaded  # processes that draw nothing load nothing
    draw()
    draw()
    assert len(loaded) == 1


def test_what_cannot_be_drawn_is_refused_before_the_training(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"generation\.users: nobody in the pairs is called nobody"):
        sheet_of(workspace, *trained(), users=["1", [Share(user="2", weight=0.5), Share(user="nobody", weight=0.5)]])
    with pytest.raises(UserError, match="codec"):
        preview_sheet(tiny.backbone(tmp_path), *trained(), workspace.data, workspace.users, settings_of(workspace))
