"""Secrets and paths of homes are put into settings, and looked for in all that commands write.

    python experiments/reliability/planted_secrets.py [--cases N] [--seed S]

A tiny embedded world is prepared and trained once. A case puts secrets into settings that take any text (the schema
says which): an environment variable by a resolver, a password and a query in a URL; runs a verb or a sweep; and looks
for them in every byte that is written and printed. In exports and pages no path of a home may be either. The goal is 0.
Two seconds a case on a free core; the short form has 30 cases, the long one 200.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import shutil
import sys
import tempfile
from pathlib import Path

from commands import Outcome, import_all, run, time_left

WORLD = (
    "experiment=emoji/demo",
    "data.concepts=12",
    "data.held_out_concepts=4",
    "data.people=8",
    "data.unseen_people=3",
    "data.pairs_per_person=12",
    "shots.groupings=2",
    "user.encoder=codec",
    "trainer.max_steps=2",
    "trainer.accelerator=cpu",
    "optimizer.warmup_steps=1",
    "trainer.batch_size=4",
    "trainer.progress=false",
    "generation.steps=1",
    "generation.columns=2",
    "evaluation.comparisons=2",
    "evaluation.judges=[pixels]",
    "evaluation.others=null",
    "evaluation.preference_draws=0",
    "evaluation.bootstrap=2",
    "output=out",
)
SECRET, PASSWORD, QUERY, HOME = "hush-hush-token", "s3cret-pw", "s1gned-query", "/home/ann-of-host7/private"
ENVIRONMENT = {"PLANTED_TOKEN": SECRET, "PLANTED": f"{SECRET}-2", "HF_HUB_OFFLINE": "1"}
PLANTS = (
    "${oc.env:PLANTED_TOKEN}",
    "x/${oc.env:PLANTED}/y",
    "${oc.decode:${oc.env:PLANTED}}",
    f"https://ann:{PASSWORD}@host7.example/v1?sig={QUERY}",
    f"s3://key:{PASSWORD}@bucket/a.parquet",
    f"postgresql://ann:{PASSWORD}@host7.example/db",
    f"{HOME}/file.csv",
)
VERBS = ("train", "evaluate", "export", "validate", "report", "generate", "judge", "select", "runs", "doctor")
NEEDED = ("output", "data.", "model.", "user.", "shots.", "objective.name", "evaluation.judges", "rewards.")
"""Keys without which the world is another one: commands on them stop with a sentence, which is looked at too."""


def text_keys() -> list[str]:
    """The settings that take any text, alone or in a list."""
    from ppd_lightning.config.keys import known_keys

    keys = known_keys()
    texts = [name for name, key in keys.items() if key.expected.startswith("text") or "each text" in key.expected]
    return [name for name in texts if "NAME" not in name and not name.endswith("target")]


def override(key: str, text: str, expected: str) -> str:
    """`key` with the text, in quotes."""
    value = "'" + text + "'"
    return f"{key}=[{value}]" if expected.startswith("a list") else f"{key}={value}"


def find(folder: Path, outcome: Outcome) -> list[str]:
    """Where a secret is, and in exports and pages a path of a home."""
    found = [f"{word} is printed" for word in (SECRET, PASSWORD, QUERY) if word in outcome.output]
    for path in filter(Path.is_file, folder.rglob("*")):
        content = path.read_bytes() + str(path.relative_to(folder)).encode()
        words = [SECRET, PASSWORD, QUERY]
        if "export" in path.parts or path.name == "report.html":
            words += ["ann-of-host7"]
        found += [f"{word} is in {path.relative_to(folder)}" for word in words if word.encode() in content]
    return found


def main() -> int:
    """Run the cases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=30)
    parser.add_argument("--minutes", type=float, help="after which no further case begins")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    draws, going_on, tried = random.Random(options.seed), time_left(options.minutes), 0
    import_all()
    from ppd_lightning.config.keys import known_keys

    keys, known = text_keys(), known_keys()
    leaks: list[dict[str, object]] = []
    tracebacks, codes = 0, dict.fromkeys(range(3), 0)
    name = tempfile.mkdtemp()  # which a fork does not remove at its end, unlike a TemporaryDirectory
    try:
        world = Path(name) / "world"
        world.mkdir()
        made = run(["prepare", "embed", "train", "evaluate", *WORLD], world, timeout=300)
        if made.code:
            print(made.output[-2000:])
            return 1
        for case in itertools.takewhile(lambda case: going_on(), range(options.cases)):
            tried += 1
            folder = Path(name) / f"case-{case}"
            shutil.copytree(world, folder)
            free = [key for key in keys if not key.startswith(NEEDED)]
            chosen = draws.sample(free, 3) if case % 4 else [keys[case // 4 % len(keys)]]
            planted = [override(key, draws.choice(PLANTS), known[key].expected) for key in chosen]
            verb = VERBS[case % len(VERBS)]
            sweep = ["-m", f"seed={case + 1}"] if case % 5 == 0 and verb == "train" else []
            fresh = [f"seed={case + 1}"] if verb == "train" and not sweep else []
            for step in (verb, "export") if verb == "train" and not sweep else (verb,):
                arguments = [step, *WORLD, *fresh, *planted, *sweep]
                outcome = run(arguments, folder, environment=ENVIRONMENT)
                tracebacks += outcome.traceback
                codes[outcome.code] = codes.get(outcome.code, 0) + 1
                found = find(folder, outcome)
                if found or outcome.traceback or outcome.hung:
                    leaks.append({"arguments": arguments, "found": found, "output": outcome.output[-1500:]})
                    print(f"case {case}: {' '.join(arguments)}\n  {'; '.join(found) or outcome.output[-600:]}")
            shutil.rmtree(folder)
    finally:
        shutil.rmtree(name)
    figures = {"cases": tried, "keys": len(keys), "codes": codes, "tracebacks": tracebacks, "faults": leaks}
    report = Path("outputs/reliability/planted_secrets.json")
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(json.dumps(figures, indent=1, ensure_ascii=False))
    print(f"{tried} cases, {len(keys)} keys, codes {codes}: {len(leaks)} faults, {tracebacks} tracebacks")
    return int(bool(leaks))


if __name__ == "__main__":
    sys.exit(main())
