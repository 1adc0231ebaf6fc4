"""The shipped configurations of the published rewards open, and say what they need where there is nothing of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.offline import go_offline

from ppd_lightning.config.compose import compose
from ppd_lightning.rewards.reward import Reward, open_rewards

PUBLISHED = {
    "clip": ("OpenClipReward", "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"),
    "aesthetic": ("AestheticReward", "improved-aesthetic-predictor"),
    "hpsv2": ("HPSv2Reward", "HPS_v2_compressed.pt"),
    "hpsv2_1": ("HPSv21Reward", "HPS_v2.1_compressed.pt"),
    "pickscore": ("PickScoreReward", "yuvalkirstain/PickScore_v1"),
    "image_reward": ("ImageRewardReward", "THUDM/ImageReward"),
}


def opened() -> dict[str, Reward]:
    return open_rewards(compose(["mode=synthetic", f"reward=[{','.join(PUBLISHED)}]"]).rewards)


def test_each_configuration_opens_its_class() -> None:
    assert {name: type(reward).__name__ for name, reward in opened().items()} == {
        name: kind for name, (kind, _) in PUBLISHED.items()
    }


def test_what_is_missing_is_reported_with_its_licence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go_offline(monkeypatch, tmp_path)
    for name, reward in opened().items():
        faults = reward.faults()
        assert len(faults) == len(reward.roles)
        for role, fault in zip(reward.roles, faults, strict=True):
            assert fault.startswith(f"rewards.{name}.weights.{role}: ")
            assert " MB, from " in fault or " GB, from " in fault
            assert "licence: " in fault
        assert any(PUBLISHED[name][1] in fault for fault in faults)
