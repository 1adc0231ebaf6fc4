"""The weights of scores are a logistic regression: its optimum, found independently, and planted tastes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ppd_lightning.users.choice_regression import choice_weights


@pytest.mark.parametrize("regularisation", [0.01, 1.0, 30.0])
@pytest.mark.parametrize("scale", [0.1, 1.0, 40.0])
def test_weights_are_the_minimum_that_an_independent_solver_finds(regularisation: float, scale: float) -> None:
    margins = np.random.default_rng(0).normal(size=(5, 4, 3)) * scale
    found = choice_weights(margins, regularisation)
    assert found.shape == (5, 3)
    for own, weights in zip(margins, found, strict=True):
        best = torch.zeros(3, dtype=torch.float64, requires_grad=True)
        solver = torch.optim.LBFGS([best], max_iter=500, tolerance_grad=1e-12, line_search_fn="strong_wolfe")

        def loss(own: np.ndarray = own, best: torch.Tensor = best) -> torch.Tensor:
            best.grad = None
            value = torch.nn.functional.softplus(-torch.from_numpy(own) @ best).sum()
            value = value + regularisation / 2 * best.square().sum()
            value.backward()
            return value

        solver.step(loss)
        np.testing.assert_allclose(weights, best.detach().numpy(), atol=1e-4 * max(1, np.abs(weights).max()))


def test_the_gradient_vanishes() -> None:
    margins = np.random.default_rng(1).normal(size=(200, 8, 4)) * 5
    weights = choice_weights(margins, 0.5)
    wrong = 1 / (1 + np.exp(np.einsum("rsj,rj->rs", margins, weights)))
    np.testing.assert_allclose(np.einsum("rs,rsj->rj", wrong, margins), 0.5 * weights, atol=1e-8)


def test_a_planted_taste_comes_out_of_many_choices() -> None:
    """Choices are Bradley-Terry by weights (2, -1, 0): margins are turned to the chosen image."""
    generator, taste = np.random.default_rng(2), np.array([2.0, -1.0, 0.0])
    margins = generator.normal(size=(1, 4000, 3))
    chosen = generator.random((1, 4000)) < 1 / (1 + np.exp(-margins @ taste))
    found = choice_weights(np.where(chosen[:, :, None], margins, -margins), 1.0)
    np.testing.assert_allclose(found[0], taste, atol=0.15)


def test_more_regularisation_gives_shorter_vectors_and_no_difference_gives_none() -> None:
    margins = np.random.default_rng(3).normal(size=(6, 4, 3))
    lengths = [np.linalg.norm(choice_weights(margins, strength), axis=1) for strength in (0.1, 1.0, 10.0)]
    assert (lengths[0] > lengths[1]).all()
    assert (lengths[1] > lengths[2]).all()
    assert (choice_weights(np.zeros((2, 4, 3)), 1.0) == 0).all()
