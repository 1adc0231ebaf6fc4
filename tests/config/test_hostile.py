"""What nobody means and files of others hold ends in a sentence, soon."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from tests import tiny

from ppd_lightning.backbones.adapter import save_adapter
from ppd_lightning.cli import main
from ppd_lightning.config.compose import compose
from ppd_lightning.config.finished import config_of
from ppd_lightning.config.overrides import sweep_runs
from ppd_lightning.config.run_resolver import RunResolver
from ppd_lightning.errors import UserError

FILES = {
    "a: &a [*a]": "line 1: *a stands inside of what it stands for",
    "a: " + "[" * 5000: "line 1: lists and mappings are nested more than 40 deep",
    "a: &a [x,x,x,x]\n" + "".join(f"b{i}: &b{i} [{','.join([f'*b{i - 1}' if i else '*a'] * 9)}]\n" for i in range(9)): (
        " stand for more than 10,000 values"
    ),
    "a:\n\tb: 1": "line 2: cannot be read as YAML",
    "a: 1\na: 2": "line 2: cannot be read as YAML (found duplicate key a)",
    "a: \x00\x01": "cannot be read as YAML",
    "- a": "holds a list; a mapping of keys to values was expected",
    "": "objective.target: needs a value",
    "a: " + "9" * 5000: "cannot be read as YAML",
    "defaults: [ppd]\nx0: " + "a" * 10 + "".join(f"\nx{i}: ${{.x{i - 1}}}${{.x{i - 1}}}" for i in range(1, 40)): (
        "becomes more than 1,000,000 characters"
    ),
    "defaults: [ppd]\nbeta: ${.t_min}\nt_min: ${.beta}": "objective.beta: Recursive interpolation",
}


@pytest.mark.parametrize("text", FILES, ids=lambda text: repr(text[:12]))
def test_a_file_of_options_may_hold_anything(text: str, tmp_path: Path) -> None:
    (tmp_path / "objective").mkdir()
    (tmp_path / "objective/mine.yaml").write_text(text)
    with pytest.raises(UserError) as failure:
        compose(["objective=mine"], tmp_path)
    assert any(FILES[text] in fault for fault in failure.value.faults)
    assert all("objective" in fault for fault in failure.value.faults)


def test_what_is_no_file_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "objective/folder.yaml").mkdir(parents=True)
    (tmp_path / "objective/link.yaml").symlink_to("gone")
    os.mkfifo(tmp_path / "objective/pipe.yaml")
    (tmp_path / "objective/latin.yaml").write_bytes(b"a: \xfc")
    told = {
        "folder": "no such option",
        "link": "a link to nothing",
        "pipe": "it is a pipe",
        "latin": "line 1: is no",
    }
    for name, words in told.items():
        with pytest.raises(UserError, match=words):
            compose([f"objective={name}"], tmp_path)
    compose(["objective=ppd"], tmp_path)


def test_a_byte_order_mark_is_no_part_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment/mine.yaml").write_bytes(b"\xef\xbb\xbf# @package _global_\nseed: 7\n")
    assert compose(["experiment=mine"], tmp_path).seed == 7


def test_a_preset_of_ones_own_may_be_anything(tmp_path: Path) -> None:
    (tmp_path / "sweep").mkdir()
    for text, code in (("5", 2), ("{seed: 1}", 0), ("{optimizer: {lr: '0.1,0.2'}}", 0), ("[1]", 2)):
        (tmp_path / "sweep/mine.yaml").write_text(f"# @package _global_\nhydra: {{sweeper: {{params: {text}}}}}\n")
        assert main(["train", "-m", "--dry-run", "--config-dir", str(tmp_path), "sweep=mine"]) == code


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("seed=range(3,1)", "holds no value"),
        ("seed=range(0,1,0)", "stands for endlessly many values"),
        ("seed=range(1000000000)", "stands for 1,000,000,000 values, and a sweep has at most 1,000 runs"),
        ("seed=glob(*)", r"glob\(...\) chooses among the options of a group"),
        ("experiment=glob(nix*)", "no option fits"),
        ("+hydra.sweeper.params.seed='1,2'", "what is swept is written as KEY=VALUE,VALUE"),
        ("hydra=null", "of Hydra itself only"),
        ("seed=" + "[" * 5000, "nested more than 40 deep"),
        ("seed=" + "9" * 5000, "cannot be read as key=value"),
    ],
)
def test_a_sweep_that_cannot_be_run_is_refused(word: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        sweep_runs([word])


def test_too_many_runs_are_counted_and_refused() -> None:
    with pytest.raises(UserError, match=r"-m: 1,600 runs \(40 of seed x 40 of shots.n\) are more than 1,000"):
        sweep_runs(["seed=range(40)", "shots.n=range(1,41)"])


def test_options_are_chosen_by_a_pattern() -> None:
    assert sweep_runs(["experiment=glob([emoji/p*,emoji/s*],exclude=emoji/sft)"]) == [
        ["experiment=emoji/ppd"],
        ["experiment=emoji/synthetic"],
    ]


def test_no_experiment_can_be_said() -> None:
    assert compose(["experiment=null", "sweep=null"]) == compose()


def test_zero_has_no_sign() -> None:
    assert str(compose(["evaluation.tie=-0.0"]).evaluation.tie) == "0.0"


def test_an_export_does_not_choose_what_is_imported(tmp_path: Path) -> None:
    values = {"user": {"target": "antigravity.Kind"}, "data": {"target": "tests.nowhere.Source"}}
    network = tiny.unet()
    save_adapter(tiny.branch(network), tmp_path / "adapter.safetensors", base="", configuration=values)
    with pytest.raises(UserError) as failure:
        config_of(tmp_path)
    assert len(failure.value.faults) == 2
    assert all("which is not of this package" in fault for fault in failure.value.faults)
    assert "antigravity" not in sys.modules


def test_a_run_of_somebody_else_does_not_choose_what_is_imported_and_options_of_the_user_do(tmp_path: Path) -> None:
    values = asdict(compose())
    values["objective"]["target"] = "tests.parts.nowhere.Loss"
    (tmp_path / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(values)))
    with pytest.raises(UserError, match=r"made with tests\.parts\.nowhere\.Loss, which is not of this package"):
        config_of(tmp_path)
    assert RunResolver().users_of(values, tmp_path) is None
    (tmp_path / "options/objective").mkdir(parents=True)
    (tmp_path / "options/objective/own.yaml").write_text("defaults: [ppd]\n\ntarget: tests.parts.nowhere.Loss\n")
    compose([], tmp_path / "options")
    with pytest.raises(UserError, match="it cannot be imported"):
        config_of(tmp_path)
