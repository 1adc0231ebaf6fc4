"""Files of the model that are missing or damaged are named before work begins, with where to get them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests import tiny_vlm
from tests.offline import go_offline

from ppd_lightning.errors import UserError
from ppd_lightning.users.vlm_files import vlm_faults, vlm_fingerprint, vlm_folder
from ppd_lightning.users.vlm_writer import ProfileWriter


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_vlm.folder(tmp_path_factory.mktemp("vlm"))


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(whole, tmp_path / "vlm"))


def test_a_whole_folder_lacks_nothing(whole: Path) -> None:
    assert vlm_faults(str(whole)) == []
    assert vlm_folder(str(whole)) == whole


def test_a_folder_that_is_not_there_names_origin_size_and_licence(tmp_path: Path) -> None:
    faults = vlm_faults(str(tmp_path / "nowhere"))
    assert len(faults) == 3  # weights, tokenizer, processor
    assert "user.path: there is no folder" in faults[0]
    assert "config.json and model.safetensors" in faults[0]
    for part in (
        "llava-onevision-qwen2-0.5b-ov-hf",
        "1.8 GB",
        "qwen2-7b-ov-hf",
        "16.1 GB",
        "Apache-2.0",
        "hf download",
    ):
        assert part in faults[0]


def test_a_name_on_the_hub_that_cannot_be_reached_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go_offline(monkeypatch, tmp_path)
    (fault,) = vlm_faults("llava-hf/llava-onevision-qwen2-7b-ov-hf")
    assert "the model hub has no answer" in fault
    assert "(16.1 GB, Apache-2.0)" in fault
    assert "0.5b" not in fault


def test_weights_in_several_files_are_found_and_a_lacking_one_is_named(folder: Path) -> None:
    whole = load_file(folder / "model.safetensors")
    shares = [dict(list(whole.items())[part::3]) for part in range(3)]
    names = [f"model-{number:05}-of-00003.safetensors" for number in (1, 2, 3)]
    for name, share in zip(names, shares, strict=True):
        save_file(share, folder / name, {"format": "pt"})
    index = {tensor: name for name, share in zip(names, shares, strict=True) for tensor in share}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    (folder / "model.safetensors").unlink()
    assert vlm_faults(str(folder)) == []
    ProfileWriter(str(folder), "cpu", torch.float32, position="last_prompt_token", layer=-1)
    (folder / names[1]).unlink()
    (fault,) = vlm_faults(str(folder))
    assert f"lacks {names[1]};" in fault


def test_weights_that_are_cut_short_are_named(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"model\.safetensors: cut short, or not a safetensors file"):
        vlm_folder(str(folder))


def test_pickled_weights_are_not_read(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    (fault,) = vlm_faults(str(folder))
    assert "pytorch_model.bin is not read" in fault


def test_weights_of_another_width_are_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["intermediate_size"] += 8
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"are not those of its config\.json \(\d+ have another shape"):
        ProfileWriter(str(folder), "cpu", torch.float32, position="last_prompt_token", layer=-1)


def test_files_of_another_kind_of_model_are_refused(folder: Path) -> None:
    (folder / "processor_config.json").write_text("{}")
    with pytest.raises(UserError, match=r"user\.path: .* holds no LLaVA-OneVision"):
        ProfileWriter(str(folder), "cpu", torch.float32, position="last_prompt_token", layer=-1)


@pytest.mark.parametrize("name", ["chat_template.jinja", "tokenizer.json", "config.json"])
def test_another_text_gives_another_fingerprint(folder: Path, name: str) -> None:
    before = vlm_fingerprint(folder)
    with (folder / name).open("a") as file:
        file.write("\n")
    assert vlm_fingerprint(folder) != before


def test_any_tensor_that_was_trained_gives_another_fingerprint(folder: Path) -> None:
    before, whole = vlm_fingerprint(folder), load_file(folder / "model.safetensors")
    for name in list(whole)[::20]:
        changed = {**whole, name: whole[name] + 0.01}
        save_file(changed, folder / "model.safetensors", {"format": "pt"})
        assert vlm_fingerprint(folder) != before, name
    save_file(whole, folder / "model.safetensors", {"format": "pt"})
    assert vlm_fingerprint(folder) == before
