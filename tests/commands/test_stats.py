"""`ppd stats` tells what the prepared pairs are made of: the same numbers as counting by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from tests.data.handmade import row, rows, write

from ppd_lightning.commands import stats
from ppd_lightning.config.compose import compose
from ppd_lightning.config.root import Config
from ppd_lightning.config.workspace import Workspace
from ppd_lightning.data.images import IMAGES_SCHEMA, index_images
from ppd_lightning.data.pairs import pairs_of_people, write_pairs
from ppd_lightning.data.pickapic_rows import Rows, read_rows
from ppd_lightning.data.splits import SPLITS
from ppd_lightning.data.tables import write_table
from ppd_lightning.data.tally import tally
from ppd_lightning.errors import UserError
from ppd_lightning.figures.files import save_figure
from ppd_lightning.storage.atomic import write_json_atomic

HELD_OUT, UNSEEN = {"thing 1", "thing 4"}, {"2", "7"}


@pytest.fixture(scope="module")
def composed() -> Config:
    return compose(["data=pickapic", "data.root=folder", "data.image_size=64"])


@pytest.fixture
def source(tmp_path: Path) -> Rows:
    tie = {"label_0": 0.5, "label_1": 0.5}
    extra = [row(900 + number, user=3, caption=f"tie {number}", **tie) for number in range(6)]
    extra += [row(910, user=3, caption=" "), row(911, user=4, caption="x", model_0=None)]
    write(tmp_path / "source", rows() + extra)
    return read_rows(tmp_path / "source")


@pytest.fixture
def pairs(source: Rows) -> pa.Table:
    return pairs_of_people(source.table, held_out=HELD_OUT, unseen=UNSEEN, validation=0.1, min_pairs=2)[0]


@pytest.fixture
def prepared(tmp_path: Path, composed: Config, source: Rows, pairs: pa.Table) -> Config:
    """A configuration whose tables are there, as `ppd prepare` leaves them."""
    config = replace(composed, output=str(tmp_path / "out"))
    images = index_images(source.table)
    write_table(Workspace(config).data.images_path, images, {"source": "s", "images": "i"})
    write_pairs(Workspace(config).data.pairs_path, pairs, Workspace(config).data.pairs_key())
    summary = {"counts": source.counts | {"damaged_image": 0, "few_pairs": 0, "pairs": len(pairs)}}
    write_json_atomic(Workspace(config).data.summary_path, {"key": {}, "summary": summary})
    return config


def test_the_numbers_are_those_of_counting_by_hand(prepared: Config, source: Rows, pairs: pa.Table) -> None:
    summary = stats.run(prepared)
    listed = pairs.to_pylist()
    models = {image["image_id"]: image["model"] or "unknown" for image in index_images(source.table).to_pylist()}
    assert (summary["rows"], summary["usable"], summary["ties"]) == (128, 127, 6)
    assert summary["share_of_ties"] == round(6 / 127, 4)
    assert summary["left_out"] == {"empty_caption": 1, "ties": 6}
    for name in ("all", *SPLITS):
        part = [pair for pair in listed if name in ("all", pair["split"])]
        found = summary if name == "all" else summary["splits"][name]
        assert found["pairs"] == len(part) > 0
        assert found["users"] == len({pair["user_id"] for pair in part})
        assert found["captions"] == len({pair["caption"] for pair in part})
        assert found["images"] == len({pair[side] for pair in part for side in ("preferred", "dispreferred")})
    for name, told in summary["models"].items():
        won = [pair for pair in listed if models[pair["preferred"]] == name != models[pair["dispreferred"]]]
        lost = [pair for pair in listed if models[pair["dispreferred"]] == name != models[pair["preferred"]]]
        assert (told["won"], told["lost"]) == (len(won), len(lost))
    assert set(summary["models"]) == {"flat", "round", "loud", "unknown"}
    own = sorted([pair["user_id"] for pair in listed].count(user) for user in {pair["user_id"] for pair in listed})
    assert (summary["pairs_per_user"]["min"], summary["pairs_per_user"]["max"]) == (own[0], own[-1])
    assert summary["pairs_per_user"]["median"] == own[(len(own) - 1) // 2]


def test_the_table_and_the_picture_are_there(prepared: Config, capsys: pytest.CaptureFixture[str]) -> None:
    summary = stats.run(prepared)
    out = capsys.readouterr().out
    for word in ("test_unseen", "left out: ties", "4.7 % of the usable", "pairs a user, median", "win rate", "loud"):
        assert word in out
    with Image.open(summary["picture"]) as picture:
        assert len(set(picture.convert("L").tobytes())) > 50
    for kind in (".pdf", ".svg"):
        assert Path(summary["picture"]).with_suffix(kind).stat().st_size > 1000


@pytest.mark.parametrize(("users", "models", "panels"), [(1, 1, 2), (3, 2, 3), (5000, 40, 3)])
def test_any_number_of_users_and_models_can_be_drawn(users: int, models: int, panels: int, tmp_path: Path) -> None:
    user = np.random.default_rng(0).integers(0, users, 3 * users)
    figure = stats.tally_figure(tally(*_world(user, models)), "any")
    save_figure(figure, tmp_path / "any")
    assert len(figure.axes) == panels
    if panels == 3:
        names = [label.get_text() for label in figure.axes[2].get_yticklabels()]
        assert len(names) == min(models, stats.BARS)
        assert ("31 others" in names) == (models == 40)


def test_the_most_active_users_are_those_with_most_pairs() -> None:
    found = tally(*_world(np.repeat(np.arange(10), [91, 1, 1, 1, 1, 1, 1, 1, 1, 1]), 2))
    assert found.pairs_per_user.tolist() == [91] + [1] * 9
    assert found.share_of_most_active(0.1) == found.share_of_most_active(0.0) == 0.91
    assert found.share_of_most_active(1.0) == 1.0


def test_what_is_not_prepared_is_one_clear_message(composed: Config, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"prepared\.json: missing or damaged; run `ppd prepare`"):
        stats.run(replace(composed, output=str(tmp_path)))


def test_where_no_row_became_a_pair_the_reasons_are_named(prepared: Config, pairs: pa.Table) -> None:
    data = Workspace(prepared).data
    write_pairs(data.pairs_path, pairs.slice(0, 0), data.pairs_key())
    with pytest.raises(
        UserError, match=r"none of \d+ rows became a pair \(.*empty_caption 1.*ties 6.*\); add choices in which"
    ):
        stats.run(prepared)


def _world(user: np.ndarray, models: int) -> tuple[pa.Table, pa.Table]:
    """Training pairs of these users between images of some models."""
    count = len(user)
    columns = {
        "pair_id": [f"{number:016x}" for number in range(count)],
        "user_id": user.astype(str),
        "caption_id": ["c"] * count,
        "caption": ["cat"] * count,
        "preferred": [f"{number % models}" for number in range(count)],
        "dispreferred": [f"{(number + 1) % models}" for number in range(count)],
        "split": ["train"] * count,
    }
    images = {"image_id": [str(number) for number in range(models)], "model": [f"m{n}" for n in range(models)]}
    return pa.table(columns), pa.table(images, schema=pa.schema([IMAGES_SCHEMA.field(name) for name in images]))
