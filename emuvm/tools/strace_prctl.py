"""Decoders of what prctl's single commands take.

Owns: these decoders. Must not know which command uses what. See `strace_call` for what a decoder is.
"""

from __future__ import annotations

from emuvm.tools.strace_call import Call, Decoder, decoder, flags, hexed, maker, one, pointer, s32, u32

_VL_LENGTH = 0xFFFF
_TAGGED, _TCF, _TAG, _TAG_SHIFT = 1, 6, 0x7FFF8, 3


@maker("w")
def names_of_a_word(kind: str) -> Decoder:
    """The name of exactly this value, of which all 64 bits count."""
    return lambda call, value: one(value, call.names(kind))


@decoder("wsig")
def signal_word(call: Call, value: int) -> str:
    """A signal, of which all bits count: what is none is an unsigned number."""
    from emuvm.tools.strace_scalars import signal

    return str(value) if value >> 31 else signal(value)


@decoder("mcepolicy")
def machine_check_policy(call: Call, value: int) -> str:
    """What PR_MCE_KILL_SET sets; a number for other commands."""
    return one(value, call.names("mcepolicy")) if call.args[1] == dict(call.names("mce").entries)["PR_MCE_KILL_SET"] else hexed(value)


@decoder("=mce")
def machine_check_result(call: Call, value: int) -> str:
    return f"{value} ({one(value, call.names('mcepolicy'))})"


@maker("veclen")
def vector_length(kind: str) -> Decoder:
    """PR_SVE_SET_VL, PR_SME_SET_VL: flags above a length."""

    def show(call: Call, value: int) -> str:
        bits, length = value & ~_VL_LENGTH, value & _VL_LENGTH
        return (f"{flags(bits, call.names(kind)).partition(' /*')[0]}|" if bits else "") + hexed(length)

    return show


@decoder("tagged")
def tagged_addresses(call: Call, value: int) -> str:
    """PR_SET_TAGGED_ADDR_CTRL: whether tags are ignored, how they are checked, and which may be drawn."""
    text = ("" if value & _TAGGED else "!") + "PR_TAGGED_ADDR_ENABLE|" + one(value & _TCF, call.names("mtetcf"))
    if value & _TAG:
        text += f"|{hexed((value & _TAG) >> _TAG_SHIFT)}<<PR_MTE_TAG_SHIFT"
    rest = value & ~(_TAGGED | _TCF | _TAG)
    return f"{text}|{hexed(rest)}" if rest else text


@decoder("ambientcap")
def ambient_capability(call: Call, value: int) -> str:
    """The capability that is asked for, raised or lowered; a number for other commands."""
    return one(value, call.names("cap")) if 1 <= call.args[1] <= 3 else hexed(value)


@maker("vma")
def name_of_an_area(index: str) -> Decoder:
    """PR_SET_VMA's last three arguments; numbers for a command without name."""

    def show(call: Call, value: int) -> str:
        if call.args[1]:
            return hexed(value)
        return (pointer(value), str(value), "")[int(index)] or call.string(value, call.limit)

    return show


@decoder("core")
def core_cookie(call: Call, value: int) -> str:
    """Where PR_SCHED_CORE_GET puts the cookie; an address for other commands."""
    found = call.unpack(value, "Q") if not u32(call.args[1]) and call.result is not None and not call.failed else None
    return pointer(value) if found is None else f"[{found[0]:#x}]"


@decoder("coretype")
def core_type(call: Call, value: int) -> str:
    """The number and the name: the number's header is not where others have it."""
    return f"{hexed(u32(value))} /* {dict((n, name) for name, n in call.names('pidtype').entries).get(u32(value), 'PIDTYPE_???')} */"


@decoder("pid")
def process_number(call: Call, value: int) -> str:
    return str(s32(value))
