"""`ppd export`: the result of a training as a folder that works without this package, with its model card."""

from __future__ import annotations

import logging
from typing import Any

from ppd_lightning.backbones.adapter import copy_adapter
from ppd_lightning.config.exported import exported_values
from ppd_lightning.config.finished import EXPORTED
from ppd_lightning.config.root import Config
from ppd_lightning.config.workspace import Workspace
from ppd_lightning.generation.selection import chosen_captions, chosen_users
from ppd_lightning.model_card import hub
from ppd_lightning.model_card.card import ExportedTraining, model_card
from ppd_lightning.model_card.drawing_files import drawing_files, studio_files
from ppd_lightning.storage.atomic import atomic_path, write_text_atomic
from ppd_lightning.storage.finished_run import AGAIN
from ppd_lightning.users.blends import Asked, name_of
from ppd_lightning.users.describer import NAME as DESCRIBER
from ppd_lightning.users.describer import Describer
from ppd_lightning.users.vectors_file import NAME as VECTORS
from ppd_lightning.users.vectors_file import write_vectors

log = logging.getLogger(__name__)


def run(config: Config) -> dict[str, Any]:
    """Write the run's folder export/ anew, each file whole or not at all.

    - adapter.safetensors: the weights that `generation.weights` names, in its metadata the settings on which they
      depend (`config.exported`).
    - users.safetensors: an embedding for each of `generation.users`, by name; null takes everybody who has a dimension
      of their own, else those that `ppd generate` would choose. Where users have a vector for each caption, one for
      each of `generation.captions`, by "name / caption".
    - describer.safetensors, where people are described: what describing others needs.
    - what sees the images of their choices, where it is small and not the base's own.
    - app.py, requirements.txt and captions.txt, where people are described by choices: the studio, a Gradio Space.
    - draw.py and the folder drawing/: the code, which needs diffusers and transformers and not this package.
    - README.md: the model card.

    Then it is uploaded to the repository that `export.push` names.

    Raises:
        UserError: there is no finished training of this configuration, or somebody is not in the pairs, or the
            model hub refuses.
    """
    workspace, generation = Workspace(config), config.generation
    asked = _asked(workspace)
    trained, folder = workspace.trained_run(), workspace.run / "export"
    settings = exported_values(config)
    encoder = config.user.encoder_code(workspace.instruments)
    captions = chosen_captions(generation, workspace.data) if workspace.users.per_caption else [""]
    names = [f"{name_of(one)} / {caption}" if caption else name_of(one) for caption in captions for one in asked]
    embeddings = dict(zip(names, trained.sheet_embeddings(asked, captions).flatten(0, 1), strict=True))
    copy_adapter(trained.adapter, folder / EXPORTED, configuration=settings)
    described = (workspace.run / DESCRIBER).exists()
    if described:
        Describer.open(workspace.run / DESCRIBER, AGAIN).save(folder / DESCRIBER)
    seen_by = {} if isinstance(encoder, str) else encoder.files
    for name, data in seen_by.items():
        with atomic_path(folder / name) as unfinished:
            unfinished.write_bytes(data)
    write_vectors(folder / VECTORS, {name: embedding.cpu().numpy() for name, embedding in embeddings.items()})
    training = ExportedTraining(
        run=workspace.run,
        adapter=trained.adapter,
        backbone=workspace.backbone,
        source=workspace.source,
        data=workspace.data,
        user=config.user,
        shots=config.shots,
        rewards=list(config.user.rewards_used(config.rewards)),
        objective=config.objective,
        optimizer=config.optimizer,
        trainer=config.trainer,
        generation=generation,
        settings=settings,
        users={name: len(embedding) for name, embedding in embeddings.items()},
        encoder=encoder,
    )
    texts = drawing_files(
        workspace.backbone.drawing_code(), generation, workspace.source.image_size, config.user.kind, encoder
    )
    if described and not config.user.by_words:
        texts |= studio_files(chosen_captions(generation, workspace.data))
    texts["README.md"] = model_card(training)
    for name, text in texts.items():
        write_text_atomic(folder / name, text)
    log.info("%s works without this package; its README.md says how", folder)
    pushed = {}
    if config.export.push is not None:
        files = [EXPORTED, VECTORS, *([DESCRIBER] if described else []), *seen_by, *texts]
        pushed = {"commit": hub.push(folder, files, config.export.push, private=config.export.private)}
        log.info("uploaded to %s", pushed["commit"])
    return {"folder": str(folder), "users": len(asked), **pushed}


def _asked(workspace: Workspace) -> list[Asked]:
    user, generation = workspace.config.user, workspace.config.generation
    if generation.users is None and not generation.people and not user.described and not user.same_for_all:
        return list(workspace.data.people()["seen"])
    return chosen_users(generation, workspace.users, workspace.described)
