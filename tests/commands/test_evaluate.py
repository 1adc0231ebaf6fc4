"""`ppd evaluate` on a tiny model and real pairs: each image is drawn and scored once, for all who ask for it."""

from __future__ import annotations

import itertools
import json
import math
import multiprocessing
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from tests import tiny
from tests.killing import killed_at
from tests.training import tiny_world

from ppd_lightning.backbones.adapter import save_adapter
from ppd_lightning.backbones.base_fingerprint import base_fingerprint
from ppd_lightning.commands import evaluate
from ppd_lightning.config.compose import compose
from ppd_lightning.config.folders import run_folder
from ppd_lightning.config.root import Config
from ppd_lightning.config.workspace import Workspace
from ppd_lightning.data.prepared import PreparedData
from ppd_lightning.errors import UserError
from ppd_lightning.generation.trained_run import TrainedRun
from ppd_lightning.rewards.reward import Reward, open_rewards
from ppd_lightning.storage.finished_run import mark_finished

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.commands.test_evaluate"])
COMPARISONS, TIE = 7, 0.1
SETTINGS = (
    "reward=[brightness,colourfulness]",
    "evaluation.rewards=[brightness,colourfulness]",
    f"evaluation.comparisons={COMPARISONS}",
    "evaluation.bootstrap=20",
    "generation.batch_size=5",
    "generation.steps=2",
    "trainer.threads=1",
)
CONSTANT = ("objective=diffusion_dpo", "user=constant")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared world with two finished runs, whose branches were made by hand."""
    folder = tiny_world.make(tmp_path_factory.mktemp("evaluate"))
    for width, overrides in ((5, ()), (1, CONSTANT)):
        network = tiny.unet()
        torch.manual_seed(width)
        branch = tiny.backbone().attach(network, width)
        for block in branch.blocks:
            torch.nn.init.normal_(block.to_v.weight, std=0.2)
        run = run_folder(configured(folder, *overrides))
        save_adapter(branch, run / "adapter.safetensors", base=base_fingerprint(network))
        mark_finished(run)
    return folder


def configured(world: Path, *overrides: str) -> Config:
    own = tiny_world.overrides(world, world / "out")
    if "user=constant" in overrides:
        own = [one for one in own if not one.startswith("user.")]
    return compose([*own, *SETTINGS, *overrides])


@pytest.fixture(scope="module")
def judged(world: Path) -> dict[str, Any]:
    """The summary of an undisturbed evaluation."""
    return evaluate.run(configured(world))


def data_of(world: Path) -> PreparedData:
    return Workspace(configured(world)).data


def table_of(summary: dict[str, Any]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(Path(summary["folder"]) / "comparisons.parquet").to_pylist()
    return rows


def brightness(world: Path, file: str) -> float:
    """What the reward says of a file."""
    config = configured(world)
    with Image.open(world / "out" / file) as image:
        return float(open_rewards(config.rewards)["brightness"].score([image], ["any"]))


def test_the_table_says_what_every_picture_scores(world: Path, judged: dict[str, Any]) -> None:
    rows = table_of(judged)
    data = data_of(world)
    people = data.people()
    assert {(row["group"], row["user"]) for row in rows} <= {(group, one) for group in people for one in people[group]}
    assert {row["caption"] for row in rows} <= set(data.captions(held_out=True))
    for row in rows:
        for kind in ("base", "own"):
            assert row[f"{kind}/brightness"] == pytest.approx(brightness(world, row[f"{kind}_image"]), abs=1e-6)
    assert all(row["base_image"] != row["own_image"] for row in rows)


def test_the_summary_follows_from_the_table(judged: dict[str, Any]) -> None:
    rows = table_of(judged)
    for name, key in (("brightness", "win_rate"), ("colourfulness", "win_rate_by_colourfulness")):
        base, own = (np.array([row[f"{kind}/{name}"] for row in rows]) for kind in ("base", "own"))
        margin = (own - base) / np.concatenate([own, base]).std()
        for group, rate in judged[key].items():
            of_group = margin[[row["group"] == group for row in rows]]
            assert rate["n"] == len(of_group) == COMPARISONS
            assert rate["wins"] == (of_group > TIE).sum()
            assert rate["losses"] == (of_group < -TIE).sum()
        assert judged["mean_scores"]["base"][name] == pytest.approx(base.mean(), abs=1e-4)
        assert judged["mean_scores"]["ppd"][name] == pytest.approx(own.mean(), abs=1e-4)
        if key == "win_rate":
            lowest = judged["lowest"][0]
            own_rows = [row["user"] == lowest["user"] for row in rows]
            assert lowest["margin"] == pytest.approx(margin[own_rows].mean(), abs=1e-4)
            assert lowest["n"] == sum(own_rows)


def test_people_whom_nobody_knows_need_a_reward_or_held_out_pairs(
    world: Path, judged: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"evaluation\.rewards: nothing says what the people .*`ppd judge`"):
        evaluate.run(configured(world, "evaluation.rewards=[]", "evaluation.preference_draws=0"))
    counted = count_work(monkeypatch)
    summary = evaluate.run(configured(world, "evaluation.rewards=[]"))
    assert set(counted.values()) == {0}
    assert summary.keys() == {"folder", "preference_accuracy", "seconds"}
    assert summary["preference_accuracy"] == judged["preference_accuracy"]
    assert not (Path(summary["folder"]) / "comparisons.parquet").exists()


def test_the_preference_is_measured_on_the_pairs_that_nothing_was_learnt_from(
    world: Path, judged: dict[str, Any]
) -> None:
    pairs = data_of(world).read_pairs()
    (path,) = run_folder(configured(world)).glob("preferences-*.parquet")
    measured = {row["pair"]: row for row in pq.read_table(path).to_pylist()}
    for split, group in (("test_seen", "seen"), ("test_unseen", "unseen")):
        held_out = {row["pair_id"]: row["user_id"] for row in pairs.to_pylist() if row["split"] == split}
        of_group = {pair: row for pair, row in measured.items() if row["group"] == group}
        assert {pair: row["user"] for pair, row in of_group.items()} == held_out
        margins = np.array([row["margin"] for row in of_group.values()])
        assert (margins != 0).all()
        rate = judged["preference_accuracy"][group]
        assert rate["n"] == len(margins)
        assert rate["rate"] == pytest.approx((margins > 0).mean(), abs=1e-4)
        assert rate["low"] <= rate["rate"] <= rate["high"]


def test_fewer_pairs_are_the_same_pairs_with_the_same_draws(world: Path, judged: dict[str, Any]) -> None:
    run = run_folder(configured(world))
    before = set(run.glob("preferences-*.parquet"))
    evaluate.run(configured(world, "evaluation.preference_pairs=2"))
    (fewer,) = set(run.glob("preferences-*.parquet")) - before
    (whole,) = before
    known = {row["pair"]: row["margin"] for row in pq.read_table(whole).to_pylist()}
    rows = pq.read_table(fewer).to_pylist()
    assert sorted(row["group"] for row in rows) == ["seen", "seen", "unseen", "unseen"]
    for row in rows:
        assert row["margin"] == pytest.approx(known[row["pair"]], rel=1e-3)


def count_work(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How many images are drawn by the base, for users, and scored, from now on."""
    counted = {"base": 0, "own": 0, "scored": 0}
    draw, score = TrainedRun.draw, Reward.score

    def drawn(self: TrainedRun, captions: list[str], users: Any, *others: Any) -> Any:
        counted["base" if users is None else "own"] += len(captions)
        return draw(self, captions, users, *others)

    def scored(self: Reward, images: Any, captions: Any) -> Any:
        counted["scored"] += len(images)
        return score(self, images, captions)

    monkeypatch.setattr(TrainedRun, "draw", drawn)
    monkeypatch.setattr(Reward, "score", scored)
    return counted


