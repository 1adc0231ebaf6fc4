"""Numbers computed from the pixels alone: visible properties that people like or dislike.

B = batch, H, W = height and width, J = statistics.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

STATISTICS = ("colourfulness", "brightness", "clutter", "ink")
"""What people like or dislike of a picture beside its style: the columns of `image_statistics`, in order."""

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in perceived brightness (ITU-R BT.601)."""

PAPER = 0.9
"""A pixel is ink when one of its channels is below this: white paper, and JPEG's ripples on it, are above."""


FLAT = 1e-6
"""A variance of luma below this is none: a thousandth of the way from black to white."""


def image_statistics(images: Tensor) -> Tensor:
    """Every statistic of every image.

    Args:
        images: (B, 3, H, W) float RGB in [0, 1], H and W at least 3.

    Returns:
        (B, J) float32, columns in the order of STATISTICS.

    Raises:
        ValueError: the images have another shape or type.
    """
    if images.ndim != 4 or images.shape[1] != 3 or min(images.shape[2:]) < 3 or not images.is_floating_point():
        raise ValueError(
            f"images: expected (B, 3, H, W) float with H, W >= 3, got {tuple(images.shape)} {images.dtype}"
        )
    images = images.float()
    columns = (colourfulness(images), brightness(images), clutter(images), ink(images))
    return torch.stack(columns, dim=1)


def colourfulness(images: Tensor) -> Tensor:
    """Spread and strength of the opponent colours, (B, 3, H, W) to (B,).

    The M3 metric of Hasler and Suesstrunk, "Measuring colourfulness in natural images" (2003), on channels in [0, 1]
    instead of [0, 255]: sqrt(var(rg) + var(yb)) + 0.3 sqrt(mean(rg)^2 + mean(yb)^2).
    """
    red, green, blue = images.unbind(1)
    opponent = torch.stack([red - green, (red + green) / 2 - blue], dim=1).flatten(2)
    spread = opponent.var(dim=2, correction=0).sum(1).sqrt()
    strength = opponent.mean(2).square().sum(1).sqrt()
    return spread + 0.3 * strength


def brightness(images: Tensor) -> Tensor:
    """Mean luma, (B, 3, H, W) to (B,): 0 is black, 1 is white."""
    return luma(images).mean((1, 2))


def clutter(images: Tensor) -> Tensor:
    """Density of edges, (B, 3, H, W) to (B,): the mean slope of the luma over the inner pixels, by Sobel's filters.

    The filters are scaled to slope per pixel, so one black-to-white edge all across the image counts 1 / (H - 2).
    """
    ramp, smooth = images.new_tensor([-0.5, 0.0, 0.5]), images.new_tensor([0.25, 0.5, 0.25])
    filters = torch.stack([torch.outer(smooth, ramp), torch.outer(ramp, smooth)])[:, None]
    slopes = F.conv2d(luma(images)[:, None], filters)
    return slopes.square().sum(1).sqrt().mean((1, 2))


def ink(images: Tensor) -> Tensor:
    """Share of the pixels that are not white paper, (B, 3, H, W) to (B,)."""
    return (images.amin(1) < PAPER).float().mean((1, 2))


def sharpness(images: Tensor) -> Tensor:
    """Variance of the Laplacian of the luma over the inner pixels, (B, 3, H, W) to (B,).

    Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy" (2000): the filter [0 1 0; 1 -4 1; 0 1 0] / 6.
    """
    lumas = luma(images)
    around = lumas[:, :-2, 1:-1] + lumas[:, 2:, 1:-1] + lumas[:, 1:-1, :-2] + lumas[:, 1:-1, 2:]
    return ((around - 4 * lumas[:, 1:-1, 1:-1]) / 6).flatten(1).var(dim=1, correction=0)


def symmetry(images: Tensor) -> Tensor:
    """How much the left half mirrors the right, (B, 3, H, W) to (B,): 1 is a perfect mirror image, -1 its negative.

    Marola's coefficient of symmetry about the vertical middle ("On the detection of the axes of symmetry of symmetric
    and almost symmetric planar images", 1989), sum(f * mirrored f) / sum(f^2), of the luma less its mean. An image of
    one brightness mirrors itself: 1.
    """
    centred = luma(images)
    centred = centred - centred.mean((1, 2), keepdim=True)
    mirrored, power = (centred * centred.flip(2)).sum((1, 2)), centred.square().sum((1, 2))
    flat = power <= FLAT * images[0, 0].numel()
    return torch.where(flat, 1.0, mirrored / power.clamp(min=1e-12))


def luma(images: Tensor) -> Tensor:
    """Perceived brightness of each pixel, (B, 3, H, W) to (B, H, W)."""
    red, green, blue = images.unbind(1)
    return LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue
