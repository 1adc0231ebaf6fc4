"""`ppd export`: the result of a training as a folder that works in plain diffusers, with its model card."""

from __future__ import annotations

import dataclasses
import importlib.resources
import logging
from pathlib import Path
from string import Template
from typing import Any

from safetensors.torch import save_file

from ppd_lightning.backbones import user_branch
from ppd_lightning.backbones.adapter import copy_adapter
from ppd_lightning.backbones.cascade.codec import StageCCodec
from ppd_lightning.config.folders import run_folder
from ppd_lightning.config.schemas import Config
from ppd_lightning.data.prepared import people_of
from ppd_lightning.generation.selection import chosen_captions, chosen_users
from ppd_lightning.generation.trained_run import open_run
from ppd_lightning.model_card.card import model_card
from ppd_lightning.storage.atomic import atomic_path, write_text_atomic
from ppd_lightning.users.blends import Asked, name_of
from ppd_lightning.users.kinds import needs_captions
from ppd_lightning.worlds.emoji import codec as emoji_codec
from ppd_lightning.worlds.emoji.codec import EmojiCodec

log = logging.getLogger(__name__)

TEMPLATES = importlib.resources.files("ppd_lightning.model_card") / "export_files"
PRIORS = {"emoji": "prior", "stage_c_lite": "prior_lite", "stage_c": "prior"}
"""The folder of Stage C in each base."""
STRIDES = {"emoji": EmojiCodec.stride, "stage_c_lite": StageCCodec.stride, "stage_c": StageCCodec.stride}


def run(config: Config) -> dict[str, Any]:
    """Write the run's folder export/ anew, each file whole or not at all.

    - adapter.safetensors: the weights that `generation.weights` names, with the configuration in the metadata.
    - users.safetensors: an embedding for each of `generation.users`, by name; null takes everybody who has a dimension
      of their own, else those that `ppd generate` would choose. Where users have a vector for each caption, one for
      each of `generation.captions`, by "name / caption".
    - draw.py, decoder.py, user_branch.py (and emoji_codec.py): the code, which needs diffusers and not this package.
    - README.md: the model card.

    Raises:
        UserError: there is no finished training of this configuration, or somebody is not in the pairs.
    """
    asked = _asked(config)
    trained = open_run(config)
    folder = run_folder(config) / "export"
    shared = without_local_folders(config)
    captions = chosen_captions(config) if needs_captions(config) else [""]
    names = [f"{name_of(one)} / {caption}" if caption else name_of(one) for caption in captions for one in asked]
    embeddings = dict(zip(names, trained.sheet(asked, captions).flatten(0, 1), strict=True))
    copy_adapter(trained.adapter, folder / "adapter.safetensors", configuration=shared)
    with atomic_path(folder / "users.safetensors") as unfinished:
        save_file({name: embedding.clone() for name, embedding in embeddings.items()}, unfinished)
    widths = {name: len(embedding) for name, embedding in embeddings.items()}
    texts = _code(config) | {"README.md": model_card(config, shared, trained.adapter, widths)}
    for name, text in texts.items():
        write_text_atomic(folder / name, text)
    log.info("%s works in plain diffusers; its README.md says how", folder)
    return {"folder": str(folder), "users": len(asked)}


def without_local_folders(config: Config) -> dict[str, Any]:
    """The configuration as plain values; of files and folders of this machine only the last name is left."""
    values = dataclasses.asdict(config)
    model = values["model"]
    places = [(values, "output"), (model, "path"), (model, "codec_path")]
    places += [(values["data"], key) for key in ("root", "table")]
    places += [(values["user"], key) for key in ("path", "texts")]
    places += [(reward["weights"], role) for reward in values["rewards"].values() for role in reward["weights"]]
    for group, key in places:
        place = group.get(key)
        if place is not None and Path(place).expanduser().exists():
            group[key] = Path(place).name
    return values


def _asked(config: Config) -> list[Asked]:
    if config.generation.users is None and config.user.kind in ("one_hot", "id"):
        return list(people_of(config)["seen"])
    return chosen_users(config)


def _code(config: Config) -> dict[str, str]:
    """The files of code by name."""
    settings, emoji = config.generation, config.model.name == "emoji"
    low, high = settings.user_guidance_interval
    values = {
        "prior": PRIORS[config.model.name],
        "side": config.data.image_size // STRIDES[config.model.name],
        "steps": settings.steps,
        "guidance": settings.text_guidance,
        "low": low,
        "high": high,
        "decoder": "codec/" if emoji else "decoder/ and vqgan/",
    }
    files = {
        "draw.py": Template(_template("draw.py.txt")).substitute(values),
        "decoder.py": _template("decoder_emoji.py.txt" if emoji else "decoder_stage_c.py.txt"),
        "user_branch.py": Path(user_branch.__file__).read_text(encoding="utf-8"),
    }
    if emoji:
        files["emoji_codec.py"] = Path(emoji_codec.__file__).read_text(encoding="utf-8")
    return files


def _template(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")
