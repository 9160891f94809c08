"""memory_set of axmm_crates: MemorySet with its tests' mock backend and page table, on an AddressSpace of single bytes.

Its conventions: an area's backend is cloned on a split and areas never merge; the backend may refuse map and unmap, its
refusal of protect is ignored; unmap calls back for the areas inside, then for the one crossing the left edge, then for
the right one; a protect filter may decline, and what it accepts is reported even if the flags stay the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from emuvm.errors import BadArgument, Occupied, SpaceError
from emuvm.mm import AddressSpace, Kind, Update, Vma

from .adapter import TOP, Adapter, Heard, Refused, Untranslatable


@dataclass(frozen=True)
class Clone:
    """A backend: its clones have its id. Never merges."""

    id: int

    def split(self, offset: int) -> Clone:
        return Clone(self.id)

    def joins(self, next: Any) -> bool:
        return False


class PageTable:
    """The crate tests' mock: one entry an address; a failing call keeps the entries it already changed."""

    def __init__(self, size: int) -> None:
        self.entries = bytearray(size)

    def run(self, what: str, start: int, size: int, flags: int | None) -> bool:
        """Map wants free entries, unmap and protect want used ones. Entries behind the table are ignored."""
        value = 0 if flags is None else flags & 0xFF
        end = min(start + size, len(self.entries))
        part = self.entries[start:end]
        blocked = len(part) - len(part.lstrip(b"\0")) if what == "map" else part.find(0)
        good = len(part) if blocked in (-1, len(part)) else blocked
        self.entries[start : start + good] = bytes([value]) * good
        return good == len(part)


