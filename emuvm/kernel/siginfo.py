"""Why a signal comes: the value that faults, calls and reports exchange.

Owns: SignalInfo. Must not know processes.
"""

from __future__ import annotations

from emuvm.abi.tuples import NamedTuple


class SignalInfo(NamedTuple):
    """A signal with its si_code, and the address (si_addr) for those that have one. `why` is for people."""

    signal: int
    code: int
    address: int | None = None
    why: str = ""
