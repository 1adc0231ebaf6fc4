from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from diffusers import StableCascadePriorPipeline
from tests import tiny
from transformers import CLIPTextModelWithProjection

from ppd_lightning.models import released
from ppd_lightning.models.parts import EMOJI
from ppd_lightning.models.released import ReleasedModel
from ppd_lightning.run.errors import UserError

CAPTIONS = ["red fox", "", "a caption that is far too long for eight tokens"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.model_folder(tmp_path_factory.mktemp("model"))


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(folder, tmp_path / "copy")


def test_the_parts_come_back_with_their_weights_frozen_and_in_evaluation_mode(folder: Path) -> None:
    model = ReleasedModel("emoji", str(folder))
    for loaded, made in ((model.load_prior(), tiny.unet()), (model.load_codec(), tiny.codec())):
        assert not loaded.training
        assert not any(weight.requires_grad for weight in loaded.parameters())
        assert all(torch.equal(value, made.state_dict()[name]) for name, value in loaded.state_dict().items())
        assert loaded.state_dict().keys() == made.state_dict().keys()
    assert model.load_scheduler().config.s == 0.008


def test_text_states_are_the_last_hidden_state_before_the_final_norm_and_the_projection(folder: Path) -> None:
    text, pooled = ReleasedModel("emoji", str(folder)).load_text()(CAPTIONS)

    tokens = tiny.tokenizer()(CAPTIONS, padding="max_length", max_length=8, truncation=True, return_tensors="pt")
    clip: CLIPTextModelWithProjection = tiny.text_encoder()
    seen = {}
    clip.text_model.final_layer_norm.register_forward_hook(
        lambda _, given, made: seen.update(given=given[0], made=made)
    )
    with torch.no_grad():
        projected = clip(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask).text_embeds
    ends = (tokens.input_ids == clip.config.eos_token_id).int().argmax(1)
    by_hand = clip.text_projection(seen["made"][torch.arange(3), ends])

    assert torch.equal(text, seen["given"])
    assert not torch.allclose(text, seen["made"], atol=1e-2)
    assert torch.equal(pooled, projected[:, None])
    torch.testing.assert_close(pooled[:, 0], by_hand, rtol=1e-5, atol=1e-5)


def test_text_states_are_those_of_the_released_pipeline(folder: Path) -> None:
    model = ReleasedModel("emoji", str(folder))
    pipeline = StableCascadePriorPipeline(tiny.tokenizer(), tiny.text_encoder(), tiny.unet(), model.load_scheduler())
    expected = pipeline.encode_prompt("cpu", len(CAPTIONS), 1, False, prompt=CAPTIONS)[:2]
    for ours, theirs in zip(model.load_text()(CAPTIONS), expected, strict=True):
        assert torch.equal(ours, theirs)


def test_every_missing_file_is_named_at_once(copy: Path) -> None:
    gone = [copy / "prior/config.json", copy / "tokenizer/tokenizer.json", copy / "codec/config.json"]
    for path in gone:
        path.unlink()
    with pytest.raises(UserError) as error:
        ReleasedModel("emoji", str(copy)).require()
    assert len(error.value.faults) == 3
    for path, fault in zip(gone, error.value.faults, strict=True):
        assert f"{path} is missing" in fault
        assert fault.startswith("model.path: ")


def test_an_empty_folder_names_all_that_belongs_there(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        ReleasedModel("emoji", str(tmp_path)).require()
    assert len(error.value.faults) == len({name for part in EMOJI.values() for name in part.ways[0]})


def test_damaged_files_are_named_together_with_missing_ones(copy: Path) -> None:
    weights = copy / "prior/diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    (copy / "text_encoder/model.safetensors").write_bytes(b"not safetensors at all")
    (copy / "scheduler/scheduler_config.json").write_text("{")
    (copy / "codec/config.json").unlink()
    with pytest.raises(UserError) as error:
        ReleasedModel("emoji", str(copy)).require()
    told = str(error.value)
    for part in ("prior/diff", "text_encoder/model", "scheduler/scheduler", "codec/config"):
        assert part in told
    assert len(error.value.faults) == 4


def test_a_fingerprint_stands_for_a_parts_content_only(folder: Path, copy: Path) -> None:
    original, model = ReleasedModel("emoji", str(folder)), ReleasedModel("emoji", str(copy))
    before = {part: original.fingerprint(part) for part in EMOJI}
    assert before == {part: model.fingerprint(part) for part in EMOJI}
    assert len(set(before.values())) == len(EMOJI) - 2  # the codec is three parts
    weights = copy / "codec/diffusion_pytorch_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    changed = {part for part in EMOJI if model.fingerprint(part) != before[part]}
    assert changed == {"encoder", "previewer", "decoder"}


def test_no_path_is_the_folder_that_ships(monkeypatch: pytest.MonkeyPatch, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets/emoji").symlink_to(folder)
    monkeypatch.setattr(released.importlib.resources, "files", lambda _: tmp_path)
    assert ReleasedModel("emoji", None).fingerprint("prior") == ReleasedModel("emoji", str(folder)).fingerprint("prior")
