"""How fast a vision-language model writes profiles, and what of them depends on how many are written at once.

    python experiments/bench/vlm.py --path FOLDER                            (a GPU; by hand, for it needs the weights)
    python experiments/bench/vlm.py --path FOLDER --device cpu --sets 1 --batches 1 --tokens 16       (minutes, 8 GB)

FOLDER holds LLaVA-OneVision in the layout of transformers (`ppd doctor user=vlm` says where it is from). Sets of four
pairs of random 512 x 512 pictures, with the same seeds at each batch size. `equal` is the share of the answers that are
those of the first batch size, letter by letter. Prints a table and writes outputs/bench/vlm.json.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ppd_lightning.users.vlm_prompts import PromptPair
from ppd_lightning.users.vlm_writer import Profile, ProfileWriter

SHOTS, SIDE = 4, 512


def random_shots(seed: int) -> list[PromptPair]:
    """Four pairs of smooth random pictures."""
    generator = np.random.default_rng(seed)

    def picture() -> Image.Image:
        return Image.fromarray(generator.integers(0, 256, (8, 8, 3), np.uint8)).resize((SIDE, SIDE))

    return [PromptPair(f"thing {number}", (picture(), picture()), 2 if number % 2 else 1) for number in range(SHOTS)]


def measured(writer: ProfileWriter, sets: list[list[PromptPair]], batch: int) -> tuple[float, list[Profile]]:
    """Seconds for all sets, and their profiles."""
    begun, found = time.perf_counter(), []
    for begin in range(0, len(sets), batch):
        numbers = range(begin, min(begin + batch, len(sets)))
        found += writer.profiles([sets[number] for number in numbers], list(numbers))
    return time.perf_counter() - begun, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--path", required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", choices=("bfloat16", "float32"))
    parser.add_argument("--sets", type=int, default=32)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 8, 16])
    parser.add_argument("--tokens", type=int, default=512)
    args = parser.parse_args()
    dtype = getattr(torch, args.dtype or ("float32" if args.device == "cpu" else "bfloat16"))
    writer = ProfileWriter(
        args.path, args.device, dtype, position="last_profile_token", layer=-1, max_new_tokens=args.tokens
    )
    sets = [random_shots(seed) for seed in range(args.sets)]
    if args.device == "cuda":
        writer.profiles(sets[:1], [0])  # what is loaded and tuned once is not counted
    lines: list[dict[str, Any]] = []
    first: list[Profile] = []
    print("batch  sets/s  seconds/set  peak GB  with profile  equal")
    for batch in args.batches:
        if args.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        seconds, found = measured(writer, sets, batch)
        first = first or found
        peak = torch.cuda.max_memory_allocated() / 1e9 if args.device == "cuda" else None
        lines.append(
            {
                "batch": batch,
                "sets_per_second": len(sets) / seconds,
                "seconds_per_set": seconds / len(sets),
                "peak_gb": peak,
                "with_profile": sum(one.text is not None for one in found) / len(sets),
                "equal": sum(one.answer == other.answer for one, other in zip(found, first, strict=True)) / len(sets),
            }
        )
        print("  ".join("-" if value is None else f"{value:.4g}" for value in lines[-1].values()), flush=True)
    report = {"path": args.path, "dtype": str(dtype), "sets": args.sets, "tokens": args.tokens, "lines": lines}
    out = Path("outputs/bench/vlm.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
