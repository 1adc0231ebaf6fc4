"""Train the embedded world's own image-text model and write it into the shipped folder, in open_clip's layout.

    python experiments/emoji/base/image_text.py

A small `open_clip.CLIP` (a ResNet of open_clip's for the pictures, one transformer layer for the captions) learns with
CLIP's own loss which name belongs to which picture, from every concept that all four vendors of the world draw. It sees
the pictures as a generator would spoil them (`judges.spoilt`). `image_text.json` gets how well it finds the caption of
a picture and the picture of a caption, on pictures of a fifth vendor (Noto Emoji, Apache-2.0) that it never saw.

B = batch, K = concepts, S = styles.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import open_clip
import torch
from judges import moved, spoilt
from make import SHIPPED, SIZE, pictures
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from ppd_lightning.worlds.emoji.codec import EmojiCodec
from ppd_lightning.worlds.emoji.concepts import shipped_concepts
from ppd_lightning.worlds.emoji.pictures import STYLES, codes_by_name, draw_iconify
from ppd_lightning.worlds.emoji.vendors import Package, fetch_packages

RESULTS = Path(__file__).with_name("image_text.json")
UNSEEN = Package(
    "@iconify-json/noto",
    "1.2.9",
    "sha512-DQiuXENbun41ch+XPSV55H9FaWKpHTyz46YIKtSaKYD4fIDDzL1tR6H4np/T38jfrTAeI3rcKF0mqHYeZVAuaw==",
    "Apache-2.0",
    "Noto Emoji by Google (github.com/googlefonts/noto-emoji)",
)
"""Drawn for the check alone."""

MODEL = {
    "embed_dim": 48,
    "vision_cfg": {"image_size": SIZE, "layers": [1, 1, 1, 1], "width": 12},
    # The table of 49,408 tokens is most of the weights, so it is narrow.
    "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 24, "heads": 2, "layers": 1},
}
PREPROCESS = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "interpolation": "bicubic", "resize_mode": "shortest"}


def seen(images: Tensor) -> Tensor:
    """Images in [0, 1] as the network takes them."""
    mean, std = (torch.tensor(PREPROCESS[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    return (images - mean) / std


def spoilt_pictures(drawn: Tensor, codec: EmojiCodec, copies: int, generator: torch.Generator) -> Tensor:
    """The pictures (K, S, 3, H, W) uint8 and `copies` spoilt ones of each, (K, S (1 + copies), 3, H, W) uint8."""
    made = [drawn]
    for _ in range(copies):
        for style in range(drawn.shape[1]):
            others = drawn[:, torch.randint(drawn.shape[1], (), generator=generator)]
            parts = [
                spoilt(image / 255, other / 255, codec, False, generator)
                for image, other in zip(drawn[:, style].split(64), others.split(64), strict=True)
            ]
            made.append((255 * torch.cat(parts)).round().to(torch.uint8)[:, None])
    return torch.cat(made, dim=1)


def train(model: CLIP, drawn: Tensor, tokens: Tensor, codec: EmojiCodec, args: argparse.Namespace) -> dict[str, Any]:
    """CLIP's loss over batches in which no concept comes twice; drawn: (K, S, 3, H, W) uint8."""
    began, generator = time.monotonic(), torch.Generator().manual_seed(args.seed)
    with torch.no_grad():
        drawn = spoilt_pictures(drawn, codec, args.copies, generator)
    spoiling = round(time.monotonic() - began)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, betas=(0.9, 0.98), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, args.lr, total_steps=args.steps, pct_start=0.1)
    target, begun, running = torch.arange(args.batch), time.monotonic(), 0.0
    model.train()
    for step in range(args.steps):
        concept = torch.randperm(len(drawn), generator=generator)[: args.batch]
        picture = torch.randint(drawn.shape[1], (args.batch,), generator=generator)
        images = moved(drawn[concept, picture] / 255, 0.7, generator)
        image, text, scale = model(seen(images), tokens[concept])
        logits = scale * image @ text.T
        loss = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(100))
        running = 0.98 * running + 0.02 * loss.item() if step else loss.item()
        if (step + 1) % 50 == 0:
            print(f"step {step + 1} loss {running:.4f} {time.monotonic() - begun:.0f} s", flush=True)
    return {
        "steps": args.steps,
        "loss": round(running, 4),
        "seconds": round(time.monotonic() - begun),
        "seconds spoiling": spoiling,
    }


