"""What scores images for captions: one interface for every reward, the shipped ones and one's own.

A reward is a class derived from `Reward`, and a file `conf/reward/NAME.yaml` that names the class, its weights and its
options.

B = batch, H, W = height and width of what the network sees.
"""

from __future__ import annotations

import inspect
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ppd_lightning.errors import UserError
from ppd_lightning.rewards.encoder_code import EncoderCode
from ppd_lightning.rewards.picture_features import BATCH
from ppd_lightning.rewards.settings import Option, RewardSettings
from ppd_lightning.rewards.sources import Role, role_faults, role_files, role_location
from ppd_lightning.settings.part import part_class
from ppd_lightning.storage.fingerprints import fingerprint
from ppd_lightning.storage.hash_memory import remembered_sha256

log = logging.getLogger(__name__)


class Reward(ABC):
    """Scores images for captions. Made cheaply; the network is loaded once, at the first use.

    A class of one's own defines `preprocess`, `image_features` and `scores`; and where it has weights, `roles` and
    `load`.

    Args:
        name: of the reward in the configuration, for messages.
        weights: a location for each of `roles`: a file, a folder, OWNER/NAME or OWNER/NAME:FILE on the model hub, or
            shipped:PATH below the package's folder.
        device: where the network runs.
        dtype: of the network's weights; features and scores are float32 all the same.
        options: what a derived class takes beside, as keywords; part of the fingerprint.

    Raises:
        UserError: weights has a key that is no role, or lacks one.
    """

    roles: Mapping[str, Role] = {}
    """What the weights consist of."""
    pixel_type: ClassVar[type[np.generic]] = np.uint8
    """Of what `preprocess` gives: bytes, or np.float32 where the published preprocessing leaves what bytes can hold."""
    version: ClassVar[int] = 1
    """Raised when the same weights give other pixels or scores than before, so that what was stored is made anew."""
    keeps_features: ClassVar[bool] = True
    """Whether features are small and do not depend on the caption: stored once, reused for all captions."""
    needs_captions: ClassVar[bool] = True
    """False: the score is of the image alone."""

    def __init__(
        self,
        name: str,
        weights: Mapping[str, str],
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        **options: Option,
    ) -> None:
        self.name, self.weights, self.options = name, dict(weights), options
        self.device, self.dtype = torch.device(device), dtype
        faults = [
            f"{self.key(role)}: missing; expected {self.roles[role].described}" for role in self.roles.keys() - weights
        ]
        expected = f"expected {' and '.join(self.roles)}" if self.roles else "this reward has no weights"
        faults += [
            f"{self.key(role)}: no weights of {type(self).__name__}; {expected}" for role in weights - self.roles.keys()
        ]
        if faults:
            raise UserError(sorted(faults))

    def key(self, role: str) -> str:
        """The key of the configuration that says where a part of the weights lies."""
        return f"rewards.{self.name}.weights.{role}"

    def faults(self) -> list[str]:
        """A sentence for each part of the weights that is not there; where it comes from, its size and licence."""
        return [
            fault for role in self.roles for fault in role_faults(self.key(role), self.weights[role], self.roles[role])
        ]

    @cached_property
    def files(self) -> dict[str, str]:
        """The file or folder of each role.

        Raises:
            UserError: some are not there; all of them are named.
        """
        faults = self.faults()
        if faults:
            raise UserError(faults)
        return {role: str(role_location(self.key(role), self.weights[role], self.roles[role])) for role in self.roles}

    def paths(self, role: str) -> list[Path]:
        """The files of one role, in the order in which the role lists them.

        Raises:
            UserError: see `files`.
        """
        return role_files(Path(self.files[role]), self.roles[role])

    @cached_property
    def sha256(self) -> dict[str, str]:
        """The SHA-256 of every file, 64 hexadecimal digits, by path."""
        return {str(path): remembered_sha256(path) for role in self.roles for path in self.paths(role)}

    def fingerprint(self) -> str:
        """12 hex digits of what decides the scores: the class, its version, the files' bytes, the options, the dtype.

        No network is loaded.

        Raises:
            UserError: files are not there.
        """
        made_of = {role: [self.sha256[str(path)] for path in self.paths(role)] for role in self.roles}
        return fingerprint([self.settings.target, self.version, made_of, self.options, str(self.dtype)])

    @property
    def settings(self) -> RewardSettings:
        """Its class, weights and options, as a configuration gives them."""
        target = f"{type(self).__module__}.{type(self).__qualname__}"
        return RewardSettings(target=target, weights=self.weights, options=self.options)

    @cached_property
    def network(self) -> nn.Module:
        """What `load` gives, on the device, frozen and in evaluation mode."""
        network = self.load().to(self.device).eval().requires_grad_(False)
        for path, digest in self.sha256.items():
            log.info("reward %s: %s, SHA-256 %s", self.name, path, digest)
        return network

    def load(self) -> nn.Module:
        """The network from its files, in `dtype`; called once.

        Raises:
            UserError: a file is damaged, or of something else.
        """
        return nn.Module()

    @abstractmethod
    def preprocess(self, picture: Image.Image) -> np.ndarray:
        """A picture of any size and mode to what the network sees: (3, H, W) RGB in [0, 255], one size for all.

        It needs the CPU only and loads no network, so that it can be called in other processes. Its type is
        `pixel_type`.

        Raises:
            UserError: see `readable.readable`.
        """

    @abstractmethod
    def image_features(self, pixels: Tensor) -> Tensor:
        """Preprocessed images (B, 3, H, W) `pixel_type` of any device to features (B, ...) float32 on the device."""

    @abstractmethod
    def scores(self, features: Tensor, captions: Sequence[str]) -> Tensor:
        """Features (B, ...) of any device and B captions to scores (B,) float32 on the device.

        Raises:
            UserError: see `require_captions`.
        """

    def encoder_code(self, seen_by: str) -> EncoderCode | None:
        """The code by which an export sees pictures as `image_features` does; None where an export cannot.

        Args:
            seen_by: what the code gives as its fingerprint, where the files are those that are here.
        """
        return None

    @torch.no_grad()
    def score(self, images: Sequence[Image.Image], captions: Sequence[str]) -> Tensor:
        """B pictures, each for its own caption, to scores (B,) float32 on the CPU.

        Raises:
            ValueError: not one caption for each picture.
            UserError: a picture or a caption cannot be scored.
        """
        if len(images) != len(captions):
            raise ValueError(f"{len(images)} images and {len(captions)} captions; expected one caption for each image")
        parts = [torch.zeros(0)]
        for begin in range(0, len(images), BATCH):
            pixels = np.stack([self.preprocess(image) for image in images[begin : begin + BATCH]])
            features = self.image_features(torch.from_numpy(pixels))
            parts.append(self.scores(features, captions[begin : begin + BATCH]).float().cpu())
        return torch.cat(parts)


