"""Decoders of scheduling and I/O priorities, of futexes to wait for, and of what has a limit of its own.

Owns: these decoders. Must not know which call uses what. See `strace_call` for what a decoder is.
"""

from __future__ import annotations

from emuvm.abi.errno import Errno
from emuvm.abi.sigframes import sigset_size, unpack_sigset
from emuvm.tools.strace_arrays import array
from emuvm.tools.strace_call import Call, Decoder, Fields, decoder, flags, hexed, maker, one, pointer, s32, structure, u32, wanted
from emuvm.tools.strace_scalars import signal_set
from emuvm.tools.strace_text import quote

_MEMFD_NAME = 249
_HOST_NAME = 64
_XATTR_VALUE = 65536
_GROUPS = 65536
_FIRST_SCHED_ATTR, _SCHED_ATTR = 48, 56


@decoder("memname")
def memory_file_name(call: Call, value: int) -> str:
    """As long as the kernel takes one; of a longer one the byte that is too much as well."""
    data = call.read(value, _MEMFD_NAME + 1) if value else None
    return call.string(value, _MEMFD_NAME) if data is None or b"\0" in data else quote(data, True)


@maker("b64")
def host_name(index: str) -> Decoder:
    """Bytes; the address when there are more than a name may have."""

    def show(call: Call, value: int) -> str:
        length = s32(call.args[int(index)])
        return call.data(value, length) if 0 <= length <= _HOST_NAME else pointer(value)

    return show


@maker("xattr")
def attribute(rule: str) -> Decoder:
    """An attribute's value. Most are strings, so a NUL at the end is not shown."""

    def show(call: Call, value: int) -> str:
        length = wanted(call, rule, value)
        if length > _XATTR_VALUE or not value:
            return pointer(value)
        data = call.read(value, min(length, call.limit + 1))
        if data is None:
            return pointer(value)
        data = data.removesuffix(b"\0") if len(data) == length else data
        return quote(data[: call.limit], len(data) > call.limit)

    return show


@maker("xattrs")
def attribute_names(index: str) -> Decoder:
    """What listxattr put there; nothing if it was only asked for the size."""
    return lambda call, value: call.data(value, wanted(call, "r", value)) if call.args[int(index)] else pointer(value)


@maker("groups")
def group_ids(index: str) -> Decoder:
    """Group ids; the address when there are more than a process may have."""

    def show(call: Call, value: int) -> str:
        count = s32(call.args[int(index)])
        if not 0 <= count <= _GROUPS:
            return pointer(value)
        order = "big" if call.arch.big_endian else "little"
        ids = array(call, value, count, 4, lambda data: str(_id(int.from_bytes(data, order))))  # type: ignore[arg-type]
        return "[]" if value and not count else ids

    return show


def _id(number: int) -> int:
    return -1 if number == 0xFFFF_FFFF else number


@maker("sigpart")
def part_of_signal_mask(index: str) -> Decoder:
    """A set of which rt_sigpending may be asked for the first bytes only."""

    def show(call: Call, value: int) -> str:
        size, full = call.args[int(index)], sigset_size(call.arch)
        data = call.read(value, size) if value and 0 < size <= full else None
        return pointer(value) if data is None else signal_set(unpack_sigset(call.arch, data.ljust(full, b"\0")))

    return show


@structure("timezone", "ii")
def timezone(call: Call, found: Fields) -> str:
    return f"{{tz_minuteswest={found[0]}, tz_dsttime={found[1]}}}"


@maker("schedattr")
def scheduling(index: str) -> Decoder:
    """struct sched_attr that the kernel has filled; that argument tells how much room there was."""
    return lambda call, value: _scheduling(call, value, u32(call.args[int(index)]))


@decoder("setschedattr")
def new_scheduling(call: Call, value: int) -> str:
    """The same from the program: its first word is its size, into which the kernel writes its own where that is too much."""
    if call.note is None:
        call.note = _scheduling(call, value, None)
        return str(call.note)
    size = call.unpack(value, "I") if call.result == -Errno.E2BIG else None
    return str(call.note) if size is None else f"{call.note} => {{size={size[0]}}}"


def _scheduling(call: Call, value: int, room: int | None) -> str:
    head = call.unpack(value, "I")
    if head is None:
        return pointer(value)
    size = head[0] or (_FIRST_SCHED_ATTR if room is None else 0)
    size = size if room is None else min(size, room)
    if size < _FIRST_SCHED_ATTR:
        return f"{{size={head[0]}}}"
    found = call.unpack(value, "IIQiIQQQII" if size >= _SCHED_ATTR else "IIQiIQQQ")
    if found is None:
        return pointer(value)
    _, policy, bits, nice, priority, runtime, deadline, period, *clamps = found
    known = dict(call.names("schedflag").entries)
    kept = known["SCHED_FLAG_KEEP_PARAMS"] if room is None else 0
    parts = [f"size={head[0]}"]
    if policy >> 31 or not bits & (kept | (known["SCHED_FLAG_KEEP_POLICY"] if room is None else 0)):
        parts.append(f"sched_policy={one(policy, call.names('sched'))}")
    parts.append(f"sched_flags={flags(bits, call.names('schedflag'))}")
    if not bits & kept:
        parts += [f"sched_nice={nice}", f"sched_priority={priority}", f"sched_runtime={runtime}"]
        parts += [f"sched_deadline={deadline}", f"sched_period={period}"]
    parts += [f"sched_util_{name}={clamp}" for name, clamp in zip(("min", "max"), clamps, strict=False)]
    return f"{{{', '.join([*parts, '...'] if size > _SCHED_ATTR else parts)}}}"


@decoder("ioprio")
def io_priority(call: Call, value: int) -> str:
    """A class and what it makes of the other bits."""
    value = u32(value)
    return f"IOPRIO_PRIO_VALUE({one(value >> 13, call.names('ioclass'))}, {value & 0x1FFF})"


@decoder("=ioprio")
def io_priority_result(call: Call, value: int) -> str:
    return f"{hexed(value)} ({io_priority(call, value)})"


@maker("waiters")
def waiters(index: str) -> Decoder:
    """An array of struct futex_waitv."""

    def show(call: Call, value: int) -> str:
        order = "big" if call.arch.big_endian else "little"

        def waiter(data: bytes) -> str:
            wanted, place = (int.from_bytes(data[at : at + 8], order) for at in (0, 8))  # type: ignore[arg-type]
            bits, reserved = (int.from_bytes(data[at : at + 4], order) for at in (16, 20))  # type: ignore[arg-type]
            text = f"val={hexed(wanted)}, uaddr={pointer(place)}, flags={flags(bits, call.names('futex2'))}"
            return f"{{{text}, __reserved={reserved:#x}}}" if reserved else f"{{{text}}}"

        count = u32(call.args[int(index)])
        return "[]" if value and not count else array(call, value, count, 24, waiter)

    return show
