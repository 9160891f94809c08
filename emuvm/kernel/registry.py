"""The table of system calls emuvm knows: one row per call.

Owns: Spec rows, the `@syscall` decorator, the meaning of signatures, the list of families. Must not know numbers,
processes, or how a call is entered.

A signature lists the kinds of a call's arguments, separated by blanks. A handler is called as `handler(proc, *arguments)`
and gets for each kind:

    fd, int      sign-extended low 32 bits
    uint, flags  low 32 bits
    mode         low 16 bits (umode_t)
    long, off    the word, sign-extended
    ulong, size, ptr   the word, unsigned
    str, path    bytes of the NUL-terminated string, without the NUL: EFAULT, ENAMETOOLONG from PATH_MAX (4096) on
    path?        the same, or None for a NULL pointer
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, Literal, Protocol, TypeVar

from emuvm.abi.tuples import NamedTuple

Level = Literal["full", "partial", "accepted"]
"""full: as Linux; partial: the note says what is missing; accepted: arguments are taken, nothing happens."""

Handler = Callable[..., int]
_F = TypeVar("_F", bound=Handler)

KINDS = frozenset("fd int uint flags mode long off ulong size ptr str path path?".split())
PATH_MAX = 4096

FAMILIES = ("proc", "mem", "io", "misc", "fs", "file", "ioctl", "sig", "time", "poll", "change")
"""Modules of emuvm.kernel.sys, those that every program needs first; each registers its calls when it is imported."""

_RARE = {
    "splice": "sendfile sendfile64 copy_file_range splice tee vmsplice",
    "lock": "mlock mlock2 munlock mlockall munlockall mseal",
    "shm": "shmget shmat shmdt shmctl",
    "processvm": "process_vm_readv process_vm_writev process_madvise membarrier",
    "pidfd": "pidfd_open pidfd_send_signal pidfd_getfd kcmp",
    "numa": "get_mempolicy set_mempolicy mbind set_mempolicy_home_node migrate_pages move_pages",
    "identity": "setuid setgid setreuid setregid setresuid setresgid setfsuid setfsgid setgroups capget capset",
    "prctl": "prctl",
    "sched": "sched_get_priority_max sched_get_priority_min sched_getscheduler sched_getparam sched_setscheduler sched_setparam "
    "sched_rr_get_interval sched_getattr sched_setattr get_robust_list",
    "futex": "futex futex_waitv futex_wake futex_wait futex_requeue",
    "exec": "execve execveat",
    "fork": "fork vfork clone clone3",
    "wait": "wait4 waitid",
    "adjust": "adjtimex clock_adjtime",
    "fcntl": "fcntl fcntl64",
    "priority": "getpriority setpriority nice ioprio_get ioprio_set sched_getaffinity sched_setaffinity getcpu",
    "epoll": "epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2",
    "notify": "timerfd_create timerfd_settime timerfd_gettime signalfd signalfd4",
    "socket": "socket socketpair connect bind listen accept accept4 getsockname getpeername sendto recvfrom sendmsg recvmsg sendmmsg "
    "recvmmsg shutdown setsockopt getsockopt",
}
RARE = {call: family for family, calls in _RARE.items() for call in calls.split()}
"""Modules that few programs need, by their calls: they are imported for those, not on the way to others."""


class Spec(NamedTuple):
    """One system call."""

    name: str
    kinds: tuple[str, ...]
    handler: Handler
    pure: bool
    """It may run inside the engine's hook: it never blocks, touches no register, and takes no access away from memory the
    guest may be executing or using (new mappings are fine). What turns out to need more raises usermem.Deferred."""
    level: Level
    note: str


class Strings(Protocol):
    """Where string arguments come from."""

    def read_cstr(self, addr: int, limit: int) -> bytes: ...


_specs: dict[str, Spec] = {}


def syscall(name: str, signature: str = "", *, pure: bool = False, level: Level = "full", note: str = "") -> Callable[[_F], _F]:
    """Register the decorated function as the handler of `name`. It may be stacked, for calls under several names."""
    kinds = tuple(signature.split())
    if not KINDS.issuperset(kinds) or len(kinds) > 6:
        raise ValueError(f"{name}: bad signature {signature!r}")
    if name in _specs:
        raise ValueError(f"{name} is registered twice")

    def register(handler: _F) -> _F:
        _specs[name] = Spec(name, kinds, handler, pure, level, note)
        return handler

    return register


_unloaded = list(reversed(FAMILIES))


def load_families() -> None:
    """Import every family that is not there yet."""
    while _unloaded:
        import_module(f"emuvm.kernel.sys.{_unloaded.pop()}")
    for family in _RARE:
        import_module(f"emuvm.kernel.sys.{family}")


def find(name: str) -> Spec | None:
    """The row of a call, or None. Families are imported until one has it: a small program need not wait for all of them."""
    if name in RARE:
        import_module(f"emuvm.kernel.sys.{RARE[name]}")
    while name not in _specs and _unloaded:
        import_module(f"emuvm.kernel.sys.{_unloaded.pop()}")
    return _specs.get(name)


def all_specs() -> list[Spec]:
    """Every row, by name."""
    return [_specs[name] for name in sorted(_specs)]


def _signed(value: int) -> int:
    return ((value & 0xFFFF_FFFF) ^ 0x8000_0000) - 0x8000_0000


def _signed64(value: int) -> int:
    return ((value & 0xFFFF_FFFF_FFFF_FFFF) ^ 0x8000_0000_0000_0000) - 0x8000_0000_0000_0000


def _low32(value: int) -> int:
    return value & 0xFFFF_FFFF


def _low16(value: int) -> int:
    return value & 0xFFFF


def _converter(kind: str, bits: int, strings: Strings) -> Callable[[int], Any] | None:
    """How a raw register value becomes an argument; None: as it is."""
    if kind in ("str", "path"):
        return lambda value: strings.read_cstr(value, PATH_MAX)
    if kind == "path?":
        return lambda value: strings.read_cstr(value, PATH_MAX) if value else None
    if kind in ("fd", "int"):
        return _signed
    if kind in ("uint", "flags"):
        return _low32
    if kind == "mode":
        return _low16
    if kind in ("long", "off"):
        return _signed64 if bits == 64 else _signed
    return None if bits == 64 else _low32


def convert(kind: str, value: int, bits: int, strings: Strings) -> Any:
    """A raw register value as an argument of that kind; GuestError as the call would fail."""
    converter = _converter(kind, bits, strings)
    return value if converter is None else converter(value)


def bind(spec: Spec, proc: Any, bits: int, strings: Strings) -> Callable[[tuple[int, ...]], int]:
    """A function of the raw argument registers that converts them and calls the handler."""
    handler, count = spec.handler, len(spec.kinds)
    if count == 0:
        return lambda args: handler(proc)
    converters = [_converter(kind, bits, strings) for kind in spec.kinds]
    if not any(converters):
        if count == 3:
            return lambda args: handler(proc, args[0], args[1], args[2])
        return lambda args: handler(proc, *args[:count])
    if not any(converters[1:]):
        first = converters[0]
        assert first is not None
        return lambda args: handler(proc, first(args[0]), *args[1:count])
    pairs = tuple(enumerate(converters))

    def call(args: tuple[int, ...]) -> int:
        return handler(proc, *[args[i] if convert is None else convert(args[i]) for i, convert in pairs])

    return call
