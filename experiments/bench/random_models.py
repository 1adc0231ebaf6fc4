"""Networks of the released sizes with random weights, and prepared data of their shapes: what a step is measured on.

The product's own classes all the way: the backbone of a configuration, whose network is made up instead of loaded, and
the data module over stores of noise.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from unittest import mock

import stores
import torch
from diffusers import SD3Transformer2DModel, StableCascadeUNet, UNet2DConditionModel
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ppd_lightning.backbones.backbone import Backbone
from ppd_lightning.backbones.cascade.checkpoint import stage_c_config
from ppd_lightning.backbones.stage_c import StageC
from ppd_lightning.commands.reference import AHEAD
from ppd_lightning.config.compose import compose
from ppd_lightning.config.root import Config
from ppd_lightning.data.stores import Store
from ppd_lightning.training.data_module import PreferenceDataModule
from ppd_lightning.training.pair_draws import PairDraws
from ppd_lightning.users.rows import UserRows

EMBEDDING = 3584
"""E of `user=vlm`, the paper's."""
Mark = Callable[[str], None]


@dataclass(frozen=True)
class Model:
    """What is measured.

    model: of the configuration. make: gives the network. latent: of one image. text: shapes of a caption's states.
    """

    model: str
    make: Callable[[], nn.Module]
    latent: tuple[int, ...]
    text: Mapping[str, tuple[int, ...]]
    embedding: int = EMBEDDING


def _stage_c(name: str, **changes: Any) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        network: nn.Module = StableCascadeUNet(**{**stage_c_config(name), **changes})
        nn.init.normal_(
            network.get_parameter("clf.1.weight"), std=0.02
        )  # it would be zero, and so would every gradient
        return network

    return make


def _sdxl(**changes: Any) -> Callable[[], nn.Module]:
    """As unet/config.json of the release."""
    released: dict[str, Any] = {
        "sample_size": 128,
        "block_out_channels": (320, 640, 1280),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "transformer_layers_per_block": (1, 2, 10),
        "attention_head_dim": (5, 10, 20),
        "cross_attention_dim": 2048,
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    }
    return lambda: UNet2DConditionModel(**{**released, **changes})


def _sd35_medium(**changes: Any) -> Callable[[], nn.Module]:
    """As transformer/config.json of the release."""
    released: dict[str, Any] = {
        "sample_size": 128,
        "patch_size": 2,
        "in_channels": 16,
        "out_channels": 16,
        "num_layers": 24,
        "num_attention_heads": 24,
        "attention_head_dim": 64,
        "joint_attention_dim": 4096,
        "caption_projection_dim": 1536,
        "pooled_projection_dim": 2048,
        "pos_embed_max_size": 384,
        "dual_attention_layers": tuple(range(13)),
        "qk_norm": "rms_norm",
    }
    return lambda: SD3Transformer2DModel(**{**released, **changes})


OF_CASCADE = {"text": (77, 1280), "text_pooled": (1, 1280)}
OF_XL = {"text": (77, 2048), "text_pooled": (1280,)}
OF_SD3 = {"text": (77, 2048), "text_t5": (256, 4096), "text_pooled": (2048,)}
MODELS: Mapping[str, Model] = {
    "stage_c_lite": Model("stage_c_lite", _stage_c("stage_c_lite"), (16, 24, 24), OF_CASCADE),
    "stage_c": Model("stage_c", _stage_c("stage_c"), (16, 24, 24), OF_CASCADE),
    "sdxl_512": Model("sdxl", _sdxl(), (4, 64, 64), OF_XL),
    "sdxl_1024": Model("sdxl", _sdxl(), (4, 128, 128), OF_XL),
    "sd35_medium": Model("sd35_medium", _sd35_medium(), (16, 128, 128), OF_SD3),
}
"""By name: 24 x 24 latents are 768 pixels, those of SDXL and SD 3.5 are an eighth of the pixels."""

_SMALL_CASCADE: dict[str, Any] = {
    "block_out_channels": (32, 32),
    "conditioning_dim": 32,
    "num_attention_heads": (2, 2),
    "down_num_layers_per_block": (1, 2),
    "up_num_layers_per_block": (2, 1),
    "clip_text_in_channels": 16,
    "clip_text_pooled_in_channels": 16,
}
_SMALL_XL: dict[str, Any] = {
    "sample_size": 8,
    "block_out_channels": (16, 32),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2),
    "attention_head_dim": (2, 4),
    "cross_attention_dim": 32,
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 16 + 6 * 8,
}
_SMALL_SD3: dict[str, Any] = {
    "sample_size": 8,
    "num_layers": 2,
    "num_attention_heads": 2,
    "attention_head_dim": 16,
    "joint_attention_dim": 48,
    "caption_projection_dim": 32,
    "pooled_projection_dim": 24,
    "pos_embed_max_size": 8,
    "dual_attention_layers": (0,),
}
_TEXT = {"text": (5, 16), "text_pooled": (1, 16)}
TINY: Mapping[str, Model] = {
    "stage_c_lite": Model("stage_c_lite", _stage_c("stage_c_lite", **_SMALL_CASCADE), (16, 6, 6), _TEXT, 12),
    "stage_c": Model("stage_c", _stage_c("stage_c", **_SMALL_CASCADE), (16, 6, 6), _TEXT, 12),
    "sdxl_512": Model("sdxl", _sdxl(**_SMALL_XL), (4, 8, 8), {"text": (5, 32), "text_pooled": (16,)}, 12),
    "sdxl_1024": Model("sdxl", _sdxl(**_SMALL_XL), (4, 8, 8), {"text": (5, 32), "text_pooled": (16,)}, 12),
    "sd35_medium": Model(
        "sd35_medium",
        _sd35_medium(**_SMALL_SD3),
        (16, 8, 8),
        {"text": (5, 24), "text_t5": (4, 48), "text_pooled": (24,)},
        12,
    ),
}
"""The same classes, a few kilobytes wide: they try the benchmark out where there is no GPU."""


