"""One process's memory as Linux keeps it: mmap, munmap, mprotect, the heap, stacks that grow.

Owns: argument checks in the kernel's order with its errno, partial effects where Linux has them, the heap. `remap` and `advice` hold
the other calls. Must not know raw flag bits (handlers decode them), engines, files. Failures are GuestErrors; unless the docstring
says otherwise nothing was changed then. Kernel references are to 6.18.

    LinuxMm      arguments, limits, order of checks
      Areas      cutting and merging (mm/vma.c)            Limits  what may be mapped            Layout, place  where
        AddressSpace                                       Pages   contents and presence, somebody else's
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from emuvm.abi.arch import Arch
from emuvm.abi.errno import Errno
from emuvm.abi.tuples import NamedTuple
from emuvm.errors import EngineError, GuestError, NoSpace
from emuvm.mm import rules
from emuvm.mm.areas import Areas
from emuvm.mm.guards import Guards
from emuvm.mm.layout import GUARD_PAGES, Layout, next_region, place, start_gap
from emuvm.mm.limits import INFINITY, Limits
from emuvm.mm.pages import NoPages, Pages
from emuvm.mm.protect import MAY_SHIFT, mprotect
from emuvm.mm.rules import KERNEL, LOCKS, Kernel
from emuvm.mm.space import AddressSpace, Snapshot
from emuvm.mm.totals import Totals
from emuvm.mm.types import RIGHTS, Anon, File, Vma, VmFlag

__all__ = ["INFINITY", "Backed", "Limits", "LinuxMm", "MapRequest"]

MAY = int(VmFlag.MAYREAD | VmFlag.MAYWRITE | VmFlag.MAYEXEC)


class Backed(NamedTuple):
    """What a file mapping gets: the backing, the access bits it may ever have (VM_MAY*), and whether VM_SHARED is set: a shared mapping
    of a file that is open for reading only has VM_MAYSHARE alone.
    """

    backing: Any
    may: int = 7
    shared: bool = True


class MapRequest(NamedTuple):
    """What an mmap call asks for, decoded. `backing` None is anonymous memory.

    `open_backing` is called when all that precedes the file's own checks is settled; it makes the backing or raises what the file
    has against it. `offset` is the file position for the address search and the overflow test. `vm_flags` are further region flags.
    """

    addr: int
    length: int
    prot: int
    backing: Any = None
    shared: bool = False
    fixed: bool = False
    replace: bool = True
    growsdown: bool = False
    noreserve: bool = False
    stack: bool = False
    low_2g: bool = False
    may: int = 7
    locked: bool = False
    populate: bool = False
    above_4g: bool = False
    open_backing: Callable[[], Backed] | None = None
    offset: int = 0
    file_aligned: bool = False
    """The file system aligns large mappings to large pages (thp_get_unmapped_area)."""
    has_file: bool = False
    vm_flags: int = 0
    huge: int = 0
    """The size of the pages of a mapping of hugetlbfs."""
    late: GuestError | None = None
    """What the file system says to the mapping when the place has been cleared for it, which is not undone."""


class LinuxMm:
    """One process's memory map. `space` holds the regions; `start_brk` and `brk_now` bound the heap.

    `pages` is asked for contents (engine.base.Memory). `kernel`: the version of Linux whose rules hold.
    """

    def __init__(
        self,
        space: AddressSpace,
        arch: Arch,
        limits: Limits | None = None,
        layout: Layout | None = None,
        *,
        pages: Pages | None = None,
        kernel: Kernel = KERNEL,
    ) -> None:
        self.space = space
        self.arch = arch
        self.limits = limits if limits is not None else Limits()
        self.layout = layout if layout is not None else Layout.of(arch, space)
        self.kernel = kernel
        self.totals = Totals(space)
        self.areas = Areas(space, kernel, lambda: self.limits.max_map_count)
        self.pages: Pages = pages if pages is not None else NoPages()
        self.guards = Guards(space)
        self.start_brk = self.brk_now = 0
        self.data_bytes = 0
        """Bytes of the image's data segment, which RLIMIT_DATA counts together with the heap."""
        self.def_flags = 0
        """Flags of every new mapping (mlockall(MCL_FUTURE))."""
        self.anon_names = False
        """CONFIG_ANON_VMA_NAME."""
        self.deny_write_exec = False
        """PR_SET_MDWE."""
        self.lowest = self.layout.min_addr
        """What MAP_FIXED may ask for at the lowest: vm.mmap_min_addr. Hints are raised to Layout.min_addr, the kernel's own minimum."""
        self.raw_io = False
        """CAP_SYS_RAWIO: it may ask for anything."""
        self._mask = space.page_size - 1

    @property
    def ipc_lock(self) -> bool:
        """CAP_IPC_LOCK."""
        return self.limits.ipc_lock

    def attach_pages(self, pages: Pages) -> None:
        """From now on ask `pages` for contents, and tell it which pages are withheld."""
        self.pages = pages
        if self.guards:
            pages.withheld = self.guards.within
        self.guards.attached = pages

    def sync(self) -> None:
        """Give an anon_vma to the areas that were written to since the last call."""
        start = end = 0
        for page in self.pages.take_written():
            if start <= page < end:
                continue
            vma = self.space.query(page)
            if vma is not None:
                start, end = vma.start, vma.end
                if not rules.anon_of(vma):
                    self.areas.written(vma)

    def restore(self, snap: Snapshot) -> None:
        """The regions of a snapshot of the space. What they hold is the engine's business: areas that differ only in who wrote first,
        in their names or in flags that say nothing of contents stay.
        """
        self.space.restore(snap, rules.same_memory)

    def inherited(self) -> None:
        """From now on this is the map of a child, in whose memory it is a copy: without what MADV_DONTFORK keeps from it, with nothing
        in what MADV_WIPEONFORK wipes, and without locks (kernel/fork.c:dup_mmap).
        """
        self.def_flags &= ~LOCKS
        for vma in tuple(self.space):
            if vma.flags & VmFlag.DONTCOPY:
                self.space.unmap(vma.start, vma.size)
            elif vma.flags & VmFlag.WIPEONFORK:
                self.guards.drop(vma.start, vma.end)
                self.pages.withdraw(vma.start, vma.end)
                self.pages.discard(vma.start, vma.size)
            elif rules.anonymous(vma) and not vma.flags & VmFlag.MAYSHARE and not rules.copied(vma):
                self.pages.discard(vma.start, vma.size)
        self.areas.inherited()

    # -- mmap -----------------------------------------------------------------------------------------------------------

    def mmap(self, request: MapRequest) -> int:
        """Map memory; the address (mm/mmap.c:do_mmap, mm/vma.c:mmap_region).

        EINVAL zero length, misaligned fixed address; ENOMEM no room, beyond the address space, a limit; EOVERFLOW; EPERM below
        mmap_min_addr, MAP_LOCKED without the right, over sealed memory; EEXIST with replace=False; EAGAIN RLIMIT_MEMLOCK.
        """
        if request.length == 0:
            raise GuestError(Errno.EINVAL, "length is zero")
        length = request.length + self._mask & ~self._mask
        if length > INFINITY:
            raise GuestError(Errno.ENOMEM, "length rounds up to nothing")
        offset = request.backing.offset if type(request.backing) is File else request.offset
        if (offset + length) >> 12 >= 1 << self.arch.bits:
            raise GuestError(Errno.EOVERFLOW, "offset + length wraps")
        if len(self.space) > self.limits.max_map_count:
            raise GuestError(Errno.ENOMEM, "max_map_count")
        addr = self._address(request, length, offset)
        flags = request.vm_flags | self.def_flags
        if request.locked:
            if not self.limits.may_lock():
                raise GuestError(Errno.EPERM, "MAP_LOCKED, and RLIMIT_MEMLOCK is zero")
            flags |= VmFlag.LOCKED
        if not self.limits.lock_fits(self.totals, flags, length):
            raise GuestError(Errno.EAGAIN, "RLIMIT_MEMLOCK")
        backing, may, shared = request.backing, request.may, bool(request.may & 2)
        if request.open_backing is not None:
            backing, may, shared = request.open_backing()
        if request.growsdown and (request.shared or backing is not None):
            raise GuestError(Errno.EINVAL, "only private anonymous memory grows down")
        flags |= self._flags(request, may, shared)
        if flags & rules.NEVER_MERGEABLE:
            flags &= ~VmFlag.MERGEABLE
        own = getattr(getattr(backing, "file", None), "vm_flags", 0)
        if own and not self.limits.lock_fits(self.totals, flags | own, length):
            raise GuestError(Errno.EAGAIN, "RLIMIT_MEMLOCK")
        prot = request.prot & RIGHTS
        if self.deny_write_exec and prot & 6 == 6:
            raise GuestError(Errno.EACCES, "writable and executable")
        self.sync()
        self._map(addr, length, prot, flags | own, backing, request)
        if flags & VmFlag.LOCKED or request.populate:
            self.populate(addr, addr + length)
        return addr

    def _map(self, addr: int, length: int, prot: int, flags: int, backing: Any, request: MapRequest) -> None:
        """The second half of mmap: mm/vma.c:__mmap_prepare, then the change."""
        replaced, accounted = 0, 0
        if request.fixed and request.replace:
            self.areas.may_remove(addr, addr + length)
            for vma in self.space.regions(addr, length):
                part = min(vma.end, addr + length) - max(vma.start, addr)
                replaced += part
                accounted += part if vma.flags & VmFlag.ACCOUNT else 0
        try:
            self.limits.expand(self.totals, length - replaced, prot, flags)
            if prot & 2 and not flags & (VmFlag.SHARED | VmFlag.NORESERVE):
                self.limits.enough_memory(length - accounted)
                flags |= VmFlag.ACCOUNT
        except GuestError:
            if replaced and self.kernel >= (6, 12):
                # What lay there was cut out by then, and is put back in pieces (mm/vma.c:vms_abort_munmap_vmas).
                self.areas.cut(addr)
                self.areas.cut(addr + length)
            raise
        if request.late is not None:
            if replaced:
                self.areas.remove(addr, addr + length)
            raise request.late
        if backing is None:
            backing = Anon(addr)
        never = bool(flags & LOCKS and flags & rules.NEVER_LOCKED)
        if never:
            # It loses the lock only after the search for neighbours to merge with, which do not have it (__mmap_complete).
            flags &= ~LOCKS
        self.areas.insert(Vma(addr, addr + length, prot, flags, backing, addr, length), below=not never, above=not never)

    def _address(self, request: MapRequest, length: int, offset: int) -> int:
        layout, addr = self.layout, request.addr
        if length > layout.task_size:
            raise GuestError(Errno.ENOMEM, "longer than the address space")
        if not request.fixed:
            hint = addr & ~self._mask
            if hint and hint < layout.min_addr:
                hint = layout.min_addr
            if request.huge:
                hint = hint + request.huge - 1 & -request.huge
            aligned = -1 if request.shared or request.has_file or request.backing is not None else 0
            if request.file_aligned:
                aligned = offset
            return place(
                self.space, layout, length, hint, anonymous=aligned >= 0, low_2g=request.low_2g, kernel=self.kernel,
                align_at=max(aligned, 0), in_file=request.file_aligned, low=1 << 32 if request.above_4g else 0,
                aligned=request.huge,
            )  # fmt: skip
        self.check_fixed(addr, length)
        if not request.replace and self.space.overlaps(addr, length):
            raise GuestError(Errno.EEXIST, "the range is not free")
        return addr

    def check_fixed(self, addr: int, length: int) -> None:
        """get_unmapped_area for MAP_FIXED: ENOMEM, EINVAL, EPERM in this order."""
        if addr > (1 << self.arch.bits) - 4096:
            # The search returns the address, which then looks like an error number.
            raise GuestError(Errno.unnamed((1 << self.arch.bits) - addr), "beyond the address space")
        if addr > self.layout.task_size - length:
            raise GuestError(Errno.ENOMEM, "beyond the address space")
        if addr & self._mask:
            raise GuestError(Errno.EINVAL, "fixed address is not page aligned")
        if addr < self.lowest and not self.raw_io:
            raise GuestError(Errno.EPERM, "below mmap_min_addr")

    def _flags(self, request: MapRequest, may: int, shared: bool) -> int:
        flags = (may & RIGHTS) << MAY_SHIFT
        if request.shared:
            flags |= VmFlag.MAYSHARE | (VmFlag.SHARED if shared else 0)
        if request.growsdown:
            flags |= VmFlag.GROWSDOWN
        if request.noreserve and self.limits.overcommit != 2:
            flags |= VmFlag.NORESERVE
        if request.stack and self.kernel >= (6, 7):
            flags |= VmFlag.NOHUGEPAGE
        return int(flags)

    # -- munmap, mprotect -------------------------------------------------------------------------------------------------

    def munmap(self, addr: int, length: int) -> None:
        """Remove what lies in the range; holes are fine (mm/vma.c:do_vmi_munmap). EINVAL for the arguments.

        ENOMEM when that would cut one region in two at the limit of regions; EPERM sealed.
        """
        task_size = self.layout.task_size
        if addr & self._mask or addr > task_size or length > task_size - addr or length == 0:
            raise GuestError(Errno.EINVAL, "misaligned, empty or outside user space")
        end = addr + (length + self._mask & ~self._mask)
        self.unmap(addr, min(end, self.space.end))

    def unmap(self, start: int, end: int) -> None:
        """munmap without its argument checks."""
        if start >= end:
            return
        self.sync()
        self.areas.may_remove(start, end)
        self.areas.remove(start, end)

    mprotect = mprotect

    # -- heap and stack -----------------------------------------------------------------------------------------------

    def set_brk(self, start: int) -> None:
        """Where the heap begins (fs/binfmt_elf.c)."""
        self.start_brk = self.brk_now = start

    def brk(self, value: int, *, executable: bool = False) -> int:
        """The break after trying to set it to `value`: exactly that, or unchanged; never an error (mm/mmap.c:brk).

        `executable`: new memory is, under the personality READ_IMPLIES_EXEC.
        """
        if value < self.start_brk or value - self.start_brk + self.data_bytes > self.limits.data:
            return self.brk_now
        old, new = self.brk_now + self._mask & ~self._mask, value + self._mask & ~self._mask
        try:
            if new < old:
                if not self.space.overlaps(new, old - new):
                    return self.brk_now
                self.unmap(new, old)
            elif new > old:
                self._grow_heap(old, new, 7 if executable or self.arch.data_executable else 3)
        except GuestError:
            return self.brk_now
        self.brk_now = value
        if new > old and self.def_flags & VmFlag.LOCKED:
            self.populate(old, new)
        return value

    def _grow_heap(self, old: int, new: int, prot: int) -> None:
        self.check_fixed(old, new - old)
        if not self.limits.lock_fits(self.totals, self.def_flags, new - old):
            raise NoSpace("RLIMIT_MEMLOCK")
        above = next_region(self.space, old)
        if above is not None and new + self.space.page_size > start_gap(above, self.space.page_size):
            raise NoSpace("the heap meets another mapping")
        flags = MAY | VmFlag.ACCOUNT | self.def_flags
        self.limits.expand(self.totals, new - old, prot, flags)
        if len(self.space) > self.limits.max_map_count:
            raise NoSpace("max_map_count")
        self.limits.enough_memory(new - old)
        self.sync()
        # Only the heap itself is extended: an area that ends where the heap begins is none of it (vma_prev_limit).
        area = Vma(old, new, prot, flags, Anon(old), old, new - old)
        self.areas.insert(area, below=old > self.start_brk, above=False)

    def grow_stack(self, addr: int) -> bool:
        """Extend the growing region above `addr` down to its page, if Linux would (mm/vma.c:expand_downwards)."""
        page = addr & ~self._mask
        if not self.layout.min_addr <= page < self.space.end or self.space.query(page) is not None:
            return False
        vma = self.space.region_above(page)
        if vma is None or not vma.flags & VmFlag.GROWSDOWN:
            return False
        low = max(page - GUARD_PAGES * self.space.page_size, self.space.start)
        near = self.space.regions(low, page - low) if page > low else ()
        # Only the area right below counts, whatever lies below that one.
        if near and near[-1].prot & RIGHTS and not near[-1].flags & VmFlag.GROWSDOWN:
            return False
        self.sync()
        self.areas.written(vma)
        vma = self.space.region_above(page)
        assert vma is not None
        grow = vma.start - page
        if not self.limits.may_expand(self.totals, grow, vma.prot, vma.flags) or vma.end - page > self.limits.stack:
            return False
        if not self.limits.lock_fits(self.totals, vma.flags, grow) or rules.offset_of(vma) < grow:
            return False
        try:
            self.limits.enough_memory(grow)
            self.areas.grow_down(vma, page)
        except (GuestError, EngineError, MemoryError):
            return False
        return True

    # -- presence ---------------------------------------------------------------------------------------------------------

    def populate(self, start: int, end: int) -> None:
        """mm_populate with errors ignored: touch what can be touched of the mapped parts of [start, end)."""
        for vma in self.space.regions(start, end - start):
            try:
                self.touch(vma, max(vma.start, start), min(vma.end, end))
            except (EngineError, MemoryError):
                continue

    def touch(self, vma: Vma, start: int, end: int) -> bool:
        """populate_vma_page_range: written where a private area is writable, else read; False when a page is not accessible."""
        if vma.flags & (VmFlag.IO | VmFlag.PFNMAP | VmFlag.LOCKONFAULT):
            return True
        if not vma.prot & RIGHTS or rules.secret(vma):
            return False
        write = bool(vma.prot & 2) and not vma.flags & VmFlag.SHARED
        return self.access(vma, start, end, write=write) >= end

    def access(self, vma: Vma, start: int, end: int, *, write: bool) -> int:
        """Make the pages of a part of an area present up to the first that cannot be, whose address is the result."""
        limit = min(end, self.end_of_file(vma))
        guarded = self.guards.first(start, limit)
        stop = limit if guarded is None else guarded
        if start < stop:
            self.pages.populate(start, stop, write=write)
        if write and guarded is None and limit < end:
            self.written_beyond(vma)
        return stop

    def written_beyond(self, vma: Vma) -> None:
        """A write behind the end of a file, which fails, gives a private area its anon_vma all the same (mm/memory.c:do_cow_fault)."""
        self.sync()
        now = self.space.query(vma.start)
        if now is not None:
            self.areas.written(now)

    def end_of_file(self, vma: Vma) -> int:
        """The address behind the last page of a region that holds bytes of its file."""
        backing = vma.backing
        if type(backing) is not File or not hasattr(backing.file, "size"):
            return vma.end
        left = backing.file.size() - backing.offset
        return vma.start if left <= 0 else min(vma.end, vma.start + (left + self._mask & ~self._mask))
