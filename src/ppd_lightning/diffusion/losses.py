"""Preference losses on mean squared errors of predictions (PPD, arXiv 2501.06655, Eq. 3 and 6).

B = batch, D = dimensions of a latent.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def loss_coefficient(beta: float, dims: int, *, reduction: str = "sum", timesteps_weight: float = 0.5) -> float:
    """C in loss = -log sigmoid(-C * Delta), Delta being a difference of *mean* squared errors.

    The papers write beta * T * w(lambda) times a squared norm; conventions differ in whether the norm is summed over
    the D dimensions or averaged, and in what stands for T * w. C is what they all come to:
    beta * timesteps_weight * (D if reduction is "sum" else 1). Diffusion-DPO's released code has C = beta_dpo / 2.

    Args:
        beta: strength of the pull toward the reference; > 0.
        dims: D.
        reduction: "sum" or "mean", the convention of the norm.
        timesteps_weight: T * w; > 0.

    Raises:
        ValueError: an argument is out of its range.
    """
    if beta <= 0 or timesteps_weight <= 0 or dims < 1:
        raise ValueError(f"beta, timesteps_weight and dims must be positive, got {beta}, {timesteps_weight}, {dims}")
    if reduction not in ("sum", "mean"):
        raise ValueError(f"reduction must be 'sum' or 'mean', got {reduction!r}")
    return beta * timesteps_weight * (dims if reduction == "sum" else 1)


def prediction_error(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of a prediction of `target`, (B, ...) to (B,), in fp32."""
    return (predicted.float() - target.float()).square().flatten(1).mean(1)


def preference_loss(
    policy_preferred: Tensor,
    policy_dispreferred: Tensor,
    reference_preferred: Tensor,
    reference_dispreferred: Tensor,
    coefficient: float | Tensor,
) -> tuple[Tensor, Tensor]:
    """-log sigmoid of the implicit reward margin (Eq. 6): ln 2 where policy and reference agree.

    Args:
        policy_preferred: (B,) mean squared errors of the policy on the preferred images.
        policy_dispreferred: (B,) the same on the dispreferred images.
        reference_preferred: (B,) mean squared errors of the reference on the preferred images.
        reference_dispreferred: (B,) the same on the dispreferred images.
        coefficient: C of `loss_coefficient`, or one for each example (B,).

    Returns:
        loss (B,) and logits (B,): -C times the difference of differences; positive where the policy has moved toward
        the preferred image more than toward the other.
    """
    margin = (policy_preferred - reference_preferred) - (policy_dispreferred - reference_dispreferred)
    logits = -coefficient * margin
    return -F.logsigmoid(logits), logits


def implicit_accuracy(logits: Tensor) -> Tensor:
    """Share of pairs that the implicit reward orders rightly, (B,) to (B,); ties count one half."""
    return torch.heaviside(logits, logits.new_full((), 0.5))
