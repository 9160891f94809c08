"""Decoders of single structures in guest memory.

Owns: these decoders. Must not know which call uses what. See `strace_call` for what a decoder is.
"""

from __future__ import annotations

from struct import unpack_from

from emuvm.abi import signals
from emuvm.abi.arch import Arch
from emuvm.abi.controls import Clock
from emuvm.abi.flags import Mode
from emuvm.abi.flags_mm import family
from emuvm.abi.sigframes import sigaction_size, sigset_size, stack_t_size, unpack_sigaction, unpack_sigset, unpack_stack_t
from emuvm.abi.structs import decode_dev
from emuvm.tools.strace_call import Call, Decoder, Fields, decoder, flags, hexed, maker, mode, one, pointer, s32, structure, u32
from emuvm.tools.strace_scalars import date, file_mode, makedev, signal, signal_set, wide_open_flags
from emuvm.tools.strace_text import error, quote, quote_hex

# -- files ----------------------------------------------------------------------------------------------------------------


@decoder("stat")
def stat(call: Call, value: int) -> str:
    """The mode, and the size or the device's number."""
    generic = call.arch.name != "x86_64"
    found = call.unpack(value, "QQIIIIQ8xq" if generic else "QQQIIIxxxxQq")
    if found is None or call.arch.bits != 64:
        return pointer(value)
    kind, device, size = (found[2] if generic else found[3]), found[6], found[7]
    special = kind & Mode.S_IFMT in (Mode.S_IFCHR, Mode.S_IFBLK)
    last = f"st_rdev={makedev(*decode_dev(device))}" if special else f"st_size={size}"
    return f"{{st_mode={file_mode(kind)}, {last}, ...}}"


@structure("statxbuf", "IIQIIIHxxQQQQ64xII")
def statx(call: Call, found: Fields) -> str:
    mask, _, attributes, _, _, _, kind, _, size, _, _, major, minor = found
    return (
        f"{{stx_mask={flags(mask, call.names('statx'))}, stx_attributes={hexed(attributes)}, "
        f"stx_mode={file_mode(kind)}, stx_size={size}, ...}}"
    )


@structure("statfs", "7QIIqqq", narrow=None)
def statfs(call: Call, found: Fields) -> str:
    kind, bsize, blocks, bfree, bavail, files, ffree, first, second, namelen, frsize, bits = found
    mounted = f", f_flags={flags(bits, call.names('statfs'))}" if bits else ""
    return (
        f"{{f_type={one(kind, call.names('super'))}, f_bsize={bsize}, f_blocks={blocks}, f_bfree={bfree}, f_bavail={bavail}, "
        f"f_files={files}, f_ffree={ffree}, f_fsid={{val=[{hexed(first)}, {hexed(second)}]}}, f_namelen={namelen}, f_frsize={frsize}"
        f"{mounted}}}"
    )


@maker("flock")
def flock(rule: str) -> Decoder:
    """struct flock; 'pid': with the process that holds the lock."""

    def show(call: Call, value: int) -> str:
        found = call.unpack(value, "hhxxxxqqi4x") if call.arch.bits == 64 else None
        if found is None:
            return pointer(value)
        kind, whence, start, length, pid = found
        shown = one(kind & 0xFFFF, call.names("flocktype")), one(whence & 0xFFFF, call.names("seek"))
        text = f"l_type={shown[0]}, l_whence={shown[1]}, l_start={start}, l_len={length}"
        return f"{{{text}, l_pid={pid}}}" if rule == "pid" else f"{{{text}}}"

    return show


@structure("owner", "ii")
def owner(call: Call, found: Fields) -> str:
    return f"{{type={one(u32(found[0]), call.names('owner'))}, pid={found[1]}}}"


@decoder("openhow")
def open_how(call: Call, value: int) -> str:
    """openat2's structure: 24 bytes, and whatever the program thinks comes behind."""
    size = call.args[3]
    found = call.unpack(value, "QQQ") if size >= 24 else None
    if found is None:
        return pointer(value)
    bits, permissions, resolve = found
    made = dict(call.names("open").entries)
    parts = [f"flags={wide_open_flags(call, bits)}"]
    if bits & (made["O_CREAT"] | made["O_TMPFILE"] & ~made["O_DIRECTORY"]) or permissions:
        parts.append(f"mode=0{permissions:o}" if permissions > 0xFFFF else f"mode={mode(permissions)}")
    parts.append(f"resolve={flags(resolve, call.names('resolve'))}")
    if size > 24:
        rest = call.read(value + 24, min(size - 24, call.limit))
        if rest is None or any(rest):
            parts.append("???" if rest is None else f"/* bytes 24..{size - 1} */ {quote_hex(rest, size - 24 > call.limit)}")
    return f"{{{', '.join(parts)}}}"


