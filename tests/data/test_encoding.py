"""Units of images are shared between processes, outlive their deaths, and come out the same whoever makes them."""

from __future__ import annotations

import hashlib
import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch.utils.data._utils.worker as torch_workers
from tests.data.handmade import SIZE, flip_byte, jpeg, row, rows, write
from tests.killing import killed_at

from ppd_lightning.data import images
from ppd_lightning.data.caption_encoding import encode_captions
from ppd_lightning.data.encoding import Encode, ImageEncoder, encode_images, open_encoded
from ppd_lightning.data.loading import Loader
from ppd_lightning.data.parquet_files import ParquetFiles
from ppd_lightning.data.pickapic import SCHEMA
from ppd_lightning.data.pickapic_rows import read_rows
from ppd_lightning.data.pictures import Square
from ppd_lightning.data.prepared import CAPTIONS_SCHEMA, PreparedData
from ppd_lightning.data.tables import write_table
from ppd_lightning.errors import MachineError, UserError

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")

UNIT = 4
UNITS = 12
"""Of the 45 images of `handmade.rows()`, in row groups of 2 rows."""

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([__name__, "ppd_lightning.data.encoding"])


@pytest.fixture(autouse=True)
def _small_units(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "UNIT", UNIT)


def prepared(root: Path, output: Path) -> PreparedData:
    return PreparedData(output / "data", output / "data/splits", ParquetFiles(str(root)), SIZE, None, str)


def encoder(name: str = "means", *, then: Callable[[], None] = lambda: None) -> ImageEncoder:
    """Mean colours; something else happens at each batch."""

    def load() -> Encode:
        def means(pixels: np.ndarray, ids: Sequence[str]) -> np.ndarray:
            then()
            return pixels.mean((2, 3), dtype=np.float32)

        return means

    return ImageEncoder(name, {"of": "colours"}, load)


def encode(data: PreparedData, *encoders: ImageEncoder, workers: int = 0) -> pa.Table:
    table = read_rows(data.source.root).table
    return encode_images(data, table, "source", encoders or [encoder()], workers=workers, progress=False)


