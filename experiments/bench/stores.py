"""What reading prepared data costs: pairs/s from the stores on one core, and opening a table of a million pairs.

    python experiments/bench/stores.py          (make bench)

Gathering: the data module's own batches, from stores of 200,000 images (latents 16x24x24 fp16), of captions (text
states 77x1280 and pooled 1280, fp16) and of users (3584 fp16), whose files lie in the page cache; one core, one thread.
Opening: the table alone, and all of the data module's set-up, each in a process of its own; the stores have all their
ids but rows of one number, as opening reads no rows. Everything is made up in a temporary folder under --output and
removed at the end: about 4 GB, and 0.2 GB for every 1,000 captions; Pick-a-Pic's own number is --captions 60000.
Prints and writes outputs/bench/stores.json.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from ppd_lightning.config.compose import compose
from ppd_lightning.config.root import Config
from ppd_lightning.config.workspace import Workspace
from ppd_lightning.data.pairs import write_pairs
from ppd_lightning.data.shards import write_shard
from ppd_lightning.data.stores import Store, finish_store
from ppd_lightning.data.tables import write_table
from ppd_lightning.training.data_module import TrainingStream
from ppd_lightning.training.examples import EXAMPLE_COLUMNS, Examples
from ppd_lightning.training.groupings import Groupings
from ppd_lightning.users.rows import UserRows

UNIT = 1024
USERS, GROUPINGS, SHOTS = 4000, 5, 4
KEY = {"made": "up"}
FULL = {"latents": (16, 24, 24), "text": (77, 1280), "text_pooled": (1, 1280), "embedding": (3584,)}
ONE_NUMBER: dict[str, tuple[int, ...]] = dict.fromkeys(FULL, (1,))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200_000)
    parser.add_argument("--captions", type=int, default=6_000)
    parser.add_argument("--pairs", type=int, default=1_000_000)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[16, 256])
    parser.add_argument("--seconds", type=float, default=6.0, help="for each batch size")
    parser.add_argument("--output", type=Path, default=Path("outputs"))
    args = parser.parse_args()
    (args.output / "bench").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=args.output) as folder:
        report = {
            "opening": opening(Path(folder) / "opening", args.pairs),
            "gathering": apart(
                gathering, Path(folder) / "gathering", args.images, args.captions, args.batch_sizes, args.seconds
            ),
        }
    (args.output / "bench/stores.json").write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))


def gathering(folder: Path, images: int, captions: int, batch_sizes: list[int], seconds: float) -> dict[str, Any]:
    """Pairs a second on one core, for batches of each size."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    begun = time.perf_counter()
    config = made_up(folder, pairs=100_000, images=images, captions=captions, shapes=FULL)
    report = {"images": images, "captions": captions, "seconds_to_write": round(time.perf_counter() - begun, 1)}
    read_every_byte(folder)
    examples = opened(config)
    rates = {str(size): pairs_per_second(TrainingStream(examples, size, 0, 1, 0, 1), seconds) for size in batch_sizes}
    return report | {"pairs_per_second_by_batch_size": rates}


