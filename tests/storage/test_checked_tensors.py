"""A safetensors file that travels alone carries a checksum: no bit of it changes unseen, and any reader opens it."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load, save

from ppd_lightning.errors import UserError
from ppd_lightning.storage.checked_tensors import ENTRY, OtherKindError, UnsoundError, read_checked, with_checksum
from ppd_lightning.storage.checksums import known_sha256
from ppd_lightning.storage.json_files import read_json
from ppd_lightning.users.people_file import DescribedPeople
from ppd_lightning.users.vectors_file import read_vectors, write_vectors

TENSORS = {"weight": np.arange(6, dtype=np.float32).reshape(2, 3), "bias": np.float16([1, 2])}
HEADER = {"format": "made up 2", "facts": {"people": ["ann", "bö"], "spread": 0.1}}


def written(path: Path, header: dict[str, object] = HEADER) -> Path:
    path.write_bytes(with_checksum(save(TENSORS, {ENTRY: json.dumps(header, sort_keys=True)})))
    return path


def test_everybody_reads_it(tmp_path: Path) -> None:
    path = written(tmp_path / "file.safetensors")
    data, header = read_checked(path, "made up 2")
    assert header == HEADER
    with safe_open(path, "np") as file:
        assert {name: file.get_tensor(name).tolist() for name in file.keys()} == {  # noqa: SIM118
            name: tensor.tolist() for name, tensor in TENSORS.items()
        }
        assert len(json.loads(file.metadata()[ENTRY])["sha256"]) == 64
    assert {name: array.tolist() for name, array in load(data).items()} == {
        name: tensor.tolist() for name, tensor in TENSORS.items()
    }


def test_no_byte_changes_unseen(tmp_path: Path) -> None:
    path = written(tmp_path / "file.safetensors")
    whole = path.read_bytes()
    for at in range(len(whole)):
        for change in (1, 128):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ change]) + whole[at + 1 :])
            try:
                data, header = read_checked(path, "made up 2", "made up 1")
            except (UnsoundError, OtherKindError):
                continue
            assert header == HEADER, at
            assert all(np.array_equal(array, TENSORS[name]) for name, array in load(data).items()), at
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        with pytest.raises(UnsoundError):
            read_checked(path, "made up 2")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        pickle.dumps(TENSORS),
        b"\xff" * 8 + b"{}",
        (2**40).to_bytes(8, "little") + b"{" * 100,
        (100_000).to_bytes(8, "little") + b"[" * 100_000,
        save(TENSORS, {ENTRY: "no JSON"}),
        save(TENSORS, {ENTRY: "[1]"}),
        save(TENSORS, {ENTRY: json.dumps({"format": "made up 2"})}),
    ],
    ids=["empty", "pickle", "header of 2**64", "header of 1 TB", "deep", "no JSON", "a list", "no checksum"],
)
def test_what_is_none_is_told_so(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "file.safetensors"
    path.write_bytes(data)
    with pytest.raises(UnsoundError):
        read_checked(path, "made up 2")


def test_a_file_of_an_earlier_version_passes_and_one_of_another_kind_does_not(tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    path.write_bytes(save(TENSORS, {ENTRY: json.dumps({"format": "made up 1"})}))
    assert read_checked(path, "made up 2", "made up 1")[1] == {"format": "made up 1"}
    for metadata in ({ENTRY: json.dumps({"format": "else"})}, None, {"format": "pt"}):
        path.write_bytes(save(TENSORS, metadata))
        with pytest.raises(OtherKindError):
            read_checked(path, "made up 2", "made up 1")


def test_vectors_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "users.safetensors"
    write_vectors(path, {"ann": np.float32([1, 2]), "ben": np.float32([1, np.nan])})
    with pytest.raises(
        UserError, match=r"users\.safetensors: damaged \(NaN or infinity in ben\); run `ppd export` again"
    ):
        read_vectors(path)
    write_vectors(path, {"ann": np.float32([1, 2])})
    assert read_vectors(path)["ann"].tolist() == [1, 2]
    path.write_bytes(save({"ann": np.float32([3])}))
    assert read_vectors(path)["ann"].tolist() == [3], "exports of earlier versions had no metadata"


def test_what_is_no_vector_of_one_width_is_refused_where_it_is_read(tmp_path: Path) -> None:
    path, sound = tmp_path / "users.safetensors", np.ones(3, np.float32)
    others = {"wide": np.ones(4, np.float32), "rows": np.ones((1, 3), np.float32), "whole": np.ones(3, np.int64)}
    for name, vector in {**others, "number": np.array(1, np.float32)}.items():
        write_vectors(path, {"ann": sound, name: vector})
        with pytest.raises(UserError, match=f"{name}: expected a vector of 3 fractions"):
            read_vectors(path, 3)
        with pytest.raises(UserError, match="expected a vector of"):
            read_vectors(path)
        DescribedPeople({"ann": sound, name: vector}, "0", "run", {"ann": {}, name: {}}).save(tmp_path / "people")
        with pytest.raises(UserError, match=f"{name}: expected a vector of 3 fractions"):
            DescribedPeople.open(tmp_path / "people")
    write_vectors(path, {"ann": sound})
    with pytest.raises(UserError, match="ann: expected a vector of 8 fractions"):
        read_vectors(path, 8)
    write_vectors(path, {})
    with pytest.raises(UserError, match="holds nobody"):
        read_vectors(path)


def test_a_pipe_is_never_read_whatever_it_stands_for(tmp_path: Path) -> None:
    pipe = tmp_path / "file"
    os.mkfifo(pipe)
    with pytest.raises(UnsoundError, match="no file"):
        read_checked(pipe, "made up 2")
    with pytest.raises(OSError, match="no file"):
        known_sha256(pipe)
    with pytest.raises(UserError, match="no file"):
        read_json(pipe, "make it again")
