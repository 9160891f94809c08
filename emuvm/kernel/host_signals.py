"""Signals and timers of the host for a guest: what other processes send to emuvm's own, and a bell that rings in a thread.

Owns: the host's signal dispositions during a run, the threads behind both. Must not know how a guest takes a signal: it is
told with `Process.post`.

Python handles a signal when its own code runs again, and the engine may run guest code for hours. So a thread waits for the host's
word that one has come, and stops the engine.
"""

from __future__ import annotations

import os
import select
import signal
import struct
import threading
import time
from _thread import allocate_lock, start_new_thread
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from struct import Struct
from typing import TYPE_CHECKING, Any

from emuvm.abi.signals import Code, Signal
from emuvm.kernel import hostfd
from emuvm.kernel.siginfo import SignalInfo

if TYPE_CHECKING:
    from emuvm.kernel.process import Process

_KEPT = frozenset(
    (
        Signal.SIGKILL, Signal.SIGSTOP, Signal.SIGSEGV, Signal.SIGBUS, Signal.SIGILL, Signal.SIGFPE, Signal.SIGTRAP, Signal.SIGSYS,
        Signal.SIGABRT, Signal.SIGPIPE, Signal.SIGXFSZ, 32, 33,
    )
)  # fmt: skip
"""Never passed on, unless there are other processes of the program: emuvm's own faults look like these, or its own doing causes them."""
_NEVER_BLOCKED = frozenset((Signal.SIGKILL, Signal.SIGSTOP, 32, 33))
_EVERYTHING = signal.valid_signals()
_OWN_DOING = frozenset((Signal.SIGPIPE, Signal.SIGXFSZ))
_SI_USER = 0

_RECORD = Struct("<IiiIIiIIIIiiQQQQ48x")
"""linux/signalfd.h: struct signalfd_siginfo. signo, errno, code, pid, uid, fd, tid, band, overrun, trapno, status, int, ptr, utime, stime,
addr."""

_NEVER = float("inf")
_LONGEST = 3600.0
"""Seconds that the bell's thread sleeps at a time."""


