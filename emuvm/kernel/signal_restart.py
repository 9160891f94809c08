"""How a signal ends a call that waits, as an exception.

Owns: `Restart` and `Interrupted`. Must not know who waits.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum


class Restart(Enum):
    """What becomes of an interrupted call: the kernel's ERESTART values."""

    UNLESS_TOLD = "ERESTARTSYS"
    """It is made again, unless a handler without SA_RESTART runs: EINTR."""
    ALWAYS = "ERESTARTNOINTR"
    UNHANDLED = "ERESTARTNOHAND"
    """It is made again only if no handler runs."""
    REST = "ERESTART_RESTARTBLOCK"
    """As UNHANDLED, with the time that is left: restart_syscall."""


class Interrupted(Exception):
    """A signal ended a call that was waiting. The dispatcher takes it; no result is stored."""

    def __init__(self, kind: Restart, again: Callable[[], int] | None = None) -> None:
        super().__init__(kind.value)
        self.kind = kind
        self.again = again
