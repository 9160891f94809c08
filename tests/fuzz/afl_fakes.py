"""A target and a mutator in plain Python, for tests of the fuzzer around them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

from emuvm.fuzz.coverage import Map
from emuvm.fuzz.outcome import Kind, Outcome


class Parser:
    """'FZ', then records: a letter and a length. Planted: '!' crashes, '@' hangs, '?' takes long, and so does 'F!' crash elsewhere."""

    def __init__(self) -> None:
        self.counters = Map()
        self.budget = 1000
        self.runs = 0
        self.unstable = False
        self.broken: Exception | None = None

    def _hit(self, edge: int) -> None:
        view = self.counters.view
        view[edge] = view[edge] + 1 if view[edge] < 255 else 1

    def run(self, data: bytes) -> Outcome:
        self.runs += 1
        self.counters.clear()
        hit = self._hit
        blocks = 1
        hit(1)
        if self.unstable:
            hit(100 + self.runs % 2)
        if data[:1] == b"F":
            hit(2)
            if data[1:2] == b"!":
                hit(3)
                return self._crash(6, 2)
            if data[1:2] == b"Z":
                hit(4)
                for place, byte in enumerate(data[2:]):
                    blocks += 1
                    if self.broken and byte == ord("*"):
                        raise self.broken
                    if byte == ord("!"):
                        hit(5)
                        return self._crash(11, blocks)
                    if byte == ord("@"):
                        hit(6)
                        return self._hang()
                    if byte == ord("?"):
                        hit(7)
                        blocks += 200_000
                        if blocks > self.budget:
                            return self._hang()
                    hit(1000 + byte)
                    if place > 20:
                        hit(9)
        return Outcome(Kind.EXIT, len(data) & 3, 0, None, 0, (), 0, blocks, (), b"", b"")

    def _crash(self, signal: int, blocks: int) -> Outcome:
        return Outcome(Kind.CRASH, 0, signal, None, 0x1234, (), 1, blocks, (), b"", b"")

    def _hang(self) -> Outcome:
        return Outcome(Kind.HANG, 0, 0, None, 0x1234, (), 1, self.budget, (), b"", b"")


class Simple:
    """One to four bytes changed, inserted or removed."""

    def __init__(self, seed: int = 0) -> None:
        self._random = Random(seed)
        self.stacked = 0

    def havoc(self, data: bytes, partner: bytes | None) -> bytes:
        random, made = self._random, bytearray(data)
        self.stacked = random.randint(1, 4)
        for _ in range(self.stacked):
            what, place = random.randrange(3), random.randrange(len(made) + 1)
            if what == 0 or not made:
                made.insert(place, random.randrange(32, 127))
            elif what == 1:
                made[place % len(made)] = random.randrange(32, 127)
            elif len(made) > 1:
                del made[place % len(made)]
        return bytes(made)

    def splice(self, data: bytes, partner: bytes) -> bytes | None:
        return data[: len(data) // 2] + partner[len(partner) // 2 :] if data != partner else None

    def deterministic(self, data: bytes) -> Iterator[tuple[str, bytes]]:
        for place in range(len(data)):
            yield f"op:flip8,pos:{place}", data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :]

    def trim(self, data: bytes, same: Callable[[bytes], bool]) -> bytes:
        place = 0
        while place < len(data):
            shorter = data[:place] + data[place + 1 :]
            if shorter and same(shorter):
                data = shorter
            else:
                place += 1
        return data

    def compare(self, data: bytes, attempt: Callable[[bytes, str], bool]) -> None:
        attempt(b"FZ" + data[2:], "op:cmp,pos:0")
