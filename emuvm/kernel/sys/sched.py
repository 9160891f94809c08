"""Scheduling: policies are remembered, and change nothing: there is one thread, and the host runs it.

Must not know how the host schedules. Source: kernel/sched/syscalls.c, kernel/futex/syscalls.c.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from emuvm.abi.caps import Cap
from emuvm.abi.errno import Errno
from emuvm.abi.structs import pack_timespec
from emuvm.errors import GuestError
from emuvm.kernel.registry import syscall
from emuvm.kernel.sys.priority import may_be_nice
from emuvm.kernel.sys.proc import limit

if TYPE_CHECKING:
    from emuvm.kernel.process import Process

_FIFO, _RR, _BATCH, _IDLE, _DEADLINE, _EXT = 1, 2, 3, 5, 6, 7
_FAIR = (0, _BATCH, _IDLE)
_PRIORITIES = {0: (0, 0), _FIFO: (1, 99), _RR: (1, 99), _BATCH: (0, 0), _IDLE: (0, 0), _DEADLINE: (0, 0), _EXT: (0, 0)}
"""The lowest and the highest of each policy."""
_RESET_ON_FORK = 0x4000_0000
_KEEP, _FLAG, _LEVEL, _RUN = "sched_policy", "sched_reset_on_fork", "sched_priority", "sched_slice"
"""Where they are remembered in Process.controls."""
_SLICE = 700_000
"""sysctl_sched_base_slice in nanoseconds on one CPU; it grows with their number's logarithm, up to eight."""
_ROUND = 100_000_000
"""Nanoseconds that a thread of SCHED_RR has at a time."""
_KEEP_POLICY, _KEEP_PARAMS, _FLAGS = 8, 16, 0x1F
_RLIMIT_RTPRIO = 14
_REMEMBERED = "it is remembered, and told again; the host does as it does. SCHED_DEADLINE gets EINVAL"
_ATTR, _ATTR_FIRST = 56, 48
"""Bytes of struct sched_attr, now and at first."""


def _self(proc: Process, pid: int) -> None:
    """EINVAL, ESRCH unless it is this process."""
    if pid < 0:
        raise GuestError(Errno.EINVAL, f"process {pid}")
    if pid not in (0, proc.pid, proc.tid):
        raise GuestError(Errno.ESRCH, f"process {pid}")


def _policy(proc: Process) -> int:
    return proc.controls.get(_KEEP, 0)


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
    proc.mem.write_u32(to, proc.controls.get(_LEVEL, 0))
    return 0


@syscall("sched_setscheduler", "int int ptr", level="partial", note=_REMEMBERED)
def sched_setscheduler(proc: Process, pid: int, policy: int, at: int) -> int:
    if policy < 0:
        raise GuestError(Errno.EINVAL, f"policy {policy}")
    return _set(proc, pid, policy, at)


@syscall("sched_setparam", "int ptr", level="partial", note=_REMEMBERED)
def sched_setparam(proc: Process, pid: int, at: int) -> int:
    return _set(proc, pid, None, at)


def _set(proc: Process, pid: int, policy: int | None, at: int) -> int:
    if not at or pid < 0:
        raise GuestError(Errno.EINVAL, f"process {pid}, parameters at {at:#x}")
    priority = proc.mem.read_u32(at)
    _self(proc, pid)
    before = _policy(proc)
    if policy is None:
        wanted, flag = before, proc.controls.get(_FLAG, 0)
    else:
        wanted, flag = policy & ~_RESET_ON_FORK, policy & _RESET_ON_FORK
    _change(proc, wanted, flag, priority, proc.nice)
    return 0


