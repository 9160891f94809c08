"""System V shared memory: the segments of one run, a namespace of their own.

Owns: keys, numbers, permissions, times, and when a segment goes. Must not know guest memory layouts or system calls; who maps a
segment is found in the address spaces that were told to `watch`. Sources: ipc/util.c, ipc/shm.c, Linux 6.18.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from typing import TYPE_CHECKING

from emuvm.abi.errno import Errno
from emuvm.abi.ipc import Ipc
from emuvm.abi.structs import Stat
from emuvm.errors import GuestError
from emuvm.kernel.files import MappedFile
from emuvm.kernel.shmem import HugeMemory, SharedMemory
from emuvm.mm.types import File, Kind, Update

if TYPE_CHECKING:
    from emuvm.mm.space import AddressSpace

SHMMIN = 1
SHMMAX = SHMALL = (1 << 64) - 1 - (1 << 24)
SHMMNI = 4096
_SEQUENCE_SHIFT = 15
_SEQUENCES = 1 << 16
_MIN_CYCLE = 64
"""At least so many indices are used before the first free one is given out again."""


class Segment:
    """A shared memory segment (struct shmid_kernel)."""

    def __init__(self, key: int, size: int, mode: int, owner: tuple[int, int], page: int, huge: int = 0) -> None:
        self.key = key
        self.id = -1
        self.sequence = 0
        self.size = size
        self.pages = -(-size // page)
        self.mode = mode
        """Access bits, SHM_DEST and SHM_LOCKED."""
        self.uid, self.gid = owner
        self.cuid, self.cgid = owner
        self.atime = self.dtime = self.ctime = 0
        self.cpid = self.lpid = 0
        self.attached = 0
        """Regions that map it (shm_nattch), when last counted."""
        self.huge = huge
        """The size of its pages if they are huge, of which there are none."""
        path = b"/SYSV%08x (deleted)" % (key & 0xFFFF_FFFF)
        self.memory: MappedFile = HugeMemory(huge, path) if huge else SharedMemory(size, path)

    @property
    def path(self) -> bytes:
        return self.memory.path


class Attachment:
    """What stands in the regions of one shmat: they are its fragments, and do not become one again."""

    close_hook = True
    restorable = True

    def __init__(self, segment: Segment) -> None:
        self.segment = segment
        self.path = segment.path
        self.huge = segment.huge

    def fileno(self) -> int:
        return self.segment.memory.fileno()

    def size(self) -> int:
        return 0 if self.huge else self.segment.size

    def stat(self) -> Stat:
        """The inode number is the segment's id."""
        return self.segment.memory.stat()._replace(ino=self.segment.id)


