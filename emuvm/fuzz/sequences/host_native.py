"""Programs of system calls on the host's own kernel, each in a process that is thrown away.

Owns: the child and how it is kept from doing harm. Must not know how results are compared.

Only programs that `describe.forbidden_on_host` lets pass are run. The child has an empty temporary directory, its own session, limits of
memory, files, time and cores, its own IPC namespace, no rights of root, its results on one pipe, and nothing else open. Its addresses
are not random, so that what depends on them is the same every time.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import selectors
import shutil
import signal
import tempfile
import time
from pathlib import Path

from emuvm.abi.flags import Rlimit
from emuvm.errors import EmuvmError
from emuvm.fuzz.sequences.describe import forbidden_on_host
from emuvm.fuzz.sequences.elf import runner
from emuvm.fuzz.sequences.encode import Result, encode, maps_told, results, with_maps
from emuvm.fuzz.sequences.program import Program

ARCH = {"x86_64": "x86_64", "aarch64": "arm64"}.get(platform.machine(), "") if platform.system() == "Linux" else ""
"""What the host can run; '' for nothing."""
LIMITS = {Rlimit.RLIMIT_AS: 256 << 20, Rlimit.RLIMIT_MEMLOCK: 8 << 20, Rlimit.RLIMIT_STACK: 8 << 20, Rlimit.RLIMIT_NOFILE: 1024}
"""Limits of a run, soft and hard, by their generic numbers; the emulated side has the same."""
_RESULTS_FD = 1000
_NO_RANDOM, _NEW_IPC = 0x4_0000, 0x800_0000
_NOBODY = 65534


def temporary_file(name: str, data: bytes) -> Path:
    """A program in a directory of its own; `remove` it."""
    folder = Path(tempfile.mkdtemp(prefix="emuvm-"))
    path = folder / name
    path.write_bytes(data)
    folder.chmod(0o755)
    path.chmod(0o755)
    return path


def remove(path: Path) -> None:
    """A file of `temporary_file`, with its directory."""
    shutil.rmtree(path.parent, ignore_errors=True)


class Refusal(EmuvmError):
    """The program is not one for the host, or the host is not one for programs."""


class NativeRunner:
    """The host's kernel. Close it. `seconds`: how long a program may take."""

    def __init__(self, seconds: float = 2.0) -> None:
        if not ARCH:
            raise Refusal("programs run natively on Linux on x86-64 or arm64 only")
        self.arch = ARCH
        self._seconds = seconds
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._program = temporary_file("runner", runner(ARCH).file)
        self._folder = tempfile.mkdtemp(prefix="emuvm-")
        Path(self._folder).chmod(0o777)
        self.runs = 0
        self.ended = ""
        """How the last run ended: 'exit 0', 'signal 11', 'timeout'."""
        self.maps: bytes | None = None
        """/proc/self/smaps at its end; None where that could not be read."""

    def run(self, program: Program) -> list[Result | None]:
        """The results, None for calls that were not made. Refusal: the program might do harm."""
        why = forbidden_on_host(program)
        if why:
            raise Refusal(why)
        whole = with_maps(program, _RESULTS_FD)
        data = encode(whole, self.arch, _RESULTS_FD)
        self.runs += 1
        self.maps = None
        reading, writing = os.pipe()
        stdin = os.memfd_create("program")
        os.write(stdin, data)
        os.lseek(stdin, 0, 0)
        pid = os.fork()
        if pid == 0:
            try:
                self._child(stdin, writing)
            finally:
                os._exit(127)
        os.close(stdin)
        os.close(writing)
        try:
            found = self._collect(pid, reading)
        finally:
            os.close(reading)
        self._empty()
        if len(whole) > len(program):
            self.maps = maps_told(found, len(program))
        return results(found, len(program))

    def _child(self, stdin: int, writing: int) -> None:
        """Between fork and exec. Whatever fails here ends the child."""
        os.setsid()
        os.chdir(self._folder)
        null = os.open("/dev/null", os.O_RDWR)
        os.dup2(writing, _RESULTS_FD)
        os.dup2(stdin, 0)
        os.dup2(null, 1)
        os.dup2(null, 2)
        os.closerange(3, _RESULTS_FD)
        os.closerange(_RESULTS_FD + 1, 1 << 16)
        os.set_inheritable(_RESULTS_FD, True)
        for number in range(1, 65):
            if number not in (signal.SIGKILL, signal.SIGSTOP, 32, 33):
                signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        if self._libc.unshare(_NEW_IPC) and self._libc.unshare(_NEW_IPC | 0x1000_0000):  # by itself, else with a user namespace
            os._exit(126)
        seconds = int(self._seconds) + 1
        for what, most in {**LIMITS, resource.RLIMIT_CORE: 0, resource.RLIMIT_CPU: seconds}.items():
            resource.setrlimit(what, (most, most))
        if os.getuid() == 0 or os.geteuid() == 0:
            os.setgroups([])
            os.setresgid(_NOBODY, _NOBODY, _NOBODY)
            os.setresuid(_NOBODY, _NOBODY, _NOBODY)
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))  # after the user has changed: exec looks at how many processes that one has
        self._libc.personality(_NO_RANDOM)
        os.execve(self._program, ["runner"], {})

    def _collect(self, pid: int, reading: int) -> bytes:
        """Everything the child writes until its end, or that of its time."""
        found, until, over = bytearray(), time.monotonic() + self._seconds, False
        with selectors.DefaultSelector() as selector:
            selector.register(reading, selectors.EVENT_READ)
            while True:
                left = until - time.monotonic()
                if left <= 0 or not selector.select(left):
                    over = True
                    break
                piece = os.read(reading, 1 << 16)
                if not piece:
                    break
                found += piece
        if over:
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        code = os.waitstatus_to_exitcode(status)
        self.ended = "timeout" if over else f"signal {-code}" if code < 0 else f"exit {code}"
        if code in (126, 127) and not over:
            raise Refusal("the host does not let a process give up its rights: no program is run")
        return bytes(found)

    def _empty(self) -> None:
        for name in os.listdir(self._folder):
            path = os.path.join(self._folder, name)
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path, ignore_errors=True)
            else:
                os.unlink(path)

    def close(self) -> None:
        """Remove its files."""
        remove(self._program)
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> NativeRunner:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
