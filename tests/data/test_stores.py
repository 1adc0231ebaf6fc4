"""A store gives back what was put in, however it was written, and is refused when it is missing, damaged or stale."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import pickle
import re
import signal
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tests.data.handmade import flip_byte

from ppd_lightning.data import shards, stores
from ppd_lightning.data.shards import finished_units, is_finished, read_shard, write_shard
from ppd_lightning.data.stores import Store, finish_store, write_store
from ppd_lightning.errors import UserError

KEY = {"codec": "abc", "images": "def", "names": ("a", "b")}
SHARD_KEY = {"codec": "abc"}
IDS = [f"image-{number}" for number in range(7)]
ARRAYS = {
    "latents": np.random.default_rng(0).standard_normal((7, 3, 2), np.float32).astype(np.float16),
    "shots": np.arange(28).reshape(7, 4),
    "score": np.arange(7, dtype=np.float64),
}
UNITS = {"u0": slice(0, 3), "u1": slice(3, 4), "u2": slice(4, 7)}


def write_unit(folder: Path, unit: str) -> None:
    own = UNITS[unit]
    write_shard(folder, unit, IDS[own], {name: array[own] for name, array in ARRAYS.items()}, SHARD_KEY)


def finish(folder: Path) -> None:
    finish_store(folder, list(UNITS), KEY, SHARD_KEY)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def shard(folder: Path, unit: str) -> Path:
    (path,) = folder.glob(f"{unit}.*.arrow")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for unit in UNITS:
        write_unit(tmp_path / "latents", unit)
    finish(tmp_path / "latents")
    return tmp_path / "latents"


def test_rows_come_back_by_id_in_any_order_with_their_types(folder: Path) -> None:
    store = Store.open(folder, KEY)
    rows = store.rows(["image-5", "image-0", "image-5"])
    assert len(store) == 7
    assert store.ids.to_pylist() == IDS
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(rows[name], array[[5, 0, 5]])
        assert rows[name].dtype == store.arrays[name].dtype == array.dtype
        assert store.arrays[name].shape == array.shape
    np.testing.assert_array_equal(store.index(pa.array(["image-6", "image-1"])), [6, 1])
    store.verify()


NUMBERS = st.one_of(hnp.integer_dtypes(endianness="="), hnp.unsigned_integer_dtypes(endianness="="))
DTYPES = st.one_of(NUMBERS, hnp.floating_dtypes(endianness="=", sizes=(16, 32, 64)))
ROW_SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=1, max_side=4)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_rows_of_any_shape_type_and_unit_sizes_come_back(data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(0, 5), min_size=1, max_size=4).filter(any), "unit sizes")
    count = sum(sizes)
    texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
    ids = data.draw(st.lists(texts, min_size=count, max_size=count, unique=True), "ids")
    arrays = {
        name: data.draw(hnp.arrays(data.draw(DTYPES), (count, *data.draw(ROW_SHAPES))), name) for name in ("x", "y")
    }
    places = data.draw(st.lists(st.integers(-count, count - 1)), "rows")
    begin, end = data.draw(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), "slice")
    with tempfile.TemporaryDirectory() as folder:
        ends = np.cumsum(sizes).tolist()
        for number, (size, last) in enumerate(zip(sizes, ends, strict=True)):
            own = slice(last - size, last)
            write_shard(Path(folder), f"{number}", ids[own], {name: a[own] for name, a in arrays.items()}, {})
        finish_store(Path(folder), [str(number) for number in range(len(sizes))], {}, {})
        store = Store.open(Path(folder), {})
        assert store.ids.to_pylist() == ids
        np.testing.assert_array_equal(store.index(list(reversed(ids))), np.arange(count)[::-1])
        for name, array in arrays.items():
            stored = store.arrays[name]
            for rows in (places, slice(begin, end), slice(None)):
                ours, theirs = stored[rows], array[rows]
                assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
                assert ours.tobytes() == theirs.tobytes()  # also what is no number


@pytest.mark.parametrize("row", [7, -8])
def test_a_row_beyond_the_end_is_refused(folder: Path, row: int) -> None:
    with pytest.raises(IndexError, match="no row beyond its 7"):
        Store.open(folder, KEY).arrays["latents"][[0, row]]


def test_rows_are_chosen_by_numbers_only(folder: Path) -> None:
    score = Store.open(folder, KEY).arrays["score"]
    for rows in (np.ones(7, bool), np.zeros((2, 2), int), [0.5], slice(None, None, 2)):
        with pytest.raises(TypeError, match="rows are chosen"):
            score[rows]


def test_an_array_is_mapped_not_read_and_its_rows_are_copies(folder: Path) -> None:
    latents = Store.open(folder, KEY).arrays["latents"]
    assert all(not part.flags.owndata and not part.flags.writeable for part in latents._parts)
    latents[[0]][:] = 0
    np.testing.assert_array_equal(latents[[0]], ARRAYS["latents"][[0]])


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files in /proc")
def test_an_open_store_holds_no_file_open(folder: Path) -> None:
    """A store of thousands of shards would pass the limit of open files."""
    before = len(os.listdir("/proc/self/fd"))
    store = Store.open(folder, KEY)
    assert len(os.listdir("/proc/self/fd")) == before
    assert len(store.arrays["latents"][:]) == 7


def test_another_process_maps_the_files_again_instead_of_getting_the_rows(tmp_path: Path) -> None:
    write_store(tmp_path, ["a", "b"], {"x": np.arange(200_000.0).reshape(2, -1)}, {})
    array = Store.open(tmp_path, {}).arrays["x"]
    sent = pickle.dumps(array)
    assert len(sent) < 1000
    np.testing.assert_array_equal(pickle.loads(sent)[:], array[:])


def test_units_give_the_same_store_whatever_the_order_they_are_written_in(folder: Path, tmp_path: Path) -> None:
    for unit in reversed(UNITS):
        write_unit(tmp_path / "other", unit)
    finish(tmp_path / "other")
    assert files(tmp_path / "other") == files(folder)


def test_a_unit_made_twice_is_the_same_file(folder: Path) -> None:
    before = files(folder)
    write_unit(folder, "u1")
    finish(folder)
    assert files(folder) == before


def test_only_whole_units_of_the_key_are_finished(tmp_path: Path) -> None:
    assert finished_units(tmp_path / "none", SHARD_KEY) == set()
    write_unit(tmp_path, "u0")
    write_unit(tmp_path, "u2")
    assert finished_units(tmp_path, SHARD_KEY) == {"u0", "u2"}
    assert is_finished(tmp_path, "u0", SHARD_KEY)
    assert not is_finished(tmp_path, "u1", SHARD_KEY)
    assert finished_units(tmp_path, {"codec": "new"}) == set()
    path = shard(tmp_path, "u2")
    path.write_bytes(path.read_bytes()[:-1])
    (note,) = tmp_path.glob("u0.*.json")
    note.write_text("{")
    assert finished_units(tmp_path, SHARD_KEY) == set()


def test_a_unit_can_be_read_before_the_store_is_finished(tmp_path: Path) -> None:
    write_unit(tmp_path, "u2")
    ids, arrays = read_shard(tmp_path, "u2", SHARD_KEY)
    assert ids.to_pylist() == IDS[4:]
    np.testing.assert_array_equal(arrays["latents"], ARRAYS["latents"][4:])
    with pytest.raises(UserError, match="the part u1 is not written yet; run the same command again"):
        read_shard(tmp_path, "u1", SHARD_KEY)
    flip_byte(shard(tmp_path, "u2"), -3)
    with pytest.raises(UserError, match=r"u2\.\w+\.arrow: damaged"):
        read_shard(tmp_path, "u2", SHARD_KEY)


def test_a_store_with_missing_and_damaged_units_is_not_finished_and_all_are_named(tmp_path: Path) -> None:
    write_unit(tmp_path, "u0")
    flipped = shard(tmp_path, "u0")
    flip_byte(flipped, 700)
    with pytest.raises(UserError) as caught:
        finish(tmp_path)
    damaged, missing = caught.value.faults
    assert damaged == f"{flipped}: damaged (its checksum differs); run the same command again"
    assert missing == f"{tmp_path}: 2 of 3 parts are not written yet (u1, u2); run the same command again"
    assert not (tmp_path / "meta.json").exists()
    assert not flipped.exists(), "what is damaged is set aside"
    for unit in UNITS:
        write_unit(tmp_path, unit)
    finish(tmp_path)
    Store.open(tmp_path, KEY).verify()


PROCESSES = multiprocessing.get_context("fork")


def write_until(folder: Path, moment: int, stopped: Connection) -> None:
    """Write the store, but stop for good when the `moment`th file or folder is about to be synced."""
    real, calls = os.fsync, itertools.count(1)

    def sync(descriptor: int) -> None:
        if next(calls) == moment:
            stopped.send(True)
            time.sleep(600)
        real(descriptor)

    os.fsync = sync
    for unit in UNITS:
        write_unit(folder, unit)
    finish(folder)


# Of each unit: the shard, the folder, the note, the folder; then meta.json and the folder.
@pytest.mark.parametrize("moment", range(1, 15))
def test_a_killed_writer_goes_on_to_the_very_same_store(folder: Path, tmp_path: Path, moment: int) -> None:
    killed = tmp_path / "killed"
    ours, theirs = PROCESSES.Pipe()
    process = PROCESSES.Process(target=write_until, args=(killed, moment, theirs))
    process.start()
    assert ours.poll(60)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    if moment < 14:
        with pytest.raises(UserError, match="this store is missing"):
            Store.open(killed, KEY)
    done = finished_units(killed, SHARD_KEY)
    assert done == set(list(UNITS)[: moment // 4])
    for unit in UNITS.keys() - done:
        write_unit(killed, unit)
    finish(killed)
    assert files(killed) == files(folder)


def write_again_and_again(folder: Path, seed: int, until: float) -> None:
    """Write the store in an order of its own and finish it, over and over."""
    generator = np.random.default_rng(seed)
    while time.monotonic() < until:
        for unit in generator.permutation(list(UNITS)):
            write_unit(folder, str(unit))
        finish(folder)
        Store.open(folder, KEY).verify()


def test_two_processes_write_one_store_at_once(folder: Path, tmp_path: Path) -> None:
    arguments = [(tmp_path / "shared", seed, time.monotonic() + 1.5) for seed in (0, 1)]
    writers = [PROCESSES.Process(target=write_again_and_again, args=own) for own in arguments]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    finish(tmp_path / "shared")
    assert files(tmp_path / "shared") == files(folder)


def test_a_store_that_is_finished_by_two_at_once_is_finished(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one puts its meta.json in place, and sweeps ours away before it is."""
    before = files(folder)
    (folder / "meta.json").unlink()

    def swept(path: Path, value: object) -> None:
        (folder / "meta.json").write_bytes(before["meta.json"])
        raise FileNotFoundError

    monkeypatch.setattr(stores, "write_json_atomic", swept)
    finish(folder)
    assert files(folder) == before


