"""The deterministic changes of an input, one after the other.

Owns: which there are, their names, and leaving out what an earlier one has made. Must not know runs.

    flip1 flip2 flip4    one, two, four bits at every bit      flip8 flip16 flip32   one, two, four bytes at every byte
    arith8 16 32         plus and minus 1 to 35                int8 16 32            values at which things turn
    ext_UO ext_UI        a token over the bytes, and before them

Words are changed in both byte orders.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

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


def deterministic(data: bytes, tokens: Sequence[bytes], longest: int) -> Iterator[tuple[str, bytes]]:
    """('op:flip1,pos:0', input), ... for an input of at least one byte."""
    yield from _flips(data)
    yield from _words(data)
    yield from _tokens(data, tokens, longest)


def _flips(data: bytes) -> Iterator[tuple[str, bytes]]:
    bits = min(len(data), LONG) * 8
    for name, width in (("flip1", 1), ("flip2", 2), ("flip4", 4)):
        for bit in range(bits - width + 1):
            made = bytearray(data)
            for place in range(bit, bit + width):
                made[place >> 3] ^= 128 >> (place & 7)
            yield f"op:{name},pos:{bit >> 3}", bytes(made)
    for name, width in (("flip8", 1), ("flip16", 2), ("flip32", 4)):
        for at in range(min(len(data), LONG) - width + 1):
            made = bytearray(data)
            for place in range(at, at + width):
                made[place] ^= 255
            yield f"op:{name},pos:{at}", bytes(made)


def is_flip(change: int) -> bool:
    """Does an xor with this, a word's old and new value, come from one of the flips?"""
    if not change:
        return True
    low = (change & -change).bit_length() - 1
    change >>= low
    return change in (1, 3, 15) or (low % 8 == 0 and change in (0xFF, 0xFFFF, 0xFFFF_FFFF))


def _words(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Arithmetic, then interesting values; each change of a place is made once, in its narrowest form."""
    end = min(len(data), LONG)
    for kind in ("arith", "int"):
        for width in (1, 2, 4):
            mask = (1 << width * 8) - 1
            for at in range(end - width + 1):
                piece = data[at : at + width]
                done = set()
                for order in ("little", "big") if width > 1 else ("little",):
                    old = int.from_bytes(piece, order)
                    for new in _arithmetic(old, mask) if kind == "arith" else _values(width, mask):
                        changed = new.to_bytes(width, order)
                        if changed in done or is_flip(int.from_bytes(piece, "big") ^ int.from_bytes(changed, "big")):
                            continue
                        if width > 1 and _narrower(piece, changed, kind):
                            continue
                        done.add(changed)
                        yield f"op:{kind}{width * 8},pos:{at}", data[:at] + changed + data[at + width :]


def _arithmetic(old: int, mask: int) -> Iterator[int]:
    for step in range(1, ARITH_MOST + 1):
        yield old + step & mask
        yield old - step & mask


def _values(width: int, mask: int) -> Iterator[int]:
    for narrow in (1, 2, 4):
        if narrow <= width:
            for value in INTERESTING[narrow]:
                yield value & mask


def _narrower(before: bytes, after: bytes, kind: str) -> bool:
    """Has the change been made already, on one byte or, of four, on two?"""
    differ = [i for i in range(len(before)) if before[i] != after[i]]
    if len(differ) == 1:
        old, new = before[differ[0]], after[differ[0]]
        return min(old - new & 255, new - old & 255) <= ARITH_MOST or (kind == "int" and new in _BYTES)
    if len(before) == 4 and differ[-1] - differ[0] == 1 and kind == "arith":
        pair, made = before[differ[0] : differ[0] + 2], after[differ[0] : differ[0] + 2]
        for order in ("little", "big"):
            step = int.from_bytes(pair, order) - int.from_bytes(made, order)
            if min(step & 0xFFFF, -step & 0xFFFF) <= ARITH_MOST:
                return True
    return False


_BYTES = frozenset(value & 255 for value in INTERESTING[1])


def _tokens(data: bytes, tokens: Sequence[bytes], longest: int) -> Iterator[tuple[str, bytes]]:
    chosen = list(tokens[:_TOKENS])
    for at in range(min(len(data), LONG)):
        for token in chosen:
            if at + len(token) <= len(data) and data[at : at + len(token)] != token:
                yield f"op:ext_UO,pos:{at}", data[:at] + token + data[at + len(token) :]
    for at in range(min(len(data), LONG) + 1):
        for token in chosen:
            if len(data) + len(token) <= longest:
                yield f"op:ext_UI,pos:{at}", data[:at] + token + data[at:]
