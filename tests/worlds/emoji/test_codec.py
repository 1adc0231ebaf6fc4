from __future__ import annotations

import torch
from tests import tiny

from ppd_lightning.worlds.emoji.codec import EmojiCodec


def test_shapes_and_range_of_images_and_latents() -> None:
    codec, images = tiny.codec(), torch.rand(2, 3, 32, 48)
    latents = codec.encode(images)
    assert latents.shape == (2, 16, 4, 6)
    decoded = codec.preview(5 * latents)
    assert decoded.shape == images.shape
    assert torch.equal(codec.decode(5 * latents, {}, []), decoded)
    assert decoded.min() == 0
    assert decoded.max() == 1


def test_latents_are_normalised_by_the_running_statistics() -> None:
    codec = tiny.codec()
    images = torch.rand(4, 3, 32, 32)
    raw = codec.encode(images)  # a new BatchNorm has mean 0 and variance 1
    norm = codec.encoder[-1]
    norm.running_mean.copy_(torch.arange(16.0))
    norm.running_var.copy_(torch.arange(1, 17.0))
    expected = (raw * (1 + norm.eps) ** 0.5 - norm.running_mean[:, None, None]) / (norm.running_var + norm.eps).sqrt()[
        :, None, None
    ]
    torch.testing.assert_close(codec.encode(images), expected, rtol=1e-4, atol=1e-4)


def test_noise_on_the_latents_is_for_training_only() -> None:
    codec, images = tiny.codec(), torch.rand(2, 3, 32, 32)
    assert torch.equal(codec(images), codec(images))
    torch.testing.assert_close(codec(images).clamp(0, 1), codec.preview(codec.encode(images)))
    codec.train()
    codec.encoder[-1].eval()
    assert not torch.equal(codec(images), codec(images))


def test_it_saves_and_loads_with_its_shape(tmp_path) -> None:
    codec, images = tiny.codec(), torch.rand(1, 3, 32, 32)
    codec.save_pretrained(tmp_path)
    loaded = EmojiCodec.from_pretrained(tmp_path, local_files_only=True).eval()
    assert loaded.config.decoder_blocks in [(1, 1), [1, 1]]
    assert torch.equal(loaded.encode(images), codec.encode(images))
