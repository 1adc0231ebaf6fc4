"""What is wrong with files that are there and whole, and yet not the model that the settings say: a sentence each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ppd_lightning.backbones.distilled import distilled_by_name
from ppd_lightning.backbones.files import read_json
from ppd_lightning.backbones.sd3.released import RELEASES

FAMILY = "StableDiffusion3"
"""How the names of diffusers' pipelines begin whose folders do."""
LORA = ("pytorch_lora_weights.safetensors", "adapter_config.json")
"""Files that a folder of a LoRA has."""


def file_faults(name: str, path: Path) -> Iterator[str]:
    """A fault of a file in the place of a folder.

    Raises:
        UserError: it is damaged.
    """
    if path.suffix == ".safetensors":
        from safetensors import safe_open

        from ppd_lightning.backbones.weights import require_safetensors

        require_safetensors(path)
        with safe_open(path, framework="pt") as opened:
            if any("lora" in tensor.lower() for tensor in opened.keys()):  # noqa: SIM118, this is no mapping
                yield _lora(path)
                return
    yield (
        f"model.path: {path} is a file; {RELEASES[name].title} is opened from a folder in diffusers' layout, or by its "
        "name on the model hub"
    )


def folder_faults(name: str, path: str, folder: Path, *, shift: float) -> Iterator[str]:
    """Faults of a folder in diffusers' layout, as far as its files are there; `path` is what named it.

    Raises:
        UserError: a file is damaged.
    """
    release = RELEASES[name]
    if not (folder / "transformer").is_dir() and any((folder / file).is_file() for file in LORA):
        yield _lora(folder)
        return
    whole = _json(folder / "model_index.json").get("_class_name")
    if whole is not None and not whole.startswith(FAMILY):
        yield f"model.path: {folder} holds a {whole}, not a {release.title}; give the folder of one"
        return
    yield from distilled_by_name(Path(path))
    network = _json(folder / "transformer/config.json")
    shape = network.get("num_layers"), len(network.get("dual_attention_layers") or ()), network.get("qk_norm")
    for other, one in RELEASES.items():
        if other != name and shape == (one.blocks, one.dual, one.qk_norm):
            yield f"model.name: {folder} is {one.title}, not {release.title}; use model={other}"
    scheduler = _json(folder / "scheduler/scheduler_config.json")
    if not scheduler:
        return
    found = scheduler.get("shift", 1.0)
    if scheduler.get("_class_name") != "FlowMatchEulerDiscreteScheduler" or scheduler.get("use_dynamic_shifting"):
        yield (
            f"{folder / 'scheduler'}: expected a FlowMatchEulerDiscreteScheduler with one shift; "
            "is this the folder of another model?"
        )
    elif found != shift:
        yield f"model.shift: {shift:g}, and {folder / 'scheduler'} has {found:g}; use the same"


def _lora(path: Path) -> str:
    return (
        f"model.path: {path} is a LoRA, weights that are added to a model, and no model; merge it into its model, and "
        "give that"
    )


def _json(file: Path) -> dict[str, Any]:
    return read_json(file) if file.is_file() else {}
