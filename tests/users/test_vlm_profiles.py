"""`user=vlm` describes sets of shots once, resumably, and sets aside those of which no profile comes."""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from tests import tiny, tiny_vlm
from tests.data.handmade import SIZE, rows, write

from ppd_lightning.commands import embed, prepare
from ppd_lightning.config.compose import compose
from ppd_lightning.config.root import Config
from ppd_lightning.config.workspace import Workspace
from ppd_lightning.data.pictures import open_picture
from ppd_lightning.data.prepared import PreparedData
from ppd_lightning.errors import UserError
from ppd_lightning.users import vlm_profiles
from ppd_lightning.users.new_choices import NewChoice
from ppd_lightning.users.shot_sets import ShotSet, random_sets
from ppd_lightning.users.vlm_prompts import PromptPair, preferred_number
from ppd_lightning.users.vlm_writer import ProfileWriter

SETS = 10
"""Of two shots each, in units of two batches of two."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared data folder beside the models."""
    made = tmp_path_factory.mktemp("vlm")
    tiny.model_folder(made / "model")
    tiny_vlm.folder(made / "vlm")
    write(made / "source", rows(users=6, each=8))
    prepare.run(configure(made))
    return made


@pytest.fixture(autouse=True)
def _small_units(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vlm_profiles, "UNIT_BATCHES", 2)


@functools.cache
def configure(folder: Path, *overrides: str) -> Config:
    settings = [
        *("data=pickapic", f"data.root={folder / 'source'}", f"data.image_size={SIZE}", f"output={folder / 'out'}"),
        *("data.held_out_captions=0.2", "data.unseen_users=0.2", "data.min_pairs=3", "data.workers=0"),
        *(f"model.path={folder / 'model'}", "trainer=cpu", "mode=real", "user=vlm", f"user.path={folder / 'vlm'}"),
        *("shots.n=2", "shots.groupings=3", "user.max_new_tokens=10", "user.batch_size=2", "user.max_unusable=1"),
    ]
    return compose([*settings, *overrides])


def data_of(config: Config) -> PreparedData:
    return Workspace(config).data


def described(config: Config, chosen: slice = slice(SETS)) -> np.ndarray:
    return describe(config, some_sets(config)[chosen])


def describe(config: Config, sets: list[ShotSet]) -> np.ndarray:
    users = Workspace(config).users
    return users.kind.describe(users.using, users.data.read_pairs(), sets)


def some_sets(config: Config) -> list[ShotSet]:
    return random_sets(data_of(config).read_pairs(), config.shots.n, config.shots.groupings)


def table(config: Config, name: str = "profiles") -> pa.Table:
    (found,) = Path(config.output).glob(f"data/*/profiles-*/{name}.parquet")
    return pq.read_table(found)


def elsewhere(folder: Path, tmp_path: Path, *overrides: str) -> Config:
    """The same prepared data in a folder of its own, so that nothing is answered yet."""
    config = configure(folder, f"output={tmp_path / 'out'}", *overrides)
    own = data_of(config).folder
    own.mkdir(parents=True)
    for path in data_of(configure(folder)).folder.iterdir():
        if not path.name.startswith("profiles-"):
            (own / path.name).symlink_to(path)
    return config


def test_each_set_has_the_state_that_the_writer_gives_it(folder: Path, tmp_path: Path) -> None:
    """The images are read again by hand, whole, and the pairs are laid out by hand."""
    config = elsewhere(folder, tmp_path, "user.retries=0")
    found = described(config)
    data, sets = data_of(config), some_sets(config)[:SETS]
    pairs, stored = data.read_pairs(), dict(data.stored_images(data.images_table()))
    writer = ProfileWriter(
        str(folder / "vlm"), "cpu", torch.float32, position="last_profile_token", layer=-1, max_new_tokens=10
    )
    profiles = {row["set"]: row for row in table(config).to_pylist()}
    for one, state in zip(sets, found, strict=True):
        prompt_pairs, ids = [], []
        for pair in pairs.take(one.pairs).to_pylist():
            ids.append(pair["pair_id"])
            liked, other = (open_picture(stored[pair[side]]) for side in ("preferred", "dispreferred"))
            number = preferred_number(pair["pair_id"])
            both = (liked, other) if number == 1 else (other, liked)
            prompt_pairs.append(PromptPair(pair["caption"], both, number))
        name = f"{one.user}/{'-'.join(ids)}"
        expected = writer.profiles([prompt_pairs], [vlm_profiles._seed(0, name, 0)])[0]
        assert (expected.text is not None) == (name in profiles) == bool(np.isfinite(state).all())
        if expected.text is not None:
            np.testing.assert_array_equal(state, expected.state)
            found_row = profiles[name]
            assert found_row["user"] == one.user
            assert (found_row["profile"], found_row["answer"]) == (expected.text, expected.answer)
            assert (found_row["seed"], found_row["retries"]) == (expected.seed, 0)
    assert 0 < len(profiles) < SETS


