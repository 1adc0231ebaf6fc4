"""One text-to-image model, many people's tastes: PPD on Lightning and Hydra.

Reading order: cli.py -> commands/train.py -> training/module.py -> training/objectives/ppd.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from ppd_lightning.opened import Model

    __version__: str

__all__ = ["__version__", "open"]


def open(folder: str | Path, base: str | None = None, codec: str | None = None) -> Model:
    """A finished training, by the folder of its run or export: it describes people and draws for them.

    Args:
        folder: what `ppd train` or `ppd export` made.
        base: folder or hub name of the base model, where it is not where the training had it.
        codec: as base, of the codec.

    Raises:
        errors.UserError: see `opened.Model`.
    """
    from ppd_lightning.light_imports import light_imports

    with light_imports():
        from ppd_lightning.opened import Model

    return Model(folder, base, codec)


def __getattr__(name: str) -> str:
    if name == "__version__":
        from importlib.metadata import version

        return version("ppd-lightning")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
