"""fcntl: what is asked of a descriptor and its file.

Must not know paths nor move data. Sources: fs/fcntl.c, fs/locks.c.
"""

from __future__ import annotations

import struct
import sys
from typing import TYPE_CHECKING

from emuvm.abi.errno import Errno
from emuvm.abi.flags import Fcntl, Mode, Open, convert_open, fcntl_for, open_for
from emuvm.abi.signals import NSIG
from emuvm.abi.structs import Flock, pack_flock, unpack_flock
from emuvm.errors import GuestError
from emuvm.kernel import hostfd
from emuvm.kernel.memfd import MemFile
from emuvm.kernel.registry import syscall
from emuvm.kernel.standin import lock_fd
from emuvm.kernel.sys.ioctl import tells
from emuvm.mm.types import File, Vma, VmFlag

if TYPE_CHECKING:
    from emuvm.kernel.files import OpenFile
    from emuvm.kernel.process import Process

_FLOCK = struct.Struct("@hhqqi4x")
"""The host's struct flock; the library's 64-bit locks."""
_FLOCK_SIZE = 32
_GET_RW_HINT, _SET_RW_HINT, _HINTS = 1035, 1036, 5
_GETOWNER_UIDS, _DUPFD_QUERY, _CREATED_QUERY = 17, 1027, 1028
_PARTIAL = "who is to be told of input, and leases, are remembered: nobody is told; no directory notices"


@syscall("fcntl", "fd uint ulong", level="partial", note=_PARTIAL)
@syscall("fcntl64", "fd uint ulong", level="partial", note=_PARTIAL)
def fcntl(proc: Process, fd: int, command: int, argument: int) -> int:
    names = fcntl_for(proc.arch.name)
    file: OpenFile = proc.files.get(fd)
    if command in (names.F_DUPFD, names.F_DUPFD_CLOEXEC):
        return _dupfd(proc, file, argument & 0xFFFF_FFFF, command == names.F_DUPFD_CLOEXEC)
    if command == names.F_GETFD:
        return int(proc.files.cloexec(fd))
    if command == names.F_SETFD:
        proc.files.set_cloexec(fd, bool(argument & names.FD_CLOEXEC))
        return 0
    bits = open_for(proc.arch.name)
    if command == names.F_GETFL:
        return convert_open(file.status(), Open, bits)
    if command == _DUPFD_QUERY:
        return int(proc.files.get(_signed(argument)) is file)
    if command == _CREATED_QUERY:
        return int(file.created)
    file = proc.files.opened(fd)
    if command == names.F_SETFL:
        wanted = convert_open(argument & 0xFFFF_FFFF, bits, Open)
        file.set_status(wanted)
        file.flags = file.flags & ~Open.O_ASYNC | (wanted & Open.O_ASYNC if tells(file) else 0)
        return 0
    if command in _LOCKS:
        return _lock(proc, file, command, argument)
    if command in (names.F_ADD_SEALS, names.F_GET_SEALS) and isinstance(file, MemFile) and not file.only_shared:
        return _seals(proc, file, command == names.F_ADD_SEALS, argument & 0xFFFF_FFFF)
    if command in (names.F_GETPIPE_SZ, names.F_SETPIPE_SZ, names.F_ADD_SEALS, names.F_GET_SEALS):
        return _asked(file, command, argument, names)
    if command in (_GET_RW_HINT, _SET_RW_HINT):
        return _hint(proc, file, command, argument)
    if command in (names.F_SETLEASE, names.F_GETLEASE):
        return _lease(proc, file, argument & 0xFFFF_FFFF, names) if command == names.F_SETLEASE else _leased(file, names)
    if command == names.F_NOTIFY:
        return _notify(file, argument)
    return _told(proc, file, command, argument, names)


def _asked(file: OpenFile, command: int, argument: int, names: type[Fcntl]) -> int:
    """Sizes of pipes, and seals of what has none: the host's."""
    if file.host_fd < 0 or file.only_shared:
        raise _not_sealed(file, command, command in (names.F_GETPIPE_SZ, names.F_SETPIPE_SZ), command == names.F_ADD_SEALS)
    if argument & 0x8000_0000:
        if command == names.F_SETPIPE_SZ:
            return int(hostfd.control(file.host_fd, command, _signed(argument)))
        argument |= 0x4000_0000  # another seal that does not exist: the top one would be a sign on the way to the host
    return int(hostfd.control(file.host_fd, command, argument & 0x7FFF_FFFF))


# -- who is told ------------------------------------------------------------------------------------------------------------

_TID, _PID, _PGRP = range(3)


def _told(proc: Process, file: OpenFile, command: int, argument: int, names: type[Fcntl]) -> int:
    """Whom signals about input go to, and which (fs/fcntl.c:f_setown and the rest)."""
    pair = struct.Struct(">ii" if proc.arch.big_endian else "<ii")
    kind, pid = file.owner[:2]
    if command == names.F_GETOWN:
        return -pid if kind == _PGRP else pid
    if command == names.F_GETOWN_EX:
        proc.mem.write(argument, pair.pack(kind, pid))
    elif command == _GETOWNER_UIDS:
        order = ">" if proc.arch.big_endian else "<"
        proc.mem.write(argument, struct.pack(f"{order}II", *file.owner[2:]))
    elif command == names.F_SETOWN:
        pid = _signed(argument)
        if pid == -(1 << 31):
            raise GuestError(Errno.EINVAL, f"owner {pid}")
        _set_owner(proc, file, _PGRP if pid < 0 else _PID, abs(pid))
    elif command == names.F_SETOWN_EX:
        kind, pid = pair.unpack(proc.mem.read(argument, pair.size))
        if kind not in (_TID, _PID, _PGRP):
            raise GuestError(Errno.EINVAL, f"kind {kind}")
        _set_owner(proc, file, kind, pid)
    elif command == names.F_GETSIG:
        return file.signal
    elif command == names.F_SETSIG:
        if argument & 0xFFFF_FFFF > NSIG:
            raise GuestError(Errno.EINVAL, f"signal {argument}")
        file.signal = argument & 0xFFFF_FFFF
    else:
        raise GuestError(Errno.EINVAL, f"fcntl command {command}")
    return 0


