"""What a model card and an export need to know of a base."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class CardFacts:
    """What the model card of an adapter says about its base.

    front_matter: licence and base model, as the model hub's metadata have them. tags: of the hub.
    origin: sentences on where the base comes from.
    base, codec: words that `draw.py` takes for them: a folder or a name on the model hub; no codec where it lies in
        the base's folder.
    caption: an example; None where the base draws the captions of its data alone.
    limits: sentences. licence: paragraphs on the terms of the base, and so of the adapter. credits: one line for each
        author who asks for one.
    """

    front_matter: Mapping[str, Any]
    tags: tuple[str, ...]
    origin: str
    base: str
    codec: str | None
    caption: str | None
    limits: tuple[str, ...]
    licence: tuple[str, ...]
    credits: tuple[str, ...] = ()


@dataclass(frozen=True)
class DrawingCode:
    """The code of a family that an export carries, so that a picture can be drawn without this package.

    modules: by import path; they import Python's own, torch, diffusers, transformers and each other.
    base: import path of a class among them that is a `backbones.interfaces.Base` and, called with the base's folder or
        hub name, the codec's, a variant of the weights' files and `settings`, also has `load_network` and `attach`.
    settings: its other arguments, texts, numbers and truth values.
    encodes: whether the codec that `base` loads is one network that encodes images too.
    base_folders, codec_folders: what is looked for in each of the two, in words.
    """

    modules: tuple[str, ...]
    base: str
    base_folders: str
    codec_folders: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    encodes: bool = False
