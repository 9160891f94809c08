"""The memory of processes of the run; barriers between threads, of which there is one.

Owns: process_vm_readv and -writev, process_madvise, membarrier. Sources: mm/process_vm_access.c, mm/madvise.c,
kernel/sched/membarrier.c.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from emuvm.abi.caps import Cap
from emuvm.abi.controls import Membarrier as M
from emuvm.abi.errno import Errno
from emuvm.abi.flags_mm import Memory
from emuvm.abi.structs import iovec_size, unpack_iovec
from emuvm.engine.base import Residency
from emuvm.errors import GuestError
from emuvm.kernel import errands
from emuvm.kernel.registry import syscall
from emuvm.kernel.usermem import IOV_MAX, READ, WRITE, Deferred
from emuvm.mm.types import VmFlag

if TYPE_CHECKING:
    from emuvm.kernel.process import Process

_BATCH = 4 << 20
"""Bytes of remote pages that are pinned at once (PVM_MAX_KMALLOC_PAGES of pointers)."""


_OURS = "of the program's own processes; others are ESRCH or EPERM"


@syscall("process_vm_readv", "int ptr ulong ptr ulong ulong", pure=True, level="partial", note=_OURS)
def process_vm_readv(proc: Process, pid: int, local: int, local_count: int, remote: int, remote_count: int, flags: int) -> int:
    return _transfer(proc, pid, (local, local_count), (remote, remote_count), flags, READ)


@syscall("process_vm_writev", "int ptr ulong ptr ulong ulong", level="partial", note=_OURS)
def process_vm_writev(proc: Process, pid: int, local: int, local_count: int, remote: int, remote_count: int, flags: int) -> int:
    return _transfer(proc, pid, (local, local_count), (remote, remote_count), flags, WRITE)


def _transfer(proc: Process, pid: int, local: tuple[int, int], remote: tuple[int, int], flags: int, access: int) -> int:
    if flags:
        raise GuestError(Errno.EINVAL, f"flags {flags:#x}")
    near = proc.mem.read_iovec(*local)
    total = sum(length for _, length in near)
    if not total:
        return 0
    at, count = remote
    if not 0 <= count <= IOV_MAX:
        raise GuestError(Errno.EINVAL, f"{count} iovecs")
    far = unpack_iovec(proc.arch, proc.mem.read(at, count * iovec_size(proc.arch)))
    if any(length >> (proc.arch.bits - 1) for _, length in far):
        raise GuestError(Errno.EINVAL, "negative iovec length")
    if not any(length for _, length in far):
        return 0
    if _is_other(proc, pid):
        return _each(near, far, lambda skip, address, length, wanted: _far_move(proc, pid, near, skip, address, length, wanted, access))
    for address, length in near if proc.mem.deferred else ():
        # Where the stack has to grow for it the copy is made outside of the engine's hook, and then from its beginning.
        proc.mem.accessible(address, length, WRITE)

    def move(skip: int, address: int, length: int, wanted: int) -> int:
        _pin(proc, address, length, access)
        old = _kept(proc, near, address, wanted) if access == READ else {}
        return _move(proc, near, skip, address, wanted, access, old)

    return _each(near, far, move)


def _each(near: list[tuple[int, int]], far: list[tuple[int, int]], move: Callable[[int, int, int, int], int]) -> int:
    """Element by element: `move(done before, address, bytes to pin, bytes wanted)` tells how many bytes it moved."""
    total, done = sum(length for _, length in near), 0
    for address, length in far:
        if done == total:
            break
        wanted = min(length, total - done)
        moved = move(done, address, min(length, _BATCH), wanted)
        done += moved
        if moved < wanted:
            if not done:
                raise GuestError(Errno.EFAULT, f"{address + moved:#x}")
            break
    return done


def _is_other(proc: Process, pid: int) -> bool:
    """Another process of the run, not the caller? ESRCH, EPERM: neither, or one that it may not look into (ptrace_may_access)."""
    if pid in (proc.pid, proc.tid):
        return False
    found = proc.family.find(pid) if proc.family is not None else None
    if found is None:
        raise GuestError(Errno.EPERM if pid > 0 and proc.system.process_exists(pid) else Errno.ESRCH, f"process {pid}")
    credentials = proc.system.credentials
    if {found.real, found.saved} != {credentials.uids.real} and not credentials.capable(Cap.CAP_SYS_PTRACE):
        raise GuestError(Errno.EPERM, f"process {pid}")
    if proc.mem.deferred:
        raise Deferred
    return True


def _far_move(
    proc: Process, pid: int, near: list[tuple[int, int]], skip: int, address: int, length: int, wanted: int, access: int
) -> int:
    """Move between the local buffers and another process, which does its part itself; the count."""
    usable = min(wanted, errands.pin(proc, pid, address, length, access))
    moved = 0
    while moved < usable:
        part = min(errands.PIECE, usable - moved)
        count = _far_piece(proc, pid, _behind(near, skip + moved), address + moved, part, access)
        moved += count
        if count < part:
            break
    return moved


def _far_piece(proc: Process, pid: int, near: list[tuple[int, int]], address: int, length: int, access: int) -> int:
    """Bytes moved between another process and the local buffers."""
    data = errands.ask(proc, pid, errands.FETCH, address, length) if access == READ else b""
    done = 0
    for base, size in near:
        step = min(size, length - done)
        count = proc.mem.accessible(base, step, WRITE if access == READ else READ)
        if count and access == READ:
            proc.mem.memory.write(base, data[done : done + count])
        elif count:
            data += proc.mem.memory.read(base, count)
        done += count
        if count < step or done == length:
            break
    if access == WRITE and data:
        errands.ask(proc, pid, errands.STORE, address, len(data), data=data)
    return done


def _behind(near: list[tuple[int, int]], skip: int) -> list[tuple[int, int]]:
    """Buffers without their first bytes."""
    rest = []
    for base, size in near:
        cut = min(skip, size)
        skip -= cut
        if cut < size:
            rest.append((base + cut, size - cut))
    return rest


def _forwards(proc: Process, source: int, target: int, count: int, old: dict[int, bytes]) -> None:
    """Copy the lowest byte first, so that a target that begins inside the source reads what was just written; but pages in `old`
    have these bytes.
    """
    memory, page = proc.mem.memory, proc.space.page_size
    ahead = target - source if source < target < source + count else count
    place = 0
    while place < count:
        at = source + place
        step = min(ahead, count - place, page - at % page if old else count)
        kept = old.get(at & -page)
        memory.write(target + place, memory.read(at, step) if kept is None else kept[at % page : at % page + step])
        place += step


def _kept(proc: Process, near: list[tuple[int, int]], address: int, length: int) -> dict[int, bytes]:
    """Pages to be read from that are to be written to as well, and are no copies of the process's own yet: what is pinned is the page
    of zeros or of the file, and writing makes another one."""
    page, memory = proc.space.page_size, proc.mem.memory
    length = proc.mem.pinnable(address, length, READ)
    kept = {}
    for base, size in near:
        low, high = max(base, address), min(base + size, address + length)
        for place in range(low & -page, high, page) if low < high else ():
            vma = proc.space.query(place)
            if vma is not None and not vma.flags & VmFlag.MAYSHARE and not memory.residency(place, place + page)[0] & Residency.PRIVATE:
                kept[place] = memory.read(place, page)
    return kept


def _pin(proc: Process, address: int, length: int, access: int) -> None:
    """The remote pages of an element are made present before the first byte moves, needed or not (process_vm_rw_single_vec)."""
    page = proc.space.page_size
    usable = proc.mem.pinnable(address, length, access)
    if usable:
        proc.mem.memory.populate(address & -page, address + usable + (-(address + usable) % page), write=access == WRITE)


def _move(
    proc: Process, near: list[tuple[int, int]], skip: int, address: int, length: int, access: int, old: dict[int, bytes]
) -> int:
    """Move up to `length` bytes between `address` and the local buffers, behind their first `skip` bytes; the count."""
    usable = proc.mem.pinnable(address, length, access)
    done = 0
    for base, size in near:
        if skip >= size:
            skip -= size
            continue
        base, size, skip = base + skip, size - skip, 0
        step = min(size, usable - done)
        count = proc.mem.accessible(base, step, WRITE if access == READ else READ)
        if count:
            source, target = (address + done, base) if access == READ else (base, address + done)
            # Pinned pages are read and written whatever user copies may: nothing that `pinnable` refuses comes here.
            _forwards(proc, source, target, count, old)
        done += count
        if count < step or done == usable:
            break
    return done


@syscall("process_madvise", "int ptr ulong int uint", level="partial", note="of the process itself; to others nothing comes of it")
def process_madvise(proc: Process, fd: int, vector: int, count: int, advice: int, flags: int) -> int:
    from emuvm.kernel.sys.mem import madvise
    from emuvm.kernel.sys.pidfd import SELF_GROUP, SELF_THREAD, PidFile

    if flags:
        raise GuestError(Errno.EINVAL, f"flags {flags:#x}")
    ranges = proc.mem.read_iovec(vector, count)
    if fd not in (SELF_THREAD, SELF_GROUP):
        file = proc.files.opened(fd)
        if not isinstance(file, PidFile):
            raise GuestError(Errno.EBADF, f"descriptor {fd} is no pidfd")
        if file.pid != proc.pid:
            return _advise_another(proc, file.pid, sum(length for _, length in ranges), advice)
    done = 0
    for address, length in ranges:
        try:
            madvise(proc, address, length, advice)
        except GuestError:
            if done:
                break
            raise
        done += length
    return done


_HINTS = (Memory.MADV_COLD, Memory.MADV_PAGEOUT, Memory.MADV_WILLNEED, Memory.MADV_COLLAPSE)


def _advise_another(proc: Process, pid: int, length: int, advice: int) -> int:
    """What may be told to another process are hints: they are heard, and nothing comes of them (process_madvise_remote_valid)."""
    _is_other(proc, pid)
    if advice not in _HINTS:
        raise GuestError(Errno.EINVAL, f"advice {advice}")
    if not proc.system.credentials.capable(Cap.CAP_SYS_NICE):
        raise GuestError(Errno.EPERM, f"process {pid}")
    return length


# -- barriers ---------------------------------------------------------------------------------------------------------------

_REGISTER = {M.REGISTER_GLOBAL_EXPEDITED: 0, M.REGISTER_PRIVATE_EXPEDITED: 0}
_REGISTER |= {M.REGISTER_PRIVATE_EXPEDITED_SYNC_CORE: M.REGISTER_PRIVATE_EXPEDITED}
_REGISTER |= {M.REGISTER_PRIVATE_EXPEDITED_RSEQ: M.REGISTER_PRIVATE_EXPEDITED}
"""Registrations, and what else shows after them, without being ready for use."""


@syscall("membarrier", "int uint int", note="one thread: every barrier is already there", pure=True)
def membarrier(proc: Process, command: int, flags: int, cpu: int) -> int:
    if flags and not (command == M.PRIVATE_EXPEDITED_RSEQ and flags == M.FLAG_CPU):
        raise GuestError(Errno.EINVAL, f"flags {flags:#x}")
    if command == M.QUERY:
        return M.ALL
    if command in (M.GLOBAL, M.GLOBAL_EXPEDITED):
        return 0
    ready = proc.controls.get("membarrier", 0)
    if command in _REGISTER:
        proc.controls["membarrier"] = ready | command
        proc.controls["membarrier_shown"] = proc.controls.get("membarrier_shown", 0) | command | _REGISTER[command]
        return 0
    if command in (M.PRIVATE_EXPEDITED, M.PRIVATE_EXPEDITED_SYNC_CORE, M.PRIVATE_EXPEDITED_RSEQ):
        if not ready & command << 1:
            raise GuestError(Errno.EPERM, "not registered")
        return 0
    if command == M.GET_REGISTRATIONS:
        return proc.controls.get("membarrier_shown", 0)
    raise GuestError(Errno.EINVAL, f"command {command}")
