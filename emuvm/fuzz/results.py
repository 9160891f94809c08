"""What system calls return, decided by a schedule: failures and short counts at chosen calls.

Owns: schedules, their text, applying and mutating them. Must not know how calls work.

    read#2=EINTR; read#3=short:1; mmap#1=ENOMEM; *#7=ENOMEM

The n-th call of a name since runs begin (from 1), or of all calls that a schedule may change (`*`), fails with an error or moves at most so
many bytes. A test case carries its schedule as its last line, behind MARK; what stands before is the input.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from emuvm.abi.errno import Errno
from emuvm.abi.tuples import NamedTuple
from emuvm.errors import EmuvmError
from emuvm.kernel.dispatch import Bound

if TYPE_CHECKING:
    from emuvm.kernel.process import Process

MARK = b"\n#results "
_MOVES = {
    "read": 2, "pread64": 2, "write": 2, "pwrite64": 2, "getrandom": 1, "sendfile": 3, "copy_file_range": 4, "splice": 4, "tee": 2,
    "getdents64": 2,
}  # fmt: skip
"""Which argument is the number of bytes, for calls that may move fewer."""
_ERRORS = {
    "read": "EINTR EAGAIN EIO", "pread64": "EINTR EIO", "readv": "EINTR EAGAIN EIO", "preadv": "EIO",
    "write": "EINTR EAGAIN ENOSPC EIO EPIPE", "pwrite64": "ENOSPC EIO", "writev": "EINTR EAGAIN ENOSPC EIO", "pwritev": "ENOSPC EIO",
    "open": "ENOENT EACCES EMFILE EINTR", "openat": "ENOENT EACCES EMFILE EINTR", "close": "EINTR EIO", "lseek": "ESPIPE",
    "stat": "ENOENT EACCES", "fstat": "EIO EOVERFLOW", "newfstatat": "ENOENT EIO", "statx": "ENOENT EIO", "access": "ENOENT EACCES",
    "mmap": "ENOMEM", "mremap": "ENOMEM", "mprotect": "ENOMEM", "munmap": "ENOMEM", "brk": "ENOMEM", "madvise": "ENOMEM EAGAIN",
    "mlock": "ENOMEM EAGAIN", "ioctl": "ENOTTY EIO", "fcntl": "EAGAIN EINTR", "getrandom": "EAGAIN EINTR ENOSYS",
    "ftruncate": "EIO ENOSPC", "truncate": "EIO ENOSPC", "fsync": "EIO ENOSPC", "fdatasync": "EIO ENOSPC", "fallocate": "EIO ENOSPC",
    "pipe": "EMFILE ENFILE", "pipe2": "EMFILE ENFILE", "dup": "EMFILE", "dup2": "EMFILE", "dup3": "EMFILE",
    "memfd_create": "EMFILE ENOMEM", "eventfd2": "EMFILE", "poll": "EINTR", "ppoll": "EINTR", "select": "EINTR", "pselect6": "EINTR",
    "nanosleep": "EINTR", "clock_nanosleep": "EINTR", "mkdir": "ENOSPC EACCES", "mkdirat": "ENOSPC EACCES", "unlink": "EACCES EBUSY",
    "unlinkat": "EACCES EBUSY", "rename": "EIO ENOSPC", "renameat": "EIO ENOSPC", "renameat2": "EIO ENOSPC", "getcwd": "ENOENT",
    "readlink": "ENOENT EACCES", "readlinkat": "ENOENT EACCES", "sendfile": "EAGAIN EIO", "shmget": "ENOMEM ENOSPC",
    "shmat": "ENOMEM EMFILE", "timer_create": "EAGAIN", "setitimer": "EINVAL", "prlimit64": "EPERM", "getdents64": "EIO",
}  # fmt: skip
"""What real systems answer with, now and then."""
NAMES = frozenset(_ERRORS) | frozenset(_MOVES)
_ENTRY = re.compile(r"(\*|[a-z_0-9]+)#([0-9]{1,9})=(?:short:([0-9]{1,9})|(E[A-Z0-9]+))")
_MOST = 64


class ScheduleError(EmuvmError):
    """The text is no schedule."""


class Entry(NamedTuple):
    """The `nth` call of `name` ('*': of all) fails with `errno`, or, if that is 0, moves at most `short` bytes."""

    name: str
    nth: int
    errno: int
    short: int = 0

    def __str__(self) -> str:
        return f"{self.name}#{self.nth}={Errno(self.errno).name if self.errno else f'short:{self.short}'}"


class Schedule(NamedTuple):
    """What is to happen in one run."""

    entries: tuple[Entry, ...] = ()

    def __str__(self) -> str:
        return "; ".join(str(entry) for entry in self.entries)

    @classmethod
    def parse(cls, text: str) -> Schedule:
        """The reverse of str(). ScheduleError."""
        found = []
        for part in text.split(";"):
            if not part.strip():
                continue
            match = _ENTRY.fullmatch(part.strip())
            if match is None:
                raise ScheduleError(f"{part.strip()!r}: NAME#N=ERROR or NAME#N=short:COUNT")
            name, nth, short, error = match.groups()
            if name != "*" and name not in NAMES:
                raise ScheduleError(f"{name}: results of this call cannot be chosen")
            errno = 0 if error is None else _errno(error)
            if short is not None and name != "*" and name not in _MOVES:
                raise ScheduleError(f"{name} does not move bytes")
            found.append(Entry(name, int(nth), errno, int(short or 0)))
        return cls(tuple(found))


def _errno(name: str) -> int:
    found = getattr(Errno, name, None)
    if not isinstance(found, Errno):
        raise ScheduleError(f"{name}: no such error")
    return int(found)


def split(data: bytes) -> tuple[bytes, Schedule]:
    """A test case's input and schedule. A last line that is no schedule is told by ScheduleError."""
    at = data.rfind(MARK)
    if at < 0:
        return data, Schedule()
    return data[:at], Schedule.parse(data[at + len(MARK) :].decode("ascii", "backslashreplace").strip())


