"""Decoders of arguments that are numbers, names, strings and plain buffers.

Owns: these decoders. Must not know structures, nor which call uses what. See `strace_call` for what a decoder is.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from emuvm.abi import signals
from emuvm.abi.flags import At, Mode, Open
from emuvm.abi.flags_mm import Map, Memory
from emuvm.abi.structs import decode_dev
from emuvm.tools.strace_call import (
    PATH_SHOWN,
    Call,
    Decoder,
    decoder,
    flags,
    hexed,
    maker,
    mode,
    one,
    pointer,
    s32,
    s64,
    u32,
    wanted,
)  # fmt: skip
from emuvm.tools.strace_text import quote, quote_hex


@decoder("d", "int", "fd")
def integer(call: Call, value: int) -> str:
    return str(s32(value))


@decoder("u", "uint")
def unsigned(call: Call, value: int) -> str:
    return str(u32(value))


@decoder("D", "long", "off")
def long(call: Call, value: int) -> str:
    return str(s64(value) if call.arch.bits == 64 else s32(value))


@decoder("U", "ulong", "size")
def ulong(call: Call, value: int) -> str:
    return str(value)


@decoder("x", "flags")
def hexadecimal(call: Call, value: int) -> str:
    return hexed(u32(value))


@decoder("X")
def hexadecimal_word(call: Call, value: int) -> str:
    return hexed(value)


@decoder("addr", "ptr")
def address(call: Call, value: int) -> str:
    return pointer(value)


@decoder("mode")
def permissions(call: Call, value: int) -> str:
    return mode(value)


@decoder("-")
def hidden(call: Call, value: int) -> str | None:
    return None


@decoder("id")
def user(call: Call, value: int) -> str:
    """uid_t and gid_t: -1 is 'leave it'."""
    return "-1" if u32(value) == 0xFFFF_FFFF else str(u32(value))


@decoder("dirfd")
def directory(call: Call, value: int) -> str:
    return "AT_FDCWD" if s32(value) == At.AT_FDCWD else str(s32(value))


# -- names ----------------------------------------------------------------------------------------------------------------


@maker("f")
def flag_names(kind: str) -> Decoder:
    return lambda call, value: flags(u32(value), call.names(kind))


@maker("F")
def flag_names_of_a_word(kind: str) -> Decoder:
    return lambda call, value: flags(value, call.names(kind))


@maker("g")
def flag_names_alone(kind: str) -> Decoder:
    """Flags, without a comment on bits that have no name."""
    return lambda call, value: flags(u32(value), call.names(kind)).partition(" /*")[0]


@maker("v")
def value_names(kind: str) -> Decoder:
    return lambda call, value: one(u32(value), call.names(kind))


@maker("V")
def result_names(kind: str) -> Decoder:
    """A result with its name: '0 (SCHED_OTHER)'."""
    return lambda call, value: f"{s64(value)} ({one(u32(value), call.names(kind))})"


@decoder("open")
def open_flags(call: Call, value: int) -> str:
    return wide_open_flags(call, u32(value))


def wide_open_flags(call: Call, value: int) -> str:
    """openat2 has 64 bits for them."""
    access = ("O_RDONLY", "O_WRONLY", "O_RDWR", "O_ACCMODE")[value & Open.O_ACCMODE]
    rest = value & ~Open.O_ACCMODE
    if not rest:
        return access
    known = dict(call.names("open").entries)
    half = {"__O_SYNC": known["O_SYNC"] & ~known["O_DSYNC"], "__O_TMPFILE": known["O_TMPFILE"] & ~known["O_DIRECTORY"]}
    names = call.names("open")
    shown = flags(rest, names._replace(entries=(*names.entries, *half.items())))
    return f"{access}|{shown.partition(' /*')[0]}"


@maker("openmode")
def open_mode(index: str) -> Decoder:
    """The mode counts only when a file is made."""

    def show(call: Call, value: int) -> str | None:
        entries = dict(call.names("open").entries)
        made = entries["O_CREAT"] | entries["O_TMPFILE"] & ~entries["O_DIRECTORY"]
        return mode(value) if call.args[int(index)] & made else None

    return show


@decoder("filemode")
def mode_with_type(call: Call, value: int) -> str:
    return file_mode(value)


def file_mode(value: int) -> str:
    """st_mode: 'S_IFREG|S_ISUID|0755'."""
    kinds = {
        Mode.S_IFSOCK: "S_IFSOCK", Mode.S_IFLNK: "S_IFLNK", Mode.S_IFREG: "S_IFREG", Mode.S_IFBLK: "S_IFBLK",
        Mode.S_IFDIR: "S_IFDIR", Mode.S_IFCHR: "S_IFCHR", Mode.S_IFIFO: "S_IFIFO",
    }  # fmt: skip
    value &= 0xFFFF
    kind = kinds.get(value & Mode.S_IFMT)
    if kind is None:
        return mode(value)
    special = ((Mode.S_ISUID, "S_ISUID"), (Mode.S_ISGID, "S_ISGID"), (Mode.S_ISVTX, "S_ISVTX"))
    return "|".join([kind, *(name for bit, name in special if value & bit), mode(value & 0o777)])


@maker("device")
def device(index: str) -> Decoder:
    """A device number, which mknod looks at only when the mode (that argument) makes a device."""

    def show(call: Call, value: int) -> str | None:
        kind = call.args[int(index)] & Mode.S_IFMT
        return makedev(*decode_dev(u32(value))) if kind in (Mode.S_IFCHR, Mode.S_IFBLK) else None

    return show


def makedev(major: int, minor: int) -> str:
    return f"makedev({hexed(major)}, {hexed(minor)})"


@decoder("mapflags")
def map_flags(call: Call, value: int) -> str:
    """The type is a number, the others are bits, and huge pages have their size in the highest ones."""
    value &= 0xFFFF_FFFF if call.arch.bits == 32 else 0xFFFF_FFFF_FFFF_FFFF
    return _huge(one(value & 0xF, call.names("maptype")), call, value & ~0xF, "map", "MAP")


def _huge(first: str, call: Call, value: int, kind: str, prefix: str) -> str:
    size = value >> Map.MAP_HUGE_SHIFT & Map.MAP_HUGE_MASK
    rest = value & ~(Map.MAP_HUGE_MASK << Map.MAP_HUGE_SHIFT)
    parts = [first] if first else []
    if rest:
        shown = flags(rest, call.names(kind))
        parts.append(shown.partition(" /*")[0] if parts or size else shown)
    if size:
        parts.append(f"{size}<<{prefix}_HUGE_SHIFT")
    return "|".join(parts) or "0"


@decoder("memfd")
def memfd_flags(call: Call, value: int) -> str:
    return _huge("", call, u32(value), "memfd", "MFD")


@decoder("mremapto")
def mremap_target(call: Call, value: int) -> str | None:
    both = Memory.MREMAP_MAYMOVE | Memory.MREMAP_FIXED
    return pointer(value) if call.args[3] & both == both else None


@decoder("clone")
def clone(call: Call, value: int) -> str:
    """All of clone's arguments; those that the flags make meaningful."""
    known = dict(call.names("clone").entries)
    parts = [f"child_stack={pointer(call.args[1])}"]
    names = [flags(value & ~0xFF, call.names("clone"))] if value & ~0xFF else []
    if value & 0xFF or not names:
        names.append(signal(value & 0xFF))
    parts.append(f"flags={'|'.join(names)}")
    order = ("parent_tid", "tls", "child_tid") if call.arch.name != "x86_64" else ("parent_tid", "child_tid", "tls")
    found = dict(zip(order, call.args[2:5], strict=True))
    if value & (known["CLONE_PARENT_SETTID"] | known["CLONE_PIDFD"]):
        parts.append(f"parent_tid={pointer(found['parent_tid'])}")
    if value & known["CLONE_SETTLS"]:
        parts.append(f"tls={pointer(found['tls'])}")
    if value & (known["CLONE_CHILD_SETTID"] | known["CLONE_CHILD_CLEARTID"]):
        parts.append(f"child_tidptr={pointer(found['child_tid'])}")
    return ", ".join(parts)


