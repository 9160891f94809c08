"""The native copies: what they take, what they decline, and that they leave the log as other writes do."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

import pytest

from emuvm.engine.hostmem import HostMemory
from emuvm.engine.pagetable import CODE, DIRTY, OWN, PAGE, PRESENT, PageTable, R, W, native_fill

pytestmark = pytest.mark.skipif(not native_fill(), reason="the C module is not built")
WINDOW = 5
BASE = WINDOW << 40
PLAIN = R | W | PRESENT | OWN


class Guest:
    """A page table, and the contents."""

    def __init__(self) -> None:
        self.host, self.table = HostMemory(), PageTable()
        for window in (WINDOW, WINDOW + 1):
            self.table.reserve(window, self.host.reserve(window))
        self.peek, self.poke = self.table.copies()

    def bits(self, *pages: int, base: int = BASE) -> None:
        for number, bits in enumerate(pages):
            ctypes.c_uint8.from_address(self.table.pointer(base + number * PAGE)).value = bits


@pytest.fixture
def guest() -> Iterator[Guest]:
    made = Guest()
    yield made
    made.table.close()
    made.host.close()


def test_only_pages_that_are_plain_are_taken(guest: Guest) -> None:
    for bits in range(256):
        guest.host.write(BASE, b"old")
        guest.bits(bits)
        readable = bits & (R | PRESENT | OWN) == R | PRESENT | OWN
        assert guest.peek(BASE, 3) == (b"old" if readable else None), bits
        assert guest.table.byte(BASE) == bits, "looking changes nothing"
        writable = bits & (W | PRESENT | OWN | CODE) == W | PRESENT | OWN
        assert guest.poke(BASE, b"new") is writable, bits
        assert guest.host.read(BASE, 3) == (b"new" if writable else b"old"), bits
        assert guest.table.byte(BASE) == (bits | DIRTY if writable else bits)


def test_every_page_is_looked_at_before_anything_is_done(guest: Guest) -> None:
    data = b"x" * (2 * PAGE + 2)  # from the last byte of the first page to the first of the fourth
    for bad in range(4):
        guest.bits(*(OWN | PRESENT if page == bad else PLAIN for page in range(4)))
        assert not guest.poke(BASE + PAGE - 1, data), bad
        assert guest.peek(BASE + PAGE - 1, len(data)) is None, bad
        assert guest.host.read(BASE, 4 * PAGE) == bytes(4 * PAGE) and not guest.table.dirty()
    guest.bits(OWN, PLAIN, PLAIN, OWN)
    assert guest.poke(BASE + PAGE, b"y" * 2 * PAGE), "the pages around are not asked for"
    guest.bits(PLAIN, PLAIN, PLAIN, PLAIN)
    assert guest.poke(BASE + PAGE - 1, data) and guest.peek(BASE + PAGE - 2, len(data) + 2) == b"\0" + data + b"\0"


def test_the_log_is_that_of_other_writes(guest: Guest) -> None:
    guest.bits(PLAIN, PLAIN | DIRTY, PLAIN)
    assert guest.poke(BASE + 5, b"z" * 2 * PAGE)
    assert guest.poke(BASE + 7, b"again")
    assert guest.table.take_written() == [BASE, BASE + 2 * PAGE], "each page once, in order"
    assert guest.table.take_dirty() == {BASE, BASE + 2 * PAGE}


def test_a_full_log_declines(guest: Guest) -> None:
    guest.bits(PLAIN, PLAIN, PLAIN)
    guest.table.state.dirty_count = guest.table.state.dirty_capacity - 2
    assert not guest.poke(BASE, b"z" * 3 * PAGE)
    assert guest.host.read(BASE, 3 * PAGE) == bytes(3 * PAGE) and guest.table.byte(BASE) == PLAIN
    assert guest.poke(BASE, b"z" * 2 * PAGE)
    assert guest.table.state.dirty_count == guest.table.state.dirty_capacity


def test_what_is_no_range_is_declined(guest: Guest) -> None:
    last = BASE + (1 << 40) - PAGE
    guest.bits(PLAIN, base=last)
    guest.bits(PLAIN, base=last + PAGE)
    assert guest.poke(last, b"w" * PAGE)
    assert not guest.poke(last + 1, b"w" * PAGE), "two windows, whose contents are not side by side"
    guest.bits(PLAIN)
    for length in (0, -1, 1 << 64, (1 << 64) - 1, 1 << 41):
        assert guest.peek(BASE, length) is None, length
    assert not any(guest.peek(address, 1) for address in (-1, 1 << 64, 7 << 40))
    assert not guest.poke(BASE, b"")
    assert not any(guest.poke(address, b"x") for address in (-1, 1 << 64, 7 << 40))
    assert guest.poke(BASE, bytearray(b"ab")) and guest.poke(BASE + 2, memoryview(b"-cd-")[1:3]) and guest.peek(BASE, 4) == b"abcd"
