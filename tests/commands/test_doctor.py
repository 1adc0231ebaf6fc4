"""`ppd doctor` on a model: each incomplete part with its files, source, size and licence, all at once."""

from __future__ import annotations

import os
import shutil
import types
from pathlib import Path

import pytest
from tests import tiny
from tests.offline import go_offline

from ppd_lightning.backbones.stage_c import PARTS
from ppd_lightning.cli import main
from ppd_lightning.commands.doctor import output_finding

PRIOR_HUB, CODEC_HUB = "stabilityai/stable-cascade-prior", "stabilityai/stable-cascade"


@pytest.fixture(autouse=True)
def _machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    go_offline(monkeypatch, tmp_path / "hub")
    monkeypatch.setenv("COLUMNS", "100")
    (tmp_path / "source").mkdir()
    (tmp_path / "source/train.parquet").touch()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.stage_c_folder(tmp_path_factory.mktemp("cascade"))


@pytest.fixture
def cascade(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "cascade", copy_function=lambda old, new: Path(new).symlink_to(old))


def doctor(tmp_path: Path, *settings: str) -> int:
    world = ("data=pickapic", f"data.root={tmp_path / 'source'}", "user.encoder=codec", "trainer=cpu")
    try:
        return main(["doctor", *world, f"output={tmp_path / 'out'}", *settings])
    except SystemExit as end:
        return int(end.code or 0)