def pairs_per_second(stream: TrainingStream, seconds: float) -> dict[str, int]:
    rates: list[float] = []
    steps = max(1, 512 // stream.batch_size)
    deadline = time.perf_counter() + seconds
    while time.perf_counter() < deadline:
        begun = time.perf_counter()
        for step in range(steps):
            stream.batch(len(rates) * steps + step)
        rates.append(steps * stream.batch_size / (time.perf_counter() - begun))
    return {"median": round(float(np.median(rates))), "best": round(max(rates))}


def opening(folder: Path, pairs: int) -> dict[str, Any]:
    """The table alone, and all of the data module's set-up."""
    made_up(folder, pairs=pairs, images=pairs, captions=min(60_000, pairs // 16), shapes=ONE_NUMBER)
    parts = {"table": read_table, "setup": opened}
    return {"pairs": pairs, **{name: apart(open_once, folder, part) for name, part in parts.items()}}


def open_once(folder: Path, part: Callable[[Config], pa.Table | Examples]) -> dict[str, float]:
    """Seconds, and what it adds to the memory of a process that has imported everything: while it lasts, and after."""
    config, before = configuration(folder), memory("VmRSS")
    begun, computed = time.perf_counter(), time.process_time()
    result = part(config)
    seconds, processor = time.perf_counter() - begun, time.process_time() - computed
    after, peak = memory("VmRSS"), memory("VmHWM")
    return {
        "rows": len(result),
        "seconds": round(seconds, 2),
        "processor_seconds": round(processor, 2),
        "mb_peak": round(peak - before),
        "mb_after": round(after - before),
    }


def read_table(config: Config) -> pa.Table:
    return Workspace(config).data.read_pairs()


def opened(config: Config) -> Examples:
    """What `PreferenceDataModule.setup` makes of a folder."""
    table, folder = read_table(config), Path(config.output)
    latents, text, users = (Store.open(folder / name, KEY) for name in ("latents", "text", "users"))
    names = tuple(row.rsplit("/", 1)[0] for row in users.ids.to_pylist())
    rows = UserRows(names, users.arrays["embedding"], users.arrays["shots"][:])
    groupings = Groupings(rows, table)
    table = table.select(EXAMPLE_COLUMNS).filter(pc.is_in(table["split"], pa.array(["train", "validation"])))
    examples = Examples(table, latents, text, rows.embeddings, groupings, config.seed)
    return examples.part(np.asarray(pc.equal(table["split"], "train")))


def configuration(folder: Path) -> Config:
    return compose(["data=pickapic", "data.image_size=64", f"data.root={folder}", f"output={folder}"])


def made_up(folder: Path, *, pairs: int, images: int, captions: int, shapes: dict[str, tuple[int, ...]]) -> Config:
    """Pairs of the long-tailed people of Pick-a-Pic and every store they need."""
    folder.mkdir(parents=True)
    config, generator = configuration(folder), np.random.default_rng(0)
    image_ids = np.array([f"{number:08x}-0000-4000-8000-{number:012x}" for number in range(images)])
    caption_ids = np.array([f"{number:016x}" for number in range(captions)])
    texts = np.array(
        [f"{number} a photograph of one of the many things that people ask for" for number in range(captions)]
    )
    caption = generator.integers(captions, size=pairs)
    # Every caption has its own images, so that those of the tests are in no other split.
    own = images // captions
    first = generator.integers(own, size=pairs)
    second = (first + generator.integers(1, own, size=pairs)) % own
    person = np.minimum(generator.pareto(1.0, size=pairs) * 40, USERS - 1).astype(np.int64)
    held_out, unseen = caption % 50 == 0, person % 20 == 0
    split = np.where(held_out, np.where(unseen, "test_unseen", "test_seen"), np.where(unseen, "shots", "train"))
    pair = generator.integers(2**63, size=pairs).astype(np.uint64)
    table = pa.table(
        {
            "pair_id": [f"{number:016x}" for number in pair.tolist()],
            "user_id": person.astype(str),
            "caption_id": caption_ids[caption],
            "caption": texts[caption],
            "preferred": image_ids[caption * own + first],
            "dispreferred": image_ids[caption * own + second],
            "split": split,
        }
    )
    data = Workspace(config).data
    write_table(data.images_path, pa.table({"image_id": image_ids[:1]}), {"images": "made up"})
    write_pairs(data.pairs_path, table, data.pairs_key())
    write_units(folder / "latents", image_ids, {"latents": shapes["latents"]})
    write_units(
        folder / "text", caption_ids, {name: shape for name, shape in shapes.items() if name.startswith("text")}
    )
    ids = pair.view(np.int64)[np.argsort(person, kind="stable")]
    own_pairs = np.split(ids, np.cumsum(np.bincount(person, minlength=USERS))[:-1])
    shots = [generator.choice(own, SHOTS) for own in own_pairs if len(own) for _ in range(GROUPINGS)]
    people = [f"{user}/{number}" for user, own in enumerate(own_pairs) if len(own) for number in range(GROUPINGS)]
    write_units(folder / "users", np.array(people), {"embedding": shapes["embedding"]}, {"shots": np.array(shots)})
    return config


def write_units(
    folder: Path, ids: np.ndarray, shapes: dict[str, tuple[int, ...]], others: dict[str, np.ndarray] | None = None
) -> None:
    """A store of noise in units; every unit has the same noise."""
    generator = np.random.default_rng(0)
    rows = min(UNIT, len(ids))
    block = {name: generator.standard_normal((rows, *shape), np.float32) for name, shape in shapes.items()}
    block = {name: array.astype(np.float16) for name, array in block.items()}
    units = []
    for begin in range(0, len(ids), UNIT):
        listed = ids[begin : begin + UNIT].tolist()
        arrays = {name: array[: len(listed)] for name, array in block.items()}
        arrays |= {name: array[begin : begin + UNIT] for name, array in (others or {}).items()}
        units.append(f"{begin:08}")
        write_shard(folder, units[-1], listed, arrays, KEY)
    finish_store(folder, units, KEY, KEY)


def read_every_byte(folder: Path) -> None:
    for path in folder.rglob("*.arrow"):
        with path.open("rb") as file:
            while file.read(2**24):
                pass


def memory(name: str) -> float:
    """Megabytes of this process in memory, shared and mapped pages included: VmRSS now, VmHWM at most."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) / 1024


def apart(function: Callable[..., Any], *args: Any) -> Any:
    """The function's result, from a fresh process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, args)


if __name__ == "__main__":
    main()