@decoder("barriercpu")
def barrier_cpu(call: Call, value: int) -> str | None:
    """membarrier's third argument counts only with a flag."""
    return str(s32(value)) if u32(call.args[1]) else None


@decoder("statxat")
def statx_flags(call: Call, value: int) -> str:
    sync = ("AT_STATX_SYNC_AS_STAT", "AT_STATX_FORCE_SYNC", "AT_STATX_DONT_SYNC", "AT_STATX_FORCE_SYNC|AT_STATX_DONT_SYNC")
    rest = u32(value) & ~At.AT_STATX_SYNC_TYPE
    text = sync[(value & At.AT_STATX_SYNC_TYPE) >> 13]
    return f"{text}|{flags(rest, call.names('at')).partition(' /*')[0]}" if rest else text


@decoder("futexop")
def futex_operation(call: Call, value: int) -> str:
    value, extra = u32(value), ""
    if value & 256:
        extra = "|FUTEX_CLOCK_REALTIME"
    operation = value & ~(128 | 256)
    if operation not in dict(call.names("futex").entries).values():
        return one(value, call.names("futex"))
    return one(operation, call.names("futex")) + ("_PRIVATE" if value & 128 else "") + extra


@decoder("futexcode")
def futex_code(call: Call, value: int) -> str:
    """FUTEX_WAKE_OP: what is done to the second word, and how it is compared."""
    operations = ("FUTEX_OP_SET", "FUTEX_OP_ADD", "FUTEX_OP_OR", "FUTEX_OP_ANDN", "FUTEX_OP_XOR")
    compares = ("FUTEX_OP_CMP_EQ", "FUTEX_OP_CMP_NE", "FUTEX_OP_CMP_LT", "FUTEX_OP_CMP_LE", "FUTEX_OP_CMP_GT", "FUTEX_OP_CMP_GE")
    op, cmp = value >> 28 & 0xF, value >> 24 & 0xF
    shift = "FUTEX_OP_OPARG_SHIFT<<28|" if op & 8 else ""
    op &= 7
    name = operations[op] if op < len(operations) else f"{op:#x} /* FUTEX_OP_??? */"
    compare = compares[cmp] if cmp < len(compares) else f"{cmp:#x} /* FUTEX_OP_CMP_??? */"
    return f"{shift}{name}<<28|{hexed(value >> 12 & 0xFFF)}<<12|{compare}<<24|{hexed(value & 0xFFF)}"


