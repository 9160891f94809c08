"""What may be passed to an address space: integers, attribute words, limits.

Owns: where a space lies, and these checks, each a BadArgument (EINVAL) that names the argument. Must not know any operation.
"""

from __future__ import annotations

from operator import index
from typing import Any

from emuvm.errors import BadArgument

WORD = 1 << 64


def integer(value: Any, name: str) -> int:
    """Anything with __index__, but no bool: True as an address is a mistake."""
    if type(value) is int:
        return value
    if isinstance(value, bool):
        raise BadArgument(name, f"{value!r} is not an integer")
    try:
        return index(value)
    except TypeError:
        raise BadArgument(name, f"{value!r} is not an integer") from None


def word(value: Any, name: str) -> int:
    """An attribute word: 0 to 2**64 - 1, stored as a plain int."""
    number = value if type(value) is int else int(integer(value, name))
    if not 0 <= number < WORD:
        raise BadArgument(name, f"{number:#x} is negative or wider than 64 bits")
    return number


def bounds(limit: tuple[int, int]) -> tuple[int, int]:
    """A pair (start, end), not inverted."""
    try:
        low, high = limit
    except (TypeError, ValueError):
        raise BadArgument("limit", f"{limit!r} is not a pair (start, end)") from None
    low, high = integer(low, "limit"), integer(high, "limit")
    if low < 0 or high < low:
        raise BadArgument("limit", f"({low:#x}, {high:#x}) is negative or inverted")
    return low, high


def filtered(prot_filter: Any, old: int) -> int | None:
    """What a filter makes of rights; None: they stay."""
    new = prot_filter(old)
    return None if new is None else word(new, "prot")


class Bounds:
    """Where an address space lies: [start, end), in whole pages of `page_size` bytes; and which ranges are in it."""

    def __init__(self, start: int, length: int, page_size: int) -> None:
        page_size = integer(page_size, "page_size")
        if page_size <= 0 or page_size & (page_size - 1) or page_size > WORD:
            raise BadArgument("page_size", f"{page_size} is not a power of two")
        self._mask = page_size - 1
        start, length = integer(start, "start"), integer(length, "length")
        if start < 0 or start & self._mask:
            raise BadArgument("start", f"{start:#x} is negative or not a multiple of the page size")
        if length <= 0:
            raise BadArgument("length", f"{length} is not positive")
        self.page_size = page_size
        self.start = start
        self.end = start + (length + self._mask & ~self._mask)
        if self.end > WORD:
            raise BadArgument("length", f"[{start:#x}, {self.end:#x}) does not fit into 64 bits")

    def _length(self, length: int) -> int:
        if type(length) is not int:
            length = integer(length, "length")
        if length <= 0:
            raise BadArgument("length", f"{length} is not positive")
        if length > WORD:
            raise BadArgument("length", f"{length:#x} does not fit into 64 bits")
        return length + self._mask & ~self._mask

    def _pages(self, addr: int, length: int, name: str = "addr") -> tuple[int, int]:
        """A page range: (start, end). Lengths are rounded up."""
        if type(addr) is not int:
            addr = integer(addr, name)
        if addr < 0:
            raise BadArgument(name, f"{addr} is negative")
        if addr & self._mask:
            raise BadArgument(name, f"{addr:#x} is not a multiple of the page size {self.page_size:#x}")
        end = addr + self._length(length)
        self._inside(addr, end, name)
        return addr, end

    def _bytes(self, addr: int, length: int) -> tuple[int, int]:
        """A byte range: (start, end)."""
        if type(addr) is not int:
            addr = integer(addr, "addr")
        if addr < 0:
            raise BadArgument("addr", f"{addr} is negative")
        if type(length) is not int:
            length = integer(length, "length")
        self._length(length)
        self._inside(addr, addr + length, "addr")
        return addr, addr + length

    def _inside(self, addr: int, end: int, name: str) -> None:
        if addr < self.start or addr >= self.end:
            raise BadArgument(name, f"{addr:#x} is outside the space [{self.start:#x}, {self.end:#x})")
        if end > self.end:
            how = "wraps around" if end > WORD else f"ends behind the space [{self.start:#x}, {self.end:#x})"
            raise BadArgument("length", f"[{addr:#x}, {end:#x}) {how}")
