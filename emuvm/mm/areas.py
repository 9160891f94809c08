"""Cutting, joining and changing areas as Linux does: the steps that the memory calls are made of.

Owns: which areas exist after a step, the limit on their number, and anon_vma. Must not know arguments, limits on sizes, errors of
single calls, contents of pages. Each step is one change of the space: refused by a subscriber, it has not happened.

    insert    map a range, replacing what lies there, and merge with both sides      modify    attributes of a range, area by area
    remove    unmap a range                                                          relocate  move (part of) an area, or copy it
"""

from __future__ import annotations

from collections.abc import Callable

from emuvm.abi.errno import Errno
from emuvm.abi.tuples import make
from emuvm.errors import GuestError
from emuvm.mm import rules
from emuvm.mm.cut import clip
from emuvm.mm.rules import Kernel
from emuvm.mm.space import AddressSpace
from emuvm.mm.types import Kind, Update, Vma, VmFlag

_APART = False, False
Change = Callable[[Vma], "Vma | None"]
"""From the part of an area that lies in the range to what it becomes (same range); None: it stays as it is. GuestError stops."""


class Walk:
    """How a `modify` ended: `place` is where it stopped, `hole` whether it met one, `error` what a change raised."""

    __slots__ = ("error", "hole", "place")

    def __init__(self, place: int) -> None:
        self.place = place
        self.hole = False
        self.error: GuestError | None = None


