"""Every key that a configuration can have, in words: for messages and for `--help`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from typing import Any

from pydantic import TypeAdapter

from ppd_lightning.config.schemas import Config, Data, User, VisionJudge

LIMITS = {"exclusiveMinimum": ">", "minimum": ">=", "exclusiveMaximum": "<", "maximum": "<="}
TYPES = {
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "string": "text",
    "null": "null",
}

TAGS = {"data": "name", "user": "kind", "judge": "kind"}
"""The groups that have several schemas, and the key that says which."""


@dataclass(frozen=True)
class Key:
    """A dotted key, what may stand there in words, what it means, and its values where these are a fixed set."""

    name: str
    expected: str
    meaning: str
    values: tuple[str, ...] = ()


ANY_NAME = "NAME"
"""Stands for the name of a reward."""


@cache
def known_keys(
    data: str | None = None,
    user: str | None = None,
    judge: str | None = None,
    rewards: tuple[str, ...] = (ANY_NAME,),
) -> dict[str, Key]:
    """The keys by name, in the order of the schemas.

    Args:
        data, user, judge: name a schema; None gives the keys of all.
        rewards: the names of the rewards, whose keys are given.
    """
    whole = TypeAdapter(Config).json_schema()
    # pydantic does not hand a docstring on to a subclass
    for schema in (leaf for group in (Data, User, VisionJudge) for leaf in _leaves_of(group)):
        for base in schema.__mro__[1:-1]:
            for name, field in TypeAdapter(base).json_schema().get("properties", {}).items():
                if "description" in field:
                    own = whole["$defs"][schema.__name__]["properties"][name]
                    own.setdefault("description", field["description"])
    found: dict[str, Key] = {}
    for key in _walk(whole, whole["$defs"], "", {"data": data, "user": user, "judge": judge}, rewards):
        same = found.get(key.name, key)
        both = same.expected if same.expected == key.expected else f"{same.expected} or {key.expected}"
        values = tuple(dict.fromkeys([*same.values, *key.values]))
        found[key.name] = Key(key.name, both, same.meaning, values)
    return found


def suggestion(name: str, known: Mapping[str, Key]) -> str:
    """`; did you mean ...?` for an unknown key: one spelt alike, or the same name in another group."""
    group, _, last = name.rpartition(".")
    siblings = {key.rpartition(".")[2]: key for key in known if key.rpartition(".")[0] == group}
    groups = {key.partition(".")[0] for key in known if "." in key and not group}
    close = get_close_matches(last, [*siblings, *groups], 1)
    named_alike = [key for key in known if key.rpartition(".")[2] == last]
    hints = [*(siblings.get(match, match) for match in close), *named_alike]
    return f"; did you mean {hints[0]}?" if hints else ""


def _leaves_of(schema: type) -> Iterator[type]:
    """The classes under a schema that have none under them."""
    child: type
    for child in schema.__subclasses__():
        yield from _leaves_of(child) if child.__subclasses__() else (child,)


def _walk(
    node: Mapping[str, Any],
    definitions: Mapping[str, Any],
    prefix: str,
    tags: Mapping[str, str | None],
    rewards: tuple[str, ...],
) -> Iterator[Key]:
    for name, field in node["properties"].items():
        dotted = f"{prefix}{name}"
        groups = [(dotted, field["$ref"])] if "$ref" in field else []
        if "discriminator" in field:
            schemas, tag = field["discriminator"]["mapping"], tags.get(dotted)
            groups = [(dotted, schemas[tag])] if tag in schemas else [(dotted, kind) for kind in schemas.values()]
        if isinstance(field.get("additionalProperties"), dict) and "$ref" in field["additionalProperties"]:
            groups = [(f"{dotted}.{reward}", field["additionalProperties"]["$ref"]) for reward in rewards]
        for place, reference in groups:
            yield from _walk(definitions[reference.rpartition("/")[2]], definitions, f"{place}.", tags, rewards)
        if not groups:
            yield Key(dotted, _expected(field), field.get("description", ""), tuple(_values(field)))


def _values(field: Mapping[str, Any]) -> list[str]:
    """As they are written on the command line; nothing where a number, a text or a list may stand there as well."""
    if "anyOf" in field:
        choices = [_values(choice) for choice in field["anyOf"]]
        return [value for choice in choices for value in choice] if all(choices) else []
    if "enum" in field or "const" in field:
        return [str(value) for value in field.get("enum", [field.get("const")])]
    return {"boolean": ["true", "false"], "null": ["null"]}.get(field["type"], [])


def _expected(field: Mapping[str, Any]) -> str:
    if "anyOf" in field:
        return " or ".join(_expected(choice) for choice in field["anyOf"])
    if "const" in field:
        return str(field["const"])
    if "enum" in field:
        return f"one of {', '.join(map(str, field['enum']))}"
    if field["type"] == "array":
        least, most = field.get("minItems", 0), field.get("maxItems")
        count = most if least == most else "one or more" if least else "any number"
        return f"a list of {count}, each {_expected(field['items'])}"
    if field["type"] == "object":
        return f"a mapping of names to {_expected(field['additionalProperties'])}"
    limits = [f"{sign} {field[limit]:g}" for limit, sign in LIMITS.items() if limit in field]
    return " ".join([TYPES[field["type"]], " and ".join(limits)]).strip()