# -- times ----------------------------------------------------------------------------------------------------------------


def _span(call: Call, value: int, unit: str) -> str:
    found = call.unpack(value, "ww")
    return pointer(value) if found is None else _pair(found, unit)


def _pair(found: tuple[int, ...], unit: str) -> str:
    """Fractions are shown unsigned."""
    return f"{{tv_sec={found[0]}, tv_{unit}={found[1] & 0xFFFF_FFFF_FFFF_FFFF}}}"


@decoder("timespec")
def timespec(call: Call, value: int) -> str:
    return _span(call, value, "nsec")


@decoder("timeval")
def timeval(call: Call, value: int) -> str:
    return _span(call, value, "usec")


@structure("itimerval", "wwww")
def itimerval(call: Call, found: Fields) -> str:
    return f"{{it_interval={_pair(found[:2], 'usec')}, it_value={_pair(found[2:], 'usec')}}}"


@structure("itimerspec", "wwww")
def itimerspec(call: Call, found: Fields) -> str:
    return f"{{it_interval={_pair(found[:2], 'nsec')}, it_value={_pair(found[2:], 'nsec')}}}"


@decoder("remaining")
def remaining(call: Call, value: int) -> str:
    """What is left of a sleep: written only when it was interrupted."""
    return _span(call, value, "nsec") if call.result in (-516, -4) else pointer(value)


@structure("utimens", "wwww")
def two_timespecs(call: Call, found: Fields) -> str:
    special = {Clock.UTIME_NOW: "UTIME_NOW", Clock.UTIME_OMIT: "UTIME_OMIT"}
    parts = []
    for seconds, fraction in (found[:2], found[2:]):
        known = special.get(fraction)
        comment = date(seconds, fraction) if 0 <= fraction < 1_000_000_000 and (seconds or fraction) else ""
        parts.append(known or _pair((seconds, fraction), "nsec") + (f" /* {comment} */" if comment else ""))
    return f"[{', '.join(parts)}]"


@structure("utimes", "wwww")
def two_timevals(call: Call, found: Fields) -> str:
    parts = []
    for seconds, fraction in (found[:2], found[2:]):
        comment = date(seconds) if 0 <= fraction < 1_000_000 and (seconds or fraction) else ""
        comment = comment.replace("+", f".{fraction:06d}+") if fraction else comment
        parts.append(_pair((seconds, fraction), "usec") + (f" /* {comment} */" if comment else ""))
    return f"[{', '.join(parts)}]"


def _dated(seconds: int) -> str:
    comment = date(seconds)
    return f"{seconds} /* {comment} */" if comment else str(seconds)


@structure("timezone", "ii")
def timezone(call: Call, found: Fields) -> str:
    return f"{{tz_minuteswest={found[0]}, tz_dsttime={found[1]}}}"


@structure("utimbuf", "ww")
def utimbuf(call: Call, found: Fields) -> str:
    return f"{{actime={_dated(found[0])}, modtime={_dated(found[1])}}}"


@structure("timep", "w")
def time_pointer(call: Call, found: Fields) -> str:
    return f"[{_dated(found[0])}]"


@structure("tms", "wwww")
def tms(call: Call, found: Fields) -> str:
    return f"{{tms_utime={found[0]}, tms_stime={found[1]}, tms_cutime={found[2]}, tms_cstime={found[3]}}}"


# -- the process, the system ----------------------------------------------------------------------------------------------


def _limit(value: int, bits: int, name: str) -> str:
    if value == (1 << bits) - 1:
        return name
    return f"{value >> 10}*1024" if value > 1024 and not value & 1023 else str(value)


@structure("rlimit64", "QQ")
def rlimit64(call: Call, found: Fields) -> str:
    return f"{{rlim_cur={_limit(found[0], 64, 'RLIM64_INFINITY')}, rlim_max={_limit(found[1], 64, 'RLIM64_INFINITY')}}}"


@decoder("rlimit")
def rlimit(call: Call, value: int) -> str:
    bits = call.arch.bits
    found, name = call.unpack(value, "WW"), "RLIM64_INFINITY" if bits == 64 else "RLIM_INFINITY"
    return pointer(value) if found is None else f"{{rlim_cur={_limit(found[0], bits, name)}, rlim_max={_limit(found[1], bits, name)}}}"


