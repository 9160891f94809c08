"""The values the address space speaks in.

Owns: Prot, VmFlag, Vma, Update and the backings. Must not know the address space that uses them, nor any engine.

    mapping   what one map call asked for: [base, base + length)
    region    (Vma) a piece of a mapping with equal attributes: [start, end)
    update    (Update) one step of a change, as delivered to subscribers
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, Protocol, runtime_checkable

from emuvm.abi.tuples import NamedTuple, make


class Prot:
    """Access rights: the low three bits of a region's `prot`. They equal PROT_READ, PROT_WRITE and PROT_EXEC."""

    NONE = 0
    READ = 1
    WRITE = 2
    EXEC = 4


RIGHTS = 7
"""The bits of `prot` that engines mirror; all others belong to the user."""


class VmFlag:
    """Region flags used by `mm.linux` and read by engines and /proc; numbers as in include/linux/mm.h. Generic users may store
    anything. READ, WRITE and EXEC are not here: a region's access rights are its `prot`.
    """

    NONE = 0
    SHARED = 0x8
    MAYREAD = 0x10
    MAYWRITE = 0x20
    MAYEXEC = 0x40
    MAYSHARE = 0x80
    GROWSDOWN = 0x100
    PFNMAP = 0x400
    MAYBE_GUARD = 0x800
    LOCKED = 0x2000
    IO = 0x4000
    SEQ_READ = 0x8000
    RAND_READ = 0x1_0000
    DONTCOPY = 0x2_0000
    DONTEXPAND = 0x4_0000
    LOCKONFAULT = 0x8_0000
    ACCOUNT = 0x10_0000
    NORESERVE = 0x20_0000
    HUGETLB = 0x40_0000
    SYNC = 0x80_0000
    WIPEONFORK = 0x200_0000
    DONTDUMP = 0x400_0000
    MIXEDMAP = 0x1000_0000
    HUGEPAGE = 0x2000_0000
    NOHUGEPAGE = 0x4000_0000
    MERGEABLE = 0x8000_0000
    DROPPABLE = 1 << 40
    SEALED = 1 << 42
    POLICY_SHIFT = 48
    """From here on: the number of the memory policy (mbind)."""


@runtime_checkable
class Backing(Protocol):
    """A backing with behaviour. A region's backing may also be None (anonymous), a `File`, or any plain value.

    Plain values are shared by the pieces of a split, and neighbours whose values are equal merge.
    """

    def split(self, offset: int) -> Any:
        """The backing of the part that starts `offset` bytes into this one; this one stays the left part's. Changes nothing."""

    def joins(self, next: Any) -> bool:  # noqa: A002 - the name is part of the public contract
        """May a region backed by `next`, directly behind this one and equal in rights and flags, become one with it?"""

    def removed(self) -> None:
        """The region this backs is gone (unmapped or replaced). Called after the change was committed; cannot refuse."""


class File(NamedTuple):
    """Plain file backing: `offset` is the file position, in bytes, of the region's first byte. It moves along with splits.

    `file` is the file's identity; neighbours merge when it is equal and the offsets continue. Engines that can map host
    files look at it for a `fileno()` (see `engine.base.HostFile`). `anon` is Linux's anon_vma, see `Anon`.
    """

    file: Any
    offset: int = 0
    anon: int = 0

    def split(self, offset: int) -> File:
        return File(self.file, self.offset + offset, self.anon)


class Anon(NamedTuple):
    """Private anonymous memory as Linux books it. Engines treat it as plain memory; generic users pass None instead.

    `offset` is vm_pgoff in bytes: the address at which the memory was first mapped, kept when touched memory moves; it moves
    along with splits. `anon` is the anon_vma, a number that regions share which could merge after a write to each; 0 before
    the first write. `name` is what prctl(PR_SET_VMA_ANON_NAME) gave.
    """

    offset: int
    anon: int = 0
    name: bytes | None = None

    def split(self, offset: int) -> Anon:
        return make(Anon, (self.offset + offset, self.anon, self.name))


class Vma(NamedTuple):
    """A region: bytes [start, end) with equal attributes, and the mapping [base, base + length) it was cut from."""

    start: int
    end: int
    prot: int
    flags: int
    backing: Any
    base: int
    length: int

    @property
    def size(self) -> int:
        """Bytes in the region."""
        return self.end - self.start

    def __contains__(self, address: Any) -> bool:
        """Is the byte at `address` in the region?"""
        inside: bool = self.start <= address < self.end
        return inside

    def __repr__(self) -> str:
        letters = "".join(c if self.prot & bit else "-" for c, bit in (("r", 1), ("w", 2), ("x", 4)))
        extra = f" +{self.prot >> 3 << 3:#x}" if self.prot > RIGHTS else ""
        flags = f" flags={self.flags:#x}" if self.flags else ""
        backing = "" if self.backing is None else f" {self.backing!r}"
        return f"<Vma {self.start:#x}-{self.end:#x} {letters}{extra}{flags}{backing}>"


class Kind(Enum):
    """What an Update says."""

    MAP = "map"
    UNMAP = "unmap"
    PROTECT = "protect"
    MOVE = "move"


_INVERSE = {Kind.MAP: Kind.UNMAP, Kind.UNMAP: Kind.MAP}


class Update(NamedTuple):
    """One step of a change, in bytes, clamped to what was asked for.

    `old` and `new` are the region pieces before and after: exactly [start, end) with their own rights, flags and backing
    (the backing's offset belongs to `start`). MAP has no old, UNMAP no new; PROTECT has both. For MOVE, [start, end) is
    `old`'s range and `new` lies at the new address. `context` is the space's.
    """

    kind: Kind
    start: int
    end: int
    old: Vma | None
    new: Vma | None
    context: Any = None

    @property
    def length(self) -> int:
        """Bytes concerned."""
        return self.end - self.start

    def inverse(self) -> Update:
        """The update that undoes this one."""
        if self.kind is Kind.PROTECT:
            return make(Update, (Kind.PROTECT, self.start, self.end, self.new, self.old, self.context))
        if self.kind is Kind.MOVE:
            assert self.new is not None
            return Update(Kind.MOVE, self.new.start, self.new.end, self.new, self.old, self.context)
        return Update(_INVERSE[self.kind], self.start, self.end, self.new, self.old, self.context)


Callback = Callable[[Update], None]
