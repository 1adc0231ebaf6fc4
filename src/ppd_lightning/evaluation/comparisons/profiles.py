"""Figure 5's baseline: a text about the person is appended to the caption that the base reads."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ppd_lightning.backbones.backbone import Backbone
from ppd_lightning.errors import UserError
from ppd_lightning.evaluation.comparisons.selection import Comparison
from ppd_lightning.users.texts import read_texts

log = logging.getLogger(__name__)

KEY = "evaluation.profiles"


def read_profiles(path: Path) -> dict[str, str]:
    """The text of each user in the file that `evaluation.profiles` names, by the user's name.

    It is such a table as `users.texts.read_texts` reads, or the profiles.parquet that `ppd embed` leaves with
    user=vlm, of which a user's first set of choices, by its name, is taken.

    Raises:
        UserError: the file is missing, damaged or of another form.
    """
    if path.suffix.lower() == ".parquet":
        try:
            with pq.ParquetFile(path) as file:
                written = {"set", "user", "profile"} <= set(file.schema_arrow.names)
                rows = file.read(["set", "user", "profile"]).to_pylist() if written else []
        except FileNotFoundError:
            raise UserError(f"{KEY}: there is no file {path}") from None
        except (OSError, pa.ArrowException) as error:
            raise UserError(f"{KEY}: {path} is damaged, or no parquet ({error})") from None
        if written:
            return {row["user"]: row["profile"] for row in sorted(rows, key=lambda row: row["set"], reverse=True)}
    return read_texts(path, KEY)


def augmented(comparisons: Iterable[Comparison], profiles: dict[str, str]) -> dict[Comparison, str]:
    """The caption with the person's text appended, of each comparison whose person has one.

    Raises:
        UserError: nobody has one.
    """
    listed = list(comparisons)
    prompts = {one: f"{one.caption}. {profiles[one.user]}" for one in listed if one.user in profiles}
    without = sorted({one.user for one in listed} - profiles.keys())
    if not prompts:
        raise UserError(
            f"{KEY}: it has no text of anybody who is compared, such as {', '.join(without[:3])}; the users of the "
            "file must be called as in the pairs"
        )
    if without:
        log.warning("%s: %d people have no text and are left out of this baseline", KEY, len(without))
    return prompts


def count_overruns(backbone: Backbone, prompts: Sequence[str]) -> dict[str, int]:
    """How many different prompts are longer than the text encoder reads, so that their ends are cut off.

    Returns:
        captions: different prompts; over: those of them that are too long; limit: tokens that are read.
    """
    tokenizer = backbone.load_tokenizer()
    unique = sorted(set(prompts))
    limit = int(tokenizer.model_max_length)
    over = sum(len(tokens) > limit for tokens in tokenizer(unique, verbose=False).input_ids)
    if over:
        log.warning("%s: %d of %d captions overrun %d tokens and are cut off", KEY, over, len(unique), limit)
    return {"captions": len(unique), "over": over, "limit": limit}
