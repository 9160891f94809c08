"""Clocks, sleeping and interval timers.

Owns: time structures in guest memory and clock numbers. Must not know how time is told: `proc.system` does. Sleeping ends
early with TimeLimit when the run's time is over. Sources: kernel/time/*.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emuvm.abi.controls import Clock
from emuvm.abi.errno import Errno
from emuvm.abi.structs import pack_itimerval, pack_timespec, timespec_size, unpack_timespec
from emuvm.errors import GuestError
from emuvm.kernel.dispatch import TimeLimit
from emuvm.kernel.registry import syscall

if TYPE_CHECKING:
    from emuvm.kernel.process import Process

_SECOND = 1_000_000_000
_LONGEST = 1 << 62
_NO_HANDLERS = "reading and disarming; arming is accepted, but the signal does not come"


def _clock(proc: Process, clock: int) -> int:
    if not proc.system.has_clock(clock):
        raise GuestError(Errno.EINVAL, f"clock {clock}")
    return clock


@syscall("clock_gettime", "int ptr", pure=True)
def clock_gettime(proc: Process, clock: int, to: int) -> int:
    now = proc.system.clock(_clock(proc, clock))
    proc.mem.write(to, pack_timespec(proc.arch, now // _SECOND, now % _SECOND))
    return 0


@syscall("clock_getres", "int ptr", pure=True)
def clock_getres(proc: Process, clock: int, to: int) -> int:
    step = proc.system.resolution(_clock(proc, clock))
    if to:
        proc.mem.write(to, pack_timespec(proc.arch, step // _SECOND, step % _SECOND))
    return 0


@syscall("clock_settime", "int ptr")
def clock_settime(proc: Process, clock: int, to: int) -> int:
    _clock(proc, clock)
    raise GuestError(Errno.EPERM, "the host's clock is not the program's to set")


@syscall("settimeofday", "ptr ptr")
def settimeofday(proc: Process, value: int, zone: int) -> int:
    raise GuestError(Errno.EPERM, "the host's clock is not the program's to set")


@syscall("gettimeofday", "ptr ptr", pure=True)
def gettimeofday(proc: Process, to: int, zone: int) -> int:
    now = proc.system.clock(Clock.CLOCK_REALTIME)
    if to:
        proc.mem.write(to, pack_timespec(proc.arch, now // _SECOND, now % _SECOND // 1000))
    if zone:
        proc.mem.write(zone, bytes(8))
    return 0


@syscall("time", "ptr", pure=True)
def time(proc: Process, to: int) -> int:
    now = proc.system.clock(Clock.CLOCK_REALTIME) // _SECOND
    if to:
        proc.mem.write_word(to, now)
    return now


def sleep(proc: Process, nanoseconds: int) -> None:
    """Sleep, but not beyond the run's deadline: TimeLimit then."""
    seconds = nanoseconds / _SECOND
    if proc.deadline is not None:
        left = proc.deadline - proc.system.monotonic()
        if seconds >= left:
            proc.system.sleep(max(left, 0))
            raise TimeLimit
    while seconds > 0:
        step = min(seconds, 86400.0)
        proc.system.sleep(step)
        seconds -= step


def read_timespec(proc: Process, at: int) -> int:
    seconds, fraction = unpack_timespec(proc.arch, proc.mem.read(at, timespec_size(proc.arch)))
    if seconds < 0 or not 0 <= fraction < _SECOND:
        raise GuestError(Errno.EINVAL, f"{seconds} s and {fraction} ns")
    return min(seconds * _SECOND + fraction, _LONGEST)


@syscall("nanosleep", "ptr ptr")
def nanosleep(proc: Process, request: int, remaining: int) -> int:
    sleep(proc, read_timespec(proc, request))
    return 0


@syscall("clock_nanosleep", "int int ptr ptr")
def clock_nanosleep(proc: Process, clock: int, flags: int, request: int, remaining: int) -> int:
    _clock(proc, clock)
    if clock in (Clock.CLOCK_THREAD_CPUTIME_ID, Clock.CLOCK_MONOTONIC_RAW, Clock.CLOCK_REALTIME_COARSE, Clock.CLOCK_MONOTONIC_COARSE):
        raise GuestError(Errno.EINVAL if clock == Clock.CLOCK_THREAD_CPUTIME_ID else Errno.EOPNOTSUPP, f"clock {clock}")
    wait = read_timespec(proc, request)
    if flags & Clock.TIMER_ABSTIME:
        wait -= proc.system.clock(clock)
    sleep(proc, wait)
    return 0


@syscall("getitimer", "int ptr", level="partial", note=_NO_HANDLERS)
def getitimer(proc: Process, which: int, to: int) -> int:
    _which(which)
    proc.mem.write(to, pack_itimerval(proc.arch, (0, 0), (0, 0)))
    return 0


@syscall("setitimer", "int ptr ptr", level="partial", note=_NO_HANDLERS)
def setitimer(proc: Process, which: int, new: int, old: int) -> int:
    _which(which)
    size = timespec_size(proc.arch)
    if new:
        for at in (new, new + size):
            seconds, micro = unpack_timespec(proc.arch, proc.mem.read(at, size))
            if seconds < 0 or not 0 <= micro < 1_000_000:
                raise GuestError(Errno.EINVAL, f"{seconds} s and {micro} us")
        if any(unpack_timespec(proc.arch, proc.mem.read(new + size, size))):
            proc.reporter.once("timer", "interval timers do not send signals in this version")
    if old:
        proc.mem.write(old, pack_itimerval(proc.arch, (0, 0), (0, 0)))
    return 0


def _which(which: int) -> None:
    if which not in (Clock.ITIMER_REAL, Clock.ITIMER_VIRTUAL, Clock.ITIMER_PROF):
        raise GuestError(Errno.EINVAL, f"timer {which}")


@syscall("alarm", "uint", level="partial", note=_NO_HANDLERS)
def alarm(proc: Process, seconds: int) -> int:
    if seconds:
        proc.reporter.once("timer", "interval timers do not send signals in this version")
    return 0


@syscall("times", "ptr")
def times(proc: Process, to: int) -> int:
    from emuvm.abi.auxv import CLOCK_TICKS
    from emuvm.abi.structs import pack_tms

    tick = _SECOND // CLOCK_TICKS
    if to:
        user, system = proc.system.cpu_times()
        proc.mem.write(to, pack_tms(proc.arch, user // tick, system // tick, 0, 0))
    return proc.system.clock(Clock.CLOCK_BOOTTIME) // tick
