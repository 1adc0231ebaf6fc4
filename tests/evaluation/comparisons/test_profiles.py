"""Profiles come from people's own words or from a vision-language model's table, and long ones are counted."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests import tiny

from ppd_lightning.backbones.caption_length import count_overruns
from ppd_lightning.errors import UserError
from ppd_lightning.evaluation.comparisons.profiles import augmented, read_profiles
from ppd_lightning.evaluation.comparisons.selection import Comparison

TEXTS = {"ann": "Likes flat colours.", "bob/2": "Likes round things."}


def test_peoples_own_words_are_read(tmp_path: Path) -> None:
    (tmp_path / "texts.json").write_text(json.dumps(TEXTS))
    assert read_profiles(tmp_path / "texts.json") == TEXTS
    pq.write_table(pa.table({"user": list(TEXTS), "text": list(TEXTS.values())}), tmp_path / "texts.parquet")
    assert read_profiles(tmp_path / "texts.parquet") == TEXTS


def test_of_the_profiles_that_a_model_wrote_a_users_first_set_is_taken(tmp_path: Path) -> None:
    rows = [
        {"set": f"{user}/{number}", "user": user, "profile": f"{text}{number}", "answer": "", "seed": 0, "retries": 0}
        for number in (3, 1, 2)
        for user, text in TEXTS.items()
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "profiles.parquet")
    assert read_profiles(tmp_path / "profiles.parquet") == {user: f"{text}1" for user, text in TEXTS.items()}


@pytest.mark.parametrize("name", ["no.json", "no.parquet"])
def test_a_missing_or_damaged_file_is_named_with_its_key(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=r"evaluation\.profiles: there is no file"):
        read_profiles(tmp_path / name)
    (tmp_path / name).write_text("nonsense")
    with pytest.raises(UserError, match=rf"evaluation\.profiles: .*{name}"):
        read_profiles(tmp_path / name)


def test_who_has_no_text_is_left_out() -> None:
    comparisons = [Comparison("seen", user, "cup", 1000) for user in ("ann", "carl")]
    assert augmented(comparisons, TEXTS) == {comparisons[0]: "cup. Likes flat colours."}


def test_longer_prompts_than_the_encoder_reads_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    backbone = tiny.backbone(tiny.model_folder(tmp_path))
    letters = tiny.TEXT_LENGTH - 2  # beside the tokens of beginning and end
    prompts = ["x" * letters, "x" * (letters + 1), "x" * (letters + 1), "y"]
    assert count_overruns(backbone, prompts, "here") == {"captions": 3, "over": 1, "limit": tiny.TEXT_LENGTH}
    (message,) = caplog.messages
    assert message.startswith("here: 1 of 3 captions are longer than the ")
    assert message.endswith(f"the longest has {tiny.TEXT_LENGTH + 1} tokens and loses 'x'")
