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
from os import pread

from emuvm.abi.tuples import NamedTuple
from emuvm.errors import EngineError

WINDOW_BITS = 40
WINDOW = 1 << WINDOW_BITS
"""Bytes of guest address space in a window."""

_READ_WRITE = 3
_READ = 1
_SHARED, _PRIVATE, _FIXED, _ANONYMOUS, _NORESERVE = 0x1, 0x2, 0x10, 0x20, 0x4000
_DONTNEED = 4
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


def read_file(fd: int, offset: int, length: int) -> bytes:
    """Up to `length` bytes of a file, for engines that do not map it."""
    return pread(fd, length, offset)


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
            base = self.windows[window] = host_map(WINDOW)
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

    def make_anonymous(self, start: int, end: int) -> None:
        """Replace whatever is there by fresh zero pages."""
        for low, high, pointer in self.spans(start, end):
            host_map(high - low, pointer)

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
            host_map(length, source)
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
    """Copy what is not zero onto zero pages, a chunk at a time: untouched memory stays untouched."""
    zeros = bytes(_COPY)
    for offset in range(0, length, _COPY):
        data = ctypes.string_at(source + offset, min(_COPY, length - offset))
        if data != zeros[: len(data)]:
            ctypes.memmove(target + offset, data, len(data))
