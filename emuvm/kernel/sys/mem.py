"""The memory system calls: raw bits in, `mm.linux` requests out.

Owns: decoding of MAP_, PROT_, MREMAP_, MADV_ and MS_ bits, and the checks that concern the mapped file. Must not know how
mappings are made. Order of the checks: mm/mmap.c, mm/mprotect.c, mm/madvise.c, mm/msync.c, mm/mlock.c, Linux 6.12.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from emuvm.abi.controls import Prctl
from emuvm.abi.errno import Errno
from emuvm.abi.flags_mm import Map, Memory, Prot, map_for, mcl_for, prot_for
from emuvm.errors import GuestError
from emuvm.kernel.registry import syscall
from emuvm.mm.linux import MapRequest
from emuvm.mm.types import File

if TYPE_CHECKING:
    from emuvm.kernel.process import Process

_bits: dict[str, tuple[type[Map], type[Prot]]] = {}
_QUIET_ADVICE = frozenset((0, 1, 2, 3, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21))
"""Advice that changes nothing a program could see here; WIPEONFORK will matter with fork."""
_POPULATE = {Memory.MADV_POPULATE_READ: 1, Memory.MADV_POPULATE_WRITE: 2}


def _constants(proc: Process) -> tuple[type[Map], type[Prot]]:
    name = proc.arch.name
    found = _bits.get(name)
    if found is None:
        found = _bits[name] = (map_for(name), prot_for(name))
    return found


def _prot(proc: Process, prot: int) -> int:
    """The access bits; READ brings EXEC under the READ_IMPLIES_EXEC personality."""
    rights = prot & 7
    return rights | 4 if rights & 1 and proc.personality & Prctl.READ_IMPLIES_EXEC else rights


@syscall("mmap", "ptr size ulong ulong fd off", note="MAP_HUGETLB is ENOMEM; MAP_POPULATE is accepted", level="partial", pure=True)
def mmap(proc: Process, addr: int, length: int, prot: int, flags: int, fd: int, offset: int) -> int:
    bits, _ = _constants(proc)
    if offset & proc.space.page_size - 1:
        raise GuestError(Errno.EINVAL, "offset is not page aligned")
    return _mmap(proc, bits, addr, length, prot, flags, fd, offset & (1 << 64) - 1)


@syscall("mmap2", "ptr size ulong ulong fd ulong")
def mmap2(proc: Process, addr: int, length: int, prot: int, flags: int, fd: int, pages: int) -> int:
    bits, _ = _constants(proc)
    return _mmap(proc, bits, addr, length, prot, flags, fd, pages << 12)


def _mmap(proc: Process, bits: type[Map], addr: int, length: int, prot: int, flags: int, fd: int, offset: int) -> int:
    kind = flags & bits.MAP_TYPE
    backing, may = None, 7
    file = None if flags & bits.MAP_ANONYMOUS else _file(proc, fd)
    if kind not in (bits.MAP_SHARED, bits.MAP_PRIVATE, bits.MAP_SHARED_VALIDATE):
        raise GuestError(Errno.EINVAL, f"mapping type {kind}")
    shared = kind != bits.MAP_PRIVATE
    if flags & bits.MAP_HUGETLB and file is None:
        raise GuestError(Errno.ENOMEM, "no huge pages")
    if file is not None:
        backing, may = _backing(file, prot, shared, offset)
    request = MapRequest(
        addr=addr,
        length=length,
        prot=_prot(proc, prot),
        backing=backing,
        shared=shared,
        fixed=bool(flags & (bits.MAP_FIXED | bits.MAP_FIXED_NOREPLACE)),
        replace=not flags & bits.MAP_FIXED_NOREPLACE,
        growsdown=bool(flags & bits.MAP_GROWSDOWN),
        noreserve=bool(flags & bits.MAP_NORESERVE),
        stack=bool(flags & bits.MAP_STACK),
        low_2g=bool(flags & bits.MAP_32BIT),
        may=may,
    )
    return proc.mm.mmap(request)


def _file(proc: Process, fd: int) -> Any:
    """The open file behind a descriptor (EBADF)."""
    return proc.files.opened(fd)


def _backing(file: Any, prot: int, shared: bool, offset: int) -> tuple[File, int]:
    """The backing of a file mapping, and the rights it may ever have (EACCES, ENODEV)."""
    readable, writable = file.readable(), file.writable()
    if shared and prot & 2 and not writable:
        raise GuestError(Errno.EACCES, "a shared writable mapping needs a descriptor open for writing")
    if not readable:
        raise GuestError(Errno.EACCES, "a mapping needs a descriptor open for reading")
    identity = file.mappable()
    return File(identity, offset), 5 if shared and not writable else 7


@syscall("munmap", "ptr size")
def munmap(proc: Process, addr: int, length: int) -> int:
    proc.mm.munmap(addr, length)
    return 0


def _protect(proc: Process, addr: int, length: int, prot: int) -> int:
    _, bits = _constants(proc)
    grows = prot & (bits.PROT_GROWSDOWN | bits.PROT_GROWSUP)
    if grows == bits.PROT_GROWSDOWN | bits.PROT_GROWSUP:
        raise GuestError(Errno.EINVAL, "PROT_GROWSDOWN and PROT_GROWSUP")
    plain = prot & ~grows
    if addr & proc.space.page_size - 1:
        raise GuestError(Errno.EINVAL, "address is not page aligned")
    if length and plain & ~(7 | bits.PROT_SEM | bits.PROT_BTI | bits.PROT_MTE | bits.PROT_SAO | bits.PROT_ADI):
        raise GuestError(Errno.EINVAL, f"rights {prot:#x}")
    if grows & bits.PROT_GROWSUP:
        raise GuestError(Errno.EINVAL, "nothing grows upwards")
    proc.mm.mprotect(addr, length, _prot(proc, plain), growsdown=bool(grows))
    return 0


@syscall("mprotect", "ptr size ulong")
def mprotect(proc: Process, addr: int, length: int, prot: int) -> int:
    return _protect(proc, addr, length, prot)


@syscall("pkey_mprotect", "ptr size ulong int", note="the CPU has no protection keys", level="partial")
def pkey_mprotect(proc: Process, addr: int, length: int, prot: int, key: int) -> int:
    if key != -1:
        raise GuestError(Errno.EINVAL, f"protection key {key} is not allocated")
    return _protect(proc, addr, length, prot)


@syscall("pkey_alloc", "ulong ulong", note="the CPU has no protection keys", level="partial")
def pkey_alloc(proc: Process, flags: int, rights: int) -> int:
    raise GuestError(Errno.EINVAL if flags or rights & ~3 else Errno.ENOSPC, "no protection keys")


@syscall("pkey_free", "int", note="the CPU has no protection keys", level="partial")
def pkey_free(proc: Process, key: int) -> int:
    raise GuestError(Errno.EINVAL, "no protection keys")


@syscall("mremap", "ptr size size ulong ptr")
def mremap(proc: Process, old: int, old_length: int, new_length: int, flags: int, to: int) -> int:
    known = Memory.MREMAP_MAYMOVE | Memory.MREMAP_FIXED | Memory.MREMAP_DONTUNMAP
    if flags & ~known:
        raise GuestError(Errno.EINVAL, f"flags {flags:#x}")
    maymove, dontunmap = bool(flags & Memory.MREMAP_MAYMOVE), bool(flags & Memory.MREMAP_DONTUNMAP)
    if flags & Memory.MREMAP_FIXED:
        return proc.mm.mremap(old, old_length, new_length, maymove=maymove, fixed=to, dontunmap=dontunmap)
    if flags & ~Memory.MREMAP_MAYMOVE and not maymove:
        raise GuestError(Errno.EINVAL, "MREMAP_DONTUNMAP without MREMAP_MAYMOVE")
    return proc.mm.mremap(old, old_length, new_length, maymove=maymove, dontunmap=dontunmap, hint=to if dontunmap else 0)


@syscall("brk", "ptr", pure=True)
def brk(proc: Process, value: int) -> int:
    return proc.mm.brk(value)


@syscall("madvise", "ptr size int", level="partial", note="DONTNEED and populating; other advice has no effect, FREE keeps the data")
def madvise(proc: Process, addr: int, length: int, advice: int) -> int:
    if advice == Memory.MADV_DONTNEED:
        proc.mm.discard(addr, length, proc.engine.memory.discard)
        return 0
    if advice in _POPULATE:
        return _populate(proc, addr, length, _POPULATE[advice])
    if advice not in _QUIET_ADVICE and advice != Memory.MADV_FREE:
        raise GuestError(Errno.EINVAL, f"advice {advice}")
    if proc.mm.walk(addr, proc.mm.advice_end(addr, length)):
        raise GuestError(Errno.ENOMEM, "part of the range is not mapped")
    return 0


def _populate(proc: Process, addr: int, length: int, access: int) -> int:
    end = proc.mm.advice_end(addr, length)
    if proc.mm.walk(addr, end):
        raise GuestError(Errno.ENOMEM, "part of the range is not mapped")
    if end > addr and proc.mem.accessible(addr, end - addr, access) < end - addr:
        raise GuestError(Errno.EFAULT, "part of the range is not accessible")
    return 0


def _range(proc: Process, addr: int, length: int) -> int:
    """The end of a range that must be mapped throughout (ENOMEM)."""
    mask = proc.space.page_size - 1
    end = addr + (length + mask & ~mask)
    if end >> 64 or proc.mm.walk(addr, end):
        raise GuestError(Errno.ENOMEM, "part of the range is not mapped")
    return end


@syscall("msync", "ptr size int", level="partial", note="the host writes shared pages; MS_SYNC does not wait for the disk")
def msync(proc: Process, addr: int, length: int, flags: int) -> int:
    if flags & ~7 or addr & proc.space.page_size - 1 or flags & Memory.MS_ASYNC and flags & Memory.MS_SYNC:
        raise GuestError(Errno.EINVAL, "flags, or a misaligned address")
    _range(proc, addr, length)
    return 0


@syscall("mincore", "ptr size ptr", level="partial", note="every mapped page is told to be in memory")
def mincore(proc: Process, addr: int, length: int, vector: int) -> int:
    page = proc.space.page_size
    if addr & page - 1:
        raise GuestError(Errno.EINVAL, "address is not page aligned")
    if addr + length > proc.arch.task_size:
        raise GuestError(Errno.ENOMEM, "beyond user addresses")
    pages = -(-length // page)
    proc.mem.check(vector, pages, 2)
    _range(proc, addr, length)
    proc.mem.write(vector, b"\1" * pages)
    return 0


def _lock(proc: Process, addr: int, length: int) -> int:
    page = proc.space.page_size
    _range(proc, addr & -page, length + addr % page)
    return 0


@syscall("mlock", "ptr size", level="accepted", note="memory is not locked")
def mlock(proc: Process, addr: int, length: int) -> int:
    return _lock(proc, addr, length)


@syscall("mlock2", "ptr size int", level="accepted", note="memory is not locked")
def mlock2(proc: Process, addr: int, length: int, flags: int) -> int:
    if flags & ~Memory.MLOCK_ONFAULT:
        raise GuestError(Errno.EINVAL, f"flags {flags:#x}")
    return _lock(proc, addr, length)


@syscall("munlock", "ptr size", level="accepted", note="memory is not locked")
def munlock(proc: Process, addr: int, length: int) -> int:
    return _lock(proc, addr, length)


@syscall("mlockall", "int", level="accepted", note="memory is not locked")
def mlockall(proc: Process, flags: int) -> int:
    bits = mcl_for(proc.arch.name)
    if not flags or flags & ~(bits.MCL_CURRENT | bits.MCL_FUTURE | bits.MCL_ONFAULT) or flags == bits.MCL_ONFAULT:
        raise GuestError(Errno.EINVAL, f"flags {flags:#x}")
    return 0


@syscall("munlockall", "", level="accepted", note="memory is not locked")
def munlockall(proc: Process) -> int:
    return 0


@syscall("membarrier", "int uint int", level="partial", note="one thread: every barrier is already there", pure=True)
def membarrier(proc: Process, command: int, flags: int, cpu: int) -> int:
    if flags:
        raise GuestError(Errno.EINVAL, "flags")
    if command == 0:
        return 0x1F
    if command not in (1, 2, 4, 8, 16):
        raise GuestError(Errno.EINVAL, f"command {command}")
    return 0
