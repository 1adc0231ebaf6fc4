"""A part of a run that an option of the configuration chooses: one class and one YAML file.

The file's `target` names the class. The class is a frozen dataclass: its fields are its settings, its methods do the
work. What is heavy is imported inside of methods, so that a configuration can be checked without it.

    @settings
    class IPO(Objective):
        '''Identity preference optimisation.'''

        tau: Positive
        '''Strength of the regularisation.'''

        def loss(self, errors: PairErrors, weight: Tensor) -> Loss: ...
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass as plain_dataclass
from typing import Any, TypeVar, dataclass_transform

from pydantic import Field, PlainValidator, TypeAdapter
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticCustomError

from ppd_lightning.settings.values import CHECKS

Kind = TypeVar("Kind", bound="Part")
Class = TypeVar("Class", bound=type)
Base = TypeVar("Base")


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(Field,))
def settings(kind: Class) -> Class:
    """A class as a frozen dataclass whose fields pydantic checks, all faults at once; strings below them document."""
    made: Any = dataclass(frozen=True, kw_only=True, config=CHECKS)(kind)
    checked: Class = made
    return checked


@plain_dataclass(frozen=True)
class Finding:
    """One thing that a part needs: what was found, and what to do where that is not enough (none means that it is)."""

    need: str
    found: str
    remedies: tuple[str, ...] = ()


@settings
class Part:
    """What a group of the configuration chooses by `target`."""

    target: str = ""
    """Import path of its class: one of this package's, or one's own on Python's path."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "target", f"{type(self).__module__}.{type(self).__qualname__}")

    def contradictions(self) -> Iterator[str]:
        """A sentence for each pair of its own values that exclude each other, beginning with `group.key: `."""
        yield from ()

    def extras(self) -> tuple[str, ...]:
        """The extras of this project whose packages it needs."""
        return ()

    def findings(self) -> Iterator[Finding]:
        """What it needs of this machine, for `ppd doctor`."""
        yield from ()


def part_class(target: str, base: type[Base]) -> type[Base]:
    """The class that a `target` names.

    Raises:
        ValueError: there is no such module or class, or it is not derived from `base`.
    """
    module, _, name = target.rpartition(".")
    try:
        found: Any = getattr(importlib.import_module(module), name)
    except Exception as error:  # whatever the module does when it is imported
        raise ValueError(
            f"it cannot be imported ({error}); expected package.module.Class, on the Python path"
        ) from None
    if not (isinstance(found, type) and issubclass(found, base)):
        raise ValueError(f"it is no {base.__name__}; expected a class derived from {base.__module__}.{base.__name__}")
    return found


def by_target(base: type[Kind]) -> Any:
    """The check of a field that holds a part: a mapping becomes the object that its `target` names.

    Faults have the types of pydantic's, and `target` where no class is found.
    """

    def check(value: object) -> Kind:
        if isinstance(value, base):
            return value
        if not isinstance(value, dict):
            raise PydanticCustomError("group", "a group of keys was expected")
        target = value.get("target")
        if not isinstance(target, str) or not target:
            raise PydanticCustomError("target", "expected the import path of a class")
        try:
            kind = part_class(target, base)
        except ValueError as error:
            raise PydanticCustomError("target", "{why}", {"why": str(error)}) from None
        made: Kind = _adapter(kind).validate_python(value)
        return made

    return PlainValidator(check)


def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
