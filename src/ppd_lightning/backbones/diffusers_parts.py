"""Objects of diffusers' classes, from the configuration and the weights of a released folder."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ppd_lightning.backbones.files import read_json
from ppd_lightning.backbones.weights import load_weights
from ppd_lightning.errors import UserError


def load_network(
    kind: Any,
    config: Path,
    weights: Path,
    *more: Path,
    dtype: torch.dtype | None = None,
    saved_as: str | None = None,
    **loading: Any,
) -> Any:
    """A network of one of diffusers' classes, frozen and in evaluation mode.

    Args:
        kind: the class.
        config: its settings.
        weights: ends in .safetensors.
        more: further files of the same weights, where they lie in several.
        dtype: of the weights; None is float32.
        saved_as: the class that the released configuration names, where that is another one.
        loading: further arguments of `load_weights`.

    Raises:
        UserError: a file is damaged, or of another class.
    """
    return load_weights(configured(kind, config, saved_as), weights, *more, dtype=dtype or torch.float32, **loading)


def configured(kind: Any, config: Path, saved_as: str | None = None) -> Callable[[], Any]:
    """What makes an object of one of diffusers' classes from its configuration, tried out without memory for weights.

    Raises:
        UserError: the configuration is damaged, or of another class.
    """
    values = read_json(config)
    make = partial(kind.from_config, values)
    expected = saved_as or kind.__name__
    try:
        if values.get("_class_name", expected) != expected:
            raise ValueError(f"it is one of a {values['_class_name']}")
        with torch.device("meta"):
            make()
    except Exception as error:  # whatever a configuration of something else leads to
        raise UserError(f"{config}: no configuration of a {expected} ({one_line(error)})") from None
    return make


def one_line(error: Exception) -> str:
    """An error's message without its line breaks."""
    return " ".join(str(error).split())
