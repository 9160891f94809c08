"""libmmap's older C library: MM on an AddressSpace.

Its conventions: every region remembers the mapping it was cut from (here: Vma.base and Vma.length), regions never merge,
protect refuses holes, unmapping nothing is an error, map_any picks a gap by the shape of a tree: the recorded address is
taken as given and only has to be free.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from emuvm.errors import BadArgument, Hole, SpaceError
from emuvm.mm import AddressSpace, Kind, Vma

from .adapter import Adapter, Untranslatable
from .libmmap_cpp import INT, signed

EINVAL, ENOMEM, NOTHING = -22, -12, -1


@dataclass(frozen=True)
class Piece:
    """A file descriptor and the offset of the region's first byte; never merges."""

    fd: int
    offset: int

    def split(self, offset: int) -> Piece:
        return Piece(self.fd, self.offset + offset)

    def joins(self, next: Any) -> bool:
        return False


class Mm(Adapter):
    """struct MMAddrSpace."""

    read_only = frozenset({"query"})

    def do_init(self, op: dict[str, Any]) -> bool:
        size = max(op["pagesize"], 1)
        try:
            self.open(AddressSpace(op["start"] & ~(size - 1), op["len"] & ~(size - 1), size))
        except SpaceError:
            return False
        return True

    def call(self, op: dict[str, Any]) -> Any:
        name = op["op"].removesuffix("_nocb")
        result = getattr(self, "do_" + name)(op)
        if name != op["op"]:
            self.heard = []
        return result

    @staticmethod
    def show(vma: Vma) -> list[Any]:
        """base, maplen, prot, flags, fd and the offset of the mapping: emuvm's offset moved along with the splits."""
        offset = vma.backing.offset - (vma.start - vma.base)
        return [vma.base, vma.length, signed(vma.prot), signed(vma.flags), vma.backing.fd, offset]

    def do_map_any(self, op: dict[str, Any]) -> dict[str, Any] | int:
        assert self.space is not None
        prot, flags, backing = op["prot"] & INT, op["flags"] & INT, Piece(op["fd"], op["offset"])
        try:
            if op["result"] is None:
                return self.space.map_any(op["len"], prot, flags, backing=backing)
            return self.space.map_at(op["result"], op["len"], prot, flags, backing=backing, replace=False)
        except SpaceError:
            return {"raw": -1}

    def do_map_at(self, op: dict[str, Any]) -> dict[str, Any] | int:
        assert self.space is not None
        backing = Piece(op["fd"], op["offset"])
        try:
            return self.space.map_at(op["addr"], op["len"], op["prot"] & INT, op["flags"] & INT, backing=backing)
        except BadArgument:
            return {"raw": -1 if op["addr"] % self.space.page_size else EINVAL}

    def do_unmap(self, op: dict[str, Any]) -> int:
        assert self.space is not None
        try:
            self.space.unmap(op["addr"], op["len"])
        except BadArgument:
            return EINVAL
        return 0 if self.heard else NOTHING

    def do_protect(self, op: dict[str, Any]) -> int:
        assert self.space is not None
        try:
            self.space.protect(op["addr"], op["len"], op["prot"] & INT)
        except (BadArgument, Hole):
            return EINVAL
        return 0

    def do_query(self, op: dict[str, Any]) -> list[Any] | None:
        assert self.space is not None
        vma = self.space.query(op["addr"])
        return None if vma is None or op["addr"] % self.space.page_size else self.show(vma)

    def do_mm_free(self, op: dict[str, Any]) -> int:
        assert self.space is not None
        self.quietly(self.space.clear)
        return len(self.space)

    def callbacks(self) -> list[list[Any]]:
        out = []
        for heard in self.heard:
            update = heard.update
            if update.kind is Kind.UNMAP and update.old is not None:
                out.append([update.start, update.length, *self.show(update.old)])
            elif update.kind is Kind.PROTECT and update.new is not None:
                out.append([update.start, update.length, *self.show(update.new)])
        return out

    def areas(self) -> list[list[Any]]:
        return [[vma.start, vma.end, *self.show(vma)] for vma in self.space or ()]

    def load(self, areas: list[list[Any]], op: dict[str, Any]) -> None:
        """Map every mapping whole, outer ones first, then cut away what is not listed."""
        if self.space is None or any(area[0] >= area[1] for area in areas):
            raise Untranslatable
        self.quietly(self.space.clear)
        mappings = {tuple(area[2:4] + area[5:]): area for area in areas}
        todo = sorted(mappings, key=lambda key: (-key[1], key[0]))
        try:
            while todo:
                inner = {key for key in todo for other in todo if key != other and self._must_follow(key, other, areas)}
                ready = [key for key in todo if key not in inner]
                if not ready:
                    raise Untranslatable
                for base, length, flags, fd, offset in ready:
                    self.quietly(self.space.map_at, base, length, 0, flags & INT, backing=Piece(fd, offset))
                todo = [key for key in todo if key in inner]
            place = self.space.start
            for start, end, _base, _length, prot, *_ in [*areas, [self.space.end, None, 0, 0, 0]]:
                if start > place:
                    self.quietly(self.space.unmap, place, start - place)
                if end is not None:
                    self.quietly(self.space.protect, start, end - start, prot & INT)
                    place = end
        except SpaceError as error:
            raise Untranslatable from error
        if self.areas() != areas:
            raise Untranslatable

    @staticmethod
    def _must_follow(key: tuple[Any, ...], other: tuple[Any, ...], areas: list[list[Any]]) -> bool:
        """Does a region of `key` lie where `other` was mapped, so that `other` came first?"""
        low, high = other[0], other[0] + other[1]
        return any(tuple(area[2:4] + area[5:]) == key and low <= area[0] < high for area in areas)


def open_adapter(config: dict[str, Any]) -> Adapter:
    """The adapter for a sequence with this config."""
    return Mm(config)
