"""`ppd embed` stores rows that say which pairs made them; whoever opens them gets the right ones or one message."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest
from tests import tiny
from tests.data.handmade import SIZE, rows, write

from ppd_lightning.commands import embed, label, prepare
from ppd_lightning.config.compose import compose
from ppd_lightning.config.root import Config
from ppd_lightning.config.workspace import Workspace
from ppd_lightning.data.pairs import stable_ids
from ppd_lightning.data.stores import write_store
from ppd_lightning.errors import UserError
from ppd_lightning.users.rows import open_rows
from ppd_lightning.users.users import Users

SHOTS, GROUPINGS, WIDTH = 3, 5, 4
CAPTION = ["thing 1"]


@functools.cache
def configure(folder: Path, *overrides: str) -> Config:
    settings = [
        *("data=pickapic", f"data.root={folder / 'source'}", f"data.image_size={SIZE}", f"output={folder / 'out'}"),
        *("data.held_out_captions=0.2", "data.unseen_users=0.2", f"model.path={folder / 'model'}", "mode=real"),
        *(f"shots.n={SHOTS}", f"shots.groupings={GROUPINGS}"),
    ]
    if not any(override.startswith(("user=", "mode=")) for override in overrides):
        settings += ["user.encoder=codec", f"user.components={WIDTH}"]
    return compose([*settings, *overrides])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared and embedded data folder."""
    made = tmp_path_factory.mktemp("users")
    tiny.model_folder(made / "model")
    write(made / "source", rows())
    prepare.run(configure(made))
    embed.run(configure(made))
    return made


def users_of(folder: Path, *overrides: str) -> Users:
    return Workspace(configure(folder, *overrides)).users


def test_everybody_has_every_grouping(folder: Path) -> None:
    users = users_of(folder)
    found, people = users.rows(), users.data.people()
    assert found.users == tuple(user for user in sorted(people["seen"] + people["unseen"]) for _ in range(GROUPINGS))
    assert found.embeddings.shape == (len(found.users), WIDTH)
    assert users.embedding_dim == WIDTH
    assert found.embeddings.dtype == np.float32
    assert found.shots.shape == (len(found.users), SHOTS)


def test_the_shots_of_a_row_are_its_persons_and_never_of_the_tests(folder: Path) -> None:
    pairs = users_of(folder).data.read_pairs()
    owner = dict(zip(stable_ids(pairs["pair_id"]).tolist(), pairs["user_id"].to_pylist(), strict=True))
    split = dict(zip(stable_ids(pairs["pair_id"]).tolist(), pairs["split"].to_pylist(), strict=True))
    found = users_of(folder).rows()
    for user, shots in zip(found.users, found.shots.tolist(), strict=True):
        assert {owner[pair] for pair in shots} == {user}
        assert {split[pair] for pair in shots} in ({"train"}, {"shots"})


