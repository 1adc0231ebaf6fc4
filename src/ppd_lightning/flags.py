"""The flags of `ppd`, for the parser, the help and the completion."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from ppd_lightning.settings.paths import home_expanded


@dataclass(frozen=True)
class Flag:
    """A flag: its names, what it does, and what the help calls its value where it takes one (a folder)."""

    names: tuple[str, ...]
    meaning: str
    value: str = ""


FLAGS = (
    Flag(
        ("-m", "--multirun"),
        "run every combination of values given as a,b,c or by sweep=; runs.csv holds what came out",
    ),
    Flag(("--dry-run",), "check the configuration and show the folders; do nothing"),
    Flag(("--config-dir",), "a further folder of options, laid out as the shipped conf/", "DIR"),
    Flag(("-h", "--help"), "this text; after a verb, its groups and keys"),
    Flag(("--version",), "the version of ppd-lightning, and the commit of its source where that is known"),
)


def _folder(text: str) -> Path:
    try:
        return Path(home_expanded(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def make_parser() -> argparse.ArgumentParser:
    """The parser of the command line: `words` are the verbs and settings, in any order among the flags."""
    parser = argparse.ArgumentParser(prog="ppd", add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("words", nargs="*")
    for flag in FLAGS:
        if flag.value:
            parser.add_argument(*flag.names, type=_folder, metavar=flag.value, help=flag.meaning)
        else:
            parser.add_argument(*flag.names, action="store_true", help=flag.meaning)
    return parser
