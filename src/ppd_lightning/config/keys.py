"""Every key that a configuration can have, in words: for messages and for `--help`."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import TypeAdapter

from ppd_lightning.config.groups import options
from ppd_lightning.config.root import PARTS, Config
from ppd_lightning.errors import UserError
from ppd_lightning.rewards.settings import RewardSettings
from ppd_lightning.settings.part import Part, part_class
from ppd_lightning.storage.yaml_files import yaml_text

LIMITS = {"exclusiveMinimum": ">", "minimum": ">=", "exclusiveMaximum": "<", "maximum": "<="}
TYPES = {
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "string": "text",
    "null": "null",
}

NAMED = {"string": "text", "integer": "number", "number": "number", "boolean": "boolean"}
OF_NAME = "_of_name"
ANY_NAME = "NAME"
"""Stands for the name of a reward."""

Classes = tuple[tuple[str, tuple[type[Part], ...]], ...]
"""For groups that hold a part: the classes whose keys are given."""


@dataclasses.dataclass(frozen=True)
class Key:
    """A dotted key, what may stand there and what it means.

    values: all that may stand there, where these are few. taken: the kinds of values that may: text, texts (a list),
    number, boolean; or texts by name, as text_of_name.
    """

    name: str
    expected: str
    meaning: str
    values: tuple[str, ...] = ()
    taken: frozenset[str] = frozenset()


def known_keys(
    classes: Mapping[str, type[Part]] | None = None,
    rewards: tuple[str, ...] = (ANY_NAME,),
    config_dir: Path | None = None,
) -> dict[str, Key]:
    """The keys by name, in the order of the groups.

    Args:
        classes: the class of a group's part; of a group that is not named, all classes of its options.
        rewards: the names of the rewards, whose keys are given.
        config_dir: a further folder of options.
    """
    named = classes or {}
    chosen = {group: (named[group],) if group in named else option_classes(group, config_dir) for group in PARTS}
    return _known_keys(tuple(chosen.items()), rewards)


@cache
def option_classes(group: str, config_dir: Path | None = None) -> tuple[type[Part], ...]:
    """The classes that the options of a group name; one that cannot be imported is left out."""
    found: dict[type[Part], None] = {}
    for file in options(config_dir).get(group, {}).values():
        try:
            text = yaml_text(file)
        except UserError:
            continue  # composing says so, where it is chosen
        for target in re.findall(r"^target:\s*[\"']?([\w.]+)", text, re.MULTILINE):
            try:
                found[part_class(target, PARTS[group])] = None
            except ValueError:
                continue  # composing says so
    return tuple(found)


def taken_by(name: str, config_dir: Path | None = None) -> frozenset[str]:
    """The kinds of values (`Key.taken`) that a key may have in any of the options; none for one that is not known."""
    parts = name.split(".")
    if parts[0] == "rewards" and len(parts) > 1:
        parts[1] = ANY_NAME
    known = known_keys(config_dir=config_dir)
    if (key := known.get(".".join(parts))) is not None:
        return key.taken
    group = known.get(".".join(parts[:-1]))
    by_name = group.taken if group is not None else frozenset[str]()
    return frozenset(kind.removesuffix(OF_NAME) for kind in by_name if kind.endswith(OF_NAME))


def suggestion(name: str, known: Mapping[str, Key]) -> str:
    """`; did you mean ...?` for an unknown key: one spelt alike, or the same name in another group."""
    group, _, last = name.rpartition(".")
    siblings = {key.rpartition(".")[2]: key for key in known if key.rpartition(".")[0] == group}
    groups = {key.partition(".")[0] for key in known if "." in key and not group}
    close = get_close_matches(last, [*siblings, *groups], 1)
    named_alike = [key for key in known if key.rpartition(".")[2] == last]
    hints = [*(siblings.get(match, match) for match in close), *named_alike]
    return f"; did you mean {hints[0]}?" if hints else ""


@cache
def _known_keys(classes: Classes, rewards: tuple[str, ...]) -> dict[str, Key]:
    parts, types = dict(classes), get_type_hints(Config)
    found: dict[str, Key] = {}
    for name, own in _keys_of(Config, skipped={*parts, "rewards", *_groups()}):
        found[name] = own
    ordered: dict[str, Key] = {}
    for field in dataclasses.fields(Config):
        if field.name in found:
            ordered[field.name] = found[field.name]
            continue
        kinds = parts.get(field.name) or ((RewardSettings,) if field.name == "rewards" else (types[field.name],))
        prefixes = [f"rewards.{reward}" for reward in rewards] if field.name == "rewards" else [field.name]
        for prefix in prefixes:
            for kind in kinds:
                for name, key in _keys_of(kind):
                    dotted = f"{prefix}.{name}"
                    same = ordered.get(dotted, key)
                    both = same.expected if same.expected == key.expected else f"{same.expected} or {key.expected}"
                    values = tuple(dict.fromkeys([*same.values, *key.values]))
                    ordered[dotted] = Key(dotted, both, same.meaning, values, same.taken | key.taken)
    return ordered


def _groups() -> list[str]:
    """The groups that are dataclasses of their own."""
    return [name for name, kind in get_type_hints(Config).items() if dataclasses.is_dataclass(kind)]


def _keys_of(kind: type, skipped: frozenset[str] | set[str] = frozenset()) -> Iterator[tuple[str, Key]]:
    """The keys of one dataclass, each by its own name."""
    for name, field in kind.__pydantic_fields__.items():  # type: ignore[attr-defined]
        if name in skipped:
            continue
        schema = TypeAdapter(field.rebuild_annotation()).json_schema()
        yield (
            name,
            Key(name, _expected(schema), _meaning(kind, name), tuple(_values(schema)), frozenset(_taken(schema))),
        )


def _meaning(kind: type, name: str) -> str:
    """The docstring of a field: pydantic does not hand one on to a subclass."""
    for base in kind.__mro__:
        field = getattr(base, "__pydantic_fields__", {}).get(name)
        if field is not None and field.description:
            return str(field.description)
    return ""


def _values(field: Mapping[str, Any]) -> list[str]:
    """As they are written on the command line; nothing where a number, a text or a list may stand there as well."""
    if "anyOf" in field:
        choices = [_values(choice) for choice in field["anyOf"]]
        return [value for choice in choices for value in choice] if all(choices) else []
    if "enum" in field or "const" in field:
        return [str(value) for value in field.get("enum", [field.get("const")])]
    return {"boolean": ["true", "false"], "null": ["null"]}.get(field["type"], [])


def _taken(field: Mapping[str, Any]) -> Iterator[str]:
    if "anyOf" in field:
        for choice in field["anyOf"]:
            yield from _taken(choice)
    elif "const" not in field and "enum" not in field:
        kind = field["type"]
        if kind == "array" and "text" in set(_taken(field["items"])):
            yield "texts"
        elif kind == "object":
            yield from (f"{inner}{OF_NAME}" for inner in _taken(field["additionalProperties"]))
        elif kind in NAMED:
            yield NAMED[kind]


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
    limits = [f"{sign} {_number(field[limit])}" for limit, sign in LIMITS.items() if limit in field]
    return " ".join([TYPES[field["type"]], " and ".join(limits)]).strip()


def _number(limit: float) -> str:
    """With all of its digits, grouped where there are many."""
    return f"{limit:,}" if isinstance(limit, int) or limit >= 1000 else f"{limit:g}"