def test_another_machines_version_of_a_unit_does_not_disturb_the_finished_store(folder: Path) -> None:
    """Another GPU's rounding: the same unit, other bytes, made while the store was being finished."""
    own = {name: array[:3] for name, array in ARRAYS.items()}
    write_shard(folder, "u0", IDS[:3], own | {"score": own["score"] + 1e-9}, SHARD_KEY)
    finish(folder)
    store = Store.open(folder, KEY)
    store.verify()
    np.testing.assert_array_equal(store.arrays["score"][:], ARRAYS["score"])


def test_a_writer_whose_files_were_swept_as_it_wrote_is_content(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, real = files(folder), shards.file_sha256

    def swept(path: Path) -> str:
        checksum = real(path)
        path.unlink()
        return checksum

    monkeypatch.setattr(shards, "file_sha256", swept)
    write_unit(folder, "u0")
    monkeypatch.undo()
    assert files(folder) == before


def test_a_missing_store_names_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="this store is missing; run `ppd embed` with the same settings"):
        Store.open(tmp_path / "users", KEY, made_by="ppd embed")


def test_a_stale_store_names_what_differs(folder: Path) -> None:
    with pytest.raises(UserError, match="stale") as caught:
        Store.open(folder, KEY | {"codec": "xyz"})
    assert "codec was 'abc', now 'xyz'" in str(caught.value)
    assert "images" not in str(caught.value)
    with pytest.raises(UserError, match="new was None, now 1"):
        Store.open(folder, KEY | {"new": 1})
    with pytest.raises(UserError, match="images was 'def', now None"):
        Store.open(folder, {"codec": "abc", "names": ("a", "b")})


