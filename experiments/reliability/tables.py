"""Bad inputs, tables: files as spreadsheets, programs and data sets write them, and such as nobody should.

Each case is a small file and what must come of it: rows that are read right, or a refusal with a certain word, by real
commands (`ppd prepare` for pairs) and by the readers of captions, words about users and settings. A case fails if
values differ, if the word is missing, at a traceback, or where it takes more than 60 s.

    python experiments/reliability/tables.py [--cases N]

--cases takes N of them, drawn by --seed (the short form; the long one is all). Writes
outputs/reliability/tables.json; exit code 1 where a case fails.
"""

from __future__ import annotations

import argparse
import json
import random
import shlex
import shutil
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from commands import import_all, run
from PIL import Image
from table_cases import Case, encodings, in_json, in_parquet, separated
from table_value_cases import captions, settings, texts, users

SETTINGS = [
    *("data=folder", "data.image_size=64", "data.min_pairs=1", "data.held_out_captions=0.0", "data.unseen_users=0.0"),
    *("data.validation=0.0", "data.max_unusable=0.0", "data.workers=0", "user=constant", "trainer=cpu"),
]
SECONDS = 60.0
RESULT = Path("outputs/reliability/tables.json")


@dataclass(frozen=True)
class Failure:
    """A case that fails: why, and how to see it."""

    name: str
    why: str
    command: str


def main() -> int:
    """Run the cases; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, help="how many; all where it is left out")
    parser.add_argument("--seed", type=int, default=0, help="of the order of the cases")
    arguments = parser.parse_args()
    cases = all_cases()
    random.Random(arguments.seed).shuffle(cases)
    chosen = cases[: arguments.cases]
    import_all()
    failures = []
    place = Path(tempfile.mkdtemp())  # no TemporaryDirectory: it would end with the first fork
    try:
        for number, letter in enumerate("ab"):
            Image.new("RGB", (8, 8), (number * 200, 0, 0)).save(place / f"{letter}.png")
        for case in chosen:
            why = failed(case, place)
            if why:
                failures.append(Failure(case.name, why, shlex.join(["ppd", *command(case)])))
    finally:
        shutil.rmtree(place)
    counts = {"cases": len(chosen), "of": len(cases), "failed": len(failures)}
    print(", ".join(f"{name} {count}" for name, count in counts.items()))
    for failure in failures:
        print(f"{failure.name}: {failure.why}\n    {failure.command}")
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(counts | {"failures": [vars(failure) for failure in failures]}, indent=1) + "\n")
    return int(bool(failures))


def all_cases() -> list[Case]:
    """Every case, each with a file of its own."""
    cases = [*separated(), *encodings(), *in_json(), *in_parquet(), *users(), *captions(), *texts(), *settings()]
    return [
        case if case.content is None else replace(case, file=f"{number:03}{case.file}")
        for number, case in enumerate(cases)
    ]


def command(case: Case) -> list[str]:
    """The command line of a case, in the folder of its file."""
    if case.reader in ("settings", "values"):
        return ["validate", f"generation.users={case.file}"]
    if case.reader == "captions":
        return ["generate", f"generation.captions={case.file}"]
    if case.reader == "texts":
        return ["doctor", "user=stated", f"user.texts={case.file}"]
    return ["prepare", *SETTINGS, f"data.table={case.file}", f"output=out-{case.file}"]


def failed(case: Case, place: Path) -> str:
    """Why a case fails; nothing if ""."""
    if case.content is not None:
        (place / case.file).write_bytes(case.content)
    if case.reader in ("captions", "texts", "values"):
        return of_reader(case, place)
    outcome = run(command(case), place, timeout=SECONDS)
    if outcome.hung:
        return f"no end within {SECONDS:g} s"
    if outcome.traceback:
        return "a traceback: " + outcome.output.strip().rpartition("\n")[2]
    if case.refused:
        if outcome.code != 2:
            return f"exit code {outcome.code} instead of 2"
        return of_words(case.refused, outcome.output)
    if outcome.code:
        return f"exit code {outcome.code}: {outcome.output[-300:]}"
    if case.reader == "settings":
        return of_words(case.rows[0], outcome.output)
    return different(case.rows, prepared(place / f"out-{case.file}"))


def of_reader(case: Case, place: Path) -> str:
    """As `failed`, for what commands read only beside a finished training."""
    from ppd_lightning.config.compose import as_yaml
    from ppd_lightning.config.presets import configuration
    from ppd_lightning.errors import UserError
    from ppd_lightning.generation.prompts import read_prompts
    from ppd_lightning.users.texts import read_texts

    try:
        if case.reader == "values":
            made = configuration(None, {"generation": {"users": json.loads(case.file)}})
            return "should be refused" if case.refused else of_words(case.rows[0], as_yaml(made))
        if case.reader == "captions":
            found = read_prompts(place / case.file, "generation.captions")
        else:
            found = [f"{user}|{text}" for user, text in read_texts(place / case.file).items()]
    except UserError as error:
        return of_words(case.refused, str(error)) if case.refused else f"refused: {error}"
    except Exception as error:  # what a user would see as a traceback
        return f"a traceback: {error!r}"
    return "read, and should be refused" if case.refused else different(case.rows, found)


def of_words(word: str, output: str) -> str:
    """Why a message is not as it must be."""
    if word not in output:
        return f"{word!r} is not in: {output[-300:]}"
    return "" if len(output) < 20_000 else f"the message has {len(output):,} letters"


def different(expected: list[str], found: list[str]) -> str:
    """Why rows are not those that are expected."""
    return "" if expected == found else f"read {found[:3]}, expected {expected[:3]}"


def prepared(output: Path) -> list[str]:
    """The rows that a command took over: caption, choice and user."""
    (path,) = output.glob("data/*/source/choices.parquet")
    table: pa.Table = pq.read_table(path, columns=["caption", "label_0", "user_id"])
    return [f"{row['caption']}|{row['label_0']:g}|{row['user_id']}" for row in table.to_pylist()]


if __name__ == "__main__":
    sys.exit(main())
