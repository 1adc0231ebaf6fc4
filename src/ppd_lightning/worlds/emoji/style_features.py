"""Hand-made features of how a picture is drawn, whatever its content: colours, palette, edges and smoothness.

B = batch, H, W = height and width, F = features.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ppd_lightning.rewards.image_statistics import luma

SATURATION = (0.05, 0.15, 0.3, 0.5, 0.7, 0.9)
VALUE = (0.08, 0.2, 0.4, 0.6, 0.8, 0.95)
SLOPE = (0.01, 0.02, 0.04, 0.08, 0.15, 0.3)
BEND = (0.02, 0.05, 0.1, 0.2, 0.4)
"""The edges of the bins of each histogram: chroma, brightest channel, first and second differences of the colour."""

PALETTE = 6
"""Levels of a channel when colours are counted."""

_BINS = {"saturation": SATURATION, "value": VALUE, "slope": SLOPE, "bend": BEND}
FEATURES = (
    *[f"{name}_{number}" for name, parts in _BINS.items() for number in range(len(parts) + 1)],
    "ink",
    "palette_size",
    "palette_entropy",
    "largest_colour",
    "dark_outline",
    "light_inside",
    "chroma_at_edges",
    "smooth_shading",
    "width",
    "height",
    *[f"colour_{number}" for number in range(PALETTE**3)],
)
"""The columns of `style_features`, in order. Histograms are over the drawing: the paper around does not count."""


def style_features(images: Tensor) -> Tensor:
    """Images (B, 3, H, W) float in [0, 1] to features (B, F) float32."""
    images = images.float().contiguous()
    low, high = images.amin(1), images.amax(1)  # (B, H, W)
    paper = low > 0.9
    inside = _drawn(paper)
    count = inside.flatten(1).sum(1).clamp(min=1)

    def share(mask: Tensor) -> Tensor:
        return (mask & inside).flatten(1).sum(1) / count

    def mean(values: Tensor, mask: Tensor) -> Tensor:
        return (values * mask).flatten(1).sum(1) / mask.flatten(1).sum(1).clamp(min=1)

    chroma = high - low
    slope = _slope(images)
    bend = _bend(images)
    edge = slope > 0.15
    columns: list[Tensor] = []
    for values, parts in ((chroma, SATURATION), (high, VALUE), (slope, SLOPE), (bend, BEND)):
        bins = torch.bucketize(values, values.new_tensor(parts))
        columns += (_count(bins, inside, len(parts) + 1) / count[:, None]).unbind(1)
    palette = _count(_colour(images), inside, PALETTE**3) / count[:, None]
    entropy = -(palette * palette.clamp(min=1e-12).log()).sum(1)
    columns += [
        inside.flatten(1).float().mean(1),
        (palette > 0.01).sum(1).float() / 20,
        entropy,
        palette.amax(1),
        mean((luma(images) < 0.25).float(), edge),
        share(paper),
        mean(chroma, edge),
        share((slope > 0.01) & (slope < 0.06) & (bend < 0.05)),
        inside.any(1).float().mean(1),
        inside.any(2).float().mean(1),
    ]
    # Shares of single colours are small and uneven: their roots are less so.
    return torch.cat([torch.stack(columns, dim=1), palette.sqrt()], dim=1)


def _drawn(paper: Tensor) -> Tensor:
    """The pixels (B, H, W) that belong to the drawing: in its row and in its column there is ink on both sides."""
    ink = (~paper).int()
    before = {dim: ink.cumsum(dim) for dim in (1, 2)}
    columns, rows = ((seen > 0) & (seen - ink < seen.amax(dim, keepdim=True)) for dim, seen in before.items())
    return columns & rows


def _slope(images: Tensor) -> Tensor:
    """Largest first difference of a channel to the right or downwards, (B, H, W)."""
    across = F.pad(images.diff(dim=3).abs().amax(1), (0, 1, 0, 0))
    down = F.pad(images.diff(dim=2).abs().amax(1), (0, 0, 0, 1))
    return torch.maximum(across, down)


def _bend(images: Tensor) -> Tensor:
    """Largest second difference of a channel along a row or a column, (B, H, W)."""
    across = F.pad(images.diff(n=2, dim=3).abs().amax(1), (1, 1, 0, 0))
    down = F.pad(images.diff(n=2, dim=2).abs().amax(1), (0, 0, 1, 1))
    return torch.maximum(across, down)


def _colour(images: Tensor) -> Tensor:
    """The quantised colour of each pixel, (B, H, W) int64."""
    red, green, blue = (images * PALETTE).long().clamp(max=PALETTE - 1).unbind(1)
    return (red * PALETTE + green) * PALETTE + blue


def _count(bins: Tensor, inside: Tensor, number: int) -> Tensor:
    """Pixels of the drawing in each bin: bins (B, H, W) int64 in [0, number), inside (B, H, W) bool to (B, number)."""
    counts = torch.zeros(len(bins), number, device=bins.device)
    return counts.scatter_add_(1, bins.flatten(1), inside.flatten(1).float())
