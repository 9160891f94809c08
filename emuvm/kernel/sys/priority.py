"""Priorities and CPUs: remembered and told; the host runs emuvm as it does.

Owns: nice values, priorities of input and output, affinity. Must not know policies (`kernel.sys.sched`). Sources: kernel/sys.c,
kernel/sched/syscalls.c, block/ioprio.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emuvm.abi.caps import Cap
from emuvm.abi.controls import Process as P
from emuvm.abi.errno import Errno
from emuvm.abi.structs import pack_words
from emuvm.errors import GuestError
from emuvm.kernel import rseq
from emuvm.kernel.registry import syscall
from emuvm.kernel.sys.proc import limit

if TYPE_CHECKING:
    from emuvm.kernel.process import Process

_RLIMIT_NICE = 13
_REMEMBERED = "it is remembered, and told again; the host does as it does"


def may_be_nice(proc: Process, value: int) -> bool:
    """Has the process the right to so low a nice value?"""
    return bool(20 - value <= limit(proc, _RLIMIT_NICE)[0] or proc.system.credentials.capable(Cap.CAP_SYS_NICE))


@syscall("getpriority", "int int")
def getpriority(proc: Process, which: int, who: int) -> int:
    if which not in (P.PRIO_PROCESS, P.PRIO_PGRP, P.PRIO_USER):
        raise GuestError(Errno.EINVAL, f"which {which}")
    if _ours(proc, which, who):
        return 20 - proc.nice
    try:
        return 20 - proc.system.nice(which, who)
    except (OSError, OverflowError) as error:
        raise GuestError(Errno.ESRCH, f"who {who}") from error


def _ours(proc: Process, which: int, who: int) -> bool:
    """Is it the process itself that is meant, or its group?"""
    if which == P.PRIO_PROCESS:
        return who in (0, proc.pid, proc.tid)
    return which == P.PRIO_PGRP and who in (0, proc.pgid)


@syscall("setpriority", "int int int", level="partial", note="of the process itself: " + _REMEMBERED)
def setpriority(proc: Process, which: int, who: int, value: int) -> int:
    before = 20 - getpriority(proc, which, who)
    value = max(-20, min(19, value))
    if not _ours(proc, which, who) and not (which == P.PRIO_USER and who in (0, proc.system.uid)):
        if value != before:
            raise GuestError(Errno.EPERM, "another process")
        return 0
    if value < proc.nice and not may_be_nice(proc, value):
        raise GuestError(Errno.EACCES, f"nice value {value}")
    proc.controls["nice"] = value
    return 0


@syscall("nice", "int", level="partial", note=_REMEMBERED)
def nice(proc: Process, change: int) -> int:
    value = max(-20, min(19, proc.nice + max(-40, min(40, change))))
    if change < 0 and not may_be_nice(proc, value):
        raise GuestError(Errno.EPERM, f"nice value {value}")
    proc.controls["nice"] = value
    return 0


# -- input and output -------------------------------------------------------------------------------------------------------

_PROCESS, _GROUP, _USER = 1, 2, 3
_NONE, _REALTIME, _BEST, _IDLE = range(4)
_CLASS, _LEVELS = 13, 8


def _io_ours(proc: Process, which: int, who: int) -> None:
    if which not in (_PROCESS, _GROUP, _USER):
        raise GuestError(Errno.EINVAL, f"which {which}")
    mine = {_PROCESS: (0, proc.pid, proc.tid), _GROUP: (0, proc.pgid), _USER: (0, proc.system.uid)}
    if who not in mine[which]:
        known = which != _USER and who > 0 and proc.system.process_exists(who)
        raise GuestError(Errno.EPERM if known else Errno.ESRCH, f"who {who}")


@syscall("ioprio_get", "int int", level="partial", note="of the process itself: " + _REMEMBERED)
def ioprio_get(proc: Process, which: int, who: int) -> int:
    _io_ours(proc, which, who)
    value = proc.controls.get("ioprio", 0)
    if which != _PROCESS and value >> _CLASS == _NONE:
        return _BEST << _CLASS | (proc.nice + 20) // 5
    return value


@syscall("ioprio_set", "int int int", level="partial", note="of the process itself: " + _REMEMBERED)
def ioprio_set(proc: Process, which: int, who: int, value: int) -> int:
    kind, level, creds = value >> _CLASS & 7, value & _LEVELS - 1, proc.system.credentials
    if kind == _REALTIME and not (creds.capable(Cap.CAP_SYS_ADMIN) or creds.capable(Cap.CAP_SYS_NICE)):
        raise GuestError(Errno.EPERM, "real time is not for everybody")
    if kind > _IDLE or (kind == _NONE and level):
        raise GuestError(Errno.EINVAL, f"class {kind}, level {level}")
    _io_ours(proc, which, who)
    proc.controls["ioprio"] = value & 0xFFFF
    return 0


# -- CPUs -------------------------------------------------------------------------------------------------------------------


def _of(proc: Process, pid: int) -> set[int]:
    if pid in (0, proc.pid, proc.tid):
        return proc.cpus
    try:
        found: set[int] = proc.system.cpus(max(pid, -1))
    except OSError as error:
        raise GuestError(Errno.ESRCH, f"process {pid}") from error
    return found


@syscall("sched_getaffinity", "int uint ptr")
def sched_getaffinity(proc: Process, pid: int, length: int, to: int) -> int:
    word = proc.arch.bits // 8
    least = (max(proc.system.cpus()) // proc.arch.bits + 1) * word
    if length < least or length % word:
        raise GuestError(Errno.EINVAL, f"{length} bytes")
    size = min(length, max(least, proc.system.cpu_mask_size()))
    mask = sum(1 << cpu for cpu in _of(proc, pid))
    words = [mask >> proc.arch.bits * n & (1 << proc.arch.bits) - 1 for n in range(size // word)]
    proc.mem.write(to, pack_words(proc.arch, words))
    return size


@syscall("sched_setaffinity", "int uint ptr", level="partial", note="of the process itself: " + _REMEMBERED)
def sched_setaffinity(proc: Process, pid: int, length: int, at: int) -> int:
    wanted = _mask(proc, proc.mem.read(at, min(length, 128)))
    _of(proc, pid)
    if pid not in (0, proc.pid, proc.tid):
        raise GuestError(Errno.EPERM, f"process {pid}")
    chosen = sum(1 << cpu for cpu in proc.system.cpuset() if wanted >> cpu & 1)
    if not chosen:
        raise GuestError(Errno.EINVAL, "none of the CPUs may be used")
    proc.controls["affinity"] = chosen
    rseq.tell_cpu(proc)
    return 0


def _mask(proc: Process, data: bytes) -> int:
    """An array of words, the lowest CPUs first."""
    word, order = proc.arch.bits // 8, "big" if proc.arch.big_endian else "little"
    words = [int.from_bytes(data[n : n + word], order) for n in range(0, len(data), word)]  # type: ignore[arg-type]
    return sum(value << 8 * word * place for place, value in enumerate(words))


@syscall("getcpu", "ptr ptr ptr", pure=True)
def getcpu(proc: Process, cpu: int, node: int, cache: int) -> int:
    """The CPU that emuvm is on, if the process may be on it."""
    for address, value in zip((cpu, node), (rseq.cpu(proc), proc.system.processor()[1]), strict=True):
        if address:
            proc.mem.write_u32(address, value)
    return 0
