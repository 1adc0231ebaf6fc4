"""Every fault of a configuration at once, as sentences for the person who wrote it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import takewhile
from typing import Any

from omegaconf import MISSING
from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from ppd_lightning.config.contradictions import contradictions
from ppd_lightning.config.keys import ANY_NAME, known_keys, suggestion
from ppd_lightning.config.origins import Origins
from ppd_lightning.config.root import PARTS, Config
from ppd_lightning.settings.part import Part, part_class
from ppd_lightning.settings.plain_text import plain_text

CONFIG = TypeAdapter(Config)
OWN_WORDS = ("precision", "blend", "target", "path", "user", "caption", "metric", "repository")
"""The errors whose message says more than what is expected."""


def check(
    values: Mapping[str, Any], origins: Origins | None = None, beside: Mapping[str, Any] | None = None
) -> tuple[Config | None, list[str]]:
    """The typed configuration of plain nested values, or None and what is wrong with them.

    Types, ranges, unknown and missing keys are looked at everywhere; contradictions among the values that are sound
    and those, by dotted key, that stand `beside` the configuration (a launcher's).
    """
    values = _without_missing(values)
    config: Config | None = None
    errors: list[ErrorDetails] = []
    try:
        config = CONFIG.validate_python(values)
    except ValidationError as failure:
        errors = failure.errors(include_url=False)
    classes = _classes(values)
    telling = {_key(error, values) for error in errors if error["type"] in OWN_WORDS}
    errors = [error for error in errors if error["type"] in OWN_WORDS or _key(error, values) not in telling]
    keys = [_key(error, values) for error in errors]
    faults = [_sentence(key, error, values, classes, origins) for key, error in zip(keys, errors, strict=True)]
    unwritable = [
        f"{key}: {why}{origins.of(key) if origins is not None else ''}"
        for key, value in _texts(values)
        if key not in keys and (why := _unwritable(value) or _blank(key, value))
    ]
    faults += unwritable
    sound = {key: value for key, value in _leaves(values) if not any(f"{key}.".startswith(f"{bad}.") for bad in keys)}
    parts = {group: part for group in classes if (part := _part(classes[group], values[group])) is not None}
    opposed = [
        f"{sentence}{origins.of(sentence.partition(':')[0])}" if origins is not None else sentence
        for sentence in contradictions({**sound, **(beside or {})}, classes, parts)
    ]
    return (None if opposed or unwritable else config), [*dict.fromkeys(faults), *opposed]


def _classes(values: Mapping[str, Any]) -> dict[str, type[Part]]:
    """The classes of the groups that hold a part, where their `target` names one."""
    found: dict[str, type[Part]] = {}
    for group, base in PARTS.items():
        target = values[group].get("target") if isinstance(values.get(group), dict) else None
        if isinstance(target, str):
            try:
                found[group] = part_class(target, base)
            except ValueError:
                continue  # it is among the faults
    return found


def _part(kind: type[Part], values: Mapping[str, Any]) -> Part | None:
    """A part, where its own values are sound."""
    try:
        part: Part = TypeAdapter(kind).validate_python(values)
    except ValidationError:
        return None
    return part


def _key(error: ErrorDetails, values: Mapping[str, Any]) -> str:
    """The dotted key of an error: a list for its items, a value for its types, a reward for its options.

    Args:
        values: that the error is about.
    """
    parts: list[str] = []
    inside: Any = values
    for part in takewhile(lambda part: isinstance(part, str), error["loc"]):
        if not isinstance(inside, Mapping):
            break  # what follows names one of the types that the value may have
        parts.append(str(part))
        inside = inside.get(part, {})
    if parts[0] == "rewards":
        del parts[3:]
    return ".".join([*parts, "target"] if error["type"] == "target" else parts)


def _sentence(
    key: str,
    error: ErrorDetails,
    values: Mapping[str, Any],
    classes: Mapping[str, type[Part]],
    origins: Origins | None,
) -> str:
    group = key.rpartition(".")[0]
    where = (origins.of(key) or origins.of_group(key)) if origins is not None else ""
    rewards = values.get("rewards")
    known = known_keys(classes, tuple(rewards) if isinstance(rewards, dict) and rewards else (ANY_NAME,))
    if error["type"] == "unexpected_keyword_argument":
        siblings = [name for name in known if name.rpartition(".")[0] == group]
        hint = suggestion(key, known) or f"; the keys here are {', '.join(siblings)}"
        return f"{key}: no such key{hint}{where}"
    found = dict(_leaves(values)).get(key)
    if error["type"] == "missing" or (error["type"] == "target" and found is None):
        if key not in known:
            return f"{key}: the whole group is missing"
        file = origins.of_group(group) if origins is not None else ""
        return f"{key}: needs a value ({known[key].expected}): {known[key].meaning.rstrip('.')}{file}"
    if error["type"] in OWN_WORDS:
        return f"{key}: {found} is refused, {error['msg']}{where}"
    if error["type"] == "string_too_short":
        return f"{key}: must not be empty{where}"
    expected = "a group of keys"
    if key in known:
        expected = known[key].expected
    elif group in known:  # a mapping, whose entry it is
        expected = known[group].expected.removeprefix("a mapping of names to ")
    return f"{key}: must be {expected}, not {_short(found)}{where}"


def _short(value: object) -> str:
    """As it is written in Python, the beginning of what is long."""
    is_huge = isinstance(value, int) and abs(value) >= 2**1000  # Python writes no number of thousands of digits
    words = "a number of hundreds of digits" if is_huge else repr(value)
    return words if len(words) <= 200 else f"{words[:200]}..."


def _unwritable(text: str) -> str:
    """Why a text cannot be kept in files and logs; empty where it can."""
    if "\0" in text:
        return "holds the character NUL, which no file and no log takes; leave it out"
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        return "holds bytes that are no UTF-8, as old names of files do; rename the file, and type its new name"
    return ""


def _blank(key: str, text: str) -> str:
    """Why a text that nobody sees is no name; an option of a reward may be a space."""
    if not text or plain_text(text) or ".options." in key:
        return ""
    return f"must not be blank, and {_short(text)} shows nothing; give a name, or leave the key out"


def _texts(values: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """The texts among values and in their lists, by dotted key."""
    if isinstance(values, str):
        yield prefix, values
    elif isinstance(values, Mapping):
        for name, value in values.items():
            yield from _texts(value, f"{prefix}.{name}" if prefix else str(name))
    elif isinstance(values, list):
        for value in values:
            yield from _texts(value, prefix)


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        yield f"{prefix}{name}", value
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")


def _without_missing(values: Mapping[str, Any]) -> dict[str, Any]:
    """Hydra's `???` stands for a value that is still to be given."""
    return {
        key: _without_missing(value) if isinstance(value, dict) else value
        for key, value in values.items()
        if value != MISSING
    }
