"""Which calls and signals a trace shows: the filter expressions.

Owns: their grammar and meaning, the classes of calls. Must not know how a line looks.

    EXPRESSION   part;part;...   each part narrows one thing, all must hold; several -e options are joined the same way
    part         [trace=]SET | status=STATES | signal=SIGNALS
    SET          all | none | [!]item,item,...   item: a call, ?call (which need not exist), %class, /regex (may hold commas: put it last)
    STATES       successful, failed, unfinished
    SIGNALS      all | none | [!]SIGSEGV,INT,...

Several trace= parts add up; with ! a part takes away, from all when it is the first.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

from emuvm.abi import signals
from emuvm.abi.numbers import every_name, numbers
from emuvm.kernel import registry
from emuvm.tools.strace_table import row

STATES = ("successful", "failed", "unfinished")

_MEMORY = (
    "brk mmap mmap2 munmap mprotect pkey_mprotect pkey_alloc pkey_free mremap remap_file_pages madvise process_madvise process_mrelease "
    "msync mincore mlock mlock2 munlock mlockall munlockall mseal mbind get_mempolicy set_mempolicy set_mempolicy_home_node migrate_pages "
    "move_pages shmat shmdt map_shadow_stack io_setup io_destroy"
)
_PROCESS = (
    "clone clone3 fork vfork execve execveat exit exit_group wait4 waitid waitpid arch_prctl kill tkill tgkill rt_sigqueueinfo "
    "rt_tgsigqueueinfo pidfd_send_signal unshare"
)
_SIGNAL = (
    "rt_sigaction rt_sigprocmask rt_sigpending rt_sigsuspend rt_sigtimedwait rt_sigqueueinfo rt_tgsigqueueinfo rt_sigreturn sigaltstack "
    "kill tkill tgkill pause signalfd signalfd4 pidfd_send_signal sigaction sigprocmask sigpending sigsuspend sigreturn signal"
)
_NETWORK = (
    "socket socketpair bind connect listen accept accept4 getsockname getpeername send sendto sendmsg sendmmsg recv recvfrom recvmsg "
    "recvmmsg getsockopt setsockopt shutdown sendfile sendfile64 getpmsg putpmsg"
)
_IPC = "shmget shmat shmdt shmctl semget semop semctl semtimedop msgget msgsnd msgrcv msgctl ipc"
_CLOCK = "clock_gettime clock_settime clock_getres clock_adjtime gettimeofday settimeofday adjtimex time stime"
_CREDS = (
    "getuid geteuid getgid getegid getresuid getresgid setuid setgid setreuid setregid setresuid setresgid setfsuid setfsgid getgroups "
    "setgroups capget capset prctl"
)
_DESCRIPTORS = (
    "mmap mmap2 poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2 memfd_create "
    "memfd_secret eventfd eventfd2 signalfd signalfd4 timerfd_create timerfd_settime timerfd_gettime pipe pipe2 open creat close_range "
    "inotify_init inotify_init1 userfaultfd pidfd_open perf_event_open process_madvise"
)
_FILES = "getcwd execve execveat mount umount2 chroot swapon swapoff open_tree statmount"
_CLASSES = {
    "memory": _MEMORY, "process": _PROCESS, "signal": _SIGNAL, "network": _NETWORK, "net": _NETWORK, "ipc": _IPC, "clock": _CLOCK,
    "creds": _CREDS, "desc": _DESCRIPTORS, "file": _FILES, "stat": "stat", "lstat": "lstat", "fstat": "fstat newfstatat statx",
    "%stat": "stat lstat fstat newfstatat statx", "statfs": "statfs", "fstatfs": "fstatfs", "%statfs": "statfs fstatfs",
    "pure": "getpid gettid getppid getuid geteuid getgid getegid getpgrp",
}  # fmt: skip
_KINDS = {"file": ("path", "path?"), "desc": ("fd", "dirfd")}
"""Classes to which calls belong by the kind of their arguments."""


class FilterError(ValueError):
    """The expression makes no sense; the text says why."""


class Filter:
    """What is shown. Without an expression: everything."""

    def __init__(self, expression: str = "") -> None:
        self._call: Callable[[str], bool] = _everything
        self._chosen = False
        self._states = frozenset(STATES)
        self._signals = frozenset(range(1, signals.NSIG + 1))
        self._cache: dict[str, bool] = {}
        for part in filter(None, (part.strip() for part in expression.split(";"))):
            self._add(part)

    def call(self, name: str) -> bool:
        """Is this call shown, should it end in a way that is?"""
        if name not in self._cache:
            self._cache[name] = self._call(name)
        return self._cache[name]

    def result(self, name: str, result: int | None) -> bool:
        """Is a call with this result shown? None: it never returned."""
        state = "unfinished" if result is None else "failed" if -4095 <= result < 0 else "successful"
        return state in self._states and self.call(name)

    def signal(self, number: int) -> bool:
        return number in self._signals

    def _add(self, part: str) -> None:
        key, equals, value = part.partition("=")
        if not equals or key not in ("trace", "status", "signal"):
            if equals and re.fullmatch(r"[a-z]+", key):
                raise FilterError(f"{key}= is no part of a filter: trace=, status= or signal=")
            key, value = "trace", part
        if key == "status":
            self._states = frozenset(_states(value))
        elif key == "signal":
            self._signals = frozenset(_signals(value))
        else:
            self._trace(value)

    def _trace(self, value: str) -> None:
        before, chosen = self._call, self._chosen
        self._chosen = True
        value = value.strip()
        if value in ("all", "none"):
            self._call = _everything if value == "all" else _nothing
            return
        if value.startswith("!"):
            less = _any(value[1:])
            self._call = lambda name: before(name) and not less(name)
        else:
            more = _any(value)
            self._call = (lambda name: before(name) or more(name)) if chosen else more


def _everything(name: str) -> bool:
    return True


def _nothing(name: str) -> bool:
    return False

_BARE = frozenset(("file", "memory", "desc", "process", "signal", "network", "ipc"))
"""Classes that strace takes without the % as well, from the time before it had one; none of them is a call's name."""


