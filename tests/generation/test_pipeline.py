from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch
from diffusers import DDPMWuerstchenScheduler
from tests import tiny
from torch import Tensor, nn

from ppd_lightning.backbones.cascade.prior import predict_noise
from ppd_lightning.backbones.cascade.text import TextStates
from ppd_lightning.backbones.user_branch import UserBranch
from ppd_lightning.errors import UserError
from ppd_lightning.generation import pipeline
from ppd_lightning.generation.pipeline import Guidance, UserPipeline
from ppd_lightning.worlds.emoji.backbone import EmojiBackbone

CAPTIONS = ["red fox", "tree", "cup"]
SEEDS = [0, 0, 7]
STEPS = 5


class AsTheyAre:
    """A codec whose images are the latents, so that tests see every bit of them; a preview is half of them."""

    def encode(self, images: Tensor) -> Tensor:
        return images

    def preview(self, latents: Tensor) -> Tensor:
        return latents / 2

    def decode(
        self, latents: Tensor, conditions: Mapping[str, Tensor], generators: Sequence[torch.Generator]
    ) -> Tensor:
        self.text_pooled = conditions["text_pooled"]
        self.noise = torch.stack([torch.randn(latents.shape[1:], generator=one) for one in generators])
        return latents


def made(*, branch: bool = True, null: str = "zero", **settings: Any) -> UserPipeline:
    network = tiny.unet()
    text = TextStates(tiny.tokenizer(), tiny.text_encoder())
    own = tiny.branch(network, null=null) if branch else None
    return UserPipeline(tiny.backbone(), network, own, AsTheyAre(), text, image_size=32, **settings)


def watch(monkeypatch: pytest.MonkeyPatch, seen: Callable[[Tensor, Tensor], object]) -> None:
    """Show every noised latents and the prediction on them."""
    predict = EmojiBackbone.predict

    def watched(self: EmojiBackbone, network: nn.Module, noised: Tensor, *inputs: Any) -> Tensor:
        prediction = predict(self, network, noised, *inputs)
        seen(noised, prediction)
        return prediction

    monkeypatch.setattr(EmojiBackbone, "predict", watched)


def draw(
    drawer: UserPipeline,
    users: Tensor | None,
    captions: list[str] = CAPTIONS,
    seeds: list[int] = SEEDS,
    steps: int = STEPS,
    **guidance: object,
) -> Tensor:
    return drawer(captions, users, seeds, steps=steps, guidance=Guidance(**guidance))


def generators() -> list[torch.Generator]:
    return [pipeline._generator("network", caption, seed) for caption, seed in zip(CAPTIONS, SEEDS, strict=True)]


def released(drawer: UserPipeline, steps: int) -> Tensor:
    """The latents of the released pipeline with the same text and noise, the caption guided at 4."""
    stock = tiny.deprecated("StableCascadePriorPipeline")(
        tiny.tokenizer(), tiny.text_encoder(), tiny.unet(), DDPMWuerstchenScheduler(), resolution_multiple=8
    )
    stock.set_progress_bar_config(disable=True)
    text, pooled = drawer.text(sorted(CAPTIONS)).values()
    rows = [sorted(CAPTIONS).index(caption) for caption in CAPTIONS]
    null, null_pooled = (part.expand(3, -1, -1) for part in drawer.text([""]).values())
    images: Tensor = stock(
        prompt_embeds=text[rows],
        prompt_embeds_pooled=pooled[rows],
        negative_prompt_embeds=null,
        negative_prompt_embeds_pooled=null_pooled,
        height=32,
        width=32,
        num_inference_steps=steps,
        guidance_scale=4.0,
        generator=generators(),
        output_type="pt",
    ).image_embeddings
    return images


@pytest.mark.parametrize("steps", [STEPS, 20, 30])
@pytest.mark.parametrize("branch", [False, True])
def test_without_users_it_is_the_released_pipeline_to_the_last_bit(branch: bool, steps: int) -> None:
    drawer = made(branch=branch)
    expected = released(drawer, steps)
    assert torch.equal(draw(drawer, None, steps=steps, text=4.0), expected)
    assert expected.shape == (3, *tiny.LATENT)


