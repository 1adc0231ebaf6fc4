"""`ppd label` scores every image once and relabels pairs by rewards, resumably, and again without work."""

from __future__ import annotations

import functools
import io
import json
import multiprocessing
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from tests import tiny
from tests.data.handmade import SIZE, jpeg, row, rows, write
from tests.killing import killed_at

from ppd_lightning.commands import label, prepare, stats
from ppd_lightning.config.compose import compose
from ppd_lightning.config.folders import data_folder
from ppd_lightning.config.root import Config
from ppd_lightning.config.workspace import Workspace
from ppd_lightning.data import images
from ppd_lightning.data.pictures import Square
from ppd_lightning.data.splits import check_no_leak
from ppd_lightning.errors import UserError
from ppd_lightning.rewards import image_statistics

Make = Callable[..., Config]

UNIT = 8
"""Images of a unit, of the 45 that there are."""

DEFAULT = ("brightness", "clutter", "colourfulness")
OWN = '''
"""Rewards of one's own."""

import torch

from ppd_lightning.rewards.reward import Reward
from ppd_lightning.data.pictures import Square


class Redness(Reward):
    """The share of red in the mean colour, and how long the caption is."""

    def __init__(self, name, weights, *, device="cpu", dtype=torch.float32, weight):
        super().__init__(name, weights, device=device, dtype=dtype, weight=weight)
        self.weight = weight

    def preprocess(self, picture):
        return Square(4)(picture)

    def image_features(self, pixels):
        means = pixels.float().mean((2, 3))
        return means[:, :1] / means.sum(1, keepdim=True)

    def scores(self, features, captions):
        return features[:, 0] + self.weight * torch.tensor([float(len(caption)) for caption in captions])


class Bound(Redness):
    """The same, as a network that sees image and caption at once."""

    keeps_features = False
'''

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([__name__, "ppd_lightning.commands.label"])


@pytest.fixture(autouse=True)
def _small_units(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "UNIT", UNIT)


@functools.cache
def composed(*overrides: str, config_dir: Path | None = None) -> Config:
    held_out = ("data.held_out_captions=0.2", "data.unseen_users=0.2")
    settings = ("data=pickapic", "data.root=set below", f"data.image_size={SIZE}", "data.workers=0", *held_out)
    return compose([*settings, "mode=synthetic", "trainer=cpu", "trainer.progress=false", *overrides], config_dir)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.model_folder(tmp_path_factory.mktemp("model"))


@pytest.fixture
def make(tmp_path: Path, model: Path) -> Make:
    """A configuration for hand-made Pick-a-Pic files, which are written and prepared first."""

    def made(*overrides: str, listed: list[dict[str, Any]] | None = None, config_dir: Path | None = None) -> Config:
        config = composed(*overrides, config_dir=config_dir)
        config = replace(config, output=str(tmp_path / "out"), model=replace(config.model, path=str(model)))
        config = replace(config, data=replace(config.data, root=str(tmp_path / "source")))
        if not (tmp_path / "source").exists() or listed is not None:
            write(tmp_path / "source", rows() if listed is None else listed, group=10)
            prepare.run(config)
        return config

    return made


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of options with two rewards of one's own, their module on Python's path."""
    (tmp_path / "path").mkdir()
    (tmp_path / "path/my_rewards.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path / "path")
    (tmp_path / "options/reward").mkdir(parents=True)
    for name in ("redness", "bound"):
        target = f"target: my_rewards.{name.capitalize()}\nweights: {{}}\noptions: {{weight: 0.5}}\n"
        (tmp_path / f"options/reward/{name}.yaml").write_text(f"# @package rewards.{name}\n{target}")
    yield tmp_path / "options"
    sys.modules.pop("my_rewards", None)


@functools.cache
def pixels(image_id: str) -> torch.Tensor:
    with Image.open(io.BytesIO(jpeg(image_id))) as picture:
        return torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 255


def score(name: str, image_id: str) -> float:
    """A statistic of a picture, on another way."""
    return float(getattr(image_statistics, name)(pixels(image_id)))


def labels(config: Config) -> list[dict[str, Any]]:
    with pa.memory_map(str(Workspace(config).data.labels_folder / "labels.arrow")) as file:
        return pa.ipc.open_file(file).read_all().to_pylist()


def test_every_pair_of_images_has_every_score_the_margins_and_the_persons_label(make: Make) -> None:
    tie = row(900, user=1, caption="thing 3", styles=("loud", "flat"), label_0=0.5, label_1=0.5)
    config = make(listed=[*rows(), tie])
    label.run(config)
    told = labels(config)
    assert len(told) == 121
    assert sorted({one["people"] for one in told}) == [0.5, 1.0]
    for one in told[:30]:
        for name in DEFAULT:
            for side in (0, 1):
                assert one[f"{name}_{side}"] == pytest.approx(score(name, one[f"image_{side}"]), rel=1e-4, abs=1e-5)
            assert one[f"{name}_margin"] == np.float32(one[f"{name}_0"]) - np.float32(one[f"{name}_1"])


def test_pairs_are_labelled_by_their_reward_with_its_margin(make: Make) -> None:
    config = make()
    counts = label.run(config)["counts"]
    pairs = Workspace(config).data.read_pairs()
    check_no_leak(pairs)
    assert counts["pairs"] == len(pairs) == sum(counts[f"pairs_of_{name}"] for name in DEFAULT)
    assert counts["shots"] == counts["test_unseen"] == 0
    known = {one["pair_id"]: one for one in labels(config)}
    for pair in pairs.to_pylist():
        name, one = pair["user_id"], known[pair["pair_id"]]
        first = one[f"{name}_margin"] > 0
        assert pair["preferred"] == one["image_0" if first else "image_1"]
        assert pair["margin"] == pytest.approx(abs(one[f"{name}_margin"]))
    assert set(pairs["user_id"].to_pylist()) == set(DEFAULT)


def test_ties_of_a_reward_are_kept_in_the_labels_left_out_of_the_pairs_and_counted(make: Make) -> None:
    same = [row(900 + n, user=1, caption=f"same {n}", jpg_0=jpeg("s"), jpg_1=jpeg("s")) for n in range(6)]
    config = make(listed=[*rows(), *same])
    summary = label.run(config)
    assert summary["ties"] == dict.fromkeys(DEFAULT, 6) | {"people": 0}
    assert summary["counts"]["ties"] == 6 == sum(summary["counts"][f"ties_of_{name}"] for name in DEFAULT)
    assert sum(one["clutter_margin"] == 0 for one in labels(config)) == 6
    assert not [pair for pair in Workspace(config).data.read_pairs()["caption"].to_pylist() if pair.startswith("same")]
    assert stats.run(config)["ties"] == 6


def test_agreement_is_reported_for_rewards_and_people(make: Make) -> None:
    config = make()
    agreed = label.run(config)["agreement"]
    told = labels(config)
    alike = [(one["clutter_margin"] > 0) == (one["brightness_margin"] > 0) for one in told]
    assert agreed["clutter"]["brightness"] == {"share": round(np.mean(alike), 4), "n": 120}
    like_people = np.mean([one["clutter_margin"] > 0 for one in told])  # image_0 is always preferred
    assert agreed["people"]["clutter"] == {"share": round(like_people, 4), "n": 120}


def counting(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that grows by the number of views at each image that is decoded."""
    seen: list[int] = []
    add = images._Batch.add

    def counted(self: Any, image_id: str, digest: bytes, views: Any) -> bool:
        seen.append(len(views))
        return add(self, image_id, digest, views)

    monkeypatch.setattr(images._Batch, "add", counted)
    return seen


