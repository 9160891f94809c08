"""Descriptors: positions, copies, flags, locks, pipes, sizes.

Must not know paths (`kernel.sys.fs`) nor move data (`kernel.sys.io`). Sources: fs/fcntl.c, fs/file.c, fs/read_write.c,
fs/pipe.c, fs/open.c.
"""

from __future__ import annotations

import struct
import sys
from typing import TYPE_CHECKING

from emuvm.abi.caps import Cap
from emuvm.abi.controls import Fd
from emuvm.abi.errno import Errno
from emuvm.abi.flags import Mode, Open, Seek, convert_open, open_for
from emuvm.errors import GuestError
from emuvm.kernel import host_proc, hostfd
from emuvm.kernel.files import HostOpenFile
from emuvm.kernel.memfd import create, create_secret
from emuvm.kernel.registry import syscall
from emuvm.kernel.standin import lock_fd
from emuvm.kernel.sys.io import check_size
from emuvm.kernel.usermem import Deferred

if TYPE_CHECKING:
    from emuvm.kernel.files import OpenFile
    from emuvm.kernel.process import Process

_MOVING = frozenset((0x8, 0x20))
"""FALLOC_FL_COLLAPSE_RANGE and INSERT_RANGE, which change the size by nature."""
_WRITE_ZEROES = 0x80
_ALLOCATIONS = _MOVING | {0, Fd.FALLOC_FL_PUNCH_HOLE, 0x10, 0x40, _WRITE_ZEROES}
"""These, ZERO_RANGE and UNSHARE_RANGE: what fallocate may be asked for, one at a time (fs/open.c:vfs_fallocate)."""


@syscall("close", "fd", pure=True)
def close(proc: Process, fd: int) -> int:
    if proc.mem.deferred and not proc.files.get(fd).prompt:
        raise Deferred
    proc.files.close(fd)
    return 0


@syscall("close_range", "uint uint uint")
def close_range(proc: Process, first: int, last: int, flags: int) -> int:
    if flags & ~(Fd.CLOSE_RANGE_UNSHARE | Fd.CLOSE_RANGE_CLOEXEC) or last < first:
        raise GuestError(Errno.EINVAL, f"{first} to {last}, flags {flags:#x}")
    for fd, _ in list(proc.files.items()):
        if first <= fd <= last:
            if flags & Fd.CLOSE_RANGE_CLOEXEC:
                proc.files.set_cloexec(fd, True)
            else:
                proc.files.close(fd)
    return 0


@syscall("lseek", "fd off uint", pure=True)
def lseek(proc: Process, fd: int, offset: int, whence: int) -> int:
    file: OpenFile = proc.files.opened(fd)
    if whence > Seek.SEEK_HOLE:
        raise GuestError(Errno.EINVAL, f"origin {whence}")
    return file.seek(offset, whence)


@syscall("_llseek", "fd ulong ulong ptr uint")
def llseek(proc: Process, fd: int, high: int, low: int, result: int, whence: int) -> int:
    value = (high & 0xFFFF_FFFF) << 32 | low & 0xFFFF_FFFF
    proc.mem.write_u64(result, lseek(proc, fd, value - (value >> 63 << 64), whence))
    return 0


@syscall("dup", "fd")
def dup(proc: Process, fd: int) -> int:
    number: int = proc.files.add(proc.files.get(fd))
    return number


@syscall("dup2", "fd fd")
def dup2(proc: Process, old: int, new: int) -> int:
    file = proc.files.get(old)
    if old != new:
        proc.files.replace(new, file, False)
    return new


@syscall("dup3", "fd fd flags")
def dup3(proc: Process, old: int, new: int, flags: int) -> int:
    cloexec = open_for(proc.arch.name).O_CLOEXEC
    if flags & ~cloexec or old == new:
        raise GuestError(Errno.EINVAL, f"dup3 {old} to {new}, flags {flags:#x}")
    if not 0 <= new < proc.files.limit:
        raise GuestError(Errno.EBADF, f"descriptor {new}")
    proc.files.replace(new, proc.files.get(old), bool(flags))
    return new


@syscall("pipe", "ptr")
def pipe(proc: Process, to: int) -> int:
    return _pipe(proc, to, 0)


@syscall("pipe2", "ptr flags", level="partial", note="O_NOTIFICATION_PIPE gets EINVAL")
def pipe2(proc: Process, to: int, flags: int) -> int:
    return _pipe(proc, to, flags)


