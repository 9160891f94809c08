"""The host around a run: its environment, its stderr, its time limit.

Owns: these questions to the host. Must not know how processes work inside.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from emuvm.kernel.dispatch import TimeLimit

if TYPE_CHECKING:
    from emuvm.kernel.process import Process


_COERCED = (b"C.UTF-8", b"C.utf8", b"UTF-8")
"""What the interpreter puts into LC_CTYPE of its own accord (PEP 538): not the user's, so not the guest's."""


def _given(name: bytes) -> bool:
    """Was the variable in the environment that emuvm was started with?"""
    try:
        with open("/proc/self/environ", "rb") as file:
            return any(item.startswith(name + b"=") for item in file.read().split(b"\0"))
    except OSError:
        return True


def environment(more: Sequence[str]) -> list[bytes]:
    """The host's environment with NAME=VALUE items put over it, as the guest's envp."""
    variables = dict(os.environb)
    if variables.get(b"LC_CTYPE") in _COERCED and not _given(b"LC_CTYPE"):
        del variables[b"LC_CTYPE"]
    for item in more:
        name, _, value = item.encode(errors="surrogateescape").partition(b"=")
        variables[name] = value
    return [name + b"=" + value for name, value in variables.items()]


def write_stderr(text: str) -> None:
    """Text to stderr at once. OSError or ValueError when it is closed."""
    sys.stderr.write(text)
    sys.stderr.flush()


def leave(status: int) -> NoReturn:
    """End emuvm's own process at once. Taking the interpreter and all modules apart first would take a seventh of hello's time."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            continue
    os._exit(status & 0xFF)


class TimeLimiter:
    """Ends a process when its time is over, be it computing or waiting in a system call."""

    def __init__(self, proc: Process, seconds: float) -> None:
        import signal
        import threading

        self._proc = proc
        self._main = threading.main_thread() is threading.current_thread()
        self._signal = signal
        self._ident = threading.get_ident()
        if self._main:
            self._before: Any = signal.signal(signal.SIGALRM, self._interrupt)
        proc.deadline = proc.system.monotonic() + seconds
        self._timer = threading.Timer(seconds, self._over)
        self._timer.daemon = True
        self._timer.start()

    def _over(self) -> None:
        self._proc.engine.stop()
        if self._main:
            self._signal.pthread_kill(self._ident, self._signal.SIGALRM)

    def _interrupt(self, number: int, frame: object) -> None:
        if self._proc.in_call:
            raise TimeLimit

    def cancel(self) -> None:
        """The process has ended."""
        self._timer.cancel()
        if self._main:
            self._signal.signal(self._signal.SIGALRM, self._before)
