"""README.md of an export: the model card. Every number in it is a setting, a count of the data, or was measured."""

from __future__ import annotations

import importlib.resources
import json
import shlex
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from string import Template
from typing import Any

from omegaconf import OmegaConf

from ppd_lightning.backbones.adapter import adapter_base
from ppd_lightning.backbones.files import CODEC_HUB, PRIOR_HUB
from ppd_lightning.config.folders import run_folder
from ppd_lightning.config.schemas import Config
from ppd_lightning.data.prepared import captions_of
from ppd_lightning.data.splits import choose_count
from ppd_lightning.model_card.sections import data_section, read_told, results_section, training_section
from ppd_lightning.storage.fingerprints import file_sha256
from ppd_lightning.users.kinds import is_described, needs_captions
from ppd_lightning.worlds.emoji.vendors import credits_text

TEMPLATE = importlib.resources.files("ppd_lightning.model_card") / "export_files/card.md.txt"
TITLES = {
    "emoji": "the emoji model of ppd-lightning",
    "stage_c_lite": "Stable Cascade 1B",
    "stage_c": "Stable Cascade 3.6B",
}
METHODS = {"ppd": "PPD", "diffusion_dpo": "Diffusion-DPO", "sft": "supervised fine-tuning"}
EXAMPLE = "a red fox in the snow"
NAMED = 12
"""So many users are named, the others counted."""


def model_card(config: Config, shared: Mapping[str, Any], adapter: Path, users: Mapping[str, int]) -> str:
    """The card in Markdown, with the hub's front matter.

    Args:
        config: of the run and of the drawing.
        shared: what of it is told.
        adapter: the run's file that is given away.
        users: the users that go with it, by name, with the width of their vectors.

    Raises:
        UserError: what `ppd prepare` or `ppd train` left is missing or damaged.
    """
    run = read_told(run_folder(config) / "summary.json", "ppd train")
    method, generation = METHODS[config.objective.name], config.generation
    names = [f"`{name}`" for name in users]
    values = {
        "front_matter": OmegaConf.to_yaml(OmegaConf.create(_front_matter(shared))),
        "title": f"{method} adapter for {TITLES[config.model.name]}",
        "what": _what(config, method),
        "version": version("ppd-lightning"),
        "parameters": f"{run['trainable_parameters']:,}",
        "weights": "those of the last step" if generation.weights == "trained" else "their moving average",
        "width": next(iter(users.values())),
        "users": ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else ""),
        "code": "`user_branch.py`" + (", `emoji_codec.py`" if config.model.name == "emoji" else ""),
        "base": _base(shared["model"]),
        "command": _command(config, shared["model"], min(users)),
        "user": json.dumps(min(users)),
        "text_guidance": generation.text_guidance,
        "fingerprint": adapter_base(adapter),
        "guidance": _guidance(config),
        "data": data_section(config),
        "training": training_section(config, run),
        "results": results_section(run_folder(config), file_sha256(adapter)),
        "limits": "\n".join(f"- {limit}" for limit in _limits(config)),
        "licence": "\n\n".join(_licence(config)),
        "configuration": OmegaConf.to_yaml(OmegaConf.create(dict(shared))),
    }
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(values)


def _front_matter(shared: Mapping[str, Any]) -> dict[str, Any]:
    model = shared["model"]
    if model["name"] == "emoji":
        licence = {"license": "cc-by-sa-4.0"}
    else:
        licence = {
            "license": "other",
            "license_name": "stable-cascade-nc-community",
            "license_link": f"https://huggingface.co/{CODEC_HUB}/blob/main/LICENSE",
            "base_model": _hub_name(model) or PRIOR_HUB,
            "base_model_relation": "adapter",
        }
    tags = [
        "stable-cascade",
        "personalization",
        "preference-optimization",
        shared["objective"]["name"],
        "ppd-lightning",
    ]
    return {**licence, "library_name": "diffusers", "pipeline_tag": "text-to-image", "tags": tags}


def _hub_name(model: Mapping[str, Any]) -> str | None:
    """`model.path`, where it is a name on the hub; of a local folder only the last name is there."""
    return model["path"] if model["path"] is not None and "/" in model["path"] else None


