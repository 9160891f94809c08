"""What may be passed to an address space: integers, attribute words, limits.

Owns: these checks, each a BadArgument (EINVAL) that names the argument. Must not know any operation.
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
