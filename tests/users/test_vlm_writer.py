"""The prompt holds every image in its place, and the state is the one of the token that is claimed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests import tiny_vlm

from ppd_lightning.errors import UserError
from ppd_lightning.users.vlm_prompts import MARK, SYSTEM, PromptPair, profile_prompt, text_prompt
from ppd_lightning.users.vlm_writer import Profile, ProfileWriter, draw_token

SEEDS = range(14)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_vlm.folder(tmp_path_factory.mktemp("vlm")))


@pytest.fixture(scope="module")
def writer(place: str) -> ProfileWriter:
    return opened(place)


@pytest.fixture(scope="module")
def profiles(writer: ProfileWriter) -> list[Profile]:
    """Of fourteen sets at once; some hold a profile, some do not."""
    found = writer.profiles([shots(3, seed) for seed in SEEDS], SEEDS)
    assert 3 < sum(one.text is not None for one in found) < 14
    return found


def opened(place: str, **changes: Any) -> ProfileWriter:
    settings = {"position": "last_profile_token", "layer": -1, "max_new_tokens": 24}
    return ProfileWriter(place, "cpu", torch.float32, **settings | changes)


def picture(colour: int, size: tuple[int, int]) -> Image.Image:
    return Image.new("RGB", size, (colour, colour, colour))


def shots(count: int, seed: int = 0) -> list[PromptPair]:
    """Pairs of images of their own shades and proportions."""
    generator = np.random.default_rng(seed)
    sizes = [(40, 20), (17, 40), (28, 28), (9, 31)]
    return [
        PromptPair(
            f"thing {number} of {seed}",
            tuple(picture(*drawn) for drawn in zip(generator.integers(256, size=2).tolist(), sizes[:2], strict=True)),
            int(generator.integers(1, 3)),
        )
        for number in range(count)
    ]


def asked(writer: ProfileWriter, own: list[PromptPair]) -> dict[str, torch.Tensor]:
    """The model's inputs by the processor alone, from the words of the chat."""
    text = f"<|im_start|>system \n{SYSTEM}<|im_end|><|im_start|>user \n{profile_prompt(own, writer.control)}<|im_end|>"
    images = [image for one in own for image in one.images]
    whole = f"{text}<|im_start|>assistant\n"
    return dict(writer.processor(text=[whole], images=[images], return_tensors="pt"))


def answer_tokens(writer: ProfileWriter, own: list[PromptPair], seed: int) -> list[int]:
    return writer._answers([prompt_of(writer, own)], [seed])[0]


def prompt_of(writer: ProfileWriter, own: list[PromptPair]) -> dict[str, torch.Tensor]:
    return writer._prompt(profile_prompt(own, writer.control), [image for one in own for image in one.images])


@pytest.mark.parametrize("count", [1, 2, 4, 8])
def test_every_image_has_its_tokens_after_its_own_words(writer: ProfileWriter, count: int) -> None:
    ids = prompt_of(writer, shots(count))["input_ids"][0].tolist()
    image = writer.processor.image_token_id
    assert ids.count(image) == 2 * count * tiny_vlm.IMAGE_TOKENS
    text = writer.processor.tokenizer.decode(ids)
    one = "<image>" * tiny_vlm.IMAGE_TOKENS
    for number in range(count):
        shown = f'"thing {number} of 0"\nHere is Image 1: {one}\nHere is Image 2: {one}\nThe person prefers Image'
        assert text.count(shown) == 1
    assert text.endswith("<|im_start|>assistant\n")


def test_eight_images_are_5840_tokens_with_the_released_settings() -> None:
    """730 an image: 27 x 27 patches of SigLIP and a newline. A flat list of images would be cut into crops."""
    processor = tiny_vlm.processor(side=384, patches=729, pinpoints=[[384, 768], [768, 384], [768, 768]])
    own = shots(4)
    text = profile_prompt(own, processor.tokenizer.all_special_tokens)
    pictures = [image for one in own for image in one.images]
    nested = processor(text=[text], images=[pictures], return_tensors="pt")
    flat = processor(text=[text], images=pictures, return_tensors="pt")
    assert (nested["input_ids"] == processor.image_token_id).sum() == 5840
    assert nested["pixel_values"].shape[:2] == (8, 1)
    assert (flat["input_ids"] == processor.image_token_id).sum() > 2 * 5840


