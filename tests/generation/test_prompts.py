"""Captions are read from each form of file, once each, and faults are told with file, row and column."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ppd_lightning.errors import UserError
from ppd_lightning.generation.prompts import read_prompts

CAPTIONS = ['a dog saying "I see"', '"G I G" on a wall', "a red fox, running", "Straße 9"]
PARTIPROMPTS = os.environ.get("PPD_PARTIPROMPTS", "")


def write(path: Path, captions: list[str]) -> Path:
    """The captions in the form that the file's name says, as their publishers write them."""
    kind = path.suffix.lower()
    if kind == ".parquet":
        pq.write_table(pa.table({"index": range(len(captions)), "caption": captions}), path)
        return path
    if kind == ".tsv":
        lines = ["Prompt\tCategory\tChallenge\tNote", *[f"{one}\tAnimals\tBasic\t" for one in captions]]
    elif kind == ".csv":
        lines = ["number,caption", *['1,"{}"'.format(one.replace('"', '""')) for one in captions]]
    else:
        lines = captions
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["prompts.tsv", "prompts.csv", "prompts.parquet", "prompts.txt", "PROMPTS.TSV"])
def test_every_form_holds_the_same_captions_once_each_in_their_order(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, [*CAPTIONS, CAPTIONS[2], f" {CAPTIONS[0]} "])
    assert read_prompts(path, "evaluation.captions") == CAPTIONS


def test_blank_lines_of_a_text_file_are_no_captions(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("\ufeffa fox\r\n\r\n  \na cup", encoding="utf-8")
    assert read_prompts(tmp_path / "prompts.txt", "evaluation.captions") == ["a fox", "a cup"]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("p.tsv", "Prompt\tCategory\na fox\tAnimals\n\tAnimals\n", "p.tsv: line 3: Prompt is empty"),
        ("p.csv", "caption,n\na fox,1\n ,2\n", "p.csv: line 3: caption is empty"),
        ("p.csv", "title,n\na fox,1\n", "p.csv has no column caption; it has title, n"),
        ("p.tsv", "a fox\n", "p.tsv has no column caption; it has a fox"),
        ("p.tsv", "", "p.tsv holds no caption"),
        ("p.txt", "\n\n", "p.txt holds no caption"),
        ("p.csv", "caption\n", "p.csv holds no caption"),
        ("p.parquet", "no parquet", "p.parquet: damaged, or not what its name says"),
        ("p.json", "[]", "p.json holds no caption"),
        ("p.xml", "[]", "p.xml ends in none of .txt, .csv, .tsv"),
    ],
)
def test_faults_are_reported_with_key_file_row_and_column(tmp_path: Path, name: str, content: str, told: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError) as caught:
        read_prompts(tmp_path / name, "evaluation.captions")
    assert told in str(caught.value)
    assert str(caught.value).startswith("evaluation.captions: ")


def test_of_many_faults_the_first_are_reported(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        read_prompts(write(tmp_path / "p.csv", [" "] * 25), "generation.captions")
    assert len(caught.value.faults) == 21
    assert caught.value.faults[-1].endswith("and 5 faults more")


def test_a_missing_file_and_one_that_is_no_text_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"generation\.captions: there is no file .*; expected \.txt with a caption"):
        read_prompts(tmp_path / "nothing.txt", "generation.captions")
    (tmp_path / "latin.txt").write_bytes("Straße".encode("latin-1"))
    with pytest.raises(UserError, match=r"no UTF-8 text .*; save it as UTF-8"):
        read_prompts(tmp_path / "latin.txt", "generation.captions")


@pytest.mark.skipif(not PARTIPROMPTS, reason="PPD_PARTIPROMPTS names no PartiPrompts.tsv")
def test_the_real_partiprompts_have_as_many_prompts_as_published() -> None:
    prompts = read_prompts(Path(PARTIPROMPTS), "evaluation.captions")
    assert len(prompts) == 1632
    assert prompts[0] == "bond"
    assert '"G I G G L E" painted in thick colorful lettering' in " ".join(prompts)
