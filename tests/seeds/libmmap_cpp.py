"""libmmap in C++: AddrSpace and RangeMap on an AddressSpace.

Its conventions: regions with equal info merge whatever their offsets, offsets do not move on a split, protect reports and
re-inserts unchanged regions, `original` is one more attribute (here: a bit of `prot`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from emuvm.errors import SpaceError
from emuvm.mm import AddressSpace, Kind, Vma

from .adapter import Adapter, Untranslatable

INT = 0xFFFF_FFFF
ORIGINAL = 1 << 40


@dataclass(frozen=True)
class Info:
    """What libmmap stores besides prot and flags. `start` is where the region begins, which tells `joins` the border."""

    fd: int
    offset: int
    start: int
    kept_apart: set[int]

    def split(self, offset: int) -> Info:
        return Info(self.fd, self.offset, self.start + offset, self.kept_apart)

    def joins(self, next: Any) -> bool:
        return (self.fd, self.offset) == (next.fd, next.offset) and next.start not in self.kept_apart


def signed(value: int) -> int:
    """A C int from its 32 bits."""
    value &= INT
    return value - (INT + 1) if value >> 31 else value


class AddrSpace(Adapter):
    """mmap::AddrSpace."""

    read_only = frozenset({"query"})

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config)
        self.kept_apart: set[int] = set()
        """Borders between equal regions, left by mark_original, which does not merge."""

    def do_init(self, op: dict[str, Any]) -> bool:
        size = op["pagesize"]
        self.kept_apart.clear()
        self.open(None)
        try:
            self.open(AddressSpace(op["start"] & ~(size - 1), op["len"], size))
        except SpaceError:
            return False
        return True

    def info(self, op: dict[str, Any], start: int) -> Info:
        return Info(op["fd"], op["offset"], start, self.kept_apart)

    def forget_borders(self, start: int, end: int) -> None:
        self.kept_apart -= {at for at in self.kept_apart if start <= at <= end}

    def do_map_any(self, op: dict[str, Any]) -> int | None:
        assert self.space is not None
        try:
            at = self.space.find_free(op["len"], hint=op["hint"])
            if at is None:
                return None
            self.forget_borders(at, at + self.round(op["len"]))
            return self.space.map_any(op["len"], op["prot"] & INT, op["flags"] & INT, hint=op["hint"], backing=self.info(op, at))
        except SpaceError:
            return None

    def do_map_at(self, op: dict[str, Any]) -> int | None:
        assert self.space is not None
        at = op["addr"]
        if self.valid(op):
            self.forget_borders(at, at + self.round(op["len"]))
        try:
            return self.space.map_at(at, op["len"], op["prot"] & INT, op["flags"] & INT, backing=self.info(op, at))
        except SpaceError:
            return None

    def round(self, length: int) -> int:
        assert self.space is not None
        return -(-length // self.space.page_size) * self.space.page_size

    def valid(self, op: dict[str, Any]) -> bool:
        """Will the space accept this range?"""
        assert self.space is not None
        addr, length = op["addr"], self.round(op["len"])
        return addr % self.space.page_size == 0 and length > 0 and self.space.start <= addr and addr + length <= self.space.end

    def do_unmap(self, op: dict[str, Any]) -> str:
        assert self.space is not None
        try:
            self.space.unmap(op["addr"], op["len"])
        except SpaceError:
            return "inval"
        self.forget_borders(op["addr"], op["addr"] + self.round(op["len"]))
        return "ok"

    def do_protect(self, op: dict[str, Any]) -> str:
        assert self.space is not None
        if not self.valid(op):
            try:
                self.space.protect(op["addr"], op["len"], op["prot"] & INT, holes="skip")
            except SpaceError:
                return "inval"
            raise AssertionError(f"accepted: {op}")
        start, end = op["addr"], op["addr"] + self.round(op["len"])
        self.forget_borders(start, end)
        self.touch(start, end, lambda old: old & ~INT | op["prot"] & INT)
        return "ok"

    def do_query(self, op: dict[str, Any]) -> list[Any] | None:
        assert self.space is not None
        vma = self.space.query(op["addr"])
        return None if vma is None else self.show(vma)

    def do_mark_original(self, op: dict[str, Any]) -> None:
        assert self.space is not None
        self.kept_apart |= {vma.start for vma in self.space}
        if len(self.space):
            whole = self.space.start, self.space.end - self.space.start
            self.quietly(self.space.protect, *whole, lambda old: old | ORIGINAL, holes="skip")

    def do_unmap_non_original(self, op: dict[str, Any]) -> None:
        assert self.space is not None
        for vma in [vma for vma in self.space if not vma.prot & ORIGINAL]:
            self.space.unmap(vma.start, vma.size)

    def do_reset(self, op: dict[str, Any]) -> None:
        if self.space is not None:
            self.quietly(self.space.clear)
        self.kept_apart.clear()

    @staticmethod
    def show(vma: Vma) -> list[Any]:
        return [signed(vma.prot), signed(vma.flags), vma.backing.fd, vma.backing.offset, int(bool(vma.prot & ORIGINAL))]

    def callbacks(self) -> list[list[Any]]:
        out = []
        for heard in self.heard:
            update = heard.update
            if update.kind in (Kind.UNMAP, Kind.PROTECT):
                assert update.old is not None
                out.append([update.start, update.length, *self.show(update.old)])
        return out

    def areas(self) -> list[list[Any]]:
        return [[vma.start, vma.end, *self.show(vma)] for vma in self.space or ()]

    def load(self, areas: list[list[Any]], op: dict[str, Any]) -> None:
        if self.space is None:
            raise Untranslatable
        self.quietly(self.space.clear)
        self.kept_apart.clear()
        self.kept_apart |= {area[0] for area in areas}
        for start, end, prot, flags, fd, offset, original in areas:
            bits = prot & INT | (ORIGINAL if original else 0)
            backing = Info(fd, offset, start, self.kept_apart)
            try:
                self.quietly(self.space.map_at, start, end - start, bits, flags & INT, backing=backing, replace=False)
            except SpaceError as error:
                raise Untranslatable from error


class RangeMap(Adapter):
    """mmap::RangeMap<int, int>: keys may be negative, so they are shifted into a space of single bytes; values are backings."""

    read_only = frozenset({"rm_find", "rm_overlaps", "rm_get_overlapping", "rm_get_gaps", "rm_size", "rm_empty"})
    SHIFT = 1 << 62

    def do_rm_new(self, op: dict[str, Any]) -> None:
        self.open(AddressSpace(0, 2 * self.SHIFT, 1))

    def at(self, op: dict[str, Any]) -> tuple[int, int]:
        return op["start"] + self.SHIFT, op["end"] - op["start"]

    def show(self, vma: Vma) -> list[int]:
        return [vma.start - self.SHIFT, vma.end - self.SHIFT, vma.backing]

    def do_rm_insert(self, op: dict[str, Any]) -> None:
        assert self.space is not None
        start, length = self.at(op)
        if length > 0:
            self.space.map_at(start, length, 0, backing=op["val"])

    def do_rm_remove(self, op: dict[str, Any]) -> None:
        assert self.space is not None
        start, length = self.at(op)
        if length > 0:
            self.space.unmap(start, length)

    def do_rm_clear(self, op: dict[str, Any]) -> None:
        assert self.space is not None
        self.space.clear()

    def do_rm_find(self, op: dict[str, Any]) -> list[int] | None:
        assert self.space is not None
        vma = self.space.query(op["key"] + self.SHIFT)
        return None if vma is None else self.show(vma)

    def do_rm_overlaps(self, op: dict[str, Any]) -> bool:
        assert self.space is not None
        start, length = self.at(op)
        return length > 0 and self.space.overlaps(start, length)

    def do_rm_get_overlapping(self, op: dict[str, Any]) -> list[list[int]]:
        assert self.space is not None
        start, length = self.at(op)
        return [self.show(vma) for vma in self.space.regions(start, length)] if length > 0 else []

    def do_rm_get_gaps(self, op: dict[str, Any]) -> list[list[int]]:
        assert self.space is not None
        start, length = self.at(op)
        gaps = self.space.gaps(start, length) if length > 0 else []
        return [[low - self.SHIFT, high - self.SHIFT] for low, high in gaps]

    def do_rm_size(self, op: dict[str, Any]) -> int:
        assert self.space is not None
        return len(self.space)

    def do_rm_empty(self, op: dict[str, Any]) -> bool:
        assert self.space is not None
        return len(self.space) == 0

    def callbacks(self) -> list[list[Any]]:
        return []

    def areas(self) -> list[list[Any]]:
        return [self.show(vma) for vma in self.space or ()]

    def load(self, areas: list[list[Any]], op: dict[str, Any]) -> None:
        if self.space is None:
            raise Untranslatable
        self.quietly(self.space.clear)
        for start, end, value in areas:
            try:
                self.space.map_at(start + self.SHIFT, end - start, 0, backing=value)
            except SpaceError as error:
                raise Untranslatable from error
        if self.areas() != areas:
            raise Untranslatable


def open_adapter(config: dict[str, Any]) -> Adapter:
    """The adapter for a sequence with this config."""
    return RangeMap(config) if config["target"] == "range_map" else AddrSpace(config)
