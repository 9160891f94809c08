"""Reading and writing a file where the memory is a mapping of the same file.

Owns: the order in which that goes. Must not know other reads and writes. Source: mm/filemap.c (generic_perform_write, filemap_read).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from emuvm.abi.errno import Errno
from emuvm.abi.flags import Open
from emuvm.errors import GuestError
from emuvm.kernel.sys.io import Buffers, usable_bytes, write_nothing
from emuvm.kernel.usermem import READ, WRITE, Deferred
from emuvm.mm.types import File, Vma

if TYPE_CHECKING:
    from emuvm.kernel.files import OpenFile
    from emuvm.kernel.process import Process

_PAGE = 4096


def maps(proc: Process, file: OpenFile, buffers: Buffers) -> bool:
    """Does a buffer lie in a mapping of the file itself? Inside the engine's hook such a move cannot be made: a part of it may be done
    before it is found that the rest has to wait: Deferred.
    """
    found = any(
        _is_of(vma, file)
        for address, length in buffers
        for vma in (proc.space.regions(address, length) if length and address + length <= proc.space.end else ())
    )
    if found and proc.mem.deferred:
        raise Deferred
    return found


def _is_of(vma: Vma, file: OpenFile) -> bool:
    """Does a region map the file?"""
    if type(vma.backing) is not File or not hasattr(vma.backing.file, "stat"):
        return False
    mapped, mine = vma.backing.file.stat(), file.stat()
    return bool((mapped.dev, mapped.ino) == (mine.dev, mine.ino))


def _in_order(proc: Process, file: OpenFile, address: int, length: int, place: int, *, reading: bool) -> int:
    """How many of `length` bytes between memory and position `place` may be moved at once. The kernel copies the lowest byte first: a
    target that begins inside the source gets what was just stored there."""
    vma = proc.space.query(address)
    if vma is None:
        return length
    length = min(length, vma.end - address)
    if not _is_of(vma, file):
        return length
    mapped = vma.backing.offset + address - vma.start
    ahead: int = mapped - place if reading else place - mapped
    return min(ahead, length) if ahead > 0 else length


def write_itself(proc: Process, file: OpenFile, buffers: Buffers, offset: int | None) -> int:
    """A file from its own pages: page by page, for what is written can be what is read next, and makes more of it appear."""
    append = bool(file.status() & Open.O_APPEND)
    place = file.stat().size if append else file.seek(0, 1) if offset is None else offset
    done = 0
    for address, length in buffers:
        moved = 0
        while moved < length:
            step = min(length - moved, _PAGE - (place + done) % _PAGE)
            step = _in_order(proc, file, address + moved, step, place + done, reading=False)
            there = usable_bytes(proc, [(address + moved, step)], READ)
            if not there:
                write_nothing(file, step, None if offset is None else place + done)
                there = usable_bytes(proc, [(address + moved, step)], READ)
            if not there:
                if not done:
                    raise GuestError(Errno.EFAULT, "nothing of the buffer can be read")
                return done
            data = proc.mem.read(address + moved, there)
            count = file.write(data) if offset is None else file.pwrite(data, place + done)
            done, moved = done + count, moved + count
    return done


def read_itself(proc: Process, file: OpenFile, buffers: Buffers, offset: int | None) -> int:
    """A file into its own pages: page by page, for what was stored can be what is read next."""
    place = file.seek(0, 1) if offset is None else offset
    done = 0
    for address, step in _steps(buffers, place):
        moved = 0
        while moved < step:
            at = address + moved
            data = file.pread(_in_order(proc, file, at, step - moved, place + done, reading=True), place + done)
            there = usable_bytes(proc, [(at, len(data))], WRITE)
            if data and not there and not done:
                raise GuestError(Errno.EFAULT, "nothing of the buffer can be written")
            if there:
                proc.mem.write(at, data[:there])
            moved, done = moved + there, done + there
            if not data or there < len(data):
                break
        if moved < step:
            break
    if offset is None:
        file.seek(place + done, 0)
    return done


def _steps(buffers: Buffers, place: int) -> Iterator[tuple[int, int]]:
    """The buffers in pieces (address, length) none of which crosses a page of the file, where they begin at `place`."""
    for address, length in buffers:
        while length:
            step = min(length, _PAGE - place % _PAGE)
            yield address, step
            address, length, place = address + step, length - step, place + step