def _pipe(proc: Process, to: int, flags: int) -> int:
    names = open_for(proc.arch.name)
    if flags & ~(names.O_CLOEXEC | names.O_NONBLOCK | names.O_DIRECT):
        raise GuestError(Errno.EINVAL, f"flags {flags:#x}")
    generic = convert_open(flags, names, Open)
    ends = hostfd.pipe(convert_open(generic & ~Open.O_CLOEXEC, Open, hostfd.HOST_OPEN))
    status = generic & (Open.O_NONBLOCK | Open.O_DIRECT)
    reader, writer = HostOpenFile(ends[0], Open.O_RDONLY | status, b""), HostOpenFile(ends[1], Open.O_WRONLY | status, b"")
    reader.own = writer.own = True
    cloexec = bool(generic & Open.O_CLOEXEC)
    try:
        first = proc.files.add(reader, cloexec)
    except GuestError:
        writer.close()
        raise
    try:
        second = proc.files.add(writer, cloexec)
    except GuestError:
        proc.files.close(first)
        raise
    try:
        proc.mem.write(to, struct.pack(">ii" if proc.arch.big_endian else "<ii", first, second))
    except GuestError:
        proc.files.close(first)
        proc.files.close(second)
        raise
    return 0


# -- locks of whole files ----------------------------------------------------------------------------------------------------

_LOCK_NB, _LOCK_MAND = 4, 32


@syscall("flock", "fd uint")
def flock(proc: Process, fd: int, operation: int) -> int:
    if operation & _LOCK_MAND:
        return 0
    if operation & ~_LOCK_NB not in (1, 2, 8):
        raise GuestError(Errno.EINVAL, f"operation {operation}")
    file: OpenFile = proc.files.opened(fd)
    hostfd.flock(lock_fd(proc, file), operation)
    return 0


# -- sizes and storage ------------------------------------------------------------------------------------------------------


@syscall("ftruncate", "fd off")
@syscall("ftruncate64", "fd off")
def ftruncate(proc: Process, fd: int, length: int) -> int:
    if length < 0:
        raise GuestError(Errno.EINVAL, f"length {length}")
    file: OpenFile = proc.files.opened(fd)
    if not file.writable():
        raise GuestError(Errno.EINVAL, f"descriptor {fd} is not open for writing")
    check_size(proc, file, length)
    file.truncate(length)
    return 0


@syscall("fallocate", "fd uint off off")
def fallocate(proc: Process, fd: int, mode: int, offset: int, length: int) -> int:
    file: OpenFile = proc.files.opened(fd)
    if offset < 0 or length <= 0:
        raise GuestError(Errno.EINVAL, f"{length} bytes from {offset}")
    keep, kind = mode & Fd.FALLOC_FL_KEEP_SIZE, mode & ~Fd.FALLOC_FL_KEEP_SIZE
    if kind not in _ALLOCATIONS or (keep and kind in (*_MOVING, _WRITE_ZEROES)) or (not keep and kind == Fd.FALLOC_FL_PUNCH_HOLE):
        raise GuestError(Errno.EOPNOTSUPP, f"mode {mode:#x}")
    if not file.writable():
        raise GuestError(Errno.EBADF, f"descriptor {fd} is not open for writing")
    if file.is_regular and offset + length >= 1 << 63:
        raise GuestError(Errno.EFBIG, "no file is so long")
    if not mode & ~Fd.FALLOC_FL_KEEP_SIZE and (not mode or file.own):
        check_size(proc, file, offset + length)
    file.allocate(mode, offset, length)
    return 0


@syscall("fsync", "fd")
@syscall("fdatasync", "fd")
def fsync(proc: Process, fd: int) -> int:
    file: OpenFile = proc.files.opened(fd)
    if file.host_fd < 0 or file.only_shared:
        if file.path.startswith(b"/sys/"):
            return 0  # fs/kernfs/file.c: noop_fsync
        raise GuestError(Errno.EINVAL, "not a file of the host")
    hostfd.fsync(file.host_fd)
    return 0


@syscall("sync")
def sync(proc: Process) -> int:
    hostfd.sync()
    return 0


@syscall("syncfs", "fd")
def syncfs(proc: Process, fd: int) -> int:
    proc.files.opened(fd)
    hostfd.sync()
    return 0


def _stored(file: OpenFile, *kinds: int) -> bool:
    return file.stat().mode & Mode.S_IFMT in kinds


@syscall("sync_file_range", "fd off off uint")
def sync_file_range(proc: Process, fd: int, offset: int, length: int, flags: int) -> int:
    file: OpenFile = proc.files.opened(fd)
    if flags & ~7 or offset < 0 or not offset <= offset + length < 1 << 63:
        raise GuestError(Errno.EINVAL, f"{length} bytes from {offset}, flags {flags:#x}")
    if not _stored(file, Mode.S_IFREG, Mode.S_IFDIR, Mode.S_IFBLK, Mode.S_IFLNK):
        raise GuestError(Errno.ESPIPE, "no storage")
    if flags and file.is_regular and file.host_fd >= 0:
        hostfd.fdatasync(file.host_fd)
    return 0


