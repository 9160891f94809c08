"""What one process of a run does for another: it alone knows its memory.

Owns: the errands, and what they answer. Must not know why somebody asks, nor how messages travel (`host_family`).
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING

from emuvm.errors import EngineError, GuestError
from emuvm.kernel.usermem import WRITE

if TYPE_CHECKING:
    from emuvm.kernel.process import Process

PIN, FETCH, STORE = range(3)
_ERRAND = Struct("<BQQQ")
"""What, a guest address, a length, the access."""
_COUNT = Struct("<Q")
PIECE = 1 << 16
"""Bytes that one errand moves."""


def ask(proc: Process, pid: int, what: int, address: int, length: int, access: int = 0, data: bytes = b"") -> bytes:
    """Have another process do it. ESRCH it cannot any more."""
    assert proc.family is not None
    return proc.family.ask(pid, _ERRAND.pack(what, address, length, access) + data, lambda request: serve(proc, request))


def pin(proc: Process, pid: int, address: int, length: int, access: int) -> int:
    """Make pages present that may be accessed so; how many bytes from the first on."""
    return int(_COUNT.unpack(ask(proc, pid, PIN, address, length, access))[0])


def serve(proc: Process, request: bytes) -> bytes:
    """Do it; nothing where it cannot be done."""
    what, address, length, access = _ERRAND.unpack_from(request)
    memory = proc.mem.memory
    try:
        if what == PIN:
            usable = proc.mem.pinnable(address, length, access)
            page = proc.space.page_size
            if usable:
                memory.populate(address & -page, address + usable + (-(address + usable) % page), write=access == WRITE)
            return _COUNT.pack(usable)
        if what == FETCH:
            return memory.read(address, length)
        memory.write(address, request[_ERRAND.size :])
        return _COUNT.pack(length)
    except (EngineError, GuestError):
        return _COUNT.pack(0) if what != FETCH else b""
