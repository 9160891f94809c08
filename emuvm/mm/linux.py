"""The memory system calls, as Linux does them, on an AddressSpace.

Owns: argument checks in the kernel's order with its errno, partial effects where Linux has them, limits, the heap and
stack growth. Must not know raw flag bits (handlers decode them), engines, files. Failures are GuestErrors; unless the
docstring says otherwise nothing was changed then. Kernel references are to 6.12.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from emuvm.abi.arch import Arch
from emuvm.abi.errno import Errno
from emuvm.abi.tuples import NamedTuple
from emuvm.errors import GuestError, NoSpace
from emuvm.mm.layout import GUARD_PAGES, Layout, next_region, place, start_gap
from emuvm.mm.space import AddressSpace
from emuvm.mm.totals import Totals
from emuvm.mm.types import RIGHTS, File, Vma, VmFlag

INFINITY = (1 << 64) - 1
"""RLIM_INFINITY."""

_MAY = VmFlag.MAYREAD | VmFlag.MAYWRITE | VmFlag.MAYEXEC
_MAY_SHIFT = 4
"""MAYREAD, MAYWRITE, MAYEXEC are the access bits shifted up by this."""


class Limits:
    """Resource limits in bytes, read at every call, so that setrlimit has effect at once. INFINITY: none.

    `commit`: the overcommit heuristic; one request for more writable private memory fails (mm/util.c:__vm_enough_memory).
    """

    def __init__(
        self, address_space: int = INFINITY, data: int = INFINITY, stack: int = 8 << 20, max_map_count: int = 65530, commit: int = INFINITY
    ) -> None:
        self.address_space = address_space
        self.data = data
        self.stack = stack
        self.max_map_count = max_map_count
        self.commit = commit


class MapRequest(NamedTuple):
    """What an mmap call asks for, decoded. `may` are the access bits that the file allows for ever (VM_MAY*)."""

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


class LinuxMm:
    """One process's memory map. `space` holds the regions; `start_brk` and `brk` bound the heap."""

    def __init__(self, space: AddressSpace, arch: Arch, limits: Limits | None = None, layout: Layout | None = None) -> None:
        self.space = space
        self.arch = arch
        self.limits = limits if limits is not None else Limits()
        self.layout = layout if layout is not None else Layout.of(arch, space)
        self.totals = Totals(space)
        self.start_brk = self.brk_now = 0
        self.data_bytes = 0
        """Bytes of the image's data segment, which RLIMIT_DATA counts together with the heap."""
        self._mask = space.page_size - 1

    # -- mmap, munmap, mprotect -----------------------------------------------------------------------------------------

    def mmap(self, request: MapRequest) -> int:
        """Map memory; the address (mm/mmap.c:do_mmap).

        EINVAL zero length, misaligned fixed address; ENOMEM no room, beyond the address space, a limit; EPERM below
        mmap_min_addr; EEXIST with replace=False. The caller has checked what concerns the file.
        """
        if request.length == 0:
            raise GuestError(Errno.EINVAL, "length is zero")
        length = request.length + self._mask & ~self._mask
        if length > INFINITY:
            raise GuestError(Errno.ENOMEM, "length rounds up to nothing")
        offset = request.backing.offset if isinstance(request.backing, File) else 0
        if offset + length > INFINITY:
            raise GuestError(Errno.EOVERFLOW, "offset + length wraps")
        if len(self.space) > self.limits.max_map_count:
            raise GuestError(Errno.ENOMEM, "max_map_count")
        addr = self._address(request, length)
        if request.growsdown and (request.shared or request.backing is not None):
            raise GuestError(Errno.EINVAL, "only private anonymous memory grows down")
        flags = self._flags(request)
        self._may_map(addr, length, request.prot & RIGHTS, flags, replacing=request.fixed)
        return self.space.map_at(addr, length, request.prot & RIGHTS, flags, backing=request.backing)

    def _address(self, request: MapRequest, length: int) -> int:
        layout, addr = self.layout, request.addr
        if length > layout.task_size:
            raise GuestError(Errno.ENOMEM, "longer than the address space")
        if not request.fixed:
            hint = addr & ~self._mask
            if hint and hint < layout.min_addr:
                hint = layout.min_addr
            private = request.backing is None and not request.shared
            return place(self.space, layout, length, hint, anonymous=private, low_2g=request.low_2g)
        if addr > layout.task_size - length:
            raise GuestError(Errno.ENOMEM, "beyond the address space")
        if addr & self._mask:
            raise GuestError(Errno.EINVAL, "fixed address is not page aligned")
        if addr < layout.min_addr:
            raise GuestError(Errno.EPERM, "below mmap_min_addr")
        if not request.replace and self.space.overlaps(addr, length):
            raise GuestError(Errno.EEXIST, "the range is not free")
        return addr

    @staticmethod
    def _flags(request: MapRequest) -> int:
        flags = (request.may & RIGHTS) << _MAY_SHIFT
        if request.shared:
            flags |= VmFlag.MAYSHARE
            if request.may & 2:
                flags |= VmFlag.SHARED
        if request.growsdown:
            flags |= VmFlag.GROWSDOWN
        if request.noreserve:
            flags |= VmFlag.NORESERVE
        if request.stack:
            flags |= VmFlag.NOHUGEPAGE
        return int(flags)

    def _may_map(self, addr: int, length: int, prot: int, flags: int, *, replacing: bool) -> None:
        """may_expand_vm with credit for what is replaced, then the overcommit test (mm/mmap.c:mmap_region)."""
        credit = sum(min(v.end, addr + length) - max(v.start, addr) for v in self.space.regions(addr, length)) if replacing else 0
        self._may_expand(length - credit, prot, flags)
        if prot & 2 and not flags & (VmFlag.SHARED | VmFlag.NORESERVE) and length > self.limits.commit:
            raise GuestError(Errno.ENOMEM, "overcommit")

    def _may_expand(self, grow: int, prot: int, flags: int) -> None:
        if grow > 0 and self.totals.total + grow > self.limits.address_space:
            raise GuestError(Errno.ENOMEM, "RLIMIT_AS")
        if Totals.is_data(prot, flags) and self.totals.data + grow > self.limits.data:
            raise GuestError(Errno.ENOMEM, "RLIMIT_DATA")

    def munmap(self, addr: int, length: int) -> None:
        """Remove what lies in the range; holes are fine (mm/vma.c:do_vmi_munmap). EINVAL for the arguments.

        ENOMEM when that would cut one region in two at the limit of regions.
        """
        task_size = self.layout.task_size
        if addr & self._mask or addr > task_size or length > task_size - addr or length == 0:
            raise GuestError(Errno.EINVAL, "misaligned, empty or outside user space")
        end = addr + (length + self._mask & ~self._mask)
        if len(self.space) >= self.limits.max_map_count:
            vma = self.space.query(addr)
            if vma is not None and vma.start < addr and end < vma.end:
                raise GuestError(Errno.ENOMEM, "max_map_count")
        self.space.unmap(addr, end - addr)

    def mprotect(self, addr: int, length: int, prot: int, *, growsdown: bool = False) -> None:
        """Change access rights (mm/mprotect.c:do_mprotect_pkey). What precedes the failing region stays changed.

        EINVAL misaligned; ENOMEM at the first hole, or a limit; EACCES where the mapping does not allow the right.
        """
        if addr & self._mask:
            raise GuestError(Errno.EINVAL, "address is not page aligned")
        if length == 0:
            return
        end = addr + (length + self._mask & ~self._mask)
        if end > INFINITY:
            raise GuestError(Errno.ENOMEM, "the range wraps around")
        end = min(end, self.space.end)
        if addr >= end:
            raise GuestError(Errno.ENOMEM, "nothing is mapped there")
        if growsdown:
            addr = self._stack_start(addr, end)
        error: GuestError | None = None
        stop = addr
        for vma in self.space.regions(addr, end - addr):
            error = self._may_protect(vma, stop, end, prot)
            if error is not None:
                break
            stop = min(vma.end, end)
        if error is None and stop < end:
            error = GuestError(Errno.ENOMEM, f"nothing is mapped at {stop:#x}")
        if stop > addr:
            self.space.protect(addr, stop - addr, prot & RIGHTS)
        if error is not None:
            raise error

    def _stack_start(self, addr: int, end: int) -> int:
        vma = next_region(self.space, addr)
        if vma is None or vma.start >= end:
            raise GuestError(Errno.ENOMEM, "nothing is mapped there")
        if not vma.flags & VmFlag.GROWSDOWN:
            raise GuestError(Errno.EINVAL, "PROT_GROWSDOWN on memory that does not grow down")
        return vma.start

    def _may_protect(self, vma: Vma, place: int, end: int, prot: int) -> GuestError | None:
        if vma.start > place:
            return GuestError(Errno.ENOMEM, f"nothing is mapped at {place:#x}")
        if prot & RIGHTS & ~(vma.flags >> _MAY_SHIFT):
            return GuestError(Errno.EACCES, "the mapping does not allow that right")
        if vma.prot & RIGHTS == prot & RIGHTS:
            return None
        size = min(vma.end, end) - max(vma.start, place)
        was_data = Totals.is_data(vma.prot, vma.flags)
        if Totals.is_data(prot, vma.flags) and not was_data and self.totals.data + size > self.limits.data:
            return GuestError(Errno.ENOMEM, "RLIMIT_DATA")
        if prot & 2 and not vma.prot & 2 and not vma.flags & (VmFlag.SHARED | VmFlag.NORESERVE) and size > self.limits.commit:
            return GuestError(Errno.ENOMEM, "overcommit")
        cuts = (vma.start < place) + (end < vma.end)
        if cuts and len(self.space) + cuts > self.limits.max_map_count:
            return GuestError(Errno.ENOMEM, "max_map_count")
        return None

    # -- mremap -------------------------------------------------------------------------------------------------------

    def mremap(
        self,
        old: int,
        old_length: int,
        new_length: int,
        *,
        maymove: bool = False,
        fixed: int | None = None,
        dontunmap: bool = False,
        hint: int = 0,
    ) -> int:
        """Grow, shrink or move a mapping; its address then (mm/mremap.c:do_mremap).

        `fixed` is the new address of MREMAP_FIXED; `hint` the wish of MREMAP_DONTUNMAP without it. EINVAL arguments;
        EFAULT nothing mapped, or the old range is not inside one region; ENOMEM no room. With `fixed` the target range
        is unmapped first, and stays so when a later step fails, as in Linux.
        """
        mask, task_size = self._mask, self.layout.task_size
        old_length = old_length + mask & ~mask
        new_length = new_length + mask & ~mask
        if old & mask or new_length == 0 or new_length > task_size:
            raise GuestError(Errno.EINVAL, "misaligned, empty or too long")
        moving = fixed is not None or dontunmap
        if moving:
            target = fixed if fixed is not None else hint
            if target > task_size - new_length or target & mask or not maymove or (dontunmap and old_length != new_length):
                raise GuestError(Errno.EINVAL, "new address, or flags that do not go together")
            if fixed is not None and fixed < old + old_length and old < fixed + new_length:
                raise GuestError(Errno.EINVAL, "the ranges overlap")
        vma = self.space.query(old)
        if vma is None:
            raise GuestError(Errno.EFAULT, "nothing is mapped at the old address")
        if not moving:
            if old_length == new_length:
                return old
            if 0 < new_length < old_length:
                self.space.unmap(old + new_length, old_length - new_length)
                return old
        self._may_remap(vma, old, old_length, new_length)
        if fixed is not None:
            self.space.unmap(fixed, new_length)
            if old_length > new_length:
                self.space.unmap(old + new_length, old_length - new_length)
                old_length = new_length
            return self._move(vma, old, old_length, new_length, fixed, dontunmap)
        if not moving and old_length and self._grow_in_place(vma, old, old_length, new_length):
            return old
        if not maymove:
            raise GuestError(Errno.ENOMEM, "no room to grow in place")
        to = place(self.space, self.layout, new_length, hint, anonymous=False)
        return self._move(vma, old, old_length, new_length, to, dontunmap)

    def _may_remap(self, vma: Vma, old: int, old_length: int, new_length: int) -> None:
        if old_length == 0 and not vma.flags & VmFlag.SHARED:
            raise GuestError(Errno.EINVAL, "old length zero duplicates shared mappings only")
        if old + old_length > vma.end:
            raise GuestError(Errno.EFAULT, "the old range crosses the end of its region")
        if new_length > old_length:
            self._may_expand(new_length - old_length, vma.prot, vma.flags)
            if vma.prot & 2 and not vma.flags & (VmFlag.SHARED | VmFlag.NORESERVE) and new_length - old_length > self.limits.commit:
                raise GuestError(Errno.ENOMEM, "overcommit")

    def _grow_in_place(self, vma: Vma, old: int, old_length: int, new_length: int) -> bool:
        tail = old + old_length
        if tail != vma.end or old + new_length > self.layout.task_size or self.space.overlaps(tail, new_length - old_length):
            return False
        self._map_like(vma, tail, new_length - old_length, tail - vma.start)
        return True

    def _map_like(self, vma: Vma, addr: int, length: int, offset: int) -> None:
        """Map memory that continues `vma` from `offset` bytes in."""
        backing = vma.backing.split(offset) if isinstance(vma.backing, File) else vma.backing
        self.space.map_at(addr, length, vma.prot, vma.flags, backing=backing)

    def _move(self, vma: Vma, old: int, old_length: int, new_length: int, to: int, dontunmap: bool) -> int:
        inside = old - vma.start
        if old_length == 0:
            self._map_like(vma, to, new_length, inside)
            return to
        if new_length > old_length:
            # The tail first: if moving fails then, taking it away again leaves everything as it was.
            self._map_like(vma, to + old_length, new_length - old_length, inside + old_length)
        try:
            self.space.move(old, old_length, to)
        except BaseException:
            if new_length > old_length:
                self.space.unmap(to + old_length, new_length - old_length)
            raise
        if dontunmap:
            self._map_like(vma, old, old_length, inside)
        return to

    # -- heap and stack -----------------------------------------------------------------------------------------------

    def set_brk(self, start: int) -> None:
        """Where the heap begins (fs/binfmt_elf.c)."""
        self.start_brk = self.brk_now = start

    def brk(self, value: int) -> int:
        """The break after trying to set it to `value`: exactly that, or unchanged; never an error (mm/mmap.c:brk)."""
        if value < self.start_brk or value - self.start_brk + self.data_bytes > self.limits.data:
            return self.brk_now
        old, new = self.brk_now + self._mask & ~self._mask, value + self._mask & ~self._mask
        try:
            if new < old:
                if not self.space.overlaps(new, old - new):
                    return self.brk_now
                self.space.unmap(new, old - new)
            elif new > old:
                self._grow_heap(old, new)
        except GuestError:
            return self.brk_now
        self.brk_now = value
        return value

    def _grow_heap(self, old: int, new: int) -> None:
        if new > self.layout.task_size or old < self.layout.min_addr:
            raise NoSpace("heap outside the address space")
        above = next_region(self.space, old)
        if above is not None and new + self.space.page_size > start_gap(above, self.space.page_size):
            raise NoSpace("the heap meets another mapping")
        if len(self.space) > self.limits.max_map_count:
            raise NoSpace("max_map_count")
        self._may_map(old, new - old, 3, int(_MAY), replacing=False)
        self.space.map_at(old, new - old, 3, int(_MAY), replace=False)

    def grow_stack(self, addr: int) -> bool:
        """Extend the growing region above `addr` down to its page, if Linux would (mm/mmap.c:expand_downwards)."""
        page = addr & ~self._mask
        if not self.layout.min_addr <= page < self.space.end or self.space.query(page) is not None:
            return False
        vma = self.space.region_above(page)
        if vma is None or not vma.flags & VmFlag.GROWSDOWN or vma.end - page > self.limits.stack:
            return False
        gap = GUARD_PAGES * self.space.page_size
        low = max(page - gap, self.space.start)
        for below in self.space.regions(low, page - low) if page > low else ():
            if below.prot & RIGHTS and not below.flags & VmFlag.GROWSDOWN:
                return False
        try:
            self._may_expand(vma.start - page, vma.prot, vma.flags)
            self.space.map_at(page, vma.start - page, vma.prot, vma.flags, backing=vma.backing, replace=False)
        except GuestError:
            return False
        return True

    # -- advice -------------------------------------------------------------------------------------------------------

    def discard(self, addr: int, length: int, drop: Callable[[int, int], None]) -> None:
        """MADV_DONTNEED: drop(address, length) for every mapped piece; ENOMEM at the end if there were holes."""
        end = self.advice_end(addr, length)
        holes = self.walk(addr, end)
        for vma in self.space.regions(addr, end - addr) if end > addr else ():
            if vma.flags & VmFlag.LOCKED:
                raise GuestError(Errno.EINVAL, "the memory is locked")
            start, stop = max(vma.start, addr), min(vma.end, end)
            drop(start, stop - start)
        if holes:
            raise GuestError(Errno.ENOMEM, "part of the range is not mapped")

    def advice_end(self, addr: int, length: int) -> int:
        """The end of an madvise range after its argument checks (mm/madvise.c:is_valid_madvise): EINVAL."""
        rounded = length + self._mask & ~self._mask
        if addr & self._mask or rounded > INFINITY or addr + rounded > INFINITY:
            raise GuestError(Errno.EINVAL, "misaligned or wrapping range")
        return addr + rounded

    def walk(self, addr: int, end: int) -> bool:
        """Has [addr, end) holes? An empty range has none."""
        for vma in self.space.regions(addr, min(end, self.space.end) - addr) if addr < min(end, self.space.end) else ():
            if vma.start > addr:
                return True
            addr = vma.end
        return addr < end
