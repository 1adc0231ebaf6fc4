"""`python -m ppd_lightning.commands.rank CONFIG REPORT`: one rank of a training on several devices of this machine.

Started by `ppd train`, with its rank in the environment. CONFIG is the run's `config.yaml`; REPORT is the file in which
it leaves why it failed. It ends when its standard input is closed, which the process holds that started it.
"""

from __future__ import annotations

import _thread
import faulthandler
import os
import sys
import threading
from pathlib import Path

from ppd_lightning.commands.verbs import run_verb
from ppd_lightning.config.compose import read_config
from ppd_lightning.errors import INTERRUPTED, USER_MISTAKE, UserError
from ppd_lightning.logging_setup import set_up_logging
from ppd_lightning.masking import for_people
from ppd_lightning.storage.atomic import write_json_atomic

GRACE = 10.0
"""Seconds from the interrupt to the end, whatever the process is waiting for."""


def main(config: Path, report: Path) -> int:
    """Train; the exit code is that of `ppd`."""
    set_up_logging()
    threading.Thread(target=_end_with_standard_input, daemon=True).start()
    try:
        run_verb("train", read_config(config))
    except UserError as error:
        write_json_atomic(report, {"faults": error.faults})
        return USER_MISTAKE
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        write_json_atomic(report, {"error": for_people(f"{type(error).__name__}: {error}")})
        raise
    return 0


def _end_with_standard_input() -> None:
    while os.read(sys.stdin.fileno(), 1):  # not through its buffer, whose lock Python wants at its own end
        pass
    faulthandler.dump_traceback_later(GRACE, exit=True)  # needs no lock of Python's, whatever the others are stuck in
    _thread.interrupt_main()


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