class Areas:
    """A space whose regions are cut and merged by Linux's rules. `max_count` is asked at every step (vm.max_map_count)."""

    def __init__(self, space: AddressSpace, kernel: Kernel, max_count: Callable[[], int]) -> None:
        self.space = space
        self.kernel = kernel
        self._max_count = max_count
        self._last_anon = 0
        space.merging = False

    # -- mapping and unmapping ------------------------------------------------------------------------------------------

    def insert(self, new: Vma, *, below: bool = True, above: bool = True) -> None:
        """Map `new`; what lies there goes. Merges with the neighbours that are not excluded (brk takes at most the one below)."""
        space, start, end = self.space, new.start, new.end
        left: Vma | None = None
        right: Vma | None = None
        lo, hi, cut_left, cut_right = start, end, False, False
        updates: list[Update] = []
        for vma in space.around(start, end):
            if vma.end <= start:
                left = vma
            elif vma.start >= end:
                right = vma
            else:
                rest, middle, tail = clip(vma, start, end)
                updates.append(Update(Kind.UNMAP, middle.start, middle.end, middle, None, space.context))
                if rest is not None:
                    left, cut_left = rest, True
                if tail is not None:
                    right, cut_right = tail, True
        updates.append(Update(Kind.MAP, start, end, None, new, space.context))
        one, took_left, took_right = rules.merge_new(left if below else None, new, right if above else None, self.kernel)
        regions = [one]
        if left is not None and (took_left or cut_left):
            lo = left.start
            if not took_left:
                regions.insert(0, left)
        if took_right:
            hi = end + 1
        elif cut_right and right is not None:
            regions.append(right)
        space.rewrite([(lo, hi, regions)], updates)

    def may_remove(self, start: int, end: int) -> None:
        """The tests of vms_gather_munmap_vmas: ENOMEM when a hole would be cut at the limit, EPERM for sealed areas, EINVAL within huge
        pages. When a later area is in the way the first one stays cut at `start`, as in Linux.
        """
        found = self.space.regions(start, end - start)
        if not found:
            return
        first = found[0]
        if first.start < start:
            if end < first.end and len(self.space) >= self._max_count():
                raise GuestError(Errno.ENOMEM, "max_map_count")
            if first.flags & VmFlag.SEALED:
                raise GuestError(Errno.EPERM, "sealed")
            rules.may_split(first, start)
        try:
            for vma in found:
                if vma.flags & VmFlag.SEALED:
                    raise GuestError(Errno.EPERM, "sealed")
                if vma.end > end:
                    rules.may_split(vma, end)
        except GuestError:
            self.cut(start)
            raise

    def remove(self, start: int, end: int) -> None:
        """Unmap; holes are fine. The caller has asked may_remove."""
        self.space.unmap(start, end - start)

    def cut(self, address: int) -> None:
        """Make two areas of the one around `address`."""
        vma = self.space.query(address)
        if vma is not None and vma.start < address:
            left, right, _ = clip(vma, address, vma.end)
            assert left is not None
            self.space.rewrite([(vma.start, vma.start + 1, [left, right])], [])

    # -- changing attributes ----------------------------------------------------------------------------------------------

    def modify(self, start: int, end: int, change: Change, *, over_holes: bool = False) -> Walk:
        """Let `change` decide about every part of [start, end), lowest first; what was done before it stops stays done.

        Without `over_holes` a hole stops it too. Parts merge with their neighbours as mm/vma.c:vma_modify does.
        """
        space = self.space
        touched = space.around(start, end)
        walk = Walk(start)
        room = self._max_count() - len(space)
        if room >= 2:
            for place, vma in enumerate(touched):
                if vma.start <= start and end <= vma.end and not vma.flags & VmFlag.HUGETLB:
                    self._modify_inside(touched, place, start, end, change, walk)
                    return walk
        out: list[Vma] = []
        updates: list[Update] = []
        index, changed = 0, False
        while index < len(touched):
            vma = touched[index]
            index += 1
            if vma.end <= start or vma.start >= end:
                out.append(vma)
                continue
            if vma.start > walk.place:
                walk.hole = True
                if not over_holes:
                    out += touched[index - 1 :]
                    break
            left, piece, right = clip(vma, max(vma.start, start), min(vma.end, end))
            try:
                new = change(piece)
            except GuestError as error:
                walk.error = error
                out += touched[index - 1 :]
                break
            walk.place = piece.end
            if new is None:
                out.append(vma)
                continue
            prev = out[-1] if left is None and out and out[-1].end == new.start else None
            after = touched[index] if right is None and index < len(touched) and touched[index].start == new.end else None
            joins = rules.merge_existing(prev, new, after, whole=left is None and right is None, kernel=self.kernel)
            if joins == (False, False) and not (left is None and right is None):
                cuts, walk.error = _cuts(vma, piece, room)
                room -= cuts
                if walk.error is not None:
                    walk.place = piece.start
                    # The first of two cuts may already have been made.
                    out += [left, clip(vma, piece.start, vma.end)[1]] if cuts and left is not None else [vma]
                    changed |= bool(cuts)
                    out += touched[index:]
                    break
            changed = True
            updates.append(Update(Kind.PROTECT, piece.start, piece.end, piece, new, space.context))
            if _put(out, left, new, right, after, joins):
                walk.place = max(walk.place, min(out[-1].end, end))
                index += 1
        if walk.error is None and walk.place < end:
            walk.hole = True
        if changed:
            self._exchange(touched, out, updates)
        return walk

    def _modify_inside(self, touched: list[Vma], place: int, start: int, end: int, change: Change, walk: Walk) -> None:
        """`modify` where one area, touched[place], holds the range and may be cut twice: what most calls are, without the loop."""
        pieces = clip(touched[place], start, end)
        try:
            new = change(pieces[1])
        except GuestError as error:
            walk.error = error
            return
        walk.place = end
        if new is not None:
            self._exchange_inside(touched, place, pieces, new)

    def set_rights(self, touched: list[Vma], place: int, start: int, end: int, prot: int, flags: int) -> None:
        """`modify` of a range inside touched[place], one of the areas around it, where there is room for two more."""
        pieces = clip(touched[place], start, end)
        first, last, _, _, backing, base, size = pieces[1]
        self._exchange_inside(touched, place, pieces, make(Vma, (first, last, prot, flags, backing, base, size)))

    def _exchange_inside(self, touched: list[Vma], place: int, pieces: tuple[Vma | None, Vma, Vma | None], new: Vma) -> None:
        """`new` takes the place of the middle of the `pieces` of touched[place]."""
        vma, (left, piece, right), (start, end, *_) = touched[place], pieces, new
        prev = after = None
        lo, hi = vma.start, vma.start + 1
        if left is None and place and touched[place - 1].end == start:
            prev = touched[place - 1]
        if right is None and place + 1 < len(touched) and touched[place + 1].start == end:
            after = touched[place + 1]
        out: list[Vma]
        joins = _APART
        if prev is not None or after is not None:
            joins = rules.merge_existing(prev, new, after, whole=left is None and right is None, kernel=self.kernel)
        if joins == _APART:
            out = [vma for vma in (left, new, right) if vma is not None]
        else:
            out = []
            if joins[0] and prev is not None:
                lo = prev.start
                out.append(prev)
            if joins[1] and after is not None:
                hi = after.start + 1
            _put(out, left, new, right, after, joins)
        space = self.space
        space.rewrite([(lo, hi, out)], [make(Update, (Kind.PROTECT, start, end, piece, new, space.context))])

    def _exchange(self, before: list[Vma], after: list[Vma], updates: list[Update]) -> None:
        """Put `after` in the place of `before`; what is the same at both ends is not touched. One of `before` at least is gone."""
        first = 0
        while before[first] is after[first]:
            first += 1
        last = len(before)
        skip = len(after) - last
        while before[last - 1] is after[last - 1 + skip]:
            last -= 1
        self.space.rewrite([(before[first].start, before[last - 1].start + 1, after[first : last + skip])], updates)

    # -- moving -----------------------------------------------------------------------------------------------------------

    def relocate(self, old: Vma, new: Vma, *, keep: bool) -> None:
        """Move the contents of `old`, a whole area or a part of one, to the beginning of `new`, which may be longer; the range of
        `new` is free. `keep`: `old` stays, as a mapping with fresh contents (MREMAP_DONTUNMAP).

        `new` merges with its neighbours first, then the source goes (mm/mremap.c:move_vma).
        """
        space, context = self.space, self.space.context
        length = old.end - old.start
        target = clip(new, new.start, new.start + length)[1]
        updates = [Update(Kind.MOVE, old.start, old.end, old, target, context)]
        if new.end > target.end:
            tail = clip(new, target.end, new.end)[1]
            updates.append(Update(Kind.MAP, tail.start, tail.end, None, tail, context))
        left = right = None
        for vma in space.around(new.start, new.end):
            if vma.end == new.start:
                left = vma
            else:
                right = vma
        one, took_left, took_right = rules.merge_new(left, new, right, self.kernel)
        lo = left.start if took_left and left is not None else new.start
        source = space.query(old.start)
        assert source is not None
        before = source
        if (took_left and source is left) or (took_right and source is right):
            source = one  # it was never written to, and took its own copy in
        rests = _without(source, old.start, old.end)
        if keep:
            source = self._left_behind(source, old)
            rests = [source]
            fresh = clip(source, old.start, old.end)[1]
            updates.append(Update(Kind.MAP, fresh.start, fresh.end, None, fresh, context))
            updates += self._unlocked(before, old, source)
        space.rewrite([(lo, new.end + took_right, [one]), (source.start, source.start + 1, rests)], updates)

    @staticmethod
    def _left_behind(vma: Vma, old: Vma) -> Vma:
        """The source of MREMAP_DONTUNMAP: unlocked as a whole; without an anon_vma if all of it was moved (dontunmap_complete)."""
        vma = rules.with_flags(vma, vma.prot, vma.flags & ~rules.LOCKS)
        return rules.with_anon(vma, 0) if (vma.start, vma.end) == (old.start, old.end) else vma

    def _unlocked(self, before: Vma, old: Vma, source: Vma) -> list[Update]:
        """For the counters: parts of the source area outside the moved range that lost VM_LOCKED."""
        if before.flags == source.flags:
            return []
        parts = [(before.start, old.start), (old.end, before.end)]
        return [
            Update(Kind.PROTECT, lo, hi, clip(before, lo, hi)[1], clip(source, lo, hi)[1], self.space.context)
            for lo, hi in parts
            if lo < hi
        ]

    # -- anon_vma ---------------------------------------------------------------------------------------------------------

    def written(self, vma: Vma, *, any_kind: bool = False) -> None:
        """A first write to a private area: it shares a neighbour's anon_vma where it could merge after a change of rights, else it
        gets its own (mm/vma.c:find_mergeable_anon_vma: the area above is asked first). `any_kind`: for shared areas too.
        """
        if (vma.flags & VmFlag.SHARED and not any_kind) or rules.anon_of(vma):
            return
        near = self.space.around(vma.start, vma.end)
        place = next(n for n, other in enumerate(near) if other.start == vma.start)
        anon = 0
        if place + 1 < len(near):
            anon = rules.reusable(near[place + 1], vma, near[place + 1])
        if not anon and place:
            anon = rules.reusable(near[place - 1], near[place - 1], vma)
        if not anon:
            self._last_anon += 1
            anon = self._last_anon
        self.space.rewrite([(vma.start, vma.start + 1, [rules.with_anon(vma, anon)])], [])

    def inherited(self) -> None:
        """The space is a child's copy from now on: written areas get an anon_vma each, unlocked are all (kernel/fork.c:dup_mmap)."""
        for vma in tuple(self.space):
            new, anon = vma, rules.anon_of(vma)
            if vma.flags & rules.LOCKS:
                new = rules.with_flags(vma, vma.prot, vma.flags & ~rules.LOCKS)
            if anon:
                self._last_anon += 1
                new = rules.with_anon(new, 0 if vma.flags & VmFlag.WIPEONFORK else -self._last_anon)
            if new is not vma:
                update = Update(Kind.PROTECT, vma.start, vma.end, vma, new, self.space.context)
                self.space.rewrite([(vma.start, vma.start + 1, [new])], [update] if new.flags != vma.flags else [])

    def mark(self, vma: Vma, flag: int) -> Vma:
        """Set a flag on an area where it is: no cut, no merge."""
        if vma.flags & flag:
            return vma
        new = rules.with_flags(vma, vma.prot, vma.flags | flag)
        update = Update(Kind.PROTECT, vma.start, vma.end, vma, new, self.space.context)
        self.space.rewrite([(vma.start, vma.start + 1, [new])], [update])
        return new

    def grow_down(self, vma: Vma, start: int) -> None:
        """Let an area begin lower (mm/vma.c:expand_downwards), which gives it an anon_vma. No merge."""
        self.written(vma)
        vma = self.space.query(vma.start) or vma
        backing = rules.with_anon(vma, rules.anon_of(vma)).backing
        if backing is not None:
            backing = backing._replace(offset=backing.offset - (vma.start - start))
        base = min(start, vma.base)
        new = Vma(start, vma.end, vma.prot, vma.flags, backing, base, vma.base + vma.length - base)
        added = clip(new, start, vma.start)[1]
        self.space.rewrite([(start, vma.start + 1, [new])], [Update(Kind.MAP, start, vma.start, None, added, self.space.context)])


