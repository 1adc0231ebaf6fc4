"""A model in Stable Cascade's released layout: finding its parts, and loading each of them frozen.

B = batch, L = text tokens, C = text width, C' = pooled text width.
"""

from __future__ import annotations

import importlib.resources
import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import DDPMWuerstchenScheduler, StableCascadeUNet
from diffusers.pipelines.deprecated.wuerstchen.modeling_paella_vq_model import PaellaVQModel
from torch import Tensor
from transformers import CLIPTextModelWithProjection, CLIPTokenizer
from transformers.utils.logging import disable_progress_bar

from ppd_lightning.backbones.cascade.checkpoint import from_original, stage_c_config
from ppd_lightning.backbones.cascade.codec import StageCCodec
from ppd_lightning.backbones.cascade.previewer import Previewer
from ppd_lightning.backbones.cascade.stage_b import StageBDecoder
from ppd_lightning.backbones.codec import Codec
from ppd_lightning.backbones.files import PARTS, Part, find, local_folder, missing
from ppd_lightning.backbones.weights import load_weights, misfits, require_safetensors
from ppd_lightning.config.schemas import Model
from ppd_lightning.errors import UserError
from ppd_lightning.storage.fingerprints import file_sha256, fingerprint
from ppd_lightning.worlds.emoji.codec import EmojiCodec


class TextStates:
    """Captions to what the prior reads of them, as the released pipeline computes it.

    Source: diffusers' `StableCascadePriorPipeline.encode_prompt`: the last hidden state before the final LayerNorm, and
    the projected pooled state.
    """

    def __init__(self, tokenizer: CLIPTokenizer, encoder: CLIPTextModelWithProjection) -> None:
        self.tokenizer = tokenizer
        self.encoder = encoder.eval().requires_grad_(False)

    @torch.no_grad()
    def __call__(self, captions: list[str]) -> tuple[Tensor, Tensor]:
        """Captions (B) to text (B, L, C) and pooled text (B, 1, C'); what is too long of a caption is cut off."""
        tokens = self.tokenizer(
            captions,
            padding="max_length",
            max_length=self.tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        ).to(self.encoder.device)
        states = self.encoder(tokens.input_ids, attention_mask=tokens.attention_mask, output_hidden_states=True)
        return states.hidden_states[-1], states.text_embeds.unsqueeze(1)


