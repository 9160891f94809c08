"""Inputs that make the comparisons of a program come out otherwise.

Owns: which inputs are worth a try, given the operands of the comparisons of one run. Must not know how operands are found, nor runs.

An operand that stands in the input, in whatever form, is replaced by the other one. Which comparison hangs on which bytes need not be
known. To make it unlikely that an operand stands there by accident, the input is coloured first: bytes that do not matter become random.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from random import Random

from emuvm.abi.tuples import NamedTuple

MOST = 4000
"""Candidates of one input."""
_PLACES = 12
"""An operand that stands in more places is there by accident."""
_COLOURING = 48
_SHORTEST_TEXT = 2


class Pair(NamedTuple):
    """Two numbers that were compared at `pc`, as `size` bytes."""

    pc: int
    size: int
    left: int
    right: int


class Texts(NamedTuple):
    """Two pieces of memory that were compared."""

    pc: int
    left: bytes
    right: bytes


def candidates(data: bytes, found: Iterable[Pair | Texts]) -> Iterator[tuple[int, bytes]]:
    """(position of the change, input), each once, the likely ones first."""
    seen = {data}
    pairs = list(dict.fromkeys(found))
    texts = [pair for pair in pairs if isinstance(pair, Texts)]
    numbers = [pair for pair in pairs if isinstance(pair, Pair)]
    left = MOST
    made_of_numbers = [_of_number(data, pair, exact) for exact in (True, False) for pair in numbers]
    for made in (*(_of_text(data, pair) for pair in texts), *made_of_numbers):
        for at, changed in made:
            if changed not in seen:
                seen.add(changed)
                yield at, changed
                left -= 1
                if not left:
                    return


def _places(data: bytes, pattern: bytes) -> list[int]:
    """Where a pattern stands; nowhere when that is too often."""
    found: list[int] = []
    at = data.find(pattern)
    while at >= 0 and len(found) <= _PLACES:
        found.append(at)
        at = data.find(pattern, at + 1)
    return found if len(found) <= _PLACES else []


def _of_number(data: bytes, pair: Pair, exact: bool) -> Iterator[tuple[int, bytes]]:
    """`exact`: one operand by the other. Else by its neighbours, in narrower words, and as text."""
    word = (1 << 8 * pair.size) - 1
    for old, new in ((pair.left & word, pair.right & word), (pair.right & word, pair.left & word)):
        if old == new:
            continue
        if exact:
            yield from _replaced(data, old, pair.size, (new,))
            continue
        yield from _replaced(data, old, pair.size, (new + 1 & word, new - 1 & word))
        for width in (1, 2, 4):
            limit = 1 << 8 * width
            if width < pair.size:
                # A narrow word that was extended: with zeros, or with its sign.
                signed = [value - word - 1 if value > word >> 1 else value for value in (old, new)]
                if old < limit and new < limit:
                    yield from _replaced(data, old, width, (new, new + 1 & limit - 1, new - 1 & limit - 1))
                elif -limit // 2 <= signed[0] < 0 and -limit // 2 <= signed[1] < limit // 2:
                    yield from _replaced(data, signed[0] & limit - 1, width, (signed[1] & limit - 1,))
        if old < 1 << 40 and new < 1 << 40:
            for form in ("%d", "%x", "%X"):
                text, other = (form % old).encode(), (form % new).encode()
                if len(text) >= (1 if form == "%d" else 2) and text != other:
                    for at in _places(data, text):
                        yield at, data[:at] + other + data[at + len(text) :]


def _replaced(data: bytes, old: int, width: int, new: Iterable[int]) -> Iterator[tuple[int, bytes]]:
    values = list(new)
    for order in ("little", "big") if width > 1 else ("little",):
        for at in _places(data, old.to_bytes(width, order)):
            for value in values:
                yield at, data[:at] + value.to_bytes(width, order) + data[at + width :]


def _of_text(data: bytes, pair: Texts) -> Iterator[tuple[int, bytes]]:
    """What was compared with a text becomes that text: over as many bytes, and in the place of what was there up to its end."""
    for mine, other in ((pair.left, pair.right), (pair.right, pair.left)):
        common = 0
        while common < min(len(mine), len(other)) and mine[common] == other[common]:
            common += 1
        for length in dict.fromkeys((len(mine), min(len(mine), 8), max(_SHORTEST_TEXT, common + 1))):
            pattern = mine[:length]
            if len(pattern) < _SHORTEST_TEXT or not other:
                continue
            for at in _places(data, pattern):
                yield at, data[:at] + other + data[at + len(other) :]
                if length != len(other):
                    yield at, data[:at] + other + data[at + length :]


def colour(data: bytes, same: Callable[[bytes], bool], generator: Random) -> bytes:
    """The input with random bytes where that changes nothing that `same` sees: halves first, then halves of those that matter."""
    ranges = [(0, len(data))]
    runs = 0
    while ranges and runs < _COLOURING:
        ranges.sort(key=lambda part: part[0] - part[1])
        start, end = ranges.pop(0)
        if end - start < 1:
            continue
        made = data[:start] + bytes(_other(byte, generator) for byte in data[start:end]) + data[end:]
        runs += 1
        if same(made):
            data = made
        elif end - start > 1:
            middle = (start + end) // 2
            ranges += [(start, middle), (middle, end)]
    return data


def _other(byte: int, generator: Random) -> int:
    """Another byte of the same kind: digits stay digits, letters letters, the rest anything."""
    if 48 <= byte <= 57:
        return 48 + generator.randrange(10)
    if 65 <= byte <= 90 or 97 <= byte <= 122:
        return (byte & 0x60) + 1 + generator.randrange(26)
    return generator.getrandbits(8)
