"""What a release is made of fits together: workflow, hooks, image, versions, and the commit that a package carries."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from ppd_lightning import source_commit
from ppd_lightning.cli import main

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def of_dev(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / f"dev/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_each_step_of_the_workflow_is_a_target_of_the_makefile() -> None:
    (path,) = (ROOT / ".github/workflows").glob("*.yml")
    jobs = yaml.safe_load(path.read_text("utf-8"))["jobs"]
    lines = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    found = [re.fullmatch(r"make ([a-z-]+) PYTHON=python\S+(?: matrix\.python }})?", line) for line in lines]
    assert [match and match[1] for match in found] == ["lint", "test", "docs", "dist"]
    assert all(re.search(rf"^{match[1]}:", MAKEFILE, re.MULTILINE) for match in found if match)
    assert all(step.keys() & {"run", "uses"} for job in jobs.values() for step in job["steps"])


def test_the_versions_of_python_are_those_that_are_said() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/checks.yml").read_text("utf-8"))
    tried = workflow["jobs"]["tests"]["strategy"]["matrix"]["python"]
    assert tried == ["3.11", "3.12", "3.13"]
    assert PROJECT["requires-python"] == f">={tried[0]}"
    said = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if ":: Python :: 3." in line]
    assert said == tried


def test_hooks_run_what_make_lint_runs() -> None:
    (local,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))["repos"]
    entries = [hook["entry"].replace(" --force-exclude", "") for hook in local["hooks"]]
    recipe = re.search(r"^lint: setup\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    assert recipe is not None
    assert entries[:-1] == [line.strip().replace("$(BIN)", ".venv/bin") for line in recipe[1].splitlines()]
    assert (ROOT / entries[-1].split()[-1]).is_file()


def test_a_version_is_said_alike_everywhere() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert str(citation["version"]) == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
    changes = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert re.search(rf"^## (Unreleased|\[?{re.escape(PROJECT['version'])}\b)", changes, re.MULTILINE)
    assert PROJECT["version"] in changes


def test_issue_forms_ask_for_something() -> None:
    for path in (ROOT / ".github/ISSUE_TEMPLATE").glob("[!c]*.yml"):
        form = yaml.safe_load(path.read_text("utf-8"))
        assert form.keys() >= {"name", "description", "body"}
        assert any(part["type"] == "textarea" for part in form["body"])


def test_both_images_are_made_by_the_same_steps_but_for_pytorch() -> None:
    image, text = of_dev("image_steps"), (ROOT / "Dockerfile").read_text("utf-8")
    cpu, cuda = (image.steps_of(text, target) for target in ("cpu", "cuda"))
    assert cpu[-1] == ("CMD", '["--help"]')
    others = [step for step in cuda if step not in cpu]
    assert [word for word, _ in others] == ["RUN", "ENV"]
    for word, rest in cpu:
        if word == "COPY":
            assert all((ROOT / name).exists() for name in rest.split()[:-1])
        if word == "RUN" and rest.endswith(".sh"):
            assert (ROOT / rest).stat().st_mode & 0o111, f"{rest} is not executable"
    assert "useradd" in text[: text.index("AS torch-cpu")]
    assert ("USER", "1000") in cpu


def test_the_image_installs_the_studio_as_the_makefile_does() -> None:
    script = (ROOT / "dev/image_install.sh").read_text("utf-8")
    named = re.search(r"^STUDIO := (.*)$", MAKEFILE, re.MULTILINE)
    assert named is not None
    assert f"constraints.txt {named[1]}\n" in script
    (gradio,) = re.findall(r"--no-deps (gradio .*)", MAKEFILE)
    assert f"--no-deps {gradio}\n" in script
    extras = re.search(r"\.\[([a-z,]+)\]", script)
    assert extras is not None
    assert set(extras[1].split(",")) <= set(PROJECT["optional-dependencies"])


def test_the_version_names_the_commit(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ppd_lightning.cli.source_commit", lambda: "abc1234")
    assert main(["--version"]) == 0
    assert re.fullmatch(r"ppd-lightning \S+ \(commit abc1234\)\n", capsys.readouterr().out)


def test_a_commit_is_asked_of_git_or_of_the_file_that_building_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if (ROOT / ".git").exists():
        head = ["git", "rev-parse", "HEAD"]
        commit = subprocess.run(head, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        assert commit.startswith(source_commit.source_commit().removesuffix("-dirty"))
    monkeypatch.setattr(source_commit, "HERE", tmp_path)  # as it were installed
    assert source_commit.source_commit() == ""
    (tmp_path / "COMMIT").write_text("abc1234\n")
    assert source_commit.source_commit() == "abc1234"


@pytest.mark.parametrize(("target", "name"), [("sdist", "COMMIT"), ("wheel", "ppd_lightning/COMMIT")])
def test_building_keeps_the_commit(target: str, name: str, tmp_path: Path) -> None:
    hook = of_dev("commit_hook").CommitHook(str(tmp_path), {}, None, None, "", target)
    nothing: dict[str, Any] = {"force_include": {}}
    hook.initialize("standard", nothing)
    assert nothing["force_include"] == {}, "neither git nor the file of an sdist knows one"
    (tmp_path / "COMMIT").write_text("abc1234\n")
    for version, found in (("editable", {}), ("standard", {str(tmp_path / "COMMIT"): name})):
        build: dict[str, Any] = {"force_include": {}}
        hook.initialize(version, build)
        assert build["force_include"] == found