def test_somebody_new_with_the_same_choices_has_the_same_state(folder: Path) -> None:
    """Asked alone; the choices have the ids that they had in the data."""
    config, (one, *_) = configure(folder), some_sets(configure(folder))
    users = Workspace(config).users
    pairs = users.data.read_pairs()
    rows = pairs.take(pa.array(one.pairs)).to_pylist()
    content = dict(users.data.stored_images(users.data.images_table()))
    choices = []
    for row in rows:
        preferred, other = (open_picture(content[row[side]]) for side in ("preferred", "dispreferred"))
        assert preferred is not None
        assert other is not None
        choices.append(NewChoice(row["pair_id"], row["caption"], preferred, other, row["preferred"]))
    found = users.kind.describe_new(Workspace(config).instruments, {}, {one.user: choices})
    np.testing.assert_allclose(found[0], described(config, slice(1))[0], rtol=1e-4, atol=1e-5)


def test_images_keep_their_proportions(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    source = folder / "wide"
    write(source, [row | {"jpg_0": wide(row["image_0_uid"])} for row in rows(users=4, each=6)])
    config = configure(folder, f"data.root={source}", "user.image_size=30", "data.unseen_users=0")
    prepare.run(config)
    seen: list[tuple[int, int]] = []
    monkeypatch.setattr(ProfileWriter, "profiles", spying(ProfileWriter.profiles, seen))
    described(config)
    assert set(seen) == {(30, 15), (30, 30)}


def wide(name: str) -> bytes:
    from tests.data.handmade import jpeg

    return jpeg(name, (64, 32))


def spying(function: Callable[..., Any], seen: list[tuple[int, int]]) -> Callable[..., Any]:
    def wrapped(self: ProfileWriter, shots: list[list[PromptPair]], seeds: list[int]) -> Any:
        seen.extend(image.size for own in shots for one in own for image in one.images)
        return function(self, shots, seeds)

    return wrapped


def test_done_sets_are_not_asked_again(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = elsewhere(folder, tmp_path)
    first = described(config)
    monkeypatch.setattr(ProfileWriter, "__init__", forbidden)
    np.testing.assert_array_equal(described(config), first)


def forbidden(*_: object, **__: object) -> None:
    raise AssertionError("the model was loaded")


def test_the_same_shots_in_two_rows_are_asked_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = elsewhere(folder, tmp_path)
    one = some_sets(config)[0]
    seen: list[tuple[int, int]] = []
    monkeypatch.setattr(ProfileWriter, "profiles", spying(ProfileWriter.profiles, seen))
    found = describe(config, [one, ShotSet(f"{one.user}/for-a-caption", one.user, one.pairs)])
    np.testing.assert_array_equal(found[0], found[1])
    assert len(seen) % 4 == 0
    assert len(table(config)) + len(table(config, "quarantine")) == 1


@pytest.mark.parametrize(("calls", "units"), [(1, 0), (5, 1)])
def test_a_killed_command_goes_on_to_the_same_bits(folder: Path, tmp_path: Path, calls: int, units: int) -> None:
    """A real process, killed as by the power switch in the middle of a unit of at most four calls."""
    whole = elsewhere(folder, tmp_path / "whole", "user.retries=1")
    broken = elsewhere(folder, tmp_path / "broken", "user.retries=1")
    context = multiprocessing.get_context("fork")
    process = context.Process(target=killed, args=(broken, calls))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert len(list(data_of(broken).folder.glob("profiles-*/*.arrow"))) >= units
    np.testing.assert_array_equal(described(broken), described(whole))
    assert table(broken).equals(table(whole))


def killed(config: Config, calls: int) -> None:
    asked = ProfileWriter.profiles

    def fatal(self: ProfileWriter, *args: Any) -> Any:
        nonlocal calls
        calls -= 1
        if calls < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return asked(self, *args)

    ProfileWriter.profiles = fatal  # type: ignore[method-assign]
    described(config)


def test_a_set_without_a_profile_is_asked_again_with_another_seed(folder: Path, tmp_path: Path) -> None:
    once = described(elsewhere(folder, tmp_path / "once", "user.retries=0"))
    config = elsewhere(folder, tmp_path / "often", "user.retries=6")
    often = described(config)
    had = np.isfinite(once).all(1)
    assert not had.all()
    np.testing.assert_array_equal(often[had], once[had])
    assert np.isfinite(often).all(1).sum() > had.sum()
    again = [row for row in table(config).to_pylist() if row["retries"]]
    assert again
    assert all(row["seed"] == vlm_profiles._seed(0, row["set"], row["retries"]) for row in again)


def test_more_retries_ask_only_the_sets_without_a_profile_and_come_to_the_same(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = described(elsewhere(folder, tmp_path / "whole", "user.retries=3"))
    config = elsewhere(folder, tmp_path / "grown", "user.retries=0")
    without = np.isnan(described(config)).any(1).sum()
    seen: list[tuple[int, int]] = []
    monkeypatch.setattr(ProfileWriter, "profiles", spying(ProfileWriter.profiles, seen))
    grown = configure(folder, f"output={config.output}", "user.retries=1")
    described(grown)
    assert len(seen) == 4 * without  # two shots of two images each
    described(configure(folder, f"output={config.output}", "user.retries=2"))
    np.testing.assert_array_equal(
        described(configure(folder, f"output={config.output}", "user.retries=3")),
        whole,
    )


def test_sets_without_a_profile_are_quarantined_with_their_answers_and_people_named(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = elsewhere(folder, tmp_path, "user.max_new_tokens=2", "user.retries=1")
    found = described(config)
    refused = table(config, "quarantine").to_pylist()
    assert len(refused) == np.isnan(found).all(1).sum() > 0
    assert all(len(row["answers"]) == 2 for row in refused)
    owners = [one.user for one in some_sets(config)[:SETS]]
    nobody = sorted(set(owners) - {user for user, state in zip(owners, found, strict=True) if np.isfinite(state).all()})
    assert nobody
    assert f"nothing describes people {', '.join(nobody)}; their answers are in" in caplog.text


def test_too_many_sets_without_a_profile_stop_the_command_and_more_retries_go_on(folder: Path, tmp_path: Path) -> None:
    config = elsewhere(folder, tmp_path, "user.max_new_tokens=2", "user.retries=0", "user.max_unusable=0.05")
    with pytest.raises(
        UserError, match=r"of 10 sets of shots have no profile after 0 retries, more than user\.max_unus"
    ):
        described(config)
    assert table(config, "quarantine").num_rows


def test_a_greedy_answer_is_not_asked_for_twice(folder: Path, tmp_path: Path) -> None:
    config = elsewhere(folder, tmp_path, "user.temperature=0.0", "user.max_new_tokens=2", "user.retries=5")
    described(config)
    assert all(len(row["answers"]) == 1 for row in table(config, "quarantine").to_pylist())


def test_another_seed_gives_other_answers(folder: Path, tmp_path: Path) -> None:
    config = elsewhere(folder, tmp_path)
    other = configure(folder, f"output={config.output}", "user.seed=1")
    first, second = described(config, slice(2)), described(other, slice(2))
    assert not np.array_equal(first, second, equal_nan=True)


def test_an_image_that_is_missing_or_damaged_names_the_pair_and_the_person(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = elsewhere(folder, tmp_path)
    first = some_sets(config)[0]
    pair = data_of(config).read_pairs().take(first.pairs[:1]).to_pylist()[0]
    read = PreparedData.stored_images

    def broken(*args: Any) -> Any:
        return ((name, b"no picture" if name == pair["dispreferred"] else data) for name, data in read(*args))

    monkeypatch.setattr(PreparedData, "stored_images", broken)
    with pytest.raises(
        UserError, match=rf"an image is missing or damaged of the pairs .*{pair['pair_id']} of {first.user}"
    ):
        described(config, slice(1))
    monkeypatch.setattr(
        PreparedData, "stored_images", lambda *args: (one for one in read(*args) if one[0] != pair["preferred"])
    )
    with pytest.raises(UserError, match=rf"{pair['pair_id']} of {first.user}"):
        described(config, slice(1))


def test_another_model_is_another_fingerprint_and_answers_of_its_own(folder: Path, tmp_path: Path) -> None:
    config = elsewhere(folder, tmp_path)
    other_model = tiny_vlm.folder(tmp_path / "vlm", seed=1)
    other = configure(folder, f"output={config.output}", f"user.path={other_model}")
    first, second = (Workspace(one).users for one in (config, other))
    assert first.kind.seen_with(first.using) != second.kind.seen_with(second.using)
    assert not np.array_equal(described(config, slice(2)), described(other, slice(2)), equal_nan=True)


def test_the_command_stores_a_row_for_each_set_with_a_profile(folder: Path, tmp_path: Path) -> None:
    config = elsewhere(folder, tmp_path, "user.retries=0", "shots.groupings=2")
    summary = embed.run(config)
    found = Workspace(config).users.rows()
    profiles = table(config)
    assert summary["rows"] == len(found.users) == len(profiles) < len(some_sets(config))
    assert sorted(found.users) == sorted(profiles["user"].to_pylist())
    assert found.embeddings.shape[1] == tiny_vlm.WIDTH
    assert np.isfinite(found.embeddings[:]).all()
    assert embed.run(config) == summary | {"seconds": pytest.approx(0, abs=10)}
