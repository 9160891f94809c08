"""/proc/PID/mem and /proc/PID/pagemap: guest memory as a file.

Owns: what of the memory can be read and written there, which is more than the program may do itself (FOLL_FORCE). Must
not know how regions are named or counted. Source: fs/proc/base.c:mem_rw, mm/gup.c:check_vma_flags, Linux 6.18.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emuvm.abi.errno import Errno
from emuvm.abi.flags import Seek
from emuvm.abi.structs import Stat
from emuvm.errors import EngineError, GuestError
from emuvm.kernel.procfs_files import MadeFile
from emuvm.kernel.procfs_pages import pagemap
from emuvm.mm.rules import secret
from emuvm.mm.types import File, Vma, VmFlag

if TYPE_CHECKING:
    from emuvm.kernel.process import Process

_U64 = (1 << 64) - 1


class AddressFile(MadeFile):
    """A file whose offsets stand for addresses: they may be anything."""


    def __init__(self, proc: Process, path: bytes, flags: int, stat: Stat) -> None:
        super().__init__(path, flags, stat)
        self.proc = proc

    def seek(self, offset: int, whence: int) -> int:
        """fs/proc/base.c:mem_lseek."""
        if whence not in (Seek.SEEK_SET, Seek.SEEK_CUR):
            raise GuestError(Errno.EINVAL, "no end to seek from")
        if whence == Seek.SEEK_CUR:
            offset += self.offset
        self.offset = (offset & _U64 ^ 1 << 63) - (1 << 63)
        return self.offset


class PagemapFile(AddressFile):
    """/proc/PID/pagemap."""

    def pread(self, length: int, offset: int) -> bytes:
        return pagemap(self.proc, length, offset & _U64)


class MemoryFile(AddressFile):
    """/proc/PID/mem. Reading and writing stop at the first page that cannot be reached; EIO when that is the first of all."""

    signed = False

    def pread(self, length: int, offset: int) -> bytes:
        address = offset & _U64
        parts: list[bytes] = []
        while length:
            step = self._reach(address, length, False)
            if not step:
                break
            try:
                parts.append(self.proc.engine.memory.read(address, step))
            except EngineError:  # the file is shorter now, or the host has no memory left
                break
            address, length = address + step, length - step
        if length and not parts:
            raise GuestError(Errno.EIO, f"{address:#x} cannot be read")
        return b"".join(parts)

    def pwrite(self, data: bytes, offset: int) -> int:
        address, done = offset & _U64, 0
        while done < len(data):
            step = self._reach(address, len(data) - done, True)
            if not step:
                break
            try:
                self.proc.engine.memory.write(address, data[done : done + step])
            except EngineError:
                break
            address, done = address + step, done + step
        if data and not done:
            raise GuestError(Errno.EIO, f"{address:#x} cannot be written")
        return done

    def _reach(self, address: int, length: int, write: bool) -> int:
        """How many bytes from `address` on can be reached at once; 0: not even the first."""
        proc = self.proc
        if address >= proc.arch.task_size:
            return 0
        vma = proc.space.query(address) if address < proc.space.end else None
        if vma is None:
            vma = proc.space.query(address) if proc.mm.grow_stack(address) else None
        if vma is None or not _allowed(vma, write):
            return 0
        end = min(vma.end, _present_end(vma, proc.space.page_size))
        withheld = proc.engine.memory.withheld
        if withheld is not None and end > address:
            low = address & -proc.space.page_size
            for start, _ in withheld(low, min(end, max(low + (1 << 20), address + length))):
                end = min(end, start)
        return max(0, min(length, end - address))


def _allowed(vma: Vma, write: bool) -> bool:
    if vma.flags & (VmFlag.IO | VmFlag.PFNMAP) or secret(vma):
        return False
    if write:
        return bool(vma.prot & 2) or vma.flags & (VmFlag.SHARED | VmFlag.MAYWRITE) == VmFlag.MAYWRITE
    return bool(vma.prot & 1 or vma.flags & VmFlag.MAYREAD)


def _present_end(vma: Vma, page: int) -> int:
    """Where the file's bytes end: pages wholly behind it cannot be reached."""
    backing = vma.backing
    if not isinstance(backing, File) or not hasattr(backing.file, "size"):
        return vma.end
    size: int = backing.file.size()
    return vma.start + (size - backing.offset + page - 1) // page * page
