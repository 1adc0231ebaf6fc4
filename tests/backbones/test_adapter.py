from __future__ import annotations

import hashlib
import json
import pickle
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tests import tiny

from ppd_lightning.backbones.adapter import adapter_metadata, base_fingerprint, copy_adapter, load_adapter, save_adapter
from ppd_lightning.backbones.adapter_file import read_adapter, write_adapter
from ppd_lightning.backbones.cascade.prior import predict_noise
from ppd_lightning.errors import UserError
from ppd_lightning.storage import atomic


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    prior = tiny.unet()
    path = tmp_path / "adapter.safetensors"
    save_adapter(tiny.branch(prior), path, base=base_fingerprint(prior), run="a run", steps=7)
    return path


@pytest.mark.parametrize("settings", [{}, {"null": "learned"}, {"num_tokens": 3}])
def test_a_loaded_adapter_draws_what_the_saved_one_did(tmp_path: Path, settings: dict[str, object]) -> None:
    prior, inputs, users = tiny.unet(), tiny.inputs(3), tiny.users(3)
    branch = tiny.branch(prior, **settings)
    with branch.user(users), torch.no_grad():
        expected = predict_noise(prior, *inputs)
    save_adapter(branch, tmp_path / "adapter.safetensors", base=base_fingerprint(prior))

    fresh = tiny.unet()
    loaded = load_adapter(tiny.backbone(), fresh, tmp_path / "adapter.safetensors")
    with loaded.user(users), torch.no_grad():
        assert torch.equal(predict_noise(fresh, *inputs), expected)
    assert loaded.config == branch.config


def test_the_file_holds_the_branch_and_nothing_of_the_trunk(saved: Path) -> None:
    names = {f"blocks.{i}.to_{part}.weight" for i in range(6) for part in "kv"} | {"projection.weight"}
    assert set(load_file(saved)) == names


def test_the_same_branch_gives_the_same_bytes(saved: Path, tmp_path: Path) -> None:
    prior = tiny.unet()
    branch = tiny.branch(prior)
    for number in range(5):
        again = tmp_path / f"{number}.safetensors"
        save_adapter(branch, again, base=base_fingerprint(prior), steps=7, run="a run")
        assert again.read_bytes() == saved.read_bytes()


def test_the_version_that_wrote_it_is_in_it(saved: Path) -> None:
    with safe_open(saved, "pt") as file:
        assert json.loads(file.metadata()["ppd_lightning"])["version"] == version("ppd-lightning")


def test_a_copy_is_the_same_adapter_with_more_metadata(saved: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copies" / "adapter.safetensors"
    copy_adapter(saved, copy, steps=8, configuration={"objective": {"beta": 2.0}})
    assert adapter_metadata(copy) == {"run": "a run", "steps": 8, "configuration": {"objective": {"beta": 2.0}}}
    ours, others = load_file(copy), load_file(saved)
    assert ours.keys() == others.keys()
    assert all(torch.equal(ours[name], others[name]) for name in ours)
    assert (
        load_adapter(tiny.backbone(), tiny.unet(), copy).config
        == load_adapter(tiny.backbone(), tiny.unet(), saved).config
    )


def test_metadata_come_back(saved: Path) -> None:
    assert adapter_metadata(saved) == {"run": "a run", "steps": 7}


def test_another_base_is_refused_and_stays_stock(saved: Path) -> None:
    other = tiny.unet(seed=1)
    with pytest.raises(UserError, match="trained on the base") as error:
        load_adapter(tiny.backbone(), other, saved)
    assert base_fingerprint(other) in str(error.value)
    tiny.branch(other)  # nothing is attached to it


def test_a_base_is_known_again_in_bf16_and_with_a_branch_and_by_any_tensor() -> None:
    prior = tiny.unet()
    fingerprint = base_fingerprint(prior)
    assert base_fingerprint(tiny.unet()) == fingerprint
    assert base_fingerprint(tiny.unet().bfloat16()) == fingerprint
    tiny.branch(prior)
    assert base_fingerprint(prior) == fingerprint
    for name in ("clf.1.bias", "down_blocks.1.2.attention.to_q.weight"):
        changed = tiny.unet()
        changed.get_parameter(name).data.flatten()[0] += 0.1
        assert base_fingerprint(changed) != fingerprint


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def header_only(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5])


