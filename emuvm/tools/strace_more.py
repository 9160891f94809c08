"""Decoders of terminals' settings, of shared memory segments, of memory policies and of capabilities.

Owns: these decoders. Must not know which call uses what. See `strace_call` for what a decoder is.
"""

from __future__ import annotations

from collections.abc import Callable

from emuvm.abi.errno import Errno
from emuvm.abi.flags_mm import family
from emuvm.abi.names import Names
from emuvm.tools.strace_arrays import array
from emuvm.tools.strace_call import Call, Decoder, Fields, decoder, flags, hexed, maker, mode, one, pointer, structure, u32

_BAUD = (
    "B0 B50 B75 B110 B134 B150 B200 B300 B600 B1200 B1800 B2400 B4800 B9600 B19200 B38400 BOTHER B57600 B115200 B230400 B460800 B500000 "
    "B576000 B921600 B1000000 B1152000 B1500000 B2000000 B2500000 B3000000 B3500000 B4000000"
).split()
_DELAYS = (
    (8, 1, "NL0 NL1"), (9, 3, "CR0 CR1 CR2 CR3"), (11, 3, "TAB0 TAB1 TAB2 XTABS"), (13, 1, "BS0 BS1"), (14, 1, "VT0 VT1"),
    (15, 1, "FF0 FF1"),
)  # fmt: skip
"""Bits of c_oflag that are numbers: shift, mask, names."""
_CBAUD, _CSIZE = 0x100F, 0x30


def _bits(value: int, known: Names) -> str:
    """Like `flags`, but nothing for 0, and no comment for bits without a name."""
    return flags(value, known, "").partition(" /*")[0]


def _speed(value: int) -> str:
    return _BAUD[value & 0xF | (value & 0x1000) >> 8]


@decoder("termios")
def termios(call: Call, value: int) -> str:
    """asm-generic/termbits.h."""
    found = call.unpack(value, "4I") if family(call.arch.name) not in ("mips", "powerpc", "sparc") else None
    if found is None:
        return pointer(value)
    iflag, oflag, cflag, lflag = found
    output = []
    for shift, mask, names in _DELAYS:
        output.append(names.split()[oflag >> shift & mask])
        oflag &= ~(mask << shift)
    control = [_speed(cflag)]
    if cflag >> 16 & _CBAUD:
        control.append(f"{_speed(cflag >> 16)}<<IBSHIFT")
    control.append(f"CS{5 + (cflag >> 4 & 3)}")
    cflag &= ~(_CBAUD | _CBAUD << 16 | _CSIZE)
    output.append(_bits(oflag, call.names("oflag")))
    control.append(_bits(cflag, call.names("cflag")))
    return (
        f"{{c_iflag={_bits(iflag, call.names('iflag'))}, c_oflag={'|'.join(output)}, c_cflag={'|'.join(control)}, "
        f"c_lflag={_bits(lflag, call.names('lflag'))}, ...}}"
    )


@structure("shmid", "iIIIIIHxx4x16xQqqqiiQ", narrow=None)
def shmid(call: Call, found: Fields) -> str:
    key, uid, gid, cuid, cgid, bits, _, size, atime, dtime, ctime, creator, last, attached = found
    shown = f"shm_segsz={size}, shm_cpid={creator}, shm_lpid={last}, shm_nattch={attached}"
    shown += f", shm_atime={atime}, shm_dtime={dtime}, shm_ctime={ctime}"
    return f"{{shm_perm={{uid={uid}, gid={gid}, mode={mode(bits)}, key={hexed(key & 0xFFFF_FFFF)}, cuid={cuid}, cgid={cgid}}}, {shown}}}"


def _named(names: tuple[str, ...], values: Fields) -> str:
    return f"{{{', '.join(f'{name}={value}' for name, value in zip(names, values, strict=True))}}}"


@structure("shminfo", "i4xWWWWW", narrow="iWWWWW")
def shm_info(call: Call, found: Fields) -> str:
    """What there is of them."""
    names = ("used_ids", "shm_tot", "shm_rss", "shm_swp", "swap_attempts", "swap_successes")
    return _named(names, found)


@structure("shmlimits", "WWWWW")
def shm_limits(call: Call, found: Fields) -> str:
    """What there may be of them."""
    names = ("shmmax", "shmmin", "shmmni", "shmseg", "shmall")
    return _named(names, found)


@structure("caphead", "Ii")
def capability_header(call: Call, found: Fields) -> str:
    return f"{{version={one(found[0], call.names('capversion'))}, pid={found[1]}}}"