def test_nothing_lacks_in_a_whole_folder(whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor(tmp_path, "model=stage_c_lite", f"model.path={whole}") == 0
    out = capsys.readouterr().out
    assert "missing" not in out
    assert "hf download" not in out
    assert out.count("model stage_c_lite: ") == len(PARTS["stage_c_lite"])


def test_a_source_that_cannot_be_read_is_reported_as_preparing_would(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = ("model=stage_c_lite", f"model.path={whole}")
    table = tmp_path / "pairs.csv"
    assert doctor(tmp_path, *model, "data=folder", "~data.root", f"data.table={table}") == 1
    assert f"data.table: there is no file {table}" in " ".join(capsys.readouterr().out.split())
    table.write_text("caption,image_0,image_1,choice,user\ncat,a.jpg,b.jpg,3,ann\n", encoding="utf-8")
    assert doctor(tmp_path, *model, "data=folder", "~data.root", f"data.table={table}") == 1
    told = capsys.readouterr().out
    assert "line 2: choice must be 0, 1 or tie, not '3'" in told
    assert "line 2: there is no image" in told
    assert doctor(tmp_path, *model, "data.root=memory://nowhere") == 1
    assert "there is no folder memory://nowhere" in capsys.readouterr().out


def test_missing_weights_of_rewards_are_reported_with_origin_size_and_licence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rewards = "reward=[clip,clutter,emoji_clip,hpsv2_1]"
    assert doctor(tmp_path, rewards, "mode=synthetic", "user=features", "data.image_size=64") == 1
    table, _, remedies = capsys.readouterr().out.partition("└")
    marks = {line.split()[4]: line.split()[1] for line in table.splitlines() if "reward " in line}
    assert marks == {"clip": "missing", "clutter": "ok", "emoji_clip": "ok", "hpsv2_1": "missing"}
    told = [line for line in remedies.splitlines() if line.startswith("- rewards.")]
    assert len(told) == 2
    for line, origin, licence in zip(told, ("laion/CLIP-ViT-H-14", "xswu/HPSv2"), ("MIT", "Apache-2.0"), strict=True):
        assert origin in line
        assert "GB" in line
        assert licence in line
    assert doctor(tmp_path, rewards, "mode=real", "data.image_size=64") == 0  # which reads none of them


@pytest.mark.parametrize("model", ["stage_c", "stage_c_lite"])
def test_an_empty_folder_lists_every_part_once(tmp_path: Path, capsys: pytest.CaptureFixture[str], model: str) -> None:
    assert doctor(tmp_path, f"model={model}", f"model.path={tmp_path}") == 1
    table, _, remedies = capsys.readouterr().out.partition("└")
    told = " ".join(table.replace("│", " ").split())
    for name, part in PARTS[model].items():
        assert told.count(f"{model}: {name.replace('_', ' ')} ") == 1
        assert all(told.count(f" {file} ") == 1 for file in part.ways[0])
    hubs = [part.hub for part in PARTS[model].values()]
    assert told.count(f" of {PRIOR_HUB}, ") == hubs.count(PRIOR_HUB) == 4
    assert told.count(f" of {CODEC_HUB}, ") == hubs.count(CODEC_HUB) == 3
    assert told.count("4.1 GB, or 2.1 GB as .bf16") == (model == "stage_c_lite")
    assert table.count("research") == len(hubs)
    assert max(map(len, table.splitlines())) <= 100

    commands = [line.split() for line in remedies.splitlines() if line.startswith("  hf ")]
    for command, hub in zip(commands, (PRIOR_HUB, CODEC_HUB), strict=True):
        usual = [file for part in PARTS[model].values() if part.hub == hub for file in part.ways[0]]
        assert command == ["hf", "download", hub, *usual, "--local-dir", str(tmp_path)]


def test_only_what_lacks_is_asked_for(cascade: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (cascade / "vqgan/config.json").unlink()
    (cascade / "text_encoder/model.safetensors").rename(cascade / "text_encoder/pytorch_model.bin")
    assert doctor(tmp_path, "model=stage_c_lite", f"model.path={cascade}") == 1
    out = capsys.readouterr().out
    assert f"  hf download {PRIOR_HUB} text_encoder/model.safetensors --local-dir {cascade}\n" in out
    assert f"  hf download {CODEC_HUB} vqgan/config.json --local-dir {cascade}\n" in out
    assert out.count("│ missing │") == 2
    assert f"- {cascade}/text_encoder/pytorch_model.bin is not read" in out


def test_damaged_files_are_reported_beside_what_lacks(
    cascade: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("previewer.safetensors", "scheduler/scheduler_config.json"):
        (cascade / name).unlink()
        (cascade / name).write_text("{")
    (cascade / "effnet_encoder.safetensors").unlink()
    assert doctor(tmp_path, "model=stage_c_lite", f"model.path={cascade}") == 1
    out = capsys.readouterr().out
    assert out.count("damaged  ") == 2
    assert f"- {cascade}/previewer.safetensors: cut short, or not a safetensors file" in out
    assert f"- {cascade}/scheduler/scheduler_config.json: damaged" in out
    assert "effnet_encoder.safetensors --local-dir" in out


def test_folders_that_are_not_there_are_reported_once_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = ("model=stage_c_lite", f"model.path={tmp_path}/no", f"model.codec_path={tmp_path}/neither")
    assert doctor(tmp_path, *settings) == 1
    out = capsys.readouterr().out
    assert f"--local-dir {tmp_path}/no\n" in out
    assert f"--local-dir {tmp_path}/neither\n" in out
    assert out.count("\n- ") == 2


def test_a_codec_of_its_own_folder_is_asked_for_there(
    cascade: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    codec = tmp_path / "with a space"
    codec.mkdir()
    assert doctor(tmp_path, "model=stage_c_lite", f"model.path={cascade}", f"model.codec_path='{codec}'") == 1
    out = capsys.readouterr().out
    assert f"- model.codec_path: get what is missing of {CODEC_HUB}:\n  hf download" in out
    assert f"--local-dir '{codec}'\n" in out
    assert out.count("hf download") == 1


def test_a_hub_that_does_not_answer_is_reported_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor(tmp_path, "model=stage_c_lite", f"model.path={PRIOR_HUB}") == 1
    out = capsys.readouterr().out
    assert out.count("the model hub has no answer for that name (a test asked the network)") == 1


def test_a_model_that_ships_is_made_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor(tmp_path, "model=emoji", f"model.path={tmp_path}") == 1
    out = capsys.readouterr().out
    assert out.count(f"- model.path: {tmp_path} lacks codec/config.json and ") == 1
    assert "make base" in out
    assert "hf download" not in out


def test_an_output_folder_to_which_nothing_can_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = os.statvfs(tmp_path)
    fine = output_finding(tmp_path / "not/yet/there")
    assert fine.found.endswith("free")
    assert not fine.remedies
    states = {
        "read-only": {"f_flag": os.ST_RDONLY},
        "full": {"f_bavail": 7},
        "0 files free": {"f_files": 9, "f_favail": 0},
    }
    for said, state in states.items():
        now = types.SimpleNamespace(**{name: getattr(room, name) for name in dir(room) if name[:2] == "f_"} | state)
        monkeypatch.setattr(os, "statvfs", lambda _, now=now: now)
        found = output_finding(tmp_path / "not/yet/there")
        assert said in found.found
        assert "choose another output=" in found.remedies[0]
