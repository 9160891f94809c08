"""Host pages behind guest addresses, at one fixed distance per window (Linux hosts).

Owns: which host bytes stand behind which guest address, and the host calls that arrange it. Must not know Unicorn, the
address space, or who may access what.

    guest    0 ......... 1 TiB ......... 2 TiB ...           host address = window base + (guest address mod 1 TiB)
    window   [    0     ][     1      ]                      reserved when first needed: address space, no memory

Memory nobody wrote reads as zeros. `portable.PortablePages` does the same job without Linux calls.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from errno import EINVAL, ENOMEM, errorcode
from os import O_CLOEXEC, O_RDONLY, SEEK_DATA, SEEK_HOLE, close, getpid, lseek, pread
from os import open as open_file

from emuvm.abi.tuples import NamedTuple
from emuvm.errors import EngineError

WINDOW_BITS = 40
WINDOW = 1 << WINDOW_BITS
"""Bytes of guest address space in a window."""

_READ_WRITE = 3
_READ = 1
_SHARED, _PRIVATE, _FIXED, _ANONYMOUS, _NORESERVE = 0x1, 0x2, 0x10, 0x20, 0x4000
_DONTNEED, _REMOVE, _NOHUGEPAGE, _POPULATE_READ, _POPULATE_WRITE = 4, 9, 15, 22, 23
FREE, PAGEOUT = 8, 21
_MAYMOVE, _REMAP_FIXED, _DONTUNMAP = 1, 2, 4
_FAILED = (1 << 64) - 1
_COPY = 256 << 10
"""Up to this many bytes a copy is cheaper than cutting the host's mapping in three."""

_libc = ctypes.CDLL(None, use_errno=True)
_mmap = _libc.mmap
_mmap.restype = ctypes.c_uint64
_mmap.argtypes = (ctypes.c_uint64, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int64)
_munmap = _libc.munmap
_munmap.argtypes = (ctypes.c_uint64, ctypes.c_size_t)
_madvise = _libc.madvise
_madvise.argtypes = (ctypes.c_uint64, ctypes.c_size_t, ctypes.c_int)
_mincore = _libc.mincore
_mincore.argtypes = (ctypes.c_uint64, ctypes.c_size_t, ctypes.c_void_p)
_ioctl = _libc.ioctl
_ioctl.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p)
_heap_size = getattr(_libc, "malloc_usable_size", None)
_mremap = _libc.mremap
_mremap.restype = ctypes.c_uint64
_mremap.argtypes = (ctypes.c_uint64, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int, ctypes.c_uint64)


def host_map(length: int, address: int = 0, fd: int = -1, offset: int = 0, *, shared: bool = False, writable: bool = True) -> int:
    """mmap on the host: anonymous unless `fd` is given, at `address` (replacing) unless that is 0. EngineError on failure."""
    flags = (_SHARED if shared else _PRIVATE) | _NORESERVE | (_ANONYMOUS if fd < 0 else 0) | (_FIXED if address else 0)
    pointer: int = _mmap(address, length, _READ_WRITE if writable else _READ, flags, fd, offset)
    if pointer == _FAILED:
        raise EngineError(f"the host refuses to map {length:#x} bytes: {errorcode.get(ctypes.get_errno(), '?')}")
    return pointer


def host_unmap(pointer: int, length: int) -> None:
    """munmap on the host."""
    _munmap(pointer, length)


def host_map_fresh(length: int, address: int = 0) -> int:
    """Zero pages that become real one by one: a huge page would make present what nobody touched."""
    pointer = host_map(length, address)
    _madvise(pointer, length, _NOHUGEPAGE)
    return pointer


def host_populate(pointer: int, length: int, *, write: bool) -> None:
    """Touch the pages, which must exist. EngineError when the host cannot provide them."""
    if not _madvise(pointer, length, _POPULATE_WRITE if write else _POPULATE_READ):
        return
    error = ctypes.get_errno()
    if error != EINVAL:
        raise EngineError(f"the host refuses to populate {length:#x} bytes: {errorcode.get(error, '?')}")
    # Linux before 5.14, or pages that may only be read.
    for place in range(pointer, pointer + length, 4096):
        cell = ctypes.c_uint8.from_address(place)
        if write:
            cell.value = cell.value
        else:
            _ = cell.value