def test_a_truncated_shard_is_refused_on_opening(folder: Path) -> None:
    path = shard(folder, "u1")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=re.escape(f"{path}: damaged (expected")):
        Store.open(folder, KEY)
    path.unlink()
    shard(folder, "u2").unlink()
    with pytest.raises(UserError, match="found no file") as caught:
        Store.open(folder, KEY)
    assert len(caught.value.faults) == 2


def test_a_flipped_byte_is_found_by_verify_and_its_shard_named(folder: Path) -> None:
    store, sound = Store.open(folder, KEY), files(folder)
    for path in folder.glob("*.arrow"):
        for at in np.linspace(0, len(sound[path.name]) - 1, 9).astype(int).tolist():
            flip_byte(path, at)
            with pytest.raises(UserError) as caught:
                store.verify()
            (fault,) = caught.value.faults
            assert fault == f"{path}: damaged (its checksum differs); run `ppd prepare` with the same settings"
            assert path.with_name(f"{path.name}.damaged").read_bytes() != sound[path.name]
            path.write_bytes(sound[path.name])
    store.verify()


def test_a_flipped_byte_anywhere_is_a_sound_opening_or_one_clear_message(folder: Path) -> None:
    path = shard(folder, "u0")
    sound = path.read_bytes()
    refused = 0
    for at in range(0, len(sound), 7):
        flip_byte(path, at)
        try:
            store = Store.open(folder, KEY)
            for array in store.arrays.values():
                array[:]
        except UserError as error:
            refused += 1
            assert re.search("damaged|stale", str(error))  # noqa: PT017
        path.write_bytes(sound)
    assert refused


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", '{"key": 1, "count": 2, "shards": []}', '{"key": {"a": 1}, "count": 1, "shards": ["x"]}', '{"key'],
)
def test_a_damaged_meta_file_is_one_clear_message(folder: Path, text: str) -> None:
    (folder / "meta.json").write_text(text)
    with pytest.raises(UserError, match=r"meta\.json: damaged"):
        Store.open(folder, KEY)


