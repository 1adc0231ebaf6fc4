"""Do short seeded runs give the same bits as before? `python dev/same_numbers.py OUTPUT [EXPECTED.json]`.

Runs some short lines of the embedded world in OUTPUT and prints, as JSON, hashes of what must not change: the tensors
of each adapter, logged figures, measured comparisons, drawn images. With EXPECTED.json, names what differs and exits
with 1. For a change of structure: run it before and after.
"""

from __future__ import annotations

import csv
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
from safetensors.torch import load_file

SHORT = [
    *("trainer.max_steps=12", "optimizer.warmup_steps=2", "trainer.checkpoint_every=6", "trainer.threads=1"),
    *("trainer.progress=false", "evaluation.comparisons=24", "evaluation.bootstrap=100"),
    *("generation.steps=3", "generation.columns=3"),
]
LINES = {
    "ppd": "prepare embed train evaluate generate experiment=emoji/demo",
    "sft": "embed train evaluate experiment=emoji/sft",
    "dpo": "embed train evaluate experiment=emoji/diffusion_dpo",
    "ema_stored": "train generate experiment=emoji/ppd optimizer.ema_decay=0.9 trainer.reference=stored "
    "trainer.micro_batch_size=4 generation.weights=ema",
    "synthetic": "prepare label embed train evaluate interpolate experiment=emoji/synthetic "
    "interpolation.captions=2 interpolation.divisions=2",
    "reward": "embed train evaluate experiment=emoji/users user=reward",
    "clip_aware": "embed train evaluate experiment=emoji/users user=clip shots=caption_aware",
    "diverse": "embed train experiment=emoji/users shots=diverse",
    "id": "train evaluate experiment=emoji/users user=id",
    "learned_null": "train experiment=emoji/ppd model.null_user=learned trainer.gradient_checkpointing=true",
}


def sha(*parts: bytes) -> str:
    """The first 16 digits of the SHA-256 of the parts in a row."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(part)
    return whole.hexdigest()[:16]


def hashes(run: Path) -> dict[str, str]:
    """A hash of each thing of a run that must not change."""
    result = {}
    for name in ("adapter.safetensors", "adapter-ema.safetensors"):
        if (run / name).exists():
            tensors = load_file(run / name)
            result[name] = sha(*(key.encode() + value.numpy().tobytes() for key, value in sorted(tensors.items())))
    with (run / "metrics.csv").open() as file:
        kept = [
            {key: value for key, value in row.items() if "second" not in key and "memory" not in key}
            for row in csv.DictReader(file)
        ]
    result["metrics"] = sha(json.dumps(kept, sort_keys=True).encode())
    for path in sorted(run.glob("evaluation-*/comparisons.parquet")):
        table = pq.read_table(path)
        kept = [name for name in table.column_names if not name.endswith("_image")]
        result["comparisons"] = sha(json.dumps(table.select(kept).to_pylist()).encode())
        summary = json.loads(path.with_name("summary.json").read_text())
        del summary["folder"], summary["seconds"]
        result["summary"] = sha(json.dumps(summary, sort_keys=True).encode())
    for path in sorted(run.glob("generation-*/manifest.parquet")):
        files = [path.parent / file for file in pq.read_table(path)["file"].to_pylist()]
        result["generated"] = sha(*(file.read_bytes() for file in files))
    for path in sorted(run.glob("interpolation-*/summary.json")):
        summary = json.loads(path.read_text())
        del summary["folder"], summary["seconds"]
        result["interpolation"] = sha(json.dumps(summary, sort_keys=True).encode())
    return result


def main(output: Path, expected: Path | None) -> int:
    """Run all lines; the exit code."""
    result: dict[str, dict[str, str]] = {}
    for name, line in LINES.items():
        verbs = [word for word in line.split() if "=" not in word]
        settings = [word for word in line.split() if "=" in word]
        before = set((output / "runs").glob("*"))
        command = [
            sys.executable,
            "-m",
            "ppd_lightning",
            *verbs,
            *settings[:1],
            *SHORT,
            *settings[1:],
            f"output={output}",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"{name}: {done.stderr[-3000:]}", file=sys.stderr)
            return 1
        new = set((output / "runs").glob("*")) - before
        run = max(new or before, key=lambda path: (path / "config.yaml").stat().st_mtime)
        result[name] = hashes(run)
        print(name, json.dumps(result[name]), file=sys.stderr, flush=True)
    print(json.dumps(result, indent=1))
    if expected is None:
        return 0
    known = json.loads(expected.read_text())
    differing = [
        f"{name}.{what}" for name in known for what in known[name] if result[name].get(what) != known[name][what]
    ]
    print("differs: " + ", ".join(differing) if differing else "all the same", file=sys.stderr)
    return bool(differing)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None))
