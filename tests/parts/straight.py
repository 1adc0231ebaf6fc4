"""A model family from outside of the package: a flow model with one attention site. One class, one YAML."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ppd_lightning.backbones.backbone import Backbone
from ppd_lightning.backbones.card_facts import CardFacts, DrawingCode
from ppd_lightning.backbones.files import ModelPart
from ppd_lightning.backbones.user_branch import Site, TokenWidth, UserAttention, UserBranch
from ppd_lightning.backbones.weights import load_weights
from ppd_lightning.diffusion.straight import StraightPath
from ppd_lightning.settings.part import settings

WIDTH, TEXT, HEADS, SIDE = 12, 10, 3, 2


class Network(nn.Module):
    """One cross-attention to a text in three channels of 2 x 2; `user` adds to its result where it is set."""

    def __init__(self) -> None:
        super().__init__()
        self.inward, self.outward = nn.Linear(4, WIDTH), nn.Linear(WIDTH, 3)
        self.to_k, self.to_v = nn.Linear(TEXT, WIDTH), nn.Linear(TEXT, WIDTH)
        self.user: UserAttention | None = None

    def forward(self, noised: Tensor, t: Tensor, words: Tensor) -> Tensor:
        def heads(states: Tensor) -> Tensor:
            return states.view(*states.shape[:2], HEADS, -1).transpose(1, 2)

        times = t.view(-1, 1, 1).expand(-1, SIDE**2, 1)
        query = heads(self.inward(torch.cat([noised.flatten(2).transpose(1, 2), times], 2)))
        mixed = F.scaled_dot_product_attention(query, heads(self.to_k(words)), heads(self.to_v(words)))
        if self.user is not None and self.user.on:
            mixed = mixed + self.user(query)
        return self.outward(mixed.transpose(1, 2).flatten(2)).transpose(1, 2).reshape(noised.shape)


class Euler:
    """Steps of equal length."""

    def timesteps(self, steps: int, device: torch.device | str) -> Tensor:
        self.length = 1 / steps
        return torch.linspace(1, 0, steps + 1, device=device)[:-1]

    def step(self, prediction: Tensor, t: Tensor, latents: Tensor, generators: object) -> Tensor:
        return latents - self.length * prediction


class Codec:
    """Latents are pictures."""

    def encode(self, images: Tensor) -> Tensor:
        return images

    def preview(self, latents: Tensor) -> Tensor:
        return latents.sigmoid()

    def decode(self, latents: Tensor, conditions: Mapping[str, Tensor], generators: object) -> Tensor:
        return latents.sigmoid()


@settings
class Straight(Backbone):
    """A flow model with one site and one array of text."""

    name: Literal["straight"]
    """The straight one."""

    stride: ClassVar[int] = 4
    latent_channels: ClassVar[int] = 3
    text_arrays: ClassVar[tuple[str, ...]] = ("words",)
    decoder_parts: ClassVar[dict[str, str]] = {"full": "decoder", "preview": "decoder"}
    title: ClassVar[str] = "a straight one"
    parts: ClassVar[dict[str, ModelPart]] = {"prior": ModelPart((("network.safetensors",),), "own/hub", "1 kB", "free")}
    diffusion_path: ClassVar[StraightPath] = StraightPath()

    def load_network(self, dtype: torch.dtype | None = None) -> nn.Module:
        return load_weights(Network, *self.files("prior"), dtype=dtype or torch.float32)

    def predict(self, network: nn.Module, noised: Tensor, t: Tensor, conditions: Mapping[str, Tensor]) -> Tensor:
        return network(noised, t, conditions["words"])

    def _attach(
        self, network: Network, embedding_dim: int, num_tokens: int, null: str, width: TokenWidth
    ) -> UserBranch:
        def install(user: UserAttention) -> Callable[[], None]:
            network.user = user
            return lambda: setattr(network, "user", None)

        return UserBranch([Site(WIDTH, install)], TEXT, embedding_dim, num_tokens, null, width)

    def load_codec(self, device: torch.device | str = "cpu", *needs: str) -> Codec:
        return Codec()

    def load_text(self, device: torch.device | str = "cpu") -> Callable[[list[str]], dict[str, Tensor]]:
        def states(captions: list[str]) -> dict[str, Tensor]:
            seeds = [torch.Generator().manual_seed(len(caption)) for caption in captions]
            return {"words": torch.stack([torch.randn(4, TEXT, generator=seed) for seed in seeds])}

        return states

    def load_tokenizer(self) -> Any:
        raise NotImplementedError

    def sampler(self) -> Euler:
        return Euler()

    def card_facts(self) -> CardFacts:
        raise NotImplementedError

    def drawing_code(self) -> DrawingCode:
        raise NotImplementedError
