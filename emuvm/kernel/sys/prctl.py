"""prctl: what a process can ask and tell about itself, an option at a time.

Owns: the options' arguments and what is remembered of them. Must not know what capabilities are good for. Options that concern
hardware the emulated CPU does not have are EINVAL, as on such hardware. Source: kernel/sys.c, security/commoncap.c, Linux 6.18.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from emuvm.abi.caps import Cap, Secure
from emuvm.abi.controls import Prctl
from emuvm.abi.errno import Errno
from emuvm.errors import GuestError
from emuvm.kernel.registry import syscall
from emuvm.kernel.sys.identity import change
from emuvm.mm.types import VmFlag

if TYPE_CHECKING:
    from emuvm.kernel.process import Process

Option = Callable[["Process", int, int, int, int], int]

_TIMER_SLACK = 50_000
_NAME_MAX = 80
_AUXV_WORDS = {"x86_64": 56, "arm64": 54}
"""Words of mm->saved_auxv."""
_MM_MAP_SIZE = 104
_TAGGED_ADDR_ENABLE = 1
_SPEC_FEATURES = 3
_SPEC_PRCTL = 1
_SPEC_VALUES = (2, 4, 8, 16)


def _check(good: bool, why: str = "arguments", errno: int = Errno.EINVAL) -> None:
    if not good:
        raise GuestError(errno, why)


def _put_int(name: str, first: int = 0) -> Option:
    """An option that stores what another one remembered in an int of the program's."""

    def get(proc: Process, at: int, *_: int) -> int:
        proc.mem.write_u32(at, proc.controls.get(name, first))
        return 0

    return get


# -- names, ends ------------------------------------------------------------------------------------------------------------


def _set_name(proc: Process, at: int, *_: int) -> int:
    """At most 15 bytes, ended by a NUL or not."""
    name = bytearray()
    while len(name) < 15:
        byte = proc.mem.read(at + len(name), 1)
        if byte == b"\0":
            break
        name += byte
    proc.name = bytes(name)
    return 0


def _get_name(proc: Process, at: int, *_: int) -> int:
    proc.mem.write(at, proc.name.ljust(16, b"\0"))
    return 0


def _set_death_signal(proc: Process, signal: int, *_: int) -> int:
    _check(signal <= 64, f"signal {signal}")
    proc.controls["pdeathsig"] = signal
    return 0


def _set_dumpable(proc: Process, dumpable: int, *_: int) -> int:
    _check(dumpable in (0, 1), f"dumpable {dumpable}")
    proc.dumpable = dumpable
    return 0


def _set_timing(proc: Process, method: int, *_: int) -> int:
    _check(method == 0, "only statistical timing")
    return 0


def _set_timer_slack(proc: Process, slack: int, *_: int) -> int:
    proc.kept.timer_slack = slack or _TIMER_SLACK
    return 0


def _set_subreaper(proc: Process, on: int, *_: int) -> int:
    proc.controls["subreaper"] = int(on != 0)
    return 0


def _set_no_new_privs(proc: Process, on: int, *rest: int) -> int:
    _check(on == 1 and not any(rest), "no_new_privs can only be set")
    proc.no_new_privs = True
    return 0


def _get_no_new_privs(proc: Process, *rest: int) -> int:
    _check(not any(rest))
    return int(proc.no_new_privs)


def _get_tid_address(proc: Process, at: int, *_: int) -> int:
    proc.mem.write_word(at, proc.clear_child_tid)
    return 0


def _mce_kill(proc: Process, what: int, policy: int, *rest: int) -> int:
    _check(not any(rest) and (what == 0 and policy == 0 or what == 1 and policy <= 2))
    proc.controls["mce_kill"] = policy if what else 2
    return 0


def _get_mce_kill(proc: Process, *rest: int) -> int:
    _check(not any(rest))
    return proc.controls.get("mce_kill", 2)


def _set_tsc(proc: Process, mode: int, *_: int) -> int:
    _check(mode in (1, 2), f"mode {mode}")
    proc.controls["tsc"] = mode
    return 0


def _io_flusher(proc: Process, *rest: int) -> int:
    _check(proc.system.credentials.capable(Cap.CAP_SYS_RESOURCE), "CAP_SYS_RESOURCE", Errno.EPERM)
    raise GuestError(Errno.EINVAL, "io_flusher")


def _user_dispatch(proc: Process, mode: int, *rest: int) -> int:
    _check(mode == 0 and not any(rest), "system calls are not dispatched to the program")
    return 0


def _timer_restore(proc: Process, what: int, *rest: int) -> int:
    _check(not any(rest) and what <= 2)
    if what == 2:
        return proc.controls.get("timer_restore", 0)
    proc.controls["timer_restore"] = what
    return 0


