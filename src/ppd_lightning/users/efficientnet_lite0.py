"""The early stages of EfficientNet-Lite0, which `user=features` sees pictures with.

Source: TensorFlow's reference of EfficientNet-Lite (tensorflow/tpu, models/official/efficientnet/lite). Names of layers
and numbers, to the bit, are those of timm's `tf_efficientnet_lite0`; importing timm takes longer than describing.

B = images, C = channels.
"""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional as F

STEM = 32
STAGES = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40))
"""Of each stage that is read: blocks, kernel, stride of the first block, expansion, channels. Style is in the first."""


class EarlyStages(nn.Module):
    """The stem and the stages of `STAGES`, in evaluation mode and frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_stem, self.bn1 = _convolution(3, STEM, 3, stride=2), _norm(STEM)
        stages, channels = [], STEM
        for blocks, kernel, stride, expansion, width in STAGES:
            made = []
            for number in range(blocks):
                made.append(_Block(channels, width, kernel, 1 if number else stride, expansion))
                channels = width
            stages.append(nn.Sequential(*made))
        self.blocks = nn.ModuleList(stages)
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Images (B, 3, H, W) float in [-1, 1] to the maps (B, C, H', W') after the stem and each stage."""
        maps = [F.relu6(self.bn1(self.conv_stem(images)))]
        for stage in self.blocks:
            maps.append(stage(maps[-1]))
        return maps


class _Block(nn.Module):
    """An inverted residual; without the expanding convolution where it expands by 1."""

    def __init__(self, channels: int, width: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = channels * expansion
        expand = [_convolution(channels, inner, 1), _norm(inner)] if expansion > 1 else []
        depthwise = [_convolution(inner, inner, kernel, stride=stride, groups=inner), _norm(inner)]
        project = [_convolution(inner, width, 1), _norm(width)]
        names = ("conv_pw", "conv_dw", "conv_pwl") if expand else ("conv_dw", "conv_pw")
        self.convolutions, self.skips = names, stride == 1 and channels == width
        layers = iter([*expand, *depthwise, *project])
        for number, name in enumerate(names, 1):
            self.add_module(name, next(layers))
            self.add_module(f"bn{number}", next(layers))

    def forward(self, maps: Tensor) -> Tensor:
        out = maps
        for number, name in enumerate(self.convolutions, 1):
            out = self.get_submodule(f"bn{number}")(self.get_submodule(name)(out))
            if number < len(self.convolutions):
                out = F.relu6(out)
        return out + maps if self.skips else out


class _Same(nn.Conv2d):
    """A convolution padded as TensorFlow pads: by what the size needs, the odd row and column below and right."""

    def forward(self, input: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        around = []
        for size in (input.shape[-1], input.shape[-2]):
            missing = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
            around += [missing // 2, missing - missing // 2]
        return super().forward(F.pad(input, around))


def _convolution(channels: int, width: int, kernel: int, *, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    if stride == 1:
        return nn.Conv2d(channels, width, kernel, padding=kernel // 2, groups=groups, bias=False)
    return _Same(channels, width, kernel, stride, groups=groups, bias=False)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)  # TensorFlow's
