"""A gallery draws each image once, in the same batches whatever happened before, and never touches what is there."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from tests.killing import killed_at
from torch import Tensor

from ppd_lightning.errors import UserError
from ppd_lightning.generation.gallery import Gallery, read_images

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.generation.test_gallery"])
CAPTIONS = [f"thing {number % 5}" for number in range(14)]
SEEDS = [number // 5 for number in range(14)]
USERS = torch.arange(14.0)[:, None] % 7
SIZE = 4


def paint(captions: Sequence[str], users: Tensor | None, seeds: Sequence[int], prompts: Sequence[str]) -> Tensor:
    """Images whose red is of the caption and seed, green of the user, blue of the whole batch."""
    red = torch.tensor([float(caption[-1]) * 20 + seed for caption, seed in zip(captions, seeds, strict=True)])
    green = torch.zeros(len(captions)) if users is None else users[:, 0] + 1
    blue = torch.full((len(captions),), sum(map(len, prompts)) % 256)
    return torch.stack([red, green, blue], 1)[:, :, None, None].expand(-1, -1, SIZE, SIZE) / 255


class Painter:
    """`paint` that counts."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, captions: Sequence[str], *others: object) -> Tensor:
        self.batches.append(len(captions))
        return paint(captions, *others)  # type: ignore[arg-type]


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("[0-9a-f]*.png")}


def test_the_files_are_in_the_order_of_what_was_asked_and_read_back_as_drawn(tmp_path: Path) -> None:
    files = Gallery(tmp_path, paint, 4).draw(CAPTIONS, USERS, SEEDS)
    images = read_images(files)
    assert images.shape == (14, 3, SIZE, SIZE)
    torch.testing.assert_close(images[:, :2], paint(CAPTIONS, USERS, SEEDS, CAPTIONS)[:, :2])


def test_what_comes_twice_is_drawn_once(tmp_path: Path) -> None:
    painter = Painter()
    files = Gallery(tmp_path, painter, 4).draw(CAPTIONS * 2, None, [0] * 28)
    assert sorted(painter.batches) == [1, 4]
    assert files == [files[number % 14 % 5] for number in range(28)]
    assert len(content(tmp_path)) == 5


def test_caption_user_seed_and_prompt_each_make_another_image(tmp_path: Path) -> None:
    gallery, user = Gallery(tmp_path, paint, 4), torch.zeros(1)
    different = [
        gallery.file("a", None, 0),
        gallery.file("b", None, 0),
        gallery.file("a", None, 1),
        gallery.file("a", user, 0),
        gallery.file("a", user + 1e-6, 0),
        gallery.file("a", None, 0, "a, flat"),
    ]
    assert len(set(different)) == len(different)
    assert gallery.file("a", None, 0, "a") == gallery.file("a", None, 0)
    assert gallery.file("a", user.double(), 0) == gallery.file("a", user, 0)


def test_the_same_question_again_draws_nothing(tmp_path: Path) -> None:
    Gallery(tmp_path, paint, 4).draw(CAPTIONS, USERS, SEEDS)
    painter = Painter()
    Gallery(tmp_path, painter, 4).draw(CAPTIONS, USERS, SEEDS)
    assert painter.batches == []


def test_an_image_that_was_deleted_comes_back_bit_for_bit_and_the_others_are_not_touched(tmp_path: Path) -> None:
    files = Gallery(tmp_path, paint, 4).draw(CAPTIONS, USERS, SEEDS)
    before, times = content(tmp_path), {file: file.stat().st_mtime_ns for file in files}
    files[6].unlink()
    painter = Painter()
    Gallery(tmp_path, painter, 4).draw(CAPTIONS, USERS, SEEDS)
    assert painter.batches == [4]
    assert content(tmp_path) == before
    assert [file for file in files if file.stat().st_mtime_ns != times[file]] == [files[6]]


def draw_into(folder: Path) -> None:
    Gallery(folder, paint, 4).draw(CAPTIONS, USERS, SEEDS)


@pytest.mark.parametrize("moments", [[1, 1, 2], [3, 5], [14]], ids=str)
def test_killed_anywhere_it_goes_on_to_the_same_bits(tmp_path: Path, moments: list[int]) -> None:
    draw_into(tmp_path / "calm")
    for moment in moments:
        process = PROCESSES.Process(target=killed_at, args=(moment, draw_into, tmp_path / "killed"))
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert content(tmp_path / "killed").items() < content(tmp_path / "calm").items()
    draw_into(tmp_path / "killed")
    assert content(tmp_path / "killed") == content(tmp_path / "calm")


def test_several_processes_draw_into_it_at_once(tmp_path: Path) -> None:
    draw_into(tmp_path / "one")
    several = [PROCESSES.Process(target=draw_into, args=(tmp_path / "several",)) for _ in range(3)]
    for process in several:
        process.start()
    for process in several:
        process.join()
        assert process.exitcode == 0
    assert content(tmp_path / "several") == content(tmp_path / "one")


DAMAGES = {
    "empty": lambda data: b"",
    "cut off": lambda data: data[:45],
    "a bit of the pixels": lambda data: data[:-20] + bytes([data[-20] ^ 1]) + data[-19:],
    "zeros": lambda data: bytes(len(data)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_image_is_named_and_drawn_again_and_no_other_is(tmp_path: Path, damage: str) -> None:
    file, *_ = Gallery(tmp_path, paint, 4).draw(CAPTIONS, None, SEEDS)
    before = content(tmp_path)
    file.write_bytes(DAMAGES[damage](before[file.name]))
    with pytest.raises(UserError, match=f"{file.name}: damaged .*; run the command that drew it again"):
        read_images([file])
    painter = Painter()
    Gallery(tmp_path, painter, 4).draw(CAPTIONS, None, SEEDS)
    assert painter.batches == [4]
    assert content(tmp_path) == before
