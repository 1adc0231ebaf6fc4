"""Imports of heavy packages, without what they import themselves and nobody here uses.

One network of diffusers brings in half of what is installed: its package imports every other network, transformers'
detection losses import scipy's optimisers, image processors import torchvision's detection models.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from threading import RLock
from types import ModuleType
from typing import Any

DEFERRED: Mapping[str, tuple[str, ...]] = {
    "diffusers.models.transformers": (),
    "diffusers.models.unets": (),
    "scipy.integrate": (),
    "scipy.optimize": ("linear_sum_assignment",),
    "scipy.stats": (),
    "torchvision.datasets": (),
    "torchvision.models": (),
    "torchvision.ops": (),
    "transformers.models": (),
}
"""Modules that run when something of theirs is used; their functions that are imported by name and used much later."""


@contextmanager
def light_imports() -> Iterator[None]:
    """What is imported for the first time within leaves the modules of `DEFERRED` until something of them is used.

    Nothing else changes: such a module is complete to whoever asks it for anything, here or elsewhere. Garbage is not
    collected within: imports make hardly any, and looking for it takes half a second.
    """
    finder, collecting = _Finder(), gc.isenabled()
    gc.disable()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        if collecting:
            gc.enable()


class _Finder(MetaPathFinder):
    """Finds the modules of `DEFERRED`, as Python would, and puts them off."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in DEFERRED:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Deferring(spec.loader, DEFERRED[fullname])
        return spec


class _Deferring(Loader):
    """Runs a module when it is asked for something, once, whichever thread asks."""

    def __init__(self, loader: Loader, functions: tuple[str, ...]) -> None:
        self.functions = functions
        self._loader, self._lock, self._begun = loader, RLock(), False

    def exec_module(self, module: ModuleType) -> None:
        """Leave it for later."""
        module.__class__ = _Deferred

    def run(self, module: ModuleType) -> ModuleType:
        """The module as it is after it ran; it may have put another in its place."""
        with self._lock:
            if not self._begun:
                self._begun = True
                try:
                    self._loader.exec_module(module)
                except BaseException:
                    self._begun = False
                    raise
                module.__class__ = ModuleType
                if module.__spec__ is not None:
                    module.__spec__.loader = module.__loader__ = self._loader
        return sys.modules[module.__name__]


class _Deferred(ModuleType):
    """A module that has not run yet."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name != "__all__":
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        loader = self.__loader__
        if not isinstance(loader, _Deferring):  # another thread ran it just now
            return getattr(sys.modules[self.__name__], name)
        if name in loader.functions:
            return self._later(loader, name)
        now = loader.run(self)
        return ModuleType.__getattribute__(self, name) if now is self else getattr(now, name)

    def _later(self, loader: _Deferring, name: str) -> Callable[..., Any]:
        def function(*arguments: Any, **named: Any) -> Any:
            return getattr(loader.run(self), name)(*arguments, **named)

        return function