def test_latents_may_be_decoded_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    drawer, users = made(), tiny.users(len(CAPTIONS))
    whole = draw(drawer, users)
    parts: list[int] = []
    decode = AsTheyAre.decode

    def counted(self: AsTheyAre, latents: Tensor, *given: Any) -> Tensor:
        parts.append(len(latents))
        return decode(self, latents, *given)

    monkeypatch.setattr(AsTheyAre, "decode", counted)
    drawn = drawer(CAPTIONS, users, SEEDS, steps=STEPS, guidance=Guidance(), decode_at_once=2)
    assert torch.equal(drawn, whole)
    assert parts == [2] * (len(CAPTIONS) // 2) + [1] * (len(CAPTIONS) % 2)


def test_users_who_are_nobody_are_the_released_pipeline_to_the_last_bit_beside_others() -> None:
    """A zero embedding, a blend that cancels out, and a person, in one batch of twenty steps."""
    drawer, one = made(), tiny.users(1)[0]
    users = torch.stack([torch.zeros_like(one), 0.5 * one + 0.5 * -one, one])
    drawn, expected = draw(drawer, users, steps=20, text=4.0, user=2.0), released(drawer, 20)
    assert torch.equal(drawn[:2], expected[:2])
    assert (drawn[2] - expected[2]).norm() > 0.05 * expected[2].norm()


@pytest.mark.parametrize("guidance", [{"user": 1e30}, {"text": 1e30}, {"user": 1e6}])
def test_what_is_no_image_is_not_drawn_and_the_guidance_is_named(guidance: dict[str, float]) -> None:
    with pytest.raises(UserError, match=r"'red fox' with seed 0, reach .* generation.user_guidance \(") as error:
        draw(made(), tiny.users(3), **guidance)
    assert f"({next(iter(guidance.values())):g})" in str(error.value)


def test_pixels_that_are_not_finite_are_no_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AsTheyAre, "preview", lambda self, latents: latents / 0)
    with pytest.raises(UserError, match="the pixels of the first"):
        draw(made(decoder="preview"), None)


def test_a_decoder_gets_the_captions_and_a_noise_of_its_own_for_each_image() -> None:
    """Known by caption and seed: whatever the batch, and never what the prior began with."""
    drawer = made()
    draw(drawer, tiny.users(3))
    noise, pooled = drawer.codec.noise, drawer.codec.text_pooled
    for i, (caption, seed) in enumerate(zip(CAPTIONS, SEEDS, strict=True)):
        draw(drawer, None, [caption, "cup"], [seed, 11])
        assert torch.equal(drawer.codec.noise[0], noise[i])
        torch.testing.assert_close(drawer.codec.text_pooled[0], pooled[i])
        assert not torch.equal(noise[i], torch.randn(tiny.LATENT, generator=generators()[i]))
    draw(drawer, None, CAPTIONS, [1, 1, 8])
    assert not any(torch.equal(*pair) for pair in zip(drawer.codec.noise, noise, strict=True))


def test_a_preview_is_the_codecs_of_the_same_latents() -> None:
    users = tiny.users(3)
    assert torch.equal(draw(made(decoder="preview"), users), draw(made(), users) / 2)


def test_captions_that_are_remembered_need_no_text_encoder() -> None:
    drawer = made()
    expected = draw(drawer, None)
    drawer.remember(CAPTIONS)
    assert torch.equal(draw(drawer, None), expected)
    with pytest.raises(KeyError):
        draw(drawer, None, ["another"], [0])


def test_a_prior_in_bf16_draws_float32_latents_close_to_those_of_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    drawer, types, noises = made(), [], []
    drawer.network.bfloat16()
    watch(monkeypatch, lambda noised, noise: (types.append((noised.dtype, noise.dtype)), noises.append(noise)))
    drawn, half = draw(drawer, tiny.users(3)), noises[0]
    noises.clear()
    expected = draw(made(), tiny.users(3))
    assert set(types) == {(torch.float32, torch.float32)}
    assert drawn.dtype == torch.float32
    assert (half - noises[0]).norm() < 0.05 * noises[0].norm()
    assert (drawn - expected).norm() < 0.3 * expected.norm()


