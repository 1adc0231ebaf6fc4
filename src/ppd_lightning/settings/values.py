"""The kinds of values that keys take, and how the schemas are checked."""

from __future__ import annotations

from math import isclose
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, Strict
from pydantic_core import PydanticCustomError

CHECKS = ConfigDict(extra="forbid", use_attribute_docstrings=True)


def _refuse_half(value: object) -> object:
    if value in ("fp16", "float16", "half", 16, "16"):
        raise PydanticCustomError("precision", "activations overflow in fp16: use bf16 or fp32")
    return value


def _refuse_other_sums(blend: dict[str, float]) -> dict[str, float]:
    if not isclose(sum(blend.values()), 1, abs_tol=1e-6):
        raise PydanticCustomError("blend", "the weights of a blend of users must add up to 1")
    return blend


Count = Annotated[int, Strict(), Field(ge=1)]
Natural = Annotated[int, Strict(), Field(ge=0)]
Positive = Annotated[float, Strict(), Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Strict(), Field(ge=0, allow_inf_nan=False)]
Real = Annotated[float, Strict(), Field(allow_inf_nan=False)]
Fraction = Annotated[float, Strict(), Field(ge=0, le=1)]
ProperFraction = Annotated[float, Strict(), Field(ge=0, lt=1)]
Switch = Annotated[bool, Strict()]
Name = Annotated[str, BeforeValidator(lambda value: str(value) if type(value) is int else value)]
Blend = Annotated[dict[Name, Fraction], Field(min_length=1), AfterValidator(_refuse_other_sums)]
Precision = Annotated[Literal["fp32", "bf16"], BeforeValidator(_refuse_half)]
