"""wait4 and waitid: how children end.

Owns: their arguments, and the waiting. Must not know how children are made (`fork`). Source: kernel/exit.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emuvm.abi.controls import Process as P
from emuvm.abi.errno import Errno
from emuvm.abi.flags import Open
from emuvm.abi.sigframes import pack_siginfo, siginfo_child
from emuvm.abi.signals import Signal
from emuvm.abi.structs import pack_rusage
from emuvm.errors import GuestError
from emuvm.kernel.registry import syscall
from emuvm.kernel.signal_restart import Interrupted, Restart
from emuvm.kernel.sys.pidfd import PidFile
from emuvm.kernel.waiting import wait

if TYPE_CHECKING:
    from emuvm.kernel.host_family import Ending
    from emuvm.kernel.process import Process

_ALL, _PID, _GROUP, _PIDFD = range(4)
_STATES = P.WUNTRACED | P.WCONTINUED | P.WEXITED
_POLLIN = 1
_HEAD, _FIELDS, _TOLD = 12, 16, 28
"""Of siginfo_t in bytes: the head, where si_pid is, and the end of si_status."""


@syscall("wait4", "int ptr int ptr")
def wait4(proc: Process, pid: int, status: int, options: int, usage: int) -> int:
    if options & 0xFFFF_FFFF & ~(P.WNOHANG | P.WUNTRACED | P.WCONTINUED | P.WHOM):
        raise GuestError(Errno.EINVAL, f"options {options:#x}")
    if pid == -(1 << 31):
        raise GuestError(Errno.ESRCH, "no such group")
    kind = _PID if pid > 0 else _ALL if pid == -1 else _GROUP
    found = _look(proc, kind, pid if pid > 0 else 0 if pid == -1 else -pid or proc.pgid, options | P.WEXITED)
    if found is None:
        return 0
    if status:
        proc.mem.write_u32(status, found.word)
    if usage:
        proc.mem.write(usage, pack_rusage(proc.arch, found.usage))
    return found.pid


@syscall("waitid", "int int ptr int ptr")
def waitid(proc: Process, kind: int, pid: int, info: int, options: int, usage: int) -> int:
    try:
        found = _waitid(proc, kind, pid, options)
    except GuestError:
        _tell(proc, info, None)
        raise
    if usage and found is not None:
        proc.mem.write(usage, pack_rusage(proc.arch, found.usage))
    _tell(proc, info, found)
    return 0


def _waitid(proc: Process, kind: int, pid: int, options: int) -> Ending | None:
    if options & 0xFFFF_FFFF & ~(P.WNOHANG | P.WNOWAIT | _STATES | P.WHOM) or not options & _STATES:
        raise GuestError(Errno.EINVAL, f"options {options:#x}")
    if not _ALL <= kind <= _PIDFD or (kind == _PID and pid <= 0) or (kind > _PID and pid < 0):
        raise GuestError(Errno.EINVAL, f"kind {kind}, {pid}")
    if kind == _GROUP:
        return _look(proc, kind, pid or proc.pgid, options)
    if kind != _PIDFD:
        return _look(proc, kind, pid, options)
    file = proc.files.opened(pid)
    if not isinstance(file, PidFile):
        raise GuestError(Errno.EBADF, f"descriptor {pid} is no pidfd")
    patient = not file.flags & Open.O_NONBLOCK
    found = _look(proc, kind, file.host_fd, options if patient else options | P.WNOHANG)
    if found is None and not patient and not options & P.WNOHANG:
        raise GuestError(Errno.EAGAIN, "it has not ended")
    return found


def _tell(proc: Process, info: int, found: Ending | None) -> None:
    """Of the structure only what is told is stored, errors or not: zeros if there is nothing."""
    if not info:
        return
    data = bytes(_TOLD)
    if found is not None:
        data = pack_siginfo(proc.arch, Signal.SIGCHLD, found.code, siginfo_child(proc.arch, found.pid, found.uid, found.status))[:_TOLD]
    proc.mem.write(info, data[:_HEAD])
    proc.mem.write(info + _FIELDS, data[_FIELDS:])


def _look(proc: Process, kind: int, number: int, options: int) -> Ending | None:
    """The next child that did what was asked for; None: none yet, and WNOHANG. ECHILD; Interrupted."""
    family, signals = proc.family, proc.host_signals
    if family is None or signals is None:
        raise GuestError(Errno.ECHILD, "no children")
    while True:
        signals.drain()
        found: Ending | None = family.look(kind, number, options & 0xFFFF_FFFF)
        if found is not None:
            signals.drain()  # SIGCHLD comes before anybody can wait for what it tells
        if found is not None or options & P.WNOHANG:
            return found
        if wait(proc, {family.fileno(): _POLLIN}, None) is None:
            raise Interrupted(Restart.UNLESS_TOLD)
