"""A user kind and a choice of shots of one's own are one class and one YAML file each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from tests import tiny
from tests.data.handmade import SIZE, rows, write
from tests.parts.last_shots import LastShots
from tests.parts.mean_latents import MeanLatentsUser

from ppd_lightning.commands import embed, prepare
from ppd_lightning.config.compose import compose
from ppd_lightning.config.root import Config
from ppd_lightning.config.workspace import Workspace
from ppd_lightning.data.pairs import stable_ids
from ppd_lightning.errors import UserError

CONF = Path(__file__).parents[1] / "parts/conf"


def configure(folder: Path, *overrides: str) -> Config:
    settings = [
        *("data=pickapic", f"data.root={folder / 'source'}", f"data.image_size={SIZE}", f"output={folder / 'out'}"),
        *("data.held_out_captions=0.2", "data.unseen_users=0.2", f"model.path={folder / 'model'}", "trainer=cpu"),
        *("user=mean_latents", "shots=last"),
    ]
    return compose([*settings, *overrides], CONF)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder that is prepared, and embedded with all settings as they are."""
    made = tmp_path_factory.mktemp("own")
    tiny.model_folder(made / "model")
    write(made / "source", rows())
    prepare.run(configure(made))
    assert embed.run(configure(made))["kind"] == "mean_latents"
    return made


def test_users_are_described_by_the_class_and_the_shots_that_the_files_name(folder: Path) -> None:
    config = configure(folder)
    assert (type(config.user), type(config.shots)) == (MeanLatentsUser, LastShots)
    users = Workspace(config).users
    found, pairs, latents = users.rows(), users.data.read_pairs(), users.data.open_latents()
    row_of = dict(zip(latents.ids.to_pylist(), range(len(latents)), strict=True))
    raw = []
    for user, shots in zip(found.users, found.shots.tolist(), strict=True):
        describing = pc.is_in(pairs["split"], pa.array(["train", "shots"]))
        own = pairs.filter(pc.and_(pc.equal(pairs["user_id"], user), describing))
        last = own.slice(len(own) - 3)
        assert shots == stable_ids(last["pair_id"]).tolist()
        preferred = [row_of[image] for image in last["preferred"].to_pylist()]
        raw.append(latents.arrays["latents"][preferred].astype(np.float64).mean((0, 2, 3)))
    seen = np.isin(found.users, users.data.people()["seen"])
    expected = (np.stack(raw) - np.stack(raw)[seen].mean(0)) / np.stack(raw)[seen].std(0)
    np.testing.assert_allclose(found.embeddings[:], expected, rtol=1e-4, atol=1e-5)


def test_whoever_asks_gets_their_rows(folder: Path) -> None:
    users = Workspace(configure(folder)).users
    rows = users.rows()
    asked = users.asked([rows.users[2], rows.users[0]], ["thing 1", "another thing"])
    np.testing.assert_array_equal(asked.embeddings, rows.embeddings[[2, 0]])
    assert users.served() == (users.data.people(), [])
    assert users.kind.sentence(users.shots) == (
        "3 of a user's choices (`shots.select=last`) make their vector (`user.kind=mean_latents`)."
    )


def test_its_settings_and_what_it_sees_with_count(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="this store is missing; run `ppd embed`"):
        Workspace(configure(folder, "user.power=2.0")).users.rows()
    tiny.codec(seed=1).save_pretrained(tiny.model_folder(tmp_path / "other") / "codec")
    with pytest.raises(UserError, match=r"this store is stale \(encoder was .* now .*run `ppd embed`"):
        Workspace(configure(folder, f"model.path={tmp_path / 'other'}")).users.rows()


def test_its_settings_are_checked_with_all_others(tmp_path: Path) -> None:
    with pytest.raises(UserError) as failure:
        configure(tmp_path, "user.power=0.0", "shots.n=0", "seed=-1")
    assert [fault.partition(" and <=")[0] for fault in failure.value.faults] == [
        "user.power: must be a number > 0",
        "shots.n: must be a whole number >= 1",
        "seed: must be a whole number >= 0",
    ]