def test_the_pixels_come_in_the_order_of_the_shots(writer: ProfileWriter) -> None:
    """Each picture has one shade, which is the middle of its prepared pixels whatever was padded around it."""
    own = shots(3)
    pixels = prompt_of(writer, own)["pixel_values"]
    assert pixels.shape == (6, 1, 3, tiny_vlm.SIDE, tiny_vlm.SIDE)  # one whole image each, no crops
    middle = tiny_vlm.SIDE // 2
    shades = [image.getpixel((0, 0))[0] / 127.5 - 1 for one in own for image in one.images]
    np.testing.assert_allclose(pixels[:, 0, 0, middle, middle], shades, atol=0.01)


def test_a_caption_with_the_image_token_adds_no_image(writer: ProfileWriter) -> None:
    own = [PromptPair("<image> <|im_end|> naïve 🎨 cafe\u0301", shots(1)[0].images, 1)]
    ids = prompt_of(writer, own)["input_ids"][0].tolist()
    assert ids.count(writer.processor.image_token_id) == 2 * tiny_vlm.IMAGE_TOKENS
    assert ids.count(writer.processor.tokenizer.eos_token_id) == 2  # of the system's message and of the user's
    assert 'is: "< image> < |im_end|> naïve 🎨 café"' in writer.processor.tokenizer.decode(ids)
    assert len(writer.profiles([own], [0])) == 1


def test_the_state_is_the_plain_forwards_at_the_last_token_of_the_profile(
    writer: ProfileWriter, profiles: list[Profile]
) -> None:
    """Against transformers alone: the network as loaded, the processor's inputs, logits and all."""
    for seed, found in zip(SEEDS, profiles, strict=True):
        if found.state is None:
            continue
        own = shots(3, seed)
        answer = answer_tokens(writer, own, seed)
        assert writer.processor.tokenizer.decode(answer) == found.answer
        inputs = asked(writer, own)
        inputs["input_ids"] = torch.cat([inputs["input_ids"], torch.tensor([answer])], 1)
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        output = writer.model(**inputs, output_hidden_states=True)
        torch.testing.assert_close(torch.from_numpy(found.state), output.hidden_states[-1][0, -1], rtol=0, atol=1e-6)
        logits = writer.model.lm_head(torch.from_numpy(found.state))  # after the final norm
        torch.testing.assert_close(logits, output.logits[0, -1], rtol=0, atol=1e-5)


@pytest.mark.parametrize("layer", [0, 1, -2, -1])
@pytest.mark.parametrize("position", ["last_profile_token", "mean_of_profile", "last_prompt_token"])
def test_position_and_layer_say_which_state_it_is(
    place: str, profiles: list[Profile], position: str, layer: int
) -> None:
    other = opened(place, position=position, layer=layer)
    seed = next(seed for seed in SEEDS if profiles[seed].text and profiles[seed].answer.count(MARK) > 1)
    own = shots(3, seed)
    found = other.profiles([own], [seed])[0]
    answer, inputs = answer_tokens(other, own, seed), asked(other, own)
    begin = inputs["input_ids"].shape[1]
    inputs["input_ids"] = torch.cat([inputs["input_ids"], torch.tensor([answer])], 1)
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    states = other.model(**inputs, output_hidden_states=True).hidden_states[layer][0]
    mark = len(answer) - answer[::-1].index(other.processor.tokenizer.convert_tokens_to_ids(MARK))
    expected = {
        "last_profile_token": states[-1],
        "mean_of_profile": states[begin + mark :].mean(0),
        "last_prompt_token": states[begin - 1],
    }[position]
    torch.testing.assert_close(torch.from_numpy(found.state), expected, rtol=0, atol=1e-6)


def test_the_same_seed_gives_the_same_bits_and_another_one_another_answer(
    writer: ProfileWriter, profiles: list[Profile]
) -> None:
    again = writer.profiles([shots(3, seed) for seed in SEEDS], SEEDS)
    for one, other in zip(again, profiles, strict=True):
        assert (one.answer, one.text, one.seed) == (other.answer, other.text, other.seed)
        np.testing.assert_array_equal(one.state, other.state)
    assert writer.profiles([shots(3, 0)], [77])[0].answer != profiles[0].answer


def test_several_at_once_are_as_one_by_one(writer: ProfileWriter, profiles: list[Profile]) -> None:
    """Prompts of other lengths beside it, which pad it, change no bit of what a set gets."""
    others = [shots(1, 100), shots(8, 101)]
    for seed in SEEDS[:3]:
        alone = writer.profiles([shots(3, seed)], [seed])[0]
        beside = writer.profiles([others[0], shots(3, seed), others[1]], [5, seed, 6])[1]
        for one in (alone, beside):
            assert one.answer == profiles[seed].answer
            np.testing.assert_array_equal(one.state, profiles[seed].state)


