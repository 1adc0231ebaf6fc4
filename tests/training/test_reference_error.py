from __future__ import annotations

import torch
from tests import tiny

from ppd_lightning.diffusion.draws import draw
from ppd_lightning.diffusion.schedule import CosineSchedule
from ppd_lightning.diffusion.weighting import TimeWeight
from ppd_lightning.training.reference_error import reference_error_by_time


def test_it_is_the_networks_mean_error_at_each_time() -> None:
    backbone, network, batch = tiny.backbone(), tiny.unet(), tiny.batch(5)
    errors = reference_error_by_time(backbone, network, batch, 0.2, 0.9, seed=4, per_bin=3)
    assert errors.shape == (TimeWeight.BINS,)
    schedule = CosineSchedule()
    for index in (0, 17, 63):
        t = 0.2 + 0.7 * (index + 0.5) / 64
        expected = []
        for number in range(3):
            row = (3 * index + number) % 5
            noise = draw(4, index, number, tiny.LATENT).noise_preferred
            bar = schedule.alpha_bar(torch.tensor([t], dtype=torch.float64)).item()
            noised = bar**0.5 * batch["latents_preferred"][row] + (1 - bar) ** 0.5 * noise
            states = tiny.conditions(batch["text"][[row]], batch["text_pooled"][[row]])
            predicted = backbone.predict(network, noised[None], torch.tensor([t]), states)[0]
            expected.append((predicted.double() - noise.double()).square().mean())
        torch.testing.assert_close(errors[index].double(), torch.stack(expected).mean(), rtol=1e-4, atol=0)


def test_it_needs_no_gradients_and_is_the_same_again() -> None:
    first, second = (
        reference_error_by_time(tiny.backbone(), tiny.unet(), tiny.batch(4), 0.001, 1.0, seed=0, per_bin=2)
        for _ in "12"
    )
    assert torch.equal(first, second)
    assert not first.requires_grad
    assert (first > 0).all()
