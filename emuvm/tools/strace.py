"""`emuvm run --strace`: the system calls and signals of a run, a line each, in the form of strace(8).

Owns: when a line is written, and what stands between the lines. Must not know how arguments are shown (`strace_format`), nor the
command line.

A line is written when its call is over, so that lines stay whole between the program's own output; a call that never ends is shown
when the run does. Nothing of this costs a run that is not traced: `Dispatcher.watch` replaces the functions that make calls.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from emuvm.abi import signals
from emuvm.abi.errno import Errno
from emuvm.errors import GuestError
from emuvm.kernel.dispatch import Bound
from emuvm.kernel.siginfo import SignalInfo
from emuvm.kernel.signal_restart import Interrupted
from emuvm.tools.strace_filter import Filter
from emuvm.tools.strace_format import Formatter, Shown
from emuvm.tools.strace_structs import FAULTS, siginfo_members, siginfo_text
from emuvm.tools.strace_text import RESTARTS

if TYPE_CHECKING:
    from emuvm.kernel.process import ExitStatus, Process

_SENT = (signals.Code.SI_USER, signals.Code.SI_TKILL)
_RESTARTS = {text.split()[0]: -number for number, text in RESTARTS.items()} | {"EINTR": -Errno.EINTR}


_FORKS = frozenset(("fork", "vfork", "clone", "clone3"))
ON_TERMINAL, IN_FILE = "[pid %5d] ", "%-5d "
"""What begins lines where there are several processes."""


class Strace:
    """Traces one process: `kernel.tracing.Tracer`, and a watcher of the dispatcher."""

    def __init__(self, proc: Process, write: Callable[[str], object], chosen: Filter, limit: int = 32, follow: str = "") -> None:
        """`follow`: its children are watched too, and this, with the number of a process, begins the lines of each."""
        self._follow = follow
        self._mark = follow % proc.pid if follow and not follow.startswith("[") else ""
        self._proc = proc
        self._write = write
        self._filter = chosen
        self._formatter = Formatter(proc.arch, proc.mem, limit)
        self._current: Shown | None = None
        self._waiting: list[str] = []
        self._first = True
        proc.tracer = self
        proc.dispatcher.watch(self._watch)

    # -- calls ------------------------------------------------------------------------------------------------------------

    def _watch(self, name: str, bound: Bound) -> Bound:
        """Make `bound` tell what it does."""
        if not self._filter.call(name):
            return self._silent(name, bound)

        def traced(args: tuple[int, ...]) -> int:
            self._begin()
            self._current = shown = self._formatter.begin(name, args, self._proc.engine.get("sp"))
            result = None
            try:
                result = bound(args)
            except GuestError as error:
                result = -error.errno
                raise
            except Interrupted as interrupted:
                result = _RESTARTS[interrupted.kind.value]
                raise
            finally:
                if result is not None and self._current is shown:
                    self._current = None
                    self._end(shown, result)
                    self._made(name, result)
            return result

        return traced

    def _silent(self, name: str, bound: Bound) -> Bound:
        def untraced(args: tuple[int, ...]) -> int:
            self._begin()
            result = bound(args)
            self._made(name, result)
            return result

        return untraced

    def _made(self, name: str, result: int) -> None:
        """From the first process on that it makes, it is told whose each line is."""
        if self._follow and name in _FORKS and result > 0:
            self._mark = self._follow % self._proc.pid

    def _end(self, shown: Shown, result: int) -> None:
        ended = self._proc.ended
        gone = ended is not None and ended.signal in (0, signals.Signal.SIGKILL)
        if shown.call.name == "rt_sigreturn" and not gone:
            # What the program goes on with, where others would find the result.
            result = self._proc.engine.get(self._proc.arch.syscall_result)
            result -= (result >> self._proc.arch.bits - 1) << self._proc.arch.bits
        if self._filter.result(shown.call.name, None if gone else result):
            self._line(shown.end(None if gone else result, len(self._mark)))
        for text in self._waiting:
            self._line(text)
        self._waiting.clear()

    def _begin(self) -> None:
        """The execve that emuvm itself made, before the first thing the program does."""
        if not self._first:
            return
        self._first = False
        stack, word = self._proc.stack_info, self._proc.arch.bits // 8
        if stack is None or not (self._filter.call("execve") and self._filter.result("execve", 0)):
            return
        argc = int.from_bytes(stack.data[:word], "big" if self._proc.arch.big_endian else "little")
        argv = stack.start + word
        self._line(self._formatter.begin("execve", (stack.execfn, argv, argv + (argc + 1) * word, 0, 0, 0)).end(0))

    def born(self) -> bool:
        """The process is a child from here on: is it watched too?"""
        self._current = None
        self._waiting.clear()
        if not self._follow:
            return False
        self._mark = self._follow % self._proc.pid
        if self._mark.startswith("["):
            self._write(f"strace: Process {self._proc.pid} attached\n")
        return True

    # -- what else happens ------------------------------------------------------------------------------------------------

    def signal(self, info: SignalInfo) -> None:
        """A signal was taken."""
        self._begin()
        if not self._filter.signal(info.signal):
            return
        text = f"--- {signal_name(info.signal)} {self._siginfo(info)} ---"
        if self._current is not None:
            self._waiting.append(text)
        else:
            self._line(text)

    def _siginfo(self, info: SignalInfo) -> str:
        rest: dict[str, int] = {}
        if info.fields is not None:
            rest = siginfo_members(self._proc.arch, info.signal, info.code, info.fields.ljust(32, b"\0"))
        elif info.address is not None or (info.code > 0 and info.signal in FAULTS):
            rest["address"] = info.address or 0
        elif info.code in _SENT:
            rest = {"pid": self._proc.pid, "uid": self._proc.system.uid}
        return siginfo_text(info.signal, info.code, rest)

    def exited(self, status: ExitStatus | None) -> None:
        """The last line; without a status, the call in which the run was broken off."""
        if status is not None:
            self._begin()
        if self._current is not None and self._filter.result(self._current.call.name, None):
            self._line(self._current.unfinished())
        self._current = None
        for text in self._waiting:
            self._line(text)
        self._waiting.clear()
        if status is not None:
            self._line(f"+++ killed by {signal_name(status.signal)} +++" if status.signal else f"+++ exited with {status.code} +++")

    def _line(self, text: str) -> None:
        self._write(f"{self._mark}{text}\n")


def signal_name(number: int) -> str:
    """As strace shows a signal in a line of its own."""
    return "SIGRTMIN" if number == signals.SIGRTMIN else signals.name(number)

