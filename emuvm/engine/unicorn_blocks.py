"""A callback at the beginning of each block of code: stops between two instructions, a budget of blocks, and counters of edges.

Owns: the block callback of one engine, native or in Python, and the state it looks at. Must not know why somebody wants to stop, nor
what is done with the counters.

uc_emu_stop from another thread takes effect behind the next load or store, and the instruction that made it is executed again: one
that adds to memory has then been executed twice (measured: one stop of twenty in a loop of such instructions). A stop from a
callback at the beginning of a block has no such half. The callback costs 3 to 12 percent of the speed (sha256, sieve), so it is there
only for who needs it.

The engine is sometimes stopped in the middle of a block and goes on there (for the TLB to grow): Unicorn then begins a block of the
rest, which is not counted. So the count and the edges of a run do not depend on such stops.

    edge    place(block before) / 2 xor place(block), a number below 65536; its counter goes from 255 to 1
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable
from typing import Any

from unicorn.unicorn_const import UC_HOOK_BLOCK, UC_HOOK_CODE

from emuvm.engine.native_code import native
from emuvm.engine.unicorn_raw import BLOCK, FLUSH_CODE, Raw, function

MAP_SIZE = 1 << 16
ENDLESS = (1 << 64) - 1
_GOLDEN, _WORD = 0x9E37_79B9_7F4A_7C15, (1 << 64) - 1


class BlockState(ctypes.Structure):
    """struct block_state of native/state.h."""

    _fields_ = [(name, ctypes.c_uint64) for name in "wanted stop left spent map previous address size again".split()]


class Blocks:
    """The callback of one engine, which must stand still when this is made."""

    def __init__(self, raw: Raw, *, use_native: bool = True) -> None:
        self.state = BlockState(0, function("uc_emu_stop"), ENDLESS)
        self._raw = raw
        self._counters: Any = None
        code = native() if use_native else None
        if code is not None and code.block_state == ctypes.sizeof(BlockState):
            self._handle = raw.hook(UC_HOOK_BLOCK, code.block, ctypes.addressof(self.state))
        else:
            self._handle = raw.hook(UC_HOOK_BLOCK, BLOCK(self._block()))
        # Blocks that are translated already would not call it.
        raw.control(FLUSH_CODE)

    def want(self, wanted: bool) -> None:
        """Stop at the beginning of the next block, or do not."""
        self.state.wanted = wanted

    def count(self, address: int) -> None:
        """Count edges in the MAP_SIZE bytes at a host address, which must stay; 0: do not."""
        self.state.map = address
        self._counters = (ctypes.c_uint8 * MAP_SIZE).from_address(address) if address else None

    def begin(self, budget: int = ENDLESS) -> None:
        """A run begins: `budget` blocks from now on, no block before."""
        state = self.state
        state.left, state.spent, state.previous, state.address, state.size, state.again = budget, 0, 0, 0, 0, 0

    def resume(self, pc: int) -> None:
        """The engine is about to go on at pc: in the last block, perhaps, or at its very beginning, behind the callback."""
        state = self.state
        begin: int = state.address
        state.again = begin <= pc < begin + state.size

    def detach(self) -> None:
        """No more calls."""
        self._raw.unhook(self._handle)
        self._raw.control(FLUSH_CODE)

    def _block(self) -> Callable[[Any, int, int, Any], None]:
        """The twin of the native callback."""
        state, stop = self.state, self._raw.stop

        def block(_uch: Any, address: int, size: int, _data: Any) -> None:
            if state.wanted or (not state.left and not state.again):
                state.spent = not state.wanted
                state.size = 0  # this block comes again, and is none that began
                stop()
            elif state.again:
                state.again = 0
            else:
                state.left -= 1
                state.address, state.size = address, size
                counters = self._counters
                if counters is not None:
                    place = (address * _GOLDEN & _WORD) >> 48
                    edge = place ^ state.previous
                    counters[edge] = counters[edge] + 1 & 255 or 1
                    state.previous = place >> 1

        return block


def trace(raw: Raw, callback: Callable[[int, int], object]) -> Callable[[], None]:
    """Call `callback(address, size in bytes)` at the beginning of each block, also of the rest of one. What detaches it again.

    The engine must stand still now and when it is detached. Exceptions of the callback are lost.
    """
    handle = raw.hook(UC_HOOK_BLOCK, BLOCK(lambda _uch, address, size, _data: void(callback(address, size))))
    raw.control(FLUSH_CODE)

    def detach() -> None:
        raw.unhook(handle)
        raw.control(FLUSH_CODE)

    return detach


def trace_code(raw: Raw, addresses: Iterable[int], callback: Callable[[int], object]) -> Callable[[], None]:
    """Call `callback(address)` whenever one of the addresses is about to be executed. As `trace` otherwise."""
    called = BLOCK(lambda _uch, address, size, _data: void(callback(address)))
    handles = [raw.hook(UC_HOOK_CODE, called, begin=address, end=address) for address in addresses]
    raw.control(FLUSH_CODE)

    def detach() -> None:
        for handle in handles:
            raw.unhook(handle)
        raw.control(FLUSH_CODE)

    return detach


def void(_: object) -> None:
    """ctypes wants nothing back."""
