"""Scheduling: policies are remembered, and change nothing: there is one thread, and the host runs it.

Must not know how the host schedules. Source: kernel/sched/syscalls.c, kernel/futex/syscalls.c.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from emuvm.abi.caps import Cap
from emuvm.abi.errno import Errno
from emuvm.abi.flags import Rlimit
from emuvm.abi.structs import pack_timespec
from emuvm.errors import GuestError
from emuvm.kernel.registry import syscall
from emuvm.kernel.sys.proc import limit

if TYPE_CHECKING:
    from emuvm.kernel.process import Process

_FIFO, _RR, _BATCH, _IDLE, _DEADLINE, _EXT = 1, 2, 3, 5, 6, 7
_FAIR = (0, _BATCH, _IDLE)
_PRIORITIES = {0: (0, 0), _FIFO: (1, 99), _RR: (1, 99), _BATCH: (0, 0), _IDLE: (0, 0), _DEADLINE: (0, 0), _EXT: (0, 0)}
"""The lowest and the highest of each policy."""
_RESET_ON_FORK = 0x4000_0000
_KEEP, _LEVEL, _FLAG = "sched_policy", "sched_priority", "sched_reset_on_fork"
"""Where they are remembered in Process.controls."""
_SLICE = 700_000
"""sysctl_sched_base_slice in nanoseconds on one CPU; it grows with their number's logarithm, up to eight."""
_ATTR, _ATTR_FIRST = 56, 48
"""Bytes of struct sched_attr, now and at first."""
_TURN = 100_000_000
"""sysctl_sched_rr_timeslice in nanoseconds."""
_KEEP_POLICY, _KEEP_PARAMS, _CLAMPS, _ALL_FLAGS = 8, 16, 0x60, 0x7F


def _self(proc: Process, pid: int) -> None:
    """EINVAL, ESRCH unless it is this process."""
    if pid < 0:
        raise GuestError(Errno.EINVAL, f"process {pid}")
    if pid not in (0, proc.pid, proc.tid):
        raise GuestError(Errno.ESRCH, f"process {pid}")


def _policy(proc: Process) -> int:
    return proc.controls.get(_KEEP, 0)


def _level(proc: Process) -> int:
    return proc.controls.get(_LEVEL, 0)


def _priority(policy: int) -> tuple[int, int]:
    if policy not in _PRIORITIES:
        raise GuestError(Errno.EINVAL, f"policy {policy}")
    return _PRIORITIES[policy]


@syscall("sched_get_priority_max", "int")
def sched_get_priority_max(proc: Process, policy: int) -> int:
    return _priority(policy)[1]


@syscall("sched_get_priority_min", "int")
def sched_get_priority_min(proc: Process, policy: int) -> int:
    return _priority(policy)[0]


@syscall("sched_getscheduler", "int")
def sched_getscheduler(proc: Process, pid: int) -> int:
    _self(proc, pid)
    return _policy(proc) | proc.controls.get(_FLAG, 0)


@syscall("sched_getparam", "int ptr")
def sched_getparam(proc: Process, pid: int, to: int) -> int:
    if not to:
        raise GuestError(Errno.EINVAL, "no place for it")
    _self(proc, pid)
    proc.mem.write_u32(to, _level(proc))
    return 0


@syscall("sched_setscheduler", "int int ptr", level="partial", note="only remembered")
def sched_setscheduler(proc: Process, pid: int, policy: int, at: int) -> int:
    if policy < 0:
        raise GuestError(Errno.EINVAL, f"policy {policy}")
    return _set(proc, pid, policy, at)


@syscall("sched_setparam", "int ptr", level="partial", note="only remembered")
def sched_setparam(proc: Process, pid: int, at: int) -> int:
    return _set(proc, pid, None, at)


def _set(proc: Process, pid: int, policy: int | None, at: int) -> int:
    if not at or pid < 0:
        raise GuestError(Errno.EINVAL, f"process {pid}, parameters at {at:#x}")
    priority = proc.mem.read_u32(at)
    _self(proc, pid)
    _change(proc, policy, priority, bool(policy is not None and policy & _RESET_ON_FORK))
    return 0


