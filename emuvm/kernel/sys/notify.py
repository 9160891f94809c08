"""Descriptors that tell of time and of signals: timerfd and signalfd.

Owns: what is read from them. Their host descriptors only say that there is something to read. Must not know who waits for them.
Sources: fs/timerfd.c, fs/signalfd.c.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from struct import Struct
from typing import TYPE_CHECKING

from emuvm.abi.caps import Cap
from emuvm.abi.controls import Clock
from emuvm.abi.errno import Errno
from emuvm.abi.flags import Open, Poll, convert_open, open_for
from emuvm.abi.sigframes import sigset_size, unpack_siginfo, unpack_sigset
from emuvm.abi.signals import UNBLOCKABLE, Code, Signal
from emuvm.abi.structs import pack_itimerval, timespec_size
from emuvm.errors import GuestError
from emuvm.kernel import hostfd, hostpoll
from emuvm.kernel.files import HostOpenFile
from emuvm.kernel.registry import syscall
from emuvm.kernel.sys.time import read_timespec, timers_of

if TYPE_CHECKING:
    from emuvm.kernel.process import Process
    from emuvm.kernel.siginfo import SignalInfo
    from emuvm.kernel.timers import Timer

_SECOND = 1_000_000_000
_ABSTIME, _CANCEL_ON_SET = 1, 2
_AWAKE = {8: Clock.CLOCK_REALTIME, 9: Clock.CLOCK_BOOTTIME}
"""Clocks that wake the machine, and how they go."""
_TIMER_CLOCKS = (Clock.CLOCK_REALTIME, Clock.CLOCK_MONOTONIC, Clock.CLOCK_BOOTTIME, *_AWAKE)


def _flags(proc: Process, flags: int) -> int:
    """O_CLOEXEC and O_NONBLOCK in generic bits; nothing else is known."""
    names = open_for(proc.arch.name)
    if flags & ~(names.O_CLOEXEC | names.O_NONBLOCK):
        raise GuestError(Errno.EINVAL, f"flags {flags:#x}")
    return convert_open(flags, names, Open)


class Told(HostOpenFile, ABC):
    """A file whose host descriptor is an eventfd, readable while there is something to read."""

    refuses_write = no_offsets = own = True
    splices = False
    tells = Poll.POLLIN

    def __init__(self, status: int, path: bytes) -> None:
        super().__init__(hostfd.eventfd(0, convert_open(status, Open, hostfd.HOST_OPEN)), Open.O_RDWR | status, path)

    @abstractmethod
    def due(self) -> bool:
        """Is there something to read?"""

    def look(self) -> None:
        """There may be news: who waits for edges is told of them, too."""
        hostpoll.show(self.host_fd, self.due(), anew=True)

    def outside(self) -> bool:
        return hostfd.readable(self.host_fd, 0)

    def bring_back(self, kept: bool) -> None:
        hostpoll.show(self.host_fd, self.due())


# -- timerfd ------------------------------------------------------------------------------------------------------------------


class TimerFile(Told):
    """A timerfd."""

    in_parts = True
    unit = 8

    def __init__(self, proc: Process, clock: int, status: int) -> None:
        super().__init__(status, b"anon_inode:[timerfd]")
        self._clock, self._order = clock, "big" if proc.arch.big_endian else "little"
        self._timers = timers_of(proc)
        self._timer = self._timers.of_file(_AWAKE.get(clock, clock), self._ring)
        self._once = False
        """It ran out, and does not go on."""
        self._flags = 0

    def _ring(self, timer: Timer) -> bool:
        self._once = not timer.interval
        self.look()
        return True

    def due(self) -> bool:
        return self._once or self._timer.resting

    def set(self, flags: int, interval: int, value: int) -> None:
        """Start, or stop with a `value` of 0."""
        now = 0 if flags & _ABSTIME or not value else self._timer.now()
        self._timer.set(now + value, interval)
        self._once, self._flags = False, flags
        hostpoll.show(self.host_fd, False)
        self._timers.check()

    def setting(self) -> tuple[int, int]:
        """(interval, time left) in nanoseconds."""
        return self._timer.interval, self._timer.left()

    def read(self, length: int) -> bytes:
        """How often it ran out."""
        self._timers.check()
        if not self.due():
            raise GuestError(Errno.EAGAIN, "the time has not come")
        count = 1 if self._once else self._timer.taken() + 1
        self._once = False
        hostpoll.show(self.host_fd, False)
        self._timers.check()
        return count.to_bytes(self.unit, self._order)  # type: ignore[arg-type]

    def details(self, lines: list[str]) -> list[str]:
        self._timers.check()
        left, interval = (divmod(value, _SECOND) for value in (0 if self._timer.resting else self._timer.left(), self._timer.interval))
        head = [f"clockid: {self._clock}", f"ticks: {int(self.due())}", f"settime flags: 0{self._flags:o}"]
        return [*head, f"it_value: {left}", f"it_interval: {interval}"]

    def close(self) -> None:
        self._timers.others.remove(self._timer)
        super().close()


def _timer(proc: Process, fd: int) -> TimerFile:
    file = proc.files.opened(fd)
    if not isinstance(file, TimerFile):
        raise GuestError(Errno.EINVAL, f"descriptor {fd} is no timer")
    return file


@syscall("timerfd_create", "int flags")
def timerfd_create(proc: Process, clock: int, flags: int) -> int:
    generic = _flags(proc, flags)
    if clock not in _TIMER_CLOCKS:
        raise GuestError(Errno.EINVAL, f"clock {clock}")
    if clock in _AWAKE and not proc.system.credentials.capable(Cap.CAP_WAKE_ALARM):
        raise GuestError(Errno.EPERM, "it may not wake the machine")
    number: int = proc.files.add(TimerFile(proc, clock, generic & Open.O_NONBLOCK), bool(generic & Open.O_CLOEXEC))
    return number


@syscall("timerfd_settime", "fd int ptr ptr")
def timerfd_settime(proc: Process, fd: int, flags: int, new: int, old: int) -> int:
    size = timespec_size(proc.arch)
    proc.mem.check(new, 2 * size, 1)
    interval, value = read_timespec(proc, new), read_timespec(proc, new + size)
    if flags & ~(_ABSTIME | _CANCEL_ON_SET):
        raise GuestError(Errno.EINVAL, f"flags {flags:#x}")
    timer = _timer(proc, fd)
    before = timer.setting()
    timer.set(flags, interval, value)
    if old:
        _store(proc, old, before)
    return 0


@syscall("timerfd_gettime", "fd ptr")
def timerfd_gettime(proc: Process, fd: int, to: int) -> int:
    _store(proc, to, _timer(proc, fd).setting())
    return 0


def _store(proc: Process, to: int, setting: tuple[int, int]) -> None:
    interval, value = (divmod(nanoseconds, _SECOND) for nanoseconds in setting)
    proc.mem.write(to, pack_itimerval(proc.arch, interval, value))


# -- signalfd -----------------------------------------------------------------------------------------------------------------

_FAULTS = (Signal.SIGILL, Signal.SIGFPE, Signal.SIGSEGV, Signal.SIGBUS, Signal.SIGTRAP)


class SignalFile(Told):
    """A signalfd."""

    one_by_one = False
    unit = 128

    def __init__(self, proc: Process, mask: int, status: int) -> None:
        super().__init__(status, b"anon_inode:[signalfd]")
        self._proc = proc
        self.mask = mask
        proc.listen()
        proc.signals.listeners.append(self.look)
        self.look()

    def due(self) -> bool:
        return bool(self._proc.signals.pending & self.mask)

    def read(self, length: int) -> bytes:
        """At least one signal, and as many as there are."""
        found: list[bytes] = []
        while len(found) < length // self.unit:
            info = self._proc.delivery.take(self.mask)
            if info is None:
                break
            found.append(_describe(self._proc, info))
        if not found:
            raise GuestError(Errno.EAGAIN, "no such signal is pending")
        return b"".join(found)

    def details(self, lines: list[str]) -> list[str]:
        return [f"sigmask:\t{self.mask:016x}"]

    def close(self) -> None:
        self._proc.signals.listeners.remove(self.look)
        super().close()


def _describe(proc: Process, info: SignalInfo) -> bytes:
    """struct signalfd_siginfo."""
    from emuvm.kernel.signal_frames import siginfo

    arch = proc.arch
    order = ">" if arch.big_endian else "<"
    word = "Q" if arch.bits == 64 else "I"
    signal, code, errno, fields = unpack_siginfo(arch, siginfo(proc, info))
    pid = uid = fd = tid = band = overrun = number = pointer = address = 0
    if code == Code.SI_TIMER:
        tid, overrun, pointer = Struct(f"{order}Ii{word}").unpack_from(fields)
    elif code == Code.SI_SIGIO:
        band, fd = Struct(f"{order}{word}i").unpack_from(fields)
    elif code > 0 and code != Code.SI_KERNEL and signal in _FAULTS:
        (address,) = Struct(f"{order}{word}").unpack_from(fields)
    elif code in (Code.SI_USER, Code.SI_KERNEL, Code.SI_TKILL):
        pid, uid = Struct(f"{order}II").unpack_from(fields)
    else:
        pid, uid, pointer = Struct(f"{order}II{word}").unpack_from(fields)
    if code < 0 and code not in (Code.SI_TKILL, Code.SI_SIGIO):
        number = Struct(f"{order}i").unpack(pointer.to_bytes(arch.bits // 8, "big" if arch.big_endian else "little")[:4])[0]
        if arch.bits == 32:
            pointer = pointer - (pointer >> 31 << 32) & 0xFFFF_FFFF_FFFF_FFFF
    head = Struct(f"{order}IiiIIiIIIIiiQQQQ").pack(
        signal, errno, code, pid, uid, fd, tid, band & 0xFFFF_FFFF, overrun & 0xFFFF_FFFF, 0, 0, number, pointer, 0, 0, address
    )
    return head.ljust(SignalFile.unit, b"\0")


@syscall("signalfd4", "fd ptr size flags")
def signalfd4(proc: Process, fd: int, at: int, size: int, flags: int) -> int:
    if size != sigset_size(proc.arch):
        raise GuestError(Errno.EINVAL, f"signal sets of {size} bytes")
    mask = unpack_sigset(proc.arch, proc.mem.read(at, size)) & ~UNBLOCKABLE
    generic = _flags(proc, flags)
    if fd == -1:
        file = SignalFile(proc, mask, generic & Open.O_NONBLOCK)
        number: int = proc.files.add(file, bool(generic & Open.O_CLOEXEC))
        return number
    known = proc.files.opened(fd)
    if not isinstance(known, SignalFile):
        raise GuestError(Errno.EINVAL, f"descriptor {fd} tells of no signals")
    known.mask = mask
    known.look()
    return fd


@syscall("signalfd", "fd ptr size")
def signalfd(proc: Process, fd: int, at: int, size: int) -> int:
    return signalfd4(proc, fd, at, size, 0)