def _futex_hash(proc: Process, what: int, slots: int, flags: int, *_: int) -> int:
    if what == 1:
        _check(not flags and slots != 1 and not slots & slots - 1, f"{slots} slots")
        _check(proc.controls.get("futex_slots") != 0, "the process uses the common table for good", Errno.EBUSY)
        proc.controls["futex_slots"] = slots
        return 0
    _check(what == 2)
    return proc.controls.get("futex_slots", 0)


def _get_speculation(proc: Process, which: int, *rest: int) -> int:
    _check(not any(rest))
    return _speculation(proc, which)


def _speculation(proc: Process, which: int) -> int:
    if which >= _SPEC_FEATURES:
        raise GuestError(Errno.ENODEV, f"feature {which}")
    known = proc.controls.get(f"speculation{which}")
    return proc.system.speculation(which) if known is None else known


def _set_speculation(proc: Process, which: int, value: int, *rest: int) -> int:
    _check(not any(rest))
    state = _speculation(proc, which)
    _check(which != 2, "flushing caches is not offered", Errno.EPERM)
    # Whether a feature can be set comes first for store bypass only (arch/x86/kernel/cpu/bugs.c:ssb_prctl_set, ib_prctl_set).
    _check(which != 0 or bool(state & _SPEC_PRCTL), "not for the program to set", Errno.ENXIO)
    _check(value in _SPEC_VALUES and (which == 0 or value != 16), f"value {value}", Errno.ERANGE)
    _check(bool(state & _SPEC_PRCTL), "not for the program to set", Errno.EPERM)
    _check(not state & 8 or value == 8, "disabled for ever", Errno.EPERM)
    proc.controls[f"speculation{which}"] = value | _SPEC_PRCTL
    return 0


# -- capabilities -----------------------------------------------------------------------------------------------------------


def _set_keep_caps(proc: Process, keep: int, *_: int) -> int:
    return change(proc, lambda creds: creds.keep_caps(keep))


def _ambient(proc: Process, what: int, capability: int, *rest: int) -> int:
    creds = proc.system.credentials
    if what == 4:
        _check(not capability and not any(rest))
        creds.ambient = 0
        return 0
    _check(capability <= Cap.LAST and not any(rest) and what in (1, 2, 3))
    if what == 1:
        return creds.ambient >> capability & 1
    if what == 2:
        creds.raise_ambient(capability)
    else:
        creds.ambient &= ~(1 << capability)
    return 0


# -- memory -----------------------------------------------------------------------------------------------------------------


def _set_mm(proc: Process, option: int, value: int, third: int, fourth: int) -> int:
    _check(not fourth and (not third or option in (12, 14, 15)))
    if option == 15:
        proc.mem.write_u32(value, _MM_MAP_SIZE)
        return 0
    _check(option != 14, "moving the marks of the address space is not offered")
    _check(proc.system.credentials.capable(Cap.CAP_SYS_RESOURCE), "CAP_SYS_RESOURCE", Errno.EPERM)
    raise GuestError(Errno.EINVAL, "moving the marks of the address space is not offered")


def _set_thp_disable(proc: Process, off: int, flags: int, *rest: int) -> int:
    _check(not any(rest) and (flags == 0 or flags == 2 and off != 0))
    proc.controls["thp_disable"] = 1 | flags if off else 0
    return 0


def _get_thp_disable(proc: Process, *rest: int) -> int:
    _check(not any(rest))
    return proc.controls.get("thp_disable", 0)


def _set_mdwe(proc: Process, bits: int, *rest: int) -> int:
    _check(not any(rest) and bits in (0, 1, 3))
    before = proc.controls.get("mdwe", 0)
    _check(not before or bits == before, "cannot be changed any more", Errno.EPERM)
    proc.controls["mdwe"] = bits
    proc.mm.deny_write_exec = bool(bits & 1)
    return 0


def _get_mdwe(proc: Process, *rest: int) -> int:
    _check(not any(rest))
    return proc.controls.get("mdwe", 0)


def _set_merge(proc: Process, on: int, *rest: int) -> int:
    from emuvm.mm.advice import merge_any

    _check(not any(rest))
    merge_any(proc.mm, on != 0)
    return 0


def _get_merge(proc: Process, *rest: int) -> int:
    _check(not any(rest))
    return int(bool(proc.mm.def_flags & VmFlag.MERGEABLE))


def _set_vma(proc: Process, option: int, addr: int, length: int, at: int) -> int:
    from emuvm.mm.advice import set_name

    _check(proc.mm.anon_names and option == Prctl.PR_SET_VMA_ANON_NAME, "the kernel names no anonymous memory")
    name = None
    if at:
        name = proc.mem.read_cstr(at, _NAME_MAX, Errno.EINVAL)
        _check(all(0x20 <= byte <= 0x7E and byte not in b"\\`$[]" for byte in name), "characters")
    set_name(proc.mm, addr, length, name)
    return 0


