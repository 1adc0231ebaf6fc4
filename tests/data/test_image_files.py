"""Images beside a table: any name is found, what lies elsewhere or is no file is a fault of its row, nothing hangs."""

from __future__ import annotations

import json
import os
import unicodedata
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tests.data.handmade import jpeg
from tests.data.test_folder import Own, own, source
from tests.data.test_pictures import turned

from ppd_lightning.data.folder_files import PICTURES, faults_of_lines
from ppd_lightning.data.pickapic_rows import read_rows
from ppd_lightning.errors import UserError
from ppd_lightning.users.new_choices import choices_of_pictures, choices_of_table


def table(folder: Path, *names: str) -> Path:
    """A table with a row an image, beside another one."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "other.jpg").write_bytes(jpeg("other"))
    lines = [
        {"caption": f"c{number}", "image_0": name, "image_1": "other.jpg", "choice": 0, "user": "ann"}
        for number, name in enumerate(names)
    ]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder / "pairs.jsonl"


def taken(path: Path, tmp_path: Path, roots: list[str] | None = None) -> tuple[list[str], dict[int, str], Own]:
    """The captions of usable rows, what is wrong with the others, and the source."""
    made = own(path, tmp_path / "out", max_unusable=1.0, roots=roots)
    return read_rows(source(made)).table["caption"].to_pylist(), faults_of_lines(made.folder), made


def test_any_name_of_a_file_and_of_a_folder_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "set [v2]::a*?#"
    names = ["photo[1].jpg", "photo1.jpg", "a*?.jpg", "a::b.jpg", "a#b %20.jpg", "a\nb.jpg", "a\\b.jpg", "猫.jpg"]
    path = table(folder, *names, str(folder / "photo1.jpg"))
    for name in names:
        (folder / name).write_bytes(jpeg(name))
    assert taken(path, tmp_path)[:2] == ([f"c{number}" for number in range(9)], {})


@pytest.mark.parametrize(("there", "asked"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_a_name_of_other_code_points_for_the_same_letters_is_found(tmp_path: Path, there: str, asked: str) -> None:
    path = table(tmp_path / "mine", unicodedata.normalize(asked, "Übung/é.jpg"))  # type: ignore[arg-type]
    file = tmp_path / "mine" / unicodedata.normalize(there, "Übung/é.jpg")  # type: ignore[arg-type]
    file.parent.mkdir()
    file.write_bytes(jpeg("a"))
    assert taken(path, tmp_path)[:2] == (["c0"], {})


def test_what_is_no_image_file_is_a_fault_of_its_row_and_none_of_it_is_stored(tmp_path: Path) -> None:
    folder, secret = tmp_path / "mine", tmp_path / "secret.txt"
    secret.write_text("the secret")
    folder.mkdir()
    os.mkfifo(folder / "pipe.jpg")
    (folder / "sound.jpg").write_bytes(jpeg("sound"))
    links = {"gone.jpg": "nix.jpg", "zero.jpg": "/dev/zero", "out.jpg": secret, "in.jpg": "sound.jpg"}
    for name, target in links.items():
        (folder / name).symlink_to(target)
    (folder / "text.jpg").write_text("the secret")
    (folder / "loop.jpg").symlink_to("loop.jpg")
    faulty = {
        "pipe.jpg": "is a named pipe; expected an image file",
        "gone.jpg": "is a link to nix.jpg, which is not there",
        "zero.jpg": f"(/dev/zero) lies outside of {folder}; name its folder in data.roots",
        "out.jpg": f"lies outside of {folder}; name its folder in data.roots",
        "../secret.txt": "lies outside of",
        "text.jpg": "is a text and no image that can be read",
        "loop.jpg": "a link that leads to itself",
        "x" * 300: "cannot be read (File name too long)",
        "https://example.org/a.jpg": "is a URL, and images are read from files only",
        "C:\\a.jpg": "write / between folders, not a backslash",
        "nul\0.jpg": "cannot be read",
    }
    captions, faults, made = taken(table(folder, "in.jpg", *faulty), tmp_path)
    assert captions == ["c0"]
    for line, said in enumerate(faulty.values(), 2):
        assert said in faults[line]
    assert b"the secret" not in (made.folder / "source/choices.parquet").read_bytes()


def test_images_of_named_folders_are_read(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures/a.jpg").write_bytes(jpeg("a"))
    path = table(tmp_path / "mine", "../pictures/a.jpg", str(tmp_path / "pictures/a.jpg"), "link.jpg")
    (tmp_path / "mine/link.jpg").symlink_to(tmp_path / "pictures/a.jpg")
    assert taken(path, tmp_path, [str(tmp_path / "pictures")])[:2] == (["c0", "c1", "c2"], {})
    assert len(choices_of_table(str(path), "describe.choices", [str(tmp_path / "pictures")])["ann"]) == 3
    with pytest.raises(UserError, match=r"lies outside of .*; name its folder in describe\.roots"):
        choices_of_table(str(path), "describe.choices")
    with pytest.raises(UserError, match=r"lies outside of .*; move the table to a folder above it"):
        choices_of_table(str(path), "--choices")


def test_a_root_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("caption,chosen,rejected,user\na cat,a.png,b.png,ann\n")
    with pytest.raises(UserError, match=r"describe\.roots: /nope is no folder; name one that is there"):
        choices_of_table(str(tmp_path / "a.csv"), "describe.choices", ["/nope", str(tmp_path)])


def test_roots_change_no_folder(tmp_path: Path) -> None:
    assert "roots" in own(tmp_path / "a.csv", tmp_path).source.speed_keys


@pytest.mark.parametrize("kind", ["/dev/zero", "pipe", "gone"])
def test_a_table_that_is_no_file_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "pairs.csv"
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(kind)
    with pytest.raises(UserError, match=r"^data\.table: .* is (a device|a named pipe|a link to gone)"):
        source(own(path, tmp_path / "out"))


def test_a_picture_that_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="is a named pipe"):
        choices_of_pictures("ann", [("a", tmp_path / "pipe", tmp_path / "pipe")])


def test_only_a_source_of_pictures_that_were_seen_otherwise_is_another_one(tmp_path: Path) -> None:
    path = table(tmp_path / "mine", "a.jpg")
    for data, marked in ((jpeg("a"), False), (turned(), True)):
        (tmp_path / "mine/a.jpg").write_bytes(data)
        metadata = pq.read_metadata(taken(path, tmp_path)[2].folder / "source/choices.parquet").metadata or {}
        assert (metadata.get(b"pictures") == PICTURES["pictures"].encode()) == marked
