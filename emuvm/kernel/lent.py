"""Memory that a parent lends to the child of vfork, until the child runs another program or ends.

Owns: what the child wrote, on its way back. Mappings that the child makes or takes away stay its own. Must not know system calls.
Source: kernel/fork.c:wait_for_vfork_done.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING

from emuvm.engine.base import Residency, is_shared
from emuvm.errors import EngineError
from emuvm.kernel import hostfd

if TYPE_CHECKING:
    from emuvm.kernel.process import Process

_HEAD = Struct("<Q")
_PAGE = 4096
_CHUNK = 1 << 20


class Lent:
    """One loan: a pipe from the child to its parent, which waits at the other end."""

    def __init__(self, proc: Process) -> None:
        self._reader, self._writer = hostfd.pipe(0)
        self._before: dict[int, bytes] | None = None

    def close(self) -> None:
        """Nothing came of it."""
        hostfd.close(self._reader)
        hostfd.close(self._writer)

    def wait(self, proc: Process) -> None:
        """The parent stands still until it has its memory back."""
        hostfd.close(self._writer)
        data = bytearray()
        while part := hostfd.read(self._reader, _CHUNK):
            data += part
        hostfd.close(self._reader)
        for at in range(0, len(data) - _PAGE, _HEAD.size + _PAGE):
            (address,) = _HEAD.unpack_from(data, at)
            try:
                proc.engine.memory.write(address, bytes(data[at + _HEAD.size : at + _HEAD.size + _PAGE]))
            except EngineError:
                continue

    def taken(self, proc: Process, *, copy: bool) -> None:
        """The child has it. `copy`: it writes into its parent's memory, or would."""
        hostfd.close(self._reader)
        self._before = dict(_pages(proc)) if copy else {}

    def kept_out(self) -> None:
        """A child of the child has nothing to do with it."""
        hostfd.close(self._writer)

    def give_back(self, proc: Process) -> None:
        """The child is done with it."""
        before, self._before = self._before, None
        if before is None:
            return
        if before:
            data = b"".join(_HEAD.pack(at) + now for at, now in _pages(proc) if before.get(at) != now)
            while data:
                data = data[hostfd.write(self._writer, data) :]
        hostfd.close(self._writer)


def _pages(proc: Process) -> list[tuple[int, bytes]]:
    """The private pages that were written to, and what is in them."""
    memory, found = proc.engine.memory, []
    for vma in proc.space:
        if is_shared(vma):
            continue
        for low, high, bits in memory.resident(vma.start, vma.end, cached=False):
            if bits & Residency.PRIVATE:
                data = memory.read(low, high - low)
                found += [(low + n, data[n : n + _PAGE]) for n in range(0, high - low, _PAGE)]
    return found
