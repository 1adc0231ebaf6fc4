"""How fast images are drawn for many users: in one batch, one user at a time, or with a LoRA of each loaded in turn.

    python experiments/bench/sampling.py                          (make bench: the embedded world, on the CPU)
    python experiments/bench/sampling.py --network stage_c_lite   (a GPU: random weights of the released size)

One base, one caption, 32 users with an image each, in three ways that take turns, in one process:

- one batch: the users are rows of a batch.
- one at a time: the same images, a batch for each user.
- a LoRA each: what is done without a user branch. A file of low-rank matrices for the attention of every block, one for
  each user, is read, added to the weights, drawn with and subtracted again. There is no prediction for the base in
  between, so guidance of the user is not possible, and a step costs two forwards instead of three: the figure by
  forwards says what remains of the difference without that.

In the embedded world also the verbs: `ppd generate` and `ppd evaluate` of a short training, from the configuration to
the files, with batches of 64 and of 1. Prints and writes outputs/bench/sampling.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from random_models import MODELS, TINY, Model, marked_backbone, random_network
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ppd_lightning.backbones.backbone import Backbone
from ppd_lightning.backbones.user_branch import UserBranch
from ppd_lightning.commands import embed, evaluate, generate, prepare, train
from ppd_lightning.config.compose import compose
from ppd_lightning.generation.pipeline import Guidance, UserPipeline

RANK = 16
CAPTION = "a red apple"
ATTENTION = (".to_q", ".to_k", ".to_v", ".to_out.0")
Way = Callable[[], object]


class NoiseText:
    """States of a caption where a network of random weights reads them."""

    def __init__(self, model: Model, device: str) -> None:
        self.shapes, self.device = model.text, device

    def __call__(self, captions: list[str]) -> dict[str, Tensor]:
        """Captions (B) to an array (B, ...) for each of the model's."""
        torch.manual_seed(0)
        return {name: torch.randn(1, *shape).expand(len(captions), *shape) for name, shape in self.shapes.items()}


class NoCodec:
    """Latents as they are: the network alone is measured."""

    def encode(self, images: Tensor) -> Tensor:
        """Not needed."""
        return images

    def preview(self, latents: Tensor) -> Tensor:
        """The latents."""
        return latents

    def decode(self, latents: Tensor, conditions: Any, generators: Sequence[torch.Generator]) -> Tensor:
        """The latents."""
        return latents


def random_branch(backbone: Backbone, network: nn.Module, embedding: int) -> UserBranch:
    """One that changes something."""
    torch.manual_seed(0)
    branch = backbone.attach(network, embedding)
    for block in branch.blocks:
        nn.init.normal_(block.get_parameter("to_v.weight"), std=1e-3)
    return branch.eval().requires_grad_(False)


def embedded() -> tuple[UserPipeline, int]:
    """The base that ships, with its codec."""
    config = compose(["experiment=emoji/demo"])
    backbone, width = config.model, 8
    network = backbone.load_network()
    return UserPipeline.of(backbone, network, random_branch(backbone, network, width), image_size=64), width


def made_up(model: Model, device: str, side: int) -> tuple[UserPipeline, int]:
    """Random weights of a released size, without a decoder."""
    backbone = marked_backbone(compose([f"model={model.model}", "model.path=none"]), lambda name: None)
    network = random_network(model, device, torch.bfloat16, backbone)
    branch = random_branch(backbone, network, model.embedding)
    made = UserPipeline(backbone, network, branch, NoCodec(), NoiseText(model, device), image_size=side)
    made.latent_shape = model.latent
    return made, model.embedding


def write_loras(network: nn.Module, folder: Path, users: int) -> list[Path]:
    """A file for each user, in the dtype of the network."""
    folder.mkdir(parents=True)
    generator = torch.Generator().manual_seed(0)
    layers = adapted(network)
    files = []
    for user in range(users):
        tensors: dict[str, Tensor] = {}
        for name, layer in layers.items():
            for part, shape in (("down", (RANK, layer.in_features)), ("up", (layer.out_features, RANK))):
                noise = torch.randn(shape, generator=generator) * 1e-3
                tensors[f"{name}.{part}"] = noise.to(layer.weight.dtype)
        files.append(folder / f"{user}.safetensors")
        save_file(tensors, files[-1])
    return files


def adapted(network: nn.Module) -> dict[str, nn.Linear]:
    """The linear layers of all attention, as a LoRA of a person has them."""
    named = network.named_modules()
    return {name: layer for name, layer in named if isinstance(layer, nn.Linear) and name.endswith(ATTENTION)}


@contextmanager
def worn(network: nn.Module, file: Path, device: str) -> Any:
    """Add a user's LoRA to the weights, and take it away."""
    tensors, layers = load_file(file, device=device), adapted(network)
    for sign in (1, -1):
        for name, layer in layers.items():
            layer.weight.addmm_(tensors[f"{name}.up"], tensors[f"{name}.down"], alpha=sign)
        if sign == 1:
            yield


def timed(way: Way, device: str) -> tuple[float, float]:
    """Seconds by the clock, and of the processor."""
    if device == "cuda":
        torch.cuda.synchronize()
    begun, worked = time.perf_counter(), time.process_time()
    way()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begun, time.process_time() - worked


