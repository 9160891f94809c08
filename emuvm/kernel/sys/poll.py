"""Waiting for descriptors: poll, ppoll, select, pselect6.

Must not know what the descriptors are. Regular files, directories and made-up files are always ready. A wait ends with
TimeLimit when the run's time is over, and with Interrupted when a signal is due. Sources: fs/select.c.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from emuvm.abi.errno import Errno
from emuvm.abi.flags import Poll, poll_for
from emuvm.abi.sigframes import sigset_size, unpack_sigset
from emuvm.abi.structs import POLLFD_SIZE, pack_pollfd, pack_timespec, timespec_size, unpack_pollfds, unpack_timespec
from emuvm.errors import GuestError
from emuvm.kernel.dispatch import TimeLimit
from emuvm.kernel.registry import syscall
from emuvm.kernel.signal_restart import Interrupted, Restart
from emuvm.kernel.sys.time import read_timespec, sleep_until

if TYPE_CHECKING:
    from emuvm.kernel.process import Process

_SECOND = 1_000_000_000
_NAMES = tuple(name for name in vars(Poll) if name.startswith("POLL"))
_ALWAYS = Poll.POLLERR | Poll.POLLHUP | Poll.POLLNVAL
_READ = Poll.POLLIN | Poll.POLLRDNORM | Poll.POLLRDBAND | Poll.POLLHUP | Poll.POLLERR
_WRITE = Poll.POLLOUT | Poll.POLLWRNORM | Poll.POLLWRBAND | Poll.POLLERR


def _convert(events: int, source: type[Poll], target: type[Poll]) -> int:
    if source is target:
        return events
    return sum(getattr(target, name) for name in _NAMES if events & getattr(source, name))


def wait(proc: Process, wanted: list[tuple[int, int]], until: int | None) -> list[int]:
    """poll(2) on guest descriptors with generic event bits: the revents, in order. Negative descriptors are left out.

    `until` is a monotonic time in nanoseconds, or None. Interrupted (UNHANDLED) when a signal comes first.
    """
    ready = [0] * len(wanted)
    hosts: dict[int, int] = {}
    for i, (fd, events) in enumerate(wanted):
        if fd < 0:
            continue
        try:
            file = proc.files.opened(fd)
        except GuestError:
            ready[i] = Poll.POLLNVAL
            continue
        if file.host_fd < 0:
            ready[i] = file.ready() & (events | _ALWAYS)
        else:
            hosts[file.host_fd] = hosts.get(file.host_fd, 0) | events & file.tells
    if any(ready):
        until = 0
    found = wait_for_hosts(proc, hosts, until)
    for i, (fd, events) in enumerate(wanted):
        if fd >= 0 and not ready[i]:
            file = proc.files.opened(fd)
            ready[i] = found.get(file.host_fd, 0) & (events | _ALWAYS) & file.tells
    return ready


def wait_for_hosts(proc: Process, hosts: dict[int, int], until: int | None) -> dict[int, int]:
    """On host descriptors; TimeLimit at the run's deadline."""
    if proc.wake is not None or proc.signals.due:
        from emuvm.kernel.waiting import wait as wait_or_signal

        ready = wait_or_signal(proc, hosts, until)
        if ready is None:
            raise Interrupted(Restart.UNHANDLED)
        return ready
    if not hosts and until is not None:
        sleep_until(proc, until)
        return {}
    seconds = None if until is None else max(0.0, (until - proc.system.monotonic_ns()) / _SECOND)
    over = False
    if proc.deadline is not None:
        left = max(0.0, proc.deadline - proc.system.monotonic())
        if seconds is None or left < seconds:
            seconds, over = left, True
    found = proc.system.wait(hosts.items(), seconds)
    if over and not found:
        raise TimeLimit
    return found


def until_after(proc: Process, nanoseconds: int | None) -> int | None:
    return None if nanoseconds is None else proc.system.monotonic_ns() + nanoseconds


def _poll(proc: Process, at: int, count: int, until: int | None) -> int:
    if count > proc.files.limit:
        raise GuestError(Errno.EINVAL, f"{count} descriptors")
    bits = poll_for(proc.arch.name)
    asked = unpack_pollfds(proc.arch, proc.mem.read(at, count * POLLFD_SIZE))
    proc.mem.check(at, count * POLLFD_SIZE, 2)
    ready = wait(proc, [(fd, _convert(events, bits, Poll)) for fd, events in asked], until)
    answers = [pack_pollfd(proc.arch, fd, events, _convert(got, Poll, bits)) for (fd, events), got in zip(asked, ready, strict=True)]
    proc.mem.write(at, b"".join(answers))
    return sum(1 for got in ready if got)


def _poll_on(proc: Process, at: int, count: int, until: int | None) -> int:
    try:
        return _poll(proc, at, count, until)
    except Interrupted:
        raise Interrupted(Restart.REST, lambda: _poll_on(proc, at, count, until)) from None


@syscall("poll", "ptr uint int")
def poll(proc: Process, at: int, count: int, milliseconds: int) -> int:
    return _poll_on(proc, at, count, until_after(proc, None if milliseconds < 0 else milliseconds * 1_000_000))


