"""Every `ppd` command that README, studies and the heads of the shipped configurations show is a sound one."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

from ppd_lightning.cli import main

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted(ROOT.glob("experiments/**/README.md"))]
CONFIGURATIONS = sorted(ROOT.glob("conf/**/*.yaml"))


def commands() -> dict[str, str]:
    """Command by where it stands: indented lines of documents, and the first lines of configurations."""
    found = {}
    for path in DOCUMENTS:
        text = re.sub(r"\\\n\s*", "", path.read_text(encoding="utf-8"))  # a line that goes on in the next
        for line in re.findall(r"^    (ppd .+)$", text, re.MULTILINE):
            found[f"{path.relative_to(ROOT)}: {line}"] = line
    for path in CONFIGURATIONS:
        for line in re.findall(r"^# (ppd [^<]*?)(?:   .*)?$", path.read_text(encoding="utf-8"), re.MULTILINE):
            found[f"{path.relative_to(ROOT)}: {line}"] = line
    return found


def test_there_are_commands_to_check() -> None:
    assert len(commands()) > 30


@pytest.mark.parametrize("command", commands().values(), ids=commands())
def test_a_documented_command_is_sound(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = shlex.split(command, comments=True)[1:]
    if "sweep=optuna" in words:
        pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    if "--help" not in words:
        words.append("--dry-run")
    assert main(words) == 0


def test_the_readmes_own_reward_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "class Redness" in block)
    (options,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    (tmp_path / "my_rewards.py").write_text(code, encoding="utf-8")
    (tmp_path / "options/reward").mkdir(parents=True)
    (tmp_path / "options/reward/redness.yaml").write_text(options, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    (command,) = re.findall(r"`PYTHONPATH=\. (ppd [^`]+)`", text)
    assert main([*shlex.split(command)[1:], "--dry-run"]) == 0

    from PIL import Image

    from ppd_lightning.config.compose import compose
    from ppd_lightning.rewards.reward import open_rewards

    config = compose(["mode=synthetic", "reward=[redness]"], tmp_path / "options")
    score = open_rewards(config.rewards, "cpu")["redness"].score
    sys.modules.pop("my_rewards")  # other tests have a module of that name
    pictures = [Image.new("RGB", (80, 60), colour) for colour in ("red", "yellow", "blue")]
    assert score(pictures, ["a"] * 3).tolist() == pytest.approx([1, 0.5, 0])
