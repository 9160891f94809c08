"""Timers that send signals: alarm, the three interval timers, POSIX timers.

Owns: when each expires, rearming, overruns. Must not know how a signal is taken, nor threads: `bell` is told when to ring, and
whoever hears it calls `check`. Times are nanoseconds of the timer's own clock. Sources: kernel/time/{itimer,posix-timers}.c.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from emuvm.abi.controls import Clock
from emuvm.abi.signals import Code, Signal
from emuvm.kernel.siginfo import SignalInfo

_SECOND = 1_000_000_000
_TICK = 1_000_000
"""How exactly a CPU clock is watched: it does not ring, one has to look."""
_NEVER = 1e9
_CPU_CLOCKS = (Clock.CLOCK_PROCESS_CPUTIME_ID, Clock.CLOCK_THREAD_CPUTIME_ID)


class Bell(Protocol):
    """Rings once, at a time of the monotonic clock in seconds; setting it again replaces the time."""

    def set(self, at: float) -> None: ...

    def close(self) -> None: ...


Send = Callable[["Timer"], bool]


class Timer:
    """One timer. `expiry` 0: it does not run. `now` reads its clock; `send` sends its signal, False if nobody wants it."""

    def __init__(self, now: Callable[[], int], send: Send | None, *, cpu: bool, rests: bool, signal: int = 0) -> None:
        self.now = now
        self.send = send
        """None: it sends no signal, and is only read."""
        self.cpu = cpu
        self.rests = rests
        """Between the expiry and the moment its signal is taken it does not run; the others go on at once."""
        self.expiry = 0
        self.interval = 0
        self.resting = False
        self.signal = signal
        self.unwanted = False
        """It rests because its signal was ignored: it goes on when the signal is not any more."""
        self.overrun = 0
        """Of the last signal taken: how many expiries it stands for beside its own."""
        self.setting = 0
        """Counts the calls of `set`: signals of an earlier setting are stale."""

    def set(self, expiry: int, interval: int) -> None:
        """Start, or stop with 0."""
        self.expiry, self.interval = expiry, interval
        self.resting = self.unwanted = False
        self.overrun = 0
        self.setting += 1

    def left(self) -> int:
        """Until the next expiry: at least 1 while the timer runs, 0 otherwise."""
        if not self.expiry:
            return 0
        now, expiry = self.now(), self.expiry
        if expiry <= now and (self.resting or self.send is None):
            if not self.interval:
                return 0
            expiry += ((now - expiry) // self.interval + 1) * self.interval
        return max(1, expiry - now)

    def running_left(self) -> int:
        """As `left`, but 0 while the timer rests (getitimer)."""
        return 0 if self.resting else self.left()

    def fire(self) -> None:
        """The time has come."""
        assert self.send is not None
        if self.rests and self.interval:
            self.resting = True
            self.unwanted = not self.send(self)
        else:
            self.expiry = self.expiry + self.interval if self.interval else 0
            self.send(self)

    def taken(self) -> int:
        """Its signal is taken, and the timer runs again; the overruns of this signal."""
        self.overrun = 0
        if self.resting:
            self.overrun = max(0, self.now() - self.expiry) // self.interval
            self.resting = self.unwanted = False
            self.expiry += (self.overrun + 1) * self.interval
        return self.overrun


class Timers:
    """All timers of a process. `clock(number)` reads a clock, `user()` the user part of the CPU time."""

    def __init__(self, send: Callable[[SignalInfo], None], clock: Callable[[int], int], user: Callable[[], int], bell: Bell) -> None:
        self._send = send
        self._clock = clock
        self._bell = bell
        self.intervals = {
            Clock.ITIMER_REAL: self._interval(Signal.SIGALRM, lambda: clock(Clock.CLOCK_MONOTONIC), cpu=False),
            Clock.ITIMER_VIRTUAL: self._interval(Signal.SIGVTALRM, user, cpu=True),
            Clock.ITIMER_PROF: self._interval(Signal.SIGPROF, lambda: clock(Clock.CLOCK_PROCESS_CPUTIME_ID), cpu=True),
        }
        self.limit: Timer | None = None
        """RLIMIT_CPU, from the first time that the program sets it."""
        self.posix: dict[int, Timer] = {}
        self.others: list[Timer] = []
        """That of the limit, and those of timerfds."""
        self._number = 0

    def _interval(self, signal: int, now: Callable[[], int], *, cpu: bool) -> Timer:
        def send(timer: Timer) -> bool:
            self._send(SignalInfo(signal, Code.SI_KERNEL, None, "an interval timer"))
            return True

        return Timer(now, send, cpu=cpu, rests=not cpu)

    def alarm_taken(self) -> None:
        """SIGALRM is being taken, whoever sent it: ITIMER_REAL goes on."""
        self.intervals[Clock.ITIMER_REAL].taken()
        self.check()

    def set_limit(self, seconds: int, send: Send) -> None:
        """Call `send` after so many seconds of CPU time, and then after each further one."""
        if self.limit is None:
            self.limit = Timer(lambda: self._clock(Clock.CLOCK_PROCESS_CPUTIME_ID), send, cpu=True, rests=False)
            self.others.append(self.limit)
        self.limit.set(seconds * _SECOND, _SECOND)
        self.check()

    def next_number(self) -> int:
        """A number for a POSIX timer; none is given out twice."""
        self._number += 1
        return self._number - 1

    def add(self, number: int, clock: int, signal: int, send: Send | None) -> None:
        """A new POSIX timer."""
        self.posix[number] = Timer(lambda: self._clock(clock), send, cpu=clock in _CPU_CLOCKS, rests=True, signal=signal)

    def of_file(self, clock: int, due: Send) -> Timer:
        """A timer that calls `due` when its time has come, and rests until somebody takes what it counted. It is among `others`."""
        made = Timer(lambda: self._clock(clock), due, cpu=False, rests=True)
        self.others.append(made)
        return made

    def wanted(self, signal: int) -> None:
        """The signal is not ignored any more (posixtimer_sig_unignore)."""
        for timer in self.posix.values():
            if timer.unwanted and timer.signal == signal and timer.send is not None:
                timer.unwanted = not timer.send(timer)

    def check(self) -> float:
        """Let everything fire whose time has come; seconds until it is worth looking again, and the bell is set for it."""
        nearest = 0
        for timer in (*self.intervals.values(), *self.posix.values(), *self.others):
            if not timer.expiry or timer.resting or timer.send is None:
                continue
            left = timer.expiry - timer.now()
            if left <= 0:
                timer.fire()
                if not timer.expiry or timer.resting:
                    continue
                left = max(0, timer.expiry - timer.now())
            if timer.cpu:
                left = max(left, _TICK)
            nearest = min(nearest or left + 1, left + 1)
        if not nearest:
            return _NEVER
        self._bell.set((self._clock(Clock.CLOCK_MONOTONIC) + nearest) / _SECOND)
        return nearest / _SECOND

    def close(self) -> None:
        """The process has ended."""
        self._bell.close()

    def inherited(self, bell: Bell) -> None:
        """They are a child's from now on: it has none of its own, and shares those of files."""
        self._bell = bell
        self.posix.clear()
        for timer in (*self.intervals.values(), self.limit):
            if timer is not None:
                timer.set(0, 0)
        self.check()

    def reset_for_exec(self) -> None:
        """POSIX timers end with the program, interval timers go on (exit_itimers)."""
        for timer in self.posix.values():
            timer.set(0, 0)
        self.posix.clear()


class PosixTaken:
    """What a POSIX timer's signal carries. A signal of an earlier setting or of a deleted timer is not delivered."""

    def __init__(self, timer: Timer, fields: Callable[[int], bytes], check: Callable[[], float]) -> None:
        self._timer = timer
        self._check = check
        self._setting = timer.setting
        self._fields = fields

    def dropped(self) -> None:
        """It was pending when the program began to ignore it (posixtimer_sig_ignore)."""
        if self._setting == self._timer.setting and self._timer.resting:
            self._timer.unwanted = True

    def taken(self, info: SignalInfo) -> SignalInfo | None:
        """The info with its overruns."""
        if self._setting != self._timer.setting:
            return None
        overrun = self._timer.taken()
        self._check()
        return info._replace(fields=self._fields(overrun), timer=None)
