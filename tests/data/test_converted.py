"""Rankings, ratings and votes become pairs: tiny files in the schemas of data sets that people can get."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.data.handmade import jpeg

from ppd_lightning.cli import main
from ppd_lightning.config.compose import compose
from ppd_lightning.data.converted_source import ConvertedSource
from ppd_lightning.data.pickapic_rows import Rows, read_rows
from ppd_lightning.data.rankings import Ranking, number_of
from ppd_lightning.errors import UserError
from ppd_lightning.storage.writers import temporary_beside

USERS = (5026193362184583612, -3606106900967824568)


def source(option: str, table: Path, *settings: str) -> ConvertedSource:
    made = compose([f"data={option}", f"data.table={table}", "data.image_size=64", "data.workers=0", *settings]).data
    assert isinstance(made, ConvertedSource)
    return made


def rows_of(made: ConvertedSource, tmp_path: Path) -> Rows:
    folder = tmp_path / "data"
    made.make(folder, tmp_path)
    return read_rows(made.parquet(folder).root)


def said(rows: Rows) -> list[tuple[str, str, str, str, float]]:
    """Caption, user, what generated both images (or their ids), and the label."""
    names = ("caption", "user_id", "model_0", "model_1", "label_0")
    return sorted(tuple(row[name] for name in names) for row in rows.table.to_pylist())  # type: ignore[misc]


def pictures(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(jpeg(name, (64, 64)))


def hpdv2(folder: Path, **changes: Any) -> Path:
    """test.json as it is published: ranks of each image, the best 0, under `annotation`; users are 64-bit numbers."""
    names = ["00000.jpg", "00001.jpg", "00002.jpg"]
    pictures(folder / "test", *names)
    ranks = ([2, 0, 1], [0, 1, 2])
    people = [{"annotation": own, "user_hash": user} for own, user in zip(ranks, USERS, strict=True)]
    entry = {"prompt": "a cat", "rank": [1, 0, 2], "image_path": names, "raw_annotations": people} | changes
    (folder / "test.json").write_text(json.dumps([entry]))
    return folder / "test.json"


def parquet(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def test_every_two_images_are_a_pair_and_ties_stay_ties() -> None:
    ranking = Ranking("line 1", "a", "b", ("x", "y", "z"), (1.0, 2.0, 1.0))
    assert list(ranking.pairs()) == [(0, 1, 1.0), (0, 2, 0.5), (1, 2, 0.0)]
    assert [number_of(value) for value in (3, "2", " 1.5 ")] == [3, 2, 1.5]
    for value in (None, "", "x", True, float("inf"), "nan", [1]):
        with pytest.raises(ValueError, match="number"):
            number_of(value)


def test_hpdv2s_people_rank_images(tmp_path: Path) -> None:
    made = source("hpdv2", hpdv2(tmp_path), f"data.images={tmp_path / 'test'}")
    rows = rows_of(made, tmp_path)
    assert rows.counts["rows"] == 6
    uids = {row["image_0"] for row in rows.table.to_pylist()} | {row["image_1"] for row in rows.table.to_pylist()}
    assert len(uids) == 3
    wins: dict[str, list[int]] = {str(user): [0, 0, 0] for user in USERS}
    order = list(dict.fromkeys(uid for row in rows.table.to_pylist() for uid in (row["image_0"], row["image_1"])))
    for row in rows.table.to_pylist():
        winner = row["image_0"] if row["label_0"] == 1 else row["image_1"]
        wins[row["user_id"]][order.index(winner)] += 1
    assert list(wins.values()) == [[0, 2, 1], [2, 1, 0]]
    assert [finding.found for finding in made.findings()] == ["6"]
    assert made.caption_count() == 1


def test_the_cards_name_of_ranks_is_read_too(tmp_path: Path) -> None:
    table = hpdv2(tmp_path, raw_annotations=[{"rank": [1, 1, 0], "user_hash": "ann"}])
    rows = rows_of(source("hpdv2", table, f"data.images={tmp_path / 'test'}"), tmp_path)
    assert rows.counts["ties"] == 1


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"image_path": "00000.jpg"}, "line 1: image_path must be a list, as JSON and parquet have them, not a text"),
        ({"prompt": 7}, "line 1: prompt must be text, not the number 7"),
        ({"raw_annotations": 1}, "line 1: raw_annotations must be a list"),
        ({"raw_annotations": [{"user_hash": 1, "annotation": [0]}]}, "annotation has 1 ranks, and there are 3 images"),
        ({"raw_annotations": [{"user_hash": 1.5, "annotation": [0, 1, 2]}]}, "user_hash must be a name or a whole"),
        ({"raw_annotations": [{"user_hash": 1, "annotation": [0, 1, "b"]}]}, "a rank must be a number, not 'b'"),
        ({"raw_annotations": [1]}, "line 1, annotation 1: must be an object with user_hash and annotation"),
        ({"raw_annotations": [{"annotation": [0, 1, 2]}]}, "annotation 1: user_hash is empty"),
        ({"image_path": ["00000.jpg", None]}, "line 1: image_path is empty"),
        ({"raw_annotations": []}, "makes no pair"),
    ],
)
def test_what_is_no_ranking_is_named(changes: dict[str, Any], fault: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as failure:
        rows_of(source("hpdv2", hpdv2(tmp_path, **changes), f"data.images={tmp_path / 'test'}"), tmp_path)
    assert fault in failure.value.faults[0]


def test_pairs_of_a_missing_image_are_left_out_with_their_places(tmp_path: Path) -> None:
    made = source("hpdv2", hpdv2(tmp_path), f"data.images={tmp_path / 'test'}")
    (tmp_path / "test/00002.jpg").unlink()
    with pytest.raises(UserError) as failure:
        rows_of(made, tmp_path)
    assert [fault.partition(": there")[0].rpartition(": ")[2] for fault in failure.value.faults] == [
        f"line 1, annotation {number}, user {user}" for number, user in enumerate(USERS, 1)
    ]
    made = replace(made, max_unusable=0.9)
    assert rows_of(made, tmp_path).counts["no_image"] == 4
    lines = made.lines(tmp_path / "data")
    assert lines.name == "the pairs of test.json"
    assert sorted(lines.faults) == [2, 3, 5, 6]
    assert f"user {USERS[1]}: there is no image" in lines.faults[6]


def test_a_folder_or_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.images: .*nowhere is no folder; name one that is there"):
        rows_of(source("hpdv2", hpdv2(tmp_path), f"data.images={tmp_path}/nowhere"), tmp_path)
    table = parquet(tmp_path / "a.parquet", [{"text": "a", "image": "a.jpg"}])
    with pytest.raises(UserError, match=r"lacks the columns caption, value; it has text, image; columns of other"):
        rows_of(source("pamela", table), tmp_path)
    with pytest.raises(UserError) as failure:
        rows_of(source("pamela", table, "data.columns={caption: txt, choice: text}"), tmp_path)
    assert [fault.partition(";")[0] for fault in failure.value.faults] == [
        "data.columns: there is no column choice to name",
        f"data.columns: {table} has no column txt",
    ]


def test_imagerewards_ranks_are_one_users(tmp_path: Path) -> None:
    ranks = {"p1": (2, 1, 2), "p2": (1, 2)}
    rows = [
        {
            "image_path": f"images/train/train_1/{prompt}-{number}.jpg",
            "prompt_id": prompt,
            "prompt": "one prompt",
            "classification": "People",
            "image_amount_in_total": len(own),
            "rank": rank,
            "overall_rating": 4,
            "image_text_alignment_rating": 3,
            "fidelity_rating": 4,
        }
        for prompt, own in ranks.items()
        for number, rank in enumerate(own)
    ]
    pictures(tmp_path, *(row["image_path"] for row in rows))
    made = source("imagereward", parquet(tmp_path / "metadata-train.parquet", rows))
    found = rows_of(made, tmp_path)
    assert found.counts["rows"] == 4  # 3 of one prompt_id and 1 of the other, though the prompt is the same
    assert [row[1:] for row in said(found)] == [
        ("everyone", None, None, label) for label in (0.0, 0.5, 1.0, 1.0)
    ]  # of equal ranks a tie
    assert made.unseen({"everyone"}) == frozenset()


def ratings(held: bool, tmp_path: Path) -> Path:
    """Two people's ratings of two captions' images, a third caption with one image."""
    rows = []
    for user, values in {12.0: (5, 1, 3, 3, 4), 7.0: (1, 5, 2, 4, 4)}.items():
        for (caption, model), value in zip(
            [("cat", "flux"), ("cat", "nano"), ("dog", "flux"), ("dog", "nano"), ("owl", "flux")], values, strict=True
        ):
            name = f"{caption}-{model}.jpg"
            pictures(tmp_path, name)
            image: Any = {"bytes": (tmp_path / name).read_bytes(), "path": name} if held else name
            rows.append({"prompt": caption, "image": image, "rating": value, "participant_id": user, "model": model})
    return parquet(tmp_path / "train.parquet", rows)


@pytest.mark.parametrize("held", [False, True])
def test_ratings_of_one_caption_are_pairs(held: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = ratings(held, tmp_path)
    made = source("pamela", table)
    with caplog.at_level(logging.WARNING):
        found = rows_of(made, tmp_path)
    assert said(found) == [
        ("cat", "12", "flux", "nano", 1.0),
        ("cat", "7", "flux", "nano", 0.0),
        ("dog", "12", "flux", "nano", 0.5),
        ("dog", "7", "flux", "nano", 0.0),
    ]
    assert "2 times a person judged one image alone" in caplog.text
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["faults.json", "source", "source.key"]
    before = (tmp_path / "data/source/choices.parquet").stat().st_mtime_ns
    made.make(tmp_path / "data", tmp_path)
    assert (tmp_path / "data/source/choices.parquet").stat().st_mtime_ns == before


def test_ratings_by_nobody_are_refused_or_everyones(tmp_path: Path) -> None:
    pictures(tmp_path, "a.jpg", "b.jpg")
    table = parquet(
        tmp_path / "t.parquet",
        [{"prompt": "x", "image": name, "rating": value} for name, value in (("a.jpg", 1), ("b.jpg", 2))],
    )
    with pytest.raises(UserError, match="no column says who chose"):
        rows_of(source("pamela", table), tmp_path)
    assert said(rows_of(source("pamela", table, "data.everyone=all"), tmp_path)) == [("x", "all", None, None, 0.0)]


def test_counts_of_votes_are_everyones_and_ties_stay(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [
        {
            "prompt": prompt,
            "image1": {"bytes": jpeg(f"{prompt}1", (64, 64)), "path": None},
            "image2": {"bytes": jpeg(f"{prompt}2", (64, 64)), "path": None},
            "votes_image1": first,
            "votes_image2": second,
            "model1": "flux",
            "model2": "dalle",
            "detailed_results": "[]",
            "image1_path": "1.jpg",
            "image2_path": "2.jpg",
        }
        for prompt, first, second in (("a", 20, 6), ("b", 3, 23), ("c", 13, 13), ("d", 0, 0))
    ]
    with caplog.at_level(logging.WARNING):
        found = rows_of(source("votes", parquet(tmp_path / "train.parquet", rows)), tmp_path)
    assert said(found) == [
        ("a", "everyone", "flux", "dalle", 1.0),
        ("b", "everyone", "flux", "dalle", 0.0),
        ("c", "everyone", "flux", "dalle", 0.5),
    ]
    assert "1 rows have no votes" in caplog.text


def test_chosen_and_rejected_need_no_votes(tmp_path: Path) -> None:
    pictures(tmp_path, "a.jpg", "b.jpg")
    table = parquet(tmp_path / "t.parquet", [{"prompt": "x", "chosen": "b.jpg", "rejected": "a.jpg"}])
    assert said(rows_of(source("votes", table), tmp_path)) == [("x", "everyone", None, None, 1.0)]


def test_votes_of_people_are_theirs(tmp_path: Path) -> None:
    pictures(tmp_path, "a.jpg", "b.jpg")
    row = {"caption": "x", "image_0": "a.jpg", "image_1": "b.jpg", "voters": ["ann", "bob", 7]}
    (tmp_path / "t.jsonl").write_text(json.dumps(row | {"answers": ["image_1", "both", 1]}))
    with pytest.raises(UserError, match=r"answers holds 'both', which is none of 0, 1, tie, image_1, image_2; data"):
        rows_of(source("votes", tmp_path / "t.jsonl"), tmp_path)
    made = source("votes", tmp_path / "t.jsonl", "+data.answers.both=tie")
    assert [(row[1], row[4]) for row in said(rows_of(made, tmp_path))] == [("7", 0.0), ("ann", 1.0), ("bob", 0.5)]
    (tmp_path / "t.jsonl").write_text(json.dumps(row | {"answers": ["image_1"]}))
    with pytest.raises(UserError, match="line 1: 3 voters gave 1 answers; expected one of each"):
        rows_of(made, tmp_path)


def test_lists_and_objects_of_parquet_are_read_as_those_of_json(tmp_path: Path) -> None:
    table = parquet(tmp_path / "test/test.parquet", json.loads(hpdv2(tmp_path).read_text()))
    in_json = source("hpdv2", tmp_path / "test.json", f"data.images={tmp_path / 'test'}")
    read = [rows_of(made, tmp_path / made.table[-4:]) for made in (in_json, replace(in_json, table=str(table)))]
    assert said(read[0]) == said(read[1])
    assert read[1].counts["rows"] == 6


def one_rating(user: str, value: Any, image: str = "a.jpg", **more: Any) -> dict[str, Any]:
    return {"prompt": "x", "image": image, "rating": value, "participant_id": user, **more}


def test_what_says_nothing_is_left_out_up_to_a_share_and_named_beyond(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pictures(tmp_path, "a.jpg", "b.jpg")
    rows = [one_rating("ann", 1), one_rating("ann", 2, "b.jpg"), one_rating("bob", "good"), one_rating("", None)]
    (tmp_path / "t.json").write_text(json.dumps(rows))
    made = source("pamela", tmp_path / "t.json")
    with pytest.raises(UserError) as failure:
        rows_of(made, tmp_path)
    assert [fault.removeprefix(f"{tmp_path}/t.json: ") for fault in failure.value.faults] == [
        "line 1, row 3: rating must be a number, not 'good'",
        "line 1, row 4: rating is empty; expected a number",
        "line 1, row 4: participant_id is empty",
    ]
    with caplog.at_level(logging.WARNING):
        assert rows_of(replace(made, max_unusable=0.5), tmp_path).counts["rows"] == 1
    assert "2 rows or rankings say nothing that can be used and are left out; the first is line 1, row 3" in caplog.text


def test_an_image_judged_twice_alike_counts_once(tmp_path: Path) -> None:
    pictures(tmp_path, "a.jpg", "b.jpg")
    rows = [one_rating("ann", 1), one_rating("ann", 2, "b.jpg")]
    made = source("pamela", parquet(tmp_path / "t.parquet", [*rows, *rows]))
    assert rows_of(made, tmp_path).counts["rows"] == 1
    made = replace(made, table=str(parquet(tmp_path / "u.parquet", [*rows, one_rating("ann", 3)])))
    with pytest.raises(UserError, match=r"row 1, user ann: both images are .*a\.jpg"):
        rows_of(made, tmp_path)


def test_a_ranking_of_everything_is_a_column_by_mistake(tmp_path: Path) -> None:
    rows = [one_rating("ann", number, f"{number}.jpg") for number in range(1001)]
    with pytest.raises(UserError, match=r"row 1, user ann: ranks 1,001 images of the caption 'x'; at most 1,000"):
        rows_of(source("pamela", parquet(tmp_path / "t.parquet", rows)), tmp_path)


def test_people_of_unseen_splits_stay_unseen(tmp_path: Path) -> None:
    """PAMELA's files and a column say the same; a change of splits alone is made anew."""
    pictures(tmp_path, "a.jpg", "b.jpg")
    splits = {"ann": "pamela_train", "bob": "pamela_val_unseen", "eve": "pamela_test_seen"}
    rows = [
        one_rating(user, value, image, split=split)
        for user, split in splits.items()
        for image, value in (("a.jpg", 1), ("b.jpg", 2))
    ]
    made = source("pamela", parquet(tmp_path / "t.parquet", rows), "data.unseen_users=0.0")
    assert made.unseen(["ann", "bob", "eve"]) == {"bob"}
    rows_of(made, tmp_path)
    key = (tmp_path / "data/source.key").read_text()
    for user, split in splits.items():
        own = [{name: row[name] for name in row if name != "split"} for row in rows if row["participant_id"] == user]
        parquet(tmp_path / f"{split}-00000-of-00001.parquet", own)
    by_files = replace(made, table=f"{tmp_path}/pamela_*.parquet")
    assert by_files.unseen(["ann", "bob", "eve"]) == {"bob"}
    parquet(tmp_path / "t.parquet", [row | {"split": "test"} for row in rows])
    assert made.unseen(["ann", "bob", "eve"]) == frozenset()  # by hash
    rows_of(made, tmp_path)
    assert (tmp_path / "data/source.key").read_text() != key
    parquet(tmp_path / "t.parquet", [*rows, one_rating("ann", 1, split="unseen")])
    with pytest.raises(UserError, match=r"user ann is in split unseen \(row 7\) and in split pamela_train \(row 1\)"):
        rows_of(made, tmp_path)