def compared(pipeline: UserPipeline, width: int, args: argparse.Namespace, device: str) -> dict[str, Any]:
    """Images a second of the three ways, in turn."""
    count, network = args.users, pipeline.network
    users = torch.randn(count, width, generator=torch.Generator().manual_seed(1))
    guidance = Guidance(text=4.0, user=1.0)

    def draw(rows: slice) -> Tensor:
        own = users[rows]
        return pipeline([CAPTION] * len(own), own, [0] * len(own), steps=args.steps, guidance=guidance)

    with tempfile.TemporaryDirectory() as folder:
        files = write_loras(network, Path(folder) / "loras", count)

        def one_lora_each() -> Tensor:
            images = []
            for file in files:
                with torch.no_grad(), worn(network, file, device):
                    images.append(pipeline([CAPTION], None, [0], steps=args.steps, guidance=guidance))
            return torch.cat(images)

        def swaps() -> Tensor:
            for file in files:
                with torch.no_grad(), worn(network, file, device):
                    pass
            return users

        def one_at_a_time() -> Tensor:
            return torch.cat([draw(slice(row, row + 1)) for row in range(count)])

        ways: dict[str, Way] = {
            "one batch": lambda: draw(slice(0, count)),
            "one at a time": one_at_a_time,
            "a LoRA each": one_lora_each,
            "reading the LoRAs alone": swaps,
        }
        draw(slice(0, 2))
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for _ in range(args.rounds):
            for name, way in ways.items():
                taken[name].append(timed(way, device))
        megabytes = files[0].stat().st_size / 1e6
    clock = {name: statistics.median(seconds for seconds, _ in rounds) for name, rounds in taken.items()}
    worked = {name: statistics.median(seconds for _, seconds in rounds) for name, rounds in taken.items()}
    first = clock["one batch"]
    return {
        "users": count,
        "steps": args.steps,
        "images_per_second": {
            name: float(f"{count / seconds:.4g}") for name, seconds in clock.items() if not name.startswith("reading")
        },
        "processor_seconds": {name: round(seconds, 2) for name, seconds in worked.items()},
        "one_batch_over": {name: round(seconds / first, 2) for name, seconds in clock.items() if name != "one batch"},
        "one_batch_over_a_lora_each_by_forwards": round(clock["a LoRA each"] / first * 3 / 2, 2),
        "rounds_one_batch_over": {
            name: [round(one[0] / base[0], 2) for one, base in zip(rounds, taken["one batch"], strict=True)]
            for name, rounds in taken.items()
            if name != "one batch"
        },
        "lora_mb": round(megabytes, 1),
        "weights_of_all_users_mb": round(users.numel() * 4 / 1e6, 4),
    }


def verbs(args: argparse.Namespace) -> dict[str, Any]:
    """`ppd generate` and `ppd evaluate` of the embedded world: seconds and images, in batches of 64 and of 1."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        base = ["experiment=emoji/demo", f"output={folder}", "trainer.max_steps=4", "optimizer.warmup_steps=1"]
        base += ["trainer.progress=false", "evaluation.preference_draws=0", f"evaluation.comparisons={args.users}"]
        base += ["evaluation.others=null", "generation.columns=6", f"trainer.threads={args.threads}"]
        base += [f"generation.steps={args.steps}", "evaluation.seeds=1", "evaluation.bootstrap=10"]
        config = compose(base)
        for verb in (prepare, embed, train):
            verb.run(config)
        for size in (64, 1):
            for seed, verb in enumerate((generate, evaluate)):
                # Other images each time: those that are there are not drawn again.
                steps = f"generation.steps={args.steps + (0 if size == 64 else 1)}"
                config = compose([*base, steps, f"generation.batch_size={size}", f"generation.seeds=[{seed}]"])
                before = len(list(Path(folder).rglob("*.png")))
                seconds, _ = timed(partial(verb.run, config), "cpu")
                images = len(list(Path(folder).rglob("*.png"))) - before
                name = f"ppd {verb.__name__.rpartition('.')[2]}, {size} at once"
                rate = float(f"{images / seconds:.3g}")
                found[name] = {"images": images, "seconds": round(seconds, 1), "images_per_second": rate}
    return found


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=list(MODELS), help="on a GPU, instead of the embedded world")
    parser.add_argument("--users", type=int, default=32)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tiny", action="store_true", help="a small --network on the CPU: tries the benchmark out")
    parser.add_argument("--without-verbs", action="store_true")
    parser.add_argument("--output", type=Path, default=Path("outputs"))
    args = parser.parse_args(arguments)
    device = "cuda" if args.network and not args.tiny else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        print("sampling.py: no GPU here, nothing measured; --tiny tries the benchmark out on the CPU")
        return
    if device == "cpu":
        torch.set_num_threads(args.threads)
    models = TINY if args.tiny else MODELS
    made = made_up(models[args.network], device, 768) if args.network else embedded()
    report: dict[str, Any] = {"network": args.network or "embedded world", "threads": torch.get_num_threads()}
    report["device"] = torch.cuda.get_device_name() if device == "cuda" else "cpu"
    report |= compared(*made, args, device)
    if not args.network and not args.without_verbs:
        report["verbs"] = verbs(args)
    folder = args.output / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(report, indent=2)
    print(text)
    (folder / "sampling.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