def masked(proc: Process, at: int, size: int, work: Callable[[], int]) -> int:
    """With the signal mask at `at`, if any; an interrupted call leaves it in force until the signal is taken."""
    if not at:
        return work()
    if size != sigset_size(proc.arch):
        raise GuestError(Errno.EINVAL, f"signal sets of {size} bytes")
    mask, state = unpack_sigset(proc.arch, proc.mem.read(at, size)), proc.signals
    before = state.saved_mask = state.mask
    if proc.host_signals is not None:
        proc.host_signals.attend(mask)
    state.set_mask(mask)
    try:
        done = work()
    except Interrupted:
        raise
    except BaseException:
        state.saved_mask = None
        state.set_mask(before)
        raise
    state.saved_mask = None
    state.set_mask(before)
    return done


def _remember(proc: Process, at: int, until: int | None, work: Callable[[], int], unit: int = 1) -> int:
    """Do the work, then store the time that is left, which Linux does: then an interrupted call can go on with it.

    A caller who cannot be written to is not told, but his call cannot go on (fs/select.c:poll_select_finish).
    """
    if until is None:
        return work()
    try:
        done = work()
    except Interrupted:
        if not _store_left(proc, at, until, unit):
            mask, proc.signals.saved_mask = proc.signals.saved_mask, None
            if mask is not None:
                proc.signals.set_mask(mask)
            raise GuestError(Errno.EINTR, "the time left cannot be stored") from None
        raise
    _store_left(proc, at, until, unit)
    return done


def _store_left(proc: Process, at: int, until: int, unit: int) -> bool:
    left = max(0, until - proc.system.monotonic_ns())
    try:
        proc.mem.write(at, pack_timespec(proc.arch, left // _SECOND, left % _SECOND // unit))
    except GuestError:
        return False
    return True


@syscall("ppoll", "ptr uint ptr ptr size")
def ppoll(proc: Process, at: int, count: int, timeout: int, mask: int, size: int) -> int:
    until = until_after(proc, read_timespec(proc, timeout) if timeout else None)
    return _remember(proc, timeout, until, lambda: masked(proc, mask, size, lambda: _poll(proc, at, count, until)))


def _read_set(proc: Process, at: int, count: int) -> set[int]:
    """The numbers in an fd_set of `count` bits: an array of longs."""
    if not at:
        return set()
    word = proc.arch.bits // 8
    size = (count + proc.arch.bits - 1) // proc.arch.bits * word
    data = proc.mem.read(at, size)
    order = "big" if proc.arch.big_endian else "little"
    numbers = set()
    for i in range(0, size, word):
        value = int.from_bytes(data[i : i + word], order)  # type: ignore[arg-type]
        while value:
            low = value & -value
            numbers.add(i * 8 + low.bit_length() - 1)
            value ^= low
    return {number for number in numbers if number < count}


def _write_set(proc: Process, at: int, count: int, numbers: set[int]) -> None:
    if not at:
        return
    bits, word = proc.arch.bits, proc.arch.bits // 8
    words = [0] * ((count + bits - 1) // bits)
    for number in numbers:
        words[number // bits] |= 1 << number % bits
    order = "big" if proc.arch.big_endian else "little"
    proc.mem.write(at, b"".join(value.to_bytes(word, order) for value in words))  # type: ignore[arg-type]


def _select(proc: Process, count: int, at: tuple[int, int, int], until: int | None) -> int:
    if count < 0:
        raise GuestError(Errno.EINVAL, f"{count} descriptors")
    count = min(count, proc.files.capacity)
    sets = [_read_set(proc, address, count) for address in at]
    events = (Poll.POLLIN, Poll.POLLOUT, Poll.POLLPRI)
    wanted: dict[int, int] = {}
    for numbers, bits in zip(sets, events, strict=True):
        for fd in numbers:
            proc.files.opened(fd)
            wanted[fd] = wanted.get(fd, 0) | bits
    order = sorted(wanted)
    ready = dict(zip(order, wait(proc, [(fd, wanted[fd]) for fd in order], until), strict=True))
    total = 0
    for address, numbers, bits in zip(at, sets, (_READ, _WRITE, Poll.POLLPRI), strict=True):
        hit = {fd for fd in numbers if ready[fd] & bits}
        total += len(hit)
        _write_set(proc, address, count, hit)
    return total


@syscall("select", "int ptr ptr ptr ptr")
@syscall("_newselect", "int ptr ptr ptr ptr")
def select(proc: Process, count: int, read: int, write: int, other: int, timeout: int) -> int:
    nanoseconds = None
    if timeout:
        seconds, micro = unpack_timespec(proc.arch, proc.mem.read(timeout, timespec_size(proc.arch)))
        if seconds < 0 or micro < 0:
            raise GuestError(Errno.EINVAL, f"{seconds} s and {micro} us")
        nanoseconds = min(seconds * _SECOND + micro * 1000, (1 << 62) - 1)
    until = until_after(proc, nanoseconds)
    return _remember(proc, timeout, until, lambda: _select(proc, count, (read, write, other), until), 1000)


@syscall("pselect6", "int ptr ptr ptr ptr ptr")
def pselect6(proc: Process, count: int, read: int, write: int, other: int, timeout: int, mask: int) -> int:
    at = size = 0
    if mask:
        word = proc.arch.bits // 8
        at, size = proc.mem.read_word(mask), proc.mem.read_word(mask + word)
    until = until_after(proc, read_timespec(proc, timeout) if timeout else None)

    def work() -> int:
        return _select(proc, count, (read, write, other), until)

    return _remember(proc, timeout, until, lambda: masked(proc, at, size, work))
