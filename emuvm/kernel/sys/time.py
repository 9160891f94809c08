"""Clocks, sleeping and timers.

Owns: time structures in guest memory and clock numbers. Must not know how time is told: `proc.system` does; nor how timers
work: `kernel.timers`. Sleeping ends early with TimeLimit when the run's time is over. Sources: kernel/time/*.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emuvm.abi.controls import Clock
from emuvm.abi.errno import Errno
from emuvm.abi.flags import rlimit_for
from emuvm.abi.sigframes import SIGEVENT_SIZE, siginfo_timer, unpack_sigevent
from emuvm.abi.signals import NSIG, SIGEV_NONE, SIGEV_SIGNAL, SIGEV_THREAD, SIGEV_THREAD_ID, Code, Signal
from emuvm.abi.structs import pack_itimerval, pack_timespec, timespec_size, unpack_timespec
from emuvm.errors import GuestError
from emuvm.kernel.dispatch import TimeLimit
from emuvm.kernel.registry import syscall
from emuvm.kernel.siginfo import SignalInfo
from emuvm.kernel.signal_restart import Interrupted, Restart

if TYPE_CHECKING:
    from emuvm.kernel.process import Process
    from emuvm.kernel.timers import Timer, Timers

_SECOND = 1_000_000_000
_LONGEST = (1 << 63) - 1
_UNTIMED = (Clock.CLOCK_MONOTONIC_RAW, Clock.CLOCK_REALTIME_COARSE, Clock.CLOCK_MONOTONIC_COARSE)
"""Clocks that nobody can wait for."""


_CPU_CLOCKS, _CLOCKFD = 3, 3
_ALARMS = (8, 9)
"""CLOCK_REALTIME_ALARM and CLOCK_BOOTTIME_ALARM."""


def _clock(proc: Process, clock: int) -> int:
    """The clock that is meant: negative ones tell the CPU time of a process or a thread (kernel/time/posix-cpu-timers.c)."""
    if clock < 0:
        pid, thread, kind = ~(clock >> 3), clock & 4, clock & 3
        if kind >= _CPU_CLOCKS or pid not in (0, proc.tid if thread else proc.pid):
            raise GuestError(Errno.EINVAL, f"clock {clock}")
        return Clock.CLOCK_THREAD_CPUTIME_ID if thread else Clock.CLOCK_PROCESS_CPUTIME_ID
    if not proc.system.has_clock(clock):
        raise GuestError(Errno.EINVAL, f"clock {clock}")
    return clock


def _of_file(clock: int) -> bool:
    """Is it the clock of a device that is open?"""
    return clock < 0 and clock & 7 == _CLOCKFD


def _read_time(proc: Process, at: int) -> tuple[int, int]:
    seconds, fraction = unpack_timespec(proc.arch, proc.mem.read(at, timespec_size(proc.arch)))
    return seconds, fraction


def _ktime(seconds: int, fraction: int) -> int:
    """Nanoseconds, at most what ktime_t holds (timespec64_to_ktime)."""
    return _LONGEST if seconds >= _LONGEST // _SECOND else seconds * _SECOND + fraction


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
    if clock > Clock.CLOCK_REALTIME:
        raise GuestError(Errno.EINVAL, f"clock {clock} cannot be set")
    seconds, fraction = _read_time(proc, to)
    if clock < 0:
        _clock(proc, clock)
    elif seconds < 0 or not 0 <= fraction < _SECOND:
        raise GuestError(Errno.EINVAL, f"{seconds} s and {fraction} ns")
    raise GuestError(Errno.EPERM, "the host's clock is not the program's to set")


@syscall("settimeofday", "ptr ptr")
def settimeofday(proc: Process, value: int, zone: int) -> int:
    if value:
        seconds, fraction = _read_time(proc, value)
        if seconds < 0 or not 0 <= fraction < 1_000_000:
            raise GuestError(Errno.EINVAL, f"{seconds} s and {fraction} us")
    if zone:
        minutes = proc.mem.read_u32(zone)
        if not -900 <= minutes - (minutes >> 31 << 32) <= 900:
            raise GuestError(Errno.EINVAL, f"{minutes} minutes west")
    if not value and not zone:
        return 0
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


def sleep_until(proc: Process, until: int) -> bool:
    """Sleep to a monotonic time in nanoseconds, but not beyond the run's deadline: TimeLimit then. False: a signal is due."""
    if proc.wake is not None:
        from emuvm.kernel.waiting import wait

        return wait(proc, {}, until) is not None
    while (seconds := (until - proc.system.monotonic_ns()) / _SECOND) > 0:
        if proc.deadline is not None and seconds >= (left := proc.deadline - proc.system.monotonic()):
            proc.system.sleep(max(left, 0))
            raise TimeLimit
        proc.system.sleep(min(seconds, 86400.0))
    return True


