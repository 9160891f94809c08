"""Decoders of arrays in guest memory, and of results that carry more than a number.

Owns: these decoders. Must not know which call uses what. See `strace_call` for what a decoder is.
"""

from __future__ import annotations

from collections.abc import Callable

from emuvm.abi.controls import Epoll
from emuvm.abi.sigframes import sigset_size, unpack_sigset
from emuvm.abi.structs import epoll_layout, iovec_size, unpack_iovec
from emuvm.tools.strace_call import Call, Decoder, Fields, decoder, flags, hexed, maker, mode, one, pointer, s32, structure, u32, wanted
from emuvm.tools.strace_scalars import open_flags, personality, signal, signal_set
from emuvm.tools.strace_structs import timespec, timeval

# -- arrays ---------------------------------------------------------------------------------------------------------------


def array(call: Call, address: int, count: int, size: int, show: Callable[[bytes], str]) -> str:
    """Elements of `size` bytes, as many as are shown; where memory ends, the address at which it does.

    The element behind the last that is shown is looked at as well: dots alone promise that more can be read.
    """
    if not address:
        return "NULL"
    if address + count * size > 1 << call.arch.bits:
        return pointer(address)
    parts: list[str] = []
    for index in range(min(count, call.limit + 1)):
        data = call.read(address + index * size, size)
        if data is None:
            if not index:
                return pointer(address)
            return f"[{', '.join(parts)}, ... /* {address + index * size:#x} */]"
        parts.append(show(data) if index < call.limit else "...")
    return f"[{', '.join(parts)}]"


def _id(number: int) -> str:
    return "-1" if number == 0xFFFF_FFFF else str(number)


def _numbers(call: Call, address: int, count: int) -> str:
    order = "big" if call.arch.big_endian else "little"
    return array(call, address, count, 4, lambda data: _id(int.from_bytes(data, order)))  # type: ignore[arg-type]


@maker("numbers")
def numbers(rule: str) -> Decoder:
    """An array of 32-bit numbers: as many as `strace_call.wanted` says."""

    def show(call: Call, value: int) -> str:
        count = wanted(call, rule, value)
        return "[]" if value and not count else _numbers(call, value, count)

    return show


def _single(call: Call, found: Fields) -> str:
    return f"[{found[0]}]"


structure("int*", "i")(_single)
structure("uint*", "I")(_single)
structure("tsc*", "I")(lambda call, found: f"[{one(found[0], call.names('tsc'))}]")
structure("off*", "q")(_single)
structure("size*", "W")(_single)


@decoder("ptr*")
def one_pointer(call: Call, value: int) -> str:
    found = call.word(value)
    return pointer(value) if found is None else f"[{pointer(found)}]"


@structure("sig*", "i")
def one_signal(call: Call, found: Fields) -> str:
    return f"[{signal(found[0])}]"


@decoder("moving")
def moving_offset(call: Call, value: int) -> str | None:
    """sendfile's offset: before the call, and after it where it moved."""
    now = call.unpack(value, "q")
    if call.result is None:
        call.note = now
        return None
    if call.note is None or now is None:
        return pointer(value)
    return f"[{call.note[0]}]" if call.failed or now == call.note else f"[{call.note[0]}] => [{now[0]}]"


@structure("pair", "ii")
def descriptors(call: Call, found: Fields) -> str:
    return f"[{found[0]}, {found[1]}]"