def _get_auxv(proc: Process, at: int, length: int, *rest: int) -> int:
    _check(not any(rest))
    words = _AUXV_WORDS.get(proc.arch.name, 52)
    saved = proc.stack_info.auxv.ljust(words * (proc.arch.bits // 8), b"\0")
    proc.mem.write(at, saved[:length])
    return len(saved)


def _set_tagged(proc: Process, bits: int, *rest: int) -> int:
    _check(proc.arch.name == "arm64" and not any(rest) and not bits & ~_TAGGED_ADDR_ENABLE)
    proc.controls["tagged"] = bits
    return 0


def _get_tagged(proc: Process, *rest: int) -> int:
    _check(proc.arch.name == "arm64" and not any(rest))
    return proc.controls.get("tagged", 0)


_OPTIONS: dict[int, Option] = {
    Prctl.PR_SET_PDEATHSIG: _set_death_signal,
    Prctl.PR_GET_PDEATHSIG: _put_int("pdeathsig"),
    Prctl.PR_GET_DUMPABLE: lambda proc, *_: proc.dumpable,
    Prctl.PR_SET_DUMPABLE: _set_dumpable,
    Prctl.PR_GET_KEEPCAPS: lambda proc, *_: int(bool(proc.system.credentials.securebits & Secure.KEEP_CAPS)),
    Prctl.PR_SET_KEEPCAPS: _set_keep_caps,
    Prctl.PR_GET_TIMING: lambda proc, *_: 0,
    Prctl.PR_SET_TIMING: _set_timing,
    Prctl.PR_SET_NAME: _set_name,
    Prctl.PR_GET_NAME: _get_name,
    Prctl.PR_GET_SECCOMP: lambda proc, *_: 0,
    Prctl.PR_CAPBSET_READ: lambda proc, cap, *_: int(proc.system.credentials.in_bounding(cap)),
    Prctl.PR_CAPBSET_DROP: lambda proc, cap, *_: change(proc, lambda creds: creds.drop_bounding(cap)),
    Prctl.PR_GET_TSC: _put_int("tsc", 1),
    Prctl.PR_SET_TSC: _set_tsc,
    Prctl.PR_GET_SECUREBITS: lambda proc, *_: proc.system.credentials.securebits,
    Prctl.PR_SET_SECUREBITS: lambda proc, bits, *_: change(proc, lambda creds: creds.set_securebits(bits)),
    Prctl.PR_SET_TIMERSLACK: _set_timer_slack,
    Prctl.PR_GET_TIMERSLACK: lambda proc, *_: proc.kept.timer_slack,
    Prctl.PR_TASK_PERF_EVENTS_DISABLE: lambda proc, *_: 0,
    Prctl.PR_TASK_PERF_EVENTS_ENABLE: lambda proc, *_: 0,
    Prctl.PR_MCE_KILL: _mce_kill,
    Prctl.PR_MCE_KILL_GET: _get_mce_kill,
    Prctl.PR_SET_MM: _set_mm,
    Prctl.PR_SET_CHILD_SUBREAPER: _set_subreaper,
    Prctl.PR_GET_CHILD_SUBREAPER: _put_int("subreaper"),
    Prctl.PR_SET_NO_NEW_PRIVS: _set_no_new_privs,
    Prctl.PR_GET_NO_NEW_PRIVS: _get_no_new_privs,
    Prctl.PR_GET_TID_ADDRESS: _get_tid_address,
    Prctl.PR_SET_THP_DISABLE: _set_thp_disable,
    Prctl.PR_GET_THP_DISABLE: _get_thp_disable,
    Prctl.PR_CAP_AMBIENT: _ambient,
    Prctl.PR_GET_SPECULATION_CTRL: _get_speculation,
    Prctl.PR_SET_SPECULATION_CTRL: _set_speculation,
    Prctl.PR_SET_TAGGED_ADDR_CTRL: _set_tagged,
    Prctl.PR_GET_TAGGED_ADDR_CTRL: _get_tagged,
    Prctl.PR_SET_IO_FLUSHER: _io_flusher,
    Prctl.PR_GET_IO_FLUSHER: _io_flusher,
    Prctl.PR_SET_SYSCALL_USER_DISPATCH: _user_dispatch,
    Prctl.PR_SET_MDWE: _set_mdwe,
    Prctl.PR_GET_MDWE: _get_mdwe,
    Prctl.PR_SET_MEMORY_MERGE: _set_merge,
    Prctl.PR_GET_MEMORY_MERGE: _get_merge,
    Prctl.PR_TIMER_CREATE_RESTORE_IDS: _timer_restore,
    Prctl.PR_FUTEX_HASH: _futex_hash,
    Prctl.PR_SET_VMA: _set_vma,
    Prctl.PR_GET_AUXV: _get_auxv,
}


@syscall("prctl", "int ulong ulong ulong ulong", level="partial", note="seccomp, PR_SET_MM and system-call dispatch are EINVAL")
def prctl(proc: Process, option: int, first: int, second: int, third: int, fourth: int) -> int:
    handler = _OPTIONS.get(option)
    if handler is None:
        raise GuestError(Errno.EINVAL, f"option {option}")
    return handler(proc, first, second, third, fourth)
