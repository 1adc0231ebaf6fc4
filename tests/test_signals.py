from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from ppd_lightning import cli, signals
from ppd_lightning.config.root import Config
from ppd_lightning.signals import ANSWERED, Stopped, answering, deferred

SLEEP = """
import signal, sys, time
from ppd_lightning import cli, signals
def work(verb, config):
    with signals.deferred():
        print("at work", flush=True)
        time.sleep(60)
cli.run_verb = work
sys.exit(cli.main(["train", "validate"]))
"""


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.fixture(autouse=True)
def _as_a_shell_starts_it() -> Iterator[None]:
    """Tests in the background of a script, or under nohup, inherit ignored signals."""
    ignored = [number for number in ANSWERED if signal.getsignal(number) == signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


@pytest.mark.parametrize("number", ANSWERED)
def test_a_signal_ends_a_command_with_its_code_and_one_line(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = []

    def work(verb: str, config: Config) -> dict[str, Any]:
        ran.append(verb)
        send(number)
        return {}

    before = signal.getsignal(number)
    monkeypatch.setattr(cli, "run_verb", work)
    assert cli.main(["embed", "validate"]) == 128 + number
    [line] = capsys.readouterr().err.splitlines()
    assert line == (
        f"ppd: stopped by {number.name} in embed: what was finished is kept; the same command goes on from there"
    )
    assert ran == ["embed"], "later verbs are not run"
    assert signal.getsignal(number) == before


class Deleted:
    def __del__(self) -> None:
        send(signal.SIGTERM)


def in_its_deletion() -> None:
    Deleted()


def by_an_import() -> None:
    with suppress(BaseException):
        send(signal.SIGTERM)


@pytest.mark.parametrize("swallowing", [in_its_deletion, by_an_import])
def test_a_stop_that_was_swallowed_comes_again(
    swallowing: Callable[[], None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(verb: str, config: Config) -> dict[str, Any]:
        swallowing()
        time.sleep(30)
        return {}

    monkeypatch.setattr(signals, "LOST", 0.05)
    monkeypatch.setattr(cli, "run_verb", work)
    begun = time.monotonic()
    assert cli.main(["embed"]) == 143
    assert time.monotonic() - begun < 25
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_what_breaks_because_of_a_stop_is_the_stop(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(verb: str, config: Config) -> dict[str, Any]:
        try:
            send(signal.SIGTERM)
        except Stopped:
            raise RuntimeError("DataLoader worker is killed by signal: Terminated") from None
        return {}

    monkeypatch.setattr(cli, "run_verb", work)
    assert cli.main(["embed"]) == 143
    assert len(capsys.readouterr().err.splitlines()) == 1


def sent_within(reached: list[str], number: int = signal.SIGTERM) -> None:
    with deferred():
        send(number)
    reached.append("the end of the inner one")


def too_long(number: int = signal.SIGTERM) -> None:
    send(number)
    time.sleep(10)
    pytest.fail("it was never stopped")


def test_within_a_deferral_a_signal_waits_for_the_end_or_for_the_grace_time(monkeypatch: pytest.MonkeyPatch) -> None:
    reached: list[str] = []
    with answering(), pytest.raises(Stopped), deferred():
        sent_within(reached)
    assert reached
    monkeypatch.setattr(signals, "GRACE", 0.05)
    with answering(), pytest.raises(Stopped), deferred():
        too_long()


def test_what_is_done_meanwhile_is_done_before_the_stop() -> None:
    done: list[int] = []
    with answering(), pytest.raises(Stopped), deferred(done.append):
        too_long(signal.SIGUSR1)
    assert done == [signal.SIGUSR1]


def test_handlers_of_others_are_called_when_this_process_would_stop() -> None:
    """Submitit's, which queues the job again at SIGUSR2 and lets SIGTERM pass."""
    calls = []
    before = signal.signal(signal.SIGTERM, lambda *_: calls.append("theirs"))
    try:
        with answering():
            with deferred():
                send(signal.SIGTERM)
                calls.append("the step ends")
            send(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert calls == ["the step ends", "theirs", "theirs"]


def test_what_was_ignored_stays_ignored() -> None:
    """By nohup, or by the shell of a command in the background."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with answering():
            send(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_second_signal_ends_at_once() -> None:
    process = subprocess.Popen([sys.executable, "-c", SLEEP], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "at work\n"
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)  # as `timeout` does: one event
    time.sleep(signals.AGAIN + 0.2)
    assert process.poll() is None
    begun = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 143
    assert time.monotonic() - begun < 5
    assert process.stderr is not None
    [line] = process.stderr.read().splitlines()
    assert line.startswith("ppd: ended at once by a second signal, SIGTERM")


def test_a_closed_pipe_ends_a_command_quietly() -> None:
    line = f"{sys.executable} -m ppd_lightning validate | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) in ((141, ""), (0, ""))


def test_an_output_without_the_letters_escapes_them(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ppd_lightning", "runs", f"output='{tmp_path}/Übung'"]
    done = subprocess.run(command, capture_output=True, env=os.environ | {"PYTHONIOENCODING": "ascii"}, check=False)
    assert done.returncode == 0, done.stderr
    assert b"\\xdcbung" in done.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_an_output_that_is_full_is_named() -> None:
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "ppd_lightning", "validate"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith("ppd: standard output: no space left on the device")


def test_a_second_ctrl_c_at_the_end_of_python_leaves_no_trace() -> None:
    """As fingers press it, while what libraries registered for the end is called."""
    script = """
import atexit, os, signal, sys
from ppd_lightning import __main__, cli
cli.main = lambda: 130
atexit.register(os.kill, os.getpid(), signal.SIGINT)
sys.exit(__main__.main())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")
