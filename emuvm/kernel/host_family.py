"""The host behind the processes of a run: making one, its end, waiting for children, sending signals to relatives.

Owns: which processes of the host are the program's, in memory that all of them share. Must not know guests: a process is a number, a
signal is the host's. Nobody else is ever sent anything. Sources: kernel/fork.c, kernel/exit.c, kernel/signal.c.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import resource
import signal
import socket
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from struct import Struct
from typing import NoReturn

from emuvm.abi.errno import Errno
from emuvm.abi.numbers import numbers
from emuvm.abi.signals import Code
from emuvm.abi.structs import Rusage
from emuvm.abi.tuples import NamedTuple
from emuvm.errors import GuestError
from emuvm.kernel import hostfd
from emuvm.kernel.hostfd import host_call

_SLOT = Struct("<IIIxxxxQ")
"""Process, real and saved user, when it started."""
_SLOTS = 4096
_SIGINFO = Struct("<iii4xiIi4xqq80x")
"""siginfo_t of SIGCHLD: signo, errno, code, pid, uid, status, utime, stime."""
_USAGE = Struct("<18q")
_WNOHANG = 1
_WAIT_BITSET, _WAKE_BITSET = 9, 10
_BROKEN = 70
_MESSAGE = 1 << 17
_PATIENCE, _LOOK = 10.0, 0.1
"""Seconds that an errand may take, and how often its doer is looked at."""
_CALLS = ("waitid", "rt_sigqueueinfo", "tgkill", "futex", "rt_sigaction")
_HOST = {"x86_64": "x86_64", "aarch64": "arm64"}


class Relative(NamedTuple):
    """A process of the program, and who it is."""

    pid: int
    real: int
    saved: int


class Ending(NamedTuple):
    """What a child did, as waitid tells it, and what it has used."""

    pid: int
    uid: int
    code: int
    status: int
    usage: Rusage

    @property
    def word(self) -> int:
        """The same as wait4 tells it."""
        if self.code == Code.CLD_EXITED:
            return (self.status & 0xFF) << 8
        if self.code == Code.CLD_CONTINUED:
            return 0xFFFF
        if self.code in (Code.CLD_STOPPED, Code.CLD_TRAPPED):
            return self.status << 8 | 0x7F
        return self.status | (0x80 if self.code == Code.CLD_DUMPED else 0)


class Family:
    """The processes of a run. Shared with every child that `fork` makes."""

    def __init__(self, real: int, saved: int) -> None:
        self._table = mmap.mmap(-1, _SLOTS * _SLOT.size)
        self._lock = hostfd.memory_file(0)
        self._name = os.urandom(8).hex().encode()
        number = numbers(_HOST.get(os.uname().machine, "x86_64"))
        self._waitid, self._queue, self._tgkill, self._futex, self._action = (number[call] for call in _CALLS)
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.enter(os.getpid(), real, saved)
        self._begin()

    def _begin(self) -> None:
        self._event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.mail = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        """Where errands for this process arrive."""
        self.mail.setblocking(False)
        self.mail.bind(self._address(os.getpid()))

    def _address(self, pid: int) -> bytes:
        """Of a process's mail: in no directory, and gone with it."""
        return b"\0emuvm/%s/%d" % (self._name, pid)

    # -- errands --------------------------------------------------------------------------------------------------------------

    def serve(self, how: Callable[[bytes], bytes]) -> None:
        """Do what was asked for until now."""
        while True:
            try:
                request, sender = self.mail.recvfrom(_MESSAGE)
            except BlockingIOError:
                return
            try:
                self.mail.sendto(how(request), sender)
            except OSError:
                continue  # it did not wait

    def ask(self, pid: int, request: bytes, how: Callable[[bytes], bytes]) -> bytes:
        """Have a process do something, and do meanwhile what is asked of this one. ESRCH: it does not any more."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as answers:
            answers.bind(b"")
            until = time.monotonic() + _PATIENCE
            try:
                answers.sendto(request, self._address(pid))
                while time.monotonic() < until and _alive(pid):
                    ready = hostfd.wait([(answers.fileno(), 1), (self.mail.fileno(), 1)], _LOOK)
                    if answers.fileno() in ready:
                        return answers.recv(_MESSAGE)
                    self.serve(how)
            except OSError:
                pass
        raise GuestError(Errno.ESRCH, f"process {pid} does not answer")

    def close(self) -> None:
        """This process leaves; the others stay."""
        self.mail.close()
        self._table.close()
        for fd in (self._event, self._lock):
            os.close(fd)

    # -- who belongs to it ----------------------------------------------------------------------------------------------------

    @contextmanager
    def _alone(self) -> Iterator[None]:
        fcntl.lockf(self._lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self._lock, fcntl.LOCK_UN)

    def enter(self, pid: int, real: int, saved: int) -> None:
        """A process, or its new user ids. When there is no room it is nobody's relative."""
        born = _born(pid)
        with self._alone():
            free = -1
            for place in range(0, len(self._table), _SLOT.size):
                known, _, _, start = _SLOT.unpack_from(self._table, place)
                if known == pid and start == born:
                    free = place
                    break
                if free < 0 and (not known or _born(known) != start):
                    free = place
                if not known:
                    break
            if free >= 0 and born:
                _SLOT.pack_into(self._table, free, pid, real, saved, born)

    def __iter__(self) -> Iterator[Relative]:
        """Those that there are, the caller among them, and those that have ended and nobody has waited for."""
        for place in range(0, len(self._table), _SLOT.size):
            pid, real, saved, born = _SLOT.unpack_from(self._table, place)
            if not pid:
                return
            if _born(pid) == born:
                yield Relative(pid, real, saved)

    def find(self, pid: int) -> Relative | None:
        """The process of this number, if it is one of them."""
        for place in range(0, len(self._table), _SLOT.size):
            known, real, saved, born = _SLOT.unpack_from(self._table, place)
            if not known:
                break
            if known == pid and _born(pid) == born:
                return Relative(pid, real, saved)
        return None

    # -- making one, and its end ----------------------------------------------------------------------------------------------

    @host_call
    def fork(self, real: int, saved: int) -> int:
        """The child's number, 0 in the child."""
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of threads, which know what to expect
            pid = os.fork()
        if pid:
            self.enter(pid, real, saved)
            return pid
        try:
            self.enter(os.getpid(), real, saved)
            os.close(self._event)
            self.mail.close()
            self._begin()
            # The core of a child that dies would be emuvm's.
            resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
        except BaseException:
            os._exit(_BROKEN)  # there is no guest yet to tell it to, and its parent goes on elsewhere
        return 0

    def end(self, code: int, number: int) -> NoReturn:
        """End this child at once, with an exit code or by a signal."""
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError, AttributeError):
                continue
        if number:
            # Not by the library, which keeps two signals to itself.
            self._libc.syscall(self._action, number, bytes(32), None, 8)
            if number in signal.valid_signals():
                signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])
            os.kill(os.getpid(), number)
            code = 128 + number
        os._exit(code)

    # -- waiting --------------------------------------------------------------------------------------------------------------

    def fileno(self) -> int:
        """Readable since something happened to a child after the last `look`."""
        return self._event

    def changed(self, *, reap: bool) -> None:
        """Something happened to a child. `reap`: nobody wants to know what."""
        os.eventfd_write(self._event, 1)
        if reap:
            try:
                while os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG) is not None:
                    pass
            except OSError:
                return

    @host_call
    def look(self, kind: int, number: int, options: int) -> Ending | None:
        """waitid(2) that does not wait; its GuestError. None: nothing new."""
        try:
            os.eventfd_read(self._event)
        except BlockingIOError:
            pass
        info, usage = ctypes.create_string_buffer(_SIGINFO.size), ctypes.create_string_buffer(_USAGE.size)
        if self._libc.syscall(self._waitid, kind, number, info, options | _WNOHANG, usage) < 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error))
        _, _, code, pid, uid, status, _, _ = _SIGINFO.unpack(info.raw)
        return Ending(pid, uid, code, status, _usage(_USAGE.unpack(usage.raw))) if pid else None

    @staticmethod
    def children_usage() -> Rusage:
        """What the children that were waited for have used."""
        found = resource.getrusage(resource.RUSAGE_CHILDREN)
        user, system = (divmod(round(value * 1_000_000), 1_000_000) for value in found[:2])
        return Rusage(user, system, *(int(value) for value in found[2:]))

    # -- futexes --------------------------------------------------------------------------------------------------------------

    @host_call
    def futex_wait(self, place: int, value: int, left: int, bits: int) -> bool:
        """FUTEX_WAIT_BITSET on a host address for so many nanoseconds: was it woken? EAGAIN the value is another one."""
        at = time.monotonic_ns() + left
        until = (ctypes.c_int64 * 2)(at // 1_000_000_000, at % 1_000_000_000)
        if self._libc.syscall(self._futex, ctypes.c_void_p(place), _WAIT_BITSET, ctypes.c_uint32(value), until, None, bits) == 0:
            return True
        error = ctypes.get_errno()
        if error in (Errno.ETIMEDOUT, Errno.EINTR):
            return False
        raise OSError(error, os.strerror(error))

    @host_call
    def futex_wake(self, place: int, count: int, bits: int) -> int:
        """FUTEX_WAKE_BITSET on a host address: how many were woken."""
        done = int(self._libc.syscall(self._futex, ctypes.c_void_p(place), _WAKE_BITSET, ctypes.c_uint32(count), None, None, bits))
        return max(done, 0)

    # -- signals --------------------------------------------------------------------------------------------------------------

    @host_call
    def kill(self, pid: int, number: int, *, thread: bool = False) -> None:
        """kill(2), or tgkill(2) to the first thread."""
        if not thread:
            os.kill(pid, number)
        elif self._libc.syscall(self._tgkill, pid, pid, number) < 0:
            raise OSError(ctypes.get_errno(), "tgkill")

    @host_call
    def queue(self, pid: int, number: int, info: bytes) -> None:
        """rt_sigqueueinfo(2)."""
        if self._libc.syscall(self._queue, pid, number, info) < 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error))


def _usage(values: tuple[int, ...]) -> Rusage:
    return Rusage((values[0], values[1]), (values[2], values[3]), *values[4:])


def _stat(pid: int) -> list[bytes]:
    """The fields of /proc/PID/stat from the state on; zeros: there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()
    except OSError:
        return [b"0"] * 20


def _born(pid: int) -> int:
    """When a process started, in ticks since the machine did; 0: there is none."""
    return int(_stat(pid)[19])


def _alive(pid: int) -> bool:
    """Is there one that has not ended?"""
    return _stat(pid)[0] not in (b"0", b"Z", b"X")
