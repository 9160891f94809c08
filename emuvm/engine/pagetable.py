"""One byte per guest page: the page table that the TLB fill callbacks read.

Owns: the bytes, their meaning, the dirty log, and the struct shared with native/fill.c. Must not know Unicorn, nor the
address space.

    bits    7    6   5    4       3     2 1 0
            NONE OWN CODE PRESENT DIRTY X W R   R W X   rights granted now, already the effective ones of the architecture: all or none
                                                DIRTY   written since `take_dirty`; in the log once, in the order of writing
                                                PRESENT the host page may hold content (even when no right is granted)
                                                CODE    may have been fetched from: there may be translated code
                                                OWN     no page of a file that may become shorter
                                                NONE    known to have no right: with R W X 0, and OWN

A right that is not there means "ask", not "no"; beside others, once `FillState.refuses` says so, "no". Tables are sparse: host memory
only where pages were used.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from emuvm.engine.hostmem import WINDOW, WINDOW_BITS, host_map, host_unmap
from emuvm.engine.native_code import native
from emuvm.errors import EngineError

R, W, X, DIRTY, PRESENT, CODE, OWN, NONE = 1, 2, 4, 8, 16, 32, 64, 128
READ, WRITE, FETCH = 16, 17, 18
"""The access numbers of the fill callback (unicorn.h: uc_mem_type)."""
PAGE_BITS = 12
PAGE = 1 << PAGE_BITS
MAX_WINDOWS = 256
_TABLE = WINDOW >> PAGE_BITS
_Table = ctypes.c_uint8 * _TABLE
_LEAF_BITS = PAGE_BITS + 12
_LEAF = 1 << _LEAF_BITS
_LOG = 1 << 16
_REFUSED = 64 * PAGE
_FIRST_BUDGET, _LAST_BUDGET, _PUT_OFF = 512, 1 << 22, 16

_KEEP = bytes(b & (DIRTY | PRESENT | OWN) for b in range(256))
_IS_CODE = bytes(1 if b & CODE else 0 for b in range(256))
_GRANTING = re.compile(b"[" + b"".join(re.escape(bytes((bits,))) for bits in range(256) if bits & (R | W | X | NONE)) + b"]", re.DOTALL)
"""A byte with any right, or known to have none."""
_REFUSING = bytes(b if b & (R | W | X) else b | NONE | OWN for b in range(256))
_grants: dict[tuple[int, bool, bool], bytes] = {}
_protects: dict[tuple[int, bool], bytes] = {}

class _Window(ctypes.Structure):
    _fields_ = [("number", ctypes.c_uint64), ("bytes", ctypes.c_uint64), ("host", ctypes.c_uint64)]


class FillState(ctypes.Structure):
    """struct fill_state of native/state.h."""

    _fields_ = [
        ("fills_left", ctypes.c_uint64),
        ("window_count", ctypes.c_uint64),
        ("dirty_count", ctypes.c_uint64),
        ("dirty_capacity", ctypes.c_uint64),
        ("dirty_log", ctypes.c_uint64),
        ("refuses", ctypes.c_uint64),
        ("refused", ctypes.c_uint64),
        ("refused_page", ctypes.c_uint64),
        ("noting", ctypes.c_uint64),
        ("whom", ctypes.c_uint64),
        ("attend", ctypes.c_uint64),
        ("windows", _Window * MAX_WINDOWS),
    ]


def native_fill() -> int:
    """The address of the native fill callback; 0: there is none."""
    code = native()
    return code.fill if code is not None and code.fill_state == ctypes.sizeof(FillState) else 0


class PageTable:
    """The page bytes of all windows. Ranges are in bytes of guest address, whole pages, half-open."""

    def __init__(self) -> None:
        self.state = FillState()
        self._room = _LOG
        self._log = host_map(_LOG * 8)
        self._entries = (ctypes.c_uint64 * _LOG).from_address(self._log)
        self._budget = _FIRST_BUDGET
        self.state.fills_left = self._budget
        self.state.dirty_log, self.state.dirty_capacity = self._log, _LOG
        self._tables: dict[int, int] = {}
        self._bytes: dict[int, ctypes.Array[ctypes.c_uint8]] = {}
        """The same memory, for reaching single bytes."""
        self._leaves: set[int] = set()
        self._dirty: set[int] = set()
        self._told = 0
        """Entries of the log that `take_written` has returned."""
        self._untold = bytearray()
        """Entries that left the log before `take_written` came."""
        self.drained = False
        """Somebody calls `drain`: entries that leave the log are kept for it."""
        self._undrained: list[int] = []
        self.forgotten: list[tuple[int, int, bool]] = []
        """While `drained`: (start, end, did others come) of contents that went otherwise than by a write. Whoever drains empties it."""
        self.keeper: Any = None
        """The checkpoints of this memory (engine.checkpoint), while there are any."""

    def reserve(self, window: int, host: int = 0) -> None:
        """Have a table for a window, whose contents begin at the host address `host`. EngineError when the host refuses or there are
        too many."""
        if window in self._tables:
            return
        count = self.state.window_count
        if count == MAX_WINDOWS:
            raise EngineError(f"more than {MAX_WINDOWS} windows of guest memory in use")
        table = self._tables[window] = host_map(_TABLE)
        self._bytes[window] = _Table.from_address(table)
        self.state.windows[count] = _Window(window, table, host)
        self.state.window_count = count + 1

    def lookup(self, address: int, access: int) -> int:
        """The rights to give the TLB for an access, or 0: ask. The same decisions as native/fill.c."""
        table = self._tables.get(address >> WINDOW_BITS)
        if table is None:
            return 0
        pointer = table + ((address & WINDOW - 1) >> PAGE_BITS)
        bits = ctypes.c_uint8.from_address(pointer).value
        if access == READ:
            if not bits & R:
                return 0
            return R | W if bits & (W | X | DIRTY) == W | DIRTY else R
        if access == WRITE:
            if not bits & W:
                return 0
            if not bits & DIRTY:
                if self.state.dirty_count >= self._room:
                    return 0
                self.note(address & -PAGE)
                bits |= DIRTY
            # What may be executed as well may be fetched from without another question.
            ctypes.c_uint8.from_address(pointer).value = bits | CODE if bits & X else bits
            return R | W | bits & X
        return R | X if access == FETCH and bits & (X | CODE) == X | CODE else 0

    def count_fill(self, *, wait: bool = False) -> bool:
        """Count a fill that Python answers. True: so many since the last time that the TLB should be flushed.

        Unicorn's TLB starts with 256 entries and grows only when it is flushed while well filled. The distance doubles each
        time, so that a program that uses more than any TLB holds is flushed ever more rarely. `wait`: this is no moment for it.
        """
        if self.state.fills_left:
            self.state.fills_left -= 1
            return False
        if wait:
            self.state.fills_left = _PUT_OFF
            return False
        self._budget = min(2 * self._budget, _LAST_BUDGET)
        self.state.fills_left = self._budget
        return True

    def byte(self, address: int) -> int:
        """The bits of the page that contains `address`."""
        table = self._bytes.get(address >> WINDOW_BITS)
        return 0 if table is None else table[(address & WINDOW - 1) >> PAGE_BITS]

    def pointer(self, address: int) -> int:
        """Where the byte of the page is; 0 without a window."""
        table = self._tables.get(address >> WINDOW_BITS)
        return 0 if table is None else table + ((address & WINDOW - 1) >> PAGE_BITS)

    def grant(self, start: int, end: int, rights: int, *, code: bool, own: bool = False) -> None:
        """Pages in a reserved window become present with these rights; `code`: they are about to be fetched from; `own`: OWN."""
        change = _grants.get((rights, code, own))
        if change is None:
            extra = rights | PRESENT | (CODE if code else 0) | (OWN if own else 0)
            change = _grants[rights, code, own] = bytes(b & (DIRTY | CODE) | extra for b in range(256))
        self._leaves.update(range(start >> _LEAF_BITS, (end - 1 >> _LEAF_BITS) + 1))
        self._spill()
        for _, pointer, count in self._runs(start, end):
            ctypes.memmove(pointer, ctypes.string_at(pointer, count).translate(change), count)

    def written(self, start: int, end: int) -> bool:
        """Somebody else than the guest wrote to these pages of reserved windows. Was there code among them?"""
        code = False
        for page in range(start, end, PAGE):
            table, number = self._bytes[page >> WINDOW_BITS], (page & WINDOW - 1) >> PAGE_BITS
            bits = table[number]
            if bits & (DIRTY | PRESENT) != DIRTY | PRESENT:
                self._leaves.add(page >> _LEAF_BITS)
                self.note(page)
                table[number] = bits | DIRTY | PRESENT
            code = code or bool(bits & CODE)
        return code

    def note(self, page: int) -> None:
        """Enter a page into the log."""
        if self.state.dirty_count >= self._room:
            self._spill()
        self._entries[self.state.dirty_count] = page
        self.state.dirty_count += 1

    def last_written(self) -> int:
        """The page that was entered into the log last; -1 when the log is empty."""
        count = self.state.dirty_count
        return self._entries[count - 1] if count else -1

    def take_written(self) -> list[int]:
        """The log's pages in their order, as far as the last call did not return them."""
        count, told = self.state.dirty_count, self._told
        if count == told and not self._untold:
            return []
        pages = memoryview(self._untold).cast("Q").tolist() if self._untold else []
        self._untold = bytearray()
        self._told = count
        return pages + self._entries[told:count]

    def protect(
        self, start: int, end: int, rights: int, *, only_written: bool = False
    ) -> tuple[bool, list[tuple[int, int]]]:
        """Pages that have any right, or are known to have none, get these instead, and as for code nothing is granted; the others stay
        without.

        `only_written`: pages that were not written to lose all rights.

        (do TLB entries exist that grant too much, the ranges that may have translated code)
        """
        change = _protects.get((rights, only_written))
        if change is None:
            change = _protects[rights, only_written] = bytes(_protected(b, rights, only_written) for b in range(256))
        if end - start == PAGE:
            table, number = self._bytes.get(start >> WINDOW_BITS), (start & WINDOW - 1) >> PAGE_BITS
            if table is None or (changed := change[old := table[number]]) == old:
                return False, []
            table[number] = changed
            code = [(start, end)] if old & CODE else []
            return only_written or bool(old & (7 & ~rights | CODE) or (rights & ~old & X and old & 7)), code
        less, code = False, []
        for page, pointer, count in self._runs(start, end):
            bits = ctypes.string_at(pointer, count)
            changed_bits = bits.translate(change)
            if changed_bits == bits:
                continue
            code += _code_in(page, bits)
            less = less or only_written or bool(code) or any(b & 7 & ~rights or (rights & ~b & X and b & 7) for b in set(bits))
            ctypes.memmove(pointer, changed_bits, count)
        return less, code

    def withdraw(self, start: int, end: int) -> tuple[bool, list[tuple[int, int]]]:
        """Grant nothing any more; what is known of the contents stays.

        (was anything granted, the ranges that may have translated code)
        """
        code: list[tuple[int, int]] = []
        found = False
        for page, pointer, count in self._runs(start, end):
            bits = ctypes.string_at(pointer, count)
            kept = bits.translate(_KEEP)
            if kept == bits:
                continue
            found = True
            code += _code_in(page, bits)
            ctypes.memmove(pointer, kept, count)
        return found, code

    def clear(self, start: int, end: int) -> bool:
        """Forget the pages. Was any of them present?"""
        found = False
        self.forget(start, end)
        for page, pointer, count in self._runs(start, end):
            found = found or ctypes.string_at(pointer, count).count(0) != count
            ctypes.memset(pointer, 0, count)
            if count << PAGE_BITS == _LEAF:
                self._leaves.discard(page >> _LEAF_BITS)
        return found

    def move(self, start: int, end: int, to: int) -> bool:
        """What is known of the contents goes to `to`; its windows must be reserved. Was any page present?"""
        found = False
        for page, pointer, count in self._runs(start, end):
            bits = ctypes.string_at(pointer, count).translate(_KEEP)
            if bits.count(0) == count:
                continue
            found = True
            goal = to + page - start
            self._leaves.update(range(goal >> _LEAF_BITS, (goal + (count << PAGE_BITS) - 1 >> _LEAF_BITS) + 1))
            for at, target, size in self._runs(goal, goal + (count << PAGE_BITS)):
                offset = at - goal >> PAGE_BITS
                part = bits[offset : offset + size]
                ctypes.memmove(target, part, size)
                for n, bit in enumerate(part):
                    if bit & DIRTY:
                        self.note(at + (n << PAGE_BITS))
        self.clear(start, end)
        self.forget(to, to + end - start, filled=True)
        return found

    def forget(self, start: int, end: int, filled: bool = False) -> None:
        """The contents of [start, end) went otherwise than by a write; `filled`: others came."""
        if self.drained:
            self.forgotten.append((start, end, filled))

    def take_dirty(self) -> set[int]:
        """Addresses of the pages written since the last call (some may be unmapped by now). The TLB must be flushed after it."""
        self._spill(everything=True)
        dirty, self._dirty = self._dirty, set()
        for page in dirty:
            for _, pointer, _ in self._runs(page, page + PAGE):
                cell = ctypes.c_uint8.from_address(pointer)
                cell.value &= ~DIRTY & 0xFF
        return dirty

    def drain(self) -> list[int]:
        """The pages noted since the last call. `take_written` does not tell them any more, `take_dirty` does."""
        self.drained = True
        count = self.state.dirty_count
        pages = self._entries[:count]
        if pages:
            self._dirty.update(pages)
            self.state.dirty_count = 0
        self._told = 0
        if self._untold:
            self._untold = bytearray()
        if self._undrained:
            pages = [*self._undrained, *pages]
            self._undrained = []
        return pages

    def stop_draining(self) -> None:
        """Nobody calls `drain` any more."""
        self.drained = False
        self._undrained, self.forgotten = [], []

    def dirty(self) -> set[int]:
        """What `take_dirty` would tell."""
        self._spill(everything=True)
        return set(self._dirty)

    def undirty(self, pages: Iterable[int]) -> None:
        """Have the next write of these pages noted. The TLB must be flushed after it."""
        for page in pages:
            table, number = self._bytes.get(page >> WINDOW_BITS), (page & WINDOW - 1) >> PAGE_BITS
            if table is not None:
                table[number] &= ~DIRTY & 0xFF

    def has_content(self, page: int) -> None:
        """The page in a reserved window has content, but was not written: it counts as present, and its next write is noted."""
        self._leaves.add(page >> _LEAF_BITS)
        table, number = self._bytes[page >> WINDOW_BITS], (page & WINDOW - 1) >> PAGE_BITS
        table[number] = table[number] & ~DIRTY & 0xFF | PRESENT

    def refuse(self, page: int, start: int, end: int) -> None:
        """Nobody has a right in [start, end), where no file is: enough is noted around `page` that few questions follow."""
        if page >> WINDOW_BITS in self._bytes:
            start, end = max(start, page & -_REFUSED), min(end, (page & -_REFUSED) + _REFUSED)
            self._leaves.add(page >> _LEAF_BITS)
            for _, pointer, count in self._runs(start, end):
                ctypes.memmove(pointer, ctypes.string_at(pointer, count).translate(_REFUSING), count)

    def granted(self) -> Iterator[tuple[int, int]]:
        """(page, rights) of every page that has rights, or is known to have none. Slow: for verification."""
        for leaf in sorted(self._leaves):
            for page, pointer, count in self._runs(leaf << _LEAF_BITS, leaf + 1 << _LEAF_BITS):
                for found in _GRANTING.finditer(ctypes.string_at(pointer, count)):
                    yield page + (found.start() << PAGE_BITS), found[0][0] & (R | W | X)

    def copies(self) -> tuple[Callable[[int, int], bytes | None], Callable[[int, bytes], bool]]:
        """The native `Memory.peek` and `Memory.poke`."""
        code = native()
        assert code is not None
        return partial(code.peek, ctypes.addressof(self.state)), partial(code.poke, ctypes.addressof(self.state))

    def close(self) -> None:
        self.state.window_count = 0
        for table in self._tables.values():
            host_unmap(table, _TABLE)
        self._tables.clear()
        self._bytes.clear()
        self._leaves.clear()
        if self._log:
            self.state.dirty_capacity = self.state.dirty_count = 0
            host_unmap(self._log, self._room * 8)
            self._log = 0

    def _spill(self, *, everything: bool = False) -> None:
        """Make room in the log the fill callbacks write to."""
        count = self.state.dirty_count
        if count and (everything or count > self._room // 2):
            self._dirty.update(self._entries[:count])
            if self.drained:
                self._undrained += self._entries[:count]
            if count > self._told:
                self._untold += ctypes.string_at(self._log + 8 * self._told, 8 * (count - self._told))
            self.state.dirty_count = self._told = 0

    def _runs(self, start: int, end: int) -> list[tuple[int, int, int]]:
        """(first page, pointer to its byte, pages) for the used parts of a range, ascending, each within one leaf."""
        first, last = start >> _LEAF_BITS, end - 1 >> _LEAF_BITS
        if first == last:
            if first not in self._leaves:
                return []
            return [(start, self._tables[start >> WINDOW_BITS] + ((start & WINDOW - 1) >> PAGE_BITS), end - start >> PAGE_BITS)]
        if last - first < len(self._leaves):
            leaves = [n for n in range(first, last + 1) if n in self._leaves]
        else:
            leaves = sorted(n for n in self._leaves if first <= n <= last)
        runs = []
        for leaf in leaves:
            low, high = max(start, leaf << _LEAF_BITS), min(end, leaf + 1 << _LEAF_BITS)
            table = self._tables[low >> WINDOW_BITS]
            runs.append((low, table + ((low & WINDOW - 1) >> PAGE_BITS), high - low >> PAGE_BITS))
        return runs

    def used(self, start: int, end: int) -> list[tuple[int, int]]:
        """Parts of [start, end), ascending, outside of which no page is present."""
        return [(page, page + (count << PAGE_BITS)) for page, _, count in self._runs(start, end)]


def _protected(bits: int, rights: int, only_written: bool) -> int:
    """A page's bits after `PageTable.protect`."""
    kept = bits & (DIRTY | PRESENT | OWN)
    if not bits & (R | W | X | NONE) or (only_written and not bits & DIRTY):
        return kept
    if rights:
        return kept | rights | PRESENT
    return kept | NONE if bits & OWN else kept


def _code_in(page: int, bits: bytes) -> list[tuple[int, int]]:
    """The runs of pages marked CODE among the bytes of the pages from `page` on."""
    marks = bits.translate(_IS_CODE)
    found, at = [], marks.find(1)
    while at >= 0:
        stop = marks.find(0, at)
        stop = len(marks) if stop < 0 else stop
        found.append((page + (at << PAGE_BITS), page + (stop << PAGE_BITS)))
        at = marks.find(1, stop)
    return found