def _what(config: Config, method: str) -> str:
    told = {
        "ppd": "user cross-attention that draws one caption differently for different people, by their vectors",
        "diffusion_dpo": "cross-attention to one constant vector, which draws what people in general prefer",
        "sft": "user cross-attention trained on what each person preferred",
    }
    return f"Weights beside a frozen base, trained by {method}: {told[config.objective.name]}."


def _base(model: Mapping[str, Any]) -> str:
    if model["name"] == "emoji":
        origin = (
            "ships with ppd-lightning as `worlds/emoji/assets`" if model["path"] is None else f"was `{model['path']}`"
        )
        return f"The base {origin}; FOLDER is where it lies."
    name = _hub_name(model) or PRIOR_HUB
    folder = "prior_lite" if model["name"] == "stage_c_lite" else "prior"
    return (
        f"The base is `{folder}/` of [{name}](https://huggingface.co/{name}); Stage B and Stage A are those of "
        f"[{CODEC_HUB}](https://huggingface.co/{CODEC_HUB}). Local folders do as well as these names."
    )


def _command(config: Config, model: Mapping[str, Any], user: str) -> str:
    if model["name"] == "emoji":
        caption = min(choose_count("grid", captions_of(config, held_out=True), 1))
        words = ["FOLDER", caption]
    else:
        words = [_hub_name(model) or PRIOR_HUB, EXAMPLE, "--decoder", CODEC_HUB]
    return shlex.join(["python", "draw.py", *words, "--user", user])


def _guidance(config: Config) -> str:
    settings = config.generation
    text, user, (low, high) = settings.text_guidance, settings.user_guidance, settings.user_guidance_interval
    sentences = [
        "The stock pipeline has one guidance scale, for caption and user together: e_null + w (e_user - e_null). The "
        "framework has a scale for each of them, e_null + w (e_text - e_null) + v (e_user - e_text)"
    ]
    if config.model.null_user == "learned":
        sentences[0] += "."
        sentences.append(
            "Here a zero vector is not the base but what people in general prefer: the script guides away from that, "
            "the framework from the base, and their pictures differ."
        )
    elif text == user:
        sentences[0] += f": with w = v = {text}, as here, both draw the same."
    else:
        sentences[0] += (
            f": here w = {text} and v = {user}, so the script at {text} draws the users in another strength."
        )
    if (low, high) != (0, 1):
        sentences.append(f"The user is shown at times from {low} to {high} only; at the others the base draws.")
    return " ".join(sentences)


def _limits(config: Config) -> Iterator[str]:
    if config.data.name == "emoji":
        yield "The people are simulated: nothing here says how real people would choose."
    else:
        yield "A vector tells what a person likes. Give it away only with the consent of those whose choices made it."
    if config.model.name == "emoji":
        yield "The base is a mini model of 64 pixels that draws emoji and nothing else."
    else:
        yield "The base is frozen: what it cannot draw, and its biases, stay as they are."
    if config.user.kind in ("one_hot", "id"):
        yield "Only the users above, and blends of them, have a meaning; nobody can be added without training."
    if is_described(config):
        yield "A new person's vector must be made by the same framework from the same encoder."
    if needs_captions(config):
        yield "A vector is for one user and one caption: the choices that made it were those nearest to the caption."
    yield "The branch follows what was chosen in its data, also where one would not want it to."
    yield "Use bf16 or fp32: Stage C overflows in fp16."


def _licence(config: Config) -> Iterator[str]:
    if config.model.name == "emoji":
        yield "The base and this adapter were learnt from the following and are under its terms, share-alike included."
    else:
        yield (
            "Stable Cascade's released weights are for non-commercial research only, under Stability AI's "
            f"[Stable Cascade Non-Commercial Community licence](https://huggingface.co/{CODEC_HUB}/blob/main/LICENSE). "
            "This adapter is of use with them alone, so it is for non-commercial research only as well."
        )
    if config.data.name == "emoji":
        yield "\n".join(f"- {line}" for line in credits_text().splitlines())
    else:
        yield "The terms of the data that it was trained on apply beside this."
