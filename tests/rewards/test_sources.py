"""A place names a file, a folder, what ships, or what is on the hub; what is not there is told with its origin."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.offline import go_offline

from ppd_lightning.errors import UserError
from ppd_lightning.rewards.sources import Role, role_faults, role_files, role_location

ROLE = Role((("config.json", "model.safetensors"), ("config.json", "model.bin")), "owner/name", "3 GB", "MIT")
FILE = Role((("head.pth",),), "owner/name", "3 MB", "MIT", single=True)
KEY = "rewards.clip.weights.model"
TOLD = r"config\.json and model\.safetensors, 3 GB, from owner/name \(licence: MIT\)"


def files(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text(name)
    return folder


def cached(cache: Path, name: str, *files_: str) -> Path:
    """A snapshot on the hub's cache, as the hub's client writes it."""
    owner, repository = name.split("/")
    folder = cache / f"models--{owner}--{repository}"
    files(folder / "refs")
    (folder / "refs/main").write_text("abc")
    return files(folder / "snapshots/abc", *files_)


def test_a_folder_gives_the_first_way_that_is_complete(tmp_path: Path) -> None:
    assert role_files(files(tmp_path, "config.json", "model.bin"), ROLE) == [
        tmp_path / "config.json",
        tmp_path / "model.bin",
    ]
    files(tmp_path, "model.safetensors")
    assert role_files(tmp_path, ROLE)[-1] == tmp_path / "model.safetensors"
    assert role_faults(KEY, str(tmp_path), ROLE) == []


def test_a_file_of_any_name_does_where_one_file_is_enough(tmp_path: Path) -> None:
    place = str(files(tmp_path, "my own+1.pth") / "my own+1.pth")
    assert role_location(KEY, place, FILE) == Path(place)
    assert role_files(Path(place), FILE) == [Path(place)]
    (fault,) = role_faults(KEY, place, ROLE)
    assert fault.startswith(f"{KEY}: {place} is a file; expected a folder with config.json")


def test_a_home_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(files(tmp_path, "head.pth")))
    assert role_faults(KEY, "~/head.pth", FILE) == []


def test_what_ships_is_below_the_packages_folder() -> None:
    place = role_location(KEY, "shipped:worlds/emoji/assets/prior", ROLE)
    assert (place / "config.json").is_file()


def test_a_name_on_the_hub_is_what_was_fetched_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go_offline(monkeypatch, tmp_path)
    snapshot = cached(tmp_path, "owner/name", "config.json", "model.bin")
    assert role_location(KEY, "owner/name", ROLE) == snapshot
    assert role_faults(KEY, "owner/name", ROLE) == []


def test_one_file_of_a_name_on_the_hub_is_meant_where_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_offline(monkeypatch, tmp_path)
    snapshot = cached(tmp_path, "owner/name", "v1.pt", "v2.1+x.pt")
    assert role_location(KEY, "owner/name:v2.1+x.pt", FILE) == snapshot / "v2.1+x.pt"
    assert role_files(role_location(KEY, "owner/name:v1.pt", FILE), FILE) == [snapshot / "v1.pt"]


@pytest.mark.parametrize("place", ["owner/other", "owner/other:file.pt"])
def test_a_hub_without_an_answer_is_one_sentence_with_the_origin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    go_offline(monkeypatch, tmp_path)
    (fault,) = role_faults(KEY, place, ROLE)
    assert fault.startswith(f"{KEY}: there is no folder owner/other here, and the model hub has no answer")
    assert "3 GB, from owner/name (licence: MIT)" in fault
    with pytest.raises(UserError, match="the model hub has no answer"):
        role_location(KEY, place, ROLE)


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("nowhere/at/all", "there is no file or folder nowhere/at/all; expected "),
        ("model.pt", r"there is no file or folder model\.pt; expected "),
        ("half", r"half lacks model\.safetensors; expected "),
    ],
)
def test_what_is_not_there_is_reported_with_its_origin_size_and_licence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, told: str
) -> None:
    files(tmp_path / "half", "config.json")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=rf"^{KEY.replace('.', chr(92) + '.')}: {told}{TOLD}$"):
        raise UserError(role_faults(KEY, place, ROLE))
