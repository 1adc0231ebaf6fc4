"""`user=stated`: what people say of their own taste, or what was written of it, as a text encoder or a VLM reads it.

R = users, E = width of an embedding.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet

from ppd_lightning.backbones.released import ReleasedModel
from ppd_lightning.config.schemas import Config, StatedUser
from ppd_lightning.devices import compute_device
from ppd_lightning.errors import UserError
from ppd_lightning.storage.fingerprints import fingerprint
from ppd_lightning.users.shots import ShotSet

BATCH = 256
"""Texts that are encoded at once."""

COLUMNS = ("user", "text")


def describe(config: Config, model: ReleasedModel, pairs: pa.Table, sets: Sequence[ShotSet]) -> np.ndarray:
    """Raw vectors (R, E) of the texts of the users of the sets, whose pairs do not count.

    Raises:
        UserError: the table is missing or no such table, or users have no text; all of them are named, or some.
    """
    assert isinstance(config.user, StatedUser)
    texts = read_texts(Path(config.user.texts))
    absent = sorted({one.user for one in sets} - texts.keys())
    if absent:
        named = ", ".join(absent[:5]) + (f" and {len(absent) - 5} more" if len(absent) > 5 else "")
        raise UserError(f"user.texts: {config.user.texts} has no text of {named}; add them, for they are in the pairs")
    words = [texts[one.user] for one in sets]
    if config.user.reader == "vlm":
        from ppd_lightning.users.vlm import states_of_words  # heavy, and of use with a VLM only

        return states_of_words(config, words)
    states = model.load_text(compute_device(config.trainer))
    parts = [states(words[begin : begin + BATCH])[1].squeeze(1) for begin in range(0, len(words), BATCH)]
    return np.concatenate([part.float().cpu().numpy() for part in parts])


def seen_with(config: Config, model: ReleasedModel) -> str:
    """What stands for the texts and for what reads them."""
    assert isinstance(config.user, StatedUser)
    texts = fingerprint(read_texts(Path(config.user.texts)))
    if config.user.reader == "vlm":
        from ppd_lightning.users import vlm_files
        from ppd_lightning.users import vlm_prompts as prompts

        assert config.user.path is not None
        return fingerprint([texts, vlm_files.vlm_fingerprint(vlm_files.vlm_folder(config.user.path)), prompts.VERSION])
    return fingerprint([texts, model.fingerprint("text_encoder"), model.fingerprint("tokenizer")])


def read_texts(path: Path, key: str = "user.texts") -> dict[str, str]:
    """The text of each user, by name.

    Args:
        path: JSON of names and texts, or a CSV (with a header), JSONL or parquet table with the columns user and text.
        key: of the configuration that names it, for messages.

    Raises:
        UserError: the file is missing, damaged or has another form, a text is empty, or a user comes twice.
    """
    expected = "expected JSON of names and texts, or a CSV, JSONL or parquet table with the columns user and text"
    try:
        rows = _rows(path)
    except FileNotFoundError:
        raise UserError(f"{key}: there is no file {path}; {expected}") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, pa.ArrowException) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{key}: {path} cannot be read ({reason}); {expected}") from None
    faults, texts = [], {}
    for number, (user, text) in enumerate(rows, 1):
        name = str(user)
        if user is None or not isinstance(text, str) or not text.strip():
            faults.append(f"{key}: {path}, row {number}: no text of the user {name}")
        elif name in texts:
            faults.append(f"{key}: {path}, row {number}: the user {name} comes twice")
        else:
            texts[name] = text
    if faults:
        raise UserError(faults[:10])
    return texts


def _rows(path: Path) -> list[tuple[Any, Any]]:
    kind = path.suffix.lower()
    if kind == ".json":
        return list(json.loads(path.read_text(encoding="utf-8")).items())
    if kind == ".csv":
        options = pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(COLUMNS, pa.string()), strings_can_be_null=False
        )
        newlines = pyarrow.csv.ParseOptions(newlines_in_values=True)
        table = pyarrow.csv.read_csv(path, convert_options=options, parse_options=newlines)
    elif kind in (".jsonl", ".ndjson"):
        table = pyarrow.json.read_json(path)
    elif kind == ".parquet":
        table = pyarrow.parquet.read_table(path)
    else:
        raise ValueError(f"files that end in {kind or 'nothing'} are not read")
    return list(zip(*(table[column].to_pylist() for column in COLUMNS), strict=True))
