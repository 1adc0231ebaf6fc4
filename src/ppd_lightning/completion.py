"""Tab completion of `ppd` in bash, zsh and fish, by argcomplete.

The shell runs `ppd` with the line so far in its environment and reads what may follow: verbs, flags, `group=option`,
`key=`, and the values of a key that has a fixed set of them. Keys need pydantic and are looked up only where a word has
begun; nothing here needs Hydra.
"""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NoReturn

from argcomplete.completers import BaseCompleter, DirectoriesCompleter
from argcomplete.finders import CompletionFinder
from argcomplete.lexers import split_line

from ppd_lightning.commands.verbs import VERBS
from ppd_lightning.config.groups import LIST_GROUPS, OF_HYDRA, options

OF_EVERY_VERB = ("experiment", "sweep", "seed", "output", *OF_HYDRA)
"""Groups and keys that no verb names, because all take them."""


def complete(parser: argparse.ArgumentParser) -> NoReturn:
    """Answer the shell and end the process; a line that makes no sense has no completions, and nothing is printed."""
    with contextlib.suppress(BaseException):
        _Finder()(parser, always_complete_options=False, default_completer=_Completer())  # ends the process
    os._exit(1)


class _Finder(CompletionFinder):
    """argcomplete's finder, for words that stand among flags: argparse takes them up to the first flag only."""

    def collect_completions(
        self, active_parsers: list[argparse.ArgumentParser], parsed_args: argparse.Namespace, cword_prefix: str
    ) -> list[str]:
        active = active_parsers[-1].active_actions  # type: ignore[attr-defined]  # argcomplete's own parser has it
        if not active and not cword_prefix.startswith("-"):
            active.extend(action for action in active_parsers[-1]._actions if not action.option_strings)
        return super().collect_completions(active_parsers, parsed_args, cword_prefix)


class _Completer(BaseCompleter):
    """What a value may be: a folder after --config-dir, and a word everywhere else."""

    def __call__(
        self, *, prefix: str, action: argparse.Action, parser: argparse.ArgumentParser, parsed_args: argparse.Namespace
    ) -> Iterable[str]:
        if action.option_strings:
            return DirectoriesCompleter()(prefix, action=action, parser=parser, parsed_args=parsed_args)
        _, _, _, words, _ = split_line(os.environ["COMP_LINE"], int(os.environ["COMP_POINT"]))
        verbs = [word for word in words if word in VERBS]
        return dict(words_for(prefix, verbs, parsed_args.config_dir, several=parsed_args.multirun))


def words_for(
    prefix: str, verbs: Iterable[str] = (), config_dir: Path | None = None, several: bool = False
) -> Iterator[tuple[str, str]]:
    """The words that begin with `prefix`, each with what it means.

    Args:
        prefix: what was typed of the word.
        verbs: those on the line; they say which groups and keys are read. Without one, all are.
        config_dir: a further folder of options.
        several: whether a setting may have several values, separated by commas.
    """
    name, equals, value = prefix.partition("=")
    read = {group for verb in verbs for group in VERBS[verb].groups}
    read = {*read, *OF_EVERY_VERB} if read else set()
    choices = _choices(config_dir)
    if not equals:
        candidates = {verb: known.meaning for verb, known in VERBS.items()}
        candidates |= {f"{group}=": "" for group in choices if not read or group in read}
        if prefix:
            candidates |= {f"{key}=": meaning for key, (meaning, _) in _keys(choices, read, config_dir).items()}
        yield from ((word, meaning) for word, meaning in candidates.items() if word.startswith(prefix))
        return
    values = choices[name] if name in choices else _keys(choices, set(), config_dir).get(name, ("", ()))[1]
    for completed in _values(value, values, name in LIST_GROUPS, several):
        yield f"{name}={completed}", ""


def _values(typed: str, values: Iterable[str], is_list: bool, several: bool) -> Iterator[str]:
    """`typed` with its last value completed; a list is [a,b], and several values for a sweep are a,b."""
    in_list = is_list and typed.startswith("[")
    head, last = "", typed
    if in_list or several:
        cut = max(typed.rfind(","), typed.rfind("[")) + 1
        head, last = typed[:cut], typed[cut:]
    given = head.strip("[").split(",")
    for value in values:
        if not value.startswith(last) or value in given:
            continue
        if in_list:
            yield f"{head}{value},"
            yield f"{head}{value}]"
        else:
            yield f"{head}{value}"
            if is_list and not typed:
                yield f"[{value}"


def _choices(config_dir: Path | None) -> dict[str, list[str]]:
    """The options of every group, Hydra's own among them."""
    found = {group: list(known) for group, known in options(config_dir).items()}
    for group, known in OF_HYDRA.items():
        found[group] = list(dict.fromkeys([*known, *found.get(group, [])]))
    return found


def _keys(
    choices: dict[str, list[str]], read: set[str], config_dir: Path | None
) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Meaning and fixed values of each key of the groups in `read`, or of all where that is empty."""
    from ppd_lightning.config.keys import known_keys  # pydantic

    if "reward" in read:
        read = {*read, "rewards"}
    keys = known_keys(rewards=tuple(choices["reward"]), config_dir=config_dir)
    return {name: (key.meaning, key.values) for name, key in keys.items() if not read or name.partition(".")[0] in read}
