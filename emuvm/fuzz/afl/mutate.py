"""The deterministic changes of an input, one after the other.

Owns: which there are, their names, and leaving out what an earlier one has made. Must not know runs.

    flip1 flip2 flip4    one, two, four bits at every bit      flip8 flip16 flip32   one, two, four bytes at every byte
    arith8 16 32         plus and minus 1 to 35                int8 16 32            values at which things turn
    ext_UO ext_UI        a token over the bytes, and before them

Words are changed in both byte orders. Bytes of a longer input whose flip8 changes nothing that is seen get none of the costlier changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

ARITH_MOST = 35
LONG = 10_000
"""Inputs that are longer get no deterministic changes beyond the first so many bytes."""
INTERESTING: dict[int, tuple[int, ...]] = {
    1: (-128, -1, 0, 1, 16, 32, 64, 100, 127),
    2: (-32768, -129, 128, 255, 256, 512, 1000, 1024, 4096, 32767),
    4: (-2147483648, -100663046, -32769, 32768, 65535, 65536, 100663045, 2147483647),
}
"""By width in bytes; wider words take the narrower ones' values, too."""
_TOKENS = 200
"""Tokens of a dictionary that are used, the first ones."""
_ORDERS: tuple[Literal["little", "big"], ...] = ("little", "big")
_ALL_COUNT, _MOST_COUNT = 128, 0.9
"""In inputs shorter than this, and when more than this part of them does, all bytes count."""


def deterministic(
    data: bytes, tokens: Sequence[bytes], longest: int, differs: Callable[[], bool] | None = None
) -> Iterator[tuple[str, bytes]]:
    """('op:flip1,pos:0', input), ...; nothing for an empty input. `longest`: bytes that an input may have when a token comes in.

    `differs`: asked when the input that came last has been run: did the run differ from that of `data`? With it, each input has to be run
    before the next is asked for.
    """
    counts = bytearray(b"\1" * len(data))
    yield from _bits(data)
    yield from _flips(data, "flip8", 1, counts, differs)
    if len(data) < _ALL_COUNT or counts.count(1) > len(data) * _MOST_COUNT:
        counts = bytearray(b"\1" * len(data))
    yield from _flips(data, "flip16", 2, counts)
    yield from _flips(data, "flip32", 4, counts)
    yield from _words(data, counts)
    yield from _tokens(data, tokens, longest, counts)


def _bits(data: bytes) -> Iterator[tuple[str, bytes]]:
    bits = min(len(data), LONG) * 8
    for name, width in (("flip1", 1), ("flip2", 2), ("flip4", 4)):
        for bit in range(bits - width + 1):
            made = bytearray(data)
            for place in range(bit, bit + width):
                made[place >> 3] ^= 128 >> (place & 7)
            yield f"op:{name},pos:{bit >> 3}", bytes(made)


def _flips(
    data: bytes, name: str, width: int, counts: bytearray, differs: Callable[[], bool] | None = None
) -> Iterator[tuple[str, bytes]]:
    """Whole bytes. With `differs` those that do not count are unmarked in `counts`; but the first and the last byte always count."""
    end = min(len(data), LONG)
    for at in range(end - width + 1):
        if not any(counts[at : at + width]):
            continue
        made = bytearray(data)
        for place in range(at, at + width):
            made[place] ^= 255
        yield f"op:{name},pos:{at}", bytes(made)
        if differs is not None and 0 < at < end - 1 and not differs():
            counts[at] = 0


def is_flip(change: int) -> bool:
    """Does an xor with this, of a word read with its first byte on top, come from one of the flips? 0 changes nothing: True."""
    if not change:
        return True
    low = (change & -change).bit_length() - 1
    change >>= low
    return change in (1, 3, 15) or (low % 8 == 0 and change in (0xFF, 0xFFFF, 0xFFFF_FFFF))


def _patterns(width: int) -> tuple[bytes, ...]:
    """The values for a word of so many bytes, in both orders."""
    mask = (1 << width * 8) - 1
    values = [value & mask for narrow in (1, 2, 4) if narrow <= width for value in INTERESTING[narrow]]
    return tuple(dict.fromkeys(value.to_bytes(width, order) for order in _ORDERS for value in values))


_PATTERNS = {width: _patterns(width) for width in (1, 2, 4)}
_AMONG_PATTERNS = {width: frozenset(patterns) for width, patterns in _PATTERNS.items()}


def _words(data: bytes, counts: bytearray) -> Iterator[tuple[str, bytes]]:
    """Arithmetic, then interesting values; each change is made once, in its narrowest form and at the first place."""
    end = min(len(data), LONG)
    for kind in ("arith", "int"):
        for width in (1, 2, 4):
            for at in range(end - width + 1):
                if not any(counts[at : at + width]):
                    continue
                piece = data[at : at + width]
                old = int.from_bytes(piece, "big")
                for changed in _sums(piece) if kind == "arith" else _PATTERNS[width]:
                    if not is_flip(old ^ int.from_bytes(changed, "big")) and not _made_before(data[:end], at, changed, kind, counts):
                        yield f"op:{kind}{width * 8},pos:{at}", data[:at] + changed + data[at + width :]


def _sums(piece: bytes) -> dict[bytes, None]:
    """What arithmetic makes of a word, each once."""
    width = len(piece)
    mask = (1 << width * 8) - 1
    found: dict[bytes, None] = {}
    for order in _ORDERS[: min(width, 2)]:
        old = int.from_bytes(piece, order)
        for step in range(1, ARITH_MOST + 1):
            found[(old + step & mask).to_bytes(width, order)] = None
            found[(old - step & mask).to_bytes(width, order)] = None
    return found


def _made_before(data: bytes, at: int, changed: bytes, kind: str, counts: bytearray) -> bool:
    """Has the change of the word at `at` been made by an earlier stage, or an earlier step of this one, by any word that holds it?"""
    width = len(changed)
    first = next(n for n in range(width) if data[at + n] != changed[n]) + at
    last = next(n for n in reversed(range(width)) if data[at + n] != changed[n]) + at
    after = data[max(0, at - 3) : at] + changed + data[at + width : at + width + 3]
    shift = max(0, at - 3)
    for narrow in (1, 2, 4):
        if narrow > width:
            break
        for start in range(max(0, last - narrow + 1), min(first, len(data) - narrow) + 1):
            earlier = narrow < width or start < at
            if not (earlier or kind == "int") or not any(counts[start : start + narrow]):
                continue
            new = after[start - shift : start - shift + narrow]
            if _is_sum(data[start : start + narrow], new) or (kind == "int" and earlier and new in _AMONG_PATTERNS[narrow]):
                return True
    return False


def _is_sum(old: bytes, new: bytes) -> bool:
    mask = (1 << len(old) * 8) - 1
    for order in _ORDERS:
        step = int.from_bytes(new, order) - int.from_bytes(old, order)
        if min(step & mask, -step & mask) <= ARITH_MOST:
            return True
    return False


def _tokens(data: bytes, tokens: Sequence[bytes], longest: int, counts: bytearray) -> Iterator[tuple[str, bytes]]:
    chosen = list(tokens[:_TOKENS])
    for at in range(min(len(data), LONG)):
        for token in chosen:
            end = at + len(token)
            if end <= len(data) and data[at:end] != token and any(counts[at:end]):
                yield f"op:ext_UO,pos:{at}", data[:at] + token + data[end:]
    for at in range(min(len(data), LONG) + 1 if data else 0):
        for token in chosen:
            if len(data) + len(token) <= longest:
                yield f"op:ext_UI,pos:{at}", data[:at] + token + data[at:]
