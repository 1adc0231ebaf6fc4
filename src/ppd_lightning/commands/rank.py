"""`python -m ppd_lightning.commands.rank CONFIG REPORT`: one rank of a training on several devices of this machine.

Started by `ppd train`, with its rank in the environment. CONFIG is the run's `config.yaml`; REPORT is the number of an
open file in which it leaves why it failed. On standard input comes the signal that the training was asked to stop by;
the rank ends when this is closed by the process that started it.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

from ppd_lightning import signals
from ppd_lightning.errors import USER_MISTAKE, UserError
from ppd_lightning.masking import for_people

GRACE = 10.0
"""Seconds from the interrupt to the end, whatever the process is waiting for."""
LATER = 2.0
"""Seconds by which a signal may reach one rank later than another."""


def main(config: Path, report: int) -> int:
    """Train; the exit code is that of `ppd`."""
    try:
        with signals.answering(single=True):
            threading.Thread(target=_end_with_standard_input, daemon=True).start()
            return _train(config, report)
    except signals.Stopped as stop:  # wherever it came, also while another error was looked at
        return stop.code


def _train(config: Path, report: int) -> int:
    try:
        with signals.deferred():
            from ppd_lightning.commands.verbs import run_verb
            from ppd_lightning.config.compose import read_config
            from ppd_lightning.endings import at_work, machine_fault
            from ppd_lightning.logging_setup import set_up_logging

        set_up_logging()
        settings = read_config(config)
        at_work("train", settings)
        run_verb("train", settings)
    except UserError as error:
        _leave(report, {"faults": error.faults})
        return USER_MISTAKE
    except Exception as error:
        stop = signals.stopping() or _stop_of_all()
        if stop is not None:
            return stop.code
        fault = machine_fault(error)
        if fault is not None:
            user = fault.code == USER_MISTAKE
            _leave(report, {"faults": [fault.sentence]} if user else {"machine": fault.sentence})
            return fault.code
        _leave(report, {"error": for_people(f"{type(error).__name__}: {error}")})
        raise
    return 0


def _stop_of_all() -> signals.Stopped | None:
    """The stop that this rank is asked for within a moment: the group breaks when another one is asked first."""
    try:
        time.sleep(LATER)
    except signals.Stopped as stop:
        return stop
    return None


def _leave(report: int, content: dict[str, object]) -> None:
    os.write(report, json.dumps(content).encode())


def _end_with_standard_input() -> None:
    while number := os.read(sys.stdin.fileno(), 1):  # not through its buffer, whose lock Python wants at its own end
        signals.ask(number[0])
    # Needs no lock of Python's, whatever the others are stuck in.
    faulthandler.dump_traceback_later(GRACE, exit=True, file=os.open(os.devnull, os.O_WRONLY))
    signals.ask(signal.SIGTERM, now=True)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
