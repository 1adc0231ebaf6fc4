"""A file's weights come into a network all of them or none, and nothing in a file is ever run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import StableCascadeUNet
from safetensors.torch import load_file, save_file
from tests import tiny
from torch import Tensor, nn

from ppd_lightning.backbones.weights import load_weights, read_pickle, read_safetensors, require_safetensors
from ppd_lightning.errors import UserError


class Small(nn.Module):
    """A linear layer, and a batch norm with its counter."""

    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(width, 2), nn.BatchNorm1d(2)


class Trap:
    """A pickle of it makes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.path,))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    save_file(Small().state_dict(), tmp_path / "small.safetensors")
    return tmp_path / "small.safetensors"


def change(file: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)


def test_the_network_has_the_files_weights_frozen_and_in_evaluation_mode(file: Path) -> None:
    network = load_weights(Small, file)
    assert network.state_dict().keys() == load_file(file).keys()
    assert all(torch.equal(tensor, load_file(file)[name]) for name, tensor in network.state_dict().items())
    assert not any(part.training for part in network.modules())
    assert not any(weight.requires_grad for weight in network.parameters())
    assert all(tensor.device.type == "cpu" for tensor in network.state_dict().values())


def test_the_network_is_never_made_where_it_takes_memory(file: Path) -> None:
    devices = []
    load_weights(lambda: devices.append(torch.empty(0).device.type) or Small(), file)
    assert set(devices) == {"meta"}


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("wanted", [torch.float32, torch.bfloat16])
def test_weights_are_cast_to_what_is_asked_for(file: Path, stored: torch.dtype, wanted: torch.dtype) -> None:
    before = load_file(file)["linear.weight"]
    change(file, lambda tensors: tensors.update({"linear.weight": before.to(stored)}))
    network = load_weights(Small, file, dtype=wanted)
    assert torch.equal(network.linear.weight, before.to(stored).to(wanted))
    assert network.norm.running_mean.dtype == wanted
    assert network.norm.num_batches_tracked.dtype == torch.int64


@pytest.mark.parametrize("stored", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_fp8_weights_are_read_with_every_value_and_refused_where_one_is_none(file: Path, stored: torch.dtype) -> None:
    small = load_file(file)["linear.weight"].to(stored)
    change(file, lambda tensors: tensors.update({"linear.weight": small}))
    assert torch.equal(load_weights(Small, file).linear.weight, small.float())
    change(file, lambda tensors: tensors.update({"linear.weight": torch.full((2, 3), float("nan")).to(stored)}))
    with pytest.raises(UserError, match=r"1 of its tensors hold NaN or infinity, such as linear\.weight"):
        load_weights(Small, file)


def test_a_batch_norms_counter_may_be_left_out(file: Path) -> None:
    change(file, lambda tensors: tensors.pop("norm.num_batches_tracked"))
    assert load_weights(Small, file).norm.num_batches_tracked == 0


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lambda tensors: tensors.pop("linear.bias"), "1 tensors are missing, such as linear.bias"),
        (lambda tensors: tensors.update(more=torch.zeros(1)), "1 are unknown, such as more"),
        (
            lambda tensors: tensors.update({"linear.weight": torch.zeros(2, 4)}),
            "1 have another shape, such as linear.weight: (2, 4), expected (2, 3)",
        ),
        (
            lambda tensors: tensors.update({"linear.weight": torch.zeros(2, 3, dtype=torch.int8)}),
            "1 hold no fractions, such as linear.weight: torch.int8",
        ),
    ],
)
def test_other_weights_are_refused_with_the_file_and_what_is_wrong(
    file: Path, harm: Callable[[dict[str, Tensor]], object], told: str
) -> None:
    change(file, harm)
    with pytest.raises(UserError) as error:
        load_weights(Small, file)
    assert error.value.faults == [str(error.value)]
    assert str(error.value).startswith(f"{file}: these are not the weights of this network ({told})")


def test_everything_that_is_wrong_is_reported_at_once(file: Path) -> None:
    change(file, lambda tensors: tensors.update({"new.weight": tensors.pop("linear.bias")}))
    with pytest.raises(UserError, match=r"are missing.* are unknown.* another shape"):
        load_weights(lambda: Small(4), file)