class Namespace:
    """The segments that exist. `now` gives seconds; `pid` is who acts."""

    def __init__(self, now: Callable[[], int], page: int) -> None:
        self._now = now
        self._page = page
        self._slots: dict[int, Segment] = {}
        self._keys: dict[int, Segment] = {}
        self._next = 0
        self._last = -1
        self._sequence = 0
        self._spaces: dict[AddressSpace, int] = {}

    # -- finding ------------------------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Segment]:
        return iter(list(self._slots.values()))

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def highest(self) -> int:
        """The highest index in use, 0 without one: what the information commands return."""
        return max([0, *self._slots])

    def by_key(self, key: int) -> Segment | None:
        return self._keys.get(key)

    def by_index(self, number: int) -> Segment:
        """EINVAL."""
        segment = self._slots.get(number & (1 << _SEQUENCE_SHIFT) - 1)
        if segment is None:
            raise GuestError(Errno.EINVAL, f"no segment {number}")
        return segment

    def by_id(self, number: int) -> Segment:
        """EINVAL, also when the index has been given out anew."""
        segment = self.by_index(number)
        if segment.id != number:
            raise GuestError(Errno.EINVAL, f"segment {number} was removed")
        return segment

    # -- making and removing ------------------------------------------------------------------------------------------------

    def create(self, key: int, size: int, mode: int, owner: tuple[int, int], pid: int, huge: int = 0) -> Segment:
        """newseg: EINVAL size; ENOSPC too many, or too much; ENOMEM the host refuses."""
        if not SHMMIN <= size <= SHMMAX:
            raise GuestError(Errno.EINVAL, f"{size:#x} bytes")
        pages = -(-size // self._page)
        if pages * self._page >> 64 or sum(segment.pages for segment in self) + pages > SHMALL:
            raise GuestError(Errno.ENOSPC, f"{size:#x} bytes")
        if size >> 63:
            raise GuestError(Errno.EINVAL, f"{size:#x} bytes")
        segment = Segment(key, size, mode, owner, self._page, huge)
        if len(self._slots) >= SHMMNI:
            raise GuestError(Errno.ENOSPC, f"{SHMMNI} segments")
        index = self._free_index()
        if index <= self._last:
            self._sequence = (self._sequence + 1) % _SEQUENCES
        self._last = index
        segment.sequence = self._sequence
        segment.id = self._sequence << _SEQUENCE_SHIFT | index
        segment.cpid, segment.ctime = pid, self._now()
        self._slots[index] = segment
        if key != Ipc.IPC_PRIVATE:
            self._keys[key] = segment
        return segment

    def _free_index(self) -> int:
        """idr_alloc_cyclic below a bound that grows with use: numbers come again late."""
        bound = min(max(len(self._slots) * 3 // 2, _MIN_CYCLE), SHMMNI)
        for index in chain(range(self._next, bound), range(bound)):
            if index not in self._slots:
                self._next = index + 1
                return index
        raise GuestError(Errno.ENOSPC, "no index is free")

    def remove(self, segment: Segment) -> None:
        """IPC_RMID: it goes when nobody maps it; until then it has no key."""
        self._keys.pop(segment.key, None)
        if segment.attached:
            segment.mode |= Ipc.SHM_DEST
            segment.key = Ipc.IPC_PRIVATE
        else:
            self._destroy(segment)

    def _destroy(self, segment: Segment) -> None:
        self._slots.pop(segment.id & (1 << _SEQUENCE_SHIFT) - 1, None)
        self._keys.pop(segment.key, None)

    def changed(self, segment: Segment) -> None:
        """shm_ctim is now."""
        segment.ctime = self._now()

    def drop_unused(self, segment: Segment) -> None:
        """After an attempt to attach: a segment that was removed goes if nobody has it."""
        if segment.mode & Ipc.SHM_DEST and not segment.attached:
            self._destroy(segment)

    # -- who maps what ------------------------------------------------------------------------------------------------------

    def watch(self, space: AddressSpace, pid: int) -> None:
        """Count the regions of `space` from now on; `pid` acts in it."""
        if space in self._spaces:
            return
        self._spaces[space] = pid
        closed: dict[Segment, int] = {}

        def see(update: Update) -> None:
            for vma in (update.old, update.new):
                if vma is not None and type(vma.backing) is File and type(vma.backing.file) is Attachment:
                    segment = vma.backing.file.segment
                    gone = vma is update.old and update.kind in (Kind.UNMAP, Kind.MOVE)
                    closed[segment] = closed.get(segment, 0) + gone

        def committed() -> None:
            if closed:
                self._count(closed, pid)
                closed.clear()

        space.subscribe(see, committed=committed)

    def _count(self, closed: dict[Segment, int], pid: int) -> None:
        """Count the regions of the segments anew. What `closed` does not explain was opened: cutting a region opens a second one.

        Both leave their time, and a segment without regions goes if it is to.
        """
        found = dict.fromkeys(closed, 0)
        for space in self._spaces:
            for vma in space:
                if type(vma.backing) is File and type(vma.backing.file) is Attachment and vma.backing.file.segment in found:
                    found[vma.backing.file.segment] += 1
        for segment, count in found.items():
            opened = count - segment.attached + closed[segment]
            if opened > 0:
                segment.atime, segment.lpid = self._now(), pid
            if closed[segment] > 0:
                segment.dtime, segment.lpid = self._now(), pid
            segment.attached = count
            self.drop_unused(segment)
