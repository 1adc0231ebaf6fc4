"""`user=clip` and `user=reward` know of images what the configured rewards saw, which is stored once for all uses."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests import tiny
from tests.data.handmade import SIZE, rows, write
from tests.rewards.tiny_rewards import open_clip_folder

from ppd_lightning.commands import embed, label, prepare
from ppd_lightning.config.compose import compose
from ppd_lightning.config.root import Config
from ppd_lightning.config.workspace import Workspace
from ppd_lightning.data.pictures import Square
from ppd_lightning.errors import UserError
from ppd_lightning.rewards import statistics
from ppd_lightning.rewards.open_clip import OpenClipReward
from ppd_lightning.users.reward_margins import score_margins
from ppd_lightning.users.shot_sets import random_sets
from ppd_lightning.users.users import Users

BLIND = "tests.users.test_reward_users.Blind"
CAPTIOUS = "tests.users.test_reward_users.Captious"


class Blind(statistics.Brightness):
    """Refuses some pictures: those whose first pixel is bright."""

    def preprocess(self, picture):  # type: ignore[no-untyped-def]
        """See Reward."""
        pixels = super().preprocess(picture)
        if pixels[0, 0, 0] > 100:
            raise UserError("too bright")
        return pixels


class Captious(statistics.Brightness):
    """A score that depends on the caption, so that nothing of an image is stored but scores."""

    keeps_features, needs_captions = False, True

    def scores(self, features, captions):  # type: ignore[no-untyped-def]
        """See Reward."""
        return features[:, 0] * torch.tensor([float(len(caption)) for caption in captions])


@functools.cache
def configure(folder: Path, *overrides: str) -> Config:
    settings = [
        *("data=pickapic", f"data.root={folder / 'source'}", f"data.image_size={SIZE}", f"output={folder / 'out'}"),
        *("data.held_out_captions=0.2", "data.unseen_users=0.2", f"model.path={folder / 'model'}", "trainer=cpu"),
        *("shots.n=3", "shots.groupings=5"),
    ]
    return compose([*settings, *overrides])


def users_of(folder: Path, *overrides: str) -> Users:
    return Workspace(configure(folder, *overrides)).users


def with_class(folder: Path, target: str) -> Config:
    return configure(folder, "user=reward", "reward=[colourfulness,brightness]", f"rewards.brightness.target={target}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("rewarded")
    tiny.model_folder(made / "model")
    open_clip_folder(made / "clip")
    write(made / "source", rows())
    prepare.run(configure(made))
    return made


@pytest.fixture(scope="module")
def pictures(folder: Path) -> dict[str, np.ndarray]:
    """Every usable image's own pixels, read past all stores."""
    data, found = users_of(folder).data, {}
    for batch in data.read_images(data.images_table(), [Square(SIZE)]):
        found |= dict(zip(batch.ids, batch.pixels[0], strict=True))
    return found