def test_embeddings_are_standardised_over_the_people_that_are_trained_on(folder: Path) -> None:
    users = users_of(folder)
    found = users.rows()
    seen = np.isin(found.users, users.data.people()["seen"])
    embeddings = found.embeddings[:]
    np.testing.assert_allclose(embeddings[seen].mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(embeddings[seen].std(0), 1, atol=1e-4)
    assert not np.allclose(embeddings[~seen].mean(0), 0, atol=1e-2)


def test_the_same_shots_give_the_same_row(folder: Path) -> None:
    """So a row depends on its shots alone: in whichever order they are, whoever made them."""
    found = users_of(folder).rows()
    by_shots: dict[tuple[int, ...], np.ndarray] = {}
    for shots, embedding in zip(found.shots.tolist(), found.embeddings[:], strict=True):
        np.testing.assert_allclose(by_shots.setdefault(tuple(sorted(shots)), embedding), embedding, atol=1e-5)


def test_pictures_of_the_tests_change_nothing(folder: Path, tmp_path: Path) -> None:
    """Neither the components nor the shots look at what is held out."""
    made = rows()
    held_out = set(users_of(folder).data.captions(held_out=True))
    assert held_out
    donor = next(row for row in made if row["caption"] not in held_out)
    changed = [row | {"jpg_0": donor["jpg_0"]} if row["caption"] in held_out else row for row in made]
    write(tmp_path / "source", changed)
    (tmp_path / "model").symlink_to(folder / "model")
    config = configure(tmp_path)
    prepare.run(config)
    embed.run(config)
    np.testing.assert_array_equal(users_of(tmp_path).rows().embeddings[:], users_of(folder).rows().embeddings[:])


def test_the_same_command_again_does_no_work(folder: Path) -> None:
    config = configure(folder)
    files = {path: path.stat().st_mtime_ns for path in users_of(folder).folder.iterdir()}
    summary = embed.run(config)
    assert {path: path.stat().st_mtime_ns for path in users_of(folder).folder.iterdir()} == files
    assert summary["width"] == WIDTH
    assert summary["rows"] == summary["users"] * GROUPINGS


def test_a_person_is_described_by_the_first_grouping(folder: Path) -> None:
    users = users_of(folder)
    found = users.rows()
    people = sorted(set(found.users))
    asked = [people[3], people[0], people[3]]
    expected = found.embeddings[[found.users.index(user) for user in asked]]
    np.testing.assert_array_equal(users.asked(asked, CAPTION * 3).embeddings, expected)


def test_one_hot_users_have_a_dimension_each(folder: Path) -> None:
    config = configure(folder, "mode=synthetic")
    label.run(config)
    users = Workspace(config).users
    found = users.rows()
    assert found.users == tuple(sorted(pc.unique(users.data.read_pairs()["user_id"]).to_pylist()))
    np.testing.assert_array_equal(found.embeddings, np.eye(len(found.users)))
    assert found.shots.shape == (len(found.users), 0)


def test_a_constant_user_is_the_same_for_everybody(folder: Path) -> None:
    users = users_of(folder, "user=constant")
    people = pc.unique(users.data.read_pairs()["user_id"]).to_pylist()
    assert users.asked(people, CAPTION * len(people)).embeddings.tolist() == [[1.0]] * len(people)


def test_somebody_unknown_is_named(folder: Path) -> None:
    with pytest.raises(UserError, match="nobody: nobody of that name is in the pairs"):
        users_of(folder).asked(["nobody"], CAPTION)


def test_embeddings_that_were_not_made_name_the_command(folder: Path) -> None:
    with pytest.raises(UserError, match="this store is missing; run `ppd embed`"):
        users_of(folder, "shots.groupings=6").rows()


def test_an_embedding_that_is_not_finite_is_refused_where_it_is_read(tmp_path: Path) -> None:
    write_store(tmp_path / "users", ["ann/", "bob/"], {"embedding": np.array([[1], [np.nan]], np.float32)}, {"k": "v"})
    with pytest.raises(UserError, match="embedding: NaN or infinity in 1 rows, such as that of bob/"):
        open_rows(tmp_path / "users", {"k": "v"}, per_caption=False)


def test_embeddings_by_another_codec_are_stale(folder: Path, tmp_path: Path) -> None:
    tiny.codec(seed=1).save_pretrained(tiny.model_folder(tmp_path / "other") / "codec")
    with pytest.raises(UserError, match=r"this store is stale \(encoder was .* now .*run `ppd embed`"):
        users_of(folder, f"model.path={tmp_path / 'other'}").rows()


def test_id_serves_those_who_are_trained_on(folder: Path) -> None:
    users = users_of(folder, "user=id")
    people = users.data.people()
    groups, not_served = users.served()
    assert groups == {"seen": people["seen"], "unseen": []}
    assert not_served == people["unseen"] != []
    assert users_of(folder).served() == (people, [])
    with pytest.raises(UserError, match=f"{not_served[0]}: .*user=id .* cannot serve anybody else"):
        users.asked(not_served[:1], CAPTION)
