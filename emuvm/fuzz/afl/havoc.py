"""Random changes, several at a time.

Owns: which there are, and how often each is made. Must not know runs. Everything drawn comes from one generator, so that equal seeds give
equal inputs; it is drawn with `random()`, the cheapest way there is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from emuvm.fuzz.afl.mutate import ARITH_MOST, INTERESTING

_MOST_STACKED = 5
"""Up to 2 to this power changes at a time."""
_BLOCKS = (16, 32, 128, 1500)
_VALUES8 = tuple(value & 255 for value in INTERESTING[1])
_VALUES16 = tuple(value & 0xFFFF for width in (1, 2) for value in INTERESTING[width])
_VALUES32 = tuple(value & 0xFFFF_FFFF for width in (1, 2, 4) for value in INTERESTING[width])
_TEXTS = tuple(str(value).encode() for width in (1, 2, 4) for value in INTERESTING[width])
Change = Callable[[bytearray], None]


class Havoc:
    """Changes inputs of at most `longest` bytes. `tokens`: of a dictionary; more may be added at any time."""

    def __init__(self, generator: Random, tokens: Sequence[bytes], longest: int) -> None:
        self._random = generator.random
        self._bits = generator.getrandbits
        self.tokens = list(tokens)
        self._longest = longest
        self._partner = b""
        self.stacked = 0
        """Changes that the last call made."""
        words: list[Change] = [self._value8, self._value16, self._value32, self._add8, self._add16, self._add32]
        small: list[Change] = [self._flip, self._byte, self._byte, *words, self._number]
        # Blocks come more often than each small change: they are what makes and breaks structure.
        blocks: list[Change] = [self._delete, self._delete, self._delete, self._clone, self._clone, self._insert]
        blocks += [self._overwrite, self._fill, self._swap]
        self._plain: list[Change] = small + blocks
        self._with_partner: list[Change] = [*self._plain, self._take_over, self._take_in]

    def __call__(self, data: bytes, partner: bytes | None = None) -> bytes:
        """A changed input: never empty, and seldom the same."""
        random = self._random
        made = bytearray(data or b"\0")
        self._partner = partner or b""
        changes = self._with_partner if self._partner else self._plain
        if self.tokens:
            changes = [*changes, self._token_over, self._token_in, self._token_over]
        count = len(changes)
        self.stacked = stacked = 1 << int(random() * _MOST_STACKED) + (random() < 0.3)
        for _ in range(stacked):
            changes[int(random() * count)](made)
        if len(made) > self._longest:
            del made[self._longest :]
        return bytes(made)

    # -- bytes and words ------------------------------------------------------------------------------------------------------

    def _flip(self, made: bytearray) -> None:
        made[int(self._random() * len(made))] ^= 1 << int(self._random() * 8)

    def _byte(self, made: bytearray) -> None:
        made[int(self._random() * len(made))] ^= 1 + int(self._random() * 255)

    def _value8(self, made: bytearray) -> None:
        made[int(self._random() * len(made))] = _VALUES8[int(self._random() * len(_VALUES8))]

    def _add8(self, made: bytearray) -> None:
        at = int(self._random() * len(made))
        made[at] = made[at] + self._step() & 255

    def _step(self) -> int:
        step = 1 + int(self._random() * ARITH_MOST)
        return step if self._random() < 0.5 else -step

    def _value16(self, made: bytearray) -> None:
        self._put(made, 2, _VALUES16[int(self._random() * len(_VALUES16))])

    def _value32(self, made: bytearray) -> None:
        self._put(made, 4, _VALUES32[int(self._random() * len(_VALUES32))])

    def _put(self, made: bytearray, width: int, value: int) -> None:
        if len(made) >= width:
            at = int(self._random() * (len(made) - width + 1))
            made[at : at + width] = value.to_bytes(width, "little" if self._random() < 0.5 else "big")

    def _add16(self, made: bytearray) -> None:
        self._add(made, 2)

    def _add32(self, made: bytearray) -> None:
        self._add(made, 4)

    def _add(self, made: bytearray, width: int) -> None:
        if len(made) >= width:
            at = int(self._random() * (len(made) - width + 1))
            step = self._step()
            mask = (1 << 8 * width) - 1
            if self._random() < 0.5:
                made[at : at + width] = (int.from_bytes(made[at : at + width], "little") + step & mask).to_bytes(width, "little")
            else:
                made[at : at + width] = (int.from_bytes(made[at : at + width], "big") + step & mask).to_bytes(width, "big")

    def _number(self, made: bytearray) -> None:
        """A number in text becomes another one; without one, a number comes in."""
        start = int(self._random() * len(made))
        for at in range(start, min(len(made), start + 32)):
            if 48 <= made[at] <= 57:
                end = at + 1
                while end < len(made) and 48 <= made[end] <= 57 and end < at + 20:
                    end += 1
                old = int(made[at:end])
                choice = self._random()
                new = old + self._step() if choice < 0.4 else old * 2 if choice < 0.5 else int(_TEXTS[int(self._random() * len(_TEXTS))])
                made[at:end] = str(new).encode()
                return
        made[start:start] = _TEXTS[int(self._random() * len(_TEXTS))]

    # -- blocks ---------------------------------------------------------------------------------------------------------------

    def _length(self, most: int) -> int:
        """Of a block of at most `most` bytes, at least 1: short ones most of the time."""
        choice = self._random()
        limit = _BLOCKS[0 if choice < 0.5 else 1 if choice < 0.8 else 2 if choice < 0.97 else 3]
        return 1 + int(self._random() * min(limit, most))

    def _delete(self, made: bytearray) -> None:
        if len(made) > 1:
            length = min(self._length(len(made) - 1), len(made) - 1)
            at = int(self._random() * (len(made) - length + 1))
            del made[at : at + length]

    def _clone(self, made: bytearray) -> None:
        length = min(self._length(len(made)), len(made))
        if len(made) + length <= self._longest:
            start = int(self._random() * (len(made) - length + 1))
            at = int(self._random() * (len(made) + 1))
            made[at:at] = made[start : start + length]

    def _insert(self, made: bytearray) -> None:
        length = self._length(self._longest)
        if len(made) + length <= self._longest:
            at = int(self._random() * (len(made) + 1))
            if self._random() < 0.5:
                made[at:at] = bytes((self._bits(8),)) * length
            else:
                made[at:at] = self._bits(8 * length).to_bytes(length, "little")

    def _overwrite(self, made: bytearray) -> None:
        length = min(self._length(len(made)), len(made))
        start, at = int(self._random() * (len(made) - length + 1)), int(self._random() * (len(made) - length + 1))
        made[at : at + length] = made[start : start + length]

    def _fill(self, made: bytearray) -> None:
        length = min(self._length(len(made)), len(made))
        at = int(self._random() * (len(made) - length + 1))
        byte = self._bits(8) if self._random() < 0.5 else made[int(self._random() * len(made))]
        made[at : at + length] = bytes((byte,)) * length

    def _swap(self, made: bytearray) -> None:
        one, two = int(self._random() * len(made)), int(self._random() * len(made))
        made[one], made[two] = made[two], made[one]

    # -- what others have -----------------------------------------------------------------------------------------------------

    def _piece(self, most: int) -> bytes:
        partner = self._partner
        length = min(self._length(len(partner)), len(partner), most)
        start = int(self._random() * (len(partner) - length + 1))
        return partner[start : start + length]

    def _take_over(self, made: bytearray) -> None:
        piece = self._piece(len(made))
        at = int(self._random() * (len(made) - len(piece) + 1))
        made[at : at + len(piece)] = piece

    def _take_in(self, made: bytearray) -> None:
        piece = self._piece(self._longest)
        if len(made) + len(piece) <= self._longest:
            at = int(self._random() * (len(made) + 1))
            made[at:at] = piece

    def _token_over(self, made: bytearray) -> None:
        token = self.tokens[int(self._random() * len(self.tokens))]
        if len(token) <= len(made):
            at = int(self._random() * (len(made) - len(token) + 1))
            made[at : at + len(token)] = token

    def _token_in(self, made: bytearray) -> None:
        token = self.tokens[int(self._random() * len(self.tokens))]
        if len(made) + len(token) <= self._longest:
            at = int(self._random() * (len(made) + 1))
            made[at:at] = token


def splice(data: bytes, partner: bytes, generator: Random) -> bytes | None:
    """The beginning of one and the end of the other, cut where they differ; None when they differ in fewer than two places."""
    shorter = min(len(data), len(partner))
    differ = int.from_bytes(data[:shorter], "big") ^ int.from_bytes(partner[:shorter], "big")
    if not differ:
        return None
    first = shorter - (differ.bit_length() + 7) // 8
    last = shorter - 1 - ((differ & -differ).bit_length() - 1) // 8
    if last < 2 or first == last:
        return None
    at = first + 1 + int(generator.random() * (last - first))
    return data[:at] + partner[at:]
