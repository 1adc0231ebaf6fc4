"""What scoring images costs beside the vision tower alone: images/s of the path of `ppd label` over the bare tower's.

    python experiments/bench/rewards.py                                                             (make bench)
    python experiments/bench/rewards.py --device cuda --architecture ViT-H-14 --images 16384 --workers 14

Random weights of any of open_clip's architectures, as a reward in its own layout; the speed does not depend on their
values. The path: workers read 1024x1024 JPEGs of about 160 KB from parquet files of Pick-a-Pic's schema, decode them
and bring them to what the tower sees; the tower encodes them; the features are stored. The bare tower: batches of the
same size that lie normalised on the device. In turn, in one process, with the network loaded before. On a CPU the ratio
of the process's own seconds (`processor`, workers not counted) tells more where others work beside. A worker takes
1,024 images at a time, so use at least as many times 1,024 images as workers. Everything is made up in a temporary
folder under --output and removed at the end: 160 KB an image. Prints and writes outputs/bench/rewards.json.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import open_clip
import torch
from preparing import ROWS_A_GROUP, pictures, write
from safetensors.torch import save_file

from ppd_lightning.commands import prepare
from ppd_lightning.config.compose import compose
from ppd_lightning.config.root import Config
from ppd_lightning.config.workspace import Workspace
from ppd_lightning.data.images import BATCH
from ppd_lightning.rewards.open_clip import OpenClipReward
from ppd_lightning.rewards.open_clip_model import CONFIG, FILES
from ppd_lightning.rewards.reward import open_rewards
from ppd_lightning.rewards.scoring import Scorer

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--architecture", default="ViT-B-32")
    parser.add_argument("--precision", choices=DTYPES, help="default: bf16 on a GPU, else fp32")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path("outputs"))
    args = parser.parse_args()
    precision = args.precision or ("fp32" if args.device == "cpu" else "bf16")
    (args.output / "bench").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=args.output) as temporary:
        folder = Path(temporary)
        model = random_model(folder / "model", args.architecture)
        config = prepared(folder, args.images, args.workers, model)
        (reward,) = open_rewards(config.rewards, args.device, DTYPES[precision]).values()
        assert isinstance(reward, OpenClipReward)
        bare(reward, BATCH), reward.fingerprint()  # loads and warms up
        figures = [{"bare": bare(reward, args.images), "path": path(config, reward)} for _ in range(args.rounds)]
    report: dict[str, Any] = {
        of: {
            "images_per_second": {
                key: round(statistics.median(one[key][of] for one in figures), 2) for key in figures[0]
            },
            "path_over_bare": round(statistics.median(one["path"][of] / one["bare"][of] for one in figures), 3),
            "ratios": [round(one["path"][of] / one["bare"][of], 3) for one in figures],
        }
        for of in ("wall", "processor")
    }
    report |= {
        "device": torch.cuda.get_device_name(args.device) if args.device.startswith("cuda") else args.device,
        "threads": torch.get_num_threads(),
        **{name: getattr(args, name) for name in ("architecture", "images", "workers")},
        "precision": precision,
        "batch_size": BATCH,
    }
    (args.output / "bench/rewards.json").write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))


def random_model(folder: Path, architecture: str) -> Path:
    """A folder in open_clip's layout."""
    folder.mkdir()
    config: dict[str, Any] = {"model_cfg": open_clip.get_model_config(architecture), "preprocess_cfg": {}}
    (folder / CONFIG).write_text(json.dumps(config))
    network = open_clip.create_model(architecture)
    save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, folder / FILES[0])
    return folder


def prepared(folder: Path, images: int, workers: int, model: Path) -> Config:
    """A prepared source of so many images and pairs, and a configuration that scores them with the model."""
    jpegs = pictures(1024)
    for first in range(0, images, ROWS_A_GROUP):
        rows = range(first, min(first + ROWS_A_GROUP, images))
        write(folder / f"source/{first:07}.parquet", jpegs, rows, ROWS_A_GROUP, users=max(1, images // 100))
    config = compose(
        [
            "data=pickapic",
            "mode=synthetic",
            "reward=[clip]",
            f"rewards.clip.weights.model={model}",
            f"data.root={folder / 'source'}",
            "data.image_size=16",
            f"data.workers={workers}",
            f"output={folder / 'out'}",
        ]
    )
    prepare.run(config)
    return config


def bare(reward: OpenClipReward, images: int) -> dict[str, float]:
    """Images a second of the tower alone."""
    size = reward.model.transform.config.size
    pixels = torch.randint(0, 256, (BATCH, 3, size, size), dtype=torch.uint8)
    seen = reward.model.transform.normalise(pixels, reward.device, reward.dtype)
    tower = reward.network.get_submodule("visual")
    begun = clocks()
    with torch.no_grad():
        for first in range(0, images, BATCH):
            tower(seen[: images - first])
    if reward.device.type == "cuda":
        torch.cuda.synchronize(reward.device)
    return rates(images, begun)


def path(config: Config, reward: OpenClipReward) -> dict[str, float]:
    """Images a second of filling the reward's store, from the start of the workers to the last byte on disk."""
    workspace = Workspace(config)
    for stored in workspace.data.folder.glob("reward-*"):
        shutil.rmtree(stored)
    scored = workspace.data.images_table(("image_id", "caption"))
    begun = clocks()
    Scorer(workspace.data, {"clip": reward}, scored, workers=workspace.source.workers).prepare()
    return rates(len(scored), begun)


def clocks() -> dict[str, float]:
    return {"wall": time.perf_counter(), "processor": time.process_time()}


def rates(images: int, begun: dict[str, float]) -> dict[str, float]:
    """Images a second since then, by each clock."""
    return {of: images / (now - begun[of]) for of, now in clocks().items()}


if __name__ == "__main__":
    main()
