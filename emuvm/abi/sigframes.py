"""Layouts of the signal structures: sigaction, stack_t, siginfo.

Owns how they lie in guest memory, per architecture. Must not know processes or memory. Sources: include/linux/signal_types.h,
include/uapi/asm-generic/{signal,siginfo}.h, arch/mips/include/uapi/asm/siginfo.h.
"""

from __future__ import annotations

from functools import cache
from struct import Struct

from emuvm.abi.arch import Arch
from emuvm.abi.flags_mm import family
from emuvm.abi.tuples import NamedTuple

SIGINFO_SIZE = 128


class Sigaction(NamedTuple):
    """The kernel's struct sigaction. `restorer` is 0 where the architecture has none; bit n-1 of `mask` is signal n."""

    handler: int
    flags: int
    restorer: int
    mask: int


@cache
def _struct(arch: Arch, fmt: str) -> Struct:
    return Struct((">" if arch.big_endian else "<") + fmt.replace("W", "Q" if arch.bits == 64 else "I"))


def has_restorer(arch: Arch) -> bool:
    """Does struct sigaction carry sa_restorer? (The libc sets it; without it the return goes through the vDSO or the frame.)"""
    return family(arch.name) not in ("riscv", "mips")


def sigset_size(arch: Arch) -> int:
    """The `sigsetsize` argument of the rt_ calls, in bytes."""
    return 16 if family(arch.name) == "mips" else 8


def _mask_words(arch: Arch) -> int:
    return sigset_size(arch) * 8 // arch.bits


def _sigaction_format(arch: Arch) -> str:
    if family(arch.name) == "mips":
        pad = "xxxx" if arch.bits == 64 else ""
        return f"I{pad}W{_mask_words(arch)}W"
    return f"WW{'W' if has_restorer(arch) else ''}{_mask_words(arch)}W"


def sigaction_size(arch: Arch) -> int:
    """Bytes in the kernel's struct sigaction."""
    return _struct(arch, _sigaction_format(arch)).size


def pack_sigset(arch: Arch, mask: int) -> bytes:
    """sigset_t: words, lowest signals first."""
    words = [mask >> arch.bits * n & (1 << arch.bits) - 1 for n in range(_mask_words(arch))]
    return _struct(arch, f"{len(words)}W").pack(*words)


def unpack_sigset(arch: Arch, data: bytes) -> int:
    """The inverse of `pack_sigset`."""
    words = _struct(arch, f"{_mask_words(arch)}W").unpack(data)
    return sum(word << arch.bits * n for n, word in enumerate(words))


def pack_sigaction(arch: Arch, action: Sigaction) -> bytes:
    head: tuple[int, ...] = (action.handler, action.flags)
    if family(arch.name) == "mips":
        head = (action.flags, action.handler)
    elif has_restorer(arch):
        head = (*head, action.restorer)
    prefix = _sigaction_format(arch).removesuffix(f"{_mask_words(arch)}W")
    return _struct(arch, prefix).pack(*head) + pack_sigset(arch, action.mask)


def unpack_sigaction(arch: Arch, data: bytes) -> Sigaction:
    """The inverse of `pack_sigaction`."""
    size = sigset_size(arch)
    prefix = _sigaction_format(arch).removesuffix(f"{_mask_words(arch)}W")
    fields = _struct(arch, prefix).unpack(data[:-size])
    mask = unpack_sigset(arch, data[-size:])
    if family(arch.name) == "mips":
        return Sigaction(fields[1], fields[0], 0, mask)
    return Sigaction(fields[0], fields[1], fields[2] if has_restorer(arch) else 0, mask)


class StackT(NamedTuple):
    """stack_t of sigaltstack(2): [sp, sp + size)."""

    sp: int
    flags: int
    size: int


def _stack_format(arch: Arch) -> str:
    pad = "xxxx" if arch.bits == 64 else ""
    return f"WWI{pad}" if family(arch.name) == "mips" else f"WI{pad}W"


def stack_t_size(arch: Arch) -> int:
    return _struct(arch, _stack_format(arch)).size


def pack_stack_t(arch: Arch, stack: StackT) -> bytes:
    fields = (stack.sp, stack.size, stack.flags) if family(arch.name) == "mips" else stack
    return _struct(arch, _stack_format(arch)).pack(*fields)


def unpack_stack_t(arch: Arch, data: bytes) -> StackT:
    """The inverse of `pack_stack_t`."""
    first, second, third = _struct(arch, _stack_format(arch)).unpack(data)
    return StackT(first, third, second) if family(arch.name) == "mips" else StackT(first, second, third)


def _siginfo_head(arch: Arch, signal: int, code: int, errno: int) -> bytes:
    pad = "xxxx" if arch.bits == 64 else ""
    order = (signal, code, errno) if family(arch.name) == "mips" else (signal, errno, code)
    return _struct(arch, f"iii{pad}").pack(*order)


def pack_siginfo(arch: Arch, signal: int, code: int, fields: bytes, errno: int = 0) -> bytes:
    """siginfo_t with the fields of its kind, see `siginfo_kill` and the others. 128 bytes."""
    return (_siginfo_head(arch, signal, code, errno) + fields).ljust(SIGINFO_SIZE, b"\0")


def unpack_siginfo(arch: Arch, data: bytes) -> tuple[int, int, int, bytes]:
    """(signal, code, errno, fields) of a siginfo_t."""
    pad = "xxxx" if arch.bits == 64 else ""
    layout = _struct(arch, f"iii{pad}")
    signal, second, third = layout.unpack_from(data)
    code, errno = (second, third) if family(arch.name) == "mips" else (third, second)
    return signal, code, errno, data[layout.size :]


def pack_siginfo_fault(arch: Arch, signal: int, code: int, address: int, errno: int = 0) -> bytes:
    """siginfo_t of SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP: si_addr. 128 bytes."""
    if arch.bits == 64 and not arch.big_endian and family(arch.name) != "mips":
        return _FAULT.pack(signal, errno, code, address)
    return pack_siginfo(arch, signal, code, _struct(arch, "W").pack(address), errno)


_FAULT = Struct("<iii4xQ104x")


def pack_siginfo_kill(arch: Arch, signal: int, code: int, pid: int, uid: int) -> bytes:
    """siginfo_t of a signal that a process sent (SI_USER, SI_TKILL): si_pid, si_uid. 128 bytes."""
    return pack_siginfo(arch, signal, code, siginfo_kill(arch, pid, uid))


def siginfo_kill(arch: Arch, pid: int, uid: int) -> bytes:
    """The fields of SI_USER and SI_TKILL: si_pid, si_uid."""
    return _struct(arch, "iI").pack(pid, uid)


def siginfo_child(arch: Arch, pid: int, uid: int, status: int, user: int = 0, system: int = 0) -> bytes:
    """The fields of SIGCHLD: si_pid, si_uid, si_status, si_utime, si_stime."""
    return _struct(arch, "iIixxxxWW" if arch.bits == 64 else "iIiWW").pack(pid, uid, status, user, system)


def siginfo_timer(arch: Arch, timer: int, overrun: int, value: int) -> bytes:
    """The fields of SI_TIMER: si_timerid, si_overrun, si_value."""
    return _struct(arch, "iiW").pack(timer, overrun, value)


SIGEVENT_SIZE = 64


def unpack_sigevent(arch: Arch, data: bytes) -> tuple[int, int, int, int]:
    """(sigev_value, sigev_signo, sigev_notify, thread id) of a struct sigevent."""
    value, signal, notify, thread = _struct(arch, "Wiii").unpack_from(data)
    return value, signal, notify, thread
