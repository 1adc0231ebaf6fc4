"""Which format should stores have? Rows of latents per second in random order, in four formats, from page cache.

    pip install pylance zarr        # neither is needed by the project
    python experiments/bench/formats.py

Each format holds the same rows (16x24x24 fp16), in files of about a thousand rows but for `.npy`, which is one file.
Each is asked for the same batches of random rows, best of three rounds. Arrow is read through `data/stores.py` itself.
Give it one thread to compare with others: OMP_NUM_THREADS=1. Prints and writes outputs/bench/formats.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import zarr

from ppd_lightning.data.shards import write_shard
from ppd_lightning.data.stores import Store, finish_store

SHAPE, UNIT, ROUNDS = (16, 24, 24), 1024, 3
KEY = {"made": "up"}
Read = Callable[[np.ndarray], np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_480)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each round")
    parser.add_argument("--output", type=Path, default=Path("outputs"))
    args = parser.parse_args()
    (args.output / "bench").mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    rows = generator.standard_normal((args.rows, *SHAPE)).astype(np.float16)
    batches = generator.integers(args.rows, size=(1000, args.batch_size))
    rates: dict[str, int] = {}
    with tempfile.TemporaryDirectory(dir=args.output) as folder:
        for name, prepared in FORMATS.items():
            read = prepared(Path(folder) / name, rows)
            np.testing.assert_array_equal(read(batches[0]), rows[batches[0]])
            rates[name] = max(rate(read, batches, args.seconds) for _ in range(ROUNDS))
    report = {"rows": args.rows, "batch_size": args.batch_size, "rows_per_second": rates}
    print(json.dumps(report, indent=2))
    (args.output / "bench/formats.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def rate(read: Read, batches: np.ndarray, seconds: float) -> int:
    begun, done = time.perf_counter(), 0
    while (now := time.perf_counter()) < begun + seconds:
        read(batches[done % len(batches)])
        done += 1
    return round(done * int(batches.shape[1]) / (now - begun))


def npy(path: Path, rows: np.ndarray) -> Read:
    with path.open("wb") as file:
        np.save(file, rows)
    stored = np.load(path, mmap_mode="r")
    return lambda wanted: stored[wanted]


def arrow(path: Path, rows: np.ndarray) -> Read:
    units = {f"{begin:06}": rows[begin : begin + UNIT] for begin in range(0, len(rows), UNIT)}
    for unit, part in units.items():
        write_shard(path, unit, [f"{unit}/{row}" for row in range(len(part))], {"latents": part}, KEY)
    finish_store(path, list(units), KEY, KEY)
    stored = Store.open(path, KEY).arrays["latents"]
    return lambda wanted: stored[wanted]


def lance_table(path: Path, rows: np.ndarray) -> Read:
    flat = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), int(np.prod(SHAPE)))
    lance.write_dataset(pa.table({"latents": flat}), str(path), max_rows_per_file=UNIT)
    stored = lance.dataset(str(path))

    def read(wanted: np.ndarray) -> np.ndarray:
        column = stored.take(wanted.tolist())["latents"].combine_chunks()
        numbers: np.ndarray = column.flatten().to_numpy(zero_copy_only=False)
        return numbers.reshape(-1, *SHAPE)

    return read


def zarr_array(path: Path, rows: np.ndarray) -> Read:
    stored = zarr.create_array(
        str(path), shape=rows.shape, chunks=(16, *SHAPE), shards=(UNIT, *SHAPE), dtype=rows.dtype
    )
    stored[:] = rows
    return lambda wanted: stored.oindex[wanted]


FORMATS: dict[str, Callable[[Path, np.ndarray], Read]] = {
    ".npy": npy,
    "Arrow shards": arrow,
    "Lance": lance_table,
    "zarr": zarr_array,
}


if __name__ == "__main__":
    main()