def host_punch(pointer: int, length: int) -> None:
    """MADV_REMOVE: the object behind a shared mapping loses the bytes. EngineError when it cannot."""
    if _madvise(pointer, length, _REMOVE):
        raise EngineError(f"the host refuses to punch a hole: {errorcode.get(ctypes.get_errno(), '?')}")


def heap_block(pointer: int) -> int:
    """Bytes of a block of the C library's heap; 0: it does not tell."""
    if _heap_size is None:
        return 0
    _heap_size.restype, _heap_size.argtypes = ctypes.c_size_t, (ctypes.c_void_p,)
    return int(_heap_size(pointer))


def read_file(fd: int, offset: int, length: int) -> bytes:
    """Up to `length` bytes of a file, for engines that do not map it."""
    return pread(fd, length, offset)


_Scan = ctypes.c_uint64 * 12
"""linux/fs.h: struct pm_scan_arg. An array is made in a third of a structure's time."""
_WALK_END = 4
_SCAN_SIZE = ctypes.sizeof(_Scan)
_PAGEMAP_SCAN = 3 << 30 | _SCAN_SIZE << 16 | ord("f") << 8 | 16
_SCANNED, _RETURNED = 8 | 16, 4 | 8 | 16 | 32
_ZERO_PAGE = 32
_RUNS = 256
_Runs = ctypes.c_uint64 * (3 * _RUNS)
_PIECE = 1 << 15
_pagemap = (-1, -1)
"""(process, descriptor of its page map): a fork has memory of its own, and must not ask for its parent's."""


def _own_pagemap(anew: bool = False) -> int:
    """A descriptor of /proc/self/pagemap that stays open."""
    global _pagemap
    process = getpid()
    if anew or _pagemap[0] != process:
        _pagemap = (process, open_file("/proc/self/pagemap", O_RDONLY | O_CLOEXEC))
    return _pagemap[1]


def _forget_pagemap() -> None:
    global _pagemap
    _pagemap = (-1, -1)


def scan_pages(start: int, end: int) -> list[tuple[int, int, int]] | None:
    """(start, end, categories) of the runs in a host range that are present or swapped out, by PAGEMAP_SCAN; None: too old a host.

    The cost is that of the page table, not of the range.
    """
    runs = _Runs()
    place = ctypes.addressof(runs)
    out: list[tuple[int, int, int]] = []
    pagemap, anew = _own_pagemap(), False
    while start < end:
        # size, flags, start, end, walk_end, vec, vec_len, max_pages, category_inverted, category_mask, category_anyof_mask, return_mask
        ask = _Scan(_SCAN_SIZE, 0, start, end, 0, place, _RUNS, 0, 0, 0, _SCANNED, _RETURNED)
        count = _ioctl(pagemap, _PAGEMAP_SCAN, ctypes.byref(ask))
        if count < 0:
            if anew:
                close(pagemap)
                _forget_pagemap()
                return None
            # Somebody may have closed the descriptor: programs that fork close what they do not know.
            pagemap, anew = _own_pagemap(True), True
            continue
        if count:
            found = runs[: 3 * count]
            out += zip(found[0::3], found[1::3], found[2::3], strict=True)
        start = ask[_WALK_END]
    return out


