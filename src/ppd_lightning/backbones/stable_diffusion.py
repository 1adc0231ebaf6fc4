"""Stable Diffusion 1.5 and XL, with their fine-tunes: a folder of diffusers, a hub name, or a checkpoint file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ppd_lightning.backbones.backbone import Backbone
from ppd_lightning.backbones.card_facts import CardFacts, DrawingCode
from ppd_lightning.backbones.files import PICKLES, ModelPart, is_hub_name, read_json
from ppd_lightning.backbones.unet.released import RELEASES, Release
from ppd_lightning.errors import UserError
from ppd_lightning.markdown import code
from ppd_lightning.settings.part import settings
from ppd_lightning.settings.values import PathText, Switch

if TYPE_CHECKING:  # a configuration is checked without them
    import torch
    from torch import Tensor, nn
    from transformers import CLIPTokenizer

    from ppd_lightning.backbones.diffusers_codec import KLCodec
    from ppd_lightning.backbones.interfaces import Conditions, Decoder, TextEncoder
    from ppd_lightning.backbones.unet.text import ClipStates, DoubleClipStates
    from ppd_lightning.backbones.user_branch import TokenWidth, UserBranch
    from ppd_lightning.diffusion.betas import BetasPath, Prediction
    from ppd_lightning.diffusion.deterministic import DeterministicSampler

    Convert = Callable[[dict[str, Tensor]], dict[str, Tensor]]

CONFIG_PATH = "model.config_path"
DRAWING_MODULES = (
    *(f"ppd_lightning.backbones.{name}" for name in ("attention_sites", "diffusers_codec")),
    *(f"ppd_lightning.backbones.unet.{name}" for name in ("prediction", "pretrained", "text", "user_sites")),
    *(f"ppd_lightning.diffusion.{name}" for name in ("betas", "deterministic", "path")),
)


@cache
def _path(prediction: Prediction, zero_terminal_snr: bool) -> BetasPath:
    """Made once: every batch asks for it."""
    from ppd_lightning.diffusion.betas import BetasPath

    return BetasPath(prediction, zero_terminal_snr=zero_terminal_snr)


@settings
class StableDiffusion(Backbone):
    """Stable Diffusion 1.5 or XL, whose cross-attention to the text the user branch is beside."""

    name: Literal["sd15", "sdxl"]
    """Which: Stable Diffusion 1.5 or XL; fine-tunes of either count as it."""
    config_path: PathText
    """Where path is a checkpoint file: folder or hub name with configurations and tokenizers in diffusers' layout."""
    prediction: Literal["epsilon", "v_prediction"]
    """What the network predicts: the noise, or the velocity v (some fine-tunes)."""
    zero_terminal_snr: Switch
    """Whether the last step is noise alone (some fine-tunes that predict v)."""

    stride: ClassVar[int] = 8
    latent_channels: ClassVar[int] = 4
    text_arrays: ClassVar[tuple[str, ...]] = ("text", "text_pooled")
    decoder_parts: ClassVar[dict[Decoder, str]] = {"full": "decoder", "preview": "decoder"}

    @property
    def release(self) -> Release:
        """The released model."""
        return RELEASES[self.name]

    @property
    def title(self) -> str:
        """What people call the model."""
        return self.release.title

    @property
    def file(self) -> Path | None:
        """The checkpoint, where `path` is one file."""
        ends = (".safetensors", *PICKLES)
        return Path(self.path).expanduser() if self.path is not None and self.path.endswith(ends) else None

    @property
    def parts(self) -> Mapping[str, ModelPart]:
        """Its parts by name; of a checkpoint file all have that file, beside their configurations elsewhere."""
        released = self.release.parts
        if self.file is None:
            return released
        file = str(self.file.absolute())

        def in_file(part: ModelPart) -> ModelPart:
            configs = tuple(name for name in part.ways[0] if not name.endswith(".safetensors"))
            return replace(part, ways=((*configs, file),))

        own = ("prior", "text_encoder", *(() if self.codec_path else ("encoder", "decoder")))
        return {name: in_file(part) if name in own else part for name, part in released.items()}

    @property
    def hub_name(self) -> str | None:
        """See `Backbone`; a file is none."""
        return None if self.file is not None else super().hub_name

    @property
    def image_sizes(self) -> tuple[int, int] | None:
        """Half to twice the side that the released weights were trained on."""
        return (self.release.side // 2, self.release.side * 2) if self.hub_name is not None else None

    @property
    def caption_numbers(self) -> int:
        """Of the states of its encoders, and of the pooled one where it reads that."""
        return self.release.caption_numbers

    def contradictions(self) -> Iterator[str]:
        """See `Part`."""
        if self.zero_terminal_snr and self.prediction == "epsilon":
            yield (
                "model.zero_terminal_snr: a step that is noise alone shows no picture to a network that predicts the "
                "noise; use model.prediction=v_prediction, or false"
            )

    # What it computes.

    @property
    def diffusion_path(self) -> BetasPath:
        """The table of 1000 steps; the target is the noise, or v."""
        return _path(self.prediction, self.zero_terminal_snr)

    def prediction_settings(self) -> dict[str, Any]:
        """See `Backbone`."""
        return {"prediction": self.prediction, "zero_terminal_snr": self.zero_terminal_snr}

    def predict(self, network: nn.Module, noised: Tensor, t: Tensor, conditions: Conditions) -> Tensor:
        """The prediction (B, 4, H, W) float32 of noise or v; see `predict_with_unet`."""
        from ppd_lightning.backbones.unet.prediction import predict_with_unet

        time = self.diffusion_path.network_time(t)
        return predict_with_unet(network, noised, time, conditions["text"], conditions["text_pooled"])

    def null_text(self, text: TextEncoder) -> dict[str, Tensor]:
        """See `Backbone`; zeros for XL, as its released pipeline has it."""
        states = super().null_text(text)
        return {name: part * 0 for name, part in states.items()} if self.name == "sdxl" else states

    def _attach(
        self, network: nn.Module, embedding_dim: int, num_tokens: int, null: str, token_width: TokenWidth
    ) -> UserBranch:
        from ppd_lightning.backbones.unet.user_sites import attach_user_branch

        return attach_user_branch(network, embedding_dim, num_tokens=num_tokens, null=null, token_width=token_width)

    def sampler(self) -> DeterministicSampler:
        """A new sampler: EulerDiscrete, as the released pipeline of XL draws."""
        from ppd_lightning.diffusion.deterministic import DeterministicSampler

        return DeterministicSampler(self.diffusion_path)

    # What is loaded.

    def load_network(self, dtype: torch.dtype | None = None) -> nn.Module:
        """The frozen UNet, its weights in `dtype`; None is float32."""
        from diffusers import UNet2DConditionModel

        from ppd_lightning.backbones.diffusers_parts import load_network
        from ppd_lightning.backbones.unet.checkpoint import unet_weights

        config, weights = self.files("prior")
        convert = None if self.file is None else partial(unet_weights, config=read_json(config))
        network: nn.Module = load_network(UNet2DConditionModel, config, weights, dtype=dtype, convert=convert)
        return network

    def load_codec(self, device: torch.device | str = "cpu", *needs: str) -> KLCodec:
        """The autoencoder, whole, in float32."""
        from diffusers import AutoencoderKL

        from ppd_lightning.backbones.diffusers_codec import KLCodec
        from ppd_lightning.backbones.diffusers_parts import load_network
        from ppd_lightning.backbones.unet.checkpoint import codec_weights, current_names

        config, weights = self.files("encoder")
        convert: Convert = (
            current_names if weights != self._weights else partial(codec_weights, config=read_json(config))
        )
        return KLCodec(load_network(AutoencoderKL, config, weights, convert=convert).to(device))

    def load_text(self, device: torch.device | str = "cpu") -> ClipStates | DoubleClipStates:
        """The frozen text encoders with their tokenizers, in float32.

        Raises:
            UserError: files are missing or damaged, or the weights are not those of the networks that their
                configurations describe.
        """
        from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

        from ppd_lightning.backbones.clip_text import load_tokenizer, require_same_length
        from ppd_lightning.backbones.unet.text import ClipStates, DoubleClipStates

        self.require("text_encoder", "tokenizer")
        files = self.files("text_encoder")
        configs = [file for file in files if file.suffix == ".json"]
        weights = [file for file in files if file.suffix != ".json"] * (len(configs) if self.file else 1)
        folders = dict.fromkeys(file.parent for file in self.files("tokenizer"))
        readers = []
        for kind, config, file, folder in zip(
            (CLIPTextModel, CLIPTextModelWithProjection), configs, weights, folders, strict=False
        ):
            tokenizer, encoder = load_tokenizer(CLIPTokenizer, folder), self._text_model(kind, config, file)
            require_same_length(tokenizer, encoder)
            readers.append((tokenizer, encoder.to(device)))
        return ClipStates(readers[0]) if len(readers) == 1 else DoubleClipStates(readers)

    def load_tokenizer(self) -> CLIPTokenizer:
        """The tokenizer of CLIP L, which reads as many tokens as that of CLIP G.

        Raises:
            UserError: its files are missing or damaged.
        """
        from transformers import CLIPTokenizer

        from ppd_lightning.backbones.clip_text import load_tokenizer

        tokenizer: CLIPTokenizer = load_tokenizer(CLIPTokenizer, self.files("tokenizer")[0].parent)
        return tokenizer

    def _text_model(self, kind: Any, config: Path, weights: Path) -> Any:
        from ppd_lightning.backbones.clip_text import load_text_model
        from ppd_lightning.backbones.diffusers_parts import one_line
        from ppd_lightning.backbones.unet.checkpoint import text_weights
        from ppd_lightning.backbones.weights import load_weights

        if self.file is None:
            return load_text_model(kind, config, weights)
        import torch

        def make() -> Any:
            return kind(kind.config_class.from_pretrained(config.parent, local_files_only=True))

        try:
            with torch.device("meta"):
                model = make()
        except Exception as error:  # whatever a configuration of something else leads to
            raise UserError(f"{config}: no configuration of a {kind.__name__} ({one_line(error)})") from None
        return load_weights(make, weights, convert=partial(text_weights, model=model))

    # Where its files are.

    @property
    def _weights(self) -> Path | None:
        return None if self.file is None else self.file.absolute()

    @property
    def _paths(self) -> Mapping[str, str | None]:
        return {**super()._paths, CONFIG_PATH: self.config_path}

    def key(self, part: str) -> str:
        """See `Backbone`; what lies beside a checkpoint file is in `config_path`."""
        of_codec = self.parts[part].of_codec and self.codec_path
        return CONFIG_PATH if self.file is not None and not of_codec else super().key(part)

    def _folder(self, key: str, parts: Mapping[str, ModelPart]) -> Path:
        if key == CONFIG_PATH:  # the hub has what is not the checkpoint
            parts = {
                name: replace(part, ways=tuple(tuple(f for f in way if not Path(f).is_absolute()) for way in part.ways))
                for name, part in parts.items()
            }
        return super()._folder(key, parts)

    def faults(self, *needs: str) -> list[str]:
        """See `Backbone`; files of another model, of a LoRA or of a distilled model are refused too."""
        from ppd_lightning.backbones.unet.faults import folder_faults, single_file_faults

        trained: dict[str, Any] = {"prediction": self.prediction, "zero_terminal_snr": self.zero_terminal_snr}
        try:
            if self.file is not None:
                own = list(single_file_faults(self.name, str(self.path), **trained))
                return own or super().faults(*needs)
            folder = self.folders("prior")[0].get("prior")
            own = list(folder_faults(self.name, str(self.path), folder, **trained)) if folder else []
        except UserError as error:
            own = error.faults
        return own or super().faults(*needs)

    # What is said of it.

    def card_facts(self) -> CardFacts:
        """What the model card of an adapter says about it."""
        release = self.release
        hub = self.hub_name or release.hub
        base, origin = (
            hub,
            f"The base is [{hub}](https://huggingface.co/{hub}). A local folder does as well as the name.",
        )
        if self.file is not None:
            base = self.file.name
            origin = f"The base is the checkpoint {code(base)}, a fine-tune of {release.title} or this itself."
        return CardFacts(
            front_matter={"license": release.licence, "base_model": hub, "base_model_relation": "adapter"},
            tags=("stable-diffusion-xl",) if self.name == "sdxl" else ("stable-diffusion",),
            origin=origin,
            base=base,
            codec=None,
            caption="a red fox in the snow",
            limits=(
                "The base is frozen: what it cannot draw, and its biases, stay as they are.",
                "Use bf16 or fp32: this was not tried in fp16.",
            ),
            licence=(release.terms, "A fine-tune that is used as the base may have further terms of its own."),
        )

    def drawing_code(self) -> DrawingCode:
        """The code that an export carries."""
        encoders = "text_encoder/, text_encoder_2/" if self.release.encoders == 2 else "text_encoder/"
        return DrawingCode(
            modules=DRAWING_MODULES,
            base=f"ppd_lightning.backbones.unet.pretrained.Pretrained{'XL' if self.name == 'sdxl' else '15'}",
            base_folders=f"unet/, {encoders} and their tokenizers, or a checkpoint file",
            codec_folders="vae/",
            settings={
                "config": self.config_path if is_hub_name(self.config_path) else Path(self.config_path).name,
                "prediction": self.prediction,
                "zero_terminal_snr": self.zero_terminal_snr,
            },
        )
