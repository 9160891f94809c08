"""The address space: which regions exist, and the updates that tell others when that changes.

Owns: the operations, their argument checks, splitting and merging, and the callback contract. Must not know Linux (that
is `mm.linux`), engines, files, clocks.

Every changing operation is  check -> plan -> deliver -> commit:

    check     arguments; a BadArgument leaves everything as it was
    plan      the new map (see vmamap) and the Update values that lead to it; the space still shows the old state
    deliver   each update to each subscriber, in order; one that raises makes everybody who saw an update see its inverse
    commit    one assignment; then backings hear `removed()` and subscribers `committed()`
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from typing import Any, Literal, ParamSpec, TypeVar
from weakref import ref

from emuvm.errors import BadArgument, EmulatorBug, Hole, NoSpace, Occupied, ReentryError
from emuvm.mm import maps, vmamap
from emuvm.mm.arguments import Bounds, bounds, filtered, integer, word
from emuvm.mm.cut import alike, behaviour, clip, first_hole, join, merge, shifted, way_back
from emuvm.mm.delivery import Call, Prepare, Subscriber, Subscribers, deliver, deliver_one, finish
from emuvm.mm.gapsearch import highest_gap, lowest_gap
from emuvm.mm.planning import cut_out, place
from emuvm.mm.types import Callback, Kind, Update, Vma
from emuvm.mm.ways import Way, Ways

P = ParamSpec("P")
R = TypeVar("R")

Holes = Literal["error", "skip", "stop"]
ProtFilter = Callable[[int], "int | None"]


class Snapshot:
    """The regions of a space at one moment. Cheap to take and to keep; use `AddressSpace.restore`."""

    __slots__ = ("_root", "_space", "_ways")

    def __init__(self, space: AddressSpace, root: vmamap.Root) -> None:
        self._space = space
        self._root = root
        self._ways: Ways | None = None

    def __len__(self) -> int:
        return self._root.size if self._root else 0

    def __iter__(self) -> Iterator[Vma]:
        return vmamap.ascending(self._root)


def _changing(operation: Callable[P, R]) -> Callable[P, R]:
    """From its first line to its commit, an operation cannot be entered by another: not from a callback, a filter or a backing."""

    @wraps(operation)
    def guarded(*args: P.args, **named: P.kwargs) -> R:
        space: Any = args[0]
        if space._busy:
            space._enter()
        space._busy = True
        try:
            return operation(*args, **named)
        finally:
            space._busy = False

    return guarded


class AddressSpace(Bounds):
    """Regions in [start, start + length), in whole pages of `page_size` bytes (any power of two, 1 included).

    `length` is rounded up to pages. `context` is handed to subscribers with every update. All addresses and lengths are
    in bytes, all ranges half-open. Operations raise BadArgument (EINVAL) for arguments that make no sense, and have
    then changed nothing. Every operation costs O(log n + regions touched).
    """

    checking = False
    """When true, `check()` runs after every change (EMUVM_CHECK=1 sets it)."""
    merging = True
    """False: whoever owns the space decides which neighbours become one (mm.linux), and `check()` does not mind."""

    def __init__(self, start: int, length: int, page_size: int = 4096, *, context: Any = None) -> None:
        super().__init__(start, length, page_size)
        self.context = context
        self._root: vmamap.Root = None
        self._last: Vma | None = None  # what `query` found, while it is in the map: it is asked about the same region again and again
        self._subscribers: Subscribers = ()
        self._committed: tuple[Call, ...] = ()  # what they want to be called
        self._busy = False
        self._ways: Callable[[], Ways | None] = Ways.none  # what the snapshot that was restored last remembers

    # -- looking ------------------------------------------------------------------------------------------------------

    def query(self, addr: int) -> Vma | None:
        """The region that contains the byte at `addr`; None in a gap or outside the space."""
        if type(addr) is not int:
            addr = integer(addr, "addr")
        last = self._last
        if last is not None and last.start <= addr < last.end:
            return last
        self._last = found = vmamap.find(self._root, addr)
        return found

    def region_above(self, addr: int) -> Vma | None:
        """The lowest region that starts at or above `addr`."""
        return vmamap.above(self._root, integer(addr, "addr"))

    def regions(self, addr: int, length: int) -> list[Vma]:
        """The regions that overlap [addr, addr + length), whole, ascending. Any byte range inside the space."""
        return vmamap.overlapping(self._root, *self._bytes(addr, length))

    def overlaps(self, addr: int, length: int) -> bool:
        """Is any byte of [addr, addr + length) in a region?"""
        return bool(self.regions(addr, length))

    def gaps(self, addr: int, length: int) -> list[tuple[int, int]]:
        """The free ranges (start, end) inside [addr, addr + length), clipped to it, ascending."""
        place, end = self._bytes(addr, length)
        free = []
        for vma in vmamap.overlapping(self._root, place, end):
            if vma.start > place:
                free.append((place, vma.start))
            place = vma.end
        if place < end:
            free.append((place, end))
        return free

    def find_free(
        self, length: int, *, hint: int = 0, limit: tuple[int, int] | None = None, align: int | None = None, top_down: bool = False
    ) -> int | None:
        """Where `map_any` would map, or None. A hint that is zero, misaligned, outside or not free is passed over."""
        return self._find(self._length(length), hint, limit, align, top_down)

    def _find(self, need: int, hint: int, limit: tuple[int, int] | None, align: int | None, top_down: bool) -> int | None:
        mask = self._mask
        if align is not None:
            align = integer(align, "align")
            if align <= 0 or align & (align - 1):
                raise BadArgument("align", f"{align} is not a power of two")
            mask |= align - 1
        lo, hi = self.start, self.end
        if limit is not None:
            low, high = bounds(limit)
            lo, hi = max(lo, low), min(hi, high)
        if type(hint) is not int:
            hint = integer(hint, "hint")
        if hint < 0:
            raise BadArgument("hint", f"{hint} is negative")
        if hint and not hint & mask and lo <= hint and hint + need <= hi and not vmamap.overlapping(self._root, hint, hint + need):
            return hint
        search = highest_gap if top_down else lowest_gap
        return search(self._root, lo, hi, need, mask)

    def __iter__(self) -> Iterator[Vma]:
        """Regions ascending, as they are now: later changes do not disturb the iteration."""
        return vmamap.ascending(self._root)

    def __reversed__(self) -> Iterator[Vma]:
        return vmamap.descending(self._root)

    def __len__(self) -> int:
        return self._root.size if self._root else 0

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"<AddressSpace {self.start:#x}-{self.end:#x} page={self.page_size:#x} regions={len(self)}>"

    def maps(self) -> str:
        """The regions as text in the shape of /proc/self/maps."""
        return maps.text(self)

    def check(self) -> None:
        """Raise EmulatorBug if an invariant does not hold: order, bounds, alignment, no mergeable neighbours, tree sums."""
        try:
            vmamap.check(self._root)
            before: Vma | None = None
            for vma in self:
                assert self.start <= vma.start and vma.end <= self.end, f"{vma} outside the space"
                assert not (vma.start | vma.end) & self._mask, f"{vma} not in whole pages"
                assert vma.base <= vma.start and vma.end <= vma.base + vma.length, f"{vma} outside its mapping"
                assert not self.merging or before is None or join(before, vma) is None, f"{before} and {vma} should be one"
                before = vma
        except AssertionError as error:
            raise EmulatorBug(f"address space: {error}") from error

    # -- changing -----------------------------------------------------------------------------------------------------

    @_changing
    def map_any(
        self,
        length: int,
        prot: int,
        flags: int = 0,
        *,
        hint: int = 0,
        backing: Any = None,
        limit: tuple[int, int] | None = None,
        align: int | None = None,
        top_down: bool = False,
    ) -> int:
        """Map `length` bytes at a free `hint`, else in the lowest (top_down: highest) gap that fits; the address.

        Inside `limit` = (start, end) when given, at a multiple of `align`. Raises NoSpace when nothing fits.
        """
        prot, flags = word(prot, "prot"), word(flags, "flags")
        need = self._length(length)
        addr = self._find(need, hint, limit, align, top_down)
        if addr is None:
            raise NoSpace(f"no free range of {need:#x} bytes")
        self._map(addr, addr + need, prot, flags, backing)
        return addr

    @_changing
    def map_at(self, addr: int, length: int, prot: int, flags: int = 0, *, backing: Any = None, replace: bool = True) -> int:
        """Map [addr, addr + length). What lies there is replaced, or with replace=False raises Occupied (EEXIST)."""
        addr, end = self._pages(addr, length)
        prot, flags = word(prot, "prot"), word(flags, "flags")
        if not replace:
            for vma in vmamap.overlapping(self._root, addr, end):
                raise Occupied(f"{vma!r} is in [{addr:#x}, {end:#x})")
        self._map(addr, end, prot, flags, backing)
        return addr

    @_changing
    def unmap(self, addr: int, length: int) -> None:
        """Remove every region, and part of a region, in [addr, addr + length). Holes are fine."""
        addr, end = self._pages(addr, length)
        self._unmap(addr, end)

    @_changing
    def clear(self) -> None:
        """Unmap everything, through the update callbacks."""
        self._unmap(self.start, self.end)

    @_changing
    def protect(self, addr: int, length: int, prot: int | ProtFilter, *, holes: Holes = "error") -> None:
        """Change the rights in [addr, addr + length) to `prot`, or to what prot(old) says: None leaves a region alone.

        holes: "error" raises Hole and changes nothing; "skip" changes what is there; "stop" changes what lies before the
        first hole and then raises Hole (mm/mprotect.c:do_mprotect_pkey). Unchanged rights emit no update.
        """
        addr, end = self._pages(addr, length)
        if holes not in ("error", "skip", "stop"):
            raise BadArgument("holes", f"{holes!r} is not 'error', 'skip' or 'stop'")
        fixed = None if callable(prot) else word(prot, "prot")
        touched = vmamap.overlapping(self._root, addr - 1, end + 1)
        hole = None if holes == "skip" else first_hole(touched, addr, end)
        if hole is not None:
            if holes == "error" or hole == addr:
                raise Hole(hole, f"nothing is mapped at {hole:#x}")
            end = hole
            touched = [vma for vma in touched if vma.start < end]
        plan: list[Vma] = []
        updates: list[Update] = []
        for vma in touched:
            if vma.end <= addr or vma.start >= end:
                plan.append(vma)
                continue
            new = fixed if fixed is not None else filtered(prot, vma.prot)
            if new is None or new == vma.prot:
                plan.append(vma)
                continue
            left, middle, right = clip(vma, addr, end)
            changed = Vma(middle.start, middle.end, new, middle.flags, middle.backing, middle.base, middle.length)
            updates.append(Update(Kind.PROTECT, middle.start, middle.end, middle, changed, self.context))
            plan += [piece for piece in (left, changed, right) if piece is not None]
        if updates:
            root = self._edited(self._root, plan[0].start, plan[-1].start + 1, merge(plan))
            self._commit(root, updates)
        if hole is not None:
            raise Hole(hole, f"nothing is mapped at {hole:#x}; the regions below it were changed")

    @_changing
    def move(self, addr: int, length: int, to: int) -> None:
        """Move the regions of [addr, addr + length), holes included, to [to, to + length); what lies there is replaced.

        Regions at the edges are cut. A mapping's base moves along; of the mapping, what would then lie below 0 or above
        2**64 no longer counts. The ranges must not overlap. With no region in the source nothing happens, also not to the
        target; with one, all of the target goes, as with Linux's MREMAP_FIXED.
        """
        addr, end = self._pages(addr, length)
        to, stop = self._pages(to, length, "to")
        if addr < stop and to < end:
            raise BadArgument("to", f"[{to:#x}, {stop:#x}) overlaps the source [{addr:#x}, {end:#x})")
        kept, sources, lo, hi = cut_out(self._root, addr, end)
        if not sources:
            return
        shift = to - addr
        moved = [shifted(vma, shift) for vma in sources]
        root = self._edited(self._root, lo, hi, kept)
        lo, hi, regions, gone = place(root, to, stop, merge(moved))
        root = self._edited(root, lo, hi, regions)
        updates = [Update(Kind.UNMAP, vma.start, vma.end, vma, None, self.context) for vma in gone]
        for old, new in zip(sources, moved, strict=True):
            updates.append(Update(Kind.MOVE, old.start, old.end, old, new, self.context))
        self._commit(root, updates, gone)

    def snapshot(self) -> Snapshot:
        """The regions as they are now. Costs nothing."""
        return Snapshot(self, self._root)

    def is_at(self, snap: Snapshot) -> bool:
        """Has nothing changed since `snap` was taken or restored? False may be wrong."""
        return snap._root is self._root

    @_changing
    def restore(self, snap: Snapshot, same: Callable[[Vma, Vma], bool] = alike) -> None:
        """Make the regions what they were when `snap` was taken, by updates for what differs: first unmaps, then the rest.

        Costs what changed since. A region that was replaced by one that is the `same` is not touched, but for its rights. By default
        those are with equal flags and backings; objects that want their regions kept across a restore must define __eq__.
        """
        if not isinstance(snap, Snapshot) or snap._space is not self:
            raise BadArgument("snap", "is not a snapshot of this space")
        ways = snap._ways
        if ways is None:
            ways = snap._ways = Ways(snap._root)
        if self._ways() is not ways:
            self._ways = ref(ways)
        now = self._root
        way = ways.find(now, same, self.context)
        if way is not None and way.accepted and (again := way.at_once(self._subscribers)) is not None:
            self._set(snap._root)
            finish(iter(again))
            return
        if way is None:
            way = Way(same, self.context, *way_back(*vmamap.difference(now, snap._root), same, self.context))
            ways.keep(now, way)
        self._commit(snap._root, way.updates, way.gone)
        way.accepted = True

    def rewrite(self, edits: list[tuple[int, int, list[Vma]]], updates: list[Update]) -> None:
        """For owners who cut and merge by rules of their own (mm.linux): one change made of edits (lo, hi, regions), in order.

        By each, what starts in [lo, hi) gives way to `regions`, which are ascending and fit there. `updates` say what that means
        for subscribers. Only `check()` looks at either.
        """
        # As `_changing` does, without its call: most changes of a program's memory come here.
        if self._busy:
            self._enter()
        self._busy = True
        try:
            root = self._root
            for lo, hi, regions in edits:
                root = self._edited(root, lo, hi, regions)
            gone: Sequence[Vma] = ()
            if len(updates) != 1 or updates[0].new is None:
                gone = [u.old for u in updates if u.new is None and u.old is not None]
            self._commit(root, updates, gone)
        finally:
            self._busy = False

    def around(self, addr: int, end: int) -> list[Vma]:
        """The regions that overlap or touch [addr, end), whole, ascending."""
        return vmamap.overlapping(self._root, addr - 1, end + 1)

    def subscribe(
        self, callback: Callback, *, committed: Callable[[], None] | None = None, prepare: Prepare | None = None
    ) -> Callable[[], None]:
        """Have `callback(update)` called for every update, before the change is visible; the function that ends it.

        Raising refuses the operation (see the module). `committed()` is called after an operation that emitted updates
        has been accepted by everybody and is visible; it cannot refuse. `prepare(updates)`: see `delivery.Subscriber`; it is
        asked when `restore` takes a way for the second time, and only what it gives is called from then on.
        """
        if not callable(callback):
            raise BadArgument("callback", "is not callable")
        if committed is not None and not callable(committed):
            raise BadArgument("committed", "is not callable")
        self._enter()
        mine = Subscriber(callback, committed, prepare)
        self._serve((*self._subscribers, mine))

        def unsubscribe() -> None:
            self._enter()
            self._serve(tuple(s for s in self._subscribers if s is not mine))

        return unsubscribe

    def listeners(self, only: Subscribers | None = None) -> Subscribers:
        """Who is subscribed. `only`: from now on these."""
        if only is not None:
            self._enter()
            self._serve(only)
        return self._subscribers

    def _serve(self, subscribers: Subscribers) -> None:
        self._subscribers = subscribers
        self._committed = tuple((s.committed, ()) for s in subscribers if s.committed is not None)

    # -- inside -------------------------------------------------------------------------------------------------------

    def _map(self, addr: int, end: int, prot: int, flags: int, backing: Any) -> None:
        new = Vma(addr, end, prot, flags, backing, addr, end - addr)
        lo, hi, regions, gone = place(self._root, addr, end, [new])
        root = self._edited(self._root, lo, hi, regions)
        updates: list[Update] = []
        if self._subscribers:
            updates += [Update(Kind.UNMAP, vma.start, vma.end, vma, None, self.context) for vma in gone]
            updates.append(Update(Kind.MAP, addr, end, None, new, self.context))
        self._commit(root, updates, gone)

    def _edited(self, root: vmamap.Root, lo: int, hi: int, regions: list[Vma]) -> vmamap.Root:
        """`vmamap.replace`, remembered while there is somebody who goes back."""
        ways = self._ways()
        return vmamap.replace(root, lo, hi, regions) if ways is None else ways.replace(root, lo, hi, regions)

    def _unmap(self, addr: int, end: int) -> None:
        kept, gone, lo, hi = cut_out(self._root, addr, end)
        if gone:
            updates: list[Update] = []
            if self._subscribers:
                updates += [Update(Kind.UNMAP, vma.start, vma.end, vma, None, self.context) for vma in gone]
            self._commit(self._edited(self._root, lo, hi, kept), updates, gone)

    def _commit(self, root: vmamap.Root, updates: list[Update], gone: Sequence[Vma] = ()) -> None:
        # What is to be said after the commit is made ready before: when memory runs out, then before anybody was told.
        after: Sequence[Call] = self._committed if updates else ()
        if gone:
            removed = [(call, (vma.backing,)) for vma in gone if (call := behaviour(vma.backing).removed) is not None]
            after = (*removed, *after)
        calls = iter(after)
        if len(updates) == 1:
            deliver_one(self._subscribers, updates[0])
        elif updates:
            deliver(self._subscribers, updates)
        self._set(root)
        if len(after) == 1:
            function, arguments = after[0]
            function(*arguments)
        else:
            finish(calls)

    def _set(self, root: vmamap.Root) -> None:
        self._root, self._last = root, None
        self._busy = False
        if self.checking:
            self.check()

    def _enter(self) -> None:
        if self._busy:
            raise ReentryError("the address space is being changed: not from a callback, a filter or a backing of this change")
