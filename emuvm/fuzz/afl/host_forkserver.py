"""The host's side of AFL's fork server: descriptors 198 and 199, shared memory, the stand-in process.

Owns: every system call the protocol needs. Must not know targets.

AFL wants the process number of the run it asked for, to kill it when the time is over. There is no process for each run here, so AFL
is given the number of a stand-in that only sleeps: when AFL kills it, the time of the run is over. It ends by itself with its parent.

AFL ends its fork server, and the process whose number it has, by SIGKILL. So another process waits to remove what that leaves behind.
"""

from __future__ import annotations

import ctypes
import os
import resource
import select
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

CONTROL, STATUS = 198, 199
"""AFL writes to the first and reads from the second."""
_FAILED = (1 << ctypes.sizeof(ctypes.c_void_p) * 8) - 1


def environment(name: str) -> str | None:
    """A variable that AFL sets."""
    return os.environ.get(name)


def attach_shared(number: str) -> int:
    """Host address of a System V shared memory segment. OSError: there is no such segment, or `number` is none."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.shmat.restype = ctypes.c_void_p
    libc.shmat.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_int]
    if not number.isdigit():
        raise OSError(f"{number!r} is no number of a shared memory segment")
    address = libc.shmat(int(number), None, 0)
    if address in (None, _FAILED):
        error = ctypes.get_errno()
        raise OSError(error, f"shared memory segment {number}: {os.strerror(error)}")
    return int(address)


def send(word: int) -> bool:
    """Four bytes to AFL; False if nobody is there."""
    try:
        return os.write(STATUS, (word & 0xFFFF_FFFF).to_bytes(4, "little")) == 4
    except OSError:
        return False


def receive() -> int | None:
    """Four bytes from AFL; None when it has gone."""
    try:
        word = os.read(CONTROL, 4)
    except OSError:
        return None
    return int.from_bytes(word, "little") if len(word) == 4 else None


def standard_input() -> bytes:
    """All of the file that is standard input, from its beginning, wherever its offset is; a pipe is read to its end."""
    parts: list[bytes] = []
    done = 0
    try:
        while part := os.pread(0, 1 << 20, done):
            parts.append(part)
            done += len(part)
    except OSError:
        while part := os.read(0, 1 << 16):
            parts.append(part)
    return b"".join(parts)


def file(path: str) -> bytes:
    """Contents of a file of the host; nothing if it is not there: AFL removes and makes it again."""
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""


class StandIn:
    """A process that does nothing, for AFL to kill."""

    def __init__(self) -> None:
        self.pid = 0
        self._hold = self._alive = -1
        """Write end of what it reads, and read end of what it never writes: the first tells it of our end, the second us of its."""
        self._start()

    def _start(self) -> None:
        reading, self._hold = os.pipe()
        self._alive, writing = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            self._sleep(reading, writing)
        os.close(reading)
        os.close(writing)

    def _sleep(self, reading: int, writing: int) -> NoReturn:
        try:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # for the fuzzer, not for us
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            for number in (CONTROL, STATUS, self._hold, self._alive):
                os.close(number)
            os.read(reading, 1)
        finally:
            os._exit(0)

    def _reap(self) -> int:
        _, status = os.waitpid(self.pid, 0)
        os.close(self._hold)
        os.close(self._alive)
        self.pid = 0
        return status

    def killed(self) -> int | None:
        """Wait until AFL kills it: its wait status; None if AFL goes away instead."""
        ready, _, _ = select.select([self._alive, CONTROL], [], [])
        return self._reap() if self._alive in ready else None

    def replace(self) -> None:
        """A new one: AFL has killed this one, or will not have to."""
        if self.pid:
            self._reap()
        self._start()

    def close(self) -> None:
        """End it."""
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            self._reap()


class Janitor:
    """A process that calls `clean` if this one is killed before `close`. No signal for this one's session reaches it."""

    def __init__(self, clean: Callable[[], object]) -> None:
        reading, self._hold = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                os.setsid()
                for number in (CONTROL, STATUS, self._hold):
                    os.close(number)
                os.read(reading, 1)
                clean()
            finally:
                os._exit(0)
        os.close(reading)

    def close(self) -> None:
        """It is not needed any more."""
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        os.close(self._hold)


def die(number: int) -> NoReturn:
    """End as a process that was killed by a signal, without a core file."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    os._exit(128 + number)  # the signals that do not kill


def sleep_for_ever() -> NoReturn:
    """Until a signal ends this process."""
    while True:
        signal.pause()


def buffer(address: int, length: int) -> Any:
    """A view of host memory, writable."""
    return memoryview((ctypes.c_uint8 * length).from_address(address)).cast("B")
