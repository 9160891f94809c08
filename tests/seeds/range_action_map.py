"""range-action-map: RangeActionMap and the Segment trait on an AddressSpace of single bytes.

Its conventions: a Segment is a backing with hooks and an id; splits hand out ids in call order, area by area, the right
cut before the left one; `args` is the space's context; the space starts at 0x1000; a hint is the lower end of the search.
Splits are made while emuvm plans, so the log is put together afterwards: for each update, the splits of its area first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from emuvm.errors import SpaceError
from emuvm.mm import AddressSpace, Kind, Vma

from .adapter import TOP, Adapter, Untranslatable

LOWER = 0x1000


class Segment:
    """A backing with identity. Its id is given when the log is put together; until then it is None."""

    def __init__(self, splits: list[tuple[Segment, int, Segment]], number: int | None = None) -> None:
        self.splits = splits
        self.id = number

    def split(self, offset: int) -> Segment:
        right = Segment(self.splits)
        self.splits.append((self, offset, right))
        return right

    def joins(self, next: Any) -> bool:
        return False

    def removed(self) -> None:
        """Nothing to release."""


class RangeActionMap(Adapter):
    """RangeActionMap<Seg>."""

    read_only = frozenset({"find", "find_free_area", "iter", "debug"})

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config)
        self.next_id = 0
        self.splits: list[tuple[Segment, int, Segment]] = []
        self.registers: dict[str, AddressSpace] = {}
        self.log: list[list[Any]] = []

    def begin(self, refuse_at: int | None = None) -> None:
        super().begin(refuse_at)
        self.splits.clear()
        self.log = []

    def call(self, op: dict[str, Any]) -> Any:
        try:
            result = super().call(op)
        finally:
            self.write_log()
        return result() if callable(result) else result

    def segment(self) -> Segment:
        return Segment(self.splits)

    # -- the log

    def write_log(self) -> None:
        """Put splits and updates into the system's order, giving ids on the way."""
        pending = list(self.splits)
        for heard in self.heard:
            update, region = heard.update, heard.region
            if region is not None:
                pending = self.write_splits(region, pending)
            vma = update.new or update.old
            assert vma is not None
            args = update.context
            if update.kind is Kind.MAP:
                vma.backing.id = self.take_id()
                self.log.append(["create", vma.backing.id, update.start, update.end, vma.prot])
            elif update.kind is Kind.UNMAP:
                self.log.append(["remove", vma.backing.id, update.start, update.end, args])
            else:
                assert update.old is not None
                self.log.append(["modify", vma.backing.id, update.start, update.end, update.old.prot, self.wanted(update), args])

    def write_splits(self, region: Vma, pending: list[tuple[Segment, int, Segment]]) -> list[tuple[Segment, int, Segment]]:
        end = region.end
        for source, offset, right in pending:
            if source is region.backing:
                right.id = self.take_id()
                assert self.space is not None
                self.log.append(["split", source.id, region.start, end, region.start + offset, right.id, self.space.context])
                end = region.start + offset
        return [entry for entry in pending if entry[0] is not region.backing]

    def take_id(self) -> int:
        self.next_id += 1
        return self.next_id - 1

    def callbacks(self) -> list[list[Any]]:
        return self.log

    # -- the map's calls

    def do_new(self, op: dict[str, Any]) -> None:
        self.open(AddressSpace(LOWER, TOP - LOWER, 1, context=op["args"]))

    def do_mmap_fixed(self, op: dict[str, Any]) -> int | None:
        assert self.space is not None
        try:
            return self.space.map_at(op["start"], op["end"] - op["start"], op["flags"], backing=self.segment())
        except SpaceError:
            return None

    def do_mmap_anywhere(self, op: dict[str, Any]) -> int | None:
        assert self.space is not None
        try:
            return self.space.map_any(op["len"], op["flags"], backing=self.segment(), limit=(op["hint"], TOP))
        except SpaceError:
            return None

    def inside(self, op: dict[str, Any]) -> tuple[int, int]:
        assert self.space is not None
        return max(op["start"], self.space.start), min(op["end"], self.space.end)

    def do_unmap(self, op: dict[str, Any]) -> None:
        assert self.space is not None
        start, end = self.inside(op)
        if start < end:
            self.space.unmap(start, end - start)

    def do_mprotect(self, op: dict[str, Any]) -> None:
        start, end = self.inside(op)
        if start < end:
            self.touch(start, end, lambda old: op["flags"])

    @staticmethod
    def show(vma: Vma) -> list[Any]:
        return [vma.start, vma.end, vma.prot, vma.backing.id]

    def do_find(self, op: dict[str, Any]) -> list[Any] | None:
        assert self.space is not None
        vma = self.space.query(op["pos"])
        return None if vma is None else self.show(vma)

    def do_find_free_area(self, op: dict[str, Any]) -> int | None:
        assert self.space is not None
        try:
            return self.space.find_free(op["len"], limit=(op["hint"], TOP))
        except SpaceError:
            return None

    def do_iter(self, op: dict[str, Any]) -> list[list[Any]]:
        return self.areas()

    def do_iter_mut_add_flags(self, op: dict[str, Any]) -> None:
        assert self.space is not None
        delta = op["delta"]
        whole = self.space.start, self.space.end - self.space.start
        self.quietly(self.space.protect, *whole, lambda old: old + delta & TOP, holes="skip")

    def do_debug(self, op: dict[str, Any]) -> str:
        items = []
        for start, end, flags, number in self.areas():
            segment = f"Seg {{ start: {start}, end: {end}, flags: {flags}, id: {number} }}"
            items.append(f"RangeArea {{ start: {start}, end: {end}, segment: {segment} }}")
        return f"RangeActionMap {{ segments: [{', '.join(items)}] }}"

    def areas(self) -> list[list[Any]]:
        return [self.show(vma) for vma in self.space or ()]

    # -- stand-alone segments: each register is a space of its own that holds one region

    def on_register(self, op: dict[str, Any], change: Callable[[AddressSpace, Vma], None]) -> Callable[[], Any]:
        """Run a change on a register's space; left piece stays, the others go to the registers the op names."""
        main = self.space
        assert main is not None
        space = self.registers[op["reg"]]
        self.space = space
        try:
            change(space, next(iter(space)))
        finally:
            self.space = main
        pieces = list(space)
        names = [op[key] for key in ("out_mid", "out_right") if key in op]
        for name, vma in zip(reversed(names), reversed(pieces), strict=False):
            if len(space) > 1:
                self.quietly(space.unmap, vma.start, vma.size)
                self.register(name, vma)

        def result() -> Any:
            shown = [self.show(vma) for vma in pieces]
            return shown if names else shown[0] if shown else None

        return result

    def register(self, name: str, vma: Vma | None = None) -> AddressSpace:
        assert self.space is not None
        space = AddressSpace(0, TOP, 1, context=self.space.context)
        if vma is not None:
            space.map_at(vma.start, vma.size, vma.prot, backing=vma.backing)
        space.subscribe(self.hear)
        self.registers[name] = space
        return space

    def do_seg_new(self, op: dict[str, Any]) -> Callable[[], Any]:
        main, backing = self.space, self.segment()
        space = self.register(op["reg"])
        self.space = space
        space.map_at(op["start"], op["end"] - op["start"], op["flags"], backing=backing)
        self.space = main
        return lambda: [op["start"], op["end"], op["flags"], backing.id]

    def do_seg_remove(self, op: dict[str, Any]) -> Any:
        return self.on_register(op, lambda space, vma: space.unmap(vma.start, vma.size))

    def do_seg_shrink_to_left(self, op: dict[str, Any]) -> Any:
        return self.on_register(op, lambda space, vma: space.unmap(op["pos"], vma.end - op["pos"]))

    def do_seg_shrink_to_right(self, op: dict[str, Any]) -> Any:
        return self.on_register(op, lambda space, vma: space.unmap(vma.start, op["pos"] - vma.start))

    def do_seg_split_and_remove_middle(self, op: dict[str, Any]) -> Any:
        return self.on_register(op, lambda space, vma: space.unmap(op["pos_left"], op["pos_right"] - op["pos_left"]))

    def do_seg_modify(self, op: dict[str, Any]) -> Any:
        return self.on_register(op, lambda space, vma: self.touch(vma.start, vma.end, lambda old: op["flags"]))

    def do_seg_modify_left(self, op: dict[str, Any]) -> Any:
        return self.on_register(op, lambda space, vma: self.touch(vma.start, op["pos"], lambda old: op["flags"]))

    def do_seg_modify_right(self, op: dict[str, Any]) -> Any:
        return self.on_register(op, lambda space, vma: self.touch(op["pos"], vma.end, lambda old: op["flags"]))

    def do_seg_modify_middle(self, op: dict[str, Any]) -> Any:
        return self.on_register(op, lambda space, vma: self.touch(op["pos_left"], op["pos_right"], lambda old: op["flags"]))

    def load(self, areas: list[list[Any]], op: dict[str, Any]) -> None:
        if self.space is None or any(len(area) != 4 for area in areas):
            raise Untranslatable
        for entry in op.get("callbacks", ()):
            used = {"create": entry[1], "split": entry[5] if entry[0] == "split" else -1}.get(entry[0], -1)
            self.next_id = max(self.next_id, used + 1)
        self.quietly(self.space.clear)
        for start, end, flags, number in areas:
            try:
                backing = Segment(self.splits, number)
                self.quietly(self.space.map_at, start, end - start, flags, backing=backing, replace=False)
            except SpaceError as error:
                raise Untranslatable from error


def open_adapter(config: dict[str, Any]) -> Adapter:
    """The adapter for a sequence with this config."""
    return RangeActionMap(config)
