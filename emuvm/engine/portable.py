"""Host memory behind guest pages without one Linux-only call: Python's mmap module, wherever it runs.

Owns: which host bytes stand behind which guest page. Must not know Unicorn, nor the address space.

Memory is taken in blocks of whole megabytes where there is room, so that neighbouring areas are neighbours on the host
as well. A block costs address space; the host gives real pages when they are first touched.
"""

from __future__ import annotations

import mmap
import sys
from collections.abc import Iterator
from contextlib import suppress
from ctypes import Structure, addressof, byref, c_char, c_uint8, c_void_p, memmove, memset, py_object, pythonapi, string_at
from errno import EINVAL
from typing import Any

from emuvm.abi.tuples import NamedTuple
from emuvm.engine.base import Residency
from emuvm.engine.intervals import Intervals
from emuvm.errors import EngineError

BLOCK = 1 << 20
_POPULATE_READ, _POPULATE_WRITE = 22, 23
MADV_FREE, MADV_PAGEOUT = 8, 21
"""Linux's numbers; Python does not name them all."""
_NORESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000 if sys.platform == "linux" else 0)
"""Only a hint that large sparse memory is meant. Python below 3.13 does not name it; without it Linux refuses tens of GiB."""


class Block:
    """One host mapping. It lives as long as something refers to it: a page table below, or an engine's owner."""

    def __init__(self, memory: mmap.mmap, *, writable: bool = True) -> None:
        self.memory = memory
        self.writable = writable
        self.pointer = addressof(c_char.from_buffer(memory)) if writable else _address(memory)

    @classmethod
    def anonymous(cls, length: int) -> Block:
        if sys.platform == "win32":
            return cls(mmap.mmap(-1, length))
        block = cls(mmap.mmap(-1, length, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NORESERVE))
        if sys.platform == "linux":
            # A huge page would make present what nobody touched. Hosts without huge pages refuse, which is as good.
            with suppress(OSError):
                block.memory.madvise(mmap.MADV_NOHUGEPAGE)
        return block


class _Buffer(Structure):
    """Py_buffer, as far as it matters; the rest is for the interpreter."""

    _fields_ = [("buf", c_void_p), ("obj", c_void_p), ("rest", c_void_p * 16)]


def _address(memory: mmap.mmap) -> int:
    """Where a mapping that may only be read lies: `from_buffer` wants writable ones."""
    view = _Buffer()
    pythonapi.PyObject_GetBuffer(py_object(memory), byref(view), 0)
    pythonapi.PyBuffer_Release(byref(view))
    return int(view.buf or 0)


class Source(NamedTuple):
    """The file content behind a page range: the file position of its first byte."""

    file: Any
    offset: int
    shared: bool


class Piece(NamedTuple):
    """Host bytes behind a range: `pointer` is the host address of its first byte, 0 for file pages behind the end of the file."""

    pointer: int
    block: Block | None
    source: Source | None


def _advance(piece: Piece, offset: int) -> Piece:
    source = piece.source
    if source is not None:
        source = Source(source.file, source.offset + offset, source.shared)
    return Piece(piece.pointer + offset if piece.pointer else 0, piece.block, source)


Table = list[tuple[int, int, Piece]]


