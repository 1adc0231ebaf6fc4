from __future__ import annotations

import pytest
import torch
from diffusers import DDPMWuerstchenScheduler
from tests import tiny, tiny_codec
from torch import Tensor

from ppd_lightning.backbones.cascade.sampler import DDPMSampler
from ppd_lightning.backbones.cascade.stage_b import StageBDecoder


def _decoder(steps: int = 10) -> StageBDecoder:
    sampler = DDPMSampler(DDPMWuerstchenScheduler())
    return StageBDecoder(tiny_codec.stage_b(), tiny_codec.stage_a(), sampler, steps=steps)


@pytest.fixture
def decoder() -> StageBDecoder:
    return _decoder()


def _inputs(count: int, height: int = 3, width: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(count, 16, height, width, generator=generator)
    return latents, torch.randn(count, 1, tiny.POOLED_WIDTH, generator=generator)


def _generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


@pytest.mark.parametrize("steps", [10, 3])
def test_images_are_those_of_diffusers_pipeline_to_the_bit(steps) -> None:
    latents, pooled = _inputs(3, 3, 4)  # 32x42 latents of Stage A: one side is halved evenly, the other is not
    pipeline = tiny.deprecated("StableCascadeDecoderPipeline")(
        decoder=tiny_codec.stage_b(),
        vqgan=tiny_codec.released_stage_a(),
        scheduler=DDPMWuerstchenScheduler(),
        tokenizer=tiny.tokenizer(),
        text_encoder=tiny.text_encoder(),
    )
    pipeline.set_progress_bar_config(disable=True)
    expected = pipeline(
        latents,
        prompt_embeds=torch.zeros(3, tiny.TEXT_LENGTH, tiny.TEXT_WIDTH),
        prompt_embeds_pooled=pooled,
        num_inference_steps=steps,
        guidance_scale=0.0,
        generator=_generators(5, 6, 7),
        output_type="pt",
    ).images
    found = _decoder(steps)(latents, pooled, _generators(5, 6, 7))
    assert torch.equal(found, expected)
    assert found.shape == (3, 3, 128, 168)
    assert ((found > 0) & (found < 1)).float().mean() > 0.5  # the clamp hides little


def test_ten_steps_without_guidance_are_the_pipelines_own_settings(decoder) -> None:
    assert decoder.steps == 10


def test_an_image_is_the_same_in_any_batch(decoder) -> None:
    latents, pooled = _inputs(3)
    together = decoder(latents, pooled, _generators(5, 6, 7))
    for place, seed in enumerate((5, 6, 7)):
        one = slice(place, place + 1)
        torch.testing.assert_close(decoder(latents[one], pooled[one], _generators(seed)), together[one])


def test_latents_text_and_generator_all_count(decoder) -> None:
    latents, pooled = _inputs(1)
    image = decoder(latents, pooled, _generators(5))
    for changed in (
        decoder(-latents, pooled, _generators(5)),
        decoder(latents, -pooled, _generators(5)),
        decoder(latents, pooled, _generators(6)),
    ):
        assert (changed - image).abs().max() > 0.005


def test_images_are_the_written_out_sampler_and_stage_a_in_float64(decoder) -> None:
    latents, pooled = _inputs(1)
    (generator,) = _generators(5)
    times = torch.linspace(1, 0, 11, dtype=torch.float64)
    angle = (times + 0.008) / 1.008 * torch.pi / 2
    alpha_bar = (angle.cos() ** 2 / angle[-1].cos() ** 2).clamp(1e-4, 0.9999)
    x = torch.randn(4, 32, 32, generator=generator)[None].double()
    for step in range(10):
        with torch.no_grad():
            noise = decoder.decoder(
                x.float(), times[step].float()[None], clip_text_pooled=pooled, effnet=latents, return_dict=False
            )[0].double()
        now, after = alpha_bar[step], alpha_bar[step + 1]
        alpha = now / after
        x = (x - (1 - alpha) / (1 - now).sqrt() * noise) / alpha.sqrt()
        drawn = torch.randn((1, 4, 32, 32), generator=generator).double()
        if step < 9:
            x = x + ((1 - alpha) * (1 - after) / (1 - now)).sqrt() * drawn
    expected = decoder.stage_a((0.3764 * x).float()).clamp(0, 1)
    torch.testing.assert_close(decoder(latents, pooled, _generators(5)), expected, rtol=0, atol=1e-3)


def test_lengths_that_differ_are_refused(decoder) -> None:
    latents, pooled = _inputs(2)
    with pytest.raises(ValueError, match="one entry for each image, got 2, 1 and 2"):
        decoder(latents, pooled[:1], _generators(5, 6))
    with pytest.raises(ValueError, match="got 2, 2 and 1"):
        decoder(latents, pooled, _generators(5))


def test_weights_in_bfloat16_draw_float32_images_close_to_those_of_float32(decoder) -> None:
    latents, pooled = _inputs(1)
    exact, other = decoder(latents, pooled, _generators(5)), decoder(latents, pooled, _generators(6))
    decoder.decoder.bfloat16()
    decoder.stage_a.bfloat16()
    rough = decoder(latents, pooled, _generators(5))
    assert rough.dtype == torch.float32
    assert (rough - exact).square().mean() < 0.25 * (other - exact).square().mean()
    assert not torch.equal(rough, exact)
