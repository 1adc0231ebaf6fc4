"""A judge of one's own is a class of settings with its judge, and one YAML file."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from tests.parts.brightness_judge import BrightnessJudge

from ppd_lightning.config.compose import compose
from ppd_lightning.errors import UserError
from ppd_lightning.evaluation.vlm_judge.answer_cache import AnswerCache
from ppd_lightning.evaluation.vlm_judge.judge import Question
from ppd_lightning.evaluation.vlm_judge.predictions import Predictor
from ppd_lightning.progress import Counted
from ppd_lightning.users.vlm_prompts import PromptPair

CONF = Path(__file__).parents[2] / "parts/conf"


def grey(level: int) -> Image.Image:
    return Image.new("RGB", (4, 4), (level, level, level))


def test_it_is_asked_in_the_same_way_and_its_answers_are_cached(tmp_path: Path) -> None:
    settings = compose(["judge=brightness"], CONF).judge
    assert isinstance(settings, BrightnessJudge)
    shot = PromptPair("a fox", (grey(50), grey(200)), 2)
    question = Question((shot,), "a cat", (grey(90), grey(120)))
    dark = Question((PromptPair("a fox", (grey(50), grey(200)), 1),), "a cat", (grey(90), grey(120)))
    asked = [question, question.swapped(), dark, dark.swapped()]
    with AnswerCache(tmp_path) as cache, Counted("answers", len(asked), bar=False) as counted:
        predictor = Predictor(settings.open(), cache, counted, retries=0, seed=0)
        assert [one.image for one in predictor.predict(asked)] == [2, 1, 1, 2]
    assert len(AnswerCache(tmp_path)) == 4


def test_the_doctor_asks_it() -> None:
    [finding] = compose(["judge=brightness"], CONF).judge.findings()
    assert (finding.need, finding.found, finding.remedies) == ("judge of brightness", "a rule", ())


def test_its_settings_are_checked_with_all_others() -> None:
    with pytest.raises(UserError) as failure:
        compose(["judge=brightness", "judge.comparisons=0", "seed=-1"], CONF)
    assert [fault.partition(" and <=")[0] for fault in failure.value.faults] == [
        "judge.comparisons: must be a whole number >= 1",
        "seed: must be a whole number >= 0",
    ]
