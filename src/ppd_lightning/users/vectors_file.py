"""users.safetensors of an export: a vector for each name, with a checksum.

E = width of a vector.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ppd_lightning.errors import UserError
from ppd_lightning.storage.checked_tensors import OtherKindError, UnsoundError, read_arrays, write_arrays

FORMAT = "users 1"
EARLIER = ""
"""Files of earlier versions have no metadata."""
NAME = "users.safetensors"


def write_vectors(path: Path, vectors: Mapping[str, np.ndarray]) -> None:
    """Write vectors (E,) by name, whole or not at all; the same ones give the same bytes."""
    write_arrays(path, vectors, {"format": FORMAT})


def read_vectors(path: Path, width: int | None = None) -> dict[str, np.ndarray]:
    """The vectors (E,) by name; `width` is E where it is known.

    Raises:
        UserError: the file is missing, damaged or something else.
    """
    remedy = "run `ppd export` again, or fetch it again"
    try:
        vectors = read_arrays(path, FORMAT, EARLIER)[0]
    except FileNotFoundError:
        raise UserError(f"{path}: this file of the export's users is missing; {remedy}") from None
    except OtherKindError:
        raise UserError(f"{path}: no file of an export's users; {remedy}") from None
    except UnsoundError as error:
        raise UserError(f"{path}: damaged ({error}); {remedy}") from error
    require_vectors(vectors, path, remedy, width)
    if not vectors:
        raise UserError(f"{path}: holds nobody; {remedy}")
    return vectors


def require_vectors(vectors: Mapping[str, np.ndarray], path: Path, remedy: str, width: int | None = None) -> None:
    """Refuse what are no vectors of one width.

    Args:
        width: E, where it is known.

    Raises:
        UserError: it names the file and whose vector it is.
    """
    for name, vector in vectors.items():
        width = vector.size if width is None else width
        if vector.shape != (width,) or vector.dtype.kind != "f":
            raise UserError(
                f"{path}: {name}: expected a vector of {width} fractions, not {vector.dtype} of shape {vector.shape}; "
                f"{remedy}"
            )
