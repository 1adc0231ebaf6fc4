"""How values are typed: a path or a text may stand on the command line as it is.

The values of overrides have Hydra's grammar, in which `=`, `~`, `!` and letters outside of ASCII are no part of a word,
and `1e5` is a number. For a key that takes text (a path, a name, a caption), and for the items of its lists:

- What Hydra reads as one text is that text, so its quotes and escapes work: `output='/data/a,b'`.
- Everything else is the text as it was typed: `output=/data/run=1`, `output=/data/Übung`, `output=/a,b`, `output=1e5`,
  `generation.users=[José, 007]`; `null` is no value where the key may have none.
- With `-m` commas separate values, and brackets and quotes hold together: `-m output=/a=1,'/b,c'`. Functions such as
  `range(...)` and `glob(...)` are Hydra's, and need `-m`.
- `${...}` is replaced in all of them.

A leading `~` is the home folder wherever a path is expected (`settings.paths`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, ValueType
from hydra.errors import HydraException

from ppd_lightning.config.groups import LIST_GROUPS, OF_HYDRA
from ppd_lightning.config.keys import taken_by

PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_./-]*")
NO_TEXT = ("null", "true", "false", "inf", "nan")
"""Words that Hydra reads as something else, in small or capital letters."""
LONGEST, MOST_COMMAS, DEEPEST = 100_000, 2_000, 40
"""Characters and commas of an override, and brackets inside of each other."""
PAIRS = {"[": "]", "{": "}"}


class UnreadableError(ValueError):
    """An override that Hydra does not read; says why."""


def quoted(text: str) -> str:
    """`text` as a value of an override, whatever is in it."""
    return "'" + re.sub(r"(\\*)('|\Z)", lambda m: m[1] * 2 + (m[2] and "\\'"), text) + "'"


def read_override(text: str, *, several: bool, config_dir: Path | None = None) -> tuple[str, Override]:
    """An override as Hydra's grammar has it, and what Hydra reads in it.

    Args:
        several: whether commas separate values (`-m`).
        config_dir: a further folder of options, whose classes may have keys of their own.

    Raises:
        UnreadableError: it cannot be read.
    """
    if len(text) > LONGEST:
        raise UnreadableError(f"it has {len(text):,} characters, and at most {LONGEST:,} are read; use a file")
    if text.count(",") > MOST_COMMAS:
        raise UnreadableError(f"it has {text.count(','):,} commas, and at most {MOST_COMMAS:,} are read; use a file")
    if _depth(text) > DEEPEST:
        raise UnreadableError(f"its brackets are nested more than {DEEPEST} deep")
    in_grammar = _in_grammar(text, several, config_dir)
    return in_grammar, _parsed(in_grammar)


def _parsed(text: str) -> Override:
    try:
        return OverridesParser.create().parse_override(text)
    except HydraException as error:
        raise UnreadableError(" ".join(str(error).split())) from error
    except (ValueError, ArithmeticError, RecursionError) as error:  # a number of thousands of digits
        raise UnreadableError(" ".join(str(error).split(";")[0].split())) from error


def _in_grammar(text: str, several: bool, config_dir: Path | None) -> str:
    match = re.fullmatch(r"(\+{0,2}([A-Za-z_][\w.-]*)=)(.*)", text, re.DOTALL)
    if match is None or match[2].split(".")[0] in ("hydra", *LIST_GROUPS) or match[2] in OF_HYDRA:
        return text
    head, key, value = match.groups()
    if PLAIN.fullmatch(value) and value.lower() not in NO_TEXT:
        return text
    taken = taken_by(key, config_dir)
    if not taken & {"text", "texts"}:
        return text
    try:
        override = _parsed(text)
    except UnreadableError:
        text_too = "text" in taken or value.strip()[:1] != "["  # the check says that a list was expected
        return head + _as_typed(value, several, in_list=False, lists="texts" in taken, text=text_too)
    if override.is_sweep_override():
        simple = override.value_type is ValueType.SIMPLE_CHOICE_SWEEP
        is_text = simple and not several and "text" in taken and value[0] not in "[{'\""
        return head + quoted(value) if is_text else text
    found = override.value()
    if found is None or isinstance(found, str):
        return text
    if isinstance(found, list) and "texts" in taken:
        whole = all(isinstance(item, str | list | dict) for item in found)
        return text if whole else head + _as_typed(value, several, in_list=False, lists=True, text=False)
    if "text" not in taken or (isinstance(found, int | float) and taken & {"number", "boolean"}):
        return text
    return head + quoted(value)


def _as_typed(value: str, several: bool, *, in_list: bool, lists: bool = True, text: bool = True) -> str:
    """What Hydra does not read, quoted piece by piece."""
    inner = value.strip()
    several_lists = lists and inner[:1] == "[" and not in_list
    if (several or several_lists) and len(pieces := list(_pieces(value))) > 1:
        return ",".join(_as_typed(piece, False, in_list=in_list, lists=lists, text=text) for piece in pieces)
    if lists and inner[:1] == "[" and inner[-1:] == "]" and len(inner) > 2:
        return "[" + ",".join(_as_typed(piece, False, in_list=True) for piece in _pieces(inner[1:-1])) + "]"
    if in_list and inner[:1] == "{" and inner[-1:] == "}":
        return "{" + ",".join(_entry(piece) for piece in _pieces(inner[1:-1])) + "}"
    if not text or _is_quoted(inner) or (in_list and not inner):
        return value
    return quoted(inner if in_list else value)


def _entry(piece: str) -> str:
    """An entry of a mapping, such as `user: José` or `weight: 0.3`."""
    name, colon, value = piece.partition(":")
    try:
        float(value)
    except ValueError:
        return f"{name}{colon}{_as_typed(value, False, in_list=True)}"
    return piece


def _is_quoted(text: str) -> bool:
    """Whether Hydra reads it as one text in quotes."""
    if text[:1] not in ("'", '"'):
        return False
    try:
        return isinstance(_parsed(f"key={text}").value(), str)
    except UnreadableError:
        return False


def _pieces(text: str) -> Iterator[str]:
    """The parts between commas that stand in no bracket and no quotes; a quote counts where a part begins with it."""
    begin, closing, quote = 0, "", ""
    for place, letter in enumerate(text):
        if quote:
            if letter == quote and (len(text[:place]) - len(text[:place].rstrip("\\"))) % 2 == 0:
                quote = ""
        elif letter in "'\"" and _begins(text[begin:place]):
            quote = letter
        elif letter in PAIRS:
            closing += PAIRS[letter]
        elif closing and letter == closing[-1]:
            closing = closing[:-1]
        elif letter == "," and not closing:
            yield text[begin:place]
            begin = place + 1
    yield text[begin:]


def _begins(before: str) -> bool:
    """Whether what comes next begins a part, or an entry in brackets of one."""
    return not before.strip() or before.rstrip()[-1] in "[{,:"


def _depth(text: str) -> int:
    deepest = depth = 0
    for letter in text:
        depth += (letter in "[{(") - (letter in "]})")
        deepest = max(deepest, depth)
    return deepest