@decoder("futexbits")
def futex_bits(call: Call, value: int) -> str:
    return "FUTEX_BITSET_MATCH_ANY" if u32(value) == 0xFFFF_FFFF else hexed(u32(value))


@decoder("persona")
def personality(call: Call, value: int) -> str:
    value = u32(value)
    if value == 0xFFFF_FFFF:
        return "0xffffffff"
    rest, kind = value & ~0xFF, one(value & 0xFF, call.names("per"))
    return f"{kind}|{flags(rest, call.names('persona')).partition(' /*')[0]}" if rest else kind


@decoder("shmget")
def shm_flags(call: Call, value: int) -> str:
    rest = u32(value) & ~0o777
    shown = _huge("", call, rest, "shmget", "SHM") if rest else ""
    return f"{shown}|{mode(value & 0o777)}" if shown else mode(value & 0o777)


@decoder("key")
def ipc_key(call: Call, value: int) -> str:
    return "IPC_PRIVATE" if not u32(value) else hexed(u32(value))


@decoder("ioctl")
def ioctl_request(call: Call, value: int) -> str:
    value = u32(value)
    for name, number in call.names("ioctl").entries:
        if number == value:
            return name
    ways = ("_IOC_NONE", "_IOC_WRITE", "_IOC_READ", "_IOC_READ|_IOC_WRITE")
    return f"_IOC({ways[value >> 30]}, {hexed(value >> 8 & 0xFF)}, {hexed(value & 0xFF)}, {hexed(value >> 16 & 0x3FFF)})"


