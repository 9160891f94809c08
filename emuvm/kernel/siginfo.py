"""Why a signal comes: the value that faults, calls and reports exchange.

Owns: SignalInfo. Must not know processes.
"""

from __future__ import annotations

from typing import Any

from emuvm.abi.tuples import NamedTuple


class SignalInfo(NamedTuple):
    """A signal with its si_code, and the address (si_addr) for those that have one. `why` is for people."""

    signal: int
    code: int
    address: int | None = None
    why: str = ""
    fields: bytes | None = None
    """What siginfo_t holds behind its head. None: `address`; else the program's own pid and uid for SI_USER and SI_TKILL; else nothing."""
    errno: int = 0
    timer: Any = None
    """The timer that sent it: it is told when the signal is taken."""
