"""What a model does not read of captions, and captions that a small one was never trained on."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from ppd_lightning.backbones.backbone import Backbone
from ppd_lightning.backbones.caption_length import count_overruns

log = logging.getLogger(__name__)

NAMED = 5
"""As many captions are named in a log."""


def remark_on_captions(backbone: Backbone, captions: Iterable[str], what: str) -> None:
    """Log what a model cannot read or does not know of captions; arguments as of `count_overruns`."""
    unique = list(dict.fromkeys(captions))
    count_overruns(backbone, unique, what)
    remark_on_unknown(backbone, unique, what)


def remark_on_unknown(backbone: Backbone, captions: Iterable[str], what: str) -> list[str]:
    """Those of the captions that the model was not trained on, each once; logged. None where it reads any text.

    Upper case and further spaces make no other caption: CLIP's tokenizers do not see them.

    Args:
        captions: any, also several times.
        what: they are, or the key that names them, for the log.
    """
    known = backbone.known_captions
    if known is None:
        return []
    unique = list(dict.fromkeys(captions))
    read = set(map(_as_read, known))
    unknown = [caption for caption in unique if _as_read(caption) not in read]
    if unknown:
        log.warning(
            "%s: model=%s was trained on the names of %d concepts alone, and %d of %d captions are none of them: %s%s; "
            "what it draws for them means nothing",
            what,
            backbone.name,
            len(known),
            len(unknown),
            len(unique),
            ", ".join(map(repr, unknown[:NAMED])),
            f" and {len(unknown) - NAMED} more" if len(unknown) > NAMED else "",
        )
    return unknown


def _as_read(caption: str) -> str:
    return " ".join(caption.lower().split())
