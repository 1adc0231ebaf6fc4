from __future__ import annotations

import pytest
import torch
from diffusers import DDPMWuerstchenScheduler, StableCascadePriorPipeline
from tests import tiny
from torch import Tensor

from ppd_lightning.generation import Guidance, UserPipeline, pipeline
from ppd_lightning.models import UserBranch
from ppd_lightning.models.prior import predict_noise
from ppd_lightning.models.released import ReleasedModel, TextStates

CAPTIONS = ["red fox", "tree", "cup"]
SEEDS = [0, 0, 7]
STEPS = 5


class AsTheyAre:
    """A codec whose images are the latents, so that tests see every bit of them."""

    def encode(self, images: Tensor) -> Tensor:
        return images

    def decode(self, latents: Tensor) -> Tensor:
        return latents


def made(*, branch: bool = True, null: str = "zero") -> UserPipeline:
    prior = tiny.unet()
    text = TextStates(tiny.tokenizer(), tiny.text_encoder())
    own = tiny.branch(prior, null=null) if branch else None
    return UserPipeline(prior, own, DDPMWuerstchenScheduler(), text, AsTheyAre(), tiny.LATENT)


def draw(
    drawer: UserPipeline,
    users: Tensor | None,
    captions: list[str] = CAPTIONS,
    seeds: list[int] = SEEDS,
    **guidance: object,
) -> Tensor:
    return drawer(captions, users, seeds, steps=STEPS, guidance=Guidance(**guidance))


def generators() -> list[torch.Generator]:
    return [pipeline._generator(caption, seed) for caption, seed in zip(CAPTIONS, SEEDS, strict=True)]


@pytest.mark.parametrize("branch", [False, True])
def test_without_users_it_is_the_released_pipeline_to_the_last_bit(branch: bool) -> None:
    released = StableCascadePriorPipeline(
        tiny.tokenizer(), tiny.text_encoder(), tiny.unet(), DDPMWuerstchenScheduler(), resolution_multiple=8
    )
    released.set_progress_bar_config(disable=True)
    drawer = made(branch=branch)
    text, pooled = drawer.text(sorted(CAPTIONS))
    rows = [sorted(CAPTIONS).index(caption) for caption in CAPTIONS]
    null, null_pooled = (part.expand(3, -1, -1) for part in drawer.text([""]))
    expected = released(
        prompt_embeds=text[rows],
        prompt_embeds_pooled=pooled[rows],
        negative_prompt_embeds=null,
        negative_prompt_embeds_pooled=null_pooled,
        height=32,
        width=32,
        num_inference_steps=STEPS,
        guidance_scale=4.0,
        generator=generators(),
        output_type="pt",
    ).image_embeddings
    assert torch.equal(draw(drawer, None, text=4.0), expected)
    assert expected.shape == (3, *tiny.LATENT)


def test_users_are_the_written_out_sampler_with_two_guidance_scales() -> None:
    """Each image alone, each prediction by its own forward, in the sampler of the Wuerstchen paper in float64."""
    drawer, users = made(), tiny.users(3)
    prior, branch = drawer.prior, drawer.branch
    assert branch is not None
    times = torch.linspace(1, 0, STEPS + 1, dtype=torch.float64)
    angle = (times + 0.008) / 1.008 * torch.pi / 2
    alpha_bar = (angle.cos() ** 2 / (angle[-1].cos() ** 2)).clamp(1e-4, 0.9999)
    null = drawer.text([""])
    images = []
    for caption, user, generator in zip(CAPTIONS, users, generators(), strict=True):
        text = drawer.text([caption])
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

    def watched(prior: object, noised: Tensor, *inputs: Tensor) -> Tensor:
        first.append(noised)
        return predict_noise(prior, noised, *inputs)

    monkeypatch.setattr(pipeline, "predict_noise", watched)

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
    model = ReleasedModel(tiny.model_folder(tmp_path))
    prior = model.load_prior()
    images = draw(UserPipeline.of(model, prior, None, tiny.LATENT), None)
    latents = draw(made(), None)
    assert images.shape == (3, 3, 32, 32)
    torch.testing.assert_close(images, tiny.codec().decode(latents))


@pytest.mark.parametrize(
    ("branch", "users", "seeds", "message"),
    [(False, 3, SEEDS, "no user branch"), (True, 2, SEEDS, "one entry"), (True, 3, [1], "one entry")],
)
def test_what_does_not_go_together_is_refused(branch: bool, users: int, seeds: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw(made(branch=branch), tiny.users(users), seeds=seeds)
