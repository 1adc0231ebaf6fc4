"""The sheet of images that a training logs: some captions for some users, the base beside, in small images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial

import numpy as np
import torch
from PIL import Image
from torch import nn

from ppd_lightning.backbones.backbone import Backbone
from ppd_lightning.backbones.user_branch import UserBranch
from ppd_lightning.data.prepared import PreparedData
from ppd_lightning.generation.grid import BASE, as_pictures, cell_for, draw_grid
from ppd_lightning.generation.pipeline import UserPipeline
from ppd_lightning.generation.sampling import draw_images, draw_sheet
from ppd_lightning.generation.selection import chosen_captions, chosen_users
from ppd_lightning.generation.settings import Generation
from ppd_lightning.users.blends import NOBODY, name_of, sheet_embeddings
from ppd_lightning.users.users import Users


def preview_sheet(
    backbone: Backbone,
    network: nn.Module,
    branch: UserBranch,
    data: PreparedData,
    users: Users,
    settings: Generation,
    described: Mapping[str, np.ndarray] = NOBODY,
) -> Callable[[], Image.Image]:
    """What draws the captions and users of `settings` with its first seed, by the networks as they are at each call.

    It neither uses nor changes global random state, computes no gradients and leaves a compiled network's code alone.
    The text encoder is there for the first call only.

    Args:
        network: of the backbone, in evaluation mode; where it is at the first call is where everything is drawn.
        branch: the user branch that is trained.
        data, users: of the training.
        described: vectors (E,) of people from files, by name.

    Raises:
        UserError: files of the model or embeddings are missing, or somebody is asked for whom nobody knows.
    """
    backbone.require(*backbone.drawing_parts("preview"))
    captions, asked = chosen_captions(settings, data), chosen_users(settings, users, described)
    embeddings = sheet_embeddings(users, asked, captions, described)

    @cache
    def pipeline() -> UserPipeline:
        with torch.random.fork_rng(devices=[]):  # libraries initialise what they then load
            made = UserPipeline.of(backbone, network, branch, image_size=data.image_size, decoder="preview")
            made.remember(captions)
        return made

    def draw() -> Image.Image:
        # A compiled network would compile once more for these shapes, and the training could then meet that instead.
        with torch.compiler.set_stance("force_eager"):
            images = draw_sheet(partial(draw_images, pipeline(), settings), captions, embeddings, settings.seeds[0])
        names = [BASE, *map(name_of, asked)]
        cell = cell_for(images.shape[-1], len(captions), len(names))
        return draw_grid(as_pictures(images), captions, names, cell=cell)

    return draw