@pytest.mark.parametrize("damage", [lambda meta: meta["shards"].clear(), lambda meta: meta["shards"].pop()])
def test_a_meta_file_without_all_its_shards_is_refused(folder: Path, damage: Callable[[dict], object]) -> None:
    meta = json.loads((folder / "meta.json").read_text())
    damage(meta)
    (folder / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(UserError, match="damaged"):
        Store.open(folder, KEY)


def test_an_unknown_id_is_named(folder: Path) -> None:
    with pytest.raises(UserError, match="holds no row for nobody, nothing"):
        Store.open(folder, KEY).rows(["image-1", "nobody", "nothing"])


def test_an_error_while_writing_leaves_the_old_store_and_no_rest(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = files(folder)

    def full(_: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        write_store(folder, ["a", "b"], {"latents": np.zeros((2, 2))}, {"codec": "new"})
    assert files(folder) == before


def test_a_new_version_replaces_the_old_one_whose_readers_go_on(folder: Path) -> None:
    old = Store.open(folder, KEY)
    (folder / ".u0.1234abcd.arrow").write_bytes(b"what a killed process has left")
    write_shard(folder, "all", ["only"], {"latents": np.ones((1, 3))}, {"codec": "new"})
    np.testing.assert_array_equal(Store.open(folder, KEY).rows(IDS)["latents"], ARRAYS["latents"])
    finish_store(folder, ["all"], {"codec": "new"}, {"codec": "new"})
    assert Store.open(folder, {"codec": "new"}).rows(["only"])["latents"].tolist() == [[1, 1, 1]]
    np.testing.assert_array_equal(old.rows(IDS)["latents"], ARRAYS["latents"])
    kinds = sorted((path.name.split(".")[0], path.suffix) for path in folder.iterdir())
    assert kinds == [("all", ".arrow"), ("all", ".json"), ("meta", ".json")]


def test_what_cannot_be_stored_is_refused(tmp_path: Path) -> None:
    for ids, arrays, told in (
        (["x", "x"], {"n": np.zeros(2)}, "comes twice"),
        (["x", None], {"n": np.zeros(2)}, "None"),
        (["x"], {"n": np.array([None])}, "expected integers or floats"),
        (["x"], {"n": np.array([True])}, "expected integers or floats"),
        (["x"], {"n": np.zeros((1, 0))}, "at least one a row"),
        (["x"], {"n": np.zeros(1, ">f4")}, "expected integers or floats"),
        (["x"], {"n": np.zeros((2, 2))}, "2 rows for 1 ids"),
        (["x"], {"id": np.zeros(1)}, "no array may have the name id"),
    ):
        with pytest.raises(ValueError, match=told):
            write_shard(tmp_path, "unit", ids, arrays, {})
    for unit in ("", "../u", "a.b", "ü"):
        with pytest.raises(ValueError, match="no name of a unit"):
            write_shard(tmp_path, unit, ["x"], {"n": np.zeros(1)}, {})
    with pytest.raises(ValueError, match="nothing to store"):
        finish_store(tmp_path, [], {}, {})
    assert list(tmp_path.iterdir()) == []


def test_units_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    for folder, other, told in (
        ("twice", (["x"], {"n": np.zeros((1, 2))}), "an id comes twice"),
        ("shape", (["y"], {"n": np.zeros((1, 3))}), "the units a and b differ in their arrays"),
        ("type", (["y"], {"n": np.zeros((1, 2), np.float32)}), "the units a and b differ in their arrays"),
        ("names", (["y"], {"m": np.zeros((1, 2))}), "the units a and b differ in their arrays"),
    ):
        write_shard(tmp_path / folder, "a", ["x"], {"n": np.zeros((1, 2))}, {})
        write_shard(tmp_path / folder, "b", *other, {})
        with pytest.raises(ValueError, match=told):
            finish_store(tmp_path / folder, ["a", "b"], {}, {})
        assert not (tmp_path / folder / "meta.json").exists()
