"""A clock that ends runs, where blocks cannot be counted cheaply enough.

Owns: one thread. Must not know what a run is.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event, Thread

_TICK = 0.05
_NEVER = float("inf")


class Watchdog:
    """Calls `over`, in its thread, when a run takes longer than `seconds`, give or take a tick. Close it when done."""

    def __init__(self, seconds: float, over: Callable[[], None]) -> None:
        self._seconds = seconds
        self._over = over
        self._until = _NEVER
        self._closed = Event()
        Thread(target=self._watch, daemon=True).start()

    def begin(self) -> None:
        """A run begins."""
        self._until = time.monotonic() + self._seconds

    def end(self) -> None:
        """It is over."""
        self._until = _NEVER

    def _watch(self) -> None:
        while not self._closed.wait(_TICK):
            if time.monotonic() > self._until:
                self._until = _NEVER
                self._over()

    def close(self) -> None:
        """No more calls."""
        self._until = _NEVER
        self._closed.set()
