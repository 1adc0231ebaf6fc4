from __future__ import annotations

from pathlib import Path

from ppd_lightning.config.compose import compose, compose_each
from ppd_lightning.config.folders import data_folder, run_folder, splits_folder, sweep_folder
from ppd_lightning.config.workspace import Workspace

RUN_CHANGES = [
    "data.people=7",
    "model.num_tokens=2",
    "shots.n=3",
    "objective.beta=0.3",
    "optimizer.lr=1e-3",
    "trainer.max_steps=5",
    "trainer.batch_size=5",
    "trainer.precision=fp32",
    "seed=1",
]
RUN_KEEPS = [
    "reward=[clip]",
    "data.workers=3",
    "data.max_unusable=0.5",
    "trainer.accelerator=cpu",
    "trainer.threads=1",
    "trainer.checkpoint_every=7",
    "trainer.log_every=7",
    "trainer.progress=false",
    "logger.csv=false",
    "generation.steps=3",
    "evaluation.comparisons=3",
]


def test_what_changes_the_result_changes_the_run_folder() -> None:
    folders = [run_folder(config) for config in compose_each([[], *([override] for override in RUN_CHANGES)])]
    assert len(set(folders)) == len(folders)


def test_what_does_not_change_the_result_keeps_the_run_folder() -> None:
    folders = [run_folder(config) for config in compose_each([[], *([override] for override in RUN_KEEPS)])]
    assert len(set(folders)) == 1


def test_a_run_is_named_after_its_objective_and_users() -> None:
    folder = run_folder(compose(["objective=sft", "mode=synthetic", "output=elsewhere"]))
    assert folder.parent == Path("elsewhere/runs")
    assert folder.name.startswith("sft-one_hot-")


def test_both_modes_share_the_data_and_not_the_run() -> None:
    real, synthetic = compose(["mode=real"]), compose(["mode=synthetic"])
    assert data_folder(real) == data_folder(synthetic)
    assert run_folder(real) != run_folder(synthetic)


def test_the_rewards_decide_the_run_of_synthetic_users_but_not_their_order() -> None:
    words = [["mode=synthetic", f"reward={chosen}"] for chosen in ("[clip,clutter]", "[clutter,clip]", "[clip]")]
    first, turned, fewer = map(run_folder, compose_each(words))
    assert first == turned != fewer


def test_a_reward_that_only_scores_is_no_synthetic_user() -> None:
    alone = compose(["mode=synthetic", "reward=[clutter]"])
    scored = compose(["mode=synthetic", "reward=[clutter,brightness]", "evaluation.rewards=[brightness]"])
    assert run_folder(scored) == run_folder(alone)
    assert Workspace(scored).data.pairs_path == Workspace(alone).data.pairs_path
    assert run_folder(compose(["mode=synthetic", "reward=[clutter,brightness]"])) != run_folder(alone)


def test_another_world_has_another_data_folder() -> None:
    configs = compose_each([[], ["data.concepts=50"], ["data.seed=9"], ["data.image_size=32"]])
    assert len({data_folder(config) for config in configs}) == 4


def test_other_pairs_of_one_source_share_the_data_folder_and_neither_pairs_nor_run() -> None:
    settings = ["data.held_out_concepts=10", "data.validation=0.1", "data.min_pairs=2", "data.held_out_concepts=9"]
    configs = compose_each([[], *([setting] for setting in settings)])
    assert len({data_folder(config) for config in configs}) == 1
    assert len({splits_folder(config) for config in configs}) == len({run_folder(config) for config in configs}) == 5


def test_what_only_changes_the_work_keeps_the_data_folder() -> None:
    configs = compose_each([[], ["data.workers=3"], ["data.max_unusable=0.5"]])
    assert len({data_folder(config) for config in configs}) == 1


def test_a_whole_number_and_the_same_real_number_mean_the_same_run() -> None:
    assert run_folder(compose(["objective.beta=2"])) == run_folder(compose(["objective.beta=2.0"]))


def test_a_sweep_is_known_by_its_verbs_and_overrides() -> None:
    assert sweep_folder("o", ["train"], ["seed=1,2"]) == sweep_folder("o", ["train"], ["seed=1,2"])
    assert sweep_folder("o", ["train"], ["seed=1,2"]) != sweep_folder("o", ["train"], ["seed=1,3"])