class PortablePages:
    """Host memory by guest address; all ranges in whole guest pages. Untouched memory has no block and reads as zeros."""

    def __init__(self, page_size: int = 4096) -> None:
        self.page_size = page_size
        self._pieces: Intervals[Piece] = Intervals(_advance)
        self._needed: tuple[int, dict[int, tuple[Any, int]]] = (-1, {})
        """For a state of the pieces: the files, and how long each must be for all of its mapped pages to hold bytes."""

    def spans(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        """(start, end, pointer) of host-contiguous runs; memory is made where there is none. Pages behind a file's end are left out."""
        for low, high in self._pieces.gaps(start, end):
            self._allocate(low, high)
        run: tuple[int, int, int] | None = None
        for low, high, piece in self._pieces.inside(start, end):
            if run is not None and run[1] == low and piece.pointer and run[2] + (low - run[0]) == piece.pointer:
                run = (run[0], high, run[2])
                continue
            if run is not None:
                yield run
            run = (low, high, piece.pointer) if piece.pointer else None
        if run is not None:
            yield run

    def pointer(self, address: int) -> int:
        """The host address behind `address`; 0 where there is no memory (yet)."""
        found = self._pieces.at(address)
        return found[2].pointer + address - found[0] if found is not None and found[2].pointer else 0

    def is_backed(self, start: int, end: int, source: Source | None) -> bool:
        """Do the pages hold, or for plain memory could they at once hold, the content of `source` (None: plain memory)?"""
        for low, _, piece in self._pieces.inside(start, end):
            wanted = source and Source(source.file, source.offset + low - start, source.shared)
            if piece.source != wanted:
                return False
        return source is None or not self._pieces.gaps(start, end)

    def source(self, address: int) -> Source | None:
        """The file content at `address`."""
        found = self._pieces.at(address)
        return None if found is None else _advance(found[2], address - found[0]).source

    def read(self, address: int, length: int) -> bytes:
        """Contents. Memory is made where there is none and the host has it: a page that was read is present."""
        found = self._pieces.at(address)
        if found is not None and address + length <= found[1] and found[2].pointer:
            return string_at(found[2].pointer + address - found[0], length)
        for low, high in self._pieces.gaps(address, address + length):
            with suppress(EngineError):
                self._allocate(low, high)
        out = bytearray(length)
        for low, high, piece in self._pieces.inside(address, address + length):
            if piece.pointer:
                out[low - address : high - address] = string_at(piece.pointer, high - low)
        return bytes(out)

    def write(self, address: int, data: bytes) -> None:
        """Store; bytes for pages behind a file's end are dropped."""
        found = self._pieces.at(address)
        self.must_be_writable(address, address + len(data))
        if found is not None and address + len(data) <= found[1] and found[2].pointer:
            memmove(found[2].pointer + address - found[0], bytes(data), len(data))
            return
        for low, high, pointer in self.spans(address, address + len(data)):
            memmove(pointer, bytes(data[low - address : high - address]), high - low)

    def must_be_writable(self, start: int, end: int) -> None:
        """EngineError for shared pages of a file that is open for reading only."""
        for _, _, piece in self._pieces.whole(start, end):
            if piece.block is not None and not piece.block.writable:
                raise EngineError(f"{piece.source} is open for reading only, and mapped shared")

    def open_file(self, source: Source, length: int, *, writable: bool = False) -> Table:
        """The file's pages as pieces from 0 on, for `install`. EngineError when the host cannot map them, for `writable` to be written."""
        known = source.file.size()
        size = min(length, max(0, known - source.offset))
        table: Table = []
        if size:
            skip = source.offset % mmap.ALLOCATIONGRANULARITY
            block = _map_file(source, source.offset - skip, skip + size, writable=writable)
            table.append((0, size + -size % self.page_size, Piece(block.pointer + skip, block, source)))
        filled = size + -size % self.page_size
        if filled < length:
            table.append((filled, length, Piece(0, None, Source(source.file, source.offset + filled, source.shared))))
        return table

    def install(self, start: int, table: Table) -> Table:
        """Put pieces (relative to `start`) in place; what was there, which stays allocated while the caller holds it."""
        gone: Table = []
        for low, high, piece in table:
            gone += self._pieces.cut(start + low, start + high)
            self._pieces.put(start + low, start + high, piece)
        return gone

    def release(self, start: int, end: int) -> Table:
        """Forget the pages; what was there, as `install`. Plain pieces smaller than a block are only zeroed.

        They stay for the next area at this place, so that areas made and removed page by page remain neighbours.
        """
        gone: Table = []
        for low, high, piece in self._pieces.inside(start, end):
            if piece.source is None:
                self._zero(piece, high - low)
            if piece.source is not None or high - low >= BLOCK:
                gone += self._pieces.cut(low, high)
        return gone

    def clear(self, start: int, end: int) -> Table:
        """Plain memory reads zero afterwards, at the same host addresses; file pages are forgotten and returned."""
        gone: Table = []
        for low, high, piece in self._pieces.inside(start, end):
            if piece.source is None:
                self._zero(piece, high - low)
            else:
                gone += self._pieces.cut(low, high)
        return gone

    def discard(self, start: int, end: int) -> None:
        """MADV_DONTNEED: plain memory reads zero, private file pages the file's content; shared ones stay."""
        for low, high, piece in self._pieces.inside(start, end):
            if piece.source is None:
                self._zero(piece, high - low)
            elif not piece.source.shared and piece.pointer and not self._drop(piece, high - low):
                for first, last, fresh in self.open_file(piece.source, high - low):
                    if fresh.pointer and first == 0:
                        memmove(piece.pointer, fresh.pointer, last)

    def unload(self, start: int, end: int) -> None:
        """Pages of shared mappings leave the host's page table, where it can be told so; their contents stay."""
        for low, high, piece in self._pieces.inside(start, end):
            if piece.source is not None and piece.source.shared and piece.pointer:
                self._drop(piece, high - low)

    def advise(self, start: int, end: int, advice: int) -> None:
        """A hint about plain memory: MADV_FREE or MADV_PAGEOUT, by Linux's numbers."""
        for low, high, piece in self._pieces.inside(start, end) if sys.platform == "linux" else ():
            if piece.source is None and piece.block is not None:
                with suppress(OSError):
                    piece.block.memory.madvise(advice, piece.pointer - piece.block.pointer, high - low)

    def punch(self, start: int, end: int) -> None:
        """The objects behind shared pages lose them. EngineError when the host cannot do that."""
        for low, high, piece in self._pieces.inside(start, end):
            if piece.block is not None:
                try:
                    piece.block.memory.madvise(mmap.MADV_REMOVE, piece.pointer - piece.block.pointer, high - low)
                except (AttributeError, OSError, ValueError) as error:
                    raise EngineError(f"the host refuses to punch a hole: {error}") from error

    def populate(self, start: int, end: int, write: bool) -> None:
        """Touch every page; memory is made where there is none. EngineError when the host cannot."""
        for low, high in self._pieces.gaps(start, end):
            self._allocate(low, high)
        for low, high, piece in self._pieces.inside(start, end):
            if piece.block is None:
                continue
            store = write and piece.block.writable
            try:
                piece.block.memory.madvise(_POPULATE_WRITE if store else _POPULATE_READ, piece.pointer - piece.block.pointer, high - low)
            except (AttributeError, OSError, ValueError) as error:
                if getattr(error, "errno", EINVAL) != EINVAL:
                    raise EngineError(f"the host refuses to populate {low:#x}-{high:#x}: {error}") from error
                for place in range(piece.pointer, piece.pointer + high - low, mmap.PAGESIZE):
                    cell = c_uint8.from_address(place)
                    if store:
                        cell.value = cell.value
                    else:
                        _ = cell.value

    def resident(self, start: int, end: int, cached: bool = True) -> list[tuple[int, int, int]]:
        """(start, end, Residency bits) of what is in memory. Away from Linux: of what holds anything but zeros."""
        out: list[tuple[int, int, int]] = []
        for low, high, piece in self._pieces.inside(start, end):
            if not piece.pointer:
                continue
            if sys.platform != "linux":
                kept = Residency.PRESENT | Residency.MAPPED | (Residency.PRIVATE if piece.source is None else Residency.FILE)
                size = self.page_size
                out += [(at, at + size, kept) for at in range(low, high, size) if self.read(at, size).count(0) != size]
                continue
            from functools import partial

            from emuvm.engine.residency import in_cache, overlay, touched

            first, shift = piece.pointer, low - piece.pointer
            last = first + high - low
            runs = touched(first, last, partial(list, ((first, last),)))
            if cached and piece.source is not None:
                runs = overlay(in_cache(first, last, piece.source.file.fileno(), piece.source.offset), runs)
            out += [(one + shift, two + shift, bits) for one, two, bits in runs]
        return out

    def shrunk(self) -> list[tuple[int, int]]:
        """Page ranges whose file has since become too short for them: touching those would be the host's SIGBUS."""
        known, needed = self._needed
        if known != self._pieces.changes:
            needed = {}
            for low, high, piece in self._pieces:
                if piece.source is not None and piece.pointer:
                    file, wanted = piece.source.file, piece.source.offset + high - low - self.page_size + 1
                    needed[id(file)] = file, max(needed.get(id(file), (file, 0))[1], wanted)
            self._needed = self._pieces.changes, needed
        short = {number: size for number, (file, wanted) in needed.items() if (size := file.size()) < wanted}
        out = []
        for low, high, piece in self._pieces if short else ():
            if piece.source is not None and piece.pointer and id(piece.source.file) in short:
                left = max(0, short[id(piece.source.file)] - piece.source.offset)
                first = low + left + -left % self.page_size
                if first < high:
                    out.append((first, high))
        return out

    def hollows(self, start: int, end: int) -> list[tuple[int, int]]:
        """The file pages in [start, end) that have no content."""
        return [(low, high) for low, high, piece in self._pieces.inside(start, end) if piece.source is not None and not piece.pointer]

    def hollow(self, start: int, end: int) -> None:
        """File pages in [start, end) have no content any more."""
        for low, high, piece in self._pieces.cut(start, end):
            self._pieces.put(low, high, Piece(0, None, piece.source))

    def move(self, start: int, end: int, to: int) -> Table:
        """Hand the pages of [start, end) to `to`, without copying; what was at `to`."""
        pieces = self._pieces.cut(start, end)
        gone = self._pieces.cut(to, to + end - start)
        for low, high, piece in pieces:
            self._pieces.put(low - start + to, high - start + to, piece)
        return gone

    def bytes_reserved(self) -> int:
        """Host address space in use, in bytes."""
        return sum(high - low for low, high, piece in self._pieces if piece.pointer)

    def close(self) -> None:
        self._pieces.cut(0, 1 << 64)

    def _allocate(self, low: int, high: int) -> None:
        """Memory for a gap and, up to block bounds, for the free space around it."""
        wide_low, wide_high = low & -BLOCK, high + (-high % BLOCK)
        for start, end in self._pieces.gaps(wide_low, wide_high):
            if start <= low and high <= end:
                try:
                    block = Block.anonymous(end - start)
                except (OSError, ValueError, OverflowError) as error:
                    raise EngineError(f"the host has no {end - start:#x} bytes for {start:#x}: {error}") from error
                self._pieces.put(start, end, Piece(block.pointer, block, None))

    @staticmethod
    def _zero(piece: Piece, length: int) -> None:
        if not PortablePages._drop(piece, length):
            memset(piece.pointer, 0, length)

    @staticmethod
    def _drop(piece: Piece, length: int) -> bool:
        """MADV_DONTNEED, where it is known to bring back what private memory had first. False: not here."""
        block = piece.block
        if block is None or sys.platform != "linux" or piece.pointer % mmap.PAGESIZE or length % mmap.PAGESIZE:
            return False
        block.memory.madvise(mmap.MADV_DONTNEED, piece.pointer - block.pointer, length)
        return True


def _map_file(source: Source, offset: int, length: int, *, writable: bool) -> Block:
    """Map a file; shared and open for reading only: to be read only, unless it must be `writable`."""
    ways = [mmap.ACCESS_COPY] if not source.shared else [mmap.ACCESS_WRITE] if writable else [mmap.ACCESS_WRITE, mmap.ACCESS_READ]
    for access in ways:
        try:
            memory = mmap.mmap(source.file.fileno(), length, access=access, offset=offset)
        except (OSError, ValueError) as error:
            if access != ways[-1]:
                continue
            raise EngineError(f"cannot map {source.file!r} at {source.offset:#x}: {error}") from error
        return Block(memory, writable=access != mmap.ACCESS_READ)
    raise AssertionError
