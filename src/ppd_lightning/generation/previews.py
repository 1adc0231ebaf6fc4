"""The sheet that a training shows of itself: some captions for some users, the base beside, in small pictures."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import torch
from diffusers import StableCascadeUNet
from PIL import Image

from ppd_lightning.backbones.released import ReleasedModel
from ppd_lightning.backbones.user_branch import UserBranch
from ppd_lightning.config.schemas import Config
from ppd_lightning.generation.grid import BASE, as_pictures, cell_for, draw_grid
from ppd_lightning.generation.pipeline import CODEC_PARTS, UserPipeline
from ppd_lightning.generation.sampling import draw_images, draw_sheet
from ppd_lightning.generation.selection import chosen_captions, chosen_users
from ppd_lightning.users.blends import name_of, sheet_embeddings


def preview_sheet(
    config: Config, model: ReleasedModel, prior: StableCascadeUNet, branch: UserBranch
) -> Callable[[], Image.Image]:
    """What draws `generation`'s captions and users with its first seed, by the networks as they are at each call.

    It neither uses nor changes global random state, computes no gradients and leaves a compiled prior's code alone. The
    text encoder is there for the first call only.

    Args:
        config: of the training.
        model: whose prior it is.
        prior: Stage C, in evaluation mode; what it is on at the first call is where everything is drawn.
        branch: the user branch that is trained.

    Raises:
        UserError: files of the model or embeddings are missing, or somebody is asked for whom nobody knows.
    """
    model.require("text_encoder", "tokenizer", "scheduler", CODEC_PARTS["preview"])
    captions, users = chosen_captions(config), chosen_users(config)
    embeddings = sheet_embeddings(config, model, users, captions)

    @cache
    def pipeline() -> UserPipeline:
        with torch.random.fork_rng(devices=[]):  # libraries initialise what they then load
            made = UserPipeline.of(model, prior, branch, image_size=config.data.image_size, decoder="preview")
            made.remember(captions)
        return made

    def draw() -> Image.Image:
        drawn_by = partial(draw_images, pipeline(), config.generation)
        # A compiled prior would compile once more for these shapes, and the training could then meet that instead.
        with torch.compiler.set_stance("force_eager"):
            images = draw_sheet(drawn_by, captions, embeddings, config.generation.seeds[0])
        names = [BASE, *map(name_of, users)]
        cell = cell_for(images.shape[-1], len(captions), len(names))
        return draw_grid(as_pictures(images), captions, names, cell=cell)

    return draw