def test_each_image_is_decoded_once_for_three_rewards(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    config = make()
    seen = counting(monkeypatch)
    label.run(config)
    assert seen == [3] * 45


def test_a_reward_that_comes_later_leaves_the_others_as_they_are(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    few, more = make("reward=[clutter,brightness]"), make("reward=[clutter,symmetry,brightness]")
    label.run(few)
    before = stored(few, "reward-*/*.arrow")
    pairs = Workspace(few).data.read_pairs()
    seen = counting(monkeypatch)
    label.run(more)
    assert seen == [1] * 45
    assert before.items() < stored(more, "reward-*/*.arrow").items()
    assert Workspace(few).data.read_pairs().equals(pairs)
    assert Workspace(few).data.pairs_path != Workspace(more).data.pairs_path
    users = dict(zip(pairs["pair_id"].to_pylist(), pairs["user_id"].to_pylist(), strict=True))
    for pair in Workspace(more).data.read_pairs().to_pylist():
        assert pair["user_id"] in ("symmetry", users[pair["pair_id"]])


def test_the_order_of_the_rewards_does_not_matter(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    label.run(make("reward=[clutter,brightness]"))
    seen = counting(monkeypatch)
    label.run(make("reward=[brightness,clutter]"))
    assert seen == []


def test_the_same_command_again_does_no_work(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    config = make()
    first = label.run(config)
    before = stored(config)
    monkeypatch.setattr(label, "usable_rows", pytest.fail)
    assert label.run(config) == first
    assert stored(config) == before


@pytest.mark.parametrize(
    "lost", ["splits-*/rewards-*/pairs.arrow", "splits-*/rewards-*/labels.json", "reward-clutter-*/meta.json"]
)
def test_what_is_lost_is_made_again_the_same(make: Make, lost: str) -> None:
    config = make()
    first = label.run(config)
    before = stored(config)
    (path,) = data_folder(config).glob(lost)
    path.unlink()
    if lost.startswith("reward-"):
        Workspace(config).data.summary_path.unlink()
    again = label.run(config)
    assert again["counts"] == first["counts"]
    assert without_record(stored(config)) == without_record(before)


def stored(config: Config, pattern: str = "**/*") -> dict[str, bytes]:
    """The files that are there, but for hidden ones, which a killed process leaves."""
    folder = data_folder(config)
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.glob(pattern))
        if path.is_file() and not path.name.startswith(".")
    }


def without_record(files: dict[str, bytes]) -> dict[str, Any]:
    """The same, of the summaries only the counts: the others hold seconds."""
    kept: dict[str, Any] = {}
    for name, data in files.items():
        told = name.endswith(("summary.json", "prepared.json"))
        kept[name] = json.loads(data)["summary"]["counts"] if told else data
    return kept


def labelled(config: Config) -> None:
    """Label, in another process."""
    images.UNIT = UNIT
    label.run(config)


@pytest.fixture
def prepared_twice(make: Make, tmp_path: Path) -> tuple[Config, Config]:
    config = make()
    other = replace(config, output=str(tmp_path / "other"))
    prepare.run(other)
    label.run(config)
    return config, other


@pytest.mark.long
def test_kill_9_again_and_again_ends_with_the_same_bytes(prepared_twice: tuple[Config, Config]) -> None:
    config, other = prepared_twice
    ends: list[int | None] = []
    while not ends or (ends[-1] == -signal.SIGKILL and len(ends) < 10):
        process = PROCESSES.Process(target=killed_at, args=(9, labelled, other))
        process.start()
        process.join(60)
        ends.append(process.exitcode)
    assert ends[-1] == 0
    assert len(ends) > 3
    assert without_record(stored(other)) == without_record(stored(config))


def test_two_at_once_end_with_the_same_bytes(prepared_twice: tuple[Config, Config]) -> None:
    config, other = prepared_twice
    processes = [PROCESSES.Process(target=labelled, args=(other,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert without_record(stored(other)) == without_record(stored(config))


def test_workers_change_nothing(prepared_twice: tuple[Config, Config]) -> None:
    config, other = prepared_twice
    label.run(replace(other, data=replace(other.data, workers=2)))
    assert without_record(stored(other)) == without_record(stored(config))


@pytest.mark.parametrize("name", ["redness", "bound"])
def test_a_reward_of_ones_own_is_one_class_and_one_file(make: Make, own: Path, name: str) -> None:
    """Whether its features are kept or it sees image and caption at once."""
    config = make(f"reward=[{name},clutter]", config_dir=own)
    label.run(config)
    for one in labels(config)[:20]:
        for side in (0, 1):
            (view,) = images.decode(jpeg(one[f"image_{side}"]), [Square(4)]) or ()
            means = view.mean((1, 2))
            expected = means[0] / means.sum() + 0.5 * len(one["caption"])
            assert one[f"{name}_{side}"] == pytest.approx(expected, rel=1e-5)
    assert name in Workspace(config).data.read_pairs()["user_id"].to_pylist()


def test_an_image_with_two_captions_has_a_score_for_each(make: Make, own: Path) -> None:
    again = row(900, user=1, caption="a much longer caption", styles=("flat", "round"))
    again |= {f"image_{side}_uid": f"thing 3/{style}" for side, style in enumerate(("flat", "round"))}
    again |= {f"jpg_{side}": jpeg(again[f"image_{side}_uid"]) for side in (0, 1)}
    config = make("reward=[redness,bound]", listed=[*rows(), again], config_dir=own)
    label.run(config)
    (longer,) = [one for one in labels(config) if one["caption"] == "a much longer caption"]
    shorter = next(one for one in labels(config) if one["image_0"] == "thing 3/flat" and one["caption"] == "thing 3")
    assert longer["redness_0"] - shorter["redness_0"] == pytest.approx(0.5 * (21 - 7), abs=1e-5)
    for one in labels(config):
        assert one["redness_0"] == pytest.approx(one["bound_0"], rel=1e-6)


def test_images_that_a_reward_refuses_are_left_out_with_their_pairs(make: Make) -> None:
    file = io.BytesIO()
    Image.new("RGB", (1, 1), "red").save(file, "PNG")
    config = make(listed=[*rows(), row(900, user=1, caption="dot", jpg_1=file.getvalue())])
    counts = label.run(config)["counts"]
    assert counts["not_scored"] == 1
    assert "dot" not in [one["caption"] for one in labels(config)]


def test_what_is_not_prepared_or_labelled_says_what_to_do(make: Make, tmp_path: Path) -> None:
    config = make()
    with pytest.raises(UserError, match=r"pairs\.arrow: this table is missing; run `ppd label`"):
        Workspace(config).data.read_pairs()
    with pytest.raises(UserError, match="run `ppd prepare`"):
        label.run(replace(config, output=str(tmp_path / "elsewhere")))
    with pytest.raises(UserError, match="people's own labels are asked for"):
        label.run(replace(config, data=replace(config.data, labels="people")))
    write(tmp_path / "source", rows(users=5))
    with pytest.raises(UserError, match="this source is another than when it was prepared; run `ppd prepare`"):
        label.run(config)


def test_all_missing_weights_are_reported_at_once(make: Make, tmp_path: Path) -> None:
    nowhere = [f"rewards.{name}.weights.model={tmp_path}/{name}" for name in ("clip", "hpsv2")]
    with pytest.raises(UserError) as failure:
        label.run(make("reward=[clip,clutter,hpsv2]", *nowhere))
    assert [fault.partition(":")[0] for fault in failure.value.faults] == [
        "rewards.clip.weights.model",
        "rewards.hpsv2.weights.model",
    ]