@torch.no_grad()
def retrieval(model: CLIP, images: Tensor, tokens: Tensor) -> dict[str, float]:
    """Shares of K images (K, 3, H, W) uint8 and K captions (K, L) that find each other among all K."""
    image = torch.cat([model.encode_image(seen(part / 255), normalize=True) for part in images.split(64)])
    likeness = image @ model.encode_text(tokens, normalize=True).T  # (K, K)
    own = likeness.diagonal()
    found = {}
    for name, others in (("caption of a picture", likeness), ("picture of a caption", likeness.T)):
        rank = (others > own[:, None]).sum(1)
        found |= {name: round((rank < 1).double().mean().item(), 4)}
        found |= {f"{name}, among the first 5": round((rank < 5).double().mean().item(), 4)}
    found["mean 100 cos, own caption"] = round(100 * own.mean().item(), 2)
    found["mean 100 cos, another's"] = round(
        100 * ((likeness.sum() - own.sum()) / (len(own) ** 2 - len(own))).item(), 2
    )
    return found


def check(model: CLIP, names: list[str], drawn: Tensor, tokens: Tensor, args: argparse.Namespace) -> dict[str, Any]:
    """Retrieval on the unseen vendor's pictures and on the trained ones, among all concepts and among the world's."""
    model.eval()
    files = fetch_packages(args.work / "packages")
    noto = fetch_packages(args.work / "packages", {"noto": UNSEEN})["noto"]
    codes = codes_by_name(files["names"])
    unseen = draw_iconify(noto, [codes[name] for name in names], SIZE)
    known = [row for row, name in enumerate(names) if codes[name] in unseen]
    foreign = torch.stack([torch.from_numpy(unseen[codes[names[row]]]).permute(2, 0, 1) for row in known])
    world = set(shipped_concepts(args.concepts))
    inside = [index for index, row in enumerate(known) if names[row] in world]
    results: dict[str, Any] = {}
    for title, places in ((f"all {len(known)} concepts", list(range(len(known)))), ("the world's", inside)):
        rows = [known[place] for place in places]
        results[f"unseen vendor (noto), {title}"] = retrieval(model, foreign[places], tokens[rows])
        for style, vendor in enumerate(STYLES):
            results[f"trained vendor ({vendor}), {title}"] = retrieval(model, drawn[rows, style], tokens[rows])
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=1300)
    parser.add_argument("--copies", type=int, default=5, help="of each picture, spoilt")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--concepts", type=int, default=100, help="of the world, for the check")
    parser.add_argument("--work", type=Path, default=Path("outputs/base"))
    parser.add_argument("--folder", type=Path, default=SHIPPED / "clip")
    args = parser.parse_args()
    names, drawn = pictures(args.work)
    tokens = open_clip.SimpleTokenizer(context_length=MODEL["text_cfg"]["context_length"])(names)
    torch.manual_seed(args.seed)
    vision, text = CLIPVisionCfg(**MODEL["vision_cfg"]), CLIPTextCfg(**MODEL["text_cfg"])
    model = CLIP(embed_dim=MODEL["embed_dim"], vision_cfg=vision, text_cfg=text)
    codec = EmojiCodec.from_pretrained(SHIPPED / "codec", torch_dtype=torch.float32).eval()
    done = train(model, drawn, tokens, codec, args)
    args.folder.mkdir(parents=True, exist_ok=True)
    weights = {
        name: part.to(torch.float16 if part.is_floating_point() else part.dtype).contiguous()
        for name, part in model.state_dict().items()
    }
    save_file(weights, args.folder / "open_clip_model.safetensors", {"format": "pt"})
    config = {"model_cfg": MODEL, "preprocess_cfg": PREPROCESS}
    (args.folder / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n")
    model.load_state_dict(weights)  # what is measured is what was written
    settings = {key: value for key, value in vars(args).items() if isinstance(value, int | float)}
    results = {
        "command": "python experiments/emoji/base/image_text.py",
        "settings": settings,
        "training": done
        | {"threads": torch.get_num_threads(), "concepts": len(names), "pictures": drawn[:, :, 0, 0, 0].numel()},
        "weights": sum(part.numel() for part in model.parameters()),
        "bytes": (args.folder / "open_clip_model.safetensors").stat().st_size,
        "retrieval": check(model, names, drawn, tokens, args),
    }
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
