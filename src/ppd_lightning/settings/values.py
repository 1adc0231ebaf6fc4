"""The kinds of values that keys take, and how the schemas are checked."""

from __future__ import annotations

from math import isclose
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, Strict, WithJsonSchema
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticCustomError

from ppd_lightning.settings.plain_text import user_name

CHECKS = ConfigDict(extra="forbid", use_attribute_docstrings=True)


def _refuse_half(value: object) -> object:
    if value in ("fp16", "float16", "half", 16, "16"):
        raise PydanticCustomError("precision", "activations overflow in fp16: use bf16 or fp32")
    return value


def _as_called(value: object) -> object:
    """A user's name as tables read it; what is neither text nor a whole number stays, and is refused as such."""
    try:
        return user_name(value) or value
    except ValueError as error:
        if isinstance(value, str):
            raise PydanticCustomError("user", "the name of a user {reason}", {"reason": str(error)}) from None
        return value


Count = Annotated[int, Strict(), Field(ge=1)]
Natural = Annotated[int, Strict(), Field(ge=0)]
Positive = Annotated[float, Strict(), Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Strict(), Field(ge=0, allow_inf_nan=False)]
Real = Annotated[float, Strict(), Field(allow_inf_nan=False)]
Fraction = Annotated[float, Strict(), Field(ge=0, le=1)]
ProperFraction = Annotated[float, Strict(), Field(ge=0, lt=1)]
Switch = Annotated[bool, Strict()]
Name = Annotated[str, BeforeValidator(lambda value: str(value) if type(value) is int else value)]
User = Annotated[str, BeforeValidator(_as_called)]
"""A user's name; 12 and 12.0 are "12", as in tables."""
Precision = Annotated[Literal["fp32", "bf16"], BeforeValidator(_refuse_half)]


@dataclass(frozen=True, kw_only=True, config=CHECKS)
class Share:
    """A user of a blend. The name is a value and no key, for the command line takes any name as a quoted value only."""

    user: User
    weight: Fraction


def _refuse_other_blends(blend: list[Share]) -> list[Share]:
    if not isclose(sum(share.weight for share in blend), 1, abs_tol=1e-6):
        raise PydanticCustomError("blend", "the weights of a blend of users must add up to 1")
    if len({share.user for share in blend}) < len(blend):
        raise PydanticCustomError("blend", "a user comes twice in a blend")
    return blend


Blend = Annotated[
    list[Share],
    Field(min_length=1),
    AfterValidator(_refuse_other_blends),
    WithJsonSchema({"const": "a blend such as [{user: ann, weight: 0.3}, {user: bob, weight: 0.7}]"}),
]