def test_the_same_command_again_draws_and_scores_nothing(
    world: Path, judged: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = count_work(monkeypatch)
    assert evaluate.run(configured(world)) == judged
    again = evaluate.run(configured(world, "evaluation.bootstrap=21"))
    assert again["folder"] != judged["folder"]
    assert again["mean_scores"] == judged["mean_scores"]
    assert set(counted.values()) == {0}


def test_the_bases_images_and_scores_serve_other_scales_and_other_runs(
    world: Path, judged: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = count_work(monkeypatch)
    other = evaluate.run(configured(world, "generation.user_guidance=1"))
    assert counted == {"base": 0, "own": 2 * COMPARISONS, "scored": 2 * 2 * COMPARISONS}
    constant = evaluate.run(configured(world, *CONSTANT))
    assert counted["base"] == 0
    for summary in (other, constant):
        assert summary["mean_scores"]["base"] == judged["mean_scores"]["base"]
        assert [row["base_image"] for row in table_of(summary)] == [row["base_image"] for row in table_of(judged)]


def test_where_all_users_are_one_a_caption_has_one_image(world: Path) -> None:
    summary = evaluate.run(configured(world, *CONSTANT, "evaluation.comparisons=null"))
    data = data_of(world)
    users, captions = sum(map(len, data.people().values())), data.captions(held_out=True)
    rows = table_of(summary)
    assert len(rows) == users * len(captions)
    assert len({row["own_image"] for row in rows}) == len({row["base_image"] for row in rows}) == len(captions)


def test_a_user_guidance_of_zero_is_the_base_so_every_comparison_is_a_tie(world: Path) -> None:
    rates = evaluate.run(configured(world, "generation.user_guidance=0"))["win_rate"]
    assert {rate["ties"] for rate in rates.values()} == {COMPARISONS}


def test_prompts_of_a_file_need_not_be_in_the_data(world: Path, tmp_path: Path) -> None:
    prompts = ["bond", "a cat", "a cat on a mat"]
    (tmp_path / "prompts.tsv").write_text("Prompt\tCategory\n" + "".join(f"{one}\tx\n" for one in [*prompts, "bond"]))
    named = [f"evaluation.captions={tmp_path / 'prompts.tsv'}", "evaluation.comparisons=null", "evaluation.seeds=2"]
    summary = evaluate.run(configured(world, *named))
    rows, people = table_of(summary), data_of(world).people()
    everybody = [user for users in people.values() for user in users]
    assert {(row["user"], row["caption"], row["seed"]) for row in rows} == set(
        itertools.product(everybody, prompts, (1000, 1001))
    )
    assert summary["win_rate"]["seen"]["n"] == len(people["seen"]) * len(prompts) * 2
    (tmp_path / "prompts.tsv").write_text("Prompt\tCategory\nbond\tx\n")
    assert evaluate.run(configured(world, *named))["folder"] != summary["folder"]


def test_the_base_reads_profiles_and_overruns_are_counted(world: Path, tmp_path: Path) -> None:
    config = configured(world)
    drawn_for = {row["user"] for row in table_of(evaluate.run(config))}
    described, *_ = sorted(drawn_for)
    (tmp_path / "profiles.json").write_text(json.dumps({described: "loud and red, " * 9, "stranger": "flat"}))
    summary = evaluate.run(configured(world, f"evaluation.profiles={tmp_path / 'profiles.json'}"))
    rows = table_of(summary)
    profiles = summary["profiles"]
    own = [row for row in rows if row["user"] == described]
    assert profiles["without"] == len(drawn_for) - 1
    assert profiles["overruns"] == {
        "captions": len({row["caption"] for row in own}),
        "over": len({row["caption"] for row in own}),
        "limit": tiny.TEXT_LENGTH,
    }
    assert sum(rate["n"] for rate in profiles["win_rate"].values()) == len(own)
    for row in rows:
        assert (row["profile_image"] is None) == (row["profile/brightness"] is None) == (row["user"] != described)
        if row["user"] == described:
            assert row["profile/brightness"] == pytest.approx(brightness(world, row["profile_image"]), abs=1e-6)
            assert Path(row["profile_image"]).parent == Path(row["base_image"]).parent
    (tmp_path / "profiles.json").write_text(json.dumps({"stranger": "flat"}))
    with pytest.raises(UserError, match=r"evaluation\.profiles: it has no text of anybody who is compared"):
        evaluate.run(configured(world, f"evaluation.profiles={tmp_path / 'profiles.json'}"))


def images_of(output: Path) -> dict[str, bytes]:
    return {str(path.relative_to(output)): path.read_bytes() for path in output.rglob("[0-9a-f]*.png")}


@pytest.mark.long
def test_a_killed_evaluation_goes_on_to_what_an_undisturbed_one_says(world: Path, tmp_path: Path) -> None:
    for name in ("calm", "killed"):
        shutil.copytree(
            world / "out", tmp_path / name, ignore=shutil.ignore_patterns("base-*", "images-*", "evaluation-*")
        )
    calm, config = (replace(configured(world), output=str(tmp_path / name)) for name in ("calm", "killed"))
    expected = evaluate.run(calm)
    for moment in (3, 15):  # in the base's images, and after them
        process = PROCESSES.Process(target=killed_at, args=(moment, evaluate.run, config))
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert images_of(tmp_path / "killed").items() < images_of(tmp_path / "calm").items()
    summary = evaluate.run(config)
    assert table_of(summary) == table_of(expected)
    assert images_of(tmp_path / "killed") == images_of(tmp_path / "calm")
    assert {**summary, "folder": "", "seconds": {}} == {**expected, "folder": "", "seconds": {}}
    assert math.isfinite(summary["mean_own_score"]["ppd"])
