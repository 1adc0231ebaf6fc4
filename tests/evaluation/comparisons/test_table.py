"""The table of comparisons keeps every image with its scores; what is not there is null."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ppd_lightning.evaluation.comparisons.selection import Comparison
from ppd_lightning.evaluation.comparisons.table import ComparisonsTable

COMPARISONS = [Comparison("seen", "ann", "cup", 1000), Comparison("unseen", "bob", "tree", 1003)]


def test_files_are_relative_and_a_kind_that_some_lack_is_null_there(tmp_path: Path) -> None:
    table = ComparisonsTable(COMPARISONS, tmp_path)
    base, own = [tmp_path / "images/b/1.png"] * 2, [tmp_path / f"runs/r/{n}.png" for n in range(2)]
    table.add("base", base, {"clip": np.array([0.5, 1.5]), "concept": np.array([True, False])}, [0, 1])
    table.add("own", own, {"clip": np.array([2.0, 3.0])}, [0, 1])
    table.add("profile", [tmp_path / "p.png"], {"clip": np.array([7.0]), "concept": np.array([True])}, [1])
    table.write(tmp_path / "comparisons.parquet")
    read = pq.read_table(tmp_path / "comparisons.parquet")
    kinds = {"seed": pa.int64(), "base/clip": pa.float64(), "base/concept": pa.bool_(), "profile/concept": pa.bool_()}
    assert {name: read.schema.field(name).type for name in kinds} == kinds
    assert read.to_pylist() == [
        {
            "group": "seen",
            "user": "ann",
            "caption": "cup",
            "seed": 1000,
            "base_image": "images/b/1.png",
            "base/clip": 0.5,
            "base/concept": True,
            "own_image": "runs/r/0.png",
            "own/clip": 2.0,
            "profile_image": None,
            "profile/clip": None,
            "profile/concept": None,
        },
        {
            "group": "unseen",
            "user": "bob",
            "caption": "tree",
            "seed": 1003,
            "base_image": "images/b/1.png",
            "base/clip": 1.5,
            "base/concept": False,
            "own_image": "runs/r/1.png",
            "own/clip": 3.0,
            "profile_image": "p.png",
            "profile/clip": 7.0,
            "profile/concept": True,
        },
    ]
