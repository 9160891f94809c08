"""Futexes of processes with a single thread: in memory of its own nobody wakes it, and what it waits for is a time or a signal; in
memory that other processes of the run see, too, the host's futexes stand for them.

Owns: futex and its four successors. Must not know threads. Sources: kernel/futex/*.c.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING

from emuvm.abi.controls import Clock, Futex
from emuvm.abi.errno import Errno
from emuvm.abi.flags_mm import family
from emuvm.engine.base import is_shared
from emuvm.errors import GuestError
from emuvm.kernel.registry import syscall
from emuvm.kernel.signal_restart import Interrupted, Restart
from emuvm.kernel.sys.time import read_timespec, sleep_until
from emuvm.kernel.usermem import READ, WRITE
from emuvm.mm.types import Anon

if TYPE_CHECKING:
    from emuvm.kernel.process import Process

_ALONE = "one thread; other processes wait and wake with WAIT, WAKE and their BITSET"
_WORD = 0xFFFF_FFFF
_SLICE = 100_000_000
"""Nanoseconds that a signal may have to wait."""
_OWNER, _WAITERS, _DIED = 0x3FFF_FFFF, 0x8000_0000, 0x4000_0000
_TIMED = (Futex.FUTEX_WAIT, Futex.FUTEX_WAIT_BITSET, Futex.FUTEX_WAIT_REQUEUE_PI, Futex.FUTEX_LOCK_PI, Futex.FUTEX_LOCK_PI2)
_TIMED_BY_REALTIME = (Futex.FUTEX_WAIT_BITSET, Futex.FUTEX_WAIT_REQUEUE_PI, Futex.FUTEX_LOCK_PI2)


@syscall("futex", "ptr int uint ptr ptr uint", level="partial", note=_ALONE)
def futex(proc: Process, at: int, operation: int, value: int, timeout: int, second: int, third: int) -> int:
    command = operation & Futex.FUTEX_CMD_MASK
    time = read_timespec(proc, timeout) if timeout and command in _TIMED else None
    if operation & Futex.FUTEX_CLOCK_REALTIME and command not in _TIMED_BY_REALTIME:
        raise GuestError(Errno.ENOSYS, f"futex operation {operation:#x}")
    if command in (Futex.FUTEX_WAIT, Futex.FUTEX_WAIT_BITSET, Futex.FUTEX_WAIT_REQUEUE_PI):
        return _wait(proc, at, operation, value, time, second, third)
    if command in (Futex.FUTEX_WAKE, Futex.FUTEX_WAKE_BITSET):
        if command == Futex.FUTEX_WAKE_BITSET and not third:
            raise GuestError(Errno.EINVAL, "no bits")
        _key(proc, at, _private(operation))
        bits = third if command == Futex.FUTEX_WAKE_BITSET else _WORD
        place = _common(proc, at, operation)
        return proc.family.futex_wake(place, value, bits) if place and proc.family is not None else 0
    if command == Futex.FUTEX_WAKE_OP:
        _key(proc, at, _private(operation))
        _key(proc, second, _private(operation), WRITE)
        return _operate(proc, second, third)
    if command in (Futex.FUTEX_REQUEUE, Futex.FUTEX_CMP_REQUEUE, Futex.FUTEX_CMP_REQUEUE_PI):
        return _requeue(proc, command, (at, second), (value, timeout & _WORD), _private(operation), third)
    if command in (Futex.FUTEX_LOCK_PI, Futex.FUTEX_LOCK_PI2, Futex.FUTEX_TRYLOCK_PI):
        return _lock(proc, at, operation, time)
    if command == Futex.FUTEX_UNLOCK_PI:
        return _unlock(proc, at, _private(operation))
    raise GuestError(Errno.ENOSYS, f"futex operation {operation}")


def _private(operation: int) -> bool:
    return bool(operation & Futex.FUTEX_PRIVATE_FLAG)


def _key(proc: Process, at: int, private: bool, access: int = READ) -> None:
    """What get_futex_key refuses. A shared futex needs its page: a stack does not grow for it, and anonymous memory has to be writable."""
    if at & 3:
        raise GuestError(Errno.EINVAL, "the futex is misaligned")
    # x86 looks only at where so small an object begins.
    proc.mem.access_ok(at, 0 if family(proc.arch.name) == "x86" else 4)
    if private or proc.mem.pinnable(at, 4, WRITE) == 4:
        return
    vma = proc.space.query(at)
    if vma is None or isinstance(vma.backing, Anon) or access == WRITE or proc.mem.pinnable(at, 4, READ) < 4:
        raise GuestError(Errno.EFAULT, f"no futex can be at {at:#x}")


def _requeue(proc: Process, command: int, places: tuple[int, int], counts: tuple[int, int], private: bool, expected: int) -> int:
    if any(count >> 31 for count in counts):
        raise GuestError(Errno.EINVAL, f"counts {counts}")
    inherits = command == Futex.FUTEX_CMP_REQUEUE_PI
    if inherits and (places[0] == places[1] or counts[0] != 1):
        raise GuestError(Errno.EINVAL, "one waiter is to be woken, and elsewhere")
    _key(proc, places[0], private)
    _key(proc, places[1], private, WRITE if inherits else READ)
    if command != Futex.FUTEX_REQUEUE and proc.mem.read_u32(places[0]) != expected:
        raise GuestError(Errno.EAGAIN, "the value has changed")
    return 0


def _operate(proc: Process, at: int, code: int) -> int:
    """FUTEX_WAKE_OP: the second word is changed, and compared; nobody waits for either (futex_atomic_op_inuser)."""
    operand, against = (((code >> shift & 0xFFF) ^ 0x800) - 0x800 for shift in (12, 0))
    if code >> 31:
        operand = 1 << (operand & 31)
    proc.mem.access_ok(at, 4)
    kind, compare = code >> 28 & 7, code >> 24 & 15
    if kind > 4:
        raise GuestError(Errno.ENOSYS, f"operation {kind}")
    proc.mem.check(at, 4, WRITE)
    old = proc.mem.read_u32(at)
    new = (operand, old + operand, old | operand, old & ~operand, old ^ operand)[kind]
    proc.mem.write_u32(at, new & _WORD)
    if compare > 5:
        raise GuestError(Errno.ENOSYS, f"comparison {compare} with {against}")
    return 0


# -- waiting ------------------------------------------------------------------------------------------------------------------


def _wait(proc: Process, at: int, operation: int, value: int, wait: int | None, second: int, bits: int) -> int:
    command = operation & Futex.FUTEX_CMD_MASK
    if command == Futex.FUTEX_WAIT_REQUEUE_PI:
        if at == second:
            raise GuestError(Errno.EINVAL, "waiters are to be moved elsewhere")
        _key(proc, second, _private(operation), WRITE)
    elif command == Futex.FUTEX_WAIT_BITSET and not bits:
        raise GuestError(Errno.EINVAL, "no bits")
    _key(proc, at, _private(operation))
    if proc.mem.read_u32(at) != value:
        raise GuestError(Errno.EAGAIN, "the value has changed")
    if wait is not None and command != Futex.FUTEX_WAIT:
        wait -= proc.system.clock(Clock.CLOCK_REALTIME if operation & Futex.FUTEX_CLOCK_REALTIME else Clock.CLOCK_MONOTONIC)
    until = None if wait is None else proc.system.monotonic_ns() + wait
    place = _common(proc, at, operation)
    if place and command != Futex.FUTEX_WAIT_REQUEUE_PI:
        return _wait_for_others(proc, place, value, until, bits if command == Futex.FUTEX_WAIT_BITSET else _WORD)
    return _sleep(proc, until)


def _common(proc: Process, at: int, operation: int) -> int:
    """Where a futex lies on the host that other processes may use, too; 0: none do."""
    if proc.family is None or _private(operation):
        return 0
    vma = proc.space.query(at)
    if vma is None or not is_shared(vma):
        return 0
    from emuvm.engine.pointers import pointer

    return pointer(proc.engine.memory, at)


def _wait_for_others(proc: Process, place: int, value: int, until: int | None, bits: int) -> int:
    """Wait on the host, a little at a time, for signals come in between. What changes in between was a reason to be woken."""
    from emuvm.kernel.waiting import wait

    assert proc.family is not None
    waited = False
    while True:
        now = proc.system.monotonic_ns()
        if until is not None and waited and now >= until:
            raise GuestError(Errno.ETIMEDOUT, "nobody woke the process")
        if wait(proc, {}, now) is None:
            again = None if until is None else lambda: _wait_for_others(proc, place, value, until, bits)
            raise Interrupted(Restart.UNLESS_TOLD if again is None else Restart.REST, again)
        left = _SLICE if until is None else min(_SLICE, max(0, until - now))
        try:
            if proc.family.futex_wait(place, value, left, bits):
                return 0
        except GuestError as error:
            if error.errno == Errno.EAGAIN and waited:
                return 0
            raise
        waited = True


def _sleep(proc: Process, until: int | None) -> int:
    """Nobody wakes the only thread: the time ends the wait, or a signal. With a time the call goes on with what is left of it."""
    if until is None:
        from emuvm.kernel.waiting import wait

        if proc.wake is None:
            raise GuestError(Errno.EDEADLK, "the only thread would wait for ever")
        while wait(proc, {}, None) is not None:
            continue
        raise Interrupted(Restart.UNLESS_TOLD)
    if not sleep_until(proc, until):
        raise Interrupted(Restart.REST, lambda: _sleep(proc, until))
    raise GuestError(Errno.ETIMEDOUT, "nobody woke the thread")


# -- locks that inherit priorities --------------------------------------------------------------------------------------------


def _lock(proc: Process, at: int, operation: int, until: int | None) -> int:
    command = operation & Futex.FUTEX_CMD_MASK
    trying = command == Futex.FUTEX_TRYLOCK_PI
    _key(proc, at, _private(operation), WRITE)
    proc.mem.check(at, 4, WRITE)
    value = proc.mem.read_u32(at)
    owner = value & _OWNER
    if owner == proc.tid:
        raise GuestError(Errno.EDEADLK, "the thread has it already")
    if not owner:
        proc.mem.write_u32(at, value & _DIED | proc.tid)
        return 0
    proc.mem.write_u32(at, value | _WAITERS)
    if not proc.system.process_exists(owner):
        raise GuestError(Errno.ESRCH, f"its owner is {owner}")
    if trying:
        raise GuestError(Errno.EAGAIN, f"its owner is {owner}")
    if until is not None:
        realtime = command == Futex.FUTEX_LOCK_PI or operation & Futex.FUTEX_CLOCK_REALTIME
        until += proc.system.monotonic_ns() - proc.system.clock(Clock.CLOCK_REALTIME if realtime else Clock.CLOCK_MONOTONIC)
    return _sleep(proc, until)


def _unlock(proc: Process, at: int, private: bool) -> int:
    if proc.mem.read_u32(at) & _OWNER != proc.tid:
        raise GuestError(Errno.EPERM, "the thread does not have it")
    _key(proc, at, private, WRITE)
    proc.mem.write_u32(at, 0)
    return 0


# -- futex_waitv, futex_wake, futex_wait, futex_requeue -----------------------------------------------------------------------

_SIZE_32, _SIZE_MASK, _PRIVATE = 2, 3, 128
_KNOWN = _SIZE_MASK | _PRIVATE
_MOST = 128


def _flags(flags: int, *values: int) -> bool:
    """Is it a private one? EINVAL: futexes of other sizes, and values that they have no room for."""
    if flags & ~_KNOWN or flags & _SIZE_MASK != _SIZE_32 or any(value > _WORD for value in values):
        raise GuestError(Errno.EINVAL, f"flags {flags:#x}")
    return bool(flags & _PRIVATE)


def _until(proc: Process, timeout: int, clock: int) -> int | None:
    if not timeout:
        return None
    if clock not in (Clock.CLOCK_REALTIME, Clock.CLOCK_MONOTONIC):
        raise GuestError(Errno.EINVAL, f"clock {clock}")
    return read_timespec(proc, timeout) + proc.system.monotonic_ns() - proc.system.clock(clock)


def _sleep_simply(proc: Process, until: int | None) -> int:
    """As `_sleep`; after a signal the call is made again as it was."""
    try:
        return _sleep(proc, until)
    except Interrupted:
        raise Interrupted(Restart.UNLESS_TOLD) from None


@syscall("futex_wake", "ptr ulong int uint", level="partial", note=_ALONE + "; no futexes of nodes")
def futex_wake(proc: Process, at: int, mask: int, count: int, flags: int) -> int:
    private = _flags(flags, mask)
    if not mask:
        raise GuestError(Errno.EINVAL, "no bits")
    _key(proc, at, private)
    return 0


@syscall("futex_wait", "ptr ulong ulong uint ptr int", level="partial", note=_ALONE + "; no futexes of nodes")
def futex_wait(proc: Process, at: int, value: int, mask: int, flags: int, timeout: int, clock: int) -> int:
    private = _flags(flags, value, mask)
    until = _until(proc, timeout, clock)
    if not mask:
        raise GuestError(Errno.EINVAL, "no bits")
    _key(proc, at, private)
    if proc.mem.read_u32(at) != value:
        raise GuestError(Errno.EAGAIN, "the value has changed")
    return _sleep_simply(proc, until)


def _waiters(proc: Process, at: int, count: int) -> list[tuple[int, int, bool]]:
    """(value, address, private) of an array of struct futex_waitv."""
    layout = Struct(">QQII" if proc.arch.big_endian else "<QQII")
    found = []
    for number in range(count):
        value, address, flags, reserved = layout.unpack(proc.mem.read(at + number * layout.size, layout.size))
        if reserved:
            raise GuestError(Errno.EINVAL, "reserved bits")
        found.append((value, address, _flags(flags, value)))
    return found


@syscall("futex_waitv", "ptr uint uint ptr int", level="partial", note=_ALONE + "; no futexes of nodes")
def futex_waitv(proc: Process, at: int, count: int, flags: int, timeout: int, clock: int) -> int:
    if flags or not 0 < count <= _MOST or not at:
        raise GuestError(Errno.EINVAL, f"{count} futexes, flags {flags:#x}")
    until = _until(proc, timeout, clock)
    waiters = _waiters(proc, at, count)
    for _, address, private in waiters:
        _key(proc, address, private)
    for value, address, _ in waiters:
        if proc.mem.read_u32(address) != value:
            raise GuestError(Errno.EAGAIN, "a value has changed")
    return _sleep_simply(proc, until)


@syscall("futex_requeue", "ptr uint int int", level="partial", note=_ALONE + "; no futexes of nodes")
def futex_requeue(proc: Process, at: int, flags: int, wake: int, requeue: int) -> int:
    if flags or not at:
        raise GuestError(Errno.EINVAL, f"flags {flags:#x}")
    (value, first, private), (_, second, other) = _waiters(proc, at, 2)
    if wake < 0 or requeue < 0:
        raise GuestError(Errno.EINVAL, f"counts {wake}, {requeue}")
    _key(proc, first, private)
    _key(proc, second, other)
    if proc.mem.read_u32(first) != value:
        raise GuestError(Errno.EAGAIN, "the value has changed")
    return 0
