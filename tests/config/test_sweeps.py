"""What a sweep is made of, and what is refused before any of its runs is submitted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from ppd_lightning.commands.verbs import VERBS
from ppd_lightning.config import overrides as overrides_module
from ppd_lightning.config.compose import compose, compose_runs, sweeper_of
from ppd_lightning.config.groups import options
from ppd_lightning.config.overrides import examples, sweep_runs
from ppd_lightning.errors import UserError
from ppd_lightning.multirun import multirun
from ppd_lightning.reports.settings import MEASURING

SLURM = ("hydra/launcher=submitit_slurm",)
PRESETS = {"beta": 5, "methods": 10, "rate": 12, "shots": 4, "users": 6, "ablation": 12, "objectives": 9}


def presets(*words: str) -> list[str]:
    return [f"{key}={value}" for key, value in sweeper_of(words)[0]["params"].items()]


def faults(*words: str, sweeping: Sequence[str] = ("seed=0",)) -> list[str]:
    with pytest.raises(UserError) as failure:
        compose_runs([[*words, *sweeping]])
    return failure.value.faults


@pytest.mark.parametrize(("preset", "count"), PRESETS.items())
def test_every_preset_is_a_grid_of_sound_runs(preset: str, count: int) -> None:
    words = [f"sweep={preset}", "experiment=emoji/ppd"]
    runs = sweep_runs(words, presets(*words))
    assert len(runs) == count
    assert len(compose_runs([runs[0], runs[-1]])) == 2


def test_all_presets_are_known_here() -> None:
    assert set(options()["sweep"]) == {*PRESETS, "optuna"}
    assert set(options()["hydra/launcher"]) == {"one_gpu", "one_node", "several_nodes"}


def test_the_command_line_has_the_last_word_over_a_preset() -> None:
    words = ["sweep=beta", "objective.beta=3,4"]
    assert [run[0] for run in sweep_runs(words, presets("sweep=beta"))] == ["objective.beta=3", "objective.beta=4"]
    assert len(sweep_runs(["sweep=beta", "objective.beta=7"], presets("sweep=beta"))) == 1


def test_a_preset_without_a_sweep_is_reported() -> None:
    with pytest.raises(UserError, match="sweep=beta: stands for several runs; give -m as well"):
        compose(["sweep=beta"])


def test_a_fault_of_what_a_file_sweeps_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "sweep" / "own.yaml"
    file.parent.mkdir()
    content = "hydra: {sweeper: {params: {seed: '0,x', objective: {beta: '1,-2'}, objective.share_noise: [y]}}}"
    file.write_text(f"# @package _global_\n{content}\n")
    with pytest.raises(UserError) as failure:
        multirun(["train"], ["sweep=own", "seed=z", "trainer.nix=1"], tmp_path)
    faults = dict(fault.split(": ", 1) for fault in failure.value.faults)
    own = {key for key, why in faults.items() if str(file) in why}
    assert own == {"objective.beta", "objective.share_noise"}
    assert {"seed", "trainer.nix"} <= faults.keys()


@pytest.mark.parametrize("word", ["sweep=beta,rate", "hydra/launcher=basic,joblib", "hydra.launcher.n_jobs=1,2"])
def test_how_a_sweep_is_run_cannot_be_swept(word: str) -> None:
    with pytest.raises(UserError, match="says how the sweep is run"):
        sweep_runs([word])


def test_what_a_sweeper_may_choose_is_tried_at_its_ends() -> None:
    tried = examples(["seed=range(0,9)", "optimizer.lr=tag(log,interval(0.1,1))", "mode=real,synthetic"])
    assert tried == [
        ["seed=0", "optimizer.lr=0.1", "mode=real"],
        ["seed=8", "optimizer.lr=0.1", "mode=real"],
        ["seed=0", "optimizer.lr=1.0", "mode=real"],
        ["seed=0", "optimizer.lr=0.1", "mode=synthetic"],
    ]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["hydra/launcher=one_gpus"], "hydra/launcher=one_gpus: no such option; did you mean one_gpu?"),
        (["sweep=betta"], "sweep=betta: no such option; did you mean beta?"),
        (["hydra.launcher.n_job=2", "hydra/launcher=joblib"], "hydra.launcher.n_job=2: "),
        (["trainer.nodes=2", "trainer.batch_size=768"], "trainer.nodes: a run on 2 machines needs a launcher"),
        ([*SLURM, "trainer.devices=8"], ""),
        ([*SLURM, "trainer.devices=8", "hydra.launcher.tasks_per_node=4"], "hydra.launcher.tasks_per_node: 4 tasks on"),
        ([*SLURM, "trainer.nodes=2"], "hydra.launcher.tasks_per_node: 1 tasks on each of 1 nodes"),
        (["hydra/launcher=one_gpu", "trainer.devices=8"], "hydra.launcher.gpus_per_node: 1 are asked for"),
        (["hydra/launcher=one_node", "trainer.devices=8"], ""),
        (["hydra/launcher=one_node", "trainer=cpu"], "hydra.launcher.gpus_per_node: 1 are asked for"),
        (["hydra/launcher=one_node", "trainer.devices=8", "trainer.nodes=2"], "hydra.launcher.tasks_per_node: 8 tasks"),
        (["hydra/launcher=several_nodes", "trainer.devices=8", "trainer.nodes=2"], ""),
        (
            ["hydra/launcher=submitit_local", "hydra.launcher.tasks_per_node=2"],
            "hydra.launcher.tasks_per_node: submitit_local's tasks know nothing of each other, so 2 would",
        ),
        ([*SLURM, "hydra.launcher.timeout_min=2"], "hydra.launcher.signal_delay_s: 120 s of warning are more than"),
    ],
)
def test_a_launcher_and_a_trainer_that_contradict_each_other_are_refused(words: list[str], told: str) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    if not told:
        assert len(compose_runs([words])) == 1
        return
    [fault] = faults(*words)
    assert fault.startswith(told)


def test_a_launcher_takes_its_size_from_the_run() -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    runs = compose_runs([["hydra/launcher=several_nodes", f"trainer.devices={count}"] for count in (2, 8)])
    assert [run.launcher["tasks_per_node"] for run in runs] == [2, 8]
    assert [run.launcher["gpus_per_node"] for run in runs] == [2, 8]


def test_what_is_not_installed_is_reported_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overrides_module, "_installed", lambda group: ["basic"])
    [launcher, sweeper] = faults("hydra/launcher=one_node", "hydra/sweeper=optuna")
    assert launcher.endswith('needs a package that is missing; pip install "ppd-lightning[launchers]"')
    assert sweeper.endswith('pip install "ppd-lightning[optuna]"')
    [fault] = faults("sweep=optuna")
    assert fault.startswith("sweep=optuna: needs a package")


def test_numbers_with_which_no_launcher_and_no_sweeper_works_are_found_before_any_run() -> None:
    words = ["hydra/sweeper=optuna", "hydra/launcher=joblib", "hydra.launcher.n_jobs=0", "hydra.sweeper.n_trials=-1"]
    words += ["hydra.sweeper.n_jobs=0", "hydra.sweeper.max_failure_rate=2", "hydra.sweeper.direction=up"]
    words += ["hydra.sweeper.sampler.seed=-3", "objective.beta=-1"]
    with pytest.raises(UserError) as failure:
        multirun(["train"], words, None, dry_run=True)
    named = {fault.partition(":")[0] for fault in failure.value.faults}
    assert named >= {word.partition("=")[0] for word in words[2:]}
    assert "hydra.launcher.nodes" in str(faults(*SLURM, "hydra.launcher.nodes=0", "hydra.launcher.timeout_min=-5"))


def test_the_figure_that_names_the_best_run_is_one_of_the_verbs_of_the_sweep() -> None:
    with pytest.raises(UserError, match=r"report\.metric: evaluate\.a is measured by evaluate, and .* are train;"):
        multirun(["train"], ["experiment=emoji/ppd", "report.metric=evaluate.a"], None, dry_run=True)
    assert set(VERBS) >= MEASURING
