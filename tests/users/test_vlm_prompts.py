"""A prompt shows each choice with its images in their order, and nobody's caption can say anything to the model."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ppd_lightning.users.vlm_prompts import (
    IMAGE_TOKEN,
    LONGEST_TEXT,
    MARK,
    PREDICTION,
    PromptPair,
    prediction_in,
    prediction_prompt,
    preferred_number,
    profile_in,
    profile_prompt,
    quoted,
    text_prompt,
)

CONTROL = ("<image>", "<video>", "<|im_start|>", "<|im_end|>", "<|endoftext|>")
IMAGE = Image.new("RGB", (4, 4))


def shot(caption: str, preferred: int = 1) -> PromptPair:
    return PromptPair(caption, (IMAGE, IMAGE), preferred)


def test_each_choice_is_shown_in_its_order_with_a_place_for_both_images() -> None:
    text = profile_prompt([shot("a red fox", 2), shot("a lake")], CONTROL)
    parts = [
        'Pair 1. The caption of both images is: "a red fox"',
        "Here is Image 1: <image>",
        "Here is Image 2: <image>",
        "The person prefers Image 2.",
        'Pair 2. The caption of both images is: "a lake"',
        "Here is Image 1: <image>",
        "Here is Image 2: <image>",
        "The person prefers Image 1.",
        "Step 1.",
        "Step 2.",
        "Step 3.",
        MARK,
    ]
    at = 0
    for part in parts:
        at = text.index(part, at) + len(part)
    assert text.count(IMAGE_TOKEN) == 4


@given(st.lists(st.sampled_from([*CONTROL, "<", "image>", "|", "im_end|>", "\n", " ", "<|", "\u0338", "é", "🎨"])))
def test_no_caption_holds_a_control_word(pieces: list[str]) -> None:
    text = quoted("".join(pieces), CONTROL)
    assert not any(word in text for word in CONTROL)
    assert "\n" not in text


def test_a_caption_with_control_words_stays_readable() -> None:
    assert quoted("a <image> of\n\ta fox<|im_end|>", CONTROL) == "a < image> of a fox< |im_end|>"


def test_a_caption_with_odd_letters_is_shown_in_one_form() -> None:
    """The letter e with an accent of its own, as some keyboards write it, is the letter é."""
    assert quoted("cafe\u0301 🎨 日本語 {x} %s", CONTROL) == "caf\u00e9 🎨 日本語 {x} %s"


def test_an_endless_caption_is_cut_off() -> None:
    assert len(quoted("fox " * LONGEST_TEXT, CONTROL)) <= LONGEST_TEXT


def test_own_words_may_hold_braces_and_hold_no_place() -> None:
    text = text_prompt("I like {reds} and <image>", CONTROL)
    assert "I like {reds} and < image>" in text
    assert IMAGE_TOKEN not in text


def test_the_place_of_the_preferred_image_tells_nothing_and_never_changes() -> None:
    places = [preferred_number(f"{number:016x}") for number in range(2000)]
    assert set(places) == {1, 2}
    assert abs(places.count(1) - 1000) < 4 * (2000 / 4) ** 0.5
    assert places == [preferred_number(f"{number:016x}") for number in range(2000)]


@pytest.mark.parametrize(
    ("answer", "profile"),
    [
        ("Step 1 ... User Profile: likes red.\n", "likes red."),
        ("I end with User Profile: later. User Profile:\nlikes blue", "likes blue"),
        ("likes red", None),
        ("User Profile:", None),
        ("User Profile: red. User Profile: \n ", None),
        ("", None),
    ],
)
def test_the_profile_is_what_follows_the_last_mark(answer: str, profile: str | None) -> None:
    assert profile_in(answer) == profile


def test_a_prediction_is_asked_for_after_the_same_choices() -> None:
    shots = [shot("a red fox", 2), shot("a lake")]
    text = prediction_prompt(shots, "a <image> hill", CONTROL)
    assert text.startswith(profile_prompt(shots, CONTROL).partition("\n\nNow think")[0])
    assert 'The new pair. The caption of both images is: "a < image> hill"' in text
    assert text.count(IMAGE_TOKEN) == 6
    assert text.endswith(f"{PREDICTION} [1 or 2]")
    assert prediction_in(text) is None


@pytest.mark.parametrize(
    ("answer", "image"),
    [
        ("Prediction of user preference: 2", 2),
        ("Prediction of user preference: [1].", 1),
        ("**Prediction of user preference:** **Image 2**", 2),
        ("the prediction of user preference is 1", 1),
        ("Prediction of user preference: 1\nWait.\nPrediction of user preference: 2", 2),
        ("Prediction of user preference: 1\nAnd that is because of the colours.", 1),
        ("Prediction of user preference: 2\n\n(As asked: Prediction of user preference: [1 or 2])", 2),
        ("Prediction of user preference: [1 or 2]", None),
        ("Prediction of user preference: 1/2", None),
        ("Prediction of user preference: [1] or [2]", None),
        ("Prediction of user preference: 12", None),
        ("Prediction of user preference: 1.5", None),
        ("Prediction of user preference: neither", None),
        ("I choose Image 1", None),
        ("", None),
    ],
)
def test_the_last_prediction_counts_however_it_is_written(answer: str, image: int | None) -> None:
    assert prediction_in(answer) == image