def random_network(model: Model, device: str, dtype: torch.dtype, backbone: Backbone | None = None) -> nn.Module:
    """As it is loaded: frozen, in evaluation mode, always the same weights.

    With the backbone it computes as the configuration says; without, as diffusers has it.
    """
    torch.manual_seed(0)
    with torch.device(device):
        network = model.make()
    network = nn.Module.to(network, dtype).eval().requires_grad_(False)
    computing = getattr(backbone, "_computing", None)  # of the families that have an arithmetic of their own
    return network if computing is None else computing(network)


def marked_backbone(config: Config, mark: Mark) -> Backbone:
    """The configuration's backbone without files; it says when a forward begins and when it ends."""
    kind = type(config.model)

    def predict(self: Any, *inputs: Any) -> torch.Tensor:
        name = "policy" if torch.is_grad_enabled() else "reference"
        mark(f"{name} begins")
        predicted = kind.predict(self, *inputs)
        mark(f"{name} ends")
        return predicted

    own: dict[str, Any] = {"predict": predict, "fingerprint": lambda self, part: "random"}
    if issubclass(kind, StageC):  # its settings are a file of the release, the same as that of the base that ships
        own["sampler"] = lambda self: compose(["model=emoji"]).model.sampler()
    given = {field.name: getattr(config.model, field.name) for field in fields(config.model) if field.name != "target"}
    made: Backbone = type(f"Random{kind.__name__}", (kind,), own)(**given)
    return made


class MadeUpData:
    """What the data module and stored reference errors ask of prepared data, over stores of noise."""

    stores_text = True

    def __init__(self, folder: Path, model: Model, pairs: int) -> None:
        shapes = {"latents": model.latent, **model.text, "embedding": (model.embedding,)}
        self.folder = folder
        self._pairs = stores.read_table(stores.made_up(folder, pairs=pairs, images=128, captions=32, shapes=shapes))

    def read_pairs(self) -> Any:
        """The table of pairs."""
        return self._pairs

    def open_latents(self) -> Store:
        """Of all images."""
        return Store.open(self.folder / "latents", stores.KEY)

    def open_text(self) -> Store:
        """Of all captions."""
        return Store.open(self.folder / "text", stores.KEY)

    def latents_key(self) -> dict[str, str]:
        """Nothing: noise is of nobody."""
        return {}

    def text_key(self) -> dict[str, str]:
        """The same."""
        return {}

    def batches(self, config: Config) -> PreferenceDataModule:
        """The data module of a training."""
        users = Store.open(self.folder / "users", stores.KEY)
        names = tuple(row.rsplit("/", 1)[0] for row in users.ids.to_pylist())
        rows = UserRows(names, users.arrays["embedding"], users.arrays["shots"][:])
        sizes = {name: getattr(config.trainer, name) for name in ("batch_size", "micro_batch_size")}
        data: Any = self
        draws = PairDraws(config.objective, config.seed, config.model.null_user == "learned")
        text = config.model.text_arrays
        made = PreferenceDataModule(data, rows, text_arrays=text, seed=config.seed, draws=draws, **sizes)
        made.workers = AHEAD if config.trainer.accelerator == "gpu" else 0
        made.setup("fit")
        return made


@contextlib.contextmanager
def made_up_data(model: Model, pairs: int = 512) -> Iterator[MadeUpData]:
    """Stores of noise in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        yield MadeUpData(Path(folder) / "data", model, pairs)


@dataclass(frozen=True)
class Flops:
    """Multiplications and additions of a pair: of the reference, and of the policy forward and backward."""

    reference: int
    policy: int
    backward: int

    def of(self, *, stored: bool) -> int:
        """Of a step, with or without the reference's forward."""
        return self.policy + self.backward + (0 if stored else self.reference)


def flops_a_pair(config: Config, model: Model) -> Flops:
    """Counted by shapes alone, the same on every machine: attention is two matrix products, four in the backward.

    What checkpointing and fused attention compute again is not needed, so it is not counted.
    """
    backbone, counted = config.model, []
    # autocast knows no "meta"; it does not change how much is computed.
    with mock.patch("torch.autocast", return_value=contextlib.nullcontext()), torch.device("meta"):
        network = model.make().eval().requires_grad_(False)
        branch = backbone.attach(network, model.embedding)
        text = {name: torch.empty(2, *shape) for name, shape in model.text.items()}
        inputs = torch.empty(2, *model.latent), torch.empty(2), text
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            backbone.predict(network, *inputs)
        counted.append(counter.get_total_flops())
        with branch.user(torch.empty(2, model.embedding)):
            with FlopCounterMode(display=False) as counter:
                predicted = backbone.predict(network, *inputs)
            counted.append(counter.get_total_flops())
            with FlopCounterMode(display=False) as counter:
                predicted.square().mean().backward()
            counted.append(counter.get_total_flops())
    return Flops(*counted)
