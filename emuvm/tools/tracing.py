"""What `emuvm run` watches a process with, as its options ask.

Owns: where traces are written, and that nothing goes wrong because they cannot be. Must not know how traces look.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from emuvm.kernel.host_run import write_stderr
from emuvm.kernel.request import Request

if TYPE_CHECKING:
    from emuvm.kernel.process import Process

Write = Callable[[str], object]


class CannotWrite(Exception):
    """A file for a trace cannot be written; the text says why."""


def prepare(request: Request) -> Callable[[Process], None]:
    """What is to be called with the new process (see `boot`). Files are opened now: CannotWrite."""
    strace = _writer("--strace-file", request.strace_file or "-") if request.strace is not None else None
    vma = _writer("--trace-vma", request.trace_vma) if request.trace_vma is not None else None

    def begin(proc: Process) -> None:
        if strace is not None:
            from emuvm.tools.strace import IN_FILE, ON_TERMINAL, Strace
            from emuvm.tools.strace_filter import Filter

            follow = "" if not request.strace_follow else IN_FILE if request.strace_file else ON_TERMINAL
            Strace(proc, strace, Filter(request.strace or ""), request.strace_string, follow)
        if vma is not None:
            from emuvm.tools.vmatrace import VmaTrace

            VmaTrace(proc, vma)

    return begin


def _writer(option: str, name: str) -> Write:
    """Lines to a file, or to stderr for '-'. What cannot be written is dropped: the program must not notice."""
    if name == "-":
        write: Write = write_stderr
    else:
        try:
            # Line by line: whatever becomes of emuvm, the trace is there. Closed when emuvm ends.
            write = open(name, "w", buffering=1, encoding="utf-8", errors="surrogateescape").write  # noqa: SIM115
        except (OSError, ValueError) as error:
            raise CannotWrite(f"{option} {name}: {getattr(error, 'strerror', None) or error}") from None

    def careful(text: str) -> None:
        try:
            write(text)
        except (OSError, ValueError, AttributeError):
            return

    return careful
