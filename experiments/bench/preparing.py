"""What preparing a source costs, and that it is linear in its rows: seconds, images/s, memory.

    python experiments/bench/preparing.py          (make bench)

Rows: `ppd prepare data=pickapic` on parquet files of made-up rows, each size in processes of its own. Scaled down so
that 100,000 rows take a minute or two on two cores: JPEGs of 64x64 pixels (about 1 KB), brought to 16x16 for the
embedded world's codec, one new image and 1/14 of a caption a row (Pick-a-Pic's share of captions). What is left is what
the project itself adds to every row and image. The cost of a thousand further rows leaves out what every run
pays once; the processor's seconds are those of all processes together, and tell more where others work beside.
Full size: one worker's work on images of Pick-a-Pic's own size, 1024x1024 JPEGs of about 160 KB in a row group of 1,000
rows, brought to 768x768. And how much memory a row group of 2,000 rows of 100 KB an image takes.
Peak memory is the largest VmHWM (Linux) of a process, shared pages included. Everything is made up in a temporary
folder under --output and removed at the end: about 1.5 GB. Prints and writes outputs/bench/preparing.json.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from ppd_lightning.data.images import index_images, read_images
from ppd_lightning.data.pickapic import SCHEMA
from ppd_lightning.data.pickapic_rows import read_rows
from ppd_lightning.data.pictures import Square

ROWS_A_CAPTION, ROWS_A_USER, ROWS_A_GROUP, ROWS_A_FILE = 14, 150, 1000, 20_000
POOL = 64
"""Different pictures; each image is one of them with other bytes behind its end, which no decoder looks at."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--full-size-rows", type=int, default=1_000)
    parser.add_argument("--output", type=Path, default=Path("outputs"))
    args = parser.parse_args()
    (args.output / "bench").mkdir(parents=True, exist_ok=True)
    report: dict[str, Any] = {"rows": []}
    with tempfile.TemporaryDirectory(dir=args.output) as temporary:
        for count in args.rows:
            line = prepared(Path(temporary) / str(count), count, args.workers)
            for fewer in report["rows"][-1:]:
                for of in ("seconds", "processor_seconds"):
                    cost = (line[of] - fewer[of]) / (count - fewer["rows"])
                    line[f"{of}_of_1000_further_rows"] = round(1000 * cost, 3)
            report["rows"].append(line)
            print(json.dumps(line), flush=True)
        jpegs = pictures(1024)
        report["full_size"] = one_worker(Path(temporary) / "full", jpegs, args.full_size_rows, 768)
        print(json.dumps(report["full_size"]), flush=True)
        noise = [np.random.default_rng(seed).bytes(100_000) for seed in range(POOL)]
        report["row_group_of_2000"] = one_worker(Path(temporary) / "group", noise, 2_000, 64)
        print(json.dumps(report["row_group_of_2000"]), flush=True)
    (args.output / "bench/preparing.json").write_text(json.dumps(report, indent=2) + "\n")


def prepared(folder: Path, count: int, workers: int) -> dict[str, Any]:
    """Prepare so many rows, and say what it cost."""
    jpegs = pictures(64)
    for first in range(0, count, ROWS_A_FILE):
        rows = range(first, min(first + ROWS_A_FILE, count))
        write(folder / f"source/{first:07}.parquet", jpegs, rows, ROWS_A_GROUP, users=max(1, count // ROWS_A_USER))
    settings = ["data=pickapic", f"data.root={folder / 'source'}", "data.image_size=16", f"data.workers={workers}"]
    command = [sys.executable, "-m", "ppd_lightning", "prepare", *settings, f"output={folder / 'out'}"]
    before = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    peaks: dict[int, int] = {}
    while process.poll() is None:
        peaks |= {pid: max(peaks.get(pid, 0), peak) for pid, peak in peaks_below(process.pid)}
        time.sleep(0.1)
    if process.returncode:
        raise RuntimeError(process.stderr.read() if process.stderr is not None else "")
    (path,) = (folder / "out/data").glob("*/splits-*/prepared.json")
    summary = json.loads(path.read_text())["summary"]
    return {
        "rows": count,
        "images": summary["counts"]["images"],
        "pairs": summary["counts"]["pairs"],
        "workers": workers,
        "seconds": summary["seconds"],
        "processor_seconds": round(sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]) - before, 1),
        "peak_mb": round(peaks.pop(process.pid) / 1e6),
        "peak_mb_of_a_worker": round(max(peaks.values()) / 1e6) if peaks else None,
    }


