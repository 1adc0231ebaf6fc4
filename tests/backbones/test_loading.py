from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests import tiny
from tests.offline import go_offline
from tests.original_names import to_original
from torch import Tensor
from transformers import CLIPTextModelWithProjection

from ppd_lightning.backbones.cascade import checkpoint
from ppd_lightning.backbones.cascade.prior import predict_noise
from ppd_lightning.backbones.stage_c import StageC
from ppd_lightning.errors import UserError
from ppd_lightning.worlds.emoji import model as emoji
from ppd_lightning.worlds.emoji.backbone import PARTS, EmojiBackbone

CAPTIONS = ["red fox", "", "a caption that is far too long for eight tokens"]


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    go_offline(monkeypatch, tmp_path / "hub")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.model_folder(tmp_path_factory.mktemp("model"))


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(folder, tmp_path / "copy")


def test_the_parts_come_back_with_their_weights_frozen_and_in_evaluation_mode(folder: Path) -> None:
    model = tiny.backbone(folder)
    for loaded, made in ((model.load_network(), tiny.unet()), (model.load_codec(), tiny.codec())):
        assert not loaded.training
        assert not any(weight.requires_grad for weight in loaded.parameters())
        assert all(torch.equal(value, made.state_dict()[name]) for name, value in loaded.state_dict().items())
        assert loaded.state_dict().keys() == made.state_dict().keys()
    assert model.sampler().scheduler.config.s == 0.008


def test_text_states_are_the_last_hidden_state_before_the_final_norm_and_the_projection(folder: Path) -> None:
    text, pooled = tiny.backbone(folder).load_text()(CAPTIONS).values()

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
    model = tiny.backbone(folder)
    parts = tiny.tokenizer(), tiny.text_encoder(), tiny.unet(), model.sampler().scheduler
    pipeline = tiny.deprecated("StableCascadePriorPipeline")(*parts)
    expected = pipeline.encode_prompt("cpu", len(CAPTIONS), 1, False, prompt=CAPTIONS)[:2]
    states = model.load_text()(CAPTIONS)
    assert tuple(states) == model.text_arrays
    for ours, theirs in zip(states.values(), expected, strict=True):
        assert torch.equal(ours, theirs)


def test_every_incomplete_part_is_named_at_once(copy: Path) -> None:
    gone = ["prior/config.json", "tokenizer/tokenizer.json", "codec/config.json"]
    for name in gone:
        (copy / name).unlink()
    with pytest.raises(UserError) as error:
        tiny.backbone(copy).require()
    assert len(error.value.faults) == 3
    for name, fault in zip(gone, error.value.faults, strict=True):
        assert fault.startswith(f"model.path: {copy} lacks {name}; ")