def _change(proc: Process, policy: int | None, priority: int, reset: bool) -> None:
    """Another policy, None: the same, with this priority (__sched_setscheduler)."""
    before, kept = _policy(proc), bool(proc.controls.get(_FLAG, 0))
    if policy is None:
        policy, reset = before, kept
    policy &= ~_RESET_ON_FORK
    low, high = _priority(policy)
    if policy in (_DEADLINE, _EXT) or not low <= priority <= high:
        raise GuestError(Errno.EINVAL, f"priority {priority} of policy {policy}")
    if not proc.system.credentials.capable(Cap.CAP_SYS_NICE):
        most = limit(proc, Rlimit.RLIMIT_RTPRIO)[0]
        if policy not in _FAIR and ((policy != before and not most) or priority > max(_level(proc), most)):
            raise GuestError(Errno.EPERM, f"priority {priority}, where {most} is the limit")
        if before == _IDLE and policy != _IDLE:
            raise GuestError(Errno.EPERM, "out of idleness")
        if kept and not reset:
            raise GuestError(Errno.EPERM, "a privilege that was given away")
    proc.controls[_KEEP], proc.controls[_LEVEL] = policy, priority
    proc.controls[_FLAG] = _RESET_ON_FORK if reset else 0


@syscall("sched_setattr", "int ptr uint", level="partial", note="only remembered; no deadlines, no clamps, and nice stays as it is")
def sched_setattr(proc: Process, pid: int, at: int, flags: int) -> int:
    if not at or pid < 0 or flags:
        raise GuestError(Errno.EINVAL, f"process {pid}, flags {flags:#x}")
    order = ">" if proc.arch.big_endian else "<"
    size = proc.mem.read_u32(at) or _ATTR_FIRST
    if not _ATTR_FIRST <= size <= proc.space.page_size or any(proc.mem.read(at, size)[_ATTR:]):
        proc.mem.write_u32(at, _ATTR)
        raise GuestError(Errno.E2BIG, f"{size} bytes")
    data = proc.mem.read(at, size)[:_ATTR].ljust(_ATTR, b"\0")
    policy, wanted, nice, priority = struct.unpack_from(order + "iQiI", data, 4)
    if (wanted & _CLAMPS and size < _ATTR) or policy < 0:
        raise GuestError(Errno.EINVAL, f"policy {policy}, flags {wanted:#x}, {size} bytes")
    _self(proc, pid)
    if wanted & _KEEP_PARAMS:
        nice, priority = proc.system.nice(), _level(proc) or priority
    if wanted & ~_ALL_FLAGS:
        raise GuestError(Errno.EINVAL, f"flags {wanted:#x}")
    if wanted & _KEEP_POLICY:
        _change(proc, None, priority, reset=False)
        return 0
    if policy == _DEADLINE:
        raise GuestError(Errno.EPERM, "the host's scheduling is not the program's to set")
    if policy in _FAIR and max(-20, min(19, nice)) != proc.system.nice():
        raise GuestError(Errno.EPERM, "the host's scheduling is not the program's to set")
    _change(proc, policy, priority, bool(wanted & 1))
    return 0


@syscall("sched_rr_get_interval", "int ptr")
def sched_rr_get_interval(proc: Process, pid: int, to: int) -> int:
    _self(proc, pid)
    proc.mem.write(to, pack_timespec(proc.arch, 0, _TURN if _policy(proc) == _RR else 0))
    return 0


@syscall("sched_getattr", "int ptr uint uint")
def sched_getattr(proc: Process, pid: int, to: int, size: int, flags: int) -> int:
    if not to or pid < 0 or not _ATTR_FIRST <= size <= proc.space.page_size or flags:
        raise GuestError(Errno.EINVAL, f"process {pid}, {size} bytes, flags {flags:#x}")
    _self(proc, pid)
    slice_ns = _SLICE * min(len(proc.system.cpus()), 8).bit_length()
    kept = int(bool(proc.controls.get(_FLAG, 0)))
    order = ">" if proc.arch.big_endian else "<"
    fair = _policy(proc) in _FAIR
    nice, runtime = (proc.system.nice(), slice_ns) if fair else (0, 0)
    data = struct.pack(order + "IIQiIQQQII", min(size, _ATTR), _policy(proc), kept, nice, _level(proc), runtime, 0, 0, 0, 0)
    proc.mem.write(to, data[:size].ljust(size, b"\0"))
    return 0


@syscall("get_robust_list", "int ptr ptr")
def get_robust_list(proc: Process, pid: int, head: int, length: int) -> int:
    if pid and pid != proc.tid:
        raise GuestError(Errno.ESRCH, f"thread {pid}")
    size = 24 if proc.arch.bits == 64 else 12
    proc.mem.write_word(length, size)
    proc.mem.write_word(head, proc.robust_list)
    return 0
