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


def read_vectors(path: Path) -> dict[str, np.ndarray]:
    """The vectors (E,) by name.

    Raises:
        UserError: the file is missing, damaged or something else.
    """
    remedy = "run `ppd export` again, or fetch it again"
    try:
        return read_arrays(path, FORMAT, EARLIER)[0]
    except FileNotFoundError:
        raise UserError(f"{path}: this file of the export's users is missing; {remedy}") from None
    except OtherKindError:
        raise UserError(f"{path}: no file of an export's users; {remedy}") from None
    except UnsoundError as error:
        raise UserError(f"{path}: damaged ({error}); {remedy}") from error
