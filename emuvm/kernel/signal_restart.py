"""How a signal ends a call that waits, as an exception; and having a call made again.

Owns: `Restart`, `Interrupted`, `rewind`. Must not know who waits.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from emuvm.kernel.process import Process


class Restart(Enum):
    """What becomes of an interrupted call: the kernel's ERESTART values."""

    UNLESS_TOLD = "ERESTARTSYS"
    """It is made again, unless a handler without SA_RESTART runs: EINTR."""
    ALWAYS = "ERESTARTNOINTR"
    UNHANDLED = "ERESTARTNOHAND"
    """It is made again only if no handler runs."""
    REST = "ERESTART_RESTARTBLOCK"
    """As UNHANDLED, with the time that is left: restart_syscall."""
    NEVER = "EINTR"


class Interrupted(Exception):
    """A signal ended a call that was waiting. The dispatcher takes it; no result is stored."""

    def __init__(self, kind: Restart, again: Callable[[], int] | None = None) -> None:
        super().__init__(kind.value)
        self.kind = kind
        self.again = again


def rewind(proc: Process) -> None:
    """Have the call that was just stopped at made again: registers still are as at the call, so going back to its instruction is all."""
    engine = proc.engine
    engine.set("pc", engine.get("pc") - (2 if proc.arch.name == "x86_64" else 4))
