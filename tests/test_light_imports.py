"""Neighbours of what is imported wait until they are used, and are complete then."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path

import pytest

from ppd_lightning import light_imports as room
from ppd_lightning.light_imports import light_imports


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package that counts how often it runs, imports a neighbour and is put off; its function `late` is imported."""
    folder = tmp_path / "put_off"
    folder.mkdir()
    (folder / "__init__.py").write_text(
        "import sys\nsys.runs = getattr(sys, 'runs', 0) + 1\nfrom put_off import neighbour\n"
        "__all__ = ['VALUE']\nVALUE = 7\ndef late(n): return n + VALUE\n"
    )
    (folder / "neighbour.py").write_text("")
    (folder / "wanted.py").write_text("VALUE = 1")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(room, "DEFERRED", {"put_off": ("late",)})
    monkeypatch.setattr(sys, "runs", 0, raising=False)
    for name in ("put_off", "put_off.neighbour", "put_off.wanted"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return folder


def runs() -> int:
    found: int = sys.runs  # type: ignore[attr-defined]
    return found


def test_a_package_runs_when_something_of_it_is_used_and_once(package: Path) -> None:
    with light_imports():
        import put_off.wanted
        from put_off import late
    assert (put_off.wanted.VALUE, runs(), "put_off.neighbour" in sys.modules) == (1, 0, False)
    assert not hasattr(put_off, "__path_of_nothing__")
    assert late(1) == 8
    assert (put_off.VALUE, put_off.wanted.VALUE, runs()) == (7, 1, 1)
    with pytest.raises(AttributeError, match="absent"):
        _ = put_off.absent


def test_everything_can_be_imported_of_it_afterwards(package: Path) -> None:
    with light_imports():
        import put_off  # noqa: F401
    names: dict[str, object] = {}
    exec("from put_off import *; from put_off import neighbour", names)
    assert (names["VALUE"], runs()) == (7, 1)
    assert "neighbour" in names


def test_what_fails_as_it_runs_says_so_each_time(package: Path) -> None:
    (package / "__init__.py").write_text("import no_such_module")
    with light_imports():
        import put_off
    for _ in range(2):
        with pytest.raises(ModuleNotFoundError, match="no_such_module"):
            _ = put_off.VALUE


@pytest.mark.parametrize("collecting", [True, False])
def test_nothing_else_is_left_behind(package: Path, *, collecting: bool) -> None:
    finders = list(sys.meta_path)
    before = gc.isenabled()
    (gc.enable if collecting else gc.disable)()
    try:
        with pytest.raises(ValueError, match="within"), light_imports():
            raise ValueError("within")
        assert (sys.meta_path, gc.isenabled()) == (finders, collecting)
    finally:
        (gc.enable if before else gc.disable)()
    import put_off

    assert (put_off.VALUE, runs()) == (7, 1)


def test_a_network_comes_without_its_neighbours() -> None:
    """And transformers' text encoder without the optimisers of its detection losses."""
    neighbours = ("diffusers.models.unets.unet_2d", "scipy.optimize._optimize", "torchvision.ops.roi_align", "timm")
    code = (
        "import sys\nfrom ppd_lightning.light_imports import light_imports\n"
        "with light_imports():\n"
        "    from diffusers import DDPMWuerstchenScheduler, StableCascadeUNet\n"
        "    from transformers import CLIPTextModelWithProjection\n"
        f"print([name for name in {neighbours} if name in sys.modules])\n"
        "from diffusers import UNet2DModel\n"
        f"print('{neighbours[0]}' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\nTrue\n"
