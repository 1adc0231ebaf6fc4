"""The pairs table says who preferred what, by people's choices or by rewards, and is refused when it is not sound."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from tests.data.handmade import flip_byte, row, rows, write

from ppd_lightning.data.pairs import (
    PAIRS_SCHEMA,
    caption_id,
    load_pairs,
    pairs_of_people,
    pairs_of_rewards,
    stable_ids,
    write_pairs,
)
from ppd_lightning.data.pickapic_rows import read_rows
from ppd_lightning.data.splits import SPLITS
from ppd_lightning.data.tables import write_table
from ppd_lightning.errors import UserError

HELD_OUT, UNSEEN = {"thing 1", "thing 4", "thing 9"}, {"2", "7"}
KEY = {"images": "abc", "labels": "people"}


@pytest.fixture
def source(tmp_path: Path) -> pa.Table:
    tie = {"label_0": 0.5, "label_1": 0.5}
    second = {"label_0": 0.0, "label_1": 1.0}
    extra = [row(900, user=3, caption="thing 2", **tie), row(901, user=3, caption="thing 2", **second)]
    write(tmp_path / "source", rows() + extra)
    return read_rows(tmp_path / "source").table


@pytest.fixture
def pairs(source: pa.Table) -> pa.Table:
    return pairs_of_people(source, held_out=HELD_OUT, unseen=UNSEEN, validation=0.1, min_pairs=1)[0]


def test_the_schema_is_all_text() -> None:
    names = ["pair_id", "user_id", "caption_id", "caption", "preferred", "dispreferred", "split"]
    assert PAIRS_SCHEMA.names == names
    assert {str(getattr(field.type, "value_type", field.type)) for field in PAIRS_SCHEMA} == {"string"}


def test_people_prefer_what_their_labels_say(source: pa.Table) -> None:
    pairs, counts = pairs_of_people(source, held_out=HELD_OUT, unseen=UNSEEN, validation=0.1, min_pairs=1)
    assert counts == {"ties": 1, "few_pairs": 0, "users_with_few_pairs": 0, "image_of_tests": 0}
    by_id = {r["pair_id"]: r for r in pairs.to_pylist()}
    assert len(by_id) == len(pairs) == len(source) - 1
    for r in source.to_pylist():
        if r["label_0"] == 0.5:
            assert r["pair_id"] not in by_id
            continue
        pair = by_id[r["pair_id"]]
        chosen = (r["image_0"], r["image_1"]) if r["label_0"] == 1 else (r["image_1"], r["image_0"])
        assert (pair["preferred"], pair["dispreferred"]) == chosen
        assert (pair["user_id"], pair["caption"]) == (r["user_id"], r["caption"])
        assert pair["caption_id"] == caption_id(r["caption"])


def test_the_order_of_the_source_does_not_matter(source: pa.Table, pairs: pa.Table) -> None:
    shuffled = source.take(pa.array(np.random.default_rng(1).permutation(len(source))))
    again = pairs_of_people(shuffled, held_out=HELD_OUT, unseen=UNSEEN, validation=0.1, min_pairs=1)[0]
    assert again.equals(pairs)


def test_a_training_pair_with_an_image_of_the_tests_is_left_out(tmp_path: Path) -> None:
    shared = row(1, user=1, caption="cat", image_1_uid="thing 1/flat")
    write(tmp_path, [shared, row(2, user=1, caption="thing 1"), row(3, user=1, caption="dog")])
    source = read_rows(tmp_path).table
    table, counts = pairs_of_people(source, held_out=HELD_OUT, unseen=set(), validation=0.0, min_pairs=1)
    assert counts["image_of_tests"] == 1
    assert sorted(table["caption"].to_pylist()) == ["dog", "thing 1"]


def test_people_who_cannot_be_described_are_left_out_with_all_their_pairs(tmp_path: Path) -> None:
    """Captions cat0, cat1, ... are learnt from, thing 1 is held out; users 2 and 5 are unseen."""
    numbers = itertools.count()

    def pairs_of(user: int, learnt: int, tested: int) -> list[dict[str, Any]]:
        captions = [*(f"cat{number}" for number in range(learnt)), *["thing 1"] * tested]
        return [row(next(numbers), user=user, caption=caption) for caption in captions]

    made = [*pairs_of(1, 3, 1), *pairs_of(2, 2, 2), *pairs_of(3, 2, 5), *pairs_of(4, 0, 1), *pairs_of(5, 1, 2)]
    write(tmp_path, made)
    source = read_rows(tmp_path).table
    table, counts = pairs_of_people(source, held_out=HELD_OUT, unseen={"2", "5"}, validation=0.0, min_pairs=3)
    left = {(r["user_id"], r["split"]) for r in table.to_pylist()}
    assert left == {("1", "train"), ("1", "test_seen"), ("2", "shots"), ("2", "test_unseen")}
    assert (counts["few_pairs"], counts["users_with_few_pairs"], counts["image_of_tests"]) == (11, 3, 0)


def test_people_who_have_too_few_pairs_without_the_images_of_tests_are_left_out(tmp_path: Path) -> None:
    made = [row(number, user=1, caption=f"cat{number}") for number in range(2)]
    made += [row(2, user=1, caption="cat2", image_1_uid="thing 1/flat"), row(3, user=1, caption="thing 1")]
    made += [row(number, user=2, caption=f"dog{number}") for number in range(4, 7)]
    made += [row(7, user=2, caption="thing 1")]
    write(tmp_path, made)
    source = read_rows(tmp_path).table
    table, counts = pairs_of_people(source, held_out=HELD_OUT, unseen=set(), validation=0.0, min_pairs=3)
    assert set(table["user_id"].to_pylist()) == {"2"}
    assert (counts["few_pairs"], counts["users_with_few_pairs"], counts["image_of_tests"]) == (3, 1, 1)


def test_a_test_pair_of_somebody_who_is_left_out_costs_the_others_nothing(tmp_path: Path) -> None:
    made = [row(number, user=1, caption=f"cat{number}") for number in range(2)]
    made += [row(3, user=2, caption="thing 1", image_1_uid="cat0/flat")]
    write(tmp_path, made)
    source = read_rows(tmp_path).table
    table, counts = pairs_of_people(source, held_out=HELD_OUT, unseen=set(), validation=0.0, min_pairs=2)
    assert table["user_id"].to_pylist() == ["1", "1"]
    assert counts["image_of_tests"] == 0


def leads_of(source: pa.Table, seed: int = 0) -> dict[str, np.ndarray]:
    """Of three rewards, one of which never decides."""
    generator, count = np.random.default_rng(seed), len(source)
    return {"warm": generator.normal(size=count), "still": np.zeros(count), "bright": generator.normal(size=count)}


def test_a_reward_prefers_what_it_scores_higher_keeps_the_margin_and_drops_its_own_ties(source: pa.Table) -> None:
    leads = leads_of(source)
    pairs, counts = pairs_of_rewards(source, leads, held_out=HELD_OUT, validation=0.1)
    assert set(pairs["user_id"].to_pylist()) == {"bright", "warm"}
    assert counts["ties"] == counts["ties_of_still"] == len(source) - len(pairs) - counts["image_of_tests"]
    assert 0.2 < counts["ties"] / len(source) < 0.5  # "still" never decides and has a third
    assert counts["ties_of_warm"] == counts["ties_of_bright"] == 0
    rows = {row["pair_id"]: (place, row) for place, row in enumerate(source.to_pylist())}
    for pair in pairs.to_pylist():
        place, row = rows[pair["pair_id"]]
        lead = leads[pair["user_id"]][place]
        assert pair["preferred"] == row["image_0" if lead > 0 else "image_1"]
        assert pair["margin"] == pytest.approx(abs(lead), rel=1e-6)
    assert {pair["split"] for pair in pairs.to_pylist()} == {"train", "validation", "test_seen"}


def drawn(source: pa.Table, names: Sequence[str]) -> dict[str, str]:
    """The reward of each pair."""
    leads = {name: np.ones(len(source)) for name in names}
    pairs, _ = pairs_of_rewards(source, leads, held_out=set(), validation=0.0)
    return dict(zip(pairs["pair_id"].to_pylist(), pairs["user_id"].to_pylist(), strict=True))


def test_the_reward_of_a_pair_depends_on_the_pair_and_the_names_alone(source: pa.Table) -> None:
    whole = drawn(source, ["x", "y", "z"])
    assert drawn(source.slice(0, 40), ["z", "x", "y"]).items() <= whole.items()


def many(count: int) -> pa.Table:
    ids = [f"{number:016x}" for number in range(count)]
    return pa.table(
        {"pair_id": ids, "user_id": ["1"] * count, "caption": ["c"] * count}
        | {"image_0": ["a"] * count, "image_1": ["b"] * count}
    )


def test_each_reward_is_drawn_equally_often() -> None:
    """Within four deviations of a third of 9000."""
    users = list(drawn(many(9000), ["x", "y", "z"]).values())
    assert all(abs(users.count(name) - 3000) < 4 * np.sqrt(9000 * 2 / 9) for name in "xyz")


def test_one_more_reward_takes_its_share_and_leaves_the_others_their_pairs() -> None:
    before, after = (drawn(many(4000), names) for names in (["x", "y", "z"], ["x", "new", "y", "z"]))
    changed = [after[pair] for pair in before if after[pair] != before[pair]]
    assert set(changed) == {"new"}
    assert 0.22 < len(changed) / 4000 < 0.28


def test_a_table_comes_back_sorted_and_split(tmp_path: Path, pairs: pa.Table) -> None:
    path = tmp_path / "pairs.arrow"
    write_pairs(path, pairs.take(pa.array(np.random.default_rng(0).permutation(len(pairs)))), KEY)
    assert load_pairs(path).to_pylist() == pairs.to_pylist()
    parts = {split: load_pairs(path, split, KEY) for split in SPLITS}
    assert sum(map(len, parts.values())) == len(pairs)
    for split, part in parts.items():
        assert set(part["split"].to_pylist()) == {split}


def test_a_leaking_table_is_neither_written_nor_read(tmp_path: Path, pairs: pa.Table) -> None:
    splits = pairs["split"].to_pylist()
    splits[splits.index("test_seen")] = "train"
    leaking = pairs.set_column(6, "split", pa.array(splits))
    path = tmp_path / "pairs.arrow"
    with pytest.raises(UserError, match="caption"):
        write_pairs(path, leaking, KEY)
    assert not path.exists()
    write_table(path, leaking, KEY)  # as one who does not check
    with pytest.raises(UserError, match="would be learnt from"):
        load_pairs(path)


def test_a_missing_stale_damaged_or_foreign_table_is_one_clear_message(tmp_path: Path, pairs: pa.Table) -> None:
    path = tmp_path / "pairs.arrow"
    with pytest.raises(UserError, match="this table is missing; run `ppd prepare`"):
        load_pairs(path)
    write_pairs(path, pairs, KEY)
    with pytest.raises(UserError, match=r"stale \(images was 'abc', now 'xyz'\)"):
        load_pairs(path, key=KEY | {"images": "xyz"})
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=re.escape(f"{path}: damaged (its checksum differs)")):
        load_pairs(path)
    for place in range(100, len(whole), len(whole) // 7):
        path.write_bytes(whole)
        flip_byte(path, place)
        with pytest.raises(UserError, match=re.escape(f"{path}: damaged")):
            load_pairs(path)
    path.unlink()
    with pytest.raises(UserError, match="this table is missing"):
        load_pairs(path)
    path.with_suffix(".json").write_text("{}")
    with pytest.raises(UserError, match=r"pairs\.json: damaged"):
        load_pairs(path)
    write_table(path, pa.table({"x": [1]}), KEY)
    with pytest.raises(UserError, match=r"expected the columns pair_id \(string\)"):
        load_pairs(path)


def test_text_that_repeats_is_stored_once(tmp_path: Path, pairs: pa.Table) -> None:
    path = tmp_path / "pairs.arrow"
    long = pairs.set_column(3, "caption", pa.array([text * 1000 for text in pairs["caption"].to_pylist()]))
    write_pairs(path, long, KEY)
    assert path.stat().st_size < 0.25 * long.nbytes
    assert load_pairs(path).to_pylist() == long.to_pylist()


def test_an_empty_split_says_what_to_change(tmp_path: Path, pairs: pa.Table) -> None:
    path = tmp_path / "pairs.arrow"
    write_pairs(path, pairs.filter(pa.compute.not_equal(pairs["split"], "validation")), KEY)
    with pytest.raises(UserError, match="the split validation is empty; use more pairs"):
        load_pairs(path, "validation")


def test_stable_ids_keep_ids_apart_and_fit_a_tensor() -> None:
    ids = ["0000000000000000", "7fffffffffffffff", "8000000000000000", "ffffffffffffffff"]
    assert stable_ids(ids).tolist() == [0, 2**63 - 1, -(2**63), -1]
    assert stable_ids(pa.array(ids)).dtype == np.int64
    assert stable_ids(pa.chunked_array([ids[:1], ids[1:]]).slice(2)).tolist() == [-(2**63), -1]
    assert stable_ids([]).shape == (0,)
    drawn = [f"{number:016x}" for number in np.random.default_rng(0).integers(0, 2**63, 100).tolist()]
    assert stable_ids(drawn).tolist() == [int(pair, 16) for pair in drawn]
    for wrong in ("g" * 16, "0" * 15):
        with pytest.raises(ValueError, match="16"):
            stable_ids([wrong])
