"""The optional C module, if it is there and fits.

Owns: that decision. Must not know what its functions do.

In a development tree a stale module stays behind after its sources change, and would call wild addresses.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import cache
from typing import Any

from emuvm.abi.tuples import NamedTuple

SOURCES = ("fill.c", "handled.c", "calls.c", "copies.c", "state.h")


class Native(NamedTuple):
    """What the module offers: addresses of functions, sizes in bytes of what they take for their state, and what Python calls."""

    fill: int
    fill_state: int
    block: int
    block_state: int
    handled_run: int
    handled_call: int
    handled_interrupt: int
    handled_witness: int
    handled_state: int
    call_instruction: int
    call_interrupt: int
    call_state: int
    merge: Callable[[int, int], int]
    put_back: Callable[[list[dict[str, Any]], list[dict[str, Any]]], None]
    peek: Callable[[int, int, int], bytes | None]
    poke: Callable[[int, int, bytes], bool]
    steps: Callable[[int, int], int] | None


@cache
def native() -> Native | None:
    """None when the C module is not there, or was built from other sources."""
    try:
        from emuvm.engine.native import _fill
    except ImportError:
        return None
    found = _fill.addresses()
    if len(found) != 13:
        return None
    fill, fill_state, source, block, blocks, run, call, interrupt, witness, handled, instruction, exception, calls = found
    try:
        if source != zlib.crc32(b"".join(_read(f"{_fill.__file__.rpartition('/')[0]}/{name}") for name in SOURCES)):
            return None
    except OSError:
        pass  # installed without the sources: nothing could have changed
    functions = _fill.merge, _fill.put_back, _fill.peek, _fill.poke, getattr(_fill, "steps", None)
    addresses = fill, fill_state, block, blocks, run, call, interrupt, witness, handled, instruction, exception, calls
    return Native(*addresses, *functions)


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