def test_an_empty_folder_names_all_that_belongs_there(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        tiny.backbone(tmp_path).require()
    told = str(error.value)
    assert all(told.count(name) == 1 for part in PARTS.values() for name in part.ways[0])


def test_only_what_is_needed_is_looked_for(copy: Path) -> None:
    (copy / "codec/config.json").unlink()
    model = tiny.backbone(copy)
    model.require("prior", "text_encoder")
    assert len(model.faults("prior", "previewer")) == 1


def test_damaged_files_are_named_together_with_missing_ones(copy: Path) -> None:
    weights = copy / "prior/diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    (copy / "text_encoder/model.safetensors").write_bytes(b"not safetensors at all")
    (copy / "scheduler/scheduler_config.json").write_text("{")
    (copy / "codec/config.json").unlink()
    with pytest.raises(UserError) as error:
        tiny.backbone(copy).require()
    told = str(error.value)
    for part in ("prior/diff", "text_encoder/model", "scheduler/scheduler", "codec/config"):
        assert part in told
    assert len(error.value.faults) == 4


def test_a_fingerprint_stands_for_a_parts_content_only(folder: Path, copy: Path) -> None:
    original, model = tiny.backbone(folder), tiny.backbone(copy)
    before = {part: original.fingerprint(part) for part in PARTS}
    assert before == {part: model.fingerprint(part) for part in PARTS}
    assert len(set(before.values())) == len(PARTS) - 2  # the codec is three parts
    weights = copy / "codec/diffusion_pytorch_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    changed = {part for part in PARTS if model.fingerprint(part) != before[part]}
    assert changed == {"encoder", "previewer", "decoder"}


def test_no_path_is_the_folder_that_ships(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    assert all(file.is_relative_to(emoji.ASSETS) for file in tiny.backbone().files("prior"))
    monkeypatch.setattr(emoji, "ASSETS", folder)
    assert tiny.backbone().fingerprint("prior") == tiny.backbone(folder).fingerprint("prior")
    assert tiny.backbone().shipped


def test_no_path_of_a_model_that_does_not_ship_is_one_clear_sentence() -> None:
    model = StageC(name="stage_c", arithmetic="stock", **tiny.MODEL)
    assert not model.shipped
    (fault,) = model.faults()
    assert fault.startswith("model.path: null is the folder that ships, and stage_c ships with no weights; give ")


UNET, CLIP = "prior/diffusion_pytorch_model", "text_encoder/model"


def same(ours: torch.nn.Module, state: dict[str, Tensor]) -> bool:
    loaded = ours.state_dict()
    return loaded.keys() == state.keys() and all(torch.equal(loaded[name], state[name]) for name in state)


@pytest.mark.parametrize("kind", ["", "_bf16"])
def test_the_original_checkpoint_is_the_same_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(checkpoint, "stage_c_config", lambda name: tiny.UNET)
    dtype = torch.bfloat16 if kind else torch.float32
    tiny.unet().to(dtype).save_pretrained(tmp_path / "folder/prior_lite")
    (tmp_path / "original").mkdir()
    original = to_original(tiny.unet().to(dtype).state_dict())
    save_file(original, tmp_path / f"original/stage_c_lite{kind}.safetensors")
    expected = tiny.stage_c(tmp_path / "folder").load_network()
    found = tiny.stage_c(tmp_path / "original").load_network()
    assert same(found, expected.state_dict())
    assert not found.training
    assert not any(weight.requires_grad for weight in found.parameters())
    assert torch.equal(predict_noise(found, *tiny.inputs(2)), predict_noise(expected, *tiny.inputs(2)))


def test_an_original_checkpoint_of_the_other_size_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "stage_c_lite.safetensors"
    save_file(to_original(tiny.unet().state_dict()), file)
    with pytest.raises(UserError, match="have another shape") as error:
        tiny.stage_c(tmp_path).load_network()
    assert str(error.value).startswith(f"{file}: ")


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("wanted", [torch.float32, torch.bfloat16])
def test_bf16_files_do_instead_of_fp32_ones(copy: Path, stored: torch.dtype, wanted: torch.dtype) -> None:
    weights = copy / f"{UNET}.safetensors"
    save_file(
        {name: tensor.to(stored) for name, tensor in load_file(weights).items()}, copy / f"{UNET}.bf16.safetensors"
    )
    weights.unlink()
    prior = tiny.backbone(copy).load_network(wanted)
    assert same(prior, tiny.unet().to(stored).to(wanted).state_dict())


def test_fp32_files_are_taken_where_both_are_there(copy: Path) -> None:
    for stem in (UNET, CLIP):
        zeros = {name: torch.zeros_like(tensor) for name, tensor in load_file(copy / f"{stem}.safetensors").items()}
        save_file(zeros, copy / f"{stem}.bf16.safetensors", {"format": "pt"})
    model = tiny.backbone(copy)
    assert same(model.load_network(), tiny.unet().state_dict())
    assert same(model.load_text().encoder, tiny.text_encoder().state_dict())


def test_a_text_encoder_in_bf16_is_read_into_fp32(copy: Path) -> None:
    weights = copy / f"{CLIP}.safetensors"
    rounded = {name: tensor.bfloat16() for name, tensor in load_file(weights).items()}
    save_file(rounded, copy / f"{CLIP}.bf16.safetensors", {"format": "pt"})
    weights.unlink()
    text = tiny.backbone(copy).load_text()
    assert same(text.encoder, tiny.text_encoder().bfloat16().float().state_dict())
    assert text(CAPTIONS)["text"].dtype == torch.float32


def test_a_tokenizer_of_vocabulary_and_merges_is_the_same_tokenizer(folder: Path, tmp_path: Path) -> None:
    for part in ("text_encoder", "tokenizer"):
        shutil.copytree(folder / part, tmp_path / part)
    vocabulary = tiny.tokenizer().get_vocab()
    (tmp_path / "tokenizer/vocab.json").write_text(json.dumps(vocabulary))
    (tmp_path / "tokenizer/merges.txt").write_text("#version: 0.2\n")
    (tmp_path / "tokenizer/tokenizer.json").unlink()
    ours = tiny.stage_c(tmp_path, name="stage_c").load_text()(CAPTIONS)
    expected = tiny.backbone(folder).load_text()(CAPTIONS)
    assert all(torch.equal(mine, expected[name]) for name, mine in ours.items())


def test_a_codec_path_is_where_the_codec_alone_lies(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "effnet_encoder.safetensors").touch()
    model = tiny.stage_c(folder, tmp_path)
    folders, faults = model.folders()
    assert faults == []
    assert {part for part, found in folders.items() if found == tmp_path} == {"encoder", "previewer", "decoder"}
    assert [fault.partition(" ")[0] for fault in model.faults("prior", "encoder", "previewer")] == [
        "model.path:",
        f"{tmp_path}/effnet_encoder.safetensors:",
        "model.codec_path:",
    ]


def test_both_folders_that_are_not_there_are_named_at_once() -> None:
    with pytest.raises(UserError) as error:
        tiny.stage_c("/nowhere", "/neither").require("prior", "encoder")
    assert [fault.partition(" with")[0] for fault in error.value.faults] == [
        "model.path: there is no folder /nowhere",
        "model.codec_path: there is no folder /neither",
    ]


def test_a_codec_folder_that_is_not_needed_is_not_looked_for(folder: Path) -> None:
    model = tiny.stage_c(folder, "/neither")
    assert model.faults("tokenizer", "scheduler") == []


def test_a_missing_codec_folder_hides_nothing_of_the_model(tmp_path: Path) -> None:
    faults = tiny.stage_c(tmp_path, "/neither").faults()
    keys = [fault.partition(" ")[0] for fault in faults]
    assert sorted(keys) == [*["model.codec_path:"] * 3, *["model.path:"] * 4]


def write(values: Any) -> Callable[[Path], object]:
    return lambda file: file.write_text(json.dumps(values))


def update(**values: Any) -> Callable[[Path], object]:
    return lambda file: file.write_text(json.dumps(json.loads(file.read_text()) | values))


def reweigh(change: Callable[[dict[str, Tensor]], object]) -> Callable[[Path], object]:
    def harm(file: Path) -> None:
        tensors = load_file(file)
        change(tensors)
        save_file(tensors, file, {"format": "pt"})

    return harm


PRIOR, TEXT = EmojiBackbone.load_network, EmojiBackbone.load_text
HARMS: list[tuple[str, Callable[[Path], object], Callable[[EmojiBackbone], object], str]] = [
    ("prior/config.json", lambda file: file.write_text("{'a': 1}"), PRIOR, "damaged, or not what its name says"),
    ("prior/config.json", lambda file: file.write_bytes(b"\xff\xfe\x00"), PRIOR, "damaged, or not what its name says"),
    ("prior/config.json", write([1, 2]), PRIOR, "not a mapping"),
    ("prior/config.json", update(_class_name="PaellaVQModel"), PRIOR, "it is one of a PaellaVQModel"),
    ("prior/config.json", update(block_out_channels=[]), PRIOR, "no configuration of a StableCascadeUNet"),
    ("prior/config.json", update(num_attention_heads=[0, 0]), PRIOR, "no configuration of a StableCascadeUNet"),
    ("prior/config.json", update(conditioning_dim="wide"), PRIOR, "no configuration of a StableCascadeUNet"),
    (
        f"{UNET}.safetensors",
        lambda file: update(conditioning_dim=12)(file.parent / "config.json"),
        PRIOR,
        "another shape",
    ),
    (
        f"{UNET}.safetensors",
        reweigh(lambda tensors: tensors.pop("clf.1.bias")),
        PRIOR,
        "1 tensors are missing, such as clf.1.bias",
    ),
    (f"{UNET}.safetensors", lambda file: file.write_bytes(b""), PRIOR, "not a safetensors file"),
    ("text_encoder/config.json", write([]), TEXT, "not a mapping"),
    (
        "text_encoder/config.json",
        update(num_attention_heads=7),
        TEXT,
        "no configuration of a CLIPTextModelWithProjection",
    ),
    ("text_encoder/config.json", update(hidden_size="wide"), TEXT, "no configuration of a CLIPTextModelWithProjection"),
    (
        f"{CLIP}.safetensors",
        lambda file: update(hidden_size=10)(file.parent / "config.json"),
        TEXT,
        "have another shape",
    ),
    (
        f"{CLIP}.safetensors",
        reweigh(lambda tensors: [tensors.pop(name) for name in list(tensors) if name.endswith("q_proj.weight")]),
        TEXT,
        "2 tensors are missing",
    ),
    (
        f"{CLIP}.safetensors",
        reweigh(lambda tensors: tensors.update({"text_projection.weight": torch.zeros(3, tiny.TEXT_WIDTH)})),
        TEXT,
        "1 have another shape",
    ),
    (f"{CLIP}.safetensors", lambda file: torch.save({}, file), TEXT, "not a safetensors file"),
    ("tokenizer/tokenizer.json", write({"model": {"type": "none"}}), TEXT, "no files of a CLIPTokenizer"),
    ("tokenizer/tokenizer_config.json", update(model_max_length=9), TEXT, "captions of 9 tokens"),
    ("scheduler/scheduler_config.json", write("x"), EmojiBackbone.sampler, "not a mapping"),
    (
        "scheduler/scheduler_config.json",
        update(_class_name="DDIMScheduler"),
        EmojiBackbone.sampler,
        "it is one of a DDIM",
    ),
    (
        "codec/config.json",
        update(_class_name="AutoencoderKL"),
        EmojiBackbone.load_codec,
        "it is one of a AutoencoderKL",
    ),
]


@pytest.mark.parametrize(("name", "harm", "load", "told"), HARMS)
def test_a_file_that_is_wrong_is_one_clear_sentence_with_the_file(
    copy: Path,
    name: str,
    harm: Callable[[Path], object],
    load: Callable[[EmojiBackbone], object],
    told: str,
) -> None:
    harm(copy / name)
    with pytest.raises(UserError) as error:
        load(tiny.backbone(copy))
    (fault,) = error.value.faults
    where = copy / name if "CLIPTokenizer" not in told and "captions of" not in told else (copy / name).parent
    assert fault.startswith(f"{where}: ")
    assert told in fault
    assert len(fault.splitlines()) == 1


def test_a_folder_with_pickles_only_says_that_safetensors_are_needed(copy: Path) -> None:
    for stem, name in ((UNET, "prior/diffusion_pytorch_model.bin"), (CLIP, "text_encoder/pytorch_model.bin")):
        torch.save(load_file(copy / f"{stem}.safetensors"), copy / name)
        (copy / f"{stem}.safetensors").unlink()
    faults = tiny.backbone(copy).faults()
    assert len(faults) == 2
    assert all("weights must be .safetensors" in fault for fault in faults)
