"""Ctrl-C and its like: noted, so that what is being done is brought to an end in order."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def end_by_exception() -> None:
    """From now on SIGTERM and SIGHUP end this process as an exception does, so that everything is put away on the way out."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


class Interrupts:
    """While it lasts, SIGINT, SIGTERM and SIGHUP only set `wanted` and call `then`. For the main thread."""

    def __init__(self, then: Callable[[], object] | None = None) -> None:
        self.wanted = False
        self._then = then
        self._before: list[Any] = []

    def __enter__(self) -> Interrupts:
        self._before = [signal.signal(number, self._note) for number in _ENDING]
        return self

    def __exit__(self, *error: object) -> None:
        for number, before in zip(_ENDING, self._before, strict=True):
            signal.signal(number, before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.wanted = True
        if self._then is not None:
            self._then()
