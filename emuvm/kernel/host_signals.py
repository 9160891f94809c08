"""Signals and timers of the host for a guest: what other processes send to emuvm's own, and a bell that rings in a thread.

Owns: the host's signal dispositions during a run, the threads behind both. Must not know how a guest takes a signal: it is
told with `Process.post`.

Python handles a signal when its own code runs again, and the engine may run guest code for hours. The interpreter's C handler
writes the number to a pipe at once; a thread that reads it stops the engine.
"""

from __future__ import annotations

import os
import time
from _thread import allocate_lock, start_new_thread
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from emuvm.abi.signals import Code, Signal
from emuvm.kernel.siginfo import SignalInfo

if TYPE_CHECKING:
    from emuvm.kernel.process import Process

_KEPT = frozenset(
    (
        Signal.SIGKILL, Signal.SIGSTOP, Signal.SIGSEGV, Signal.SIGBUS, Signal.SIGILL, Signal.SIGFPE, Signal.SIGTRAP, Signal.SIGSYS,
        Signal.SIGABRT, Signal.SIGPIPE, Signal.SIGXFSZ, 32, 33,
    )
)  # fmt: skip
"""Never passed on: emuvm's own faults look like these, or its own doing causes them."""


_NEVER = float("inf")
_LONGEST = 3600.0
"""Seconds that the bell's thread sleeps at a time."""


class HostSignals:
    """Lets signals from outside through to a guest that cares, and Ctrl-C to a program that computes.

    Does nothing outside the main thread, nor where somebody else has a handler for SIGINT.
    """

    def __init__(self, proc: Process) -> None:
        import signal
        import threading

        self._fds: tuple[int, int] | None = None
        self._before: dict[int, Any] = {}
        mine = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if mine and threading.main_thread() is threading.current_thread():
            self._signal = signal
            self._fds = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(self._fds[1], False)
            self._wakeup = signal.set_wakeup_fd(self._fds[1], warn_on_full_buffer=False)
            self._proc = proc
            self._thread = threading.Thread(target=self._watch, args=(self._fds[0],), daemon=True)
            self._thread.start()

    def _watch(self, fd: int) -> None:
        while (number := os.read(fd, 1)) not in (b"", b"\0"):
            if number[0] in self._before:
                self._proc.post(self._arrival(number[0]))
            elif number[0] == self._signal.SIGINT:
                self._proc.engine.stop()

    def _arrival(self, number: int) -> Callable[[], None]:
        """Who sent it is not known."""
        fields = (0).to_bytes(8, "little")
        return lambda: self._proc.kill(SignalInfo(number, Code.SI_USER, None, "sent by another process", fields))

    def attend(self, mask: int) -> None:
        """From now on these signals are the guest's: it catches, blocks or ignores them."""
        if self._fds is None:
            return
        for number in range(1, 65):
            if mask >> number - 1 & 1 and number not in self._before and number not in _KEPT and not self._taken(number):
                self._proc.listen()
                self._before[number] = self._signal.SIG_DFL
                self._before[number] = self._signal.signal(number, _nothing)

    def _taken(self, number: int) -> bool:
        """Does emuvm itself, or whoever started it, use the signal?"""
        current = self._signal.getsignal(number)
        return callable(current) and current is not self._signal.default_int_handler

    def cancel(self) -> None:
        """The process has ended."""
        if self._fds is None:
            return
        for number, before in self._before.items():
            self._signal.signal(number, before)
        self._signal.set_wakeup_fd(self._wakeup)
        os.write(self._fds[1], b"\0")
        self._thread.join()
        for fd in self._fds:
            os.close(fd)
        self._fds = None


def _nothing(number: int, frame: object) -> None:
    """Only there so that the interpreter's C handler is."""


class Bell:
    """Calls `ring` in a thread of its own at a monotonic time; a new time replaces the old one."""

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._lock = allocate_lock()
        self._changed = allocate_lock()
        self._changed.acquire()
        self._at = _NEVER
        self._sleeps_until = 0.0
        """0 while the thread is awake: it will look at `_at` before it sleeps."""
        self._running = False
        self._closed = False
        self._ended = allocate_lock()
        self._ended.acquire()

    def set(self, at: float) -> None:
        """Ring at `at` seconds."""
        with self._lock:
            self._at = at
            sooner = at < self._sleeps_until
        if not self._running:
            self._running = True
            start_new_thread(self._watch, ())
        elif sooner:
            self._poke()

    def close(self) -> None:
        """Never ring again; the thread is gone, or about to go."""
        self._closed = True
        self._poke()
        if self._running:
            self._ended.acquire(timeout=1.0)

    def _poke(self) -> None:
        try:
            self._changed.release()
        except RuntimeError:
            pass  # it is awake already

    def _watch(self) -> None:
        while not self._closed:
            with self._lock:
                now = time.monotonic()
                left = min(self._at - now, _LONGEST)
                due = left <= 0
                if due:
                    self._at = _NEVER
                self._sleeps_until = 0.0 if due else now + left
            if due:
                self._ring()
            else:
                self._changed.acquire(timeout=left)
                with self._lock:
                    self._sleeps_until = 0.0
        self._ended.release()
