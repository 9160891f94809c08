"""Calls that wait, and what ends their waiting: the thing itself, a time, the run's time limit, a signal.

Owns: the one place where the host waits. Must not know signals beyond `signals.due`, nor what is waited for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from emuvm.kernel import hostfd
from emuvm.kernel.dispatch import TimeLimit
from emuvm.kernel.signal_restart import Interrupted, Restart

if TYPE_CHECKING:
    from emuvm.kernel.process import Process

_SECOND = 1_000_000_000
_POLLIN = 1
_LONGEST = 86400.0
"""Seconds that the host waits at a time."""


class Wake:
    """How another thread of emuvm's ends a wait of the main one: a descriptor that becomes readable."""

    def __init__(self) -> None:
        self._reader, self._writer = hostfd.pipe(hostfd.NONBLOCK)
        self._open = True

    def fileno(self) -> int:
        return self._reader

    def wake(self) -> None:
        """From any thread."""
        if self._open:
            hostfd.nudge(self._writer)

    def clear(self) -> None:
        """What was told until now is known."""
        hostfd.drain(self._reader)

    def close(self) -> None:
        """Nobody waits any more; who still wakes does nothing."""
        self._open = False
        hostfd.close(self._reader)
        hostfd.close(self._writer)


def wait(proc: Process, wanted: Mapping[int, int], until: int | None) -> dict[int, int] | None:
    """Wait for host descriptors ({fd: poll events}) until a monotonic time in nanoseconds, None: without end.

    {fd: events} of those that are ready, empty when the time is over, None when a signal is due. TimeLimit.
    """
    monotonic, signals, wake = proc.system.monotonic_ns, proc.signals, proc.wake
    waker = -1 if wake is None else wake.fileno()
    fds = {**wanted, waker: _POLLIN} if wanted and wake is not None else wanted
    while True:
        now = monotonic()
        left = _LONGEST if until is None else min(_LONGEST, max(0, until - now) / _SECOND)
        if proc.timers is not None:
            left = min(left, proc.timers.check())
        if proc.deadline is not None:
            left = min(left, max(0.0, proc.deadline - now / _SECOND))
        if signals.due and proc.delivery.ready():
            return (proc.system.wait(wanted.items(), 0) if wanted else {}) or None
        if wanted:
            found = proc.system.wait(fds.items(), left)
            woken = bool(found.pop(waker, 0))
        else:
            found, woken = {}, proc.system.readable(waker, left)
        if woken and wake is not None:
            wake.clear()
        if found or (until is not None and monotonic() >= until):
            return found
        if proc.deadline is not None and monotonic() / _SECOND >= proc.deadline:
            raise TimeLimit


def ready(proc: Process, fd: int, events: int) -> None:
    """Wait until a host descriptor can be read or written, if signals may come meanwhile; Interrupted. Else the host's call waits."""
    if proc.wake is not None and wait(proc, {fd: events}, None) is None:
        raise Interrupted(Restart.UNLESS_TOLD)