@cache
def _known() -> frozenset[str]:
    """Names of other architectures are taken, as by strace, which does not know yet what will be run."""
    return frozenset(name for arch in ("x86_64", "arm64", "i386", "arm") for name in numbers(arch))


def _any(text: str) -> Callable[[str], bool]:
    """Whether one of the items holds."""
    tests: list[Callable[[str], bool]] = []
    names: set[str] = set()
    while text:
        item, _, text = text.partition(",")
        item = item.strip()
        if item.startswith("/"):
            tests.append(_pattern(item[1:]))
        elif item.startswith("%"):
            tests.append(_class(item[1:]))
        elif item in _BARE:
            tests.append(_class(item))
        elif item.startswith("?"):
            names.add(item[1:])
        elif item in _known() or item in every_name():
            names.add(item)
        else:
            raise FilterError(f"{item!r} is no system call" if item else "a system call is missing between commas")
    if not names and not tests:
        raise FilterError("which system calls?")
    return lambda name: name in names or any(test(name) for test in tests)


def _pattern(text: str) -> Callable[[str], bool]:
    try:
        compiled = re.compile(text)
    except re.error as error:
        raise FilterError(f"/{text}: {error}") from None
    return lambda name: compiled.search(name) is not None


def _class(name: str) -> Callable[[str], bool]:
    if name not in _CLASSES:
        raise FilterError(f"%{name} is no class of system calls: {', '.join('%' + known for known in _CLASSES)}")
    listed, kinds = frozenset(_CLASSES[name].split()), _KINDS.get(name, ())
    return lambda call: call in listed or (bool(kinds) and _takes(call, kinds))


def _takes(call: str, kinds: tuple[str, ...]) -> bool:
    """Has the call an argument of such a kind, by its signature or by the table?"""
    spec, shown = registry.find(call), row(call)
    return bool({*(spec.kinds if spec else ()), *(shown.tokens if shown else ())}.intersection(kinds))


def _states(value: str) -> tuple[str, ...]:
    found = tuple(item.strip() for item in value.lstrip("!").split(","))
    for state in found:
        if state not in STATES:
            raise FilterError(f"status={state or '(nothing)'}: {', '.join(STATES)}")
    return tuple(state for state in STATES if state not in found) if value.startswith("!") else found


def _signals(value: str) -> set[int]:
    everything = set(range(1, signals.NSIG + 1))
    if value == "all":
        return everything
    if value == "none":
        return set()
    known = {signals.name(number): number for number in everything}
    found = set()
    for item in value.lstrip("!").split(","):
        name = item.strip().upper()
        number = known.get(name if name.startswith("SIG") else f"SIG{name}", int(name) if name.isdecimal() else 0)
        if number not in everything:
            raise FilterError(f"signal={item.strip() or '(nothing)'}: no such signal")
        found.add(number)
    return everything - found if value.startswith("!") else found
