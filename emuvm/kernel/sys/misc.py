"""Calls that belong to no larger family: randomness, system information.

Must not know the host: `proc.system` tells.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from emuvm.abi.controls import Clock, Prctl, Random
from emuvm.abi.errno import Errno
from emuvm.abi.structs import Sysinfo, Utsname, pack_sysinfo, pack_utsname
from emuvm.errors import GuestError
from emuvm.kernel.registry import syscall
from emuvm.kernel.usermem import MAX_RW_COUNT

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