def test_what_a_killed_conversion_left_is_removed(tmp_path: Path) -> None:
    left = temporary_beside(tmp_path / "data/images")
    left = left.with_name(left.name.replace(f"-{os.getpid()}-", "-999999999-"))
    left.mkdir(parents=True)
    (left / "picture").write_bytes(b"1")
    rows_of(source("pamela", ratings(True, tmp_path)), tmp_path)
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["faults.json", "source", "source.key"]


@pytest.mark.parametrize(
    ("columns", "fault"),
    [
        (("prompt", "chosen", "image2"), "lacks the columns rejected, or image_0 and voters and answers, or"),
        (("prompt", "image1", "image2", "votes_image1"), "lacks the columns votes_1, or chosen and rejected, or"),
    ],
)
def test_half_a_form_is_none(columns: tuple[str, ...], fault: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=fault):
        rows_of(source("votes", parquet(tmp_path / "t.parquet", [dict.fromkeys(columns, "1")])), tmp_path)


def test_settings_of_votes_are_checked_and_counts_are_not_negative(tmp_path: Path) -> None:
    row = {"prompt": "x", "image1": "a.jpg", "image2": "b.jpg", "votes_image1": -1, "votes_image2": 2}
    table = parquet(tmp_path / "t.parquet", [row])
    with pytest.raises(UserError, match="row 1: votes_image1 must be 0 or more, not -1"):
        rows_of(source("votes", table), tmp_path)
    with pytest.raises(UserError) as failure:
        source("votes", table, "data.everyone=''", "data.answers={left: 3}")
    assert [fault.partition(" (")[0] for fault in failure.value.faults] == [
        "data.everyone: must not be empty",
        "data.answers.left: must be one of 0, 1, tie, not 3",
    ]