def test_margins_are_the_rewards_own_in_the_order_of_their_names(folder: Path, pictures: dict[str, np.ndarray]) -> None:
    users = users_of(folder, "user=reward", "reward=[clutter,brightness]")
    pairs = users.data.read_pairs()
    margins, _ = score_margins(users.using.scorer(), pairs)
    luma = np.array([0.299, 0.587, 0.114])
    bright = {name: float(np.tensordot(luma, pixels / 255, 1).mean()) for name, pixels in pictures.items()}
    split = pairs["split"].to_pylist()
    describing, trained = np.isin(split, ["train", "shots"]), np.array(split) == "train"
    lead = np.array([bright[row["preferred"]] - bright[row["dispreferred"]] for row in pairs.to_pylist()])
    expected = lead / np.sqrt((lead[trained] ** 2).mean())
    assert np.isnan(margins[~describing]).all()
    np.testing.assert_allclose(margins[describing, 0], expected[describing], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose((margins[trained] ** 2).mean(0), 1)


def test_clip_users_are_means_of_what_the_rewards_tower_saw(folder: Path, pictures: dict[str, np.ndarray]) -> None:
    users = users_of(folder, "user=clip", f"rewards.emoji_clip.weights.model={folder / 'clip'}")
    pairs = users.data.read_pairs()
    sets = random_sets(pairs, 3, 2)[:4]
    found = users.kind.describe(users.using, pairs, sets)
    reward = OpenClipReward("own", {"model": str(folder / "clip")})
    for one, vector in zip(sets, found, strict=True):
        seen = []
        for side in ("preferred", "dispreferred"):
            images = [pictures[pairs[side][row].as_py()].transpose(1, 2, 0) for row in one.pairs]
            pixels = np.stack([reward.preprocess(Image.fromarray(image)) for image in images])
            seen.append(reward.image_features(torch.from_numpy(pixels)).numpy())
        expected = np.concatenate([seen[0].mean(0), (seen[0] - seen[1]).mean(0)])
        np.testing.assert_allclose(vector, expected, atol=1e-5)


def test_images_are_seen_once_for_labels_and_users(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also by a reward whose scores, not features, are stored."""
    labelled = with_class(folder, CAPTIOUS)
    label.run(
        configure(
            folder, "mode=synthetic", "reward=[colourfulness,brightness]", f"rewards.brightness.target={CAPTIOUS}"
        )
    )
    monkeypatch.setattr(statistics.Statistic, "image_features", lambda *_: pytest.fail("seen again"))
    assert embed.run(labelled)["width"] == 2


def test_a_reward_whose_tower_sees_the_caption_makes_no_clip_user(folder: Path) -> None:
    config = configure(
        folder, "user=clip", "reward=[brightness]", "user.reward=brightness", f"rewards.brightness.target={CAPTIOUS}"
    )
    with pytest.raises(UserError, match="reward brightness: what it sees of an image depends on the caption"):
        embed.run(config)


def test_any_reward_that_stores_features_makes_one(folder: Path) -> None:
    assert embed.run(configure(folder, "user=clip", "reward=[brightness]", "user.reward=brightness"))["width"] == 2


def test_an_image_that_a_reward_cannot_see_is_reported(folder: Path, pictures: dict[str, np.ndarray]) -> None:
    assert {bool(pixels[0, 0, 0] > 100) for pixels in pictures.values()} == {True, False}
    with pytest.raises(UserError, match=r"reward brightness: cannot see an image of the pair .* choose other rewards"):
        embed.run(with_class(folder, BLIND))
    config = configure(
        folder, "user=clip", "reward=[brightness]", "user.reward=brightness", f"rewards.brightness.target={BLIND}"
    )
    with pytest.raises(UserError, match=r"an image of the pair .*, which describes .*, is missing, damaged or nothing"):
        embed.run(config)


def test_folders_tell_sets_of_rewards_apart_where_they_describe_users(folder: Path) -> None:
    sets = ("reward=[clutter]", "reward=[clutter,brightness]")
    clip = ("user.reward=clutter", "user=clip")
    for kind, count in ((("user=reward",), 2), (("user=features",), 1), (clip, 1)):
        spaces = [Workspace(configure(folder, *kind, chosen)) for chosen in sets]
        assert len({space.users.folder for space in spaces}) == count
        assert len({space.run for space in spaces}) == count
        assert len({space.data.folder for space in spaces}) == 1


def test_a_reward_that_is_not_chosen_cannot_describe_users() -> None:
    with pytest.raises(UserError, match=r"user\.reward: clip is none of the rewards that are chosen; choose it"):
        compose(["user=clip", "user.reward=clip"])
    with pytest.raises(UserError, match=r"user\.kind: reward needs at least one reward, and none is chosen"):
        compose(["user=reward", "reward=[]"])
    assert list(compose(["user=clip", "user.reward=clip", "reward=[clip]"]).rewards) == ["clip"]