def read_timespec(proc: Process, at: int) -> int:
    seconds, fraction = _read_time(proc, at)
    if seconds < 0 or not 0 <= fraction < _SECOND:
        raise GuestError(Errno.EINVAL, f"{seconds} s and {fraction} ns")
    return _ktime(seconds, fraction)


def _nap(proc: Process, until: int, remaining: int) -> int:
    """Sleep, and go on sleeping after a signal without handler."""
    if not sleep_until(proc, until):
        left = until - proc.system.monotonic_ns()
        if left > 0:
            if remaining:
                proc.mem.write(remaining, pack_timespec(proc.arch, left // _SECOND, left % _SECOND))
            raise Interrupted(Restart.REST, lambda: _nap(proc, until, remaining))
    return 0


@syscall("nanosleep", "ptr ptr")
def nanosleep(proc: Process, request: int, remaining: int) -> int:
    return _nap(proc, proc.system.monotonic_ns() + read_timespec(proc, request), remaining)


@syscall("clock_nanosleep", "int int ptr ptr")
def clock_nanosleep(proc: Process, clock: int, flags: int, request: int, remaining: int) -> int:
    if _of_file(clock) or clock in (Clock.CLOCK_THREAD_CPUTIME_ID, *_UNTIMED):
        raise GuestError(Errno.EOPNOTSUPP, f"clock {clock}")
    if clock >= 0 and clock not in _ALARMS:
        _clock(proc, clock)
    wait = read_timespec(proc, request)
    if clock in _ALARMS and not proc.system.has_clock(clock):
        raise GuestError(Errno.EOPNOTSUPP, "no clock that wakes the machine")
    given, clock = clock, _clock(proc, clock)
    if given < 0 and clock == Clock.CLOCK_THREAD_CPUTIME_ID:
        raise GuestError(Errno.EINVAL, "a thread that sleeps has no time")
    if not flags & Clock.TIMER_ABSTIME:
        return _nap(proc, proc.system.monotonic_ns() + wait, remaining)
    if not sleep_until(proc, proc.system.monotonic_ns() + wait - proc.system.clock(clock)):
        raise Interrupted(Restart.UNHANDLED)
    return 0


# -- interval timers --------------------------------------------------------------------------------------------------------


def timers_of(proc: Process) -> Timers:
    """The timers of a process, made when the first one is needed."""
    if proc.timers is None:
        from emuvm.kernel.timers import Timers

        proc.listen()
        proc.timers = Timers(proc.kill, proc.system.unseen, lambda: proc.system.cpu_times()[0], proc.bell())
    return proc.timers


def _which(which: int) -> None:
    if which not in (Clock.ITIMER_REAL, Clock.ITIMER_VIRTUAL, Clock.ITIMER_PROF):
        raise GuestError(Errno.EINVAL, f"timer {which}")


def _micro(nanoseconds: int) -> tuple[int, int]:
    """As a timeval; something is never nothing."""
    micro = -(-nanoseconds // 1000) if nanoseconds < 1000 else nanoseconds // 1000
    return micro // 1_000_000, micro % 1_000_000


@syscall("getitimer", "int ptr")
def getitimer(proc: Process, which: int, to: int) -> int:
    _which(which)
    interval = left = 0
    if proc.timers is not None:
        timer = proc.timers.intervals[which]
        interval, left = timer.interval, timer.running_left()
    proc.mem.write(to, pack_itimerval(proc.arch, _micro(interval), _micro(left)))
    return 0


@syscall("setitimer", "int ptr ptr")
def setitimer(proc: Process, which: int, new: int, old: int) -> int:
    size = timespec_size(proc.arch)
    values = [0, 0]
    if new:
        data = proc.mem.read(new, 2 * size)
        for i in (0, 1):
            seconds, micro = unpack_timespec(proc.arch, data[i * size : i * size + size])
            if seconds < 0 or not 0 <= micro < 1_000_000:
                raise GuestError(Errno.EINVAL, f"{seconds} s and {micro} us")
            values[i] = _ktime(seconds, micro * 1000)
    _which(which)
    before = _set_interval(proc, which, *values)
    if old:
        proc.mem.write(old, pack_itimerval(proc.arch, _micro(before[0]), _micro(before[1])))
    return 0


def _set_interval(proc: Process, which: int, interval: int, value: int) -> tuple[int, int]:
    """(interval, time left) of before."""
    if proc.timers is None and not value:
        return 0, 0
    timers = timers_of(proc)
    timer = timers.intervals[which]
    before = timer.interval, timer.running_left()
    if which == Clock.ITIMER_REAL and not value:
        interval = 0
    timer.set(timer.now() + value if value else 0, interval)
    timers.check()
    return before


@syscall("alarm", "uint")
def alarm(proc: Process, seconds: int) -> int:
    _, left = _set_interval(proc, Clock.ITIMER_REAL, 0, seconds * _SECOND)
    whole, rest = left // _SECOND, left % _SECOND
    return whole + 1 if rest and not whole or rest >= _SECOND // 2 else whole


def limit_cpu(proc: Process, soft: int) -> None:
    """RLIMIT_CPU was set: SIGXCPU each second from the soft limit on, which moves along, SIGKILL at the hard one."""
    from emuvm.kernel.sys.proc import limit

    number = rlimit_for(proc.arch.name).RLIMIT_CPU

    def send(timer: Timer) -> bool:
        now, (current, hard) = timer.now() // _SECOND, limit(proc, number)
        if now < hard:
            proc.rlimits[number] = (current + 1, hard)
        proc.kill(SignalInfo(Signal.SIGXCPU if now < hard else Signal.SIGKILL, Code.SI_KERNEL, None, "RLIMIT_CPU"))
        return True

    if soft < _LONGEST // _SECOND:
        timers_of(proc).set_limit(max(soft, 1), send)
    elif proc.timers is not None and proc.timers.limit is not None:
        proc.timers.limit.set(0, 0)


# -- POSIX timers -----------------------------------------------------------------------------------------------------------


@syscall("timer_create", "int ptr ptr", level="partial", note="no clocks of other processes, no alarm clocks")
def timer_create(proc: Process, clock: int, event: int, to: int) -> int:
    given = unpack_sigevent(proc.arch, proc.mem.read(event, SIGEVENT_SIZE)) if event else None
    if clock >= 0 and clock not in _ALARMS:
        _clock(proc, clock)
    if clock in _UNTIMED or _of_file(clock):
        raise GuestError(Errno.EOPNOTSUPP, f"no timers on clock {clock}")
    timers = timers_of(proc)
    number = timers.next_number()
    value, signal, notify, thread = given or (number, Signal.SIGALRM, SIGEV_SIGNAL, 0)
    directed = notify == SIGEV_THREAD_ID
    if directed and thread != proc.tid:
        raise GuestError(Errno.EINVAL, f"thread {thread}")
    if notify not in (SIGEV_SIGNAL, SIGEV_NONE, SIGEV_THREAD, SIGEV_THREAD_ID) or (notify != SIGEV_NONE and not 0 < signal <= NSIG):
        raise GuestError(Errno.EINVAL, f"notification {notify} with signal {signal}")
    proc.mem.write(to, number.to_bytes(4, "big" if proc.arch.big_endian else "little"))
    if clock in _ALARMS and not proc.system.has_clock(clock):
        raise GuestError(Errno.EOPNOTSUPP, "no clock that wakes the machine")
    clock = _clock(proc, clock)

    def send(timer: Timer) -> bool:
        state = proc.signals
        if state.ignored(signal) and not state.mask >> signal - 1 & 1:
            return False
        ticket = PosixTaken(timer, lambda overrun: siginfo_timer(proc.arch, number, overrun, value), timers.check)
        proc.kill(SignalInfo(signal, Code.SI_TIMER, None, "a timer", b"", 0, ticket), thread=directed)
        return True

    from emuvm.kernel.timers import PosixTaken

    timers.add(number, clock, signal, None if notify == SIGEV_NONE else send)
    return 0


def _timer(proc: Process, number: int) -> Timer:
    found = None if proc.timers is None else proc.timers.posix.get(number)
    if found is None:
        raise GuestError(Errno.EINVAL, f"timer {number}")
    return found


def _itimerspec(proc: Process, timer: Timer) -> bytes:
    interval, left = timer.interval, timer.left()
    return pack_itimerval(proc.arch, (interval // _SECOND, interval % _SECOND), (left // _SECOND, left % _SECOND))


@syscall("timer_gettime", "int ptr")
def timer_gettime(proc: Process, number: int, to: int) -> int:
    proc.mem.write(to, _itimerspec(proc, _timer(proc, number)))
    return 0


@syscall("timer_settime", "int int ptr ptr")
def timer_settime(proc: Process, number: int, flags: int, new: int, old: int) -> int:
    if not new:
        raise GuestError(Errno.EINVAL, "no new time")
    size = timespec_size(proc.arch)
    proc.mem.check(new, 2 * size, 1)
    interval, value = read_timespec(proc, new), read_timespec(proc, new + size)
    timer = _timer(proc, number)
    before = _itimerspec(proc, timer)
    expiry = value if flags & Clock.TIMER_ABSTIME or not value else timer.now() + value
    timer.set(expiry, interval)
    if proc.timers is not None:
        proc.timers.check()
    if old:
        proc.mem.write(old, before)
    return 0


@syscall("timer_getoverrun", "int")
def timer_getoverrun(proc: Process, number: int) -> int:
    return min(_timer(proc, number).overrun, (1 << 31) - 1)


@syscall("timer_delete", "int")
def timer_delete(proc: Process, number: int) -> int:
    _timer(proc, number).set(0, 0)
    if proc.timers is not None:
        del proc.timers.posix[number]
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