def page_entries(start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """(first address, 8 bytes for each page) of a host range, from /proc/self/pagemap."""
    pagemap = open_file("/proc/self/pagemap", O_RDONLY | O_CLOEXEC)
    try:
        for place in range(start, end, _PIECE * 4096):
            count = min(_PIECE, (end - place) // 4096)
            yield place, pread(pagemap, 8 * count, place // 4096 * 8)
    finally:
        close(pagemap)


def cached(start: int, end: int) -> bytes:
    """mincore: a byte for each page of a mapped host range, its lowest bit tells whether it is in memory."""
    out = ctypes.create_string_buffer((end - start) // 4096)
    if _mincore(start, end - start, out):
        raise EngineError(f"the host's mincore: {errorcode.get(ctypes.get_errno(), '?')}")
    return out.raw


def data_ranges(fd: int, start: int, end: int) -> list[tuple[int, int]]:
    """The parts of [start, end) of a file, in whole pages, outside of which it has only holes."""
    try:
        # Anew: the position of the guest's descriptor is the guest's.
        own = open_file(f"/proc/self/fd/{fd}", O_RDONLY | O_CLOEXEC)
    except OSError:
        return [(start, end)]
    out = []
    try:
        while start < end:
            low = lseek(own, start, SEEK_DATA)
            high = min(end, lseek(own, low, SEEK_HOLE))
            if low >= end:
                break
            out.append((max(start, low & -4096), min(end, high + (-high % 4096))))
            start = out[-1][1]
    except OSError:
        pass  # ENXIO: no data from here on
    finally:
        close(own)
    return out


class Staged(NamedTuple):
    """File pages that are mapped on the host but not yet anybody's: `length` bytes at `pointer`, whole pages, none behind the end."""

    pointer: int
    length: int
    writable: bool


class HostMemory:
    """Windows of host memory. All ranges in whole host pages unless said otherwise; addresses up to 2**64."""

    page_size = 4096

    def __init__(self) -> None:
        self.windows: dict[int, int] = {}
        """Window number (guest address >> 40) -> host address of its first byte."""

    def reserve(self, window: int) -> int:
        """Host address of a window, reserved if it is not there yet. EngineError when the host refuses."""
        base = self.windows.get(window)
        if base is None:
            base = self.windows[window] = host_map_fresh(WINDOW)
        return base

    def pointer(self, address: int) -> int:
        """The host address behind a guest address; 0 where no window is."""
        base = self.windows.get(address >> WINDOW_BITS)
        return 0 if base is None else base + (address & WINDOW - 1)

    def spans(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        """(start, end, host address) of the parts of [start, end), any bytes, that lie in a window, ascending."""
        first, last = start >> WINDOW_BITS, end - 1 >> WINDOW_BITS
        if first == last:
            numbers = [first] if first in self.windows else []
        else:
            numbers = sorted(n for n in self.windows if first <= n <= last)
        for number in numbers:
            low, high = max(start, number << WINDOW_BITS), min(end, number + 1 << WINDOW_BITS)
            yield low, high, self.windows[number] + (low & WINDOW - 1)

    def read(self, address: int, length: int) -> bytes:
        """Any bytes; zeros where no window is."""
        offset = address & WINDOW - 1
        base = self.windows.get(address >> WINDOW_BITS)
        if base is not None and offset + length <= WINDOW:
            return ctypes.string_at(base + offset, length)
        out = bytearray(length)
        for low, high, pointer in self.spans(address, address + length):
            out[low - address : high - address] = ctypes.string_at(pointer, high - low)
        return bytes(out)

    def write(self, address: int, data: bytes) -> None:
        """Any bytes. Reserves windows; the host pages must be writable."""
        end = address + len(data)
        while address < end:
            stop = min(end, (address >> WINDOW_BITS) + 1 << WINDOW_BITS)
            pointer = self.reserve(address >> WINDOW_BITS) + (address & WINDOW - 1)
            if stop == end:
                ctypes.memmove(pointer, bytes(data), len(data))
                return
            ctypes.memmove(pointer, bytes(data[: stop - address]), stop - address)
            data, address = data[stop - address :], stop

    def discard(self, start: int, end: int) -> None:
        """MADV_DONTNEED: anonymous pages read zero, private file pages the file again. Untouched memory costs nothing."""
        for low, high, pointer in self.spans(start, end):
            if _madvise(pointer, high - low, _DONTNEED):
                # Locked by somebody (mlockall): only anonymous memory comes here then.
                ctypes.memset(pointer, 0, high - low)

    def unload(self, start: int, end: int) -> None:
        """The pages of shared mappings are not in the host's page table until they are accessed again; their contents stay."""
        for low, high, pointer in self.spans(start, end):
            _madvise(pointer, high - low, _DONTNEED)

    def make_anonymous(self, start: int, end: int) -> None:
        """Replace whatever is there by fresh zero pages."""
        for low, high, pointer in self.spans(start, end):
            host_map_fresh(high - low, pointer)

    def populate(self, start: int, end: int, write: bool) -> None:
        """Touch pages. Reserves windows. EngineError when the host cannot provide them."""
        for window in range(start >> WINDOW_BITS, (end - 1 >> WINDOW_BITS) + 1):
            self.reserve(window)
        for low, high, pointer in self.spans(start, end):
            host_populate(pointer, high - low, write=write)

    def punch(self, start: int, end: int) -> None:
        """MADV_REMOVE on shared pages."""
        for low, high, pointer in self.spans(start, end):
            host_punch(pointer, high - low)

    def advise(self, start: int, end: int, advice: int) -> None:
        """A hint for the host: FREE or PAGEOUT."""
        for low, high, pointer in self.spans(start, end):
            _madvise(pointer, high - low, advice)

    def stage(self, fd: int, offset: int, length: int, *, shared: bool) -> Staged:
        """Map a file aside; nothing of the guest's changes. The caller clips `length` to whole pages not behind the end of file.

        A shared mapping of a file that is open for reading only is not writable. EngineError when the host refuses.
        """
        try:
            return Staged(host_map(length, fd=fd, offset=offset, shared=shared), length, writable=True)
        except EngineError:
            if not shared:
                raise
        return Staged(host_map(length, fd=fd, offset=offset, shared=True, writable=False), length, writable=False)

    def install(self, start: int, staged: Staged) -> None:
        """Put staged pages behind [start, start + staged.length), replacing what is there."""
        place, pointer = start, staged.pointer
        while place < start + staged.length:
            stop = min(start + staged.length, (place >> WINDOW_BITS) + 1 << WINDOW_BITS)
            target = self.reserve(place >> WINDOW_BITS) + (place & WINDOW - 1)
            self._remap(pointer, stop - place, target, _MAYMOVE | _REMAP_FIXED)
            pointer, place = pointer + stop - place, stop

    def move(self, start: int, end: int, to: int, *, anonymous: bool) -> None:
        """Contents of [start, end), one kind of pages, go to `to`; the source reads as zeros. The ranges must not overlap."""
        for low, high, pointer in list(self.spans(start, end)):
            place = low
            while place < high:
                goal = to + place - start
                stop = min(high, place + WINDOW - (goal & WINDOW - 1))
                target = self.reserve(goal >> WINDOW_BITS) + (goal & WINDOW - 1)
                self._move_piece(pointer + place - low, stop - place, target, anonymous)
                place = stop

    def close(self) -> None:
        """Give everything back. Nobody may use a pointer afterwards."""
        for base in self.windows.values():
            host_unmap(base, WINDOW)
        self.windows.clear()

    def _move_piece(self, source: int, length: int, target: int, anonymous: bool) -> None:
        if not anonymous:
            self._remap(source, length, target, _MAYMOVE | _REMAP_FIXED)
            host_map_fresh(length, source)
            return
        if length > _COPY:
            got = _mremap(source, length, length, _MAYMOVE | _REMAP_FIXED | _DONTUNMAP, target)
            if got == target:
                return
            if ctypes.get_errno() not in (EINVAL, ENOMEM, 14):  # 14: EFAULT, the host's mapping was cut here before
                raise EngineError(f"the host refuses to move pages: {errorcode.get(ctypes.get_errno(), '?')}")
        _copy(source, length, target)
        _madvise(source, length, _DONTNEED)

    @staticmethod
    def _remap(source: int, length: int, target: int, flags: int) -> None:
        if _mremap(source, length, length, flags, target) == _FAILED:
            raise EngineError(f"the host refuses to move pages: {errorcode.get(ctypes.get_errno(), '?')}")


def _copy(source: int, length: int, target: int) -> None:
    """Copy onto zero pages; each page is then as present as it was."""
    found = scan_pages(source, source + length)
    if found is not None:
        for low, high, categories in found:
            for place in range(low, high, 4096):
                _copy_page(place, target + place - source, written=not categories & _ZERO_PAGE)
        return
    try:
        for first, data in page_entries(source, source + length):
            for n, entry in enumerate(memoryview(data).cast("Q")):
                if entry >> 62:  # present or swapped out
                    _copy_page(first + n * 4096, target + first - source + n * 4096, written=bool(entry >> 56 & 1))
    except OSError:
        for offset in range(0, length, 4096):
            _copy_page(source + offset, target + offset, written=False)


def _copy_page(source: int, target: int, *, written: bool) -> None:
    data = ctypes.string_at(source, 4096)
    if written or data.count(0) != 4096:
        ctypes.memmove(target, data, 4096)
    else:
        _ = ctypes.c_uint8.from_address(target).value  # untouched memory that was read
