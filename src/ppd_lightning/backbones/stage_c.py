"""Stable Cascade as Stability AI released it, Stage C of 1B or 3.6B parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from ppd_lightning.backbones.card_facts import CardFacts, DrawingCode
from ppd_lightning.backbones.cascade.backbone import DRAWING_MODULES, FOLDERS, FP16, CascadeBackbone
from ppd_lightning.backbones.files import UNET, ModelPart, network_files
from ppd_lightning.settings.part import settings

if TYPE_CHECKING:  # a configuration is checked without them
    import torch
    from torch import nn

    from ppd_lightning.backbones.cascade.codec import StageCCodec
    from ppd_lightning.backbones.interfaces import Decoder

NON_COMMERCIAL = "for non-commercial research only"
PRIOR_HUB, CODEC_HUB = "stabilityai/stable-cascade-prior", "stabilityai/stable-cascade"
LICENCE = f"https://huggingface.co/{CODEC_HUB}/blob/main/LICENSE"
TITLES = {"stage_c_lite": "Stable Cascade 1B", "stage_c": "Stable Cascade 3.6B"}
PRIOR_FOLDERS = {"stage_c_lite": "prior_lite", "stage_c": "prior"}


def _parts(folder: str, original: str, prior_size: str) -> Mapping[str, ModelPart]:
    def of_prior(ways: tuple[tuple[str, ...], ...], size: str) -> ModelPart:
        return ModelPart(ways, PRIOR_HUB, size, NON_COMMERCIAL)

    def of_codec(ways: tuple[tuple[str, ...], ...], size: str) -> ModelPart:
        return ModelPart(ways, CODEC_HUB, size, NON_COMMERCIAL, of_codec=True)

    prior = (*network_files(folder), (f"{original}.safetensors",), (f"{original}_bf16.safetensors",))
    tokenizer = (
        ("tokenizer/tokenizer.json", "tokenizer/tokenizer_config.json"),
        ("tokenizer/vocab.json", "tokenizer/merges.txt", "tokenizer/tokenizer_config.json"),
    )
    decoder = tuple(
        (*unet, "vqgan/config.json", f"vqgan/{UNET}.safetensors")
        for unet in (*network_files("decoder"), *network_files("decoder_lite"))
    )
    return {
        "prior": of_prior(prior, prior_size),
        "text_encoder": of_prior(network_files("text_encoder", "model"), "2.8 GB, or 1.4 GB as .bf16"),
        "tokenizer": of_prior(tokenizer, "2 MB"),
        "scheduler": of_prior((("scheduler/scheduler_config.json",),), "1 kB"),
        "encoder": of_codec((("effnet_encoder.safetensors",),), "81 MB"),
        "previewer": of_codec((("previewer.safetensors",),), "16 MB"),
        "decoder": of_codec(decoder, "6.3 GB, or 3.2 GB with Stage B as .bf16"),
    }


PARTS: Mapping[str, Mapping[str, ModelPart]] = {
    "stage_c_lite": _parts("prior_lite", "stage_c_lite", "4.1 GB, or 2.1 GB as .bf16"),
    "stage_c": _parts("prior", "stage_c", "14.4 GB, or 7.2 GB as .bf16"),
}


@settings
class StageC(CascadeBackbone):
    """Stable Cascade, whose Stage C the user branch is on."""

    name: Literal["stage_c_lite", "stage_c"]
    """Which size: Stage C of 1B or of 3.6B parameters."""

    stride: ClassVar[int] = 32

    @property
    def title(self) -> str:
        """What people call the model."""
        return TITLES[self.name]

    @property
    def parts(self) -> Mapping[str, ModelPart]:
        """Its parts by name."""
        return PARTS[self.name]

    @property
    def caption_numbers(self) -> int:
        """Of 77 tokens, and of the pooled state."""
        return 77 * 1280 + 1280

    @property
    def image_sizes(self) -> tuple[int, int] | None:
        """About half to twice the 1024 pixels of the released weights."""
        return (384, 2048) if self.hub_name is not None else None

    def size_faults(self, image_size: int, decoder: Decoder) -> list[str]:
        """Stage B halves the sides of its latents, so an odd side cannot be decoded in full."""
        from ppd_lightning.backbones.cascade.stage_b import SCALE

        side = int(image_size // self.stride * SCALE)
        if decoder != "full" or side % 2 == 0:
            return []
        return [
            f"data.image_size: {image_size} pixels give Stage B latents of {side} x {side}, an odd side, "
            f"which it cannot halve; use another multiple of {self.stride}, such as 768, or generation.decoder=preview"
        ]

    def load_network(self, dtype: torch.dtype | None = None) -> nn.Module:
        """The frozen Stage C, from a folder of diffusers or from the file of the original repository."""
        import torch
        from diffusers import StableCascadeUNet

        from ppd_lightning.backbones.cascade import checkpoint
        from ppd_lightning.backbones.weights import load_weights

        *config, weights = self.files("prior")
        if config:
            return super().load_network(dtype)

        def make() -> StableCascadeUNet:
            return StableCascadeUNet(**checkpoint.stage_c_config(self.name))

        return self._computing(
            load_weights(make, weights, convert=checkpoint.from_original, dtype=dtype or torch.float32)
        )

    def load_codec(self, device: torch.device | str = "cpu", *needs: str) -> StageCCodec:
        """EfficientNet's encoder, the previewer, or Stage B and A, as they are named.

        Stage B is in bf16 on a GPU.
        """
        import torch
        from diffusers import StableCascadeUNet

        from ppd_lightning.backbones.cascade.codec import StageCCodec
        from ppd_lightning.backbones.cascade.previewer import Previewer
        from ppd_lightning.backbones.cascade.stage_a import StageADecoder, decoder_weights
        from ppd_lightning.backbones.cascade.stage_b import StageBDecoder
        from ppd_lightning.backbones.diffusers_parts import load_network
        from ppd_lightning.backbones.weights import load_weights

        self.require(*needs)
        encoder = previewer = decoder = None
        if "encoder" in needs:
            # Here, because it imports torchvision, which fails beside some builds of torch; nothing else needs it.
            from ppd_lightning.backbones.cascade.efficientnet_encoder import EfficientNetEncoder

            encoder = load_weights(EfficientNetEncoder, *self.files("encoder")).to(device)
        if "previewer" in needs:
            previewer = load_weights(Previewer, *self.files("previewer")).to(device)
        if "decoder" in needs:
            unet_config, unet, stage_a_config, stage_a = self.files("decoder")
            dtype = torch.bfloat16 if torch.device(device).type == "cuda" else torch.float32
            decoder = StageBDecoder(
                load_network(StableCascadeUNet, unet_config, unet, dtype=dtype).to(device),
                load_network(
                    StageADecoder, stage_a_config, stage_a, saved_as="PaellaVQModel", convert=decoder_weights
                ).to(device),
                self.sampler(),
            )
        return StageCCodec(encoder, previewer, decoder)

    def card_facts(self) -> CardFacts:
        """What the model card of an adapter says about it."""
        hub = self.hub_name or PRIOR_HUB
        return CardFacts(
            front_matter={
                "license": "other",
                "license_name": "stable-cascade-nc-community",
                "license_link": LICENCE,
                "base_model": hub,
                "base_model_relation": "adapter",
            },
            tags=("stable-cascade",),
            origin=(
                f"The base is `{PRIOR_FOLDERS[self.name]}/` of [{hub}](https://huggingface.co/{hub}); "
                f"Stage B and Stage A are those of [{CODEC_HUB}](https://huggingface.co/{CODEC_HUB}). "
                "Local folders do as well as these names."
            ),
            base=hub,
            codec=CODEC_HUB,
            caption="a red fox in the snow",
            limits=("The base is frozen: what it cannot draw, and its biases, stay as they are.", FP16),
            licence=(
                "Stable Cascade's released weights are for non-commercial research only, under Stability AI's "
                f"[Stable Cascade Non-Commercial Community licence]({LICENCE}). This adapter is of use with them "
                "alone, so it is for non-commercial research only as well.",
            ),
        )

    def drawing_code(self) -> DrawingCode:
        """The code that an export carries."""
        own = ("codec", "pretrained_codec", "stage_a", "stage_b")
        return DrawingCode(
            modules=(*DRAWING_MODULES, *(f"ppd_lightning.backbones.cascade.{name}" for name in own)),
            base="ppd_lightning.backbones.cascade.pretrained_codec.PretrainedStageC",
            base_folders=f"{PRIOR_FOLDERS[self.name]}/, {FOLDERS}",
            codec_folders="decoder/ and vqgan/",
            settings={"network": PRIOR_FOLDERS[self.name]},
        )
