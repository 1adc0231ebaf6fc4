"""Is a base good? Draw every concept over fresh seeds and ask the judges.

    python experiments/emoji/base/gate.py
    python experiments/emoji/base/gate.py --model emoji_flow

Writes gate.json (concept top-1 among the world's concepts, on generated pictures and on the codec's reconstructions of
real ones; share of each style) and grid.png (a caption a row, a seed a column) beside this file; for the flow model
gate_flow.json and grid_flow.png.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
from make import pictures

from ppd_lightning.config.compose import compose
from ppd_lightning.generation.grid import as_pictures, draw_grid
from ppd_lightning.generation.pipeline import Guidance, UserPipeline
from ppd_lightning.worlds.emoji.concepts import shipped_concepts
from ppd_lightning.worlds.emoji.judges import load_judge
from ppd_lightning.worlds.emoji.pictures import STYLES

GATE = 0.85


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="emoji", help="emoji, emoji_flow, or one of the options in --config-dir")
    parser.add_argument("--config-dir", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--work", type=Path, default=Path("outputs/base"))
    parser.add_argument("--concepts", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--rows", type=int, default=24)
    args = parser.parse_args()
    begun = time.monotonic()

    concepts = shipped_concepts(args.concepts)
    model = compose([f"model={args.model}"], args.config_dir).model
    pipeline = UserPipeline.of(model, model.load_network(), None, image_size=64)
    guidance = Guidance(text=args.guidance)
    drawn = torch.stack(
        [
            pipeline(concepts, None, [10_000 + seed] * len(concepts), steps=args.steps, guidance=guidance)
            for seed in range(args.seeds)
        ],
        dim=1,
    )  # (K, seeds, 3, 64, 64)

    judge, style_judge = load_judge("concepts"), load_judge("pixels")
    columns = [judge.labels.index(name) for name in concepts]

    def top1(images: torch.Tensor) -> torch.Tensor:
        """(K, n, 3, 64, 64) to whether each is taken for its concept, (K, n)."""
        guesses = judge.probabilities(images.flatten(0, 1))[:, columns].argmax(1).view(images.shape[:2])
        return (guesses == torch.arange(len(concepts))[:, None]).float()

    names, real = pictures(args.work)
    own = real[[names.index(name) for name in concepts]].float() / 255
    codec = model.load_codec()
    painted = torch.stack([codec.preview(codec.encode(styles)) for styles in own])
    right = top1(drawn)
    styles = style_judge.probabilities(drawn.flatten(0, 1))
    shares = torch.bincount(styles.argmax(1), minlength=len(STYLES)) / len(styles)
    report = {
        "concept_top1": round(right.mean().item(), 4),
        "gate": GATE,
        "images": right.numel(),
        "concept_top1_of_real": round(top1(own).mean().item(), 4),
        "concept_top1_of_reconstructions": round(top1(painted).mean().item(), 4),
        "style_shares": {style: round(share.item(), 4) for style, share in zip(STYLES, shares, strict=True)},
        "style_certainty": round(styles.amax(1).mean().item(), 4),
        "weakest": {concepts[k]: round(right[k].mean().item(), 3) for k in right.mean(1).argsort()[:12].tolist()},
        "steps": args.steps,
        "guidance": args.guidance,
        "seconds": round(time.monotonic() - begun, 1),
    }
    args.out.mkdir(parents=True, exist_ok=True)
    suffix = args.model.removeprefix("emoji")
    (args.out / f"gate{suffix}.json").write_text(json.dumps(report, indent=2) + "\n")
    rows = list(range(0, len(concepts), max(1, len(concepts) // args.rows)))[: args.rows]
    names = [f"seed {seed}" for seed in range(args.seeds)]
    grid = draw_grid(as_pictures(drawn[rows]), [concepts[k] for k in rows], names, cell=72)
    grid.save(args.out / f"grid{suffix}.png")
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
