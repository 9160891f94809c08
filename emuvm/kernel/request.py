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
