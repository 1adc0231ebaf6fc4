"""TAB: what is offered, the protocol by which shells ask for it, and the shells that are on this machine."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ppd_lightning.commands.verbs import VERBS
from ppd_lightning.completion import words_for
from ppd_lightning.config.groups import OF_HYDRA, options
from ppd_lightning.config.keys import known_keys

SOURCES = Path(__file__).parents[1] / "src"
DOCUMENTATION = Path(__file__).parents[1] / "docs/cli.md"
WORDBREAKS = " \t\n\"'@><=;|&(:"
SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], ":"),
    "zsh": (["zsh", "-f", "-i"], "bindkey -e; autoload -U compinit; compinit -u"),
    "fish": (["fish", "--no-config"], "true"),
}
"""How each is started without anybody's settings, and what comes before the documented line."""


def words(prefix: str, *verbs: str, several: bool = False) -> list[str]:
    return list(dict(words_for(prefix, verbs, several=several)))


def ask(line: str, tmp_path: Path, *python: str, **environment: str) -> tuple[list[str], str]:
    """What a shell would be answered at the end of `line`, and all that was printed."""
    answer = tmp_path / "answer"
    answer.unlink(missing_ok=True)
    asked = {
        "PYTHONPATH": str(SOURCES),
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_IFS": "\n",
        "_ARGCOMPLETE_SHELL": "bash",
        "_ARGCOMPLETE_SUPPRESS_SPACE": "1",
        "_ARGCOMPLETE_COMP_WORDBREAKS": WORDBREAKS,
        "_ARGCOMPLETE_STDOUT_FILENAME": str(answer),
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
    }
    done = subprocess.run(
        [sys.executable, *python, "-m", "ppd_lightning"],
        env={**os.environ, **asked, **environment},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    return (answer.read_text().splitlines() if answer.exists() else []), done.stdout + done.stderr


def test_nothing_typed_offers_every_verb_and_every_group() -> None:
    assert words("") == [*VERBS, *(f"{group}=" for group in dict.fromkeys([*options(), *OF_HYDRA]))]


def test_a_verb_is_offered_its_own_groups_and_keys() -> None:
    assert words("re", "report") == ["reference", "report", *(word for word in words("report") if word != "report")]
    assert "report.goal=" in words("rep", "report")
    assert words("objective", "report") == []
    assert "objective.beta=" in words("objective", "report", "train")


def test_every_key_that_the_help_explains_is_offered() -> None:
    keys = known_keys(rewards=tuple(options()["reward"]))
    assert {f"{key}=" for key in keys} <= {word for first in {key[0] for key in keys} for word in words(first)}
    assert "rewards.clip.weights=" in words("rewards.clip.")


def test_a_group_is_offered_its_options(tmp_path: Path) -> None:
    assert words("experiment=emoji/s") == ["experiment=emoji/sft", "experiment=emoji/synthetic"]
    assert words("hydra/launcher=o") == ["hydra/launcher=one_gpu", "hydra/launcher=one_node"]
    (tmp_path / "objective").mkdir()
    (tmp_path / "objective/mine.yaml").write_text("defaults: [ppd]\n")
    assert dict(words_for("objective=mi", config_dir=tmp_path)) == {"objective=mine": ""}


def test_a_list_of_options_is_completed_at_its_end() -> None:
    assert words("reward=clu") == ["reward=clutter"]
    assert words("reward=[clip,clu") == ["reward=[clip,clutter,", "reward=[clip,clutter]"]
    assert words("reward=[clip,cli") == []
    assert "reward=[clip" in words("reward=")


def test_several_values_are_completed_where_the_command_sweeps() -> None:
    assert words("objective=ppd,sf", several=True) == ["objective=ppd,sft"]
    assert words("objective=ppd,sf") == []
    assert words("objective.share_noise=true,", several=True) == ["objective.share_noise=true,false"]


def test_a_key_with_a_fixed_set_of_values_is_offered_them() -> None:
    assert words("objective.reduction=") == ["objective.reduction=sum", "objective.reduction=mean"]
    assert words("trainer.gradient_checkpointing=") == [
        f"trainer.gradient_checkpointing={value}" for value in ("true", "false")
    ]
    assert "trainer.compile=regions" in words("trainer.compile=")
    assert words("logger.tracker=") == ["logger.tracker=wandb", "logger.tracker=mlflow", "logger.tracker=null"]
    assert words("seed=") == words("trainer.threads=") == words("nothing.like=") == []


def test_a_shell_is_answered_with_what_follows_where_it_breaks_the_word(tmp_path: Path) -> None:
    assert ask("ppd train objective=dif", tmp_path) == (["diffusion_dpo"], "")
    assert ask("ppd train 'objective=dif", tmp_path) == (["objective=diffusion_dpo"], "")
    assert ask("ppd train reward=[clip,clu", tmp_path) == ([r"\[clip,clutter,", r"\[clip,clutter\]"], "")
    assert ask("ppd tra", tmp_path, _ARGCOMPLETE_SHELL="fish", _ARGCOMPLETE_DFS="\t")[0][0] == (
        f"train\t{VERBS['train'].meaning}"
    )


def test_words_are_completed_behind_flags_and_flags_behind_words(tmp_path: Path) -> None:
    assert ask("ppd train -m evaluate evaluation.tie", tmp_path) == (["evaluation.tie="], "")
    assert ask("ppd train seed=1 --mu", tmp_path) == (["--multirun"], "")
    assert ask("ppd -m train objective=ppd,sf", tmp_path) == (["ppd,sft"], "")
    (tmp_path / "mine/objective").mkdir(parents=True)
    (tmp_path / "mine/objective/other.yaml").write_text("defaults: [ppd]\n")
    assert ask("ppd train --config-dir m", tmp_path) == (["mine/"], "")
    assert ask("ppd train --config-dir=m", tmp_path) == (["mine/"], "")
    assert ask("ppd train --config-dir mine objective=o", tmp_path) == (["other"], "")


@pytest.mark.parametrize(
    ("line", "environment"),
    [
        ('ppd train "objective=', {}),
        ("ppd train \\", {}),
        ("ppd train --no-such-flag=", {}),
        ("ppd train --config-dir missing objective=no-such", {}),
        ("ppd train =", {}),
        ("ppd train reward=[[,", {}),
        ("ppd train [", {}),
        ("ppd tr", {"COMP_POINT": "many"}),
        ("ppd tr", {"_ARGCOMPLETE": "x"}),
        ("ppd tr", {"_ARGCOMPLETE_STDOUT_FILENAME": "/no/such/folder/answer"}),
    ],
)
def test_a_broken_line_prints_nothing(line: str, environment: dict[str, str], tmp_path: Path) -> None:
    assert ask(line, tmp_path, **environment)[1] == ""


def test_completion_imports_neither_hydra_nor_what_is_heavy(tmp_path: Path) -> None:
    found, printed = ask("ppd train objective.red", tmp_path, "-X", "importtime")
    assert found == ["objective.reduction="]
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in printed.splitlines()}
    assert "pydantic" in imported
    assert not imported & {"hydra", "torch", "diffusers", "lightning", "transformers", "pyarrow", "numpy", "rich"}


