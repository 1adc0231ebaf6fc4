"""What is wrong with files that are there and whole, and yet not the model that the settings say: a sentence each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ppd_lightning.backbones.distilled import DISTILLED, distilled_by_name
from ppd_lightning.backbones.files import PICKLES, read_json
from ppd_lightning.backbones.unet.checkpoint import Contents
from ppd_lightning.backbones.unet.released import RELEASES
from ppd_lightning.diffusion.betas import Prediction

TABLE = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "num_train_timesteps": 1000}


def single_file_faults(name: str, path: str, *, prediction: Prediction, zero_terminal_snr: bool) -> Iterator[str]:
    """Faults of a checkpoint in one file.

    Raises:
        UserError: it is damaged.
    """
    from ppd_lightning.backbones.weights import require_safetensors

    file = Path(path).expanduser()
    if not file.is_file():
        yield f"model.path: there is no file {path}; give a checkpoint, a folder in diffusers' layout or a hub name"
        return
    if file.suffix in PICKLES:
        yield f"model.path: {path} is not read, for opening a pickle can run code: weights must be .safetensors"
        return
    require_safetensors(file)
    found = Contents(file)
    if found.is_lora:
        yield (
            f"model.path: {path} is a LoRA, weights that are added to a model, and no model; merge it into its "
            "checkpoint, and give that"
        )
        return
    if not found.is_model:
        yield (
            f"model.path: {path} has no {RELEASES[name].title} in the original layout (names model.diffusion_model...)"
            "; a part of a folder in diffusers' layout is given by its whole folder"
        )
        return
    yield from distilled_by_name(file)
    other = "sdxl" if found.is_xl else "sd15"
    if other != name:
        yield f"model.name: {path} is a checkpoint of {RELEASES[other].title}; use model={other}"
    if found.channels not in (None, 4):
        yield f"model.path: {path} reads {found.channels} channels; this is a model for inpainting or editing"
    if found.predicts_velocity and prediction != "v_prediction":
        yield f"model.prediction: {prediction}, and {path} says that it predicts v; use model.prediction=v_prediction"
    if found.has_zero_terminal_snr and not zero_terminal_snr:
        yield (
            f"model.zero_terminal_snr: false, and {path} says that its last step was noise alone; "
            "use model.zero_terminal_snr=true"
        )


def folder_faults(
    name: str, path: str, folder: Path, *, prediction: Prediction, zero_terminal_snr: bool
) -> Iterator[str]:
    """Faults of a folder in diffusers' layout, as far as its files are there; `path` is what named it.

    Raises:
        UserError: a file is damaged.
    """
    release = RELEASES[name]
    whole = _json(folder / "model_index.json").get("_class_name")
    if whole is not None and whole not in release.pipelines:
        same = [other for other, one in RELEASES.items() if whole in one.pipelines]
        use = f"use model={same[0]}" if same else f"give the folder of a {release.title}"
        yield f"model.path: {folder} holds a {whole}, not a {release.title}; {use}"
        return
    network = _json(folder / "unet/config.json")
    scheduler = _json(folder / "scheduler/scheduler_config.json")
    if network and (network.get("addition_embed_type") == "text_time") != (name == "sdxl"):
        other = "sd15" if name == "sdxl" else "sdxl"
        yield f"model.name: {folder / 'unet'} is no network of {release.title}; is it model={other}?"
        return
    if network.get("in_channels", 4) != 4:
        yield f"model.path: {folder} reads {network['in_channels']} channels; this is a model for inpainting or editing"
    zero = bool(scheduler.get("rescale_betas_zero_snr"))
    kind = str(scheduler.get("_class_name"))
    trailing = scheduler.get("timestep_spacing") == "trailing" and not zero
    if network.get("time_cond_proj_dim") or kind in ("LCMScheduler", "TCDScheduler") or trailing:
        yield f"model.path: {folder} looks like {DISTILLED}"
        return
    yield from distilled_by_name(Path(path))
    if not scheduler:
        return
    other_table = [key for key, value in TABLE.items() if key in scheduler and scheduler[key] != value]
    if other_table:
        key = other_table[0]
        yield f"{folder / 'scheduler'}: {key} is {scheduler[key]}, and {release.title} has {TABLE[key]}"
    predicts = scheduler.get("prediction_type", "epsilon")
    if predicts != prediction:
        yield f"model.prediction: {prediction}, and {folder / 'scheduler'} says {predicts}; use the same"
    if zero != zero_terminal_snr:
        yield (
            f"model.zero_terminal_snr: {str(zero_terminal_snr).lower()}, and rescale_betas_zero_snr of "
            f"{folder / 'scheduler'} is {str(zero).lower()}; use the same"
        )


def _json(file: Path) -> dict[str, Any]:
    return read_json(file) if file.is_file() else {}