class ReleasedModel:
    """The parts of one model (`parts.PARTS`); each is found when it is needed, and loaded frozen, in evaluation mode.

    Args:
        name: of the model: emoji, stage_c_lite or stage_c.
        path: folder or name on the hub; None is the folder that ships with the package.
        codec_path: the same for the parts of the codec; None is `path`.
    """

    def __init__(self, name: str, path: str | None, codec_path: str | None = None) -> None:
        self.name = name
        self.places = {"model.path": path, "model.codec_path": codec_path}
        self.parts = PARTS[name]

    def folders(self, *needs: str) -> tuple[dict[str, Path], list[str]]:
        """The folder of each part, fetched where it is on the hub; and a sentence for each key that leads nowhere."""
        folders: dict[str, Path] = {}
        faults: list[str] = []
        for key, place in self.places.items():
            parts = {name: self.parts[name] for name in needs or self.parts if self.key(name) == key}
            try:
                if parts:
                    folders |= dict.fromkeys(parts, self._folder(key, place, parts))
            except UserError as error:
                faults += error.faults
        return folders, faults

    def faults(self, *needs: str) -> list[str]:
        """A sentence for each incomplete part and each damaged file of these parts, of all where none is named."""
        folders, faults = self.folders(*needs)
        for need, folder in folders.items():
            faults += missing(self.key(need), self.parts[need], folder)
            faults += [fault for file in find(self.parts[need], folder) for fault in _damage(file)]
        return list(dict.fromkeys(faults))

    def require(self, *needs: str) -> None:
        """Refuse at once what would fail later.

        Raises:
            UserError: files of these parts are missing or damaged; all of them are named.
        """
        faults = self.faults(*needs)
        if faults:
            raise UserError(faults)

    def files(self, part: str) -> list[Path]:
        """The files of a part.

        Raises:
            UserError: some are missing or damaged.
        """
        self.require(part)
        return find(self.parts[part], self.folders(part)[0][part])

    def fingerprint(self, part: str) -> str:
        """12 hex digits that stand for the content of a part's files."""
        return fingerprint([file_sha256(file) for file in self.files(part)])

    def load_prior(self, dtype: torch.dtype = torch.float32) -> StableCascadeUNet:
        """The frozen Stage C network."""
        *config, weights = self.files("prior")
        if config:
            return _network(StableCascadeUNet, config[0], weights, dtype)
        make = partial(StableCascadeUNet, **stage_c_config(self.name))
        prior: StableCascadeUNet = load_weights(make, weights, convert=from_original, dtype=dtype)
        return prior

    def load_codec(self, device: torch.device | str = "cpu", *needs: str) -> Codec:
        """What made the prior's latents and turns them into images.

        Args:
            device: where it is put.
            needs: the parts of it that are loaded: encoder, previewer, decoder.
        """
        self.require(*needs)
        if self.name == "emoji":
            config, weights = self.files("encoder")
            codec: Codec = _network(EmojiCodec, config, weights).to(device)
            return codec
        encoder = previewer = decoder = None
        if "encoder" in needs:
            # Here, because it imports torchvision, which fails beside some builds of torch; nothing else needs it.
            from ppd_lightning.backbones.cascade.efficientnet_encoder import EfficientNetEncoder

            encoder = load_weights(EfficientNetEncoder, *self.files("encoder")).to(device)
        if "previewer" in needs:
            previewer = load_weights(Previewer, *self.files("previewer")).to(device)
        if "decoder" in needs:
            unet_config, unet, vqgan_config, vqgan = self.files("decoder")
            dtype = torch.bfloat16 if torch.device(device).type == "cuda" else torch.float32
            decoder = StageBDecoder(
                _network(StableCascadeUNet, unet_config, unet, dtype).to(device),
                _network(PaellaVQModel, vqgan_config, vqgan).to(device),
                self.load_scheduler(),
            )
        return StageCCodec(encoder, previewer, decoder)

    def load_text(self, device: torch.device | str = "cpu") -> TextStates:
        """The frozen text encoder with its tokenizer.

        Raises:
            UserError: the weights are not those of the network that its configuration describes.
        """
        disable_progress_bar()
        config, weights = self.files("text_encoder")
        tokenizer = self.load_tokenizer()
        try:
            encoder, found = CLIPTextModelWithProjection.from_pretrained(
                config.parent,
                dtype=torch.float32,
                variant="bf16" if ".bf16." in weights.name else None,
                local_files_only=True,
                use_safetensors=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
            )
        except Exception as error:  # whatever a configuration of something else leads to
            raise UserError(f"{config}: no configuration of a CLIPTextModelWithProjection ({_line(error)})") from None
        wrong = misfits(found)
        if wrong:
            raise UserError(f"{weights}: these are not the weights of the text encoder ({wrong})")
        if tokenizer.model_max_length != encoder.config.max_position_embeddings:
            raise UserError(
                f"{tokenizer.name_or_path}: captions of {tokenizer.model_max_length} tokens, the text encoder reads "
                f"{encoder.config.max_position_embeddings}; these two belong to different models"
            )
        return TextStates(tokenizer, encoder.to(device))

    def load_tokenizer(self) -> CLIPTokenizer:
        """What cuts captions into tokens; `model_max_length` of them are read.

        Raises:
            UserError: its files are missing or damaged.
        """
        words = self.files("tokenizer")[0].parent
        try:
            return CLIPTokenizer.from_pretrained(words, local_files_only=True)
        except Exception as error:  # as above
            raise UserError(f"{words}: no files of a CLIPTokenizer ({_line(error)})") from None

    def load_scheduler(self) -> DDPMWuerstchenScheduler:
        """The sampler's schedule."""
        return _configured(DDPMWuerstchenScheduler, *self.files("scheduler"))()

    def key(self, part: str) -> str:
        """The key of the configuration that says where a part lies."""
        return "model.codec_path" if self.parts[part].of_codec and self.places["model.codec_path"] else "model.path"

    def _folder(self, key: str, place: str | None, parts: Mapping[str, Part]) -> Path:
        if place is None:
            return Path(str(importlib.resources.files("ppd_lightning") / "worlds" / self.name / "assets"))
        return local_folder(key, place, list(parts.values()))


def open_model(config: Model) -> ReleasedModel:
    """The model that a configuration names; nothing of it is read yet."""
    return ReleasedModel(config.name, config.path, config.codec_path)


def read_json(file: Path) -> dict[str, Any]:
    """The configuration of a part.

    Raises:
        UserError: the file is damaged.
    """
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise ValueError("not a mapping")
    except (ValueError, OSError) as error:
        raise UserError(f"{file}: damaged, or not what its name says ({error}); fetch or make it again") from None
    return values


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def _damage(file: Path) -> list[str]:
    try:
        if file.suffix == ".json":
            read_json(file)
        elif file.suffix == ".safetensors":
            require_safetensors(file)
    except UserError as error:
        return error.faults
    return []


def _network(kind: Any, config: Path, weights: Path, dtype: torch.dtype = torch.float32) -> Any:
    """A network of one of diffusers' classes, from its configuration and its weights."""
    return load_weights(_configured(kind, config), weights, dtype=dtype)


def _configured(kind: Any, config: Path) -> Callable[[], Any]:
    """What makes an object of one of diffusers' classes from its configuration, tried out without memory for weights.

    Raises:
        UserError: the configuration is damaged, or of another class.
    """
    values = read_json(config)
    make = partial(kind.from_config, values)
    try:
        if values.get("_class_name", kind.__name__) != kind.__name__:
            raise ValueError(f"it is one of a {values['_class_name']}")
        with torch.device("meta"):
            make()
    except Exception as error:  # whatever a configuration of something else leads to
        raise UserError(f"{config}: no configuration of a {kind.__name__} ({_line(error)})") from None
    return make