def join(data: bytes, schedule: Schedule) -> bytes:
    """A test case."""
    return data + MARK + str(schedule).encode() if schedule.entries else data


class Results:
    """Applies schedules to the calls of one process. It needs to see them all: they are not made inside the engine's hook."""

    def __init__(self, proc: Process) -> None:
        self._proc = proc
        self._counts: dict[str, int] = {}
        self._all = 0
        self._wanted: Mapping[tuple[str, int], Entry] = {}
        proc.dispatcher.watch(self._watch, NAMES)

    def begin(self, schedule: Schedule) -> None:
        """A run begins."""
        self._counts, self._all = {}, 0
        self._wanted = {(entry.name, entry.nth): entry for entry in reversed(schedule.entries)}

    def _watch(self, name: str, bound: Bound) -> Bound:
        place = _MOVES.get(name)

        def call(args: tuple[int, ...]) -> int:
            nth = self._counts[name] = self._counts.get(name, 0) + 1
            self._all += 1
            entry = self._wanted.get((name, nth)) or self._wanted.get(("*", self._all))
            if entry is None:
                return bound(args)
            if entry.errno:
                return self._failed(name, entry.errno)
            if place is None:
                return bound(args)
            return bound((*args[:place], min(args[place], entry.short), *args[place + 1 :]))

        return call

    def _failed(self, name: str, errno: int) -> int:
        # brk tells a failure by the break that is there.
        return self._proc.mm.brk_now if name == "brk" else -errno


def mutate(schedule: Schedule, made: Iterable[str], rng: random.Random) -> Schedule:
    """Another schedule for a run that made these calls, in order: an entry more, fewer or different."""
    calls = [name for name in made if name in NAMES]
    entries = list(schedule.entries)
    if entries and (not calls or rng.random() < 0.3):
        at = rng.randrange(len(entries))
        if rng.random() < 0.5:
            del entries[at]
        else:
            entry = entries[at]
            entries[at] = entry._replace(nth=max(1, entry.nth + rng.choice((-2, -1, 1, 2))))
    elif calls and len(entries) < _MOST:
        at = rng.randrange(len(calls))
        entries.append(_entry(calls[at], calls[: at + 1].count(calls[at]), at + 1, rng))
    return Schedule(tuple(entries))


def each(made: Iterable[str]) -> Iterator[Entry]:
    """Every single thing that may go wrong with these calls, in order: each error of each, and counts of 0 and 1 byte."""
    counts: dict[str, int] = {}
    for name in made:
        if name in NAMES:
            nth = counts[name] = counts.get(name, 0) + 1
            for errno in _ERRORS.get(name, "").split():
                yield Entry(name, nth, _errno(errno))
            if name in _MOVES:
                yield Entry(name, nth, 0, 0)
                yield Entry(name, nth, 0, 1)


def _entry(name: str, nth: int, of_all: int, rng: random.Random) -> Entry:
    if name in _MOVES and (name not in _ERRORS or rng.random() < 0.5):
        return Entry(name, nth, 0, rng.choice((0, 1, 1, 2, 3, 7, rng.randrange(1, 4097))))
    errno = _errno(rng.choice(_ERRORS[name].split()))
    return Entry("*", of_all, errno) if rng.random() < 0.1 else Entry(name, nth, errno)