@contextmanager
def undisturbed() -> Iterator[None]:
    """A thread that is started here never takes a signal: they are the main one's."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _EVERYTHING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class HostSignals:
    """Lets signals from outside through to a guest that cares, and Ctrl-C to a program that computes.

    Does nothing outside the main thread, nor where somebody else has a handler for SIGINT. Signals that the guest cares for are blocked,
    and a descriptor tells of them: so it is known who sent them.
    """

    def __init__(self, proc: Process) -> None:
        self.active = False
        """Signals reach the guest."""
        self.changed: Callable[[], object] = _nothing
        """Called when something happened to a child."""
        self.served: Callable[[], None] = _nothing
        """Does what other processes of the program ask for."""
        self._mail = -1
        self._proc = proc
        self._kept = _KEPT
        self._wanted = 0
        """What `attend` was asked for, bit n-1 for signal n."""
        self._before: dict[int, Any] = {}
        mine = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if mine and threading.main_thread() is threading.current_thread():
            self._begin()
            self._wakeup = signal.set_wakeup_fd(self._stop[1], warn_on_full_buffer=False)

    def _begin(self) -> None:
        self.active = True
        self._stop = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._stop[1], False)
        self._told = -1
        """The descriptor that tells of signals, from the first on."""
        self._poll = select.epoll()
        self._poll.register(self._stop[0], select.EPOLLIN)
        self._thread = threading.Thread(target=self._watch, args=(self._poll, self._stop[0]), daemon=True)
        with undisturbed():
            self._thread.start()

    def _watch(self, poll: select.epoll, stop: int) -> None:
        while True:
            for fd, _ in poll.poll():
                if fd == self._mail:
                    self._proc.post(self.served)
                    continue
                if fd != stop:
                    self._proc.post(self.drain)
                    continue
                number = os.read(fd, 1)
                if number in (b"", b"\0"):
                    return
                if number[0] in self._before:  # a thread that is not emuvm's took it
                    self._proc.post(self._unknown(number[0]))
                elif number[0] == signal.SIGINT:
                    self._proc.engine.stop()

    def _unknown(self, number: int) -> Callable[[], None]:
        """Who sent it is not known."""
        return lambda: self._proc.kill(SignalInfo(number, Code.SI_USER, None, "sent by another process", bytes(8)))

    def drain(self) -> None:
        """Pass on what has come until now. Only the main thread may do this."""
        if not self.active or self._told < 0:
            return
        while True:
            try:
                data = os.read(self._told, 128 * 16)
            except BlockingIOError:
                return
            for at in range(0, len(data), 128):
                self._arrived(*_RECORD.unpack_from(data, at))

    def _arrived(self, *fields: int) -> None:
        number, errno, code, pid, uid, fd, _, band, _, _, status, _, value, user, system, _ = fields
        if number in _OWN_DOING and code == _SI_USER and pid == os.getpid():
            return
        if number == Signal.SIGCHLD and code > 0:
            self.changed()
            if code in (Code.CLD_STOPPED, Code.CLD_CONTINUED) and self._proc.signals.no_stops:
                return
            rest = struct.pack("<iIi4xqq", pid, uid, status, user, system)
        elif number == Signal.SIGIO and code > 0:
            rest = struct.pack("<qi", band, fd)
        else:
            rest = struct.pack("<iIQ", pid, uid, value if code < 0 else 0)
        self._proc.kill(SignalInfo(number, code, None, "sent by another process", rest, errno), thread=code == Code.SI_TKILL)

    def attend(self, mask: int) -> None:
        """From now on these signals are the guest's: it catches, blocks or ignores them."""
        self._wanted |= mask
        if not self.active:
            return
        asked = [n for n in sorted(_EVERYTHING) if mask >> n - 1 & 1]
        fresh = [n for n in asked if n not in self._before and n not in self._kept and not self._taken(n)]
        for number in fresh:
            self._proc.listen()
            self._before[number] = signal.SIG_DFL
            self._before[number] = signal.getsignal(number) if number in _KEPT else signal.signal(number, _nothing)
        if fresh:
            self._block()

    def _block(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, self._before)
        fd = hostfd.signals(self._told, sum(1 << number - 1 for number in self._before))
        if self._told < 0:
            self._told = fd
            self._poll.register(fd, select.EPOLLIN | select.EPOLLET)

    def _taken(self, number: int) -> bool:
        """Does emuvm itself, or whoever started it, use the signal?"""
        current = signal.getsignal(number)
        return callable(current) and current is not signal.default_int_handler

    def share(self, mail: int) -> None:
        """There are other processes of the program from now on, which may send it anything and mean it, and errands by mail."""
        if self._mail < 0:
            self._mail = mail
            self._poll.register(mail, select.EPOLLIN | select.EPOLLET)
        self._kept = _NEVER_BLOCKED
        self.attend(self._wanted | 1 << Signal.SIGCHLD - 1 | sum(1 << number - 1 for number in _OWN_DOING))

    def born(self, mail: int) -> None:
        """This is a child now: the thread that watched is its parent's, and so is the mail."""
        for fd in (*self._stop, self._told):
            if fd >= 0:
                os.close(fd)
        self._poll.close()
        self._begin()
        signal.set_wakeup_fd(self._stop[1], warn_on_full_buffer=False)
        self._mail = mail
        self._poll.register(mail, select.EPOLLIN | select.EPOLLET)
        if Signal.SIGINT not in self._before:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        if self._before:
            self._block()

    def cancel(self) -> None:
        """The process has ended."""
        if not self.active:
            return
        self.drain()
        self.active = False
        for number, before in self._before.items():
            signal.signal(number, before)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, self._before)
        signal.set_wakeup_fd(self._wakeup)
        os.write(self._stop[1], b"\0")
        self._thread.join()
        self._poll.close()
        for fd in (*self._stop, self._told):
            if fd >= 0:
                os.close(fd)


def _nothing(*args: object) -> None:
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
            with undisturbed():
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