class Shell:
    """An interactive shell at a terminal, in which `ppd` is completed as the documentation says."""

    def __init__(self, name: str, tmp_path: Path) -> None:
        ppd = tmp_path / "bin/ppd"
        ppd.parent.mkdir()
        ppd.write_text(f'#!/bin/sh\nexec {sys.executable} -m ppd_lightning "$@"\n')
        ppd.chmod(0o755)
        environment = {
            "PATH": f"{ppd.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(SOURCES),
            "HOME": str(tmp_path),
            "TERM": "xterm",
        }
        command, before = SHELLS[name]
        self.process, self.terminal = pty.fork()
        if not self.process:  # pragma: no cover
            os.chdir(tmp_path)
            os.execvpe(command[0], command, environment)
        (cell,) = re.findall(rf"^\| {name} \| .* \| `(.*)` \|$", DOCUMENTATION.read_text("utf-8"), re.MULTILINE)
        line = cell.replace(r"\|", "|")  # as a table of Markdown holds it
        self.send(f"{before}; {line}; echo REA''DY\n", "READY")

    def send(self, text: str, pattern: str) -> str:
        """Type `text` and read until the pattern is met."""
        os.write(self.terminal, text.encode())
        read, end = "", time.monotonic() + 60
        while not re.search(pattern, read):
            assert time.monotonic() < end, f"{pattern} did not come: {read!r}"
            if select.select([self.terminal], [], [], 0.2)[0]:
                read += os.read(self.terminal, 65536).decode(errors="replace")
        return read

    def close(self) -> None:
        os.kill(self.process, signal.SIGKILL)
        os.close(self.terminal)
        os.waitpid(self.process, 0)


@pytest.mark.parametrize("name", SHELLS)
def test_a_real_shell_completes(name: str, tmp_path: Path) -> None:
    if not shutil.which(name):
        pytest.skip(f"{name} is not installed")
    shell = Shell(name, tmp_path)
    try:
        for typed, completed in {
            "ppd trai": "train",
            "ppd train objective.red": "objective.reduction=",
            "ppd train -m objective=dif": "objective=diffusion_dpo",
            "ppd train -m hydra/launcher=one_g": "hydra/launcher=one_gpu",
        }.items():
            missing = completed.removeprefix(typed.split()[-1])
            shell.send(f"{typed}\t", re.escape(missing))
            came = shell.send("\x01printf '<%s>\\n' \x05 END\n", "<END>")  # to the start of the line, and to its end
            assert re.findall(r"<([^<>%]+)>", came)[-2:] == [completed, "END"]
    finally:
        shell.close()