@structure("rusage", "18w")
def rusage(call: Call, found: Fields) -> str:
    return f"{{ru_utime={_pair(found[:2], 'usec')}, ru_stime={_pair(found[2:4], 'usec')}, ...}}"


@decoder("utsname")
def utsname(call: Call, value: int) -> str:
    data = call.read(value, 390)
    if data is None:
        return pointer(value)
    first, second = (data[at : at + 65].partition(b"\0")[0] for at in (0, 65))
    return f"{{sysname={quote(first)}, nodename={quote(second)}, ...}}"


@structure("sysinfo", "wWWWWWWWWWHxx4xWWI", narrow="wWWWWWWWWWHxxWWI")
def sysinfo(call: Call, found: Fields) -> str:
    up, one_, five, fifteen, *memory, procs, high, free_high, unit = found
    names = ("totalram", "freeram", "sharedram", "bufferram", "totalswap", "freeswap")
    shown = ", ".join(f"{name}={size}" for name, size in zip(names, memory, strict=True))
    rest = f"procs={procs}, totalhigh={high}, freehigh={free_high}, mem_unit={unit}"
    return f"{{uptime={up}, loads=[{one_}, {five}, {fifteen}], {shown}, {rest}}}"


@structure("winsize", "4H")
def winsize(call: Call, found: Fields) -> str:
    return f"{{ws_row={found[0]}, ws_col={found[1]}, ws_xpixel={found[2]}, ws_ypixel={found[3]}}}"


FAULTS = (signals.Signal.SIGILL, signals.Signal.SIGTRAP, signals.Signal.SIGBUS, signals.Signal.SIGFPE, signals.Signal.SIGSEGV)
"""Their siginfo has an address whenever the kernel sends them."""

# -- signals --------------------------------------------------------------------------------------------------------------


@maker("sigset")
def signal_mask(index: str) -> Decoder:
    """A set of the size that argument says; the address when the kernel will refuse the size. rt_sigpending takes smaller ones."""

    def show(call: Call, value: int) -> str:
        size, given = sigset_size(call.arch), call.args[int(index)]
        fits = given == size or (call.name == "rt_sigpending" and 0 < given < size)
        data = call.read(value, given) if value and fits else None
        return pointer(value) if data is None else signal_set(unpack_sigset(call.arch, data.ljust(size, b"\0")))

    return show


@decoder("sigaction")
def sigaction(call: Call, value: int) -> str:
    data = call.read(value, sigaction_size(call.arch)) if value else None
    if data is None:
        return pointer(value)
    action = unpack_sigaction(call.arch, data)
    handler = {signals.SIG_DFL: "SIG_DFL", signals.SIG_IGN: "SIG_IGN"}.get(action.handler, f"{action.handler:#x}")
    if action.handler == (1 << call.arch.bits) - 1:
        handler = "SIG_ERR"
    text = f"{{sa_handler={handler}, sa_mask={signal_set(action.mask)}, sa_flags={flags(action.flags, call.names('sa'))}"
    return f"{text}, sa_restorer={pointer(action.restorer)}}}" if action.flags & signals.SA_RESTORER else text + "}"


@decoder("stack_t")
def stack(call: Call, value: int) -> str:
    data = call.read(value, stack_t_size(call.arch)) if value else None
    if data is None:
        return pointer(value)
    found = unpack_stack_t(call.arch, data)
    return f"{{ss_sp={pointer(found.sp)}, ss_flags={flags(u32(found.flags), call.names('ss'))}, ss_size={found.size}}}"


@decoder("sigevent")
def sigevent(call: Call, value: int) -> str:
    found = call.unpack(value, "WiiWW")
    if found is None:
        return pointer(value)
    word, number, kind, function, attributes = found
    shown = signal(number) if 0 <= number <= signals.NSIG else str(u32(number))
    text = f"sigev_signo={shown}, sigev_notify={one(u32(kind), call.names('sigev'))}"
    if kind == signals.SIGEV_THREAD:
        text += f", sigev_notify_function={pointer(function)}, sigev_notify_attributes={pointer(attributes)}"
    elif kind == signals.SIGEV_THREAD_ID:
        first = function >> 32 if call.arch.big_endian and call.arch.bits == 64 else function
        text += f", sigev_notify_thread_id={s32(first)}"
    return f"{{sigev_value={{sival_int={s32(word)}, sival_ptr={pointer(word)}}}, {text}}}" if word else f"{{{text}}}"


