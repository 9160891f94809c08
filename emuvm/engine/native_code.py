"""The optional C module, if it is there and fits.

Owns: that decision. Must not know what its functions do.

In a development tree a stale module stays behind after fill.c changes, and would call wild addresses.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import cache
from typing import Any

from emuvm.abi.tuples import NamedTuple


class Native(NamedTuple):
    """What the module offers: addresses of callbacks, sizes in bytes of what they take for their state, and functions."""

    fill: int
    fill_state: int
    block: int
    block_state: int
    merge: Callable[[int, int], int]
    put_back: Callable[[list[dict[str, Any]], list[dict[str, Any]]], None]
    steps: Callable[[int, int], int] | None


@cache
def native() -> Native | None:
    """None when the C module is not there, or was built from another fill.c."""
    try:
        from emuvm.engine.native import _fill
    except ImportError:
        return None
    found = _fill.addresses()
    if len(found) != 5:
        return None
    fill, fill_state, source, block, block_state = found
    try:
        with open(f"{_fill.__file__.rpartition('/')[0]}/fill.c", "rb") as file:
            if source != zlib.crc32(file.read()):
                return None
    except OSError:
        pass  # installed without the source: nothing could have changed
    return Native(fill, fill_state, block, block_state, _fill.merge, _fill.put_back, getattr(_fill, "steps", None))
