"""Stable Diffusion 3 and 3.5 as Stability AI released them, in diffusers' layout."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, Strict

from ppd_lightning.backbones.backbone import PATH
from ppd_lightning.backbones.card_facts import CardFacts, DrawingCode
from ppd_lightning.backbones.files import ModelPart
from ppd_lightning.backbones.sd3.backbone import DRAWING_MODULES, TransformerBackbone
from ppd_lightning.backbones.sd3.released import RELEASES, Release, caption_numbers
from ppd_lightning.errors import UserError
from ppd_lightning.settings.part import settings
from ppd_lightning.settings.values import Switch
from ppd_lightning.storage.fingerprints import fingerprint

if TYPE_CHECKING:  # a configuration is checked without them
    import torch
    from torch import Tensor, nn
    from transformers import CLIPTokenizer

    from ppd_lightning.backbones.diffusers_codec import KLCodec
    from ppd_lightning.backbones.interfaces import Conditions, Decoder
    from ppd_lightning.backbones.sd3.text import TextStates
    from ppd_lightning.backbones.user_branch import TokenWidth, UserBranch

LONGEST = 512
"""Tokens that T5 reads at most, as the released pipeline has it."""


@settings
class StableDiffusion3(TransformerBackbone):
    """Stable Diffusion 3 or 3.5, whose joint attention the user branch is on."""

    name: Literal["sd35_medium", "sd35_large", "sd3_medium"]
    """Which release: 3.5 of 2.2B or 8.1B parameters, or 3 of 2.0B."""
    t5: Switch
    """Whether T5 reads the captions beside the two CLIPs; without it zeros stand for its states."""
    text_tokens: Annotated[int, Strict(), Field(ge=1, le=LONGEST)]
    """Tokens of T5's states; longer captions are cut off for it. The text store grows with them."""
    dual_sites: Switch
    """Whether the image's second attention attends to the user too, in the blocks that have one (sd35_medium: 13)."""

    stride: ClassVar[int] = 8
    latent_channels: ClassVar[int] = 16
    decoder_parts: ClassVar[dict[Decoder, str]] = {"full": "decoder", "preview": "decoder"}

    @property
    def text_arrays(self) -> tuple[str, ...]:
        """CLIP's states, T5's unless it is left out, and the pooled ones."""
        return ("text", *(("text_t5",) if self.t5 else ()), "text_pooled")

    @property
    def release(self) -> Release:
        """The released model."""
        return RELEASES[self.name]

    @property
    def title(self) -> str:
        """What people call the model."""
        return self.release.title

    @property
    def caption_numbers(self) -> int:
        """Of both CLIPs, and of T5 unless it is left out."""
        return caption_numbers(self.text_tokens if self.t5 else 0)

    @property
    def parts(self) -> Mapping[str, ModelPart]:
        """Its parts by name; T5 is one unless it is left out."""
        return {name: part for name, part in self.release.parts.items() if self.t5 or name != "t5"}

    @property
    def image_sizes(self) -> tuple[int, int] | None:
        """A quarter to one and a half times the 1024 pixels of the released weights."""
        return (256, 1536) if self.hub_name is not None else None

    def prediction_settings(self) -> dict[str, Any]:
        """See `Backbone`."""
        return {**super().prediction_settings(), "t5": self.t5, "text_tokens": self.text_tokens}

    def fingerprint(self, part: str) -> str:
        """See `Backbone`; states of captions depend on T5 and its length too."""
        own = super().fingerprint(part)
        if part != "text_encoder":
            return own
        return fingerprint([own, super().fingerprint("t5") if self.t5 else None, self.text_tokens])

    def faults(self, *needs: str) -> list[str]:
        """See `Backbone`; what reads captions needs T5 too. What is no model, or another one, is refused."""
        from ppd_lightning.backbones.sd3.faults import file_faults, folder_faults

        reads = {"text_encoder", "tokenizer"} <= {*needs}
        wanted = (*needs, "t5") if self.t5 and reads else needs
        try:
            file = Path(self.path or "").expanduser()
            if file.is_file():
                return list(file_faults(self.name, file))
            folders = [folder for part, folder in self.folders(*wanted)[0].items() if self.key(part) == PATH]
            own = list(folder_faults(self.name, str(self.path), folders[0], shift=self.shift)) if folders else []
        except UserError as error:
            own = error.faults
        return own or super().faults(*wanted)

    def _attach(
        self, network: nn.Module, embedding_dim: int, num_tokens: int, null: str, token_width: TokenWidth
    ) -> UserBranch:
        from ppd_lightning.backbones.sd3.user_sites import attach_user_branch

        return attach_user_branch(
            network, embedding_dim, dual=self.dual_sites, num_tokens=num_tokens, null=null, token_width=token_width
        )

    def _text(self, network: nn.Module, conditions: Conditions) -> Tensor:
        from ppd_lightning.backbones.sd3.text import joint_states

        return joint_states(conditions, network, self.text_tokens)

    def load_text(self, device: torch.device | str = "cpu") -> TextStates:
        """Both CLIPs in float32, and T5, in bfloat16 on a GPU, unless it is left out.

        Raises:
            UserError: files are missing or damaged, or the weights are not those of the networks that their
                configurations describe.
        """
        import torch
        from transformers import CLIPTextModelWithProjection, CLIPTokenizer, T5EncoderModel, T5TokenizerFast

        from ppd_lightning.backbones.clip_text import load_text_model, load_tokenizer, require_same_length
        from ppd_lightning.backbones.sd3.text import TextStates

        self.require("text_encoder", "tokenizer")
        config_l, weights_l, config_g, weights_g = self.files("text_encoder")
        folders = dict.fromkeys(file.parent for file in self.files("tokenizer"))
        clips = []
        for folder, config, weights in zip(folders, (config_l, config_g), (weights_l, weights_g), strict=True):
            tokenizer = load_tokenizer(CLIPTokenizer, folder)
            encoder = load_text_model(CLIPTextModelWithProjection, config, weights)
            require_same_length(tokenizer, encoder)
            clips.append((tokenizer, encoder.to(device)))
        t5 = None
        if self.t5:
            config, *others = self.files("t5")
            weights = next(file for file in others if file.suffix == ".safetensors")
            dtype = torch.bfloat16 if torch.device(device).type == "cuda" else torch.float32
            encoder = load_text_model(T5EncoderModel, config, weights, dtype=dtype)
            t5 = load_tokenizer(T5TokenizerFast, others[-1].parent), encoder.to(device)
        return TextStates(clips, t5, self.text_tokens)

    def load_tokenizer(self) -> CLIPTokenizer:
        """The tokenizer of CLIP L, which reads as many tokens as that of CLIP G; T5 reads `text_tokens`.

        Raises:
            UserError: its files are missing or damaged.
        """
        from transformers import CLIPTokenizer

        from ppd_lightning.backbones.clip_text import load_tokenizer

        tokenizer: CLIPTokenizer = load_tokenizer(CLIPTokenizer, self.files("tokenizer")[0].parent)
        return tokenizer

    def load_codec(self, device: torch.device | str = "cpu", *needs: str) -> KLCodec:
        """The autoencoder, whole."""
        from diffusers import AutoencoderKL

        from ppd_lightning.backbones.diffusers_codec import KLCodec
        from ppd_lightning.backbones.diffusers_parts import load_network

        config, weights = self.files("encoder")
        return KLCodec(load_network(AutoencoderKL, config, weights).to(device))

    def card_facts(self) -> CardFacts:
        """What the model card of an adapter says about it."""
        hub = self.hub_name or self.release.hub
        licence = f"https://huggingface.co/{self.release.hub}/blob/main/LICENSE.md"
        length = f"the first {self.text_tokens} tokens of T5" if self.t5 else f"{self.text_tokens} zeros in T5's place"
        return CardFacts(
            front_matter={
                "license": "other",
                "license_name": "stabilityai-ai-community",
                "license_link": licence,
                "base_model": hub,
                "base_model_relation": "adapter",
            },
            tags=("stable-diffusion-3",),
            origin=(
                f"The base is [{hub}](https://huggingface.co/{hub}), whose licence is accepted there before it can be "
                f"fetched. Captions are read by both CLIPs and {length}. A local folder does as well as the name."
            ),
            base=hub,
            codec=None,
            caption="a red fox in the snow",
            limits=(
                "The base is frozen: what it cannot draw, and its biases, stay as they are.",
                "Use bf16 or fp32: this was not tried in fp16.",
            ),
            licence=(
                f"{self.title}'s weights are under the [Stability AI Community licence]({licence}): free for research, "
                "and for commercial use by those whose yearly revenue is below one million US dollars; others need a "
                "licence of Stability AI. This adapter is of use with them alone, so these terms apply to its use too.",
            ),
        )

    def drawing_code(self) -> DrawingCode:
        """The code that an export carries."""
        own = ("pretrained_parts", "text")
        return DrawingCode(
            modules=(
                *DRAWING_MODULES,
                "ppd_lightning.backbones.diffusers_codec",
                *(f"ppd_lightning.backbones.sd3.{name}" for name in own),
            ),
            base="ppd_lightning.backbones.sd3.pretrained_parts.PretrainedStableDiffusion3",
            base_folders="transformer/, the text_encoder/ and tokenizer/ folders",
            codec_folders="vae/",
            settings={
                "shift": self.shift,
                "t5": self.t5,
                "text_tokens": self.text_tokens,
                "dual_sites": self.dual_sites,
            },
        )
