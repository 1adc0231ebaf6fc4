"""Judges of the emoji world: which style a picture is drawn in and which concept it shows.

Trained by experiments/emoji/base/judges.py on the vendors' own pictures. The two judges of style are different in kind
and share no training picture, so that what one of them can be fooled by is seen by the other.

B = batch, N = labels, F = features.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from ppd_lightning.backbones.weights import read_safetensors
from ppd_lightning.errors import UserError
from ppd_lightning.storage.atomic import atomic_path
from ppd_lightning.worlds.emoji.style_features import FEATURES, style_features

FORMAT = "ppd_lightning judge 1"
SIZE = 64
"""Height and width of the pictures that the judges know."""


class Judge(nn.Module, ABC):
    """Pictures to probabilities over named labels.

    Args:
        labels: the names of the N labels, in the order of the columns.
    """

    head: nn.Module
    """The last layer: features to logits."""

    def __init__(self, labels: tuple[str, ...]) -> None:
        super().__init__()
        self.labels = labels

    @abstractmethod
    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, 64, 64) float in [0, 1] to logits (B, N)."""

    @abstractmethod
    def features(self, images: Tensor) -> Tensor:
        """Images (B, 3, 64, 64) float in [0, 1] to what the last layer decides by, (B, F), none negative."""

    @property
    def config(self) -> dict[str, Any]:
        """The constructor's arguments other than the labels."""
        return {}

    def probabilities(self, images: Tensor, batch_size: int = 256) -> Tensor:
        """Images (B, 3, 64, 64) float in [0, 1] to probabilities (B, N) float32.

        Raises:
            ValueError: the images have another shape.
        """
        return self.seen(images, batch_size)[0]

    @torch.no_grad()
    def seen(self, images: Tensor, batch_size: int = 256) -> tuple[Tensor, Tensor]:
        """The probabilities (B, N) float32 of images, and what they were decided by, `features` (B, F).

        Raises:
            ValueError: the images have another shape.
        """
        if images.shape[1:] != (3, SIZE, SIZE):
            raise ValueError(f"images: expected (B, 3, {SIZE}, {SIZE}), got {tuple(images.shape)}")
        features = [self.features(part) for part in images.float().split(batch_size)]
        found = torch.cat(features)
        return torch.cat([self.head(part).softmax(1) for part in features]), found


class ConvolutionalJudge(Judge):
    """A small residual convolutional network that sees the pixels.

    Each stage halves the picture (stride 2) and then refines it with residual blocks; the last one is averaged.

    Args:
        widths: channels of each stage.
        blocks: residual blocks of each stage.
        dropout: on the averaged features, while training.
    """

    def __init__(
        self, labels: tuple[str, ...], widths: tuple[int, ...], blocks: tuple[int, ...], dropout: float = 0.0
    ) -> None:
        super().__init__(labels)
        self.widths, self.blocks, self.dropout = tuple(widths), tuple(blocks), dropout
        stages: list[nn.Module] = []
        before, kernel = 3, 5
        for width, count in zip(widths, blocks, strict=True):
            stages += [nn.Conv2d(before, width, kernel, stride=2, padding=kernel // 2, bias=False)]
            stages += [nn.BatchNorm2d(width), nn.ReLU(), *[_Residual(width) for _ in range(count)]]
            before, kernel = width, 3
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(before, len(labels))

    @property
    def config(self) -> dict[str, Any]:
        """See Judge."""
        return {"widths": self.widths, "blocks": self.blocks, "dropout": self.dropout}

    def forward(self, images: Tensor) -> Tensor:
        """See Judge."""
        logits: Tensor = self.head(F.dropout(self.features(images), self.dropout, self.training))
        return logits

    def features(self, images: Tensor) -> Tensor:
        """See Judge: the means of the last stage's maps."""
        features: Tensor = self.stages(2 * images - 1).mean((2, 3))
        return features


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, features: Tensor) -> Tensor:
        return features + F.relu(self.norm(self.convolution(features)))


class StatisticsJudge(Judge):
    """A two-layer network on hand-made features (colours, palette, edges, smoothness); it never sees a shape.

    Args:
        hidden: width of the hidden layer.
        dropout: on the features and the hidden layer, while training.
    """

    def __init__(self, labels: tuple[str, ...], hidden: int = 64, dropout: float = 0.0) -> None:
        super().__init__(labels)
        self.hidden, self.dropout = hidden, dropout
        self.norm = nn.BatchNorm1d(len(FEATURES), affine=False)
        self.wide = nn.Linear(len(FEATURES), hidden)
        self.head = nn.Linear(hidden, len(labels))

    @property
    def config(self) -> dict[str, Any]:
        """See Judge."""
        return {"hidden": self.hidden, "dropout": self.dropout}

    def forward(self, images: Tensor) -> Tensor:
        """See Judge."""
        return self.from_features(style_features(images))

    def from_features(self, features: Tensor) -> Tensor:
        """Features (B, F) of `style_features` to logits (B, N)."""
        logits: Tensor = self.head(F.dropout(self._hidden(features), self.dropout, self.training))
        return logits

    def features(self, images: Tensor) -> Tensor:
        """See Judge: the hidden layer."""
        return self._hidden(style_features(images))

    def _hidden(self, features: Tensor) -> Tensor:
        features = F.dropout(self.norm(features).clamp(-5, 5), self.dropout, self.training)
        return F.relu(self.wide(features))


KINDS: dict[str, type[Judge]] = {
    "pixels": ConvolutionalJudge,
    "statistics": StatisticsJudge,
    "concepts": ConvolutionalJudge,
}
"""The shipped judges: two of style, one of the concept."""


def save_judge(judge: Judge, path: Path, **metadata: Any) -> None:
    """Write a judge to `path` in half precision, whole or not at all.

    Args:
        metadata: what else to keep with it (JSON values).
    """
    header = {
        "format": FORMAT,
        "labels": json.dumps(judge.labels),
        "config": json.dumps(judge.config),
        "metadata": json.dumps(metadata),
    }
    floats = {name: tensor for name, tensor in judge.state_dict().items() if tensor.is_floating_point()}
    with atomic_path(path) as unfinished:
        save_file({name: tensor.half().contiguous() for name, tensor in floats.items()}, unfinished, metadata=header)


def load_judge(name: str, folder: Path | None = None) -> Judge:
    """One of the KINDS, in fp32, frozen and in evaluation mode.

    Args:
        folder: where `{name}.safetensors` is; None is the shipped folder.

    Raises:
        UserError: no judge of that name, or its file is missing, damaged or something else.
    """
    if name not in KINDS:
        raise UserError(f"evaluation.judges: there is no judge {name!r}; there are {', '.join(KINDS)}")
    if folder is None:
        folder = Path(__file__).with_name("assets") / "judges"
    path = folder / f"{name}.safetensors"
    if not path.is_file():
        raise UserError(f"{path}: the judge is missing; install the package again, or train it with judges.py")
    stored, header = read_safetensors(path)
    tensors = {key: tensor.float() for key, tensor in stored.items()}
    if header.get("format") != FORMAT:
        raise UserError(f"{path}: expected a file of the format {FORMAT!r}, found {header.get('format')!r}")
    try:
        judge = KINDS[name](tuple(json.loads(header["labels"])), **json.loads(header["config"]))
        counters = {key: value for key, value in judge.state_dict().items() if not value.is_floating_point()}
        judge.load_state_dict(tensors | counters)
    except (RuntimeError, TypeError) as error:
        raise UserError(f"{path}: not a judge of the kind {name!r} ({error}); install the package again") from None
    return judge.eval().requires_grad_(False)
