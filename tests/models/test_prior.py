from __future__ import annotations

import torch
from tests import tiny

from ppd_lightning.models.prior import predict_noise


def test_stage_c_is_called_with_a_zero_image_and_the_time_as_it_is() -> None:
    prior = tiny.unet()
    noised, t, text, pooled = tiny.inputs(3)
    expected = prior(
        sample=noised,
        timestep_ratio=t,
        clip_text_pooled=pooled,
        clip_text=text,
        clip_img=torch.zeros(3, 1, tiny.IMAGE_WIDTH),
    ).sample
    predicted = predict_noise(prior, noised, t, text, pooled)
    assert torch.equal(predicted, expected)
    assert predicted.shape == noised.shape
    for other in ((noised, 1 - t, text, pooled), (noised, t, text.flip(0), pooled), (noised, t, text, pooled.flip(0))):
        assert not torch.allclose(predict_noise(prior, *other), expected, atol=1e-2)