@decoder("capdata")
def capability_sets(call: Call, value: int) -> str:
    """Versions 2 and 3 have 64 bits, in two halves."""
    version = call.unpack(call.args[0], "I")
    known = dict(call.names("capversion").entries)
    wide = version is not None and version[0] != known["_LINUX_CAPABILITY_VERSION_1"]
    found = call.unpack(value, "6I" if wide else "3I")
    if found is None or version is None or version[0] not in known.values():
        return pointer(value)
    parts = []
    for index, name in enumerate(("effective", "permitted", "inheritable")):
        halves = [_capabilities(call, found[index], 0)] + ([_capabilities(call, found[index + 3], 32)] if wide else [])
        parts.append(f"{name}={'|'.join(half for half in halves if half) or '0'}")
    return f"{{{', '.join(parts)}}}"


def _capabilities(call: Call, value: int, first: int) -> str:
    names = {number: name for name, number in call.names("cap").entries}
    found, rest = [], u32(value)
    for bit in range(32):
        if rest >> bit & 1 and first + bit in names:
            found.append(f"1<<{names[first + bit]}")
            rest &= ~(1 << bit)
    return "|".join([*found, hexed(rest)] if rest else found)


# -- memory policies, and what kcmp and cachestat are told ------------------------------------------------------------------


@decoder("policy")
def policy(call: Call, value: int) -> str:
    return _policy(call, value)


def _policy(call: Call, value: int) -> str:
    """A mode and its flags."""
    known = call.names("mpolflag")
    bits = sum(bit for _, bit in known.entries)
    mode_part, set_bits = u32(value) & ~bits, value & bits
    if not set_bits:
        return one(mode_part, call.names("mpol"))
    for name, number in call.names("mpol").entries:
        if number == mode_part:
            return f"{name}|{flags(set_bits, known)}"
    return f"{flags(set_bits, known)}|{mode_part:#x}"


@decoder("policyword")
def policy_word(call: Call, value: int) -> str:
    """mbind takes a long, of which the kernel looks at the lower half."""
    known = call.names("mpolflag")
    if value == u32(value):
        return _policy(call, value)
    return flags(value, known) if any(value & bit for _, bit in known.entries) else one(value, call.names("mpol"))


@structure("policy*", "I")
def policy_told(call: Call, found: Fields) -> str:
    return f"[{one(found[0], call.names('mpol'))}]"


@maker("nodes")
def nodes(index: str) -> Decoder:
    """A mask of nodes, of which that argument tells the number and one more."""

    def show(call: Call, value: int) -> str:
        bits, order = call.arch.bits, "big" if call.arch.big_endian else "little"
        count = (call.args[int(index)] + bits - 2) // bits
        if value and not count:
            return pointer(value) if call.args[int(index)] else "[]"
        digits = bits // 4

        def word(data: bytes) -> str:
            number = int.from_bytes(data, order)  # type: ignore[arg-type]
            return f"{number:#0{digits}x}" if number else "0" * digits

        return array(call, value, count, bits // 8, word)

    return show


@maker("addresses")
def addresses(index: str) -> Decoder:
    order = {True: "big", False: "little"}

    def show(call: Call, value: int) -> str:
        count = call.args[int(index)]
        if value and not count:
            return "[]"
        word = call.arch.bits // 8
        return array(call, value, count, word, lambda data: pointer(int.from_bytes(data, order[call.arch.big_endian])))  # type: ignore[arg-type]

    return show


@maker("ints")
def integers(index: str) -> Decoder:
    return _integers(index, str)


@maker("places")
def places(index: str) -> Decoder:
    """What became of pages: their node, or an errno by its name."""
    return _integers(index, _place)


def _integers(index: str, text: Callable[[int], str]) -> Decoder:
    def show(call: Call, value: int) -> str:
        count = call.args[int(index)]
        if value and not count:
            return "[]"
        order = "big" if call.arch.big_endian else "little"
        return array(call, value, count, 4, lambda data: text(int.from_bytes(data, order, signed=True)))  # type: ignore[arg-type]

    return show


def _place(number: int) -> str:
    try:
        return f"-{Errno(-number).name}" if number < 0 else str(number)
    except ValueError:
        return str(number)


@structure("slot", "iiI")
def watched_slot(call: Call, found: Fields) -> str:
    return f"{{efd={found[0]}, tfd={found[1]}, toff={found[2]}}}"


@structure("range", "QQ")
def file_range(call: Call, found: Fields) -> str:
    return f"{{off={hexed(found[0])}, len={found[1]}}}"


@structure("cachestat", "5Q")
def cache_counts(call: Call, found: Fields) -> str:
    return _named(("nr_cache", "nr_dirty", "nr_writeback", "nr_evicted", "nr_recently_evicted"), found)
