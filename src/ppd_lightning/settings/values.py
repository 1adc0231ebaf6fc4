"""The kinds of values that keys take, their ranges, and how the schemas are checked.

A range ends where arithmetic overflows, memory is exhausted or work never ends on any machine; what is
wise is narrower. A setting with a range of its own says so at its field, as in
`Annotated[int, Strict(), Field(ge=1, le=1024)]`.
"""

from __future__ import annotations

import re
from math import isclose
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, Strict, WithJsonSchema
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticCustomError

from ppd_lightning.settings.paths import home_expanded
from ppd_lightning.settings.plain_text import plain_text, user_name

CHECKS = ConfigDict(extra="forbid", use_attribute_docstrings=True)

OF_HUB = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?"
"""An owner or a name, as the model hub takes it."""


def _refuse_half(value: object) -> object:
    if value in ("fp16", "float16", "half", 16, "16"):
        raise PydanticCustomError("precision", "activations overflow in fp16: use bf16 or fp32")
    return value


def _of_this_machine(text: str) -> str:
    if "://" in text:
        raise PydanticCustomError("path", "files are written to folders of this machine only, and this is a URL")
    return text


def _said(caption: str) -> str:
    if not plain_text(caption):
        raise PydanticCustomError("caption", "a caption is empty, or nothing of it is seen")
    return caption


def _as_called(value: object) -> object:
    """A user's name as tables read it; what is neither text nor a whole number stays, and is refused as such."""
    try:
        return user_name(value) or value
    except ValueError as error:
        if isinstance(value, str):
            raise PydanticCustomError("user", "the name of a user {reason}", {"reason": str(error)}) from None
        return value


def _repository(name: str) -> str:
    if not re.fullmatch(f"{OF_HUB}/{OF_HUB}", name) or "--" in name or ".." in name or name.endswith(".git"):
        expected = (
            "the model hub has OWNER/NAME: of each at most 96 letters of ASCII, digits, _, - and ., which neither "
            "begins nor ends with - or ., without -- and .., and not ending in .git"
        )
        raise PydanticCustomError("repository", "{expected}", {"expected": expected})
    return name


def _without_sign_of_zero(value: float) -> float:
    """-0.0 is 0.0: equal settings must name the same folder."""
    return value + 0.0


def _path(text: str) -> str:
    try:
        return home_expanded(text)
    except ValueError as error:
        raise PydanticCustomError("path", "{why}", {"why": str(error)}) from None


Zero = AfterValidator(_without_sign_of_zero)

Count = Annotated[int, Strict(), Field(ge=1, le=1_000_000_000)]
Natural = Annotated[int, Strict(), Field(ge=0, le=1_000_000_000)]
Seed = Annotated[int, Strict(), Field(ge=0, le=2**32 - 1)]
Draws = Annotated[int, Strict(), Field(ge=1, le=10_000)]
"""How often something is drawn, tried or made anew for each person, caption or pair."""
Batch = Annotated[int, Strict(), Field(ge=1, le=1_000_000)]
"""Things worked on at once."""
Components = Annotated[int, Strict(), Field(ge=1, le=65_536)]
"""Width of a user embedding."""
Pixels = Annotated[int, Strict(), Field(ge=1, le=16_384)]
"""A side of an image."""
Resamples = Annotated[int, Strict(), Field(ge=1, le=100_000)]
"""Of a bootstrap: each is as large as the people or captions that are drawn from."""
Positive = Annotated[float, Strict(), Field(gt=0, le=1_000_000, allow_inf_nan=False)]
NonNegative = Annotated[float, Strict(), Field(ge=0, le=1_000_000, allow_inf_nan=False), Zero]
Guidance = Annotated[float, Strict(), Field(ge=0, le=1_000, allow_inf_nan=False), Zero]
Temperature = Annotated[float, Strict(), Field(ge=0, le=100, allow_inf_nan=False), Zero]
"""Of the tokens that a language model samples."""
Real = Annotated[float, Strict(), Field(allow_inf_nan=False), Zero]
Fraction = Annotated[float, Strict(), Field(ge=0, le=1), Zero]
ProperFraction = Annotated[float, Strict(), Field(ge=0, lt=1), Zero]
Switch = Annotated[bool, Strict()]
Name = Annotated[str, BeforeValidator(lambda value: str(value) if type(value) is int else value)]
PathText = Annotated[str, Field(min_length=1), AfterValidator(_path)]
"""A file, a folder, a URL or a name on the model hub; `~` is one's home folder."""
Repository = Annotated[str, AfterValidator(_repository)]
"""OWNER/NAME on the model hub."""
Caption = Annotated[str, AfterValidator(_said)]
"""A caption with a letter that is seen."""
FolderText = Annotated[PathText, AfterValidator(_of_this_machine)]
"""A file or folder that is written: of this machine."""
User = Annotated[str, Field(min_length=1), BeforeValidator(_as_called)]
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
