"""Running totals of an address space, kept by listening to it.

Owns: the counters that limits and /proc need (mm/mmap.c:vm_stat_account). Must not know limits.
"""

from __future__ import annotations

from emuvm.mm.space import AddressSpace
from emuvm.mm.types import Kind, Update, Vma, VmFlag

_NOT_DATA = int(VmFlag.SHARED | VmFlag.GROWSDOWN)


class Totals:
    """Bytes mapped: `total` (all regions), `data` (private writable, stack excluded)."""

    def __init__(self, space: AddressSpace) -> None:
        self.total = 0
        self.data = 0
        for vma in space:
            self._count(vma, 1)
        space.subscribe(self._update)

    @staticmethod
    def is_data(prot: int, flags: int) -> bool:
        """Does such a region count against RLIMIT_DATA (mm/internal.h:is_data_mapping)?"""
        return bool(prot & 2) and not flags & _NOT_DATA

    def _count(self, vma: Vma, sign: int) -> None:
        size = (vma.end - vma.start) * sign
        self.total += size
        if vma.prot & 2 and not vma.flags & _NOT_DATA:
            self.data += size

    def _update(self, update: Update) -> None:
        # An undone update arrives as its inverse, so counting what comes and goes is enough.
        if update.kind is Kind.MOVE:
            return
        if update.old is not None:
            self._count(update.old, -1)
        if update.new is not None:
            self._count(update.new, 1)
