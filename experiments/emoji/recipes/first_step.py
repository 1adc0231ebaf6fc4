"""By how much each of the sampler's steps moves for what a user adds to the prediction.

    python experiments/emoji/recipes/first_step.py RUN...

RUN is the folder of a finished run in the embedded world. 64 unseen people, each with a held-out caption, are drawn for
without user guidance, and at each time it is seen what guidance of 5 would add, and where it would lead. One thread.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from ppd_lightning.config.finished import config_of
from ppd_lightning.config.workspace import Workspace

PEOPLE, SCALE, FIRST_SEED = 64, 5.0, 1000


def main() -> None:
    torch.set_num_threads(1)
    for folder in sys.argv[1:]:
        print(folder)
        print("| t | what a user adds | what the caption adds | moves the step by | share of one constant a channel |")
        print("|---|---|---|---|---|")
        for row in rows(Path(folder)):
            print("| " + " | ".join(row) + " |")


@torch.no_grad()
def rows(folder: Path) -> list[list[str]]:
    workspace = Workspace(config_of(folder))
    run = workspace.trained_run()
    pipeline, settings = run.pipeline, run.settings
    assert pipeline.branch is not None
    unseen, held_out = sorted(workspace.data.people()["unseen"]), workspace.data.captions(held_out=True)
    people = (unseen * PEOPLE)[:PEOPLE]
    captions = (held_out * PEOPLE)[:PEOPLE]
    vectors = run.embeddings(people, captions).float()
    texts, null = pipeline.text(captions), run.backbone.null_text(pipeline.text)
    nothing = {name: part.expand_as(texts[name]) for name, part in null.items()}
    noise = torch.Generator().manual_seed(FIRST_SEED)
    latents = torch.randn(PEOPLE, *pipeline.latent_shape, generator=noise)
    found = []
    for number, t in enumerate(pipeline.sampler.timesteps(settings.steps, "cpu")):
        predict = partial(run.backbone.predict, pipeline.network, latents, t.expand(PEOPLE))
        of_text, of_null = predict(texts), predict(nothing)
        with pipeline.branch.user(vectors):
            added = predict(texts) - of_text
        base = torch.lerp(of_null, of_text, settings.text_guidance)
        seeds = range(PEOPLE * number, PEOPLE * (number + 1))
        plain, guided = (
            pipeline.sampler.step(prediction, t, latents, [torch.Generator().manual_seed(seed) for seed in seeds])
            for prediction in (base, base + SCALE * added)
        )
        constant = added.mean((2, 3)).square().mean() / added.square().mean()
        shown = (size(added), size(of_text - of_null), size(guided - plain), constant)
        found.append([f"{float(t):.1f}", *(f"{float(value):.3f}" for value in shown)])
        latents = plain
    return found


def size(values: Tensor) -> Tensor:
    """Root mean square."""
    return values.square().mean().sqrt()


if __name__ == "__main__":
    main()
