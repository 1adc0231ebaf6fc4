"""The built wheel holds all that the command needs, and works away from the repository."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PLUGINS = """
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
print([kind.__name__ for kind in Plugins.instance().discover(Launcher)])
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(REPOSITORY)]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    [path] = folder.glob("*.whl")
    return path


def test_it_holds_every_option_and_shipped_file_and_nothing_of_development(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    conf = {f"ppd_lightning/{path.relative_to(REPOSITORY)}" for path in (REPOSITORY / "conf").rglob("*.yaml")}
    package = REPOSITORY / "src/ppd_lightning"
    shipped = {
        f"ppd_lightning/{path.relative_to(package)}"
        for path in package.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert conf | shipped <= names
    others = {name for name in names if ".dist-info" not in name and not name.startswith("ppd_lightning/")}
    assert others == {"hydra_plugins/ppd_lightning_launcher.py", "hydra_plugins/ppd_lightning_options.py"}


def test_it_answers_from_another_folder_in_a_new_environment(wheel: Path, tmp_path: Path) -> None:
    python = _new_environment(tmp_path / "venv", wheel)
    code = "import ppd_lightning; print(ppd_lightning.__file__)"
    assert str(tmp_path) in _output(tmp_path, python, "-c", code)
    command = python.with_name("ppd")
    assert "ppd VERB" in _output(tmp_path, command, "--help")
    validated = _output(tmp_path, command, "validate", "experiment=emoji/ppd", "mode=synthetic")
    assert "kind: one_hot" in validated
    assert "# run folder: outputs/runs/ppd-one_hot-" in validated
    swept = _output(tmp_path, command, "train", "-m", "experiment=emoji/ppd", "sweep=beta", "--dry-run")
    assert "would run: train" in swept
    assert all(f"│ {run} " in swept for run in range(5))
    assert "(commit " in _output(tmp_path, command, "--version") or not (REPOSITORY / ".git").exists()
    assert "SweepLauncher" in _output(tmp_path, python, "-c", PLUGINS)
    assert [path.name for path in tmp_path.iterdir()] == ["venv"]


def _new_environment(folder: Path, wheel: Path) -> Path:
    """A virtual environment with the wheel and, behind it, the packages of this one except the project itself."""
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    target = sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)})
    # A path line adds a folder without running the .pth files in it, so an editable install there is not seen.
    Path(target, "packages.pth").write_text(sysconfig.get_path("purelib") + "\n")
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", "--quiet"]
    subprocess.run([*install, "--ignore-installed", str(wheel)], check=True)
    return python


def _output(folder: Path, *command: str | Path) -> str:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
