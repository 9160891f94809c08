"""Processes as descriptors, and comparing them.

Owns: pidfd_open, pidfd_send_signal, pidfd_getfd, kcmp. Sources: kernel/pid.c, kernel/signal.c, kernel/kcmp.c.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING

from emuvm.abi.errno import Errno
from emuvm.abi.flags import Open, convert_open, open_for
from emuvm.abi.sigframes import SIGINFO_SIZE, unpack_siginfo
from emuvm.abi.signals import Code
from emuvm.errors import GuestError
from emuvm.kernel import hostfd
from emuvm.kernel.files import HostOpenFile, OpenFile
from emuvm.kernel.registry import syscall
from emuvm.kernel.sys import sig

if TYPE_CHECKING:
    from emuvm.kernel.process import Process

SELF_THREAD, SELF_GROUP = -10000, -10001
"""PIDFD_SELF_THREAD, PIDFD_SELF_THREAD_GROUP."""
_THREAD, _GROUP, _PROCESS_GROUP = 1, 2, 4
"""PIDFD_SIGNAL_ flags."""


class PidFile(HostOpenFile):
    """A pidfd of one of the program's processes. The host's stands for it: a guest goes by the pid of its emuvm."""

    refuses_read = refuses_write = own = True
    splices = False

    def __init__(self, pid: int, status: int) -> None:
        super().__init__(hostfd.pidfd(pid), Open.O_RDWR | status, b"anon_inode:[pidfd]")
        self.pid = pid


@syscall("pidfd_open", "int uint", level="partial", note="of the program's own processes; others are ESRCH")
def pidfd_open(proc: Process, pid: int, flags: int) -> int:
    bits = open_for(proc.arch.name)
    if flags & ~(bits.O_NONBLOCK | bits.O_EXCL) or pid <= 0:
        raise GuestError(Errno.EINVAL, f"flags {flags:#x}, process {pid}")
    if pid not in (proc.pid, proc.tid) and (proc.family is None or proc.family.find(pid) is None):
        raise GuestError(Errno.ESRCH, f"process {pid}")
    number: int = proc.files.add(PidFile(pid, convert_open(flags & bits.O_NONBLOCK, bits, Open)), True)
    return number


@syscall("pidfd_send_signal", "fd int ptr uint", level="partial", note="to the program's own processes")
def pidfd_send_signal(proc: Process, fd: int, signal: int, at: int, flags: int) -> int:
    if flags not in (0, _THREAD, _GROUP, _PROCESS_GROUP):
        raise GuestError(Errno.EINVAL, f"flags {flags:#x}")
    pid = proc.pid
    if fd not in (SELF_THREAD, SELF_GROUP):
        file = proc.files.opened(fd)
        if not isinstance(file, PidFile) and not _own_directory(proc, file):
            raise GuestError(Errno.EBADF, f"descriptor {fd} is no pidfd")
        pid = file.pid if isinstance(file, PidFile) else pid
    thread = flags == _THREAD or (not flags and fd == SELF_THREAD)
    if not at:
        if pid != proc.pid:
            return sig.to_relative(proc, pid, signal, thread=thread, group=flags == _PROCESS_GROUP)
        return sig.send(proc, signal, Code.SI_TKILL if thread else Code.SI_USER, thread=thread)
    data = proc.mem.read(at, SIGINFO_SIZE)
    named, code, _, _ = unpack_siginfo(proc.arch, data)
    sig.check_fields(proc, data)
    if named != signal:
        raise GuestError(Errno.EINVAL, f"signal {signal} as signal {named}")
    if flags == _PROCESS_GROUP and (code >= 0 or code == Code.SI_TKILL):
        raise GuestError(Errno.EPERM, "others are not told lies")
    return sig.queue(proc, signal, at, pid, thread=thread)


def _own_directory(proc: Process, file: OpenFile) -> bool:
    """/proc/PID stands for the process too."""
    return file.is_directory and file.path == b"/proc/%d" % proc.pid


@syscall("pidfd_getfd", "fd fd uint", level="partial", note="of the process itself")
def pidfd_getfd(proc: Process, pidfd: int, fd: int, flags: int) -> int:
    if flags:
        raise GuestError(Errno.EINVAL, f"flags {flags:#x}")
    file = proc.files.opened(pidfd)
    if not isinstance(file, PidFile):
        raise GuestError(Errno.EBADF, f"descriptor {pidfd} is no pidfd")
    if file.pid != proc.pid:
        raise GuestError(Errno.EPERM, "descriptors of another process")
    number: int = proc.files.add(proc.files.get(fd), True)
    return number


# -- kcmp ---------------------------------------------------------------------------------------------------------------------

_FILE, _EPOLL_TARGET = 0, 7
_KINDS = 8


@syscall("kcmp", "int int int ulong ulong", level="partial", note="the process with itself")
def kcmp(proc: Process, one: int, two: int, kind: int, first: int, second: int) -> int:
    for pid in (one, two):
        if pid not in (proc.pid, proc.tid):
            raise GuestError(Errno.EPERM if pid > 0 and proc.system.process_exists(pid) else Errno.ESRCH, f"process {pid}")
    if not 0 <= kind < _KINDS:
        raise GuestError(Errno.EINVAL, f"kind {kind}")
    if kind == _FILE:
        return _order(_file(proc, first), _file(proc, second))
    if kind == _EPOLL_TARGET:
        return _order(*_watched(proc, first, second))
    return 0


def _file(proc: Process, number: int) -> OpenFile:
    found: OpenFile = proc.files.get(number & 0xFFFF_FFFF)
    return found


def _watched(proc: Process, number: int, at: int) -> tuple[OpenFile, OpenFile]:
    """A file, and the one that an epoll watches under a number, of several the n-th."""
    from emuvm.kernel.sys.epoll import EpollFile

    layout = Struct(">III" if proc.arch.big_endian else "<III")
    epoll_number, watched, which = layout.unpack(proc.mem.read(at, layout.size))
    file, epoll = _file(proc, number), _file(proc, epoll_number)
    if not isinstance(epoll, EpollFile):
        raise GuestError(Errno.EINVAL, f"descriptor {epoll_number} is no epoll")
    found = epoll.watched(watched)
    if which >= len(found):
        raise GuestError(Errno.ENOENT, f"descriptor {watched} is not watched")
    return file, found[which]


def _order(one: OpenFile, two: OpenFile) -> int:
    """0: the same; 1, 2: an order that means nothing but stays."""
    return (id(one) < id(two)) + 2 * (id(one) > id(two))
