"""How fast the training step of full-size networks is, and what it takes: ten minutes on a GPU, the best lines first.

    python experiments/bench/stage_c.py --seconds 540              (a GPU; within `make bench`)
    python experiments/bench/stage_c.py --only 'ours stored' --networks stage_c_lite --pairs 16
    python experiments/bench/stage_c.py --tiny                     (any CPU, a minute: tries all of this out)
    python experiments/bench/stage_c.py --device cpu --networks stage_c_lite --only plain --pairs 1        (an hour)

Random weights of the released sizes, in bf16 (fp32 on a CPU). A line is one way of making the step of one network with
so many pairs at once. `plain` is the loop that published Diffusion-DPO scripts write, with a second copy of the network
and AdamW as it comes; `ours` is the product's step: its module, its data module's batches and their way to the device,
fused AdamW. `ppd train` is the product's whole loop. A line begins only while there is time for it, and is in
outputs/bench/stage_c.json as soon as it ends; what was left out is named there with the reason.

Of each line: pairs/s, the shares of the data sheet's peak and of what a matrix product reaches here, memory, the
milliseconds of reference, policy, backward and the rest, seconds of the first step (which compiles), the loss of a new
branch, which is ln 2, and `noise`, the largest logit of a new branch with gradients on, which is 0 where policy and
reference round alike.
"""

from __future__ import annotations

import argparse
import json
import math
import time
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from plan import BASE, BEGUN, PLAN, WAYS, Line
from random_models import MODELS, TINY, Flops, MadeUpData, flops_a_pair, made_up_data, marked_backbone
from steps import Bench, Clock, Ours, first_batches, freed, plain_step, timed, trained

from ppd_lightning.config.compose import compose
from ppd_lightning.config.root import Config
from ppd_lightning.errors import UserError

PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40S": 362e12, "RTX 4090": 165e12}
"""Dense bf16 multiplications and additions a second, by data sheet."""


