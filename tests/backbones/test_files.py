"""The files of a part are found in a folder or on the hub, and what lacks is told with where it is. No network here."""

from __future__ import annotations

from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import ModelInfo
from tests.offline import go_offline

from ppd_lightning.backbones.files import ModelPart, absent, find, local_folder, missing
from ppd_lightning.backbones.stage_c import PARTS
from ppd_lightning.errors import UserError
from ppd_lightning.worlds.emoji.backbone import PARTS as EMOJI

HUB, COMMIT = "someone/cascade", "0" * 40
PRIOR = PARTS["stage_c_lite"]["prior"]
SCHEDULER = PARTS["stage_c_lite"]["scheduler"]
ENCODER = PARTS["stage_c_lite"]["encoder"]


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    go_offline(monkeypatch, tmp_path / "hub")


def put(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def fetched(cache: Path, *names: str) -> Path:
    """Files as the hub's client leaves them."""
    repository = cache / "hub" / f"models--{HUB.replace('/', '--')}"
    put(repository / "snapshots" / COMMIT, *names)
    (repository / "refs").mkdir(exist_ok=True)
    (repository / "refs/main").write_text(COMMIT)
    return repository / "snapshots" / COMMIT


class Hub:
    """A model hub that holds some files and notes what is asked of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path, *names: str) -> None:
        self.asked: list[list[str]] = []
        self.folder, self.names = folder, names
        monkeypatch.setattr(huggingface_hub, "HfApi", lambda: self)
        monkeypatch.setattr(huggingface_hub, "snapshot_download", self.fetch)

    def model_info(self, place: str, timeout: float) -> ModelInfo:
        assert (place, timeout) == (HUB, 5.0)
        return ModelInfo(id=place, siblings=[{"rfilename": name} for name in self.names])

    def fetch(self, place: str, *, allow_patterns: list[str]) -> str:
        self.asked.append(allow_patterns)
        return str(put(self.folder, *allow_patterns))


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub that cannot be reached, as without a network."""

    class Unreachable:
        def model_info(self, place: str, timeout: float) -> ModelInfo:
            raise ConnectionError("Failed to resolve 'huggingface.co'\n(a long story)")

    monkeypatch.setattr(huggingface_hub, "HfApi", Unreachable)


BF16, FP32 = ("prior_lite/diffusion_pytorch_model.bf16.safetensors", "prior_lite/diffusion_pytorch_model.safetensors")
CONFIG = "prior_lite/config.json"


@pytest.mark.parametrize(
    ("there", "taken"),
    [
        ([CONFIG, FP32], [CONFIG, FP32]),
        ([CONFIG, BF16], [CONFIG, BF16]),
        ([CONFIG, FP32, BF16, "stage_c_lite.safetensors"], [CONFIG, FP32]),
        ([CONFIG, BF16, "stage_c_lite.safetensors"], [CONFIG, BF16]),
        (["stage_c_lite.safetensors", "stage_c_lite_bf16.safetensors"], ["stage_c_lite.safetensors"]),
        (["stage_c_lite_bf16.safetensors"], ["stage_c_lite_bf16.safetensors"]),
        ([FP32, BF16, "stage_c_lite_bf16.safetensors"], ["stage_c_lite_bf16.safetensors"]),
        ([CONFIG], []),
        ([FP32], []),
        (["stage_c.safetensors", "prior/config.json"], []),
    ],
)
def test_the_first_way_that_is_complete_is_taken(tmp_path: Path, there: list[str], taken: list[str]) -> None:
    put(tmp_path, *there)
    assert find(PRIOR, tmp_path) == [tmp_path / name for name in taken]
    assert bool(missing("model.path", PRIOR, tmp_path)) == (not taken)


def test_a_folder_in_a_files_place_is_not_the_file(tmp_path: Path) -> None:
    (tmp_path / "effnet_encoder.safetensors").mkdir()
    assert absent(ENCODER, tmp_path) == ["effnet_encoder.safetensors"]


@pytest.mark.parametrize(
    ("there", "lacks"),
    [
        ([], [CONFIG, FP32]),
        ([CONFIG], [FP32]),
        ([BF16], [CONFIG]),
        ([FP32], [CONFIG]),
        (["stage_c.safetensors"], [CONFIG, FP32]),
        (["stage_c_lite.safetensors"], []),
    ],
)
def test_what_lacks_is_of_the_way_that_most_is_there_of(tmp_path: Path, there: list[str], lacks: list[str]) -> None:
    assert absent(PRIOR, put(tmp_path, *there)) == lacks


@pytest.mark.parametrize("model", ["stage_c", "stage_c_lite"])
def test_each_part_that_lacks_is_one_sentence_with_files_source_size_and_licence(tmp_path: Path, model: str) -> None:
    for part in PARTS[model].values():
        (told,) = missing("model.path", part, tmp_path)
        assert told.startswith(f"model.path: {tmp_path} lacks ")
        assert all(told.count(name) == 1 for name in part.ways[0])
        assert told.count(part.hub) == told.count(part.size) == 1
        assert part.hub.startswith("stabilityai/stable-cascade")
        assert part.size.split()[1] in ("GB,", "MB", "kB")
        assert told.count("non-commercial") == 1
        assert ("model.codec_path" in told) == part.of_codec
        assert "model.codec_path" not in missing("model.codec_path", part, tmp_path)[0].removeprefix("model.codec_path")


def test_what_ships_is_made_anew(tmp_path: Path) -> None:
    (told,) = missing("model.path", EMOJI["prior"], tmp_path)
    assert "make base" in told
    assert "non-commercial" not in told


@pytest.mark.parametrize(
    ("part", "pickle"),
    [
        ("prior", "prior_lite/diffusion_pytorch_model.bin"),
        ("text_encoder", "text_encoder/pytorch_model.bin"),
        ("encoder", "effnet_encoder.pt"),
        ("previewer", "previewer.ckpt"),
    ],
)
def test_weights_in_a_pickle_are_named_as_what_is_not_read(tmp_path: Path, part: str, pickle: str) -> None:
    put(tmp_path, pickle, "text_encoder/config.json", CONFIG)
    (told,) = missing("model.path", PARTS["stage_c_lite"][part], tmp_path)
    assert f"{tmp_path / pickle} is not read" in told
    assert "weights must be .safetensors" in told


@pytest.mark.parametrize("place", ["nowhere", "./a/b", "/a/b", "a/b/c", "../b", "a/b/", "", ".", "a b/c", "-/"])
def test_what_cannot_be_on_the_hub_is_a_folder_whose_parts_are_missing_where_it_is_not_there(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = local_folder("model.path", place, [PRIOR])
    assert folder == Path(place)
    (fault,) = missing("model.path", PRIOR, folder)
    there = f"{folder} lacks" if place in ("", ".") else f"there is no folder {folder} with"
    assert fault.startswith(f"model.path: {there} {CONFIG} and {FP32}; get this part from ")


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    put(tmp_path, "prior.safetensors")
    file = tmp_path / "prior.safetensors"
    (fault,) = missing("model.path", PRIOR, local_folder("model.path", str(file), [PRIOR]))
    assert fault.startswith(f"model.path: there is no folder {file} with")


def test_home_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(put(tmp_path, "cascade/x").parent / tmp_path.name))
    assert local_folder("model.path", "~/cascade", [PRIOR]) == tmp_path / "cascade"


def test_a_folder_with_the_look_of_a_hub_name_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(put(tmp_path, f"{HUB}/x"))
    assert local_folder("model.path", HUB, [PRIOR]) == Path(HUB)


def test_what_was_fetched_before_is_taken_without_the_hub(tmp_path: Path) -> None:
    """However little of the repository it is."""
    snapshot = fetched(tmp_path, CONFIG, BF16, "scheduler/scheduler_config.json")
    assert local_folder("model.path", HUB, [PRIOR, SCHEDULER]) == snapshot
    assert find(PRIOR, snapshot)


def test_of_the_hub_only_what_is_needed_and_not_yet_here_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched(tmp_path, "scheduler/scheduler_config.json")
    everything = [name for part in PARTS["stage_c_lite"].values() for way in part.ways for name in way]
    hub = Hub(monkeypatch, tmp_path / "fresh", *everything)
    assert local_folder("model.path", HUB, [SCHEDULER]) != tmp_path / "fresh"
    assert local_folder("model.path", HUB, [PRIOR]) == tmp_path / "fresh"
    assert hub.asked == [[CONFIG, FP32]]


def test_a_repository_with_another_way_or_without_a_part_gives_what_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = Hub(monkeypatch, tmp_path / "fresh", "stage_c_lite_bf16.safetensors", "README.md", FP32)
    folder = local_folder("model.path", HUB, [PRIOR, ENCODER])
    assert hub.asked == [["stage_c_lite_bf16.safetensors"]]
    assert not missing("model.path", PRIOR, folder)
    assert missing("model.path", ENCODER, folder)


@pytest.mark.usefixtures("no_hub")
@pytest.mark.parametrize("place", [HUB, "a--b/c", "models/stage.c"])
def test_a_hub_that_does_not_answer_is_one_sentence(place: str) -> None:
    with pytest.raises(UserError) as error:
        local_folder("model.codec_path", place, [PRIOR])
    (fault,) = error.value.faults
    assert fault.startswith(f"model.codec_path: there is no folder {place} here, and the model hub has no answer")
    assert fault.endswith("give the folder with the released files")
    assert "\n" not in fault


def test_this_tests_network_is_off() -> None:
    with pytest.raises(UserError, match="a test asked the network"):
        local_folder("model.path", HUB, [PRIOR])


def test_every_part_says_where_it_is_or_ships() -> None:
    for name, model in {**PARTS, "emoji": EMOJI}.items():
        for part in model.values():
            assert isinstance(part, ModelPart)
            assert bool(part.hub) == bool(part.size) == bool(part.licence) == (name != "emoji")
            assert all(part.ways)
            assert {Path(file).suffix for way in part.ways for file in way} <= {".json", ".txt", ".safetensors"}
