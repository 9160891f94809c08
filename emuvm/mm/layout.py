"""Where Linux puts a mapping whose address it may choose (mm/mmap.c:generic_get_unmapped_area_topdown and around).

Owns: hints, search order, guard gaps, large-page alignment. Must not know how mappings are made.

    min_addr ........ mmap_base ...... task_size        top-down below mmap_base; failing that, bottom-up from
       ^   bottom-up from unmapped_base     ^           unmapped_base to task_size
"""

from __future__ import annotations

from emuvm.abi.arch import Arch
from emuvm.abi.tuples import NamedTuple
from emuvm.errors import NoSpace
from emuvm.mm.space import AddressSpace
from emuvm.mm.types import Vma, VmFlag

GUARD_PAGES = 256
"""stack_guard_gap: what stays free below a growing stack."""
HUGE = 2 << 20
"""Anonymous mappings of a multiple of this are aligned to it (since Linux 6.7, in this form since 6.12)."""


class Layout(NamedTuple):
    """The bounds of the search, in bytes."""

    min_addr: int
    mmap_base: int
    unmapped_base: int
    task_size: int
    align_huge: bool = True
    hint_floor: int = 0
    """Hints below are not looked at. x86 has none (arch/x86/kernel/sys_x86_64.c); mmap raises its hints to min_addr, mremap does not."""

    @classmethod
    def of(cls, arch: Arch, space: AddressSpace | None = None) -> Layout:
        """The layout of `arch` without address randomisation, clipped to a space that covers less."""
        low, high = 0x10000, arch.task_size
        if space is not None:
            low, high = max(low, space.start), min(high, space.end)
        base = min(arch.mmap_base, high)
        floor = arch.unmapped_base if low <= arch.unmapped_base < high else low
        return cls(low, base, floor, high, align_huge=arch.bits == 64, hint_floor=0 if arch.name in ("x86_64", "i386") else low)


def start_gap(vma: Vma, page_size: int) -> int:
    """The lowest address that belongs to `vma`, the guard gap of a growing stack included (vm_start_gap)."""
    if vma.flags & VmFlag.GROWSDOWN:
        return max(vma.start - GUARD_PAGES * page_size, 0)
    return vma.start


def next_region(space: AddressSpace, addr: int) -> Vma | None:
    """The first region that ends above `addr` (find_vma)."""
    if addr >= space.end:
        return None
    found = space.query(addr)
    if found is None:
        found = space.region_above(addr)
    return found


def place(
    space: AddressSpace,
    layout: Layout,
    length: int,
    hint: int = 0,
    *,
    anonymous: bool = True,
    low_2g: bool = False,
    kernel: tuple[int, int] = (6, 18),
    align_at: int = 0,
    in_file: bool = False,
    low: int = 0,
    aligned: int = 0,
) -> int:
    """A free address for `length` bytes (whole pages). Raises NoSpace (ENOMEM). `hint` is already rounded down to a page.

    `anonymous`: the mapping may be aligned to large pages; for a file (`in_file`) so that position `align_at` of the file would be.
    `aligned`: to multiples of this, at all events.
    """
    page = space.page_size
    if hint and _hint_fits(space, layout, hint, length, (1 << 31) if low_2g else layout.task_size):
        return hint
    found: int | None = None
    if aligned:
        found = _search(space, layout, length + aligned - page, low, low_2g=low_2g)
        if found is None:
            raise NoSpace(f"no gap of {length // page} pages")
        return found + aligned - page & -aligned
    if layout.align_huge and anonymous and _wants_huge(length, hint, kernel, align_at, in_file):
        found = _search(space, layout, length + HUGE, low, low_2g=low_2g)
        if found is not None:
            # A found address that is aligned already moves up a whole huge page, as in mm/huge_memory.c:__thp_get_unmapped_area.
            found += (align_at - found & HUGE - 1) or HUGE
    if found is None:
        found = _search(space, layout, length, low, low_2g=low_2g)
    if found is None:
        raise NoSpace(f"no gap of {length // page} pages")
    return found


def _wants_huge(length: int, hint: int, kernel: tuple[int, int], align_at: int, in_file: bool) -> bool:
    """Is a mapping aligned to large pages? Files by position at all times, anonymous memory since Linux 6.7."""
    if in_file:
        first = align_at + HUGE - 1 & -HUGE
        return align_at + length - first >= HUGE
    if hint or kernel < (6, 7) or length < HUGE:
        return False
    return kernel < (6, 12) or length % HUGE == 0


def _hint_fits(space: AddressSpace, layout: Layout, hint: int, length: int, end: int) -> bool:
    if hint < max(layout.hint_floor, space.start) or hint + length > end or hint + length > space.end:
        return False
    above = next_region(space, hint)
    return above is None or hint + length <= start_gap(above, space.page_size)


def _search(space: AddressSpace, layout: Layout, length: int, low: int, *, low_2g: bool) -> int | None:
    if low_2g:
        return _bottom_up(space, length, 1 << 30, 1 << 31)
    found = _top_down(space, length, max(layout.min_addr, low), layout.mmap_base)
    return found if found is not None else _bottom_up(space, length, layout.unmapped_base, layout.task_size)


def _top_down(space: AddressSpace, length: int, low: int, high: int) -> int | None:
    while high - low >= length:
        found = space.find_free(length, limit=(low, high), top_down=True)
        if found is None:
            return None
        above = next_region(space, found + length)
        if above is None or found + length <= start_gap(above, space.page_size):
            return found
        high = start_gap(above, space.page_size)
    return None


def _bottom_up(space: AddressSpace, length: int, low: int, high: int) -> int | None:
    while high - low >= length:
        found = space.find_free(length, limit=(low, high))
        if found is None:
            return None
        above = next_region(space, found + length)
        if above is None or found + length <= start_gap(above, space.page_size):
            return found
        low = above.end
    return None
