"""The world's choices are published exactly as Pick-a-Pic v2 is, each image stored once."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ppd_lightning.data.pickapic import SCHEMA
from ppd_lightning.data.pickapic_rows import read_rows
from ppd_lightning.storage.fingerprints import fingerprint
from ppd_lightning.worlds.emoji.choices import encode_pictures, image_uid, write_source
from ppd_lightning.worlds.emoji.people import choose, make_people

CONCEPTS, STYLES = tuple(f"thing {number}" for number in range(6)), ("flat", "round", "loud")
GENERATOR = np.random.default_rng(0)
COARSE = GENERATOR.integers(0, 256, (6, 3, 4, 4, 3), np.uint8)
PICTURES = COARSE.repeat(8, 2).repeat(8, 3)
STATISTICS = GENERATOR.random((6, 3, 2))
PEOPLE = make_people(["1", "2", "10"], 0, STYLES, ("a", "b"), STATISTICS)
CHOICES = choose(PEOPLE, STATISTICS, 50, 0.5, 0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_source(tmp_path / "choices.parquet", CONCEPTS, encode_pictures(PICTURES), PEOPLE, CHOICES, 0)
    return tmp_path / "choices.parquet"


def test_columns_and_types_are_those_of_pick_a_pic(path: Path) -> None:
    assert pq.read_schema(path).remove_metadata() == SCHEMA


def test_each_row_is_one_choice(path: Path) -> None:
    rows = pq.read_table(path).to_pylist()
    assert len(rows) == 150
    for number, row in enumerate(rows):
        concept = CONCEPTS[CHOICES.concept[number]]
        picked, other = STYLES[CHOICES.picked[number]], STYLES[CHOICES.other[number]]
        assert row["user_id"] == int(PEOPLE.ids[CHOICES.person[number]])
        assert row["caption"] == concept
        assert row["best_image_uid"] == image_uid(concept, picked)
        first = row["label_0"] == 1.0
        assert row["label_0"] + row["label_1"] == 1.0
        assert (row["model_0"], row["model_1"]) == ((picked, other) if first else (other, picked))
        assert row["image_0_uid"] == image_uid(concept, row["model_0"])
        assert row["image_1_uid"] == image_uid(concept, row["model_1"])
        assert row["has_label"]
        assert row["are_different"]
    assert 50 < sum(row["label_0"] for row in rows) < 100
    assert [row["ranking_id"] for row in rows] == list(range(150))


def test_captions_name_the_concept_but_never_the_style(path: Path) -> None:
    assert set(pq.read_table(path)["caption"].to_pylist()) == set(CONCEPTS)


def test_the_jpegs_show_the_pictures(path: Path) -> None:
    for row in pq.read_table(path).to_pylist()[:20]:
        for side in (0, 1):
            with Image.open(io.BytesIO(row[f"jpg_{side}"])) as opened:
                assert opened.format == "JPEG"
                shown = np.asarray(opened.convert("RGB")).astype(int)
            drawn = PICTURES[CONCEPTS.index(row["caption"]), STYLES.index(row[f"model_{side}"])]
            assert np.abs(shown - drawn).mean() < 2
            # Without chroma subsampling a sharp edge of colour stays where it was.
            assert np.abs(shown - drawn).max() < 40


def test_an_image_is_stored_once_however_many_rows_show_it(path: Path) -> None:
    # 150 rows show 18 images.
    once = sum(len(jpeg) for styles in encode_pictures(PICTURES) for jpeg in styles)
    metadata = pq.ParquetFile(path).metadata.row_group(0)
    for name in ("jpg_0", "jpg_1"):
        assert metadata.column(SCHEMA.get_field_index(name)).total_uncompressed_size < 1.5 * once


def test_the_same_world_is_written_byte_for_byte(path: Path, tmp_path: Path) -> None:
    write_source(tmp_path / "again.parquet", CONCEPTS, encode_pictures(PICTURES), PEOPLE, CHOICES, 0)
    assert (tmp_path / "again.parquet").read_bytes() == path.read_bytes()


def test_a_drawn_world_is_as_it_was_before_there_were_generated_ones(path: Path) -> None:
    """All that is said of the choices, bit for bit; the JPEGs are Pillow's."""
    rows = [{key: str(row[key]) for key in row if not key.startswith("jpg")} for row in pq.read_table(path).to_pylist()]
    assert fingerprint(rows) == "b93c2dbe5672"


def test_it_is_read_as_any_other_source(path: Path) -> None:
    read = read_rows(path.parent)
    # Somebody who meets a concept several times may compare the same two images again: under another ranking.
    assert len(read.table) == 150
    assert {name: count for name, count in read.counts.items() if count} == {"rows": 150}