def pickled(path: Path) -> None:
    path.write_bytes(pickle.dumps({"projection.weight": [1.0]}))


def foreign(path: Path) -> None:
    save_file({"weight": torch.zeros(3)}, path, metadata={"format": "pt"})


def without_metadata(path: Path) -> None:
    save_file(load_file(path), path)


def lacking(path: Path) -> None:
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    save_file({name: tensors[name] for name in tensors if "blocks.0" not in name}, path, metadata)


HOSTILE = {
    "metadata": [[1], "x", None],
    "base": [7, None],
    "branch": [
        [],
        {"num_tokens": 10**9},
        {"x": 1},
        {"num_tokens": "4"},
        {"embedding_dim": 2.5},
        {"token_width": 10**9},
    ],
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in HOSTILE.items() for value in values])
def test_an_adapter_that_says_something_absurd_of_itself_is_refused_where_it_is_read(saved: Path, key, value) -> None:
    tensors, header = read_adapter(saved)
    write_adapter(saved, tensors, header | {key: header[key] | value if isinstance(value, dict) else value})
    for read in (lambda: adapter_metadata(saved), lambda: load_adapter(tiny.backbone(), tiny.unet(), saved)):
        with pytest.raises(UserError, match="damaged") as error:
            read()
        assert str(saved) in str(error.value)


def test_weights_that_are_no_fractions_or_are_others_are_one_sentence(saved: Path) -> None:
    tensors, header = read_adapter(saved)
    write_adapter(saved, {name: tensor.int() for name, tensor in tensors.items()}, header)
    with pytest.raises(UserError, match="fractions were expected"):
        read_adapter(saved)
    prior = tiny.unet()
    write_adapter(saved, {**tensors, "blocks.1.to_k.weight": torch.zeros(1, 1)}, header)
    with pytest.raises(UserError, match=r"blocks\.1\.to_k\.weight: expected \(.*\), found \(1, 1\)") as error:
        load_adapter(tiny.backbone(), prior, saved)
    assert "\n" not in str(error.value)
    tiny.branch(prior)  # nothing is attached to it


@pytest.mark.parametrize("harm", [truncated, header_only, pickled, foreign, without_metadata, lacking])
def test_what_is_no_whole_adapter_is_one_clear_message(saved: Path, harm) -> None:
    harm(saved)
    prior = tiny.unet()
    with pytest.raises(UserError) as error:
        load_adapter(tiny.backbone(), prior, saved)
    assert len(error.value.faults) == 1
    assert error.value.faults[0].startswith(str(saved))
    tiny.branch(prior)  # nothing is attached to it


@pytest.mark.parametrize("harm", [truncated, header_only, pickled, foreign, without_metadata])
def test_what_is_no_adapter_is_not_copied(saved: Path, tmp_path: Path, harm) -> None:
    harm(saved)
    with pytest.raises(UserError) as error:
        copy_adapter(saved, tmp_path / "copy.safetensors")
    assert error.value.faults[0].startswith(str(saved))
    assert not (tmp_path / "copy.safetensors").exists()


def test_a_missing_file_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="ppd train"):
        load_adapter(tiny.backbone(), tiny.unet(), tmp_path / "none.safetensors")


def test_a_failed_write_leaves_the_old_adapter(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = hashlib.sha256(saved.read_bytes()).hexdigest()

    def breaks_off(_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(atomic.os, "fsync", breaks_off)
    with pytest.raises(OSError, match="no space"):
        save_adapter(tiny.branch(tiny.unet(), seed=5), saved, base="0")
    assert hashlib.sha256(saved.read_bytes()).hexdigest() == before
    assert [file.name for file in saved.parent.iterdir()] == [saved.name]
