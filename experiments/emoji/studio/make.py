"""The studio that ships: exports of the demo's training and of one on synthetic users, captions, and pairs to show.

    python experiments/emoji/studio/make.py

Trains what is not trained yet (minutes on two cores) and writes src/ppd_lightning/worlds/emoji/assets/studio/, which
`ppd studio` opens. The pairs are the vendors' pictures, under their own terms: picks between them tell much more than
picks between drawn ones (see README.md).
"""

from __future__ import annotations

import argparse
import shutil
from dataclasses import replace
from pathlib import Path

import ppd_lightning
from ppd_lightning.commands import embed, export, label, prepare, train
from ppd_lightning.commands.studio import CAPTIONS, REWARDS
from ppd_lightning.config.compose import compose
from ppd_lightning.config.folders import run_folder
from ppd_lightning.config.workspace import Workspace
from ppd_lightning.data.splits import choose_count
from ppd_lightning.storage.atomic import write_text_atomic
from ppd_lightning.studio.pairs import NAME as PAIRS
from ppd_lightning.studio.pairs import take_pairs
from ppd_lightning.users.describer import NAME as DESCRIBER
from ppd_lightning.users.vectors_file import NAME as VECTORS
from ppd_lightning.users.vectors_file import read_vectors, write_vectors
from ppd_lightning.worlds.emoji.people import read_people

ASSETS = Path(ppd_lightning.__file__).parent / "worlds/emoji/assets/studio"
FILES = ("adapter.safetensors", DESCRIBER, VECTORS)
PEOPLE, DRAWN, SHOWN = 32, 12, 40
STYLES = {
    "twemoji": "flat colours",
    "fluent_3d": "3D",
    "high_contrast": "black and white",
    "openmoji": "outlines",
}
"""What people see of a vendor's style."""
REWARD_NAMES = {"emoji_clip": "True to the caption", "colourfulness": "Colourful", "clutter": "Rich in detail"}
NOTE = """The pictures in pairs.parquet are emoji at 64 pixels on white, otherwise unchanged:
Twemoji, (c) Twitter, Inc and other contributors, CC-BY-4.0, https://creativecommons.org/licenses/by/4.0
OpenMoji, https://openmoji.org, CC-BY-SA-4.0, https://creativecommons.org/licenses/by-sa/4.0
Fluent Emoji High Contrast and 3D, (c) Microsoft Corporation, MIT, https://github.com/microsoft/fluentui-emoji
They keep these licences wherever they go. The adapters are derived from them and carry their terms: see Credits in
docs/embedded_world.md. Made by experiments/emoji/studio/make.py.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", default="outputs")
    parser.add_argument("--without-rewards", action="store_true", help="leave the adapter of synthetic users as it is")
    args = parser.parse_args()
    people(args.output)
    if not args.without_rewards:
        rewards(args.output)


def people(output: str) -> None:
    """The demo's training, some of its people, captions and pairs."""
    config = compose(["experiment=emoji/demo", f"output={output}"])
    for verb in (prepare, embed, train):
        verb.run(config)
    workspace = Workspace(config)
    data = workspace.data
    shown = sorted(choose_count("studio", data.people()["unseen"], PEOPLE))
    export.run(replace(config, generation=replace(config.generation, users=shown)))
    copy(run_folder(config) / "export", ASSETS)
    truth = read_people(data.folder / "people.json").select(shown)
    favourites = [truth.styles[number] for number in truth.style_weights.argmax(1)]
    vectors = read_vectors(ASSETS / VECTORS)
    names = {user: f"Person {user} · likes {STYLES[style]}" for user, style in zip(shown, favourites, strict=True)}
    write_vectors(ASSETS / VECTORS, {names[user]: vector for user, vector in vectors.items()})
    held_out = choose_count("studio", data.captions(held_out=True), DRAWN)
    write_text_atomic(ASSETS / CAPTIONS, "".join(f"{caption}\n" for caption in sorted(held_out)))
    take_pairs(data, SHOWN, ASSETS / PAIRS)
    write_text_atomic(ASSETS / "README.txt", NOTE)


def rewards(output: str) -> None:
    """The training on synthetic users."""
    config = compose(["experiment=emoji/synthetic", f"output={output}"])
    for verb in (prepare, label, embed, train, export):
        verb.run(config)
    copy(run_folder(config) / "export", ASSETS / REWARDS)
    vectors = read_vectors(ASSETS / REWARDS / VECTORS)
    write_vectors(ASSETS / REWARDS / VECTORS, {REWARD_NAMES[name]: vector for name, vector in vectors.items()})


def copy(exported: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        if (exported / name).is_file():
            shutil.copyfile(exported / name, folder / name)


if __name__ == "__main__":
    main()