def bytes_below(folder: Path) -> dict[str, bytes]:
    """All files but hidden ones, which a killed process leaves."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("[!.]*") if path.is_file()}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("source")
    write(root, rows(), group=2)
    return root


@pytest.fixture(scope="module")
def undisturbed(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """All that a single process writes."""
    data = prepared(source, tmp_path_factory.mktemp("undisturbed"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(images, "UNIT", UNIT)
        encode(data)
    made = bytes_below(data.folder)
    assert len(list(data.folder.glob("means/*.arrow"))) == UNITS
    return made


def test_a_store_holds_every_image_once_with_the_digest_of_its_bytes(source: Path, tmp_path: Path) -> None:
    data = prepared(source, tmp_path)
    usable = encode(data)
    store = open_encoded(data, encoder())
    assert store.ids.to_pylist() == usable["image_id"].to_pylist()
    assert set(store.ids.to_pylist()) == {r[f"image_{side}_uid"] for r in rows() for side in (0, 1)}
    for image_id, digest, mean in zip(
        store.ids.to_pylist(), store.arrays["digest"][:], store.arrays["means"][:], strict=True
    ):
        assert digest.tobytes() == hashlib.sha256(jpeg(image_id)).digest()
        (pixels,) = images.decode(jpeg(image_id), [Square(SIZE)]) or ()
        np.testing.assert_allclose(mean, pixels.mean((1, 2)), rtol=1e-5)


def test_workers_change_nothing(source: Path, tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    encode(prepared(source, tmp_path), workers=2)
    assert bytes_below(tmp_path / "data") == undisturbed


def test_what_is_encoded_is_not_encoded_again(source: Path, tmp_path: Path) -> None:
    data = prepared(source, tmp_path)
    usable = encode(data)
    refusing = replace(encoder(), load=pytest.fail)
    assert encode(data, refusing).equals(usable)
    data.images_path.unlink()  # what is left of a process that was killed before it wrote the table
    assert encode(data, refusing).equals(usable)


def test_another_encoder_leaves_the_stores_of_the_others_alone(source: Path, tmp_path: Path) -> None:
    data = prepared(source, tmp_path)
    encode(data)
    before = bytes_below(data.folder / "means")
    encode(data, replace(encoder(), load=pytest.fail), encoder("more"))
    assert bytes_below(data.folder / "means") == before
    assert len(open_encoded(data, encoder("more"))) == len(open_encoded(data, encoder()))


def test_a_unit_without_a_usable_image_is_finished_all_the_same(tmp_path: Path) -> None:
    made = rows(users=3)
    made[4:8] = [row(900 + n, user=1, caption=f"odd {n}", jpg_0=b"x", jpg_1=None) for n in range(4)]
    write(tmp_path / "source", made, group=2)
    data = prepared(tmp_path / "source", tmp_path / "out")
    usable = encode(data)
    assert not any("odd" in name for name in usable["image_id"].to_pylist())
    assert len(open_encoded(data, encoder())) == len(usable) > 20
    assert encode(data, replace(encoder(), load=pytest.fail)).equals(usable)


def test_nothing_but_damaged_images_is_one_clear_message(tmp_path: Path) -> None:
    write(tmp_path / "source", [row(1, user=1, caption="odd", jpg_0=b"x", jpg_1=b"y")])
    with pytest.raises(UserError, match="none of its 2 images can be decoded"):
        encode(prepared(tmp_path / "source", tmp_path / "out"))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_row_group_is_the_same_message_from_a_worker(tmp_path: Path, workers: int) -> None:
    path = write(tmp_path / "source", rows(users=3), group=10)
    data = prepared(tmp_path / "source", tmp_path / "out")
    table = read_rows(data.source.root).table
    column = pq.ParquetFile(path).metadata.row_group(1).column(SCHEMA.get_field_index("jpg_1"))
    flip_byte(path, (column.dictionary_page_offset or column.data_page_offset) + column.total_compressed_size // 2)
    with pytest.raises(UserError, match=r"train-0\.parquet: row group 1 is damaged") as caught:
        encode_images(data, table, "source", [encoder()], workers=workers, progress=False)
    assert "Traceback" not in str(caught.value)


def encoded_here(data: PreparedData, workers: int) -> None:
    """Encode, in another process."""
    images.UNIT = UNIT
    torch_workers.MP_STATUS_CHECK_INTERVAL = 0.1  # how soon a loader's processes see that theirs is gone
    encode(data, workers=workers)


def finished(data: PreparedData) -> list[Path]:
    """The notes of the units that are whole."""
    return list(data.folder.glob("means/[!.]*.json"))


def die(moment: int, data: PreparedData, workers: int = 0) -> None:
    process = PROCESSES.Process(target=killed_at, args=(moment, encoded_here, data, workers))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL


def test_kill_9_at_any_moment_and_the_same_command_again_ends_with_the_same_bytes(
    source: Path, tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    """Each process goes on where the one before it was killed; at last one is let live."""
    data = prepared(source, tmp_path)
    # Each unit takes two renames, of its shard and of its note; then come those of meta.json and the table of images.
    for moment in (1, 2, 5, 6):
        die(moment, data)
    assert len(finished(data)) == 4
    die(2 * (UNITS - 4) + 1, data)
    assert not (data.folder / "means/meta.json").exists()
    die(2, data)
    assert not data.images_path.exists()
    encode(data)
    assert bytes_below(tmp_path / "data") == undisturbed


def test_kill_9_with_workers_and_the_same_command_again_ends_with_the_same_bytes(
    source: Path, tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    data = prepared(source, tmp_path)
    die(8, data, workers=2)
    assert len(finished(data)) == 3
    encode(data)
    assert bytes_below(tmp_path / "data") == undisturbed


def encode_slowly(data: PreparedData, go: Any, made: Any) -> None:
    images.UNIT = UNIT
    batches: list[int] = []

    def slow() -> None:
        batches.append(1)
        time.sleep(0.05)

    go.wait()
    encode(data, encoder(then=slow))
    made.put(len(batches))


def test_processes_at_once_share_the_work_and_end_with_the_same_bytes(
    source: Path, tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    data, go, made = prepared(source, tmp_path), PROCESSES.Event(), PROCESSES.Queue()
    processes = [PROCESSES.Process(target=encode_slowly, args=(data, go, made)) for _ in range(3)]
    for process in processes:
        process.start()
    go.set()
    batches = [made.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert bytes_below(tmp_path / "data") == undisturbed
    assert sum(batches) < 2 * UNITS  # three that know nothing of each other's work would make 3 * UNITS


def captions(data: PreparedData, count: int) -> PreparedData:
    listed = sorted(f"thing {number}" for number in range(count))
    columns = [[f"id of {caption}" for caption in listed], listed, [False] * count]
    write_table(data.captions_path, pa.table(columns, schema=CAPTIONS_SCHEMA), {})
    return data


def lengths(of: list[str]) -> dict[str, np.ndarray]:
    return {"text": np.array([[len(caption)] for caption in of], np.float32)}


def test_captions_are_encoded_in_units_and_what_is_there_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ppd_lightning.data.caption_encoding.CAPTION_UNIT", 8)
    one, other = (captions(prepared(tmp_path, tmp_path / name), 30) for name in ("one", "other"))
    encode_captions(one, lambda: lengths, progress=False)
    calls: Iterator[int] = iter(range(100))

    def tired(of: list[str]) -> dict[str, np.ndarray]:
        if next(calls) == 2:
            raise KeyboardInterrupt
        return lengths(of)

    with pytest.raises(KeyboardInterrupt):
        encode_captions(other, lambda: tired, progress=False)
    encode_captions(other, lambda: tired, progress=False)
    assert next(calls) == 5  # 4 units, of which one was begun twice
    assert bytes_below(tmp_path / "one/data") == bytes_below(tmp_path / "other/data")
    encode_captions(other, pytest.fail, progress=False)


def test_a_unit_that_lost_images_on_the_way_is_not_finished(
    source: Path, tmp_path: Path, undisturbed: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Loader.__iter__

    def leaky(loader: Loader[Any]) -> Iterator[Any]:
        lost: list[Any] = []
        for batch in whole(loader):
            if batch.ids and not lost:
                lost.append(batch)
            else:
                yield batch

    with monkeypatch.context() as patch:
        patch.setattr(Loader, "__iter__", leaky)
        with pytest.raises(MachineError, match=r"were lost on the way .* nothing of the part was written"):
            encode(prepared(source, tmp_path), workers=2)
    encode(prepared(source, tmp_path))
    assert bytes_below(tmp_path / "data") == undisturbed
