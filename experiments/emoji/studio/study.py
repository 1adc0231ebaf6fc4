"""Do picks on the studio's page tell what simulated people like? Four picks, then win rates against the base.

    python experiments/emoji/studio/study.py --output outputs

Needs `ppd prepare experiment=emoji/demo` for the people's hidden utilities. Unseen people whom the export does not hold
visit the studio that ships: each picks the picture of higher utility (judge of pixels, without noise) of the pairs that
they are shown. Own pictures of the shipped captions are compared with the base's at the same noise, by the same judge
and by the other one; the interval is a bootstrap over people. Writes outputs/studio/study.json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ppd_lightning.commands.studio import open_studio
from ppd_lightning.config.compose import compose
from ppd_lightning.config.workspace import Workspace
from ppd_lightning.data.simulation import Simulation
from ppd_lightning.data.splits import choose_count
from ppd_lightning.studio.studio import Studio

PEOPLE = 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", default="outputs")
    parser.add_argument("--people", type=int, default=PEOPLE)
    parser.add_argument("--pairs", help="a table of other pairs to show")
    args = parser.parse_args()
    config = compose(["experiment=emoji/demo", f"output={args.output}"])
    workspace = Workspace(config)
    simulation = workspace.simulation
    assert simulation is not None
    studio = open_studio(compose([f"output={args.output}", *([f"studio.pairs={args.pairs}"] if args.pairs else [])]))
    held = {name.split()[1] for name in studio.model.known}
    strangers = [user for user in workspace.data.people()["unseen"] if user not in held]
    users = sorted(choose_count("study", strangers, min(args.people, len(strangers))))
    wins: dict[str, list[float]] = {judge: [] for judge in simulation.judges}
    pairs = {judge: liked_pairs(studio, simulation, judge, users) for judge in simulation.judges[:1]}
    bases = studio.model.draw(studio.captions, None, 0, 0.0)
    for row, user in enumerate(users):
        visit = studio.begin()
        while studio.left(visit):
            shown = studio.shown(visit)
            assert shown is not None
            assert visit.showing is not None
            side = int(pairs[simulation.judges[0]][row, visit.showing].argmax())
            studio.answer(visit, visit.showing, 1 - side if shown[1] else side)
        own = studio.model.draw(studio.captions, studio.describe(visit), 0, studio.model.guidance)
        for judge in simulation.judges:
            asked = (judge, [user] * len(own), studio.captions)
            liked = [simulation.utilities(*asked, pixels(images)) for images in (own, bases)]
            wins[judge].append(float(np.mean(liked[0] > liked[1]) + np.mean(liked[0] == liked[1]) / 2))
    report = {judge: interval(np.array(found)) for judge, found in wins.items()}
    text = json.dumps(report | {"people": len(users), "captions": len(studio.captions), "picks": 4}, indent=2)
    print(text)
    path = Path(args.output) / "studio/study.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")


def liked_pairs(studio: Studio, simulation: Simulation, judge: str, users: list[str]) -> np.ndarray:
    """What each of P people thinks of both pictures of N pairs, (P, N, 2)."""
    images = pixels([picture for pair in studio.pairs for picture in pair.pictures])
    captions = [pair.caption for pair in studio.pairs for _ in pair.pictures]
    found = [simulation.utilities(judge, [user] * len(images), captions, images) for user in users]
    return np.stack(found).reshape(len(users), -1, 2)


def pixels(images: list[Image.Image]) -> torch.Tensor:
    """(N, 3, H, W) float in [0, 1]."""
    arrays = np.stack([np.asarray(image.convert("RGB")) for image in images])
    return torch.from_numpy(arrays).permute(0, 3, 1, 2).float() / 255


def interval(shares: np.ndarray) -> dict[str, float]:
    """Mean over people, and the middle 95 % of means of resampled people."""
    drawn = np.random.default_rng(0).choice(shares, (10_000, len(shares))).mean(1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return {"win_rate": round(float(shares.mean()), 3), "low": round(float(low), 3), "high": round(float(high), 3)}


if __name__ == "__main__":
    main()
