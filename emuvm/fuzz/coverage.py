"""Edge counters of a run, and what all runs together have shown.

Owns: buckets of counts, and the comparison. Must not know how edges are counted (engine.unicorn_blocks).
"""

from __future__ import annotations

import ctypes
from typing import Any

from emuvm.engine.native_code import native
from emuvm.engine.unicorn_blocks import MAP_SIZE
from emuvm.errors import EmuvmError


def _bucket(count: int) -> int:
    """AFL's: 1, 2, 3, 4-7, 8-15, 16-31, 32-127, 128 and more have a bit each."""
    return sum(bit for bit, least in zip((1, 1, 2, 4, 8, 16, 32, 64), (1, 2, 3, 4, 8, 16, 32, 128), strict=True) if count >= least)


BUCKETS = bytes(_bucket(count) for count in range(256))


class Map:
    """MAP_SIZE counters at a fixed place in memory."""

    def __init__(self, address: int = 0) -> None:
        """`address`: memory of somebody else's to use; 0: our own."""
        self._memory: Any = (ctypes.c_uint8 * MAP_SIZE).from_address(address) if address else (ctypes.c_uint8 * MAP_SIZE)()
        self.address: int = ctypes.addressof(self._memory)
        self.view = memoryview(self._memory).cast("B")
        """The counters, writable."""

    def clear(self) -> None:
        """All zero."""
        ctypes.memset(self.address, 0, MAP_SIZE)


def classified(counters: memoryview | bytes | bytearray) -> bytes:
    """Counts as buckets."""
    return bytes(counters).translate(BUCKETS)


class Seen:
    """The buckets that runs have shown so far."""

    def __init__(self, *, use_native: bool = True) -> None:
        self._memory = (ctypes.c_uint8 * MAP_SIZE)()
        self._address = ctypes.addressof(self._memory)
        self.view = memoryview(self._memory).cast("B")
        """A byte for each edge: the buckets it was seen with."""
        code = native() if use_native else None
        self._native = None if code is None else code.merge

    def merge(self, counters: Map) -> int:
        """Add those of a run: 0 nothing new, 1 a new bucket of a known edge, 2 a new edge."""
        return self._merge(counters) if self._native is None else self._native(counters.address, self._address)

    def _merge(self, counters: Map) -> int:
        found = int.from_bytes(classified(counters.view), "little")
        before = int.from_bytes(self._memory, "little")
        fresh = found & ~before
        if not fresh:
            return 0
        after = (found | before).to_bytes(MAP_SIZE, "little")
        news = fresh.to_bytes(MAP_SIZE, "little")
        old = bytes(self._memory)
        self.view[:] = after
        return 2 if any(new and not old[edge] for edge, new in enumerate(news)) else 1

    def edges(self) -> int:
        """How many edges were seen."""
        return MAP_SIZE - bytes(self._memory).count(0)

    def virgin(self) -> bytes:
        """As AFL's virgin map and fuzz_bitmap: a bit is 0 that was seen."""
        return bytes(self._memory).translate(_INVERTED)

    def load(self, virgin: bytes) -> None:
        """The reverse of `virgin`. EmuvmError: not MAP_SIZE bytes."""
        if len(virgin) != MAP_SIZE:
            raise EmuvmError(f"a coverage map of {len(virgin)} bytes, {MAP_SIZE} are needed")
        self.view[:] = virgin.translate(_INVERTED)


_INVERTED = bytes(255 - byte for byte in range(256))