@syscall("fadvise64", "fd off size int")
def fadvise64(proc: Process, fd: int, offset: int, length: int, advice: int) -> int:
    file: OpenFile = proc.files.opened(fd)
    if file.is_pipe:
        raise GuestError(Errno.ESPIPE, "a pipe")
    if not 0 <= advice <= 5 or length >> 63:
        raise GuestError(Errno.EINVAL, f"advice {advice}")
    if file.host_fd >= 0:
        hostfd.fadvise(file.host_fd, offset, length, advice)
    return 0


@syscall("readahead", "fd off size")
def readahead(proc: Process, fd: int, offset: int, length: int) -> int:
    file: OpenFile = proc.files.opened(fd)
    if not file.readable():
        raise GuestError(Errno.EBADF, f"descriptor {fd} is not open for reading")
    if not _stored(file, Mode.S_IFREG, Mode.S_IFBLK):
        raise GuestError(Errno.EINVAL, "not a regular file")
    return fadvise64(proc, fd, offset, length, 3)


@syscall("cachestat", "fd ptr ptr uint", level="partial", note="a made-up file has nothing cached")
def cachestat(proc: Process, fd: int, at: int, to: int, flags: int) -> int:
    file: OpenFile = proc.files.opened(fd)
    order = ">" if proc.arch.big_endian else "<"
    offset, length = struct.unpack(f"{order}QQ", proc.mem.read(at, 16))
    if file.is_huge:
        raise GuestError(Errno.EOPNOTSUPP, "huge pages are not counted")
    credentials = proc.system.credentials
    if file.host_fd < 0 and not file.writable() and credentials.uids.fs != file.stat().uid and not credentials.capable(Cap.CAP_FOWNER):
        raise GuestError(Errno.EPERM, "another's file")
    if flags:
        raise GuestError(Errno.EINVAL, f"flags {flags:#x}")
    counts = hostfd.cached(file.host_fd, offset, length) if file.host_fd >= 0 else (0,) * 5
    proc.mem.write(to, struct.pack(f"{order}5Q", *counts))
    return 0


_MFD = Fd.MFD_CLOEXEC | Fd.MFD_ALLOW_SEALING | Fd.MFD_HUGETLB | Fd.MFD_NOEXEC_SEAL | Fd.MFD_EXEC
_MFD_NAME = 249


@syscall("memfd_create", "ptr uint")
def memfd_create(proc: Process, at: int, flags: int) -> int:
    both = Fd.MFD_EXEC | Fd.MFD_NOEXEC_SEAL
    if flags & ~(_MFD | (Fd.MFD_SIZE_BITS if flags & Fd.MFD_HUGETLB else 0)) or flags & both == both:
        raise GuestError(Errno.EINVAL, f"flags {flags:#x}")
    file = create(proc.mem.read_cstr(at, _MFD_NAME + 1, Errno.EINVAL), flags)
    number: int = proc.files.add(file, bool(flags & Fd.MFD_CLOEXEC))
    return number


class EventFile(HostOpenFile):
    """An eventfd."""

    no_offsets = own = True
    unit = 8

    def outside(self) -> int:
        """The counter."""
        (line,) = [line for line in host_proc.descriptor(self.host_fd) if line.startswith("eventfd-count:")]
        return int(line.split()[1], 16)

    def bring_back(self, kept: int) -> None:
        if self.outside() != kept:
            while hostfd.readable(self.host_fd, 0):
                hostfd.read(self.host_fd, self.unit)
            hostfd.write(self.host_fd, kept.to_bytes(self.unit, sys.byteorder))


@syscall("memfd_secret", "uint")
def memfd_secret(proc: Process, flags: int) -> int:
    cloexec = open_for(proc.arch.name).O_CLOEXEC
    if flags & ~cloexec:
        raise GuestError(Errno.EINVAL, f"flags {flags:#x}")
    number: int = proc.files.add(create_secret(), bool(flags))
    return number


@syscall("eventfd", "uint")
def eventfd(proc: Process, initial: int) -> int:
    return eventfd2(proc, initial, 0)


@syscall("eventfd2", "uint flags")
def eventfd2(proc: Process, initial: int, flags: int) -> int:
    names = open_for(proc.arch.name)
    if flags & ~(names.O_CLOEXEC | names.O_NONBLOCK | 1):
        raise GuestError(Errno.EINVAL, f"flags {flags:#x}")
    generic = convert_open(flags & ~1, names, Open)
    fd = hostfd.eventfd(initial, convert_open(generic & Open.O_NONBLOCK, Open, hostfd.HOST_OPEN) | flags & 1)
    file = EventFile(fd, Open.O_RDWR | generic & Open.O_NONBLOCK, b"anon_inode:[eventfd]")
    number: int = proc.files.add(file, bool(generic & Open.O_CLOEXEC))
    return number
