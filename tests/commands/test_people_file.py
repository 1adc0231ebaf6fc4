"""Files of `ppd describe` in every verb that takes people: measured by what is theirs, drawn by the file's vector."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow.parquet as pq
import pytest
from tests.commands.test_describe import asking, shots_of, trained
from tests.commands.test_users_line import world

from ppd_lightning.commands import describe, evaluate, interpolate, judge, train
from ppd_lightning.config.root import Config
from ppd_lightning.config.workspace import Workspace
from ppd_lightning.errors import UserError
from ppd_lightning.users.people_file import DescribedPeople

__all__ = ["world"]


@pytest.fixture(scope="module")
def described(world: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, Path]:
    """A training, and everybody's shots described through the door, without the data of the training."""
    config, folder = trained(world, "features", "evaluation.preference_draws=1"), tmp_path_factory.mktemp("doors")
    choices, _ = shots_of(world, "features", folder)
    (world / "out/data").rename(world / "out/elsewhere")
    file = describe.run(asking(config, choices, to=str(folder / "everybody.safetensors")))["file"]
    (world / "out/elsewhere").rename(world / "out/data")
    return config, Path(file)


def with_people(config: Config, *files: Path) -> Config:
    return replace(config, generation=replace(config.generation, people=[str(file) for file in files]))


def rewritten(file: Path, to: Path, names: dict[str, str]) -> Path:
    """A file of people, each by a name of `names` with the vector of the one beside it."""
    people = DescribedPeople.open(file)
    vectors = {name: people.vectors[of] for name, of in names.items()}
    facts = {name: people.facts[of] for name, of in names.items()}
    replace(people, vectors=vectors, facts=facts).save(to)
    return to


def test_unseen_people_who_come_by_the_file_alone_win_as_often_to_the_bit(
    described: tuple[Config, Path], tmp_path: Path
) -> None:
    config, file = described
    unseen, rows = Workspace(config).data.people()["unseen"], Workspace(config).users.rows()
    own = rewritten(file, tmp_path / "unseen.safetensors", {name: name for name in unseen})
    for name, vector in DescribedPeople.open(own).vectors.items():
        np.testing.assert_array_equal(vector, rows.embeddings[[rows.users.index(name)]][0])
    without, by_file = evaluate.run(config), evaluate.run(with_people(config, own))
    assert without["folder"] != by_file["folder"]
    first, second = (pq.read_table(Path(one["folder"]) / "comparisons.parquet") for one in (without, by_file))
    assert first.equals(second)
    measured = {"win_rate", "preference_accuracy", "own_against_other", "other_taste_win_rate"}
    assert all(without[name] == by_file[name] for name in measured)
    swapped = dict(zip(unseen, unseen[1:] + unseen[:1], strict=True))
    quick = replace(config, evaluation=replace(config.evaluation, preference_draws=0))
    wrong = evaluate.run(with_people(quick, rewritten(file, tmp_path / "swapped.safetensors", swapped)))
    third = pq.read_table(Path(wrong["folder"]) / "comparisons.parquet")
    for row, other in zip(first.to_pylist(), third.to_pylist(), strict=True):
        assert (row["own_image"] != other["own_image"]) == (row["user"] in unseen)


@pytest.mark.parametrize("verb", [evaluate, judge])
def test_whom_the_data_do_not_know_is_not_measured(
    described: tuple[Config, Path], tmp_path: Path, verb: ModuleType
) -> None:
    config, file = described
    known = Workspace(config).data.people()["seen"][0]
    strangers = rewritten(file, tmp_path / "people.safetensors", {"Zoë": known, known: known, "ann": known})
    with pytest.raises(UserError, match=r"generation\.people: Zoë, ann: not in the data, so nothing says what they"):
        verb.run(with_people(config, strangers))


def test_blends_of_known_and_described_people_are_scored_by_what_each_of_them_likes(
    described: tuple[Config, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config, file = described
    people = Workspace(config).data.people()
    seen, unseen = people["seen"][0], people["unseen"][0]
    new = rewritten(file, tmp_path / "people.safetensors", {unseen: unseen, "Zoë": people["unseen"][1]})
    settings = replace(config.interpolation, users=[seen, unseen, "Zoë"], divisions=2, captions=2)
    summary = interpolate.run(with_people(replace(config, interpolation=settings), new))
    assert summary["not_scored"] == ["Zoë"]
    assert "nothing says what Zoë would like" in caplog.text
    assert set(summary["rank_correlation"]) == {seen, unseen}
    assert len(summary["points"]) == 6
    assert set(summary["points"][0]["scores"]) == {seen, unseen}
    assert (Path(summary["folder"]) / "simplex.png").is_file()
    both = replace(config, interpolation=replace(settings, users=None))
    assert interpolate.run(with_people(both, new))["users"] == sorted([unseen, "Zoë"])
    for users, found in ((["nobody", seen], f"nobody, {seen}"), (None, "none")):
        with pytest.raises(UserError, match=rf"interpolation\.users: expected two to four .* got {found}"):
            interpolate.run(replace(config, interpolation=replace(settings, users=users)))


def test_a_training_with_the_same_embeddings_previews_them(described: tuple[Config, Path], tmp_path: Path) -> None:
    config, file = described
    new = rewritten(file, tmp_path / "people.safetensors", {"Zoë": Workspace(config).data.people()["unseen"][0]})
    asked = replace(config.generation, people=[str(new)], users=["Zoë"], captions=["a red fox"])
    again = replace(config, seed=config.seed + 1, trainer=replace(config.trainer, preview_every=2), generation=asked)
    run = Path(train.run(again)["run"])
    assert (run / "previews/step-000002.png").is_file()
