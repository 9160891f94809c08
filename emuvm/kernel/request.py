"""What somebody wants to be run: the value between the command line and `kernel.running`.

Owns: the fields and their defaults. Must not know anything else; importing it is cheap.
"""

from __future__ import annotations

from emuvm.abi.tuples import NamedTuple


class Request(NamedTuple):
    """A program, its arguments, and the conditions; see `emuvm --help`. Sizes in bytes, times in seconds."""

    program: str
    args: tuple[str, ...]
    root: str = "/"
    writable: tuple[str, ...] = ()
    allow_all: bool = False
    environment: tuple[str, ...] = ()
    engine: str = "paged"
    memory: int | None = None
    timeout: float | None = None
    maps: bool = False
    strace: str | None = None
    """Filter of a trace of system calls, '' for everything; see `tools.strace_filter`. None: no trace."""
    strace_file: str | None = None
    """Where the trace goes; None: stderr."""
    strace_string: int = 32
    """How many bytes of strings, and elements of arrays, a trace shows."""
    strace_follow: bool = False
    """Children are watched too."""
    trace_vma: str | None = None
    """Where the changes of the address space go as JSON lines; '-': stderr. None: nowhere."""
    kernel: str = ""
    """Linux version whose rules the memory calls follow: '6.1', 'host'. '': emuvm's default."""