def test_users_are_the_written_out_sampler_with_two_guidance_scales() -> None:
    """Each image alone, each prediction by its own forward, in the sampler of the Wuerstchen paper in float64."""
    drawer, users = made(), tiny.users(3)
    prior, branch = drawer.network, drawer.branch
    assert branch is not None
    times = torch.linspace(1, 0, STEPS + 1, dtype=torch.float64)
    angle = (times + 0.008) / 1.008 * torch.pi / 2
    alpha_bar = (angle.cos() ** 2 / (angle[-1].cos() ** 2)).clamp(1e-4, 0.9999)
    null = tuple(drawer.text([""]).values())
    images = []
    for caption, user, generator in zip(CAPTIONS, users, generators(), strict=True):
        text = tuple(drawer.text([caption]).values())
        x = torch.randn(tiny.LATENT, generator=generator)[None].double()
        for step in range(STEPS):
            t = times[step].float()[None]
            with torch.no_grad():
                of_text, of_null = (predict_noise(prior, x.float(), t, *states).double() for states in (text, null))
                with branch.user(user[None]):
                    of_user = predict_noise(prior, x.float(), t, *text).double()
            noise = of_null + 3.0 * (of_text - of_null) + 1.5 * (of_user - of_text)
            now, after = alpha_bar[step], alpha_bar[step + 1]
            alpha = now / after
            x = (x - (1 - alpha) / (1 - now).sqrt() * noise) / alpha.sqrt()
            drawn = torch.randn((1, *tiny.LATENT), generator=generator).double()
            if step < STEPS - 1:
                x = x + ((1 - alpha) * (1 - after) / (1 - now)).sqrt() * drawn
        images.append(x[0])
    ours = draw(drawer, users, text=3.0, user=1.5)
    torch.testing.assert_close(ours.double(), torch.stack(images), rtol=1e-3, atol=1e-3)
    assert not torch.allclose(ours, draw(drawer, None, text=3.0), atol=0.1)


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_zero_users_give_the_bases_image_bit_for_bit(scale: float) -> None:
    drawer = made()
    base = draw(drawer, None)
    assert torch.equal(draw(drawer, torch.zeros(3, tiny.EMBEDDING), user=scale), base)
    one = tiny.users(3)
    one[[0, 2]] = 0
    mixed = draw(drawer, one, user=scale)
    assert torch.equal(mixed[[0, 2]], base[[0, 2]])
    assert not torch.allclose(mixed[1], base[1], atol=0.05)


def test_zero_users_of_a_learned_null_are_people_in_general() -> None:
    drawer = made(null="learned")
    zero = torch.zeros(3, tiny.EMBEDDING)
    assert not torch.allclose(draw(drawer, zero), draw(drawer, None), atol=0.05)


def test_no_user_guidance_is_the_base() -> None:
    drawer = made()
    assert torch.equal(draw(drawer, tiny.users(3), user=0.0), draw(drawer, None))


def test_one_batch_that_mixes_users_equals_each_alone() -> None:
    drawer, users = made(), tiny.users(3)
    users[2] = 0
    together = draw(drawer, users, user=2.0)
    for i in range(3):
        alone = draw(drawer, users[[i]], CAPTIONS[i : i + 1], SEEDS[i : i + 1], user=2.0)
        assert (together[i] - alone[0]).norm() < 1e-3 * alone.norm()
        assert (together[i] - together[i - 1]).norm() > 0.1 * alone.norm()


