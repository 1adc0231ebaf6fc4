"""Every fault is told, all at once, each with its key, its file and what is expected."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from ppd_lightning.config.compose import compose, read_config
from ppd_lightning.config.validation import check
from ppd_lightning.errors import UserError

FAULTS_OF_OVERRIDES = {
    "objective.betta=1": "objective.betta: no such key; did you mean objective.beta?",
    "objectiv.beta=1": "objectiv: no such key; did you mean objective?",
    "+objective.x=1": "objective.x: no such key; the keys here are objective.target, objective.name, objective.beta",
    "data=pickapic": "data.root: needs a value (text): The folder that holds the parquet files",
    "~seed": "seed: needs a value (a whole number >= 0 and <= 4,294,967,295)",
    "seed.x=1": "seed: must be a whole number >= 0 and <= 4,294,967,295, not {'x': 1}",
    "objective=pdp": "objective=pdp: no such option; did you mean ppd? (the options are cdpo, diffusion_dpo, "
    "dispersion, ipo, kto, linear_dpo, mapo, ppd, sdpo, sft)",
    "experiment=emoji/pdp": "experiment=emoji/pdp: no such option; did you mean emoji/ppd?",
    "objective=": "objective=: no such option",
    "objective=null": "objective=null: objective is a group; choose one of",
    "~objective": "~objective: the group objective cannot be left out",
    "objectives/x=ppd": "objectives/x=ppd: there is no group objectives/x",
    "objective.beta=1,2": "objective.beta=1,2: several values make a sweep; give -m as well",
    "seed=[1": "seed=[1: cannot be read as key=value",
    "hydra/launcher=nix": "hydra/launcher=nix: no such option (the options are one_gpu, one_node, several_nodes, basic",
    "optimizer.lr=${model.nix}": "optimizer.lr: Interpolation key 'model.nix' not found",
    "reward=[clutter,simmetry]": "reward=simmetry: no such option; did you mean symmetry? (the options are ",
    "reward=clup": "reward=clup: no such option; did you mean clip? (the options are ",
    "~reward": "~reward: the group reward cannot be left out",
    "reward=null": "reward=null: reward is a group; choose any of ",
    "evaluation.rewards=[clip]": "evaluation.rewards: ['clip'] are not all among the rewards that are chosen; choose",
    "user=one_hot": "user.kind: one_hot has one dimension a reward, and data.labels is people",
}
FAULTS_OF_VALUES = {
    "lr=1": "lr: no such key; did you mean optimizer.lr?",
    "report.metric=nope": "report.metric: nope is refused, a figure is named by its verb and its path in the summary",
    "report.metric=train.": "report.metric: train. is refused, a figure is named by its verb",
    "output='  '": "output: must not be blank, and '  ' shows nothing",
    "report.content='\u200b'": "report.content: must not be blank, and '\\u200b' shows nothing",
    "objective.beta=0": "objective.beta: must be a number > 0 and <= 1,000,000, not 0",
    "objective.beta=-1": "objective.beta: must be a number > 0 and <= 1,000,000, not -1",
    "objective.beta=.nan": "objective.beta: must be a number > 0 and <= 1,000,000, not nan",
    "objective.beta=.inf": "objective.beta: must be a number > 0 and <= 1,000,000, not inf",
    "objective.beta=much": "objective.beta: must be a number > 0 and <= 1,000,000, not 'much'",
    "objective.beta=true": "objective.beta: must be a number > 0 and <= 1,000,000, not True",
    "objective.beta=null": "objective.beta: must be a number > 0 and <= 1,000,000, not None",
    "objective.beta=[1]": "objective.beta: must be a number > 0 and <= 1,000,000, not [1]",
    "optimizer.lr=0": "optimizer.lr: must be a number > 0 and <= 1,000,000, not 0",
    "objective.drop_user=1.1": "objective.drop_user: must be a number >= 0 and <= 1, not 1.1",
    "objective.drop_user=-0.1": "objective.drop_user: must be a number >= 0 and <= 1, not -0.1",
    "shots.n=0": "shots.n: must be a whole number >= 1 and <= 10,000, not 0",
    "shots.n=2.5": "shots.n: must be a whole number >= 1 and <= 10,000, not 2.5",
    "objective.weighting=adaptiv": "objective.weighting: must be one of const, p2, adaptive, elbo, not 'adaptiv'",
    "objective.share_noise=1": "objective.share_noise: must be true or false, not 1",
    "trainer.precision=fp16": "trainer.precision: fp16 is refused, activations overflow in fp16: use bf16 or fp32",
    "trainer.precision=16": "trainer.precision: 16 is refused, activations overflow in fp16: use bf16 or fp32",
    "trainer.precision=bf32": "trainer.precision: must be one of fp32, bf16, not 'bf32'",
    "model.token_width=wide": "model.token_width: must be one of network, enough or a whole number >= 1 and <= 65,",
    "optimizer.betas=[0.9]": "optimizer.betas: must be a list of 2, each a number >= 0 and < 1, not [0.9]",
    "optimizer.betas=[0.9,x]": "optimizer.betas: must be a list of 2, each a number >= 0 and < 1, not [0.9, 'x']",
    "generation.seeds=[]": "generation.seeds: must be a list of one or more, each a whole number >= 0 and <= 4,294,967",
    "evaluation.comparisons=0": "evaluation.comparisons: must be ",
    "generation.captions=[cup,' ']": "generation.captions: ['cup', ' '] is refused, a caption is empty",
    "output=s3://bucket/x": "output: s3://bucket/x is refused, files are written to folders of this machine only",
    "evaluation.captions=[cup]": "evaluation.captions: must be text, not ['cup']",
    "evaluation.rewards=clip": "evaluation.rewards: must be a list of any number, each text, not 'clip'",
    "evaluation.seeds=0": "evaluation.seeds: must be a whole number >= 1 and <= 10,000, not 0",
    "evaluation.judges=[pixel]": "evaluation.judges: ['pixel'] are not all judges of data.name=emoji; choose among",
    "optimizer.grad_clip=0": "optimizer.grad_clip: must be a number > 0 and <= 1,000,000 or null, not 0",
    "data.name=imagenet": "data.name: must be emoji, not 'imagenet'",
    "data.target=nix.Nix": "data.target: nix.Nix is refused, it cannot be imported (No module named 'nix'); expected",
    "data.target=../..": "data.target: ../.. is refused, it cannot be imported (",
    "user.target=ppd_lightning.users.kind.Nix": "user.target: ppd_lightning.users.kind.Nix is refused, it cannot be",
    "objective.target=pathlib.Path": "objective.target: pathlib.Path is refused, it is no Objective; expected a class",
    "shots.target=null": "shots.target: needs a value (text): Import path of its class",
    "model=5": "model: must be a group of keys, not 5",
    "data.concept=1": "data.concept: no such key; did you mean data.concepts?",
    "objective.t_min=1": "objective.t_min: must be below objective.t_max, and 1 is not below 1.0",
    "objective.drop_user=1": "objective.drop_user: with 1 no example shows its user",
    "generation.user_guidance_interval=[1,0]": "generation.user_guidance_interval: must be [low, high], not [1, 0]",
    "data.held_out_concepts=9999": "data.held_out_concepts: must leave concepts to train on, and 9999 of ",
    "rewards.clutter.targt=x": "rewards.clutter.targt: no such key; did you mean rewards.clutter.target?",
    "rewards.clutter.target=5": "rewards.clutter.target: must be text, not 5",
    "rewards.clutter.weights=[a]": "rewards.clutter.weights: must be a mapping of names to text, not ['a']",
    "rewards.clutter.options={size: [1]}": "rewards.clutter.options: must be a mapping of names to text or a whole num",
    "rewards=5": "rewards: must be a group of keys, not 5",
    "seed=4294967296": "seed: must be a whole number >= 0 and <= 4,294,967,295, not 4294967296",
    "trainer.threads=1000000": "trainer.threads: must be a whole number >= 1 and <= 1,024 or null, not 1000000",
    "objective.beta=1e38": "objective.beta: must be a number > 0 and <= 1,000,000, not 1e+38",
    "trainer.batch_size=1000000000000": "trainer.batch_size: must be a whole number >= 1 and <= 1,000,000, not",
    "model.num_tokens=1": "model.num_tokens: must be a whole number >= 2 and <= 1,024, not 1",
    "shots.groupings=1000000000": "shots.groupings: must be a whole number >= 1 and <= 10,000, not",
    "generation.user_guidance=1e30": "generation.user_guidance: must be a number >= 0 and <= 1,000, not 1e+30",
    "output=''": "output: must not be empty",
    "output=~no-such-user/x": "output: ~no-such-user/x is refused, there is no home folder ~no-such-user; write ./",
    'judge.model="a\\0"': "judge.model: holds the character NUL",
    "optimizer.warmup_steps=1000": "optimizer.warmup_steps: must be below trainer.max_steps",
}


@pytest.fixture(scope="module")
def sound() -> dict[str, Any]:
    return dataclasses.asdict(compose())


@pytest.mark.parametrize("override", FAULTS_OF_OVERRIDES)
def test_a_faulty_override_is_reported_with_what_is_expected(override: str) -> None:
    faults = _faults(override)
    assert faults[0].startswith(FAULTS_OF_OVERRIDES[override])
    assert all("\n" not in fault and "Traceback" not in fault for fault in faults)


@pytest.mark.parametrize("setting", FAULTS_OF_VALUES)
def test_a_faulty_value_is_reported_with_its_key_and_what_is_expected(sound: dict[str, Any], setting: str) -> None:
    key, _, text = setting.partition("=")
    config, faults = check(_with(sound, key, OmegaConf.create(f"value: {text}").value))
    assert config is None
    assert len(faults) == 1
    assert faults[0].startswith(FAULTS_OF_VALUES[setting])


def test_diffusion_dpo_with_users_that_differ_is_a_contradiction() -> None:
    [fault] = _faults("objective=diffusion_dpo", "user=features")
    assert fault.startswith("objective.name: diffusion_dpo learns one preference for all users, and user.kind is")
    assert "user=constant" in fault


def test_an_objective_that_compares_people_who_are_all_the_same_is_a_contradiction() -> None:
    [fault] = _faults("objective=dispersion", "user=constant")
    assert fault.startswith("objective.name: dispersion compares people with each other, and with user.kind=constant")
    compose(["objective=dispersion", "user=features"])


def test_a_network_that_is_not_compiled_by_regions_says_so() -> None:
    [fault] = _faults("model=emoji_flow", "trainer.compile=regions")
    assert fault.startswith("trainer.compile: model.name=emoji_flow has no blocks that are compiled one by one")


def test_more_shots_than_the_pairs_that_everybody_has_is_a_contradiction() -> None:
    [fault] = _faults("data=pickapic", "data.root=folder", "data.image_size=64", "shots.n=5")
    assert fault.startswith("data.min_pairs: must be above shots.n")
    assert "5 is not above 5 (" in fault
    assert fault.endswith("pickapic.yaml)")
    compose(
        ["data=pickapic", "data.root=folder", "data.image_size=64", "shots.n=5", "mode=synthetic"]
    )  # needs no shots


def test_a_key_of_another_kind_of_user_is_refused_and_its_own_are_listed() -> None:
    assert _faults("user=reward", "+user.encoder=codec") == [
        "user.encoder: no such key; the keys here are user.target, user.kind, user.regularisation"
    ]
    [fault] = _faults("user=features", "user.kind=nobody")
    assert fault.startswith("user.kind: must be features, not 'nobody'")


def test_words_for_a_vlm_need_a_vlm() -> None:
    [fault] = _faults("user=stated", "user.texts=texts.json", "user.reader=vlm")
    assert fault.startswith("user.path: user.reader=vlm reads the texts with a vision-language model")


def test_synthetic_users_without_a_reward_are_a_contradiction() -> None:
    [fault] = _faults("mode=synthetic", "reward=[]")
    assert fault.startswith("data.labels: rewards needs at least one, and none is chosen")
    assert compose(["mode=real", "reward=[]"]).rewards == {}


def test_the_name_of_a_reward_is_one_word(tmp_path: Path) -> None:
    (tmp_path / "reward").mkdir()
    (tmp_path / "reward/odd.yaml").write_text("# @package rewards.a,b\ntarget: x.Y\nweights: {}\noptions: {}\n")
    assert _faults("reward=[odd]", config_dir=tmp_path)[0].startswith("rewards: a reward's name")


def test_faults_of_a_reward_name_its_own_file(tmp_path: Path) -> None:
    (tmp_path / "reward").mkdir()
    mine, other = tmp_path / "reward/mine.yaml", tmp_path / "reward/other.yaml"
    mine.write_text("# @package rewards.mine\ntarget: 5\nweights: {}\n")
    other.write_text("# @package rewards.other\ntarget: a.B\nweights: {}\noptions: {}\nscale: 2\n")
    faults = _faults("reward=[other,mine,clutter]", config_dir=tmp_path)
    assert len(faults) == 3
    assert f"rewards.mine.target: must be text, not 5 ({mine})" in faults
    assert [fault for fault in faults if fault.startswith("rewards.mine.options: needs a value") and str(mine) in fault]
    assert [fault for fault in faults if fault.startswith("rewards.other.scale: no such key") and str(other) in fault]


def test_all_faults_are_reported_at_once() -> None:
    overrides = ["objective.betta=1", "objective.beta=-1", "seed=[", "user=vlmm", "data.people=0", "hydra/launcher=nix"]
    faults = _faults(*overrides, "objective.t_min=0.5", "objective.t_max=0.5")
    told = {fault.partition(":")[0] for fault in faults}
    broken = {"objective.betta", "objective.beta", "seed=[", "user=vlmm", "data.people", "hydra/launcher=nix"}
    assert told == {*broken, "objective.t_min"}


def test_a_faulty_value_has_no_contradictions_besides() -> None:
    assert len(_faults("objective.t_min=2")) == 1


def test_faults_of_a_file_name_the_file(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "objective").mkdir()
    experiment, objective = tmp_path / "experiment/mine.yaml", tmp_path / "objective/mine.yaml"
    experiment.write_text(
        "# @package _global_\ndefaults:\n  - override /objective: mine\noptimizer: {lrr: 1}\ntrainer: {max_steps: 0}\n"
    )
    objective.write_text("defaults: [ppd]\nbeta: -1\nweigting: p2\nt_min: 3\n")
    faults = _faults("experiment=mine", "objective.t_min=-3", config_dir=tmp_path)
    assert set(faults) == {
        f"optimizer.lrr: no such key; did you mean optimizer.lr? ({experiment})",
        f"trainer.max_steps: must be a whole number >= 1 and <= 1,000,000,000, not 0 ({experiment})",
        f"objective.beta: must be a number > 0 and <= 1,000,000, not -1 ({objective})",
        f"objective.weigting: no such key; did you mean objective.weighting? ({objective})",
        "objective.t_min: must be a number >= 0 and <= 1, not -3",
    }


@pytest.mark.parametrize("text", ["beta: [", "null: 1", "- a\n- b", "\tbeta: 1"])
def test_a_file_that_is_no_configuration_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "objective").mkdir()
    (tmp_path / "objective/mine.yaml").write_text(text)
    faults = _faults("objective=mine", config_dir=tmp_path)
    assert "objective/mine" in faults[0]


def test_an_option_that_builds_on_one_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "objective").mkdir()
    (tmp_path / "objective/mine.yaml").write_text("defaults: [pdp]\n")
    faults = _faults("objective=mine", "seed=-1", config_dir=tmp_path)
    assert "Could not load 'objective/pdp'" in faults[0]
    assert faults[1].startswith("seed: ")


def test_a_missing_folder_of_options_is_reported(tmp_path: Path) -> None:
    [fault] = _faults(config_dir=tmp_path / "nix")
    assert fault.startswith("--config-dir: there is no folder")


@pytest.mark.parametrize("text", [None, "a: [", "[]", "seed: 1", "null: 1"])
def test_a_stored_configuration_that_does_not_fit_is_reported_with_its_file(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "config.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError) as failure:
        read_config(path)
    assert failure.value.faults
    assert str(path) in failure.value.faults[0]


def _faults(*overrides: str, config_dir: Path | None = None) -> list[str]:
    with pytest.raises(UserError) as failure:
        compose(overrides, config_dir)
    return failure.value.faults


def _with(values: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """A copy of nested values with one dotted key set."""
    changed = copy.deepcopy(values)
    *groups, name = key.split(".")
    place = changed
    for group in groups:
        place = place[group]
    place[name] = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
    return changed


@pytest.mark.parametrize(
    ("overrides", "sound"),
    [
        (["data=folder", "data.table=pairs.csv"], False),
        (["data=folder", "data.table=pairs.csv", "data.image_size=64"], True),
        (["data=folder", "data.table=pairs.csv", "model=stage_c_lite", "model.path=OWNER/NAME"], True),
        (["experiment=emoji/own", "data.table=pairs.csv", "model=stage_c_lite", "model.path=OWNER/NAME"], False),
        (["experiment=emoji/own", "data.table=pairs.csv"], True),
    ],
)
def test_images_of_another_size_than_the_model_knows_are_refused(overrides: list[str], sound: bool) -> None:
    if sound:
        compose(overrides)
    else:
        [fault] = _faults(*overrides)
        assert fault.startswith("data.image_size: ")
        assert "pixels are far from what" in fault
