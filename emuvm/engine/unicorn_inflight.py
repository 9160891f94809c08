"""The exception that Unicorn's x86 CPU believes to be in flight.

Owns: making it forget. Must not know what exceptions mean.

A CPU that meets a second exception while it enters the handler of a first one has a double fault, and halts at a third. Unicorn
tells us of an exception instead of entering a handler, and never notes that the first one is over: every second division
error would be a double fault. Its note is in the saved context, -1 when there is none, at a place found by comparing.
"""

from __future__ import annotations

from ctypes import c_int32, string_at
from struct import iter_unpack
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unicorn.unicorn_py3.unicorn import Uc


class InFlight:
    """For one engine; `fresh` is its context from before the first exception."""

    def __init__(self, uc: Uc, fresh: Any) -> None:
        self._uc = uc
        self._before = _words(fresh)
        self._place = -1

    def forget(self, number: int) -> None:
        """The exception `number` has been taken."""
        context = self._uc.context_save()
        if self._place < 0:
            now = _words(context)
            found = [at for at, (old, new) in enumerate(zip(self._before, now, strict=True)) if old == -1 and new == number]
            if not found:
                return
            self._place = found[-1]
        c_int32.from_address(context.context.value + 4 * self._place).value = -1
        self._uc.context_restore(context)


def _words(context: Any) -> list[int]:
    return [value for (value,) in iter_unpack("<i", string_at(context.context, context.size & -4))]