def _put(out: list[Vma], left: Vma | None, new: Vma, right: Vma | None, after: Vma | None, joins: tuple[bool, bool]) -> bool:
    """Append what becomes of one area to `out`: the rest on its left, the changed part, the rest on its right; was `after` taken in?"""
    to_left, to_right = joins
    anon = rules.anon_of(new) if to_left or to_right else 0
    if to_left:
        prev = out.pop()
        anon = rules.anon_of(prev) or (rules.anon_of(after) if to_right and after is not None else 0) or anon
        one = rules.fuse(prev, new, anon)
        out.append(rules.fuse(one, after, anon) if to_right and after is not None else one)
    else:
        if left is not None:
            out.append(left)
        out.append(rules.fuse(new, after, rules.anon_of(after) or anon) if to_right and after is not None else new)
    if right is not None:
        out.append(right)
    return to_right


def _without(vma: Vma, start: int, end: int) -> list[Vma]:
    """What is left of an area without [start, end), which lies in it."""
    left, _, right = clip(vma, start, end)
    return [rest for rest in (left, right) if rest is not None]


def _cuts(vma: Vma, piece: Vma, room: int) -> tuple[int, GuestError | None]:
    """The cuts that make a piece an area of its own, as far as they can be made, and what is against the next one."""
    cuts = 0
    for address, needed in ((piece.start, piece.start > vma.start), (piece.end, piece.end < vma.end)):
        if not needed:
            continue
        if cuts >= room:
            return cuts, GuestError(Errno.ENOMEM, "max_map_count")
        try:
            rules.may_split(vma, address)
        except GuestError as error:
            return cuts, error
        cuts += 1
    return cuts, None