@pytest.mark.long
def test_it_is_prepared_like_any_other(tmp_path: Path) -> None:
    """HPDv2's form through `ppd prepare`, with the model that ships."""
    names = [f"{number}.jpg" for number in range(4)]
    pictures(tmp_path / "test", *names)
    people = [{"annotation": [(image + user) % 4 for image in range(4)], "user_hash": user} for user in range(6)]
    entries = [{"prompt": f"a {color} apple", "image_path": names, "raw_annotations": people} for color in "ab"]
    (tmp_path / "test.json").write_text(json.dumps(entries))
    settings = [
        *("data=hpdv2", f"data.table={tmp_path}/test.json", f"data.images={tmp_path}/test", "data.image_size=64"),
        *("data.workers=0", "data.held_out_captions=0", "data.unseen_users=0", "trainer=cpu", "trainer.progress=false"),
        *("data.min_pairs=5", "shots.n=4", "user.encoder=codec", f"output={tmp_path / 'out'}"),
    ]
    assert main(["prepare", *settings]) == 0
    [prepared] = (tmp_path / "out/data").glob("hpdv2-*/splits-*/prepared.json")
    counts = json.loads(prepared.read_text())["summary"]["counts"]
    assert (counts["rows"], counts["pairs"]) == (72, 72)