def cut(file: Path, trap: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def only_a_header(file: Path, trap: Path) -> None:
    file.write_bytes(file.read_bytes()[:40])


def empty(file: Path, trap: Path) -> None:
    file.write_bytes(b"")


def text(file: Path, trap: Path) -> None:
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4\n" * 3)


def pickled(file: Path, trap: Path) -> None:
    torch.save(Trap(trap), file)


def old_pickle(file: Path, trap: Path) -> None:
    torch.save(Trap(trap), file, _use_new_zipfile_serialization=False)


def folder(file: Path, trap: Path) -> None:
    file.unlink()
    file.mkdir()


def gone(file: Path, trap: Path) -> None:
    file.unlink()


@pytest.mark.parametrize("harm", [cut, only_a_header, empty, text, pickled, old_pickle, folder, gone])
@pytest.mark.parametrize("read", [lambda file: load_weights(Small, file), read_safetensors, require_safetensors])
def test_a_file_that_is_no_whole_safetensors_file_is_one_sentence_and_nothing_of_it_is_run(
    file: Path, tmp_path: Path, harm: Callable[[Path, Path], None], read: Callable[[Path], object]
) -> None:
    harm(file, tmp_path / "trapped")
    with pytest.raises(UserError) as error:
        read(file)
    (fault,) = error.value.faults
    assert fault.startswith(f"{file}: ")
    assert "not a safetensors file" in fault
    assert "\n" not in fault
    assert not (tmp_path / "trapped").exists()


def test_the_trap_would_go_off(tmp_path: Path) -> None:
    torch.save(Trap(tmp_path / "trapped"), tmp_path / "file")
    torch.load(tmp_path / "file", weights_only=False)
    assert (tmp_path / "trapped").exists()


@pytest.mark.parametrize("number", [torch.nan, torch.inf, -torch.inf])
def test_weights_that_are_no_numbers_are_refused(file: Path, number: float) -> None:
    change(file, lambda tensors: tensors["linear.weight"][1].fill_(number))
    with pytest.raises(
        UserError, match=r"small\.safetensors: 1 of its tensors hold NaN or infinity, such as linear\.w"
    ):
        load_weights(Small, file)


class Computing(Small):
    """With a number of its own, and buffers that its constructor computes and its files lack."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(4.6052))
        self.inner = nn.Module()
        self.inner.register_buffer("mask", torch.arange(3.0), persistent=False)
        self.register_buffer("places", torch.arange(5), persistent=False)


def test_buffers_that_no_file_has_are_what_the_constructor_computes(tmp_path: Path) -> None:
    save_file(Computing().state_dict(), tmp_path / "file.safetensors")
    network = load_weights(Computing, tmp_path / "file.safetensors", dtype=torch.bfloat16)
    assert network.inner.mask.tolist() == [0, 1, 2]
    assert network.inner.mask.dtype == torch.bfloat16
    assert network.places.tolist() == [0, 1, 2, 3, 4]
    assert network.places.dtype == torch.int64


def test_a_single_number_keeps_its_precision(tmp_path: Path) -> None:
    """In bf16 a logit scale of ln 100 would be that of 98.9."""
    save_file(Computing().state_dict(), tmp_path / "file.safetensors")
    network = load_weights(Computing, tmp_path / "file.safetensors", dtype=torch.bfloat16)
    assert network.scale.item() == pytest.approx(4.6052)
    assert network.linear.weight.dtype == torch.bfloat16


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("wrap", [lambda tensors: tensors, lambda tensors: {"epoch": 1, "state_dict": tensors}])
def test_a_pickle_of_weights_is_read_where_it_is_asked_for(
    file: Path, wrap: Callable[[dict[str, Tensor]], object], new: bool
) -> None:
    tensors = load_file(file)
    pickle = file.with_suffix(".pt")
    torch.save(wrap(tensors), pickle, _use_new_zipfile_serialization=new)
    network = load_weights(Small, pickle, pickles=True)
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in network.state_dict().items())
    with pytest.raises(UserError, match="not a safetensors file"):
        load_weights(Small, pickle)


@pytest.mark.parametrize("harm", [cut, only_a_header, empty, text, pickled, old_pickle, folder, gone])
def test_a_file_that_is_no_whole_pickle_of_weights_is_one_sentence_and_nothing_of_it_is_run(
    file: Path, tmp_path: Path, harm: Callable[[Path, Path], None]
) -> None:
    torch.save(Small().state_dict(), file)
    harm(file, tmp_path / "trapped")
    with pytest.raises(UserError) as error:
        read_pickle(file)
    (fault,) = error.value.faults
    assert fault.startswith(f"{file}: cut short, or no file of weights alone")
    assert "\n" not in fault
    assert not (tmp_path / "trapped").exists()


@pytest.mark.parametrize("stored", [torch.zeros(2), {}, {"state_dict": {}}, {"a": 1}, [torch.zeros(1)]])
def test_a_pickle_of_something_else_is_refused(tmp_path: Path, stored: object) -> None:
    torch.save(stored, tmp_path / "file.pt")
    with pytest.raises(UserError, match=r"file\.pt: no state dict; expected a mapping from names to tensors"):
        read_pickle(tmp_path / "file.pt")


def test_a_stage_c_of_another_width_is_refused(tmp_path: Path) -> None:
    save_file(tiny.unet(conditioning_dim=12).state_dict(), tmp_path / "other.safetensors")
    with pytest.raises(UserError, match=r"other\.safetensors: .*have another shape, such as .*, expected"):
        load_weights(lambda: StableCascadeUNet(**tiny.UNET), tmp_path / "other.safetensors")
