"""`python -m ppd_lightning` is `ppd`."""

from __future__ import annotations

import signal
import sys

from ppd_lightning import signals


def main() -> int:
    """The command; a signal is answered from the first moment on, and one at Python's own end ends that in silence."""
    try:
        with signals.answering():
            try:
                with signals.deferred():
                    from ppd_lightning import cli
            except signals.Stopped as stop:
                print(f"ppd: stopped by {stop.name} before anything was begun", file=sys.stderr)
                return stop.code
            return cli.main()
    finally:
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.SIG_DFL)


if __name__ == "__main__":
    sys.exit(main())
