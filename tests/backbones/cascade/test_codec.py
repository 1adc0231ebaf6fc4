from __future__ import annotations

import sys

import pytest
import torch
from diffusers import DDPMWuerstchenScheduler
from tests import tiny, tiny_codec

from ppd_lightning.backbones.cascade.codec import StageCCodec
from ppd_lightning.backbones.cascade.sampler import DDPMSampler
from ppd_lightning.backbones.cascade.stage_b import StageBDecoder
from ppd_lightning.backbones.stage_c import StageC


def test_every_part_does_its_own_work() -> None:
    encoder, previewer = tiny_codec.efficientnet_encoder(), tiny_codec.previewer()
    decoder = StageBDecoder(tiny_codec.stage_b(), tiny_codec.stage_a(), DDPMSampler(DDPMWuerstchenScheduler()))
    codec = StageCCodec(encoder, previewer, decoder)
    images, pooled = tiny_codec.images(2, 96, 128), torch.randn(2, 1, tiny.POOLED_WIDTH)

    def generators() -> list[torch.Generator]:
        return [torch.Generator().manual_seed(seed) for seed in (5, 6)]

    latents = codec.encode(images)
    assert latents.shape == (2, 16, 96 // StageC.stride, 128 // StageC.stride)
    assert torch.equal(latents, encoder(images))
    assert torch.equal(codec.preview(latents), previewer(latents))
    assert torch.equal(
        codec.decode(latents, {"text_pooled": pooled}, generators()), decoder(latents, pooled, generators())
    )


@pytest.mark.parametrize(
    ("part", "use"),
    [
        ("encoder", lambda codec: codec.encode(torch.rand(1, 3, 32, 32))),
        ("previewer", lambda codec: codec.preview(torch.randn(1, 16, 1, 1))),
        ("decoder", lambda codec: codec.decode(torch.randn(1, 16, 1, 1), {"text_pooled": torch.randn(1, 1, 8)}, [])),
    ],
)
def test_a_part_that_was_not_loaded_is_named(part, use) -> None:
    with pytest.raises(ValueError, match=f"without its {part}"):
        use(StageCCodec())


def test_a_codec_that_does_not_encode_needs_no_torchvision(monkeypatch, tmp_path) -> None:
    monkeypatch.setitem(sys.modules, "torchvision.models", None)
    monkeypatch.delitem(sys.modules, "ppd_lightning.backbones.cascade.efficientnet_encoder")
    codec = tiny.stage_c(tiny.stage_c_folder(tmp_path)).load_codec("cpu", "previewer", "decoder")
    assert codec.preview(torch.randn(1, 16, 1, 1)).shape == (1, 3, 8, 8)