def distinct(captions: Sequence[str]) -> tuple[list[str], list[int]]:
    """The different ones of B captions, and which of them each caption is: many images share a caption."""
    places = {caption: place for place, caption in enumerate(dict.fromkeys(captions))}
    return list(places), [places[caption] for caption in captions]


def require_captions(name: str, captions: Iterable[str]) -> None:
    """Refuse captions that say nothing.

    Raises:
        UserError: one is empty.
    """
    empty = [row for row, caption in enumerate(captions) if not caption.strip()]
    if empty:
        raise UserError(
            f"reward {name}: the caption in row {empty[0]} (counted from 0) is empty; "
            "this reward compares an image with its caption: give one, or leave the row out"
        )


def open_rewards(
    settings: Mapping[str, RewardSettings],
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> dict[str, Reward]:
    """The rewards of a configuration, by name; no network is loaded and no file is read yet.

    Raises:
        UserError: a class, a role or an option is none; every fault of every reward is named.
    """
    opened: dict[str, Reward] = {}
    faults: list[str] = []
    for name, one in settings.items():
        try:
            opened[name] = _open(name, one, device, dtype)
        except UserError as error:
            faults += error.faults
    if faults:
        raise UserError(faults)
    return opened


def fingerprints_of(rewards: Mapping[str, Reward]) -> dict[str, str]:
    """The fingerprint of each reward, by name.

    Raises:
        UserError: files are not there; those of every reward are named.
    """
    faults = [fault for reward in rewards.values() for fault in reward.faults()]
    if faults:
        raise UserError(faults)
    return {name: reward.fingerprint() for name, reward in rewards.items()}


def _open(name: str, settings: RewardSettings, device: torch.device | str, dtype: torch.dtype) -> Reward:
    kind = reward_class(name, settings.target)
    parameters = [one for one in inspect.signature(kind).parameters.values() if one.kind is one.KEYWORD_ONLY]
    known = {one.name: one.default is one.empty for one in parameters if one.name not in ("device", "dtype")}
    there_are = f"there are {', '.join(known)}" if known else "it has none"
    faults = [
        f"rewards.{name}.options.{option}: no option of {kind.__name__}; {there_are}"
        for option in settings.options
        if option not in known
    ]
    faults += [
        f"rewards.{name}.options.{option}: missing; {kind.__name__} needs it"
        for option, needed in known.items()
        if needed and option not in settings.options
    ]
    if faults:
        raise UserError(faults)
    return kind(name, settings.weights, device=device, dtype=dtype, **dict(settings.options))


def reward_class(name: str, target: str) -> type[Reward]:
    """The class that a configuration's `target` names.

    Raises:
        UserError: there is no such module or class, or it is no `Reward`.
    """
    try:
        return part_class(target, Reward)  # type: ignore[type-abstract]  # mypy takes type[T] for concrete alone
    except ValueError as error:
        raise UserError(f"rewards.{name}.target: {target} is refused, {error}") from None