def test_greedy_answers_do_not_depend_on_the_seed_and_agree_with_transformers(place: str) -> None:
    writer, own = opened(place, temperature=0.0), shots(2)
    first, second = writer.profiles([own, own], [0, 1])
    assert first.answer == second.answer
    inputs = asked(writer, own)
    barred = [[token] for token in writer._barred.tolist()]
    length = inputs["input_ids"].shape[1]
    made = writer.model.generate(
        **inputs, do_sample=False, max_new_tokens=24, bad_words_ids=barred, eos_token_id=sorted(writer._ends)
    )
    assert writer.processor.tokenizer.decode(made[0, length:].tolist()).removesuffix("<|im_end|>") == first.answer


def test_an_answer_holds_no_special_token_and_none_without_text(place: str) -> None:
    """Although the model wants nothing else: an image token in an answer would need an image in the next forward."""
    eager = opened(place)
    tokenizer, weight = eager.processor.tokenizer, eager.model.lm_head.weight
    unwanted = {*tokenizer.all_special_ids, *range(len(tokenizer), len(weight))} - {tokenizer.eos_token_id}
    assert len(unwanted) == len(tiny_vlm.SPECIAL) - 1 + tiny_vlm.PADDED_ROWS
    weight[sorted(unwanted)] *= 100
    (answer,) = eager._answers([prompt_of(eager, shots(1))], [0])
    assert len(answer) > 5
    assert not unwanted & set(answer)


def test_own_words_have_the_state_of_a_profile_that_says_them(writer: ProfileWriter) -> None:
    words = ["flat colours, no  text", "ünïcode 🎨 <image>"]
    found = writer.states_of_texts(words)
    for text, said, state in zip(words, ("flat colours, no text", "ünïcode 🎨 <image>"), found, strict=True):
        asked_for = f"{text_prompt(text, writer.control)}<|im_end|><|im_start|>assistant\n"
        whole = f"<|im_start|>system \n{SYSTEM}<|im_end|><|im_start|>user \n{asked_for}"
        ids = writer.processor.tokenizer(whole)["input_ids"]
        ids += writer.processor.tokenizer(f"{MARK} {said}", split_special_tokens=True)["input_ids"]
        assert writer.processor.image_token_id not in ids
        expected = writer.model(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states[-1][0, -1]
        np.testing.assert_allclose(state, expected, atol=1e-6)
    assert not np.allclose(found[0], found[1])


def test_tokens_are_drawn_as_often_as_they_are_likely() -> None:
    logits = np.array([0.3, -1.0, -np.inf, 2.0, 0.3], np.float32)
    weights = np.exp(logits.astype(np.float64) / 0.7)
    grid = (np.arange(20_000) + 0.5) / 20_000
    drawn = np.bincount([draw_token(logits, 0.7, 1.0, uniform) for uniform in grid], minlength=5) / len(grid)
    np.testing.assert_allclose(drawn, weights / weights.sum(), atol=1e-4)
    for uniform in (0.0, 1 - 2**-53):
        assert draw_token(logits, 0.7, 1.0, uniform) in (0, 4)


def test_top_p_keeps_the_likeliest_tokens_that_make_up_the_share() -> None:
    logits = np.log(np.array([0.1, 0.5, 0.1, 0.3]))
    grid = (np.arange(1000) + 0.5) / 1000
    assert {draw_token(logits, 1.0, 0.6, uniform) for uniform in grid} == {1, 3}
    assert {draw_token(logits, 1.0, 0.4, uniform) for uniform in grid} == {1}
    assert {draw_token(logits, 0.0, 1.0, uniform) for uniform in grid} == {1}


def test_a_layer_that_is_not_there_is_named(place: str) -> None:
    with pytest.raises(UserError, match=r"user\.layer: .* has the hidden states 0 to 3, or -4 to -1, not 4"):
        opened(place, layer=4)


def test_a_prompt_that_is_too_long_is_reported(place: str) -> None:
    writer = opened(place, max_new_tokens=8000)
    with pytest.raises(UserError, match=r"user\.max_new_tokens: a prompt of \d+ tokens and an answer of 8000 are more"):
        writer.profiles([shots(1)], [0])


def test_a_blank_text_is_a_mistake_of_the_caller(writer: ProfileWriter) -> None:
    with pytest.raises(ValueError, match="a text is blank"):
        writer.states_of_texts(["red", " "])


def test_the_released_layout_is_read_too(tmp_path: Path, profiles: list[Profile]) -> None:
    released = opened(str(tiny_vlm.released_folder(tmp_path)))
    found = released.profiles([shots(3, 0)], [0])[0]
    assert found.answer == profiles[0].answer
    np.testing.assert_array_equal(found.state, profiles[0].state)
