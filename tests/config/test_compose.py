"""What a choice brings with it, and who has the last word."""

from __future__ import annotations

from pathlib import Path

import pytest

from ppd_lightning.config.compose import compose, compose_each
from ppd_lightning.config.overrides import sweep_runs
from ppd_lightning.errors import UserError


def test_without_a_word_the_training_is_the_papers() -> None:
    config = compose()
    assert (config.trainer.batch_size, config.trainer.max_steps) == (768, 1000)
    assert (config.objective.name, config.objective.beta) == ("ppd", 1.0)
    assert (config.objective.reduction, config.objective.timesteps_weight) == ("sum", 0.5)
    assert (config.mode, config.optimizer.lr, config.data.labels, config.user.kind) == (
        "real",
        3e-6,
        "people",
        "features",
    )


def test_mode_synthetic_brings_rewards_one_hot_users_and_its_rate() -> None:
    config = compose(["mode=synthetic"])
    assert (config.data.labels, config.user.kind, config.optimizer.lr) == ("rewards", "one_hot", 1e-5)
    assert list(config.rewards) == ["colourfulness", "brightness", "clutter"]


def test_what_a_mode_brings_can_be_overridden_on_the_command_line_in_any_order() -> None:
    for words in (["mode=synthetic", "user=features", "optimizer.lr=1e-4"], ["user=features", "mode=synthetic"]):
        config = compose(words)
        assert (config.user.kind, config.data.labels) == ("features", "rewards")


def test_what_a_mode_brings_can_be_overridden_in_an_experiment(tmp_path: Path) -> None:
    _write(
        tmp_path / "experiment/mine.yaml",
        """
        # @package _global_
        defaults:
          - override /mode: synthetic
          - override /user: features
        optimizer: {lr: 0.5}
        """,
    )
    config = compose(["experiment=mine"], tmp_path)
    assert (config.mode, config.user.kind, config.optimizer.lr) == ("synthetic", "features", 0.5)


def test_rewards_are_chosen_as_a_list_on_the_command_line_or_in_an_experiment(tmp_path: Path) -> None:
    _write(
        tmp_path / "experiment/mine.yaml",
        """
        # @package _global_
        defaults:
          - override /mode: synthetic
          - override /reward: [symmetry, mine]
        """,
    )
    _write(
        tmp_path / "reward/mine.yaml",
        """
        # @package rewards.mine
        target: own.Mine
        weights: {model: here}
        options: {sharp: true, size: 3}
        """,
    )
    config = compose(["experiment=mine"], tmp_path)
    assert list(config.rewards) == ["symmetry", "mine"]
    assert config.rewards["mine"].options == {"sharp": True, "size": 3}
    assert list(compose(["experiment=mine", "reward=[clip,mine]"], tmp_path).rewards) == ["clip", "mine"]
    assert list(compose(["reward=clutter"]).rewards) == ["clutter"]
    changed = compose(["reward=[clip]", "rewards.clip.weights.model=elsewhere"])
    assert changed.rewards["clip"].weights == {"model": "elsewhere"}


def test_sets_of_rewards_can_be_swept() -> None:
    configs = compose_each(sweep_runs(["mode=synthetic", "reward=[clutter],[clip,hpsv2]"]))
    assert [list(config.rewards) for config in configs] == [["clutter"], ["clip", "hpsv2"]]


@pytest.mark.parametrize("mode", ["real", "synthetic"])
def test_diffusion_dpo_brings_its_constant_user_under_both_modes(mode: str) -> None:
    config = compose([f"mode={mode}", "objective=diffusion_dpo"])
    assert (config.user.kind, config.objective.drop_user) == ("constant", 0.0)


def test_the_command_line_has_the_last_word_over_an_experiment() -> None:
    config = compose(["experiment=emoji/ppd", "objective=sft", "objective.t_min=0.5", "trainer=gpu"])
    assert (config.objective.name, config.objective.t_min, config.trainer.precision) == ("sft", 0.5, "bf16")


def test_the_baselines_differ_from_ppd_in_the_objective_alone() -> None:
    ppd, dpo, sft = (compose([f"experiment=emoji/{name}"]) for name in ("ppd", "diffusion_dpo", "sft"))
    for other in (dpo, sft):
        assert (other.trainer, other.optimizer, other.model, other.data) == (
            ppd.trainer,
            ppd.optimizer,
            ppd.model,
            ppd.data,
        )
        assert (other.objective.t_min, other.objective.weighting) == (ppd.objective.t_min, ppd.objective.weighting)


def test_the_sweep_of_the_readme_is_six_runs() -> None:
    runs = sweep_runs(["experiment=emoji/ppd", "objective.beta=0.1,0.5,2", "mode=synthetic,real"])
    configs = compose_each(runs)
    assert [(config.objective.beta, config.mode, config.user.kind) for config in configs] == [
        (beta, mode, user)
        for beta in (0.1, 0.5, 2.0)
        for mode, user in (("synthetic", "one_hot"), ("real", "features"))
    ]


def test_every_objective_goes_with_every_mode() -> None:
    runs = sweep_runs(["mode=synthetic,real", "objective=ppd,diffusion_dpo,sft"])
    assert len(compose_each(runs)) == 6


def test_the_faults_of_all_runs_are_reported_once(tmp_path: Path) -> None:
    runs = sweep_runs(["objective.beta=1,-1,-2", "seed=x,0"])
    with pytest.raises(UserError) as failure:
        compose_each(runs)
    assert [fault.partition(":")[0] for fault in failure.value.faults] == ["seed", "objective.beta", "objective.beta"]


def test_an_interval_is_no_sweep() -> None:
    with pytest.raises(UserError, match="interval"):
        sweep_runs(["objective.beta=interval(0,1)"])


def test_a_folder_of_options_adds_to_the_shipped_ones_whatever_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "it's [mine], ü"
    _write(folder / "objective/mine.yaml", "defaults: [ppd]\nbeta: 7")
    assert compose(["objective=mine"], folder).objective.beta == 7
    assert compose(["objective=sft"], folder).objective.name == "sft"


def _write(path: Path, text: str) -> None:
    lines = text.strip("\n").splitlines()
    indent = len(lines[0]) - len(lines[0].lstrip())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(line[indent:] for line in lines) + "\n")
