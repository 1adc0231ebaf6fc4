"""Captions that are longer than the text encoder reads: how many, and what is cut off."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from ppd_lightning.backbones.backbone import Backbone

log = logging.getLogger(__name__)

AT_ONCE = 10_000
"""Captions that are cut into tokens at once."""

LETTERS_NAMED = 80
"""Of what is cut off, as much is logged."""


def count_overruns(backbone: Backbone, captions: Iterable[str], what: str) -> dict[str, int]:
    """How many different captions are longer than the text encoder reads, so that their ends are cut off; logged.

    Args:
        backbone: whose tokenizer counts, each of a few text encoders reading as many tokens (T5 reads more).
        captions: any, also several times.
        what: they are, or the key that names them, for the log.

    Returns:
        captions: different ones; over: those of them that are too long; limit: tokens that are read.
    """
    tokenizer = backbone.load_tokenizer()
    unique, limit = sorted(set(captions)), int(tokenizer.model_max_length)
    # A token is a byte at least, and there are two beside the text's; lower case may take more bytes, but not double.
    long = [caption for caption in unique if 2 * len(caption.encode()) + 2 > limit]
    over, longest, lost = 0, 0, ""
    for begin in range(0, len(long), AT_ONCE):
        for tokens in tokenizer(long[begin : begin + AT_ONCE], verbose=False).input_ids:
            over += len(tokens) > limit
            if len(tokens) > max(limit, longest):
                longest, lost = len(tokens), tokenizer.decode(tokens[limit - 1 : -1])
    if over:
        log.warning(
            "%s: %d of %d captions are longer than the %d tokens that the text encoder reads, and their ends are cut "
            "off; the longest has %d tokens and loses %r",
            what,
            over,
            len(unique),
            limit,
            longest,
            lost if len(lost) <= LETTERS_NAMED else f"{lost[:LETTERS_NAMED]}...",
        )
    return {"captions": len(unique), "over": over, "limit": limit}