class MemorySet(Adapter):
    """MemorySet<MockBackend>."""

    read_only = frozenset({"find", "overlaps", "find_free_area", "len", "is_empty", "debug"})

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config)
        self.table = PageTable(config.get("max_addr", 65536))
        self.fail_at: int | None = None
        self.calls: list[tuple[Heard, list[Any]]] = []
        self.asked: list[int] = []

    # -- the backend, as a subscriber

    def hear(self, update: Update) -> None:
        if self.muted:
            return
        if self._undoing:
            if update.kind is not Kind.PROTECT:
                self.table.run(*self.request(update)[:4])
            return
        what, start, size, flags, backend = self.request(update)
        number = len(self.heard)
        super().hear(update)
        done = number != self.fail_at and self.table.run(what, start, size, flags)
        self.calls.append((self.heard[-1], [what, start, size, flags, backend, int(done)]))
        if not done and update.kind is not Kind.PROTECT:
            self._undoing = True
            raise Refused

    def request(self, update: Update) -> tuple[str, int, int, int | None, int]:
        """The backend call an update stands for."""
        flags = None
        if update.kind is Kind.PROTECT:
            flags = self.wanted(update)
        elif update.new is not None:
            flags = update.new.prot
        vma = update.new or update.old
        assert vma is not None
        return update.kind.value, update.start, update.length, flags, vma.backing.id

    # -- the calls

    def call(self, op: dict[str, Any]) -> Any:
        self.calls, self.asked = [], []
        self.fail_at = op.get("fail_at")
        try:
            return super().call(op)
        except Refused:
            return "BadState"

    def do_new(self, op: dict[str, Any]) -> None:
        self.open(AddressSpace(0, TOP, 1))
        self.table.entries[:] = bytes(len(self.table.entries))

    def do_map(self, op: dict[str, Any]) -> str:
        assert self.space is not None
        backend = Clone(op["backend"])
        try:
            self.space.map_at(op["start"], op["size"], op["flags"], backing=backend, replace=op["unmap_overlap"])
        except Occupied:
            return "AlreadyExists"
        except BadArgument:
            return "InvalidParam"
        return "ok"

    def do_unmap(self, op: dict[str, Any]) -> str:
        assert self.space is not None
        if op["size"] == 0:
            return "ok"
        try:
            self.space.unmap(op["start"], op["size"])
        except BadArgument:
            return "InvalidParam"
        return "ok"

    def do_protect(self, op: dict[str, Any]) -> str:
        assert self.space is not None
        new: Callable[[int], int | None] = self.filter(op["filter"])

        def ask(old: int) -> int | None:
            self.asked.append(old)
            return new(old)

        if op["size"] == 0:
            return "ok"
        try:
            self.touch(op["start"], op["start"] + op["size"], ask)
        except BadArgument:
            return "InvalidParam"
        return "ok"

    @staticmethod
    def filter(rule: list[Any]) -> Any:
        """update_flags as recorded."""
        if rule[0] == "set":
            return lambda old: rule[1]
        if rule[0] == "mask7":
            return lambda old: None if old & 7 == rule[1] & 7 else rule[1] & 7 | old & 0xF8
        if rule[0] == "only":
            return lambda old: rule[2] if old == rule[1] else None
        return lambda old: None

    def filter_calls_agree(self, op: dict[str, Any], before: list[list[Any]]) -> bool:
        """The crate asks for every area from address 0 on; emuvm asks exactly for those in range, and in the same order.

        `touch` asks twice for each: once to see what would not change, once in the space.
        """
        start, end = op["start"], op["start"] + op["size"]
        recorded = op["filter_calls"]
        if recorded != [area[2] for area in before[: len(recorded)]]:
            return False
        if op["result"] != "ok" or not op["size"]:
            return not self.asked
        inside = [area[2] for area in before if area[0] < end and area[1] > start]
        return self.asked == inside * 2

    def do_find(self, op: dict[str, Any]) -> list[Any] | None:
        assert self.space is not None
        vma = self.space.query(op["addr"])
        return None if vma is None else self.show(vma)

    def do_overlaps(self, op: dict[str, Any]) -> bool:
        assert self.space is not None
        start, end = op["start"], op["end"]
        if start >= end:
            # An empty range counts as overlapping if it lies strictly inside an area.
            vma = self.space.query(start)
            return vma is not None and vma.start < end
        return self.space.overlaps(start, end - start)

    def do_find_free_area(self, op: dict[str, Any]) -> int | None:
        assert self.space is not None
        size, align = op["size"], op["align"]
        low, high = max(op["hint"], op["limit_start"]), op["limit_end"]
        try:
            if size == 0:
                return self.empty_place(low, high, align)
            if align and size % align:
                return None
            return self.space.find_free(size, limit=(low, max(low, high)), align=align)
        except SpaceError:
            return None

    def empty_place(self, low: int, high: int, align: int) -> int | None:
        """The lowest aligned place for nothing at all: not strictly inside an area."""
        assert self.space is not None
        place = -(-low // align) * align
        while (vma := self.space.query(place)) is not None and vma.start < place:
            place = -(-vma.end // align) * align
        return place if place <= high else None

    def do_clear(self, op: dict[str, Any]) -> str:
        assert self.space is not None
        self.space.clear()
        return "ok"

    def do_len(self, op: dict[str, Any]) -> int:
        assert self.space is not None
        return len(self.space)

    def do_is_empty(self, op: dict[str, Any]) -> bool:
        assert self.space is not None
        return len(self.space) == 0

    def do_debug(self, op: dict[str, Any]) -> str:
        assert self.space is not None
        areas = [f"MemoryArea {{ va_range: VA:{v.start:#x}..VA:{v.end:#x}, flags: {v.prot} }}" for v in self.space]
        return "[" + ", ".join(areas) + "]"

    # -- presentation

    @staticmethod
    def show(vma: Vma) -> list[Any]:
        return [vma.start, vma.end, vma.prot, vma.backing.id]

    def callbacks(self) -> list[list[Any]]:
        """Ascending but for removals: areas wholly inside first, then those cut on the left, then on the right."""

        def rank(call: tuple[Heard, list[Any]]) -> int:
            update, region = call[0].update, call[0].region
            if update.kind is Kind.MAP:
                return 3
            if update.kind is Kind.PROTECT:
                return 0
            assert region is not None
            return 1 if region.start < update.start else 2 if region.end > update.end else 0

        return [entry for _heard, entry in sorted(self.calls, key=rank)]

    def areas(self) -> list[list[Any]]:
        return [self.show(vma) for vma in self.space or ()]

    def table_agrees(self) -> bool:
        """Does the page table hold exactly the areas?"""
        expected = bytearray(len(self.table.entries))
        for start, end, flags, _id in self.areas():
            if start < len(expected):
                end = min(end, len(expected))
                expected[start:end] = bytes([flags & 0xFF]) * (end - start)
        return expected == self.table.entries

    def keep(self) -> bytes:
        """The page table as it is now, to be handed to `replay_table`."""
        return bytes(self.table.entries)

    def replay_table(self, before: bytes, op: dict[str, Any]) -> None:
        """Bring the page table to where the crate's was left: the recorded backend calls on what was there before."""
        self.table.entries[:] = before
        for number, (what, start, size, flags, _id, _done) in enumerate(op.get("callbacks", ())):
            if number != op.get("fail_at"):
                self.table.run(what, start, size, flags)

    def load(self, areas: list[list[Any]], op: dict[str, Any]) -> None:
        if self.space is None:
            raise Untranslatable
        self.quietly(self.space.clear)
        for start, end, flags, backend in areas:
            try:
                self.quietly(self.space.map_at, start, end - start, flags, backing=Clone(backend), replace=False)
            except SpaceError as error:
                raise Untranslatable from error


def open_adapter(config: dict[str, Any]) -> Adapter:
    """The adapter for a sequence with this config."""
    return MemorySet(config)
