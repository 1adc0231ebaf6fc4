from __future__ import annotations

import math
import random

import numpy as np
import torch

from ppd_lightning.diffusion.draws import VERSION, Draw, choose, draw, draw_batch, draw_dropping

SHAPE = (16, 4, 4)


def flat(drawn: Draw) -> torch.Tensor:
    return torch.cat([part.double().flatten() for part in vars(drawn).values()])


def test_draws_of_this_version_are_pinned() -> None:
    """Reference errors and running trainings rely on these numbers: whoever changes them raises VERSION."""
    drawn = draw(3, 2, 12345, (2, 2))
    found = [round(value, 6) for value in flat(drawn).tolist()]
    expected = [
        0.684066,
        1.372105,
        -0.096844,
        -1.516649,
        -0.249692,
        -0.626564,
        -0.341842,
        -0.599134,
        -0.996892,
        0.536306,
    ]
    assert (VERSION, found) == (1, expected)


def test_draws_do_not_depend_on_the_batch_or_its_order() -> None:
    epochs, pairs = torch.tensor([0, 0, 1, 5]), torch.tensor([7, 8, 7, 2**40])
    together = draw_batch(11, epochs, pairs, SHAPE)
    order = torch.tensor([2, 0, 3, 1])
    shuffled = draw_batch(11, epochs[order], pairs[order], SHAPE)
    for i in range(4):
        alone = draw(11, int(epochs[i]), int(pairs[i]), SHAPE)
        for name, part in vars(alone).items():
            assert torch.equal(getattr(together, name)[i], part)
        assert torch.equal(shuffled.noise_preferred[i], together.noise_preferred[order[i]])


def test_what_is_not_asked_for_changes_nothing_of_the_rest() -> None:
    epochs, pairs = torch.tensor([0, 3]), torch.tensor([7, -8])
    whole, one = draw_batch(11, epochs, pairs, SHAPE), draw_batch(11, epochs, pairs, SHAPE, noises=1)
    assert one.noise_dispreferred is None
    for name in ("t", "noise_preferred", "drop_user"):
        assert torch.equal(getattr(one, name), getattr(whole, name))
    assert torch.equal(draw_dropping(11, epochs, pairs), whole.drop_user)


def test_draws_neither_read_nor_move_the_global_random_state() -> None:
    outcomes = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
        outcomes.append(flat(draw(0, 0, 0, SHAPE)))
        assert torch.equal(torch.get_rng_state(), before[0])
        assert (np.random.get_state()[1].tolist(), random.getstate()) == before[1:]
    assert torch.equal(*outcomes)


def test_draws_differ_by_seed_epoch_and_pair() -> None:
    keys = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (0, 1, 1), (2**33, 0, 0), (0, 0, -1)]
    numbers = torch.stack([flat(draw(*key, SHAPE)) for key in keys])
    for first in range(len(keys)):
        for second in range(first):
            assert (numbers[first] != numbers[second]).float().mean() > 0.99


def test_draws_have_the_distributions_they_claim() -> None:
    count = 4000
    drawn = draw_batch(0, torch.zeros(count, dtype=torch.int64), torch.arange(count), SHAPE)
    for uniform in (drawn.t, drawn.drop_user):
        histogram = torch.histc(uniform, 10, 0, 1)
        assert ((histogram - count / 10).abs() < 5 * math.sqrt(count / 10)).all()
    assert drawn.t.min() > 0
    assert drawn.t.max() <= 1
    assert drawn.drop_user.max() < 1
    assert abs(torch.corrcoef(torch.stack([drawn.t, drawn.drop_user]))[0, 1]) < 0.08
    for noise in (drawn.noise_preferred, drawn.noise_dispreferred):
        assert abs(noise.mean()) < 0.005
        assert abs(noise.std() - 1) < 0.005
        assert abs((noise.abs() < 1).float().mean() - 0.6827) < 0.003
    both = torch.stack([drawn.noise_preferred.flatten(), drawn.noise_dispreferred.flatten()])
    assert abs(torch.corrcoef(both)[0, 1]) < 0.005
    neighbours = torch.stack([drawn.noise_preferred[:-1].flatten(), drawn.noise_preferred[1:].flatten()])
    assert abs(torch.corrcoef(neighbours)[0, 1]) < 0.005


def test_draws_are_float32() -> None:
    drawn = draw(0, 0, 0, SHAPE)
    assert {part.dtype for part in vars(drawn).values()} == {torch.float32}
    assert drawn.noise_preferred.shape == SHAPE


def test_choices_are_uniform_and_purposes_and_epochs_apart() -> None:
    count, of = 6000, 6
    first = np.array([choose("grouping", 0, 0, pair, of) for pair in range(count)])
    assert (abs(np.bincount(first, minlength=of) - count / of) < 5 * math.sqrt(count / of)).all()
    for other in (("shots", 0, 0), ("grouping", 1, 0), ("grouping", 0, 1)):
        second = np.array([choose(*other, pair, of) for pair in range(count)])
        assert abs((first == second).mean() - 1 / of) < 0.03
    assert first.tolist() == [choose("grouping", 0, 0, pair, of) for pair in range(count)]
