"""The code of an export draws what the framework does, where the framework is not."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from tests import tiny
from tests.model_card.without_the_package import without_the_package

from ppd_lightning.backbones.adapter import base_fingerprint, save_adapter
from ppd_lightning.backbones.backbone import Backbone
from ppd_lightning.backbones.card_facts import DrawingCode
from ppd_lightning.generation.grid import as_picture
from ppd_lightning.generation.pipeline import Guidance, UserPipeline
from ppd_lightning.generation.settings import Generation
from ppd_lightning.model_card.drawing_files import drawing_files

GENERATION = Generation(
    steps=4,
    text_guidance=3.0,
    user_guidance=5.0,
    user_guidance_interval=[0.5, 1.0],
    batch_size=4,
    decode_at_once=None,
    seeds=[0],
    text_encoder_on="device",
    decoder="full",
    weights="trained",
    captions=None,
    users=None,
    people=[],
    columns=2,
)
CAPTION, SEED, SIZE = "a red fox", 5, 96
WHY_NOT = "user=id: nobody new can be described"


def backbone(layout: str, folder: Path, **changes: object) -> Backbone:
    make: Callable[[Path], Path] = tiny.model_folder if layout == "emoji" else tiny.stage_c_folder
    make(folder)
    return tiny.backbone(folder, **changes) if layout == "emoji" else tiny.stage_c(folder)


def export(model: Backbone, folder: Path) -> UserPipeline:
    """Write what `ppd export` writes but for the card, and return what draws the same here."""
    network = model.load_network()
    branch = tiny.branch(network, null=model.null_user)
    users = {name: user.clone() for name, user in zip(("ann", "ben", "nobody"), tiny.users(3), strict=True)}
    users["nobody"].zero_()
    for name, text in drawing_files(model.drawing_code(), GENERATION, SIZE, "id", WHY_NOT).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    save_adapter(branch, folder / "adapter.safetensors", base=base_fingerprint(network))
    save_file(users, folder / "users.safetensors")
    return UserPipeline.of(model, network, branch, image_size=SIZE)


def drawn(folder: Path, out: Path, base: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """What draw.py does in a process that has diffusers and not this package."""
    words = [folder / "draw.py", base, CAPTION, "--seed", str(SEED), "--out", out, *options]
    return without_the_package(words, out.parent)


def differences(path: Path, image: torch.Tensor) -> np.ndarray:
    """Of a PNG to an image (3, H, W) in [0, 1], in 8-bit levels."""
    with Image.open(path) as picture:
        return np.abs(np.asarray(picture).astype(int) - np.asarray(as_picture(image)).astype(int))


@pytest.mark.parametrize(
    ("layout", "changes", "user"),
    [
        ("emoji", {}, "ben"),
        pytest.param("emoji", {"null_user": "learned"}, "nobody", marks=pytest.mark.long),
        ("stage_c", {}, "ben"),
    ],
)
def test_the_script_draws_what_the_framework_does_without_it(
    layout: str, changes: dict[str, object], user: str, tmp_path: Path
) -> None:
    model = backbone(layout, tmp_path / "base", **changes)
    pipeline = export(model, tmp_path / "export")
    done = drawn(tmp_path / "export", tmp_path / "drawn.png", tmp_path / "base", "--user", user)
    assert done.returncode == 0, done.stderr
    vector = {"ben": tiny.users(3)[1:2], "nobody": torch.zeros(1, tiny.EMBEDDING)}[user]
    guidance = Guidance(3.0, 5.0, (0.5, 1.0))
    ours, base = (pipeline([CAPTION], users, [SEED], steps=4, guidance=guidance)[0] for users in (vector, None))
    assert differences(tmp_path / "drawn.png", ours).max() <= 1
    assert differences(tmp_path / "drawn.png", base).mean() > 2


def test_the_scripts_options_say_otherwise(tmp_path: Path) -> None:
    pipeline = export(backbone("emoji", tmp_path / "base"), tmp_path / "export")
    options = ("--steps", "3", "--text-guidance", "2", "--user-guidance", "1.5", "--user", "ann")
    done = drawn(tmp_path / "export", tmp_path / "drawn.png", tmp_path / "base", *options)
    assert done.returncode == 0, done.stderr
    ours = pipeline([CAPTION], tiny.users(3)[:1], [SEED], steps=3, guidance=Guidance(2.0, 1.5, (0.5, 1.0)))[0]
    assert differences(tmp_path / "drawn.png", ours).max() <= 1


def test_another_base_of_the_same_shapes_is_refused_by_the_script(tmp_path: Path) -> None:
    export(backbone("emoji", tmp_path / "base"), tmp_path / "export")
    other = tiny.model_folder(tmp_path / "other")
    tiny.unet(seed=1).save_pretrained(other / "prior")
    done = drawn(tmp_path / "export", tmp_path / "drawn.png", other)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(f"{other}: not the base of this adapter")
    assert not (tmp_path / "drawn.png").exists()


def test_people_whom_nothing_describes_are_refused_with_the_reason(tmp_path: Path) -> None:
    export(backbone("emoji", tmp_path / "base"), tmp_path / "export")
    done = drawn(tmp_path / "export", tmp_path / "drawn.png", tmp_path / "base", "--choices", "choices.csv")
    assert (done.returncode, done.stderr) == (2, f"{WHY_NOT}\n")


@pytest.mark.parametrize("layout", ["emoji", "stage_c"])
def test_its_code_is_this_packages_and_needs_no_other_package_than_it_says(layout: str) -> None:
    model = tiny.backbone() if layout == "emoji" else tiny.stage_c("nowhere")
    files = drawing_files(model.drawing_code(), GENERATION, SIZE, "id", WHY_NOT)
    assert imported(files["draw.py"]) == {"torch", "drawing", "PIL"}
    for name, text in files.items():
        if name != "draw.py":
            assert imported(text) <= DRAWING_NEEDS | DESCRIBING_NEEDS.get(name, set()), name
    assert imported(files["drawing/user_branch.py"]) == {"torch"}
    attention = Path(sys.modules["ppd_lightning.backbones.cascade.user_attention"].__file__ or "").read_text()
    own = attention.replace("from ppd_lightning.backbones.user_branch import", "from .user_branch import")
    assert files["drawing/user_attention.py"] == own
    assert ("drawing/stage_b.py" in files) == (layout == "stage_c")


DRAWING_NEEDS = {"torch", "diffusers", "transformers", "safetensors", "numpy", "PIL"}
DESCRIBING_NEEDS = {
    "drawing/table_parquet.py": {"pyarrow"},
    "drawing/saved_datasets.py": {"pyarrow"},
    "drawing/hosts.py": {"fsspec", "aiohttp", "huggingface_hub"},
    "drawing/remote.py": {"fsspec"},
    "drawing/picture_formats.py": {"pillow_heif"},
}
"""fsspec comes with torch; pyarrow is imported for tables in parquet and Arrow, pillow_heif for HEIC, alone; aiohttp
for tables on web servers and huggingface_hub for those on the hub, where they are there."""


def imported(text: str) -> set[str]:
    """The packages beyond Python's own and its own that a file imports."""
    names = set()
    for node in ast.walk(ast.parse(text)):
        names |= {alias.name for alias in node.names} if isinstance(node, ast.Import) else set()
        names |= {node.module or ""} if isinstance(node, ast.ImportFrom) and not node.level else set()
    return {name.partition(".")[0] for name in names} - sys.stdlib_module_names


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        (("ppd_lightning.backbones.adapter",), "'from ppd_lightning.*' does not go along"),
        (
            (
                "ppd_lightning.generation.pipeline",
                "ppd_lightning.backbones.cascade.codec",
                "ppd_lightning.worlds.emoji.codec",
            ),
            "one name",
        ),
    ],
)
def test_modules_that_cannot_go_along_are_refused(modules: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        drawing_files(DrawingCode(modules, f"{modules[0]}.Kind", "", ""), GENERATION, SIZE, "id", WHY_NOT)
