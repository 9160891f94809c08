"""Calls that belong to no larger family: randomness, system information, futexes of a single thread.

Must not know the host: `proc.system` tells.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from emuvm.abi.controls import Clock, Futex, Prctl, Random
from emuvm.abi.errno import Errno
from emuvm.abi.flags_mm import family
from emuvm.abi.structs import Sysinfo, Utsname, pack_sysinfo, pack_utsname
from emuvm.errors import GuestError
from emuvm.kernel.registry import syscall
from emuvm.kernel.signal_restart import Interrupted, Restart
from emuvm.kernel.usermem import MAX_RW_COUNT
from emuvm.mm.types import Anon

if TYPE_CHECKING:
    from emuvm.kernel.process import Process

_STEP = 1 << 20


@syscall("getrandom", "ptr size flags")
def getrandom(proc: Process, to: int, length: int, flags: int) -> int:
    if flags & ~7 or flags & (Random.GRND_RANDOM | Random.GRND_INSECURE) == Random.GRND_RANDOM | Random.GRND_INSECURE:
        raise GuestError(Errno.EINVAL, f"flags {flags:#x}")
    length = min(length, MAX_RW_COUNT)
    proc.mem.access_ok(to, length)
    done = 0
    while done < length:
        step = min(_STEP, length - done)
        try:
            count = proc.mem.write_some(to + done, proc.system.random(step))
        except GuestError:
            if done:
                break
            raise
        done += count
        if count < step:
            break
    return done


@syscall("uname", "ptr")
def uname(proc: Process, to: int) -> int:
    system, node, release, version = proc.system.uname()
    machine = proc.arch.machine
    if proc.personality & Prctl.UNAME26:
        release = _old_release(release)
    if proc.personality & Prctl.PER_MASK == Prctl.PER_LINUX32:
        machine = _COMPAT_MACHINES.get(proc.arch.name, machine)
    proc.mem.write(to, pack_utsname(Utsname(system, node, release, version, machine, proc.system.domain())))
    return 0


_COMPAT_MACHINES = {"x86_64": "i686", "arm64": "armv8l"}


def _old_release(release: str) -> str:
    """The release that programs see which cannot take a version above 2.6 (kernel/sys.c:override_release)."""
    numbers = re.match(r"\d*(?:\.\d*){0,2}", release)
    assert numbers is not None
    patchlevel = int((numbers.group().split(".") + ["0"])[1] or 0)
    return f"2.6.{patchlevel + 60}{release[numbers.end() :]}"


@syscall("getcpu", "ptr ptr ptr", pure=True)
def getcpu(proc: Process, cpu: int, node: int, cache: int) -> int:
    here, memory = proc.system.processor()
    allowed = proc.cpus()
    for address, value in ((cpu, here if here in allowed else min(allowed)), (node, memory)):
        if address:
            proc.mem.write_u32(address, value)
    return 0


@syscall("sysinfo", "ptr")
def sysinfo(proc: Process, to: int) -> int:
    sizes, (loads, threads) = proc.system.memory(), proc.system.load()
    uptime = proc.system.clock(Clock.CLOCK_BOOTTIME)
    total, free, shared, buffers, swap, swap_free = (
        sizes.get(name, 0) for name in ("MemTotal", "MemFree", "Shmem", "Buffers", "SwapTotal", "SwapFree")
    )
    one, five, fifteen = (int(load * 65536) for load in loads)
    seconds = -(-uptime // 1_000_000_000)
    info = Sysinfo(seconds, (one, five, fifteen), total, free, shared, buffers, swap, swap_free, min(threads, 0xFFFF))
    proc.mem.write(to, pack_sysinfo(proc.arch, info))
    return 0


@syscall("futex", "ptr int uint ptr ptr uint", level="partial", note="one thread: nobody waits, and waiting would never end")
def futex(proc: Process, at: int, operation: int, value: int, timeout: int, second: int, third: int) -> int:
    command = operation & Futex.FUTEX_CMD_MASK
    if command in (Futex.FUTEX_WAIT, Futex.FUTEX_WAIT_BITSET):
        return _wait(proc, at, operation, value, timeout, third)
    if command in (Futex.FUTEX_WAKE, Futex.FUTEX_WAKE_BITSET):
        if command == Futex.FUTEX_WAKE_BITSET and not third:
            raise GuestError(Errno.EINVAL, "no bits")
        _key(proc, at, operation)
        return 0
    if command in (Futex.FUTEX_REQUEUE, Futex.FUTEX_CMP_REQUEUE):
        _key(proc, at, operation)
        _key(proc, second, operation)
        if command == Futex.FUTEX_CMP_REQUEUE and proc.mem.read_u32(at) != third:
            raise GuestError(Errno.EAGAIN, "the value has changed")
        return 0
    raise GuestError(Errno.ENOSYS, f"futex operation {operation}")


def _key(proc: Process, at: int, operation: int) -> None:
    """What get_futex_key refuses. A shared futex needs its page: a stack does not grow for it, and anonymous memory has to be writable."""
    if at & 3:
        raise GuestError(Errno.EINVAL, "the futex is misaligned")
    # x86 looks only at where so small an object begins.
    proc.mem.access_ok(at, 0 if family(proc.arch.name) == "x86" else 4)
    if operation & Futex.FUTEX_PRIVATE_FLAG or proc.mem.pinnable(at, 4, 2) == 4:
        return
    vma = proc.space.query(at)
    if vma is None or isinstance(vma.backing, Anon) or proc.mem.pinnable(at, 4, 1) < 4:
        raise GuestError(Errno.EFAULT, f"no futex can be at {at:#x}")


def _wait(proc: Process, at: int, operation: int, value: int, timeout: int, bits: int) -> int:
    from emuvm.kernel.sys.time import read_timespec

    wait = read_timespec(proc, timeout) if timeout else None
    timed = operation & Futex.FUTEX_CMD_MASK == Futex.FUTEX_WAIT_BITSET
    if timed and not bits:
        raise GuestError(Errno.EINVAL, "no bits")
    _key(proc, at, operation)
    if proc.mem.read_u32(at) != value:
        raise GuestError(Errno.EAGAIN, "the value has changed")
    if wait is None:
        if proc.wake is None:
            raise GuestError(Errno.EDEADLK, "the only thread would wait for ever")
        return _sleep(proc, None)
    if timed:
        wait -= proc.system.clock(Clock.CLOCK_REALTIME if operation & Futex.FUTEX_CLOCK_REALTIME else Clock.CLOCK_MONOTONIC)
    return _sleep(proc, proc.system.monotonic_ns() + wait)


def _sleep(proc: Process, until: int | None) -> int:
    """Nobody wakes the only thread: the time ends the wait, or a signal. With a time the call goes on with what is left of it."""
    if until is None:
        from emuvm.kernel.waiting import wait

        while wait(proc, {}, None) is not None:
            continue
        raise Interrupted(Restart.UNLESS_TOLD)
    from emuvm.kernel.sys.time import sleep_until

    if not sleep_until(proc, until):
        raise Interrupted(Restart.REST, lambda: _sleep(proc, until))
    raise GuestError(Errno.ETIMEDOUT, "nobody woke the thread")
