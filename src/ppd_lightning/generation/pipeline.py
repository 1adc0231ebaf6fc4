"""Captions and users to images: Stage C sampling with a guidance scale on the text and one on the user.

B = images, L = text tokens, E = width of a user embedding.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from diffusers import DDPMWuerstchenScheduler, StableCascadeUNet
from torch import Tensor

from ppd_lightning.backbones.cascade.prior import predict_noise
from ppd_lightning.backbones.codec import Codec
from ppd_lightning.backbones.released import ReleasedModel
from ppd_lightning.backbones.user_branch import UserBranch

Text = Callable[[list[str]], tuple[Tensor, Tensor]]
"""Captions (B) to text states (B, L, C) and pooled ones (B, 1, C')."""

Decoder = Literal["full", "preview"]
CODEC_PARTS: dict[Decoder, str] = {"full": "decoder", "preview": "previewer"}
"""The part of the codec that each decoder needs."""


@dataclass(frozen=True)
class Guidance:
    """How a noise prediction is put together: e_null + text (e_text - e_null) + user (e_user - e_text).

    text: classifier-free guidance in diffusers' convention; 1 is none.
    user: how far from the base toward the user; 0 is the base, 1 the trained model.
    user_interval: the times (low, high) in which the user counts; outside it the base draws.
    """

    text: float = 4.0
    user: float = 1.0
    user_interval: tuple[float, float] = (0.0, 1.0)


class UserPipeline:
    """Draws images for users; one batch may mix users, and users with none (a zero embedding).

    Latents and the sampler's arithmetic are float32, whatever the prior's weights are.

    Args:
        prior: Stage C, on the device to be used.
        branch: its user branch, or None to draw with the base alone.
        scheduler: of the sampler.
        text: the text encoder.
        codec: on the same device as the prior.
        latent_shape: (16, H, W) of what the prior draws.
        decoder: whether the codec decodes in full or gives its small previews.
    """

    def __init__(
        self,
        prior: StableCascadeUNet,
        branch: UserBranch | None,
        scheduler: DDPMWuerstchenScheduler,
        text: Text,
        codec: Codec,
        latent_shape: tuple[int, ...],
        decoder: Decoder = "full",
    ) -> None:
        self.prior, self.branch, self.scheduler = prior, branch, scheduler
        self.text, self.codec, self.latent_shape, self.decoder = text, codec, latent_shape, decoder
        self._null_text = text([""])

    @classmethod
    def of(
        cls,
        model: ReleasedModel,
        prior: StableCascadeUNet,
        branch: UserBranch | None,
        *,
        image_size: int,
        decoder: Decoder = "full",
    ) -> UserPipeline:
        """With every part but the prior from the model's files, on the prior's device.

        Args:
            model: whose prior it is.
            prior: Stage C.
            branch: its user branch, or None.
            image_size: side in pixels of the images that were encoded for training; decoded in full they may be larger.
            decoder: see the class.

        Raises:
            UserError: files are missing or damaged.
        """
        device = next(prior.parameters()).device
        codec = model.load_codec(device, CODEC_PARTS[decoder])
        side = image_size // codec.stride
        latent_shape = (prior.config.in_channels, side, side)
        return cls(prior, branch, model.load_scheduler(), model.load_text(device), codec, latent_shape, decoder)

    def remember(self, captions: Sequence[str]) -> None:
        """Encode these captions now and let the text encoder go; no others can be drawn from then on."""
        unique = sorted(set(captions))
        states = dict(zip(unique, zip(*self.text(unique), strict=True), strict=True))

        def recall(asked: list[str]) -> tuple[Tensor, Tensor]:
            text, pooled = zip(*(states[caption] for caption in asked), strict=True)
            return torch.stack(text), torch.stack(pooled)

        self.text = recall

    @torch.no_grad()
    def __call__(
        self,
        captions: Sequence[str],
        users: Tensor | None,
        seeds: Sequence[int],
        prompts: Sequence[str] | None = None,
        *,
        steps: int,
        guidance: Guidance,
    ) -> Tensor:
        """Draw a batch.

        The noise of an image depends on its caption and seed only, that of the prior as well as that of the decoder:
        the same for every user, in any batch.

        Args:
            captions: B captions.
            users: (B, E) embeddings, or None for the base model.
            seeds: B seeds.
            prompts: B texts that the model reads instead of the captions, which still decide the noise.
            steps: of the sampler.
            guidance: how the predictions are put together.

        Returns:
            images (B, 3, H, W) float in [0, 1].

        Raises:
            ValueError: users without a branch, or lengths that differ.
        """
        if users is not None and self.branch is None:
            raise ValueError("this pipeline has no user branch: pass users=None, or load an adapter")
        if any(part is not None and len(part) != len(captions) for part in (users, seeds, prompts)):
            raise ValueError("captions, users, seeds and prompts must have one entry for each image")
        device = next(self.prior.parameters()).device
        noises = list(zip(captions, seeds, strict=True))
        generators = [_generator("prior", caption, seed) for caption, seed in noises]
        read = captions if prompts is None else prompts
        unique = sorted(set(read))
        states = self.text(unique)
        rows = [unique.index(prompt) for prompt in read]
        text, pooled = (part[rows].to(device) for part in states)
        null, null_pooled = (part.to(device).expand(len(captions), -1, -1) for part in self._null_text)
        both = torch.cat([text, null]), torch.cat([pooled, null_pooled])
        latents = torch.stack([torch.randn(self.latent_shape, generator=one) for one in generators]).to(device)
        self.scheduler.set_timesteps(steps, device=device)
        low, high = guidance.user_interval
        for t in self.scheduler.timesteps[:-1]:
            times = t.expand(len(latents))
            noise = predict_noise(self.prior, latents.repeat(2, 1, 1, 1), times.repeat(2), *both)
            of_text, of_null = noise.chunk(2)
            noise = torch.lerp(of_null, of_text, guidance.text)
            if users is not None and self.branch is not None and guidance.user != 0 and low <= t <= high:
                of_user = self._for_users(self.branch, users.to(device), of_text, (latents, times, text, pooled))
                noise = noise + guidance.user * (of_user - of_text)
            latents = self.scheduler.step(noise, times, latents, generator=generators, return_dict=False)[0]
        if self.decoder == "preview":
            return self.codec.preview(latents)
        return self.codec.decode(latents, pooled, [_generator("decoder", caption, seed) for caption, seed in noises])

    def _for_users(
        self, branch: UserBranch, users: Tensor, of_text: Tensor, inputs: tuple[Tensor, Tensor, Tensor, Tensor]
    ) -> Tensor:
        """The prediction for each user; that of the base, to the bit and at no cost, for those who are the base."""
        rows = ~branch.is_base(users)
        of_user = of_text.clone()
        if rows.any():
            noised, times, text, pooled = (part[rows] for part in inputs)
            with branch.user(users[rows]):
                of_user[rows] = predict_noise(self.prior, noised, times, text, pooled)
        return of_user


def _generator(stage: Literal["prior", "decoder"], caption: str, seed: int) -> torch.Generator:
    """A stream of its own for each image and stage: a decoder must not meet the prior's noise again."""
    person = b"" if stage == "prior" else stage.encode()
    digest = hashlib.blake2b(f"{seed}/{caption}".encode(), digest_size=7, person=person).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little"))