class Report:
    """What is known so far, in outputs/bench/stage_c.json after each line."""

    def __init__(self, folder: Path, facts: dict[str, Any]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.file = folder / "stage_c.json"
        self.values: dict[str, Any] = {**facts, "lines": [], "left_out": []}
        self.write(facts)

    def write(self, newest: Any) -> None:
        """Print the newest, and write all."""
        print(json.dumps(newest), flush=True)
        self.file.write_text(json.dumps(self.values, indent=2) + "\n", encoding="utf-8")

    def add(self, line: dict[str, Any]) -> None:
        """A line that was measured."""
        self.values["lines"].append(line)
        self.write(line)

    def leave_out(self, line: Line, why: str) -> None:
        """A line that was not."""
        left = {"network": line.network, "way": line.way, "pairs": line.pairs, "left_out": why}
        self.values["left_out"].append(left)
        self.write(left)

    def conclude(self) -> None:
        """Ours over the plain loop, at equal pairs and the best of each."""
        rates = {
            (line["network"], line["way"], line["pairs"]): line["pairs_per_second"]
            for line in self.values["lines"]
            if line.get("pairs_per_second")
        }
        plain = {(network, pairs): rate for (network, way, pairs), rate in rates.items() if way == "plain"}
        over = {
            f"{network}, {way}, {pairs}": round(rate / plain[network, pairs], 3)
            for (network, way, pairs), rate in rates.items()
            if way != "plain" and (network, pairs) in plain
        }
        best: dict[str, dict[str, float]] = {}
        for (network, way, _), rate in rates.items():
            kind = best.setdefault(network, {})
            name = "plain" if way == "plain" else "ours"
            kind[name] = max(kind.get(name, 0.0), rate)
        self.values["over_plain"] = over
        self.values["best_over_plain"] = {
            network: round(kind["ours"] / kind["plain"], 3) for network, kind in best.items() if len(kind) == 2
        }
        self.values["seconds"] = round(time.monotonic() - BEGUN, 1)
        self.write({name: self.values[name] for name in ("over_plain", "best_over_plain", "seconds")})


class Measuring:
    """Makes lines, and what several of them share: prepared data and the arithmetic of a network."""

    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        self.args, self.folder = args, folder
        self.models = TINY if args.tiny else MODELS
        self.device = "cpu" if args.tiny else args.device
        self.dtype = torch.bfloat16 if args.tiny or self.device == "cuda" else torch.float32
        self.data: dict[str, MadeUpData] = {}
        self.made = ExitStack()
        self.flops: dict[str, Flops] = {}
        self.matmul = matmul_flops(self.device, self.dtype)

    def facts(self) -> dict[str, Any]:
        """What it is measured on."""
        found: dict[str, Any] = {"torch": torch.__version__, "dtype": str(self.dtype), "device": self.device}
        if self.device == "cuda":
            total = torch.cuda.get_device_properties(0).total_memory
            found |= {"device": torch.cuda.get_device_name(), "memory_gb": round(total / 1e9, 1)}
            found["copy_gb_per_second"] = round(copy_rate() / 1e9)
        found |= {"matmul_tflops": round(self.matmul / 1e12, 2), "peak_tflops": self.peak and self.peak / 1e12}
        return found | {"tiny": self.args.tiny, "ready_after_seconds": round(time.monotonic() - BEGUN, 1)}

    @property
    def peak(self) -> float | None:
        """Of the data sheet; None of a card that is not among PEAKS."""
        name = torch.cuda.get_device_name() if self.device == "cuda" else ""
        return next((peak for part, peak in PEAKS.items() if part in name), None)

    def config(self, line: Line) -> Config:
        """Of a line."""
        model, parts = self.models[line.network].model, 4 if line.way.startswith("ppd train") else 1
        sizes = [f"trainer.batch_size={parts * line.pairs}", f"trainer.micro_batch_size={line.pairs}"]
        where = [
            f"trainer.accelerator={'gpu' if self.device == 'cuda' else 'cpu'}",
            f"trainer.precision={'bf16' if self.dtype == torch.bfloat16 else 'fp32'}",
        ]
        return compose([f"model={model}", *BASE, *sizes, *where, *WAYS[line.way]])

    def bench(self, line: Line) -> Bench:
        """With data of its network, which the next line of the same network uses again."""
        name, config = line.network, self.config(line)
        if name not in self.data:
            self.close()
            self.data[name] = self.made.enter_context(made_up_data(self.models[name]))
        return Bench(self.models[name], config, self.device, self.dtype, self.data[name], Clock(self.device))

    def close(self) -> None:
        """Remove the data of the last network."""
        self.made.close()
        self.data.clear()

    def measured(self, line: Line) -> dict[str, Any]:
        """What is found of a line."""
        freed(self.device)
        begun = time.monotonic()
        found: dict[str, Any] = {"network": line.network, "way": line.way, "pairs": line.pairs}
        bench = self.bench(line)
        if line.way.startswith("profile"):
            return found | self.profiled(bench, line)
        if line.way.startswith("ppd train"):
            found |= trained(bench)
            rate = found.pop("pairs_a_step") / found["step_seconds"]
        else:
            found |= self.step(bench, line)
            rate = line.pairs / found["step_seconds"]
        found["step0_is_ln2"] = found["step0_loss"] == ln2() if "step0_loss" in found else None
        return found | self.shares(line, rate) | {"took_seconds": round(time.monotonic() - begun, 1)}

    def step(self, bench: Bench, line: Line) -> dict[str, Any]:
        """Of steps without Lightning's loop."""
        found: dict[str, Any] = {}
        if line.way == "plain":
            model, backbone = bench.model, marked_backbone(bench.config, bench.clock)
            networks = bench.network(), bench.network()
            step = plain_step(bench.config, backbone, networks, model.latent, model.embedding, bench.clock)
            batches = first_batches(bench.data.batches(bench.config))
        else:
            ours = Ours(bench)
            batches = first_batches(ours.batches)
            found = {"step0_loss": ours.step0_loss(), "noise": float(f"{ours.noise(ours.batches.first_batch()):.3g}")}
            if line.stored:
                found["stored_noise"] = ours.stored_noise()
            step = ours.step()
        return found | timed(step, batches, bench.clock, steps=self.args.steps, rounds=self.args.rounds)

    def shares(self, line: Line, rate: float) -> dict[str, Any]:
        """Pairs a second, of what the device could do, and the memory that it took."""
        if line.network not in self.flops:
            self.flops[line.network] = flops_a_pair(self.config(line), self.models[line.network])
        needed = self.flops[line.network].of(stored=line.stored)
        found: dict[str, Any] = {"pairs_per_second": float(f"{rate:.4g}"), "tflop_a_pair": round(needed / 1e12, 3)}
        found |= {"of_matmul": round(rate * needed / self.matmul, 3)}
        if self.peak is not None:
            found["of_peak"] = round(rate * needed / self.peak, 3)
        if self.device == "cuda":
            found["memory_gb"] = round(torch.cuda.max_memory_allocated() / 1e9, 1)
        return found

    def profiled(self, bench: Bench, line: Line) -> dict[str, Any]:
        """Where the time of one step goes, by operation; the table of all is a file beside the report."""
        ours = Ours(bench)
        step, batches = ours.step(), first_batches(ours.batches, 2)
        for _ in range(2):
            step(batches[0])
        kinds = [torch.profiler.ProfilerActivity.CPU]
        kinds += [torch.profiler.ProfilerActivity.CUDA] if self.device == "cuda" else []
        with torch.profiler.profile(activities=kinds) as profiler:
            step(batches[1])
            bench.clock.wait()
        on_gpu = self.device == "cuda"
        of = "self_device_time_total" if on_gpu else "self_cpu_time_total"
        averages = profiler.key_averages()
        table = averages.table(sort_by=of, row_limit=60, max_name_column_width=90)
        (self.folder / f"stage_c_{line.way.replace(' ', '_')}.txt").write_text(table + "\n", encoding="utf-8")
        kernels = [one for one in averages if not on_gpu or one.key.startswith(("aten::", "triton", "flash"))]
        taken = {one.key[:60]: getattr(one, of) / 1e3 for one in kernels}
        most = sorted(taken.items(), key=lambda part: -part[1])[:15]
        return {"ms_by_operation": {name: round(ms, 2) for name, ms in most}, "ms": round(sum(taken.values()), 1)}


def ln2() -> float:
    """As a mean of float32 losses gives it."""
    return float(torch.tensor(math.log(2), dtype=torch.float32))


def matmul_flops(device: str, dtype: torch.dtype) -> float:
    """What a large square matrix product reaches here, a second: the median of some rounds of ten."""
    size, clock = (8192 if device == "cuda" else 256), Clock(device)
    one, other = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    times = []
    for _ in range(6):
        begun = time.perf_counter()
        for _ in range(10):
            one @ other
        clock.wait()
        times.append((time.perf_counter() - begun) / 10)
    return 2 * size**3 / sorted(times)[len(times) // 2]


def copy_rate() -> float:
    """Bytes a second that a large copy reads and writes on the GPU."""
    source = torch.empty(2**29, device="cuda")
    target, clock = torch.empty_like(source), Clock("cuda")
    for count in (2, 10):
        clock.wait()
        begun = time.perf_counter()
        for _ in range(count):
            target.copy_(source)
        clock.wait()
    return 2 * 4 * 2**29 * 10 / (time.perf_counter() - begun)


@contextmanager
def compiling(tiny: bool) -> Iterator[None]:
    """Compiled code runs as it is written where the network is tiny: compiling takes minutes on a CPU."""
    if not tiny:
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield


def planned(args: argparse.Namespace) -> list[Line]:
    ways, networks = args.only or list(WAYS), args.networks or list(MODELS)
    lines = [line for line in PLAN if line.way in ways and line.network in networks]
    if args.pairs:
        once = dict.fromkeys((line.network, line.way) for line in lines)
        lines = [Line(network, way, pairs, 0) for network, way in once for pairs in args.pairs]
    return [Line(line.network, line.way, max(2, line.pairs // 8), 0) for line in lines] if args.tiny else lines


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=540, help="no line begins that may not end within them")
    parser.add_argument("--networks", nargs="+", choices=list(MODELS), default=[], help="all where none is named")
    parser.add_argument("--only", nargs="+", choices=list(WAYS), default=[], help="ways; all where none is named")
    parser.add_argument("--pairs", type=int, nargs="+", default=[], help="at once, instead of those of the plan")
    parser.add_argument("--steps", type=int, default=6, help="between two waits for the device")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="small networks on the CPU: tries the benchmark out")
    parser.add_argument("--output", type=Path, default=Path("outputs"))
    args = parser.parse_args(arguments)
    if not args.tiny and args.device == "cuda" and not torch.cuda.is_available():
        print("stage_c.py: no GPU here, nothing measured; --tiny tries the benchmark out on the CPU")
        return
    measuring = Measuring(args, args.output / "bench")
    report = Report(args.output / "bench", measuring.facts())
    full: dict[tuple[str, str], int] = {}
    try:
        with compiling(args.tiny):
            for line in planned(args):
                if time.monotonic() - BEGUN + line.needs > args.seconds:
                    report.leave_out(line, f"it may take {line.needs:g} s, which are not left of --seconds")
                elif line.pairs >= full.get((line.network, line.way), line.pairs + 1):
                    report.leave_out(line, "fewer pairs did not fit")
                else:
                    try:
                        report.add(measuring.measured(line))
                    except torch.cuda.OutOfMemoryError:
                        full[line.network, line.way] = line.pairs
                        report.leave_out(line, "it does not fit into the memory")
                    except UserError as error:
                        report.leave_out(line, " ".join(str(error).split()))
                    except Exception:  # one line that fails should not cost the others
                        report.leave_out(line, traceback.format_exc(limit=-4))
    finally:
        measuring.close()
    report.conclude()


if __name__ == "__main__":
    main()
