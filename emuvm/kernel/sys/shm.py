"""System V shared memory: shmget, shmat, shmdt, shmctl.

Owns: the order of their checks. Must not know how segments are kept (`kernel.sysv`) nor how mappings are made. Source: ipc/shm.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emuvm.abi.caps import Cap
from emuvm.abi.controls import Clock, Prctl
from emuvm.abi.errno import Errno
from emuvm.abi.ipc import SHMID_DS_SIZE, Ipc, ShmidDs, pack_shm_info, pack_shmid_ds, pack_shminfo, unpack_shmid_ds
from emuvm.errors import GuestError
from emuvm.kernel.registry import syscall
from emuvm.kernel.sys.mem import enomem
from emuvm.kernel.sysv import SHMALL, SHMMAX, SHMMIN, SHMMNI, Attachment, Namespace, Segment
from emuvm.mm.linux import Backed, MapRequest
from emuvm.mm.types import File, Vma, VmFlag

if TYPE_CHECKING:
    from emuvm.kernel.process import Process

_ACCESS = 0o777
_BILLION = 1_000_000_000
_HUGETLB_GROUP = 0
"""The sysctl vm.hugetlb_shm_group."""
_LBA = {"arm": 4, "mips": 64}
"""SHMLBA in pages where it is not one page."""


def _segments(proc: Process) -> Namespace:
    if proc.ipc is None:
        proc.ipc = Namespace(lambda: proc.system.clock(Clock.CLOCK_REALTIME) // _BILLION, proc.space.page_size)
    found: Namespace = proc.ipc
    return found


def _permitted(proc: Process, segment: Segment, flags: int) -> None:
    """EACCES unless the rights asked for, in any of three places, are there (ipc/util.c:ipcperms)."""
    creds = proc.system.credentials
    wanted, granted = flags >> 6 | flags >> 3 | flags, segment.mode
    if creds.uids.effective in (segment.cuid, segment.uid):
        granted >>= 6
    elif creds.in_group(segment.cgid) or creds.in_group(segment.gid):
        granted >>= 3
    if wanted & ~granted & 7 and not creds.capable(Cap.CAP_IPC_OWNER):
        raise GuestError(Errno.EACCES, f"mode {segment.mode & _ACCESS:o}")


@syscall("shmget", "int size int", note="SHM_HUGETLB: there are no huge pages to be touched")
@enomem
def shmget(proc: Process, key: int, size: int, flags: int) -> int:
    segments = _segments(proc)
    segment = None if key == Ipc.IPC_PRIVATE else segments.by_key(key)
    if segment is None:
        if key != Ipc.IPC_PRIVATE and not flags & Ipc.IPC_CREAT:
            raise GuestError(Errno.ENOENT, f"key {key:#x}")
        return _create(proc, segments, key, size, flags)
    if flags & Ipc.IPC_CREAT and flags & Ipc.IPC_EXCL:
        raise GuestError(Errno.EEXIST, f"key {key:#x}")
    if segment.size < size:
        raise GuestError(Errno.EINVAL, f"the segment has {segment.size} bytes")
    _permitted(proc, segment, flags)
    return segment.id


def _create(proc: Process, segments: Namespace, key: int, size: int, flags: int) -> int:
    huge = 0
    if SHMMIN <= size <= SHMMAX:
        if flags & Ipc.SHM_HUGETLB:
            shift, creds = flags >> 26 & 63 or 21, proc.system.credentials
            if shift not in (21, 30):
                raise GuestError(Errno.EINVAL, f"no huge pages of 2**{shift} bytes")
            may = creds.capable(Cap.CAP_IPC_LOCK) or creds.in_group(_HUGETLB_GROUP)
            if not may or not flags & Ipc.SHM_NORESERVE:
                raise GuestError(Errno.ENOMEM if may else Errno.EPERM, "no huge pages")
            huge = 1 << shift
        elif not flags & Ipc.SHM_NORESERVE and size >> 63 == 0:
            proc.mm.limits.enough_memory(size)
    creds = proc.system.credentials
    return segments.create(key, size, flags & _ACCESS, (creds.uids.effective, creds.gids.effective), proc.pid, huge).id


@syscall("shmat", "int ptr int")
@enomem
def shmat(proc: Process, number: int, addr: int, flags: int) -> int:
    segments, page = _segments(proc), proc.space.page_size
    if number < 0:
        raise GuestError(Errno.EINVAL, f"segment {number}")
    multiple = page * next((pages for name, pages in _LBA.items() if proc.arch.name.startswith(name) and proc.arch.name != "arm64"), 1)
    fixed = addr != 0
    if addr % multiple:
        if not flags & Ipc.SHM_RND:
            raise GuestError(Errno.EINVAL, f"address {addr:#x}")
        addr -= addr % multiple
        if not addr and flags & Ipc.SHM_REMAP:
            raise GuestError(Errno.EINVAL, "nothing is to be replaced")
    elif not addr and flags & Ipc.SHM_REMAP:
        raise GuestError(Errno.EINVAL, "nothing is to be replaced")
    prot, wanted = (1, 0o444) if flags & Ipc.SHM_RDONLY else (3, 0o666)
    if flags & Ipc.SHM_EXEC:
        prot, wanted = prot | 4, wanted | 0o111
    segment = segments.by_id(number)
    _permitted(proc, segment, wanted)
    size = -(-segment.size // (segment.huge or 1)) * (segment.huge or 1)
    length = -(-size // page) * page
    if fixed and not flags & Ipc.SHM_REMAP and (addr + size >> 64 or _occupied(proc, addr, size)):
        raise GuestError(Errno.EINVAL, "the range is not free")
    if segment.huge and addr & segment.huge - 1:
        raise GuestError(Errno.EINVAL, "not aligned to huge pages")
    segments.watch(proc.space, proc.pid)
    writable = not flags & Ipc.SHM_RDONLY
    if proc.personality & Prctl.READ_IMPLIES_EXEC:
        prot |= 4
    request = MapRequest(
        addr, length, prot, shared=True, fixed=fixed, has_file=True, huge=segment.huge,
        vm_flags=int(VmFlag.HUGETLB | VmFlag.DONTEXPAND) if segment.huge else 0,
        open_backing=lambda: Backed(File(Attachment(segment), 0), 7 if writable else 5, writable),
    )  # fmt: skip
    try:
        return proc.mm.mmap(request)
    finally:
        segments.drop_unused(segment)


def _occupied(proc: Process, addr: int, length: int) -> bool:
    end = min(addr + length, proc.space.end)
    return addr < end and bool(proc.space.regions(addr, end - addr))


@syscall("shmdt", "ptr")
def shmdt(proc: Process, addr: int) -> int:
    if addr & proc.space.page_size - 1:
        raise GuestError(Errno.EINVAL, f"address {addr:#x}")
    found: Attachment | None = None
    limit = proc.space.end
    for vma in proc.space.regions(addr, proc.space.end - addr) if addr < proc.space.end else ():
        if found is not None and vma.end - addr > limit:
            break
        attachment = _fragment(vma, addr)
        if attachment is None or (found is not None and attachment is not found):
            continue
        if found is None:
            found, limit = attachment, attachment.segment.pages * proc.space.page_size
        try:
            proc.mm.munmap(vma.start, vma.end - vma.start)
        except GuestError:
            continue  # Sealed memory stays, and nobody is told.
    if found is None:
        raise GuestError(Errno.EINVAL, f"no segment is attached at {addr:#x}")
    return 0


def _fragment(vma: Vma, addr: int) -> Attachment | None:
    """The attachment a region belongs to, if it lies where it would had the segment been attached at `addr`."""
    if type(vma.backing) is File and type(vma.backing.file) is Attachment and vma.start - addr == vma.backing.offset:
        return vma.backing.file
    return None


# -- shmctl -----------------------------------------------------------------------------------------------------------------


@syscall("shmctl", "int int ptr")
def shmctl(proc: Process, number: int, command: int, buffer: int) -> int:
    if command < 0 or number < 0:
        raise GuestError(Errno.EINVAL, f"segment {number}, command {command}")
    segments = _segments(proc)
    if command in (Ipc.IPC_INFO, Ipc.SHM_INFO):
        return _information(proc, segments, command, buffer)
    if command in (Ipc.IPC_STAT, Ipc.SHM_STAT, Ipc.SHM_STAT_ANY):
        return _status(proc, segments, number, command, buffer)
    if command == Ipc.IPC_SET:
        wanted = unpack_shmid_ds(proc.arch, proc.mem.read(buffer, SHMID_DS_SIZE))
        segment = _owned(proc, segments, number)
        if 0xFFFF_FFFF in (wanted.uid, wanted.gid):
            raise GuestError(Errno.EINVAL, "no such owner")
        segment.uid, segment.gid = wanted.uid, wanted.gid
        segment.mode = segment.mode & ~_ACCESS | wanted.mode & _ACCESS
        segments.changed(segment)
        return 0
    if command == Ipc.IPC_RMID:
        segments.remove(_owned(proc, segments, number))
        return 0
    if command in (Ipc.SHM_LOCK, Ipc.SHM_UNLOCK):
        return _lock(proc, segments.by_id(number), command == Ipc.SHM_LOCK)
    raise GuestError(Errno.EINVAL, f"command {command}")


def _owned(proc: Process, segments: Namespace, number: int) -> Segment:
    """EPERM unless it is ours to change (ipc/util.c:ipcctl_obtain_check)."""
    segment, creds = segments.by_id(number), proc.system.credentials
    if creds.uids.effective not in (segment.cuid, segment.uid) and not creds.capable(Cap.CAP_SYS_ADMIN):
        raise GuestError(Errno.EPERM, "not the owner")
    return segment


def _information(proc: Process, segments: Namespace, command: int, buffer: int) -> int:
    if command == Ipc.IPC_INFO:
        data = pack_shminfo(proc.arch, SHMMAX, SHMMIN, SHMMNI, SHMALL)
    else:
        resident = sum(segment.memory.stat().blocks * 512 // proc.space.page_size for segment in segments)
        data = pack_shm_info(proc.arch, len(segments), sum(segment.pages for segment in segments), resident, 0)
    proc.mem.write(buffer, data)
    return segments.highest


def _status(proc: Process, segments: Namespace, number: int, command: int, buffer: int) -> int:
    segment = segments.by_id(number) if command == Ipc.IPC_STAT else segments.by_index(number)
    if command != Ipc.SHM_STAT_ANY:
        _permitted(proc, segment, 0o444)
    ds = ShmidDs(
        segment.key, segment.uid, segment.gid, segment.cuid, segment.cgid, segment.mode, segment.sequence, segment.size,
        segment.atime, segment.dtime, segment.ctime, segment.cpid, segment.lpid, segment.attached,
    )  # fmt: skip
    proc.mem.write(buffer, pack_shmid_ds(proc.arch, ds))
    return 0 if command == Ipc.IPC_STAT else segment.id


def _lock(proc: Process, segment: Segment, lock: bool) -> int:
    creds, limit = proc.system.credentials, proc.mm.limits.memlock
    if not creds.capable(Cap.CAP_IPC_LOCK):
        if creds.uids.effective not in (segment.cuid, segment.uid) or (lock and not limit):
            raise GuestError(Errno.EPERM, "may not lock memory")
        if lock and segment.pages * proc.space.page_size > limit & -proc.space.page_size and limit < (1 << 63) - 1:
            raise GuestError(Errno.ENOMEM, "RLIMIT_MEMLOCK")
    segment.mode = segment.mode | Ipc.SHM_LOCKED if lock else segment.mode & ~Ipc.SHM_LOCKED
    return 0