@decoder("vec")
def page_bytes(call: Call, value: int) -> str:
    """mincore's answer: a byte for each page."""
    pages = -(-call.args[1] // call.arch.page_size)
    return array(call, value, pages, 1, lambda data: str(data[0] & 1))


# -- iovecs ---------------------------------------------------------------------------------------------------------------


def _iovec(call: Call, address: int, count: int, room: int | None, shown: bool) -> str:
    """`room`: how many bytes the call has filled, None: every buffer is the program's."""
    left = room if room is not None else -1

    def show(data: bytes) -> str:
        nonlocal left
        base, length = unpack_iovec(call.arch, data)[0]
        part = length
        if left >= 0:
            part = min(length, left)
            left -= part
        text = call.data(base, part) if shown else pointer(base)
        return f"{{iov_base={text}, iov_len={length}}}"

    if address and not count:
        return "[]"
    return array(call, address, count, iovec_size(call.arch), show)


@maker("iov")
def iovec(index: str) -> Decoder:
    """Buffers that the program has filled."""
    return lambda call, value: _iovec(call, value, call.args[int(index)], None, shown=True)


@maker("iovr")
def read_iovec(index: str) -> Decoder:
    """Buffers that the call has filled, with what it put there; places only when it failed."""
    return lambda call, value: _iovec(call, value, call.args[int(index)], max(call.result or 0, 0), shown=not call.failed)


@maker("iovp")
def remote_iovec(index: str) -> Decoder:
    """Places, be it in another process."""
    return lambda call, value: _iovec(call, value, call.args[int(index)], None, shown=False)


# -- programs -------------------------------------------------------------------------------------------------------------


@decoder("argv")
def arguments(call: Call, value: int) -> str:
    if not value:
        return "NULL"
    parts: list[str] = []
    word = call.arch.bits // 8
    for index in range(call.limit + 1):
        at = value + index * word
        text = call.word(at)
        if text is None:
            return f"[{', '.join(parts)}, ... /* {at:#x} */]" if parts else pointer(value)
        if not text:
            break
        parts.append("..." if index == call.limit else call.string(text, call.limit))
    return f"[{', '.join(parts)}]"


@decoder("envp")
def environment(call: Call, value: int) -> str:
    """Where it lies and how many there are: environments are long."""
    if not value:
        return "NULL"
    count, word = 0, call.arch.bits // 8
    while (text := call.word(value + count * word)) and count < 1 << 16:
        count += 1
    if text is None and not count:
        return pointer(value)
    return f"{value:#x} /* {count} var{'' if count == 1 else 's'}{', unterminated' if text is None else ''} */"


# -- descriptors to wait for ----------------------------------------------------------------------------------------------


@maker("pollfds")
def pollfds(index: str) -> Decoder:
    def show(call: Call, value: int) -> str:
        order = "big" if call.arch.big_endian else "little"

        def entry(data: bytes) -> str:
            fd = int.from_bytes(data[:4], order, signed=True)  # type: ignore[arg-type]
            events = int.from_bytes(data[4:6], order)  # type: ignore[arg-type]
            return f"{{fd={fd}}}" if fd < 0 else f"{{fd={fd}, events={flags(events, call.names('poll'))}}}"

        count = u32(call.args[int(index)])
        return "[]" if value and not count else array(call, value, count, 8, entry)

    return show


@decoder("=poll")
def poll_result(call: Call, value: int) -> str:
    """Which descriptors are ready, and what is left of the time."""
    if not value:
        return "0 (Timeout)"
    parts: list[str] = []
    for index in range(min(u32(call.args[1]), 4096)):
        found = call.unpack(call.args[0] + 8 * index, "iHH")
        if found is None:
            break
        if found[0] >= 0 and found[2]:
            if len(parts) == call.limit:
                parts.append("...")
                break
            parts.append(f"{{fd={found[0]}, revents={flags(found[2], call.names('poll'))}}}")
    text = f"[{', '.join(parts)}]"
    return f"{value} ({text}{_left(call, 2, timespec)})" if call.name == "ppoll" else f"{value} ({text})"


def _epoll_event(call: Call, data: bytes) -> str:
    found = epoll_layout(call.arch)
    events, value = found.unpack(data)
    shown = value >> 32 if call.arch.big_endian else value & 0xFFFF_FFFF
    return f"{{events={flags(events, call.names('epollev'))}, data={{u32={shown}, u64={value}}}}}"


@decoder("epollevent")
def epoll_event(call: Call, value: int) -> str:
    """What is to be watched: nothing of it counts when it is removed."""
    data = None if call.args[1] & 0xFFFF_FFFF == Epoll.EPOLL_CTL_DEL else call.read(value, epoll_layout(call.arch).size)
    return pointer(value) if not value or data is None else _epoll_event(call, data)


@decoder("epollevents")
def epoll_events(call: Call, value: int) -> str:
    """What came."""
    count = max(call.result or 0, 0)
    return array(call, value, count, epoll_layout(call.arch).size, lambda data: _epoll_event(call, data)) if count else "[]"


def _left(call: Call, index: int, show: Decoder) -> str:
    address = call.args[index]
    return f", left {show(call, address)}" if address and call.read(address, 1) is not None else ""


def _fd_set(call: Call, address: int, count: int) -> list[int] | None:
    if s32(count) < 0:
        return None
    count = min(s32(count), 1024)
    data = call.read(address, -(-count // call.arch.bits) * (call.arch.bits // 8))
    if data is None:
        return None
    word = call.arch.bits // 8
    order = "big" if call.arch.big_endian else "little"
    bits = 0
    for at in range(0, len(data), word):
        bits |= int.from_bytes(data[at : at + word], order) << at * 8  # type: ignore[arg-type]
    return [fd for fd in range(count) if bits >> fd & 1]


@decoder("fdset")
def fd_set(call: Call, value: int) -> str:
    if not value:
        return "NULL"
    found = _fd_set(call, value, call.args[0])
    return pointer(value) if found is None else f"[{' '.join(map(str, found))}]"


@decoder("=select")
def select_result(call: Call, value: int) -> str:
    if not value:
        return "0 (Timeout)"
    parts = []
    for index, name in ((1, "in"), (2, "out"), (3, "except")):
        found = _fd_set(call, call.args[index], call.args[0]) if call.args[index] else None
        if found:
            parts.append(f"{name} [{' '.join(map(str, found))}]")
    left = _left(call, 4, timespec if call.name == "pselect6" else timeval)
    return f"{value} ({', '.join(parts)}{left if parts else left[2:]})"


@structure("sigmask6", "WW")
def pselect_mask(call: Call, found: Fields) -> str:
    """pselect6's sixth argument: {mask, size of the mask}."""
    address, size = found
    data = call.read(address, size) if address and size == sigset_size(call.arch) else None
    text = pointer(address) if data is None else signal_set(unpack_sigset(call.arch, data))
    return f"{{sigmask={text}, sigsetsize={size}}}"


# -- the rest -------------------------------------------------------------------------------------------------------------


@decoder("dents")
def directory_entries(call: Call, value: int) -> str:
    """How many entries came."""
    data = call.read(value, max(call.result or 0, 0))
    if data is None:
        return pointer(value)
    count = at = 0
    while at + 19 <= len(data):
        size = int.from_bytes(data[at + 16 : at + 18], "big" if call.arch.big_endian else "little")
        if size < 19:
            break
        count, at = count + 1, at + size
    return f"{value:#x} /* {count} entr{'y' if count == 1 else 'ies'} */"


@decoder("cpus")
def cpu_set(call: Call, value: int) -> str:
    length = call.result if call.name == "sched_getaffinity" and call.result else call.args[1]
    data = call.read(value, min(max(length, 0), 1024)) if value else None
    if data is None:
        return pointer(value)
    bits = int.from_bytes(data, "little")
    return f"[{' '.join(str(n) for n in range(len(data) * 8) if bits >> n & 1)}]"


@decoder("status")
def wait_status(call: Call, value: int) -> str:
    found = call.unpack(value, "i")
    if found is None or call.result is None or call.result <= 0:
        return pointer(value)
    status = found[0]
    if not status & 0x7F:
        text = f"WIFEXITED(s) && WEXITSTATUS(s) == {status >> 8 & 0xFF}"
    elif status & 0xFF == 0x7F:
        text = f"WIFSTOPPED(s) && WSTOPSIG(s) == {signal(status >> 8 & 0xFF)}"
    else:
        text = f"WIFSIGNALED(s) && WTERMSIG(s) == {signal(status & 0x7F)}"
        text += " && WCOREDUMP(s)" if status & 0x80 else ""
    return f"[{{{text}}}]"


@decoder("=addr")
def address_result(call: Call, value: int) -> str:
    return f"{value & (1 << call.arch.bits) - 1:#x}" if value else "0"


@decoder("=mode")
def mode_result(call: Call, value: int) -> str:
    return mode(value)


@decoder("=fd")
def descriptor_flags(call: Call, value: int) -> str:
    return f"{value:#x} (flags {flags(value, call.names('fd'))})" if value else "0"


@decoder("=fl")
def status_flags(call: Call, value: int) -> str:
    return f"{value:#x} (flags {open_flags(call, value)})" if value else "0 (flags O_RDONLY)"


@decoder("=lease")
def lease(call: Call, value: int) -> str:
    return f"{hexed(value)} ({one(value, call.names('flocktype'))})"


@decoder("=seals")
def seals(call: Call, value: int) -> str:
    return f"{value:#x} (seals {flags(value, call.names('seal'))})" if value else "0"


@decoder("=persona")
def persona_result(call: Call, value: int) -> str:
    return f"{hexed(value)} ({personality(call, value)})"


@decoder("=barrier")
def barriers(call: Call, value: int) -> str:
    return f"{value:#x} ({flags(value, call.names('barrier'))})" if value else "0"


@decoder("=sig")
def signal_result(call: Call, value: int) -> str:
    return f"{value} ({signal(value)})" if value else "0"


@decoder("=secbits")
def secure_bits(call: Call, value: int) -> str:
    return f"{value:#x} ({flags(value, call.names('secbit'))})" if value else "0"


@decoder("=dump")
def dumpable(call: Call, value: int) -> str:
    return f"{value} ({one(value, call.names('dump'))})"


@decoder("sigreturn")
def signal_return(call: Call, value: int) -> str | None:
    """rt_sigreturn has no arguments: the mask it is about to restore is shown. `note` is the stack pointer."""
    mask_at = {"x86_64": 296, "arm64": 168}.get(call.arch.name)
    if mask_at is None or call.note is None:
        return None
    data = call.read(call.note + mask_at, sigset_size(call.arch))
    return None if data is None else f"{{mask={signal_set(unpack_sigset(call.arch, data))}}}"
