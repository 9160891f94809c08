"""Stopping the guest between two instructions, from any thread.

Owns: the native block callback of one engine and the word it looks at. Must not know why somebody wants to stop.

uc_emu_stop from another thread takes effect behind the next load or store, and the instruction that made it is executed again: one
that adds to memory has then been executed twice (measured: one stop of twenty in a loop of such instructions). A stop from a
callback at the beginning of a block has no such half. The callback costs 3 to 12 percent of the speed (sha256, sieve), so it is there
only for guests to whom something may come at any time; others are stopped for good only, and do not go on.
"""

from __future__ import annotations

import ctypes

from unicorn.unicorn_const import UC_CTL_IO_WRITE, UC_CTL_TB_FLUSH, UC_HOOK_BLOCK

from emuvm.engine.unicorn_raw import Raw, stop_function

_FLUSH_CODE = UC_CTL_TB_FLUSH | UC_CTL_IO_WRITE << 30


class BlockState(ctypes.Structure):
    """struct block_state of native/fill.c."""

    _fields_ = [("wanted", ctypes.c_uint64), ("stop", ctypes.c_uint64)]


class BlockStops:
    """Stops one engine, which must stand still when this is made."""

    def __init__(self, raw: Raw, callback: int) -> None:
        self._state = BlockState(0, stop_function())
        raw.hook(UC_HOOK_BLOCK, callback, ctypes.addressof(self._state))
        # Blocks that are translated already would not call it.
        raw.control(_FLUSH_CODE)

    def want(self, wanted: bool) -> None:
        """Stop at the beginning of the next block, or do not."""
        self._state.wanted = wanted