def _set_owner(proc: Process, file: OpenFile, kind: int, pid: int) -> None:
    if pid and (pid < 0 or not proc.system.process_exists(pid)):
        raise GuestError(Errno.ESRCH, f"process {pid}")
    ids = proc.system.credentials.uids
    file.owner = (kind, pid, ids.real, ids.effective)


# -- leases -----------------------------------------------------------------------------------------------------------------


def _leased(file: OpenFile, names: type[Fcntl]) -> int:
    return names.F_UNLCK if file.lease is None else file.lease


def _lease(proc: Process, file: OpenFile, kind: int, names: type[Fcntl]) -> int:
    """Whether it can be had the host says; it is not kept there, where it would hold others up (fs/locks.c:generic_setlease)."""
    made = file.host_fd < 0 and file.stat().mode & Mode.S_IFMT == Mode.S_IFREG
    if not (file.is_regular or made) or kind not in (names.F_RDLCK, names.F_WRLCK, names.F_UNLCK):
        raise GuestError(Errno.EINVAL, f"lease {kind}")
    if kind == names.F_UNLCK:
        if file.lease is None:
            raise GuestError(Errno.EAGAIN, "there is no lease")
        file.lease = None
        return 0
    if made and kind == names.F_RDLCK and file.writable():
        raise GuestError(Errno.EAGAIN, "it is open for writing")
    if not made:
        hostfd.control(file.host_fd, hostfd.F_SETLEASE, kind)
        hostfd.control(file.host_fd, hostfd.F_SETLEASE, names.F_UNLCK)
    if file.lease is None and not file.owner[1]:
        _set_owner(proc, file, _PID, proc.pid)
    file.lease = kind
    return 0


def _notify(file: OpenFile, events: int) -> int:
    """Nothing is to be told: that is so."""
    if not events & 0x7FFF_FFFF:
        return 0
    raise GuestError(Errno.EINVAL if file.is_directory else Errno.ENOTDIR, "of directories nobody is told")


def _signed(word: int) -> int:
    return (word & 0xFFFF_FFFF ^ 1 << 31) - (1 << 31)


def _hint(proc: Process, file: OpenFile, command: int, at: int) -> int:
    """How long what is written will live (fs/fcntl.c:fcntl_get_rw_hint)."""
    if command == _SET_RW_HINT:
        wanted = proc.mem.read_u64(at)
        if file.host_fd >= 0 and (file.own or proc.fs.may_change(file.host_fd)):
            hostfd.control(file.host_fd, command, wanted.to_bytes(8, sys.byteorder))
        elif wanted > _HINTS:
            raise GuestError(Errno.EINVAL, f"hint {wanted}")
        else:
            file.hint = wanted
        return 0
    found = file.hint
    if file.host_fd >= 0 and not found:
        answer = hostfd.control(file.host_fd, command, bytes(8))
        found = int.from_bytes(answer, sys.byteorder) if isinstance(answer, bytes) else 0
    proc.mem.write_u64(at, found)
    return 0


def _not_sealed(file: OpenFile, command: int, of_pipes: bool, adding: bool) -> GuestError:
    """fs/pipe.c:pipe_fcntl, mm/memfd.c:memfd_fcntl, for a file that is neither."""
    if of_pipes:
        return GuestError(Errno.EBADF, "no pipe")
    if adding and not file.writable():
        return GuestError(Errno.EPERM, "not opened for writing")
    return GuestError(Errno.EINVAL, f"command {command}")


def _seals(proc: Process, file: MemFile, adding: bool, seals: int) -> int:
    if not adding:
        return file.inode.seals
    file.add_seals(seals, any(_writes(vma, file.inode) for vma in proc.space))
    return 0


def _writes(vma: Vma, inode: object) -> bool:
    """Does the region keep its memfd from being sealed? Shared, and writable or to be made so (i_mmap_writable)."""
    wanted = VmFlag.SHARED | VmFlag.MAYWRITE
    return vma.flags & wanted == wanted and isinstance(vma.backing, File) and getattr(vma.backing.file, "inode", None) is inode


def _dupfd(proc: Process, file: OpenFile, lowest: int, cloexec: bool) -> int:
    if lowest >= proc.files.limit:
        raise GuestError(Errno.EINVAL, f"no descriptors from {lowest} on")
    number: int = proc.files.add(file, cloexec, lowest)
    return number


_LOCKS = frozenset((Fcntl.F_GETLK, Fcntl.F_SETLK, Fcntl.F_SETLKW, Fcntl.F_OFD_GETLK, Fcntl.F_OFD_SETLK, Fcntl.F_OFD_SETLKW))


def _lock(proc: Process, file: OpenFile, command: int, at: int) -> int:
    """Record locks: the host's own, held by emuvm's process for the guest."""
    wanted = unpack_flock(proc.arch, proc.mem.read(at, _FLOCK_SIZE))
    answer = hostfd.control(lock_fd(proc, file), command, _FLOCK.pack(*wanted))
    if command in (Fcntl.F_GETLK, Fcntl.F_OFD_GETLK) and isinstance(answer, bytes):
        proc.mem.write(at, pack_flock(proc.arch, Flock(*_FLOCK.unpack(answer))))
    return 0
