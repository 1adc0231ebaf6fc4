"""What the shipped kinds of user say of themselves, without the data."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from ppd_lightning.config.compose import compose
from ppd_lightning.users.clip import ClipUser
from ppd_lightning.users.constant import ConstantUser
from ppd_lightning.users.features import FeaturesUser
from ppd_lightning.users.id import IdUser
from ppd_lightning.users.kind import UserKind
from ppd_lightning.users.one_hot import OneHotUser
from ppd_lightning.users.reward import RewardUser
from ppd_lightning.users.vlm import VlmUser

CLIP = ClipUser(kind="clip", reward="clip", components=None)
HEAVY = ("torch", "numpy", "pyarrow", "transformers", "timm", "PIL")


@pytest.mark.parametrize(
    ("kind", "labels", "rewards", "fault"),
    [
        (
            CLIP,
            "people",
            ["hpsv2"],
            "user.reward: clip is none of the rewards that are chosen; choose it",
        ),
        (CLIP, "people", ["clip"], ""),
        (RewardUser(kind="reward", regularisation=1.0), "people", [], "user.kind: reward needs at least one reward"),
        (RewardUser(kind="reward", regularisation=1.0), "people", ["clip"], ""),
        (OneHotUser(kind="one_hot"), "people", ["clip"], "user.kind: one_hot has one dimension a reward"),
        (OneHotUser(kind="one_hot"), "rewards", ["clip"], ""),
    ],
)
def test_what_excludes_labels_and_rewards_is_one_sentence(
    kind: UserKind, labels: str, rewards: list[str], fault: str
) -> None:
    found = list(kind.contradictions_with(labels, rewards))
    assert len(found) == bool(fault)
    assert all(sentence.startswith(fault) for sentence in found)


def test_the_rewards_that_describe_users_are_those_that_the_kind_needs() -> None:
    rewards = compose(["reward=[clip,brightness]"]).rewards
    assert CLIP.rewards_used(rewards) == {"clip": rewards["clip"]}
    assert RewardUser(kind="reward", regularisation=1.0).rewards_used(rewards) == rewards
    assert ConstantUser(kind="constant").rewards_used(rewards) == {}


def test_kinds_that_are_not_described_give_the_vectors() -> None:
    np.testing.assert_array_equal(IdUser(kind="id").vectors(["a", "b"]), np.eye(2, dtype=np.float32))
    np.testing.assert_array_equal(OneHotUser(kind="one_hot").vectors(["a", "b", "c"]), np.eye(3, dtype=np.float32))
    constant = ConstantUser(kind="constant").vectors(["a", "b"])
    assert (constant.tolist(), constant.dtype) == ([[1.0], [1.0]], np.float32)


def test_only_the_imagenet_encoder_needs_the_package_with_its_weights() -> None:
    extras = {
        encoder: FeaturesUser(kind="features", encoder=encoder, components=8).extras()
        for encoder in ("efficientnet_lite0", "codec")
    }
    assert extras == {"efficientnet_lite0": ("features",), "codec": ()}


def test_the_sentence_of_the_model_card_names_a_folder_not_its_path() -> None:
    config = compose(["user=vlm", "user.path=/home/ann/models/llava/"])
    assert isinstance(config.user, VlmUser)
    assert config.user.sentence(config.shots) == (
        "A profile that `llava` writes of 4 of a user's choices (`shots.select=random`) makes their vector "
        "(`last_profile_token`)."
    )


def test_checking_settings_imports_nothing_heavy() -> None:
    parts = ("clip", "constant", "describing", "features", "id", "one_hot", "reward", "shots", "stated", "types", "vlm")
    imports = "; ".join(f"import ppd_lightning.users.{part}" for part in parts)
    code = f"import sys; {imports}; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