def one_worker(folder: Path, jpegs: list[bytes], rows: int, size: int) -> dict[str, Any]:
    """Read and decode the images of one row group in a process of its own, as a worker does."""
    write(folder / "one.parquet", jpegs, range(rows), rows)
    results = multiprocessing.get_context("spawn").SimpleQueue()
    process = multiprocessing.get_context("spawn").Process(target=decode_all, args=(folder, size, results))
    process.start()
    line: dict[str, Any] = results.get()
    process.join()
    return {"rows_of_a_row_group": rows, "mb_of_the_file": round((folder / "one.parquet").stat().st_size / 1e6), **line}


def decode_all(folder: Path, size: int, results: Any) -> None:
    index = index_images(read_rows(folder).table)
    before, begun, worked = peak_of("self"), time.perf_counter(), time.process_time()
    decoded = sum(len(batch.ids) for batch in read_images(folder, index, [Square(size)]))
    seconds, worked = time.perf_counter() - begun, time.process_time() - worked
    results.put(
        {
            "images": len(index),
            "decoded": decoded,
            "images_per_second": round(len(index) / seconds, 1),
            "images_per_second_of_the_processor": round(len(index) / worked, 1),
            "peak_mb": round(peak_of("self") / 1e6),
            "peak_mb_before": round(before / 1e6),
        }
    )


def pictures(side: int) -> list[bytes]:
    """Noisy JPEGs, about as large as photographs of that size are."""
    made = []
    for seed in range(POOL):
        generator = np.random.default_rng(seed)
        coarse = Image.fromarray(generator.integers(0, 256, (side // 16, side // 16, 3), np.uint8))
        fine = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC), np.int16)
        noisy = (fine + generator.integers(-8, 9, fine.shape)).clip(0, 255).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(noisy).save(file, "JPEG", quality=75)
        made.append(file.getvalue())
    return made


def write(path: Path, jpegs: list[bytes], rows: range, group: int, users: int = 1) -> None:
    """Write made-up rows; those of a caption show its images in turn, each with the next."""
    path.parent.mkdir(parents=True, exist_ok=True)

    def image_of(number: int, side: int) -> int:
        caption, index = divmod(number, ROWS_A_CAPTION)
        return caption * ROWS_A_CAPTION + (index + side) % ROWS_A_CAPTION

    with pq.ParquetWriter(path, SCHEMA, use_dictionary=False, write_page_checksum=True) as file:
        for begin in range(rows.start, rows.stop, group):
            numbers = range(begin, min(begin + group, rows.stop))
            file.write_table(pa.table(columns(numbers, image_of, jpegs, users), schema=SCHEMA), row_group_size=group)


def columns(numbers: range, image_of: Callable[[int, int], int], jpegs: list[bytes], users: int) -> dict[str, pa.Array]:
    count = len(numbers)
    wanted = np.random.default_rng(numbers.start).random(count) < 0.5
    made: dict[str, Any] = {
        "are_different": pa.repeat(True, count),
        "caption": pa.array([f"a made-up caption, number {number // ROWS_A_CAPTION}" for number in numbers]),
        "created_at": pa.repeat(pa.scalar(0, pa.timestamp("ns")), count),
        "has_label": pa.repeat(True, count),
        "label_0": pa.array(wanted.astype(float)),
        "label_1": pa.array((~wanted).astype(float)),
        "ranking_id": pa.array(numbers, pa.int64()),
        "user_id": pa.array([number * 7919 % users for number in numbers], pa.int64()),
        "num_example_per_prompt": pa.repeat(pa.scalar(ROWS_A_CAPTION, pa.int64()), count),
        "__index_level_0__": pa.array(numbers, pa.int64()),
    }
    for side in (0, 1):
        images = [image_of(number, side) for number in numbers]
        made[f"image_{side}_uid"] = pa.array([f"00000000-0000-0000-0000-{image:012}" for image in images])
        made[f"image_{side}_url"] = pa.array([f"https://nowhere.invalid/{image}" for image in images])
        made[f"model_{side}"] = pa.repeat("made up", count)
        made[f"jpg_{side}"] = pa.array([jpegs[image % POOL] + image.to_bytes(8) for image in images], pa.binary())
    made["best_image_uid"] = made["image_0_uid"]
    return made


def peaks_below(pid: int) -> Iterator[tuple[int, int]]:
    """The peak memory of a process and of its children, in bytes."""
    try:
        yield pid, peak_of(pid)
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            for child in children.read_text().split():
                yield int(child), peak_of(child)
    except (OSError, StopIteration):
        return  # it has ended meanwhile


def peak_of(pid: int | str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) << 10


if __name__ == "__main__":
    main()
