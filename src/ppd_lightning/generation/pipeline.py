"""Captions and users to images: sampling with a guidance scale on the text and one on the user.

`ppd export` carries this file. B = images, E = width of a user embedding.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from ppd_lightning.backbones.interfaces import Base, Codec, Conditions, Decoder, TextEncoder
from ppd_lightning.backbones.user_branch import UserBranch
from ppd_lightning.errors import UserError

LARGEST = 1e4
"""Of a latent, in magnitude: those of images are within a few tens, and a decoder makes one colour of much larger ones.
"""


@dataclass(frozen=True)
class Guidance:
    """How a prediction is put together: e_null + text (e_text - e_null) + user (e_user - e_text).

    text: classifier-free guidance in diffusers' convention; 1 is none.
    user: how far from the base toward the user; 0 is the base, 1 the trained model.
    user_interval: the times (low, high) in which the user counts; outside it the base draws.
    """

    text: float = 4.0
    user: float = 1.0
    user_interval: tuple[float, float] = (0.0, 1.0)


class UserPipeline:
    """Draws images for users; one batch may mix users, and users with none (a zero embedding).

    Latents and the sampler's arithmetic are float32, whatever the network's weights are.

    Args:
        backbone: whose network it is.
        network: on the device to be used.
        branch: its user branch, or None to draw with the base alone.
        codec: on the same device as the network.
        text: the text encoder.
        image_size: side in pixels of the images that were encoded for training; decoded in full they may be larger.
        decoder: whether the codec decodes in full or gives its small previews.
    """

    def __init__(
        self,
        backbone: Base,
        network: nn.Module,
        branch: UserBranch | None,
        codec: Codec,
        text: TextEncoder,
        *,
        image_size: int,
        decoder: Decoder = "full",
    ) -> None:
        self.backbone, self.network, self.branch = backbone, network, branch
        self.codec, self.text, self.decoder = codec, text, decoder
        self.latent_shape, self.sampler = backbone.latent_shape(image_size), backbone.sampler()
        self._null = backbone.null_text(text)

    @classmethod
    def of(
        cls,
        backbone: Base,
        network: nn.Module,
        branch: UserBranch | None,
        *,
        image_size: int,
        decoder: Decoder = "full",
        text_device: torch.device | str | None = None,
    ) -> UserPipeline:
        """With codec and text encoder from the backbone's files, on the network's device; arguments as of the class.

        Args:
            text_device: of the text encoder, if it is another.

        Raises:
            UserError: files are missing or damaged.
        """
        device = next(network.parameters()).device
        codec = backbone.load_codec(device, backbone.decoder_parts[decoder])
        text = backbone.load_text(device if text_device is None else text_device)
        return cls(backbone, network, branch, codec, text, image_size=image_size, decoder=decoder)

    def remember(self, captions: Sequence[str]) -> None:
        """Encode these captions now and let the text encoder go; no others can be drawn from then on."""
        unique = sorted(set(captions))
        states, row_of = self.text(unique), {caption: row for row, caption in enumerate(unique)}

        def recall(asked: list[str]) -> dict[str, Tensor]:
            rows = [row_of[caption] for caption in asked]
            return {name: part[rows] for name, part in states.items()}

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
        decode_at_once: int | None = None,
    ) -> Tensor:
        """Draw a batch.

        The noise of an image depends on its caption and seed only, that of the network as well as that of the decoder:
        the same for every user, in any batch.

        Args:
            captions: B captions.
            users: (B, E) embeddings, or None for the base model.
            seeds: B seeds.
            prompts: B texts that the model reads instead of the captions, which still decide the noise.
            steps: of the sampler.
            guidance: how the predictions are put together.
            decode_at_once: most latents that the decoder is given at once; None is B.

        Returns:
            images (B, 3, H, W) float in [0, 1].

        Raises:
            UserError: an image is none: its latents or pixels are not finite, or absurdly large.
            ValueError: users without a branch, or lengths that differ.
        """
        if users is not None and self.branch is None:
            raise ValueError("this pipeline has no user branch: pass users=None, or load an adapter")
        if any(part is not None and len(part) != len(captions) for part in (users, seeds, prompts)):
            raise ValueError("captions, users, seeds and prompts must have one entry for each image")
        device = next(self.network.parameters()).device
        keys = list(zip(captions, seeds, strict=True))
        generators = [_generator("network", caption, seed) for caption, seed in keys]
        read = captions if prompts is None else prompts
        unique = sorted(set(read))
        states = self.text(unique)
        rows = [unique.index(prompt) for prompt in read]
        conditions = {name: part[rows].to(device) for name, part in states.items()}
        null = {name: part.to(device).expand_as(conditions[name]) for name, part in self._null.items()}
        both = {name: torch.cat([conditions[name], null[name]]) for name in conditions}
        latents = torch.stack([torch.randn(self.latent_shape, generator=one) for one in generators]).to(device)
        low, high = guidance.user_interval
        for t in self.sampler.timesteps(steps, device):
            times = t.expand(len(latents))
            of_both = self._predict(torch.cat([latents, latents]), times.repeat(2), both)
            of_text, of_null = of_both.chunk(2)
            prediction = torch.lerp(of_null, of_text, guidance.text)
            if users is not None and self.branch is not None and guidance.user != 0 and low <= t <= high:
                of_user = self._for_users(self.branch, users.to(device), of_text, latents, times, conditions)
                prediction = prediction + guidance.user * (of_user - of_text)
            latents = self.sampler.step(prediction, t, latents, generators)
        _require_drawn(latents, "latents", captions, seeds, guidance)
        size, parts = decode_at_once or len(latents), []
        for begin in range(0, len(latents), size):
            part = slice(begin, begin + size)
            parts.append(self._decode(latents[part], {name: one[part] for name, one in conditions.items()}, keys[part]))
        images = torch.cat(parts)
        _require_drawn(images, "pixels", captions, seeds, guidance)
        return images

    def _decode(self, latents: Tensor, conditions: Conditions, keys: Sequence[tuple[str, int]]) -> Tensor:
        if self.decoder == "preview":
            return self.codec.preview(latents)
        return self.codec.decode(latents, conditions, [_generator("decoder", *key) for key in keys])

    def _for_users(
        self,
        branch: UserBranch,
        users: Tensor,
        of_text: Tensor,
        latents: Tensor,
        times: Tensor,
        conditions: Conditions,
    ) -> Tensor:
        """The prediction for each user; that of the base, to the bit and at no cost, for those who are the base."""
        rows = ~branch.is_base(users)
        of_user = of_text.clone()
        if rows.any():
            own = {name: part[rows] for name, part in conditions.items()}
            with branch.user(users[rows]):
                of_user[rows] = self._predict(latents[rows], times[rows], own)
        return of_user

    def _predict(self, noised: Tensor, times: Tensor, conditions: Conditions) -> Tensor:
        return self.backbone.predict(self.network, noised, times, conditions)


def _require_drawn(
    values: Tensor, what: str, captions: Sequence[str], seeds: Sequence[int], guidance: Guidance
) -> None:
    """Refuse values (B, ...) that are those of no image, with the first of them."""
    largest = values.detach().abs().flatten(1).amax(1).cpu()
    broken = (~(largest <= LARGEST)).nonzero().flatten().tolist()
    if broken:
        first = broken[0]
        raise UserError(
            f"{len(broken)} of {len(captions)} images that were to be drawn are none: the {what} of the first, "
            f"{captions[first]!r} with seed {seeds[first]}, reach {largest[first].item():g}; lower "
            f"generation.user_guidance ({guidance.user:g}) or generation.text_guidance ({guidance.text:g}), or take an "
            "adapter of a training that did not diverge"
        )


def _generator(stage: Literal["network", "decoder"], caption: str, seed: int) -> torch.Generator:
    """A stream of its own for each image and stage: a decoder must not meet the network's noise again."""
    person = b"" if stage == "network" else stage.encode()
    digest = hashlib.blake2b(f"{seed}/{caption}".encode(), digest_size=7, person=person).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little"))
