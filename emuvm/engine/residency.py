"""Which pages behind a host range are in memory (Linux hosts).

Owns: asking the host, and the meaning of its answers. Must not know the space, nor what the answers are for.

    page table    PAGEMAP_SCAN (Linux 6.7) walks what is there; before that /proc/self/pagemap is read where pages may be
    page cache    mincore; of large sparse objects only where there is data
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from emuvm.engine.base import Residency
from emuvm.engine.filepages import FilePages
from emuvm.engine.hostmem import HostMemory, cached, data_ranges, host_map, host_unmap, page_entries, scan_pages
from emuvm.engine.pagetable import PageTable
from emuvm.mm.types import Vma

Run = tuple[int, int, int]
"""(start, end, Residency bits)."""

_PRESENT, _PRIVATE, _FILE, _MAPPED = Residency.PRESENT, Residency.PRIVATE, Residency.FILE, Residency.MAPPED
_SPARSE = 64 << 20
"""Ranges of files from this size on are asked for their data first."""
_IS_FILE, _IS_PRESENT, _IS_SWAPPED, _IS_ZERO = 4, 8, 16, 32
"""Categories of PAGEMAP_SCAN."""


def touched(start: int, end: int, used: Callable[[], Iterable[tuple[int, int]]]) -> list[Run]:
    """What the process's page table holds of a host range, ascending. `used()`: outside of these nothing is, for old hosts."""
    out: list[Run] = []
    scanned = scan_pages(start, end)
    if scanned is None:
        done = start
        for low, high in sorted(used()):
            out += _from_entries(max(low, done), high) if high > done else []
            done = max(done, high)
        return out
    for low, high, categories in scanned:
        _add(out, low, high, _MEANINGS[categories])
    return out


def of_guest(
    host: HostMemory, table: PageTable, extents: FilePages, attempt: Callable[..., list[Run]], start: int, end: int, with_cache: bool
) -> list[Run]:
    """The runs of guest memory behind windows: the host's page table, and with_cache the page cache below file pages.

    `attempt(call, *args)` makes the calls that the host may refuse.
    """
    out: list[Run] = []
    for low, high, pointer in host.spans(start, end) if start < end else ():
        shift = low - pointer

        def used(low: int = low, high: int = high, shift: int = shift) -> list[tuple[int, int]]:
            parts = table.used(low, high) + [part[:2] for part in extents.inside(low, high)]
            return [(first - shift, last - shift) for first, last in parts]

        runs = attempt(touched, pointer, pointer + high - low, used)
        files = extents.inside(low, high) if with_cache else []
        below = [run for a, b, x in files for run in attempt(in_cache, a - shift, b - shift, x.file.fileno(), x.offset)]
        out += [(first + shift, last + shift, bits) for first, last, bits in (overlay(below, runs) if below else runs)]
    return out


def behind_the_end(vma: Vma, parts: Iterable[tuple[int, int]]) -> list[Run]:
    """What the page cache holds of a file behind its end, for guest ranges of a region: a write to a memfd whose buffer failed may
    have left a page there. A mapping is made to ask, and touched by nobody.
    """
    out: list[Run] = []
    for low, high in parts:
        if high - low <= _SPARSE:
            at = vma.backing.offset + low - vma.start
            pointer = host_map(high - low, fd=vma.backing.file.fileno(), offset=at, shared=True, writable=False)
            try:
                for n, state in enumerate(cached(pointer, pointer + high - low)):
                    if state & 1:
                        _add(out, low + n * 4096, low + n * 4096 + 4096, _PRESENT | _FILE)
            finally:
                host_unmap(pointer, high - low)
    return out


def in_cache(start: int, end: int, fd: int, offset: int) -> list[Run]:
    """What is in the page cache of a mapped range of a file, present in the page table or not."""
    parts = [(start, end)]
    if end - start >= _SPARSE:
        parts = [(start + low - offset, start + high - offset) for low, high in data_ranges(fd, offset, offset + end - start)]
    out: list[Run] = []
    for first, last in parts:
        states = cached(first, last).translate(_LOWEST)
        at = states.find(1)
        while at >= 0:
            stop = states.find(0, at)
            stop = len(states) if stop < 0 else stop
            _add(out, first + at * 4096, first + stop * 4096, _PRESENT | _FILE)
            at = states.find(1, stop)
    return out


def overlay(below: list[Run], above: list[Run]) -> list[Run]:
    """Runs of both, those of `above` where they overlap."""
    out: list[Run] = []
    over = iter([*above, (1 << 65, 1 << 65, 0)])
    top = next(over)
    for low, high, bits in below:
        while low < high:
            while top[1] <= low:
                _add(out, *top)
                top = next(over)
            if top[0] <= low:
                low = top[1]
                continue
            stop = min(high, top[0])
            _add(out, low, stop, bits)
            low = stop
    while top[0] < 1 << 65:
        _add(out, *top)
        top = next(over)
    return out


def as_bytes(start: int, end: int, runs: list[Run], page: int = 4096) -> bytes:
    """A byte for each page of [start, end)."""
    if not runs:
        return bytes((end - start) // page)
    parts, place = [], start
    for low, high, bits in runs:
        parts += [bytes((low - place) // page), bytes((bits,)) * ((high - low) // page)]
        place = high
    parts.append(bytes((end - place) // page))
    return b"".join(parts)


_LOWEST = bytes(b & 1 for b in range(256))


def _meaning(categories: int) -> int:
    if not categories & _IS_PRESENT:
        return _PRIVATE if categories & _IS_SWAPPED and not categories & _IS_FILE else 0
    if categories & _IS_ZERO:
        return _PRESENT
    return _PRESENT | _MAPPED | (_FILE if categories & _IS_FILE else _PRIVATE)


_MEANINGS = tuple(_meaning(categories) for categories in range(64))


def _from_entries(start: int, end: int) -> list[Run]:
    """From the entries of /proc/self/pagemap. The zero page is told from others by not being exclusive."""
    out: list[Run] = []
    for first, data in page_entries(start, end):
        for n, entry in enumerate(memoryview(data).cast("Q")):
            if not entry >> 62:
                continue
            file, exclusive = entry >> 61 & 1, entry >> 56 & 1
            categories = _IS_SWAPPED if not entry >> 63 else _IS_PRESENT if file or exclusive else _IS_PRESENT | _IS_ZERO
            categories |= _IS_FILE if file else 0
            _add(out, first + n * 4096, first + (n + 1) * 4096, _meaning(categories))
    return out


def _add(out: list[Run], low: int, high: int, bits: int) -> None:
    if not bits or low >= high:
        return
    if out and out[-1][1] == low and out[-1][2] == bits:
        out[-1] = (out[-1][0], high, bits)
    else:
        out.append((low, high, bits))