_SIGINFO_SIZE = 128


@decoder("siginfo")
def siginfo(call: Call, value: int) -> str:
    head = call.unpack(value, "iii")
    size = 16 if call.arch.bits == 64 else 12
    rest = call.read(value + size, _SIGINFO_SIZE - size)
    if head is None or rest is None:
        return pointer(value)
    mips = family(call.arch.name) == "mips"
    number, code, wrong = head[0], head[1 if mips else 2], head[2 if mips else 1]
    members = siginfo_members(call.arch, number, code, rest)
    return siginfo_text(number, code, members | {"errno": wrong} if wrong else members)


def siginfo_members(arch: Arch, number: int, code: int, rest: bytes) -> dict[str, int]:
    """What counts of the union behind siginfo_t's head, by name; see `siginfo_text`."""
    wide, order = arch.bits == 64, ">" if arch.big_endian else "<"
    first, second, word = unpack_from(order + ("iIQ" if wide else "iII"), rest)
    if code == signals.Code.SI_TIMER:
        return {"timer": first, "overrun": s32(second), "value": word}
    if number == signals.Signal.SIGCHLD and code > 0:
        status, utime, stime = unpack_from(order + ("i4xqq" if wide else "iii"), rest, 8)
        return {"pid": first, "uid": second, "status": status, "utime": utime, "stime": stime}
    if 0 < code < signals.Code.SI_KERNEL or (code > 0 and number in FAULTS):
        return {"address": unpack_from(order + ("Q" if wide else "I"), rest)[0]}
    if code in (signals.Code.SI_USER, signals.Code.SI_TKILL):
        return {"pid": first, "uid": second}
    return {"pid": first, "uid": second, "value": word} if code < 0 else {}


def siginfo_text(number: int, code: int, rest: dict[str, int]) -> str:
    """`rest`: which members of the union count, by name: pid, uid, value, address, status, utime, stime, timer, overrun."""
    name = signal(number)
    parts = [f"si_signo={name}", f"si_code={signals.code_name(number, code)}"]
    if "errno" in rest:
        known = error(rest["errno"]).split()[0]
        parts.append(f"si_errno={known if known[0] == 'E' else u32(rest['errno'])}")
    for key, member in (("timer", "si_timerid"), ("overrun", "si_overrun"), ("pid", "si_pid"), ("uid", "si_uid")):
        if key in rest:
            parts.append(f"{member}={-1 if key == 'uid' and rest[key] == 0xFFFF_FFFF else rest[key]}")
    if "status" in rest:
        exited = code == signals.Code.CLD_EXITED
        parts.append(f"si_status={rest['status'] if exited else signal(rest['status'])}")
        parts += [f"si_utime={rest['utime']}", f"si_stime={rest['stime']}"]
    if "value" in rest:
        parts += [f"si_int={s32(rest['value'])}", f"si_ptr={pointer(rest['value'])}"]
    if "address" in rest:
        parts.append(f"si_addr={pointer(rest['address'])}")
    return f"{{{', '.join(parts)}}}"


@maker("cloneargs")
def clone_arguments(index: str) -> Decoder:
    """struct clone_args, of which that argument tells the size: what counts in its first version."""

    def show(call: Call, value: int) -> str:
        found = call.unpack(value, "8Q") if call.args[int(index)] >= 64 else None
        if found is None:
            return pointer(value)
        bits, pidfd, child_tid, parent_tid, exit_signal, start, size, tls = found
        known = dict(call.names("clone").entries)
        parts = [f"flags={flags(bits, call.names('clone'))}"]
        if bits & known["CLONE_PIDFD"]:
            parts.append(f"pidfd={pointer(pidfd)}")
        if bits & (known["CLONE_CHILD_SETTID"] | known["CLONE_CHILD_CLEARTID"]):
            parts.append(f"child_tid={pointer(child_tid)}")
        if bits & known["CLONE_PARENT_SETTID"]:
            parts.append(f"parent_tid={pointer(parent_tid)}")
        parts += [f"exit_signal={signal(exit_signal)}", f"stack={pointer(start)}", f"stack_size={hexed(size)}"]
        if bits & known["CLONE_SETTLS"]:
            parts.append(f"tls={pointer(tls)}")
        return f"{{{', '.join(parts)}}}"

    return show
