"""Running totals of an address space, kept by listening to it.

Owns: the counters that limits and /proc need (mm/mmap.c:vm_stat_account). Must not know limits.
"""

from __future__ import annotations

from emuvm.mm.delivery import Again
from emuvm.mm.space import AddressSpace
from emuvm.mm.types import Kind, Update, Vma, VmFlag

_STACK = int(VmFlag.GROWSDOWN)
_NOT_DATA = int(VmFlag.SHARED | VmFlag.GROWSDOWN)
_LOCKED = int(VmFlag.LOCKED)


class Totals:
    """Bytes mapped: `total` (all regions), `data` (private writable, stacks excluded), `stack` (growing down), `exec` (executable,
    neither writable nor a stack), `locked` (VM_LOCKED).
    """

    def __init__(self, space: AddressSpace) -> None:
        self.total = 0
        self.data = 0
        self.stack = 0
        self.exec = 0
        self.locked = 0
        self.lost_locks = 0
        """Of `locked`, what no area has any more."""
        self.peak = 0
        """The most `total` has been."""
        for vma in space:
            self._count(vma, 1)
        space.subscribe(self._update, prepare=self._prepare)

    def _count(self, vma: Vma, sign: int) -> None:
        size = (vma.end - vma.start) * sign
        prot, flags = vma.prot, vma.flags
        self.total += size
        if flags & _STACK:
            self.stack += size
        elif prot & 6 == 4:
            self.exec += size
        if prot & 2 and not flags & _NOT_DATA:
            self.data += size
        if flags & _LOCKED:
            self.locked += size
        if self.total > self.peak:
            self.peak = self.total

    def count_lost_locks(self, size: int) -> None:
        """So many bytes have lost VM_LOCKED and stay counted: Linux does so when MREMAP_DONTUNMAP unlocks the old place."""
        self.lost_locks += size
        self.locked += size

    def _update(self, update: Update) -> None:
        # An undone update arrives as its inverse, so counting what comes and goes is enough.
        old, new = update.old, update.new
        if update.kind is Kind.PROTECT and old is not None and new is not None and old.flags == new.flags and not (old.prot | new.prot) & 4:
            if not old.flags & _NOT_DATA:
                self.data += ((new.prot & 2) - (old.prot & 2)) // 2 * (update.end - update.start)
            return
        if old is not None:
            self._count(old, -1)
        if new is not None:
            self._count(new, 1)

    def _prepare(self, updates: list[Update]) -> Again:
        names = ("total", "data", "stack", "exec", "locked")
        before = [getattr(self, name) for name in names]
        peak = self.peak
        for update in updates:
            self._update(update)
        total, data, stack, executable, locked = (getattr(self, name) - old for name, old in zip(names, before, strict=True))
        for name, old in zip(names, before, strict=True):
            setattr(self, name, old)
        self.peak = peak

        def again() -> None:
            self.total += total
            self.data += data
            self.stack += stack
            self.exec += executable
            self.locked += locked
            # What comes back comes after what goes, so there was no more in between.
            if self.total > self.peak:
                self.peak = self.total

        return again
