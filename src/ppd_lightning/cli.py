# PYTHON_ARGCOMPLETE_OK
"""`ppd VERB... [group=option] [key=value] [-m]`: read the words, check the configuration, run the verbs.

What a word needs is imported when it is met, so that `--help` and every answer about a configuration come quickly: the
help without Hydra, a configuration without torch.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.metadata import version
from pathlib import Path

from ppd_lightning import signals
from ppd_lightning.commands.verbs import require_known, result_of, run_verb
from ppd_lightning.distributed.rank import current_rank
from ppd_lightning.endings import at_work, ended_by, open_what_is_closed, quiet_output, write_anything
from ppd_lightning.errors import USER_MISTAKE, UserError
from ppd_lightning.flags import FLAGS, make_parser
from ppd_lightning.light_imports import light_imports
from ppd_lightning.logging_setup import set_up_logging
from ppd_lightning.masking import for_people
from ppd_lightning.process_folders import require_folders
from ppd_lightning.source_commit import source_commit

OF_SWEEPS = ("hydra.launcher", "hydra.sweeper")
"""The groups of Hydra that only -m reads."""


@dataclass(frozen=True)
class Request:
    """The command line, taken apart."""

    verbs: list[str]
    overrides: list[str]
    multirun: bool
    dry_run: bool
    config_dir: Path | None
    help: bool
    version: bool


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, or complete it where a shell asks for that.

    Returns:
        the exit code: 0, 1 where something is missing or failed, 2 for a mistake in what was asked, 128 + N where
            signal N stopped it, 141 where nobody reads its output any more.
    """
    if "_ARGCOMPLETE" in os.environ:
        from ppd_lightning.completion import complete

        complete(make_parser())
    open_what_is_closed()
    with signals.answering():
        set_up_logging()
        write_anything()
        try:
            code = _answer(_parse(sys.argv[1:] if arguments is None else arguments))
            sys.stdout.flush()
        except BaseException as error:
            ending = ended_by(error)
            if ending is None:
                raise
            if current_rank().is_first:
                for line in ending.lines:
                    print(f"ppd: {for_people(line)}", file=sys.stderr)
            code = ending.code
        quiet_output()
    return code


def _parse(arguments: Sequence[str]) -> Request:
    try:
        given, unknown = make_parser().parse_known_intermixed_args(list(arguments))
    except argparse.ArgumentError as error:
        raise UserError(str(error)) from error
    if unknown:
        raise UserError(_not_an_option(word) for word in unknown)
    settings = [word for word in given.words if "=" in word or word.startswith("~")]
    return Request(
        verbs=[word for word in given.words if word not in settings],
        overrides=settings,
        multirun=given.multirun,
        dry_run=given.dry_run,
        config_dir=given.config_dir,
        help=given.help,
        version=given.version,
    )


def _answer(request: Request) -> int:
    require_known(request.verbs)
    if request.version:
        commit = source_commit()
        print(f"ppd-lightning {version('ppd-lightning')}{f' (commit {commit})' if commit else ''}")
        return 0
    if request.help or not request.verbs:
        from ppd_lightning.help import print_help

        print_help(request.verbs, request.config_dir)
        return 0 if request.help else USER_MISTAKE
    require_folders()
    if request.multirun:
        from ppd_lightning.multirun import multirun

        return multirun(request.verbs, request.overrides, request.config_dir, dry_run=request.dry_run)
    of_sweeps = [word for word in request.overrides if word.replace("/", ".").startswith(OF_SWEEPS)]
    if of_sweeps:
        raise UserError(f"{word}: only what is started with -m is launched; give -m as well" for word in of_sweeps)
    with light_imports():
        from ppd_lightning.config.compose import compose
        from ppd_lightning.config.folders import data_folder, run_folder

    config = compose(request.overrides, request.config_dir)
    if request.dry_run:
        folders = f"data: {data_folder(config)}\nrun:  {run_folder(config)}"
        print(f"would run: {' '.join(request.verbs)}\n{for_people(folders)}")
        return 0
    for verb in request.verbs:
        at_work(verb, config)
        result = result_of(run_verb(verb, config))
        if result is not None:
            print(for_people(f"{verb}: {result}"))
    return 0


def _not_an_option(word: str) -> str:
    known = [name for flag in FLAGS for name in flag.names if name.startswith("--")]
    close = get_close_matches(word.partition("=")[0], known, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"{word}: no such option{hint} (settings are written key=value, without dashes)"
