"""Inputs that make the comparisons of a program come out otherwise.

Owns: which inputs are worth a try, given the operands of the comparisons of one run. Must not know how operands are found, nor runs.

An operand that stands in the input, in whatever form, is replaced by the other one. Which comparison hangs on which bytes need not be
known. To make it unlikely that an operand stands there by accident, the input is coloured first: bytes that do not matter become random.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from random import Random

from emuvm.abi.tuples import NamedTuple

MOST = 4000
"""Candidates of one input."""
_PLACES = 12
"""An operand that stands in more places is there by accident."""
_COLOURING = 48
"""Runs that colouring may take."""
_SHORTEST_TEXT, _LONGEST_RUN = 2, 64


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
    """(position of the change, input), each once, the likely ones first, `MOST` at most. `found`: in the order of the run."""
    met = list(found)
    pairs = list(dict.fromkeys(met))
    texts = [pair for pair in pairs if isinstance(pair, Texts)]
    texts += [text for text in _runs(pair for pair in met if isinstance(pair, Pair)) if text not in texts]
    numbers = _by_turns(pair for pair in pairs if isinstance(pair, Pair))
    seen = {data}
    made_of_numbers = [_of_number(data, pair, exact) for exact in (True, False) for pair in numbers]
    for made in (*(_of_text(data, pair) for pair in texts), *made_of_numbers):
        for at, changed in made:
            if changed not in seen:
                seen.add(changed)
                yield at, changed
                if len(seen) > MOST:
                    return


def _by_turns(pairs: Iterable[Pair]) -> list[Pair]:
    """The first of each place in the program, the second of each, ...: a loop must not keep the others from having their turn."""
    met: Counter[int] = Counter()
    ranked: list[tuple[int, Pair]] = []
    for pair in pairs:
        ranked.append((met[pair.pc], pair))
        met[pair.pc] += 1
    return [pair for _, pair in sorted(ranked, key=lambda entry: entry[0])]


def _runs(pairs: Iterable[Pair]) -> list[Texts]:
    """Texts that were compared byte by byte at one place. Bytes are met as wider words, too."""
    found: dict[int, tuple[bytearray, bytearray]] = {}
    for pair in pairs:
        if 0 <= pair.left < 256 and 0 <= pair.right < 256:
            left, right = found.setdefault(pair.pc, (bytearray(), bytearray()))
            if len(left) < _LONGEST_RUN:
                left.append(pair.left)
                right.append(pair.right)
    return [Texts(pc, bytes(left), bytes(right)) for pc, (left, right) in found.items() if len(left) >= _SHORTEST_TEXT and left != right]


def _places(data: bytes, pattern: bytes) -> list[int]:
    """Where a pattern stands; nowhere when that is too often."""
    found: list[int] = []
    at = data.find(pattern)
    while at >= 0 and len(found) <= _PLACES:
        found.append(at)
        at = data.find(pattern, at + 1)
    return found if len(found) <= _PLACES else []


def _of_number(data: bytes, pair: Pair, exact: bool) -> Iterator[tuple[int, bytes]]:
    """One operand by the other, in words of its size and narrower ones. Not `exact`: by the other's neighbours, and as text."""
    bits = 8 * pair.size
    word = (1 << bits) - 1
    for old, new in ((pair.left & word, pair.right & word), (pair.right & word, pair.left & word)):
        if old == new:
            continue
        signed_old, signed_new = _signed(old, bits), _signed(new, bits)
        steps = (0,) if exact else (1, -1)
        yield from _replaced(data, old, pair.size, [new + step & word for step in steps])
        for width in (4, 2, 1):
            limit = 1 << 8 * width
            if width >= pair.size:
                continue
            # A narrow word that was extended: with zeros, or with its sign.
            if old < limit and new < limit:
                yield from _replaced(data, old, width, [new + step & limit - 1 for step in steps])
            elif -limit // 2 <= signed_old < limit // 2 and -limit // 2 <= signed_new < limit // 2:
                yield from _replaced(data, signed_old & limit - 1, width, [signed_new + step & limit - 1 for step in steps])
        if not exact:
            yield from _written(data, old, new, ("%d", "%x", "%X"))
            if (signed_old, signed_new) != (old, new):
                yield from _written(data, signed_old, signed_new, ("%d",))


def _signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> bits - 1 else value


def _written(data: bytes, old: int, new: int, forms: Sequence[str]) -> Iterator[tuple[int, bytes]]:
    for form in forms:
        text, other = (form % old).encode(), (form % new).encode()
        if len(text) >= (1 if form == "%d" else 2):
            for at in _places(data, text):
                yield at, data[:at] + other + data[at + len(text) :]


def _replaced(data: bytes, old: int, width: int, new: Iterable[int]) -> Iterator[tuple[int, bytes]]:
    values = list(new)
    for order in ("little", "big") if width > 1 else ("little",):
        for at in _places(data, old.to_bytes(width, order)):
            for value in values:
                yield at, data[:at] + value.to_bytes(width, order) + data[at + width :]


def _of_text(data: bytes, pair: Texts) -> Iterator[tuple[int, bytes]]:
    """What was compared with a text becomes that text: over as many bytes, and in the place of what was there up to its end.

    Memory may go on where the input does not, so a beginning of what was compared will do: all of it, 8 bytes, up to the first difference.
    """
    for mine, other in ((pair.left, pair.right), (pair.right, pair.left)):
        common = 0
        while common < min(len(mine), len(other)) and mine[common] == other[common]:
            common += 1
        for length in dict.fromkeys((len(mine), min(len(mine), 8), min(len(mine), max(_SHORTEST_TEXT, common + 1)))):
            if not length or not other:
                continue
            for at in _places(data, mine[:length]):
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
