"""The head that two published rewards share: from features to a score.

Source: christophschuhmann/improved-aesthetic-predictor; ImageReward took it over.
"""

from __future__ import annotations

from torch import Tensor, nn


class ScoreHead(nn.Module):
    """Five linear layers without anything between them, features (B, width) to scores (B,)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        linear, dropped = nn.Linear, nn.Identity  # files count the places of the dropouts, which evaluation leaves out
        self.layers = nn.Sequential(
            linear(width, 1024), dropped(), linear(1024, 128), dropped(), linear(128, 64), dropped(), linear(64, 16)
        )
        self.layers.append(linear(16, 1))

    def forward(self, features: Tensor) -> Tensor:
        """See the class."""
        scores: Tensor = self.layers(features)
        return scores.squeeze(-1)