def test_the_noise_depends_on_caption_and_seed_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen in the first latents: whatever the user, the place in the batch, the global seed or the other captions."""
    drawer, first = made(), []
    watch(monkeypatch, lambda noised, _: first.append(noised))

    def starts(captions: list[str], seeds: list[int], users: Tensor | None) -> Tensor:
        first.clear()
        draw(drawer, users, captions, seeds)
        return first[0][: len(captions)]

    alone = starts(["tree"], [3], None)[0]
    torch.manual_seed(123)
    batch = starts(["cup", "tree", "tree", "tree"], [3, 3, 4, 3], tiny.users(4))
    assert torch.equal(batch[1], alone)
    assert torch.equal(batch[3], alone)
    assert not torch.equal(batch[0], alone)
    assert not torch.equal(batch[2], alone)


def test_the_whole_image_is_the_same_again() -> None:
    torch.manual_seed(0)
    once = draw(made(), tiny.users(3))
    torch.manual_seed(1)
    assert torch.equal(draw(made(), tiny.users(3)), once)


def test_the_user_is_shown_only_at_the_times_of_the_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    drawer, users, shown = made(), tiny.users(3), []
    turn_on = UserBranch.user
    monkeypatch.setattr(UserBranch, "user", lambda self, given: shown.append(given) or turn_on(self, given))

    def times(low: float, high: float) -> int:
        shown.clear()
        draw(drawer, users, user_interval=(low, high))
        return len(shown)

    assert times(0, 1) == STEPS  # 1, 0.8, 0.6, 0.4, 0.2
    assert times(0.5, 1) == 3
    assert times(0.3, 0.7) == 2
    assert times(0.85, 0.95) == 0
    assert torch.equal(draw(drawer, users, user_interval=(0.85, 0.95)), draw(drawer, None))
    early, late = draw(drawer, users, user_interval=(0.5, 1)), draw(drawer, users, user_interval=(0, 0.5))
    assert not torch.allclose(early, late, atol=0.05)


def test_every_part_comes_from_the_model_folder(tmp_path) -> None:
    model = tiny.backbone(tiny.model_folder(tmp_path))
    prior = model.load_network()
    images = draw(UserPipeline.of(model, prior, None, image_size=32), None)
    latents = draw(made(), None)
    assert images.shape == (3, 3, 32, 32)
    torch.testing.assert_close(images, tiny.codec().preview(latents))


def test_the_text_encoder_may_work_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def load_text(self: EmojiBackbone, device: str) -> TextStates:
        asked.append(str(device))
        return TextStates(tiny.tokenizer(), tiny.text_encoder())

    monkeypatch.setattr(EmojiBackbone, "load_text", load_text)
    monkeypatch.setattr(EmojiBackbone, "load_codec", lambda *_: AsTheyAre())
    for device in (None, "cuda"):
        UserPipeline.of(tiny.backbone(), tiny.unet(), None, image_size=32, text_device=device)
    assert asked == ["cpu", "cuda"]


def test_every_part_of_a_stable_cascade_comes_from_its_folder(tmp_path) -> None:
    """What was encoded at 128 pixels are latents of 4x4; Stage B and A make 42 times that of them, the previewer 8."""
    model = tiny.stage_c(tiny.stage_c_folder(tmp_path))
    prior, latents = model.load_network(), draw(made(), None)
    preview = draw(UserPipeline.of(model, prior, None, image_size=128, decoder="preview"), None)
    torch.testing.assert_close(preview, model.load_codec("cpu", "previewer").preview(latents))
    assert preview.shape == (3, 3, 32, 32)
    full = UserPipeline.of(model, prior, tiny.branch(prior), image_size=128)
    images = draw(full, tiny.users(3))
    assert images.shape == (3, 3, 168, 168)
    assert torch.equal(draw(full, tiny.users(3)), images)


@pytest.mark.parametrize(
    ("branch", "users", "seeds", "message"),
    [(False, 3, SEEDS, "no user branch"), (True, 2, SEEDS, "one entry"), (True, 3, [1], "one entry")],
)
def test_what_does_not_go_together_is_refused(branch: bool, users: int, seeds: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw(made(branch=branch), tiny.users(users), seeds=seeds)


def test_a_prompt_is_read_instead_of_the_caption_which_keeps_the_noise() -> None:
    drawer = made(branch=False)
    settings = {"steps": STEPS, "guidance": Guidance()}
    plain = drawer(CAPTIONS, None, SEEDS, **settings)
    torch.testing.assert_close(drawer(CAPTIONS, None, SEEDS, CAPTIONS, **settings), plain, rtol=0, atol=0)
    prompts = [f"no {caption}" for caption in CAPTIONS]
    told = drawer(CAPTIONS, None, SEEDS, prompts, **settings)
    assert (told - plain).abs().amax((1, 2, 3)).min() > 1e-4
    # Of a text encoder that reads nothing, only the noise is left.
    states = drawer.text(["x"])
    drawer.text = lambda asked: {name: part.expand(len(asked), -1, -1) for name, part in states.items()}
    deaf = drawer(CAPTIONS, None, SEEDS, prompts, **settings)
    torch.testing.assert_close(deaf, drawer(CAPTIONS, None, SEEDS, **settings), rtol=0, atol=0)
    with pytest.raises(ValueError, match="one entry for each image"):
        drawer(CAPTIONS, None, SEEDS, prompts[:2], **settings)