def _change(proc: Process, wanted: int, flag: int, priority: int, nice: int) -> None:
    """What __sched_setscheduler refuses; then the policy is remembered."""
    low, high = _priority(wanted)
    if wanted in (_DEADLINE, _EXT) or not low <= priority <= high:
        raise GuestError(Errno.EINVAL, f"priority {priority} of policy {wanted}")
    before = _policy(proc)
    if not proc.system.credentials.capable(Cap.CAP_SYS_NICE):
        most = limit(proc, _RLIMIT_RTPRIO)[0]
        now = proc.controls.get(_LEVEL, 0)
        if wanted in _FAIR:
            refused = nice < proc.nice and not may_be_nice(proc, nice)
        else:
            refused = (wanted != before and not most) or (priority > now and priority > most)
        if refused or (before == _IDLE and wanted != _IDLE and not may_be_nice(proc, proc.nice)):
            raise GuestError(Errno.EPERM, f"policy {wanted}, priority {priority}")
        if proc.controls.get(_FLAG, 0) and not flag:
            raise GuestError(Errno.EPERM, "a privilege that was given away")
    proc.controls[_KEEP], proc.controls[_FLAG], proc.controls[_LEVEL] = wanted, flag, priority


@syscall("sched_setattr", "int ptr uint", level="partial", note=_REMEMBERED)
def sched_setattr(proc: Process, pid: int, at: int, flags: int) -> int:
    if not at or pid < 0 or flags:
        raise GuestError(Errno.EINVAL, f"process {pid}, flags {flags:#x}")
    order = ">" if proc.arch.big_endian else "<"
    data = _read_attr(proc, at)
    _, policy, bits, nice, priority, runtime = struct.unpack_from(order + "IIQiIQ", data)
    nice = max(-20, min(19, nice))
    if policy >> 31:
        raise GuestError(Errno.EINVAL, f"policy {policy}")
    _self(proc, pid)
    if bits & _KEEP_POLICY:
        policy, bits = _policy(proc), bits & ~1 | bool(proc.controls.get(_FLAG, 0))
    if bits & _KEEP_PARAMS:
        nice, priority, runtime = proc.nice, proc.controls.get(_LEVEL, 0) or priority, proc.controls.get(_RUN, 0)
    _priority(policy)
    if bits & ~_FLAGS:
        raise GuestError(Errno.EINVAL, f"flags {bits:#x}")
    before = _policy(proc)
    _change(proc, policy, _RESET_ON_FORK if bits & 1 else 0, priority, nice)
    if bits & _KEEP_PARAMS:
        proc.controls[_KEEP] = before  # the policy is one of them
    elif policy in _FAIR:
        proc.controls["nice"] = nice
        proc.controls[_RUN] = min(max(runtime, 100_000), 100_000_000) if runtime else 0
    return 0


def _read_attr(proc: Process, at: int) -> bytes:
    """struct sched_attr of the size it tells, as long as this kernel's; E2BIG, after telling that (sched_copy_attr)."""
    size: int = proc.mem.read_u32(at) or _ATTR_FIRST
    if _ATTR_FIRST <= size <= proc.space.page_size:
        data: bytes = proc.mem.read(at, size)
        if not any(data[_ATTR:]):
            return data[:_ATTR].ljust(_ATTR, b"\0")
    proc.mem.write_u32(at, _ATTR)
    raise GuestError(Errno.E2BIG, f"{size} bytes")


@syscall("sched_rr_get_interval", "int ptr")
def sched_rr_get_interval(proc: Process, pid: int, to: int) -> int:
    _self(proc, pid)
    proc.mem.write(to, pack_timespec(proc.arch, 0, _ROUND if _policy(proc) == _RR else 0))
    return 0


@syscall("sched_getattr", "int ptr uint uint")
def sched_getattr(proc: Process, pid: int, to: int, size: int, flags: int) -> int:
    if not to or pid < 0 or not _ATTR_FIRST <= size <= proc.space.page_size or flags:
        raise GuestError(Errno.EINVAL, f"process {pid}, {size} bytes, flags {flags:#x}")
    _self(proc, pid)
    policy, priority = _policy(proc), proc.controls.get(_LEVEL, 0)
    slice_ns = proc.controls.get(_RUN, 0) or _SLICE * min(proc.system.online(), 8).bit_length()
    kept = int(bool(proc.controls.get(_FLAG, 0)))
    order = ">" if proc.arch.big_endian else "<"
    data = struct.pack(
        order + "IIQiIQQQII", min(size, _ATTR), policy, kept, 0 if priority else proc.nice, priority, 0 if priority else slice_ns,
        0, 0, 0, 0,
    )
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