@decoder("socktype")
def socket_type(call: Call, value: int) -> str:
    rest = u32(value) & ~0xF
    kind = one(value & 0xF, call.names("socktype"))
    return f"{kind}|{flags(rest, call.names('sock')).partition(' /*')[0]}" if rest else kind


# -- signals --------------------------------------------------------------------------------------------------------------


@decoder("sig")
def signal_argument(call: Call, value: int) -> str:
    return signal(s32(value))


def signal(number: int) -> str:
    """'SIGINT', 'SIGRTMIN', 'SIGRT_1'; the number itself when it is none."""
    if number == signals.SIGRTMIN:
        return "SIGRTMIN"
    return signals.name(number) if 0 < number <= signals.NSIG else str(number)


def signal_set(mask: int) -> str:
    """'[INT TERM]', or '~[KILL STOP]' when two thirds are in it."""
    inverted = mask.bit_count() >= signals.NSIG * 2 // 3
    if inverted:
        mask = ~mask & (1 << signals.NSIG) - 1
    found = []
    for number in range(1, signals.NSIG + 1):
        if mask >> (number - 1) & 1:
            found.append("RTMIN" if number == signals.SIGRTMIN else signals.name(number).removeprefix("SIG"))
    return f"{'~' if inverted else ''}[{' '.join(found)}]"


# -- strings and buffers --------------------------------------------------------------------------------------------------


@decoder("path", "path?")
def path(call: Call, value: int) -> str:
    return call.string(value, PATH_SHOWN - 1)


@decoder("str")
def string(call: Call, value: int) -> str:
    return call.string(value, call.limit)


@maker("b")
def buffer(rule: str) -> Decoder:
    """Bytes; see `strace_call.wanted` for the rule."""
    return lambda call, value: call.data(value, wanted(call, rule, value))


@maker("short")
def limited_buffer(rule: str) -> Decoder:
    """'3:64': bytes as many as that argument says; the address where these are more than the kernel takes."""
    index, _, most = rule.partition(":")

    def show(call: Call, value: int) -> str:
        length = call.args[int(index)]
        return call.data(value, length) if length <= int(most) else pointer(value)

    return show


@decoder("random")
def random_bytes(call: Call, value: int) -> str:
    length = max(call.result or 0, 0)
    data = call.read(value, min(length, call.limit))
    return pointer(value) if data is None else quote_hex(data, length > call.limit)


@decoder("cwd")
def working_directory(call: Call, value: int) -> str:
    """The result counts the NUL."""
    data = call.read(value, min(max((call.result or 1) - 1, 0), PATH_SHOWN))
    return pointer(value) if data is None else quote(data)


@decoder("name16")
def thread_name(call: Call, value: int) -> str:
    return call.string(value, 15)


@decoder("comm")
def new_thread_name(call: Call, value: int) -> str:
    """The kernel takes 15 bytes of it, and so strace looks for the end of the string in these only."""
    text = b""
    while value and len(text) < 15:
        byte = call.read(value + len(text), 1)
        if byte == b"\0":
            return quote(text)
        if byte is None:
            return pointer(value)
        text += byte
    return quote(text, True) if value else "NULL"


# -- times ----------------------------------------------------------------------------------------------------------------

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def date(seconds: int, nanoseconds: int = 0) -> str:
    """'2026-11-25T22:17:51+0000', '' where the calendar ends, and for 0. Always UTC: a trace is read anywhere."""
    if not seconds and not nanoseconds:
        return ""
    try:
        moment = _EPOCH + timedelta(seconds=seconds)
    except OverflowError:
        return ""
    fraction = f".{nanoseconds:09d}" if nanoseconds else ""
    return moment.strftime("%Y-%m-%dT%H:%M:%S") + fraction + "+0000"


@decoder("=time")
def time_result(call: Call, value: int) -> str:
    return f"{s64(value)} ({date(s64(value))})" if value else "0"
