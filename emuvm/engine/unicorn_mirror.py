"""The engine's memory regions as we know them, and every call that changes them together with its undo.

Owns: the record of regions, of memory the engine lacks, and the journal that takes an interrupted change back. Must not
know the address space that says which regions there should be.

Execute permission is never taken away with mem_protect: inside a hook that ends the user's emu_start with success and a
stuck pc. Unmapping and mapping again gives the fetch fault that is due, and drops the translated code on the way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from emuvm.abi.tuples import NamedTuple
from emuvm.engine.intervals import Intervals
from emuvm.engine.portable import PortablePages
from emuvm.errors import EngineError

if TYPE_CHECKING:
    from unicorn.unicorn_py3.unicorn import Uc, UcError
else:
    from unicorn import UcError

MERGE = 64 << 20
"""Regions are joined up to this size, in bytes: joining costs a flush of every page in them."""
_COPY = 1 << 20
_EXEC = 4


class Region(NamedTuple):
    """A region of the engine: its rights and the host address of its first byte; 0: memory that the engine itself owns."""

    rights: int
    pointer: int


def _advance(region: Region, offset: int) -> Region:
    return Region(region.rights, region.pointer + offset) if region.pointer else region


def _same(value: None, offset: int) -> None:
    return None


class Mirror:
    """Regions of `uc`. Use inside `with mirror:`, which takes all calls back when something raises (UcError as EngineError)."""

    def __init__(self, uc: Uc, pages: PortablePages) -> None:
        self.uc = uc
        self.pages = pages
        self.regions: Intervals[Region] = Intervals(_advance)
        self.absent: Intervals[None] = Intervals(_same)
        """What the space has and the engine has not: PROT_NONE, or to be mapped when it is touched."""
        self._undo: list[Callable[[], object]] = []
        self._touched: list[tuple[int, int]] = []

    def __enter__(self) -> None:
        self._undo.clear()
        self._touched.clear()

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is None:
            self._undo.clear()
            return
        touched = self._touched[:]
        self._roll_back()
        # What was cut for nothing becomes one again; only tidiness, so a second refusal is no matter.
        try:
            if touched:
                self._join(min(low for low, _ in touched), max(high for _, high in touched))
        except UcError:
            self._roll_back()
        self._undo.clear()
        if isinstance(error, UcError):
            raise EngineError(f"the engine refused: {error}") from error

    def _roll_back(self) -> None:
        steps, self._undo = self._undo, []
        for step in reversed(steps):
            step()
        self._undo.clear()

    def fill(self, start: int, end: int, rights: int, *, join: bool = True) -> None:
        """Map [start, end), where the engine has nothing. `join`: as one region with equal neighbours on the same host memory."""
        for low, high, pointer in list(self.pages.spans(start, end)):
            self._map(low, high, Region(rights, pointer))
        if join:
            self._join(start, end)

    def clear(self, start: int, end: int) -> None:
        """Take [start, end) out of the engine."""
        for low, high, region in self.regions.inside(start, end):
            self._unmap(low, high, region)

    def protect(self, start: int, end: int, rights: int) -> None:
        """Change the rights (not to none) of what the engine has in [start, end)."""
        changed = False
        for low, high, region in self.regions.inside(start, end):
            if region.rights == rights:
                continue
            changed = True
            if region.rights & _EXEC and not rights & _EXEC:
                self._unmap(low, high, region)
                self._map(low, high, Region(rights, region.pointer))
            else:
                self._protect(low, high, rights)
        if changed:
            self._join(start, end)

    def note_absent(self, start: int, end: int) -> None:
        """The engine lacks [start, end), as far as it has no regions there."""
        before = self.absent.cut(start, end)
        for low, high in self.regions.gaps(start, end):
            self.absent.put(low, high, None)
        self._undo.append(lambda: self._restore_absent(start, end, before))

    def forget_absent(self, start: int, end: int) -> None:
        """[start, end) is no longer in the space."""
        before = self.absent.cut(start, end)
        self._undo.append(lambda: self._restore_absent(start, end, before))

    def take_over(self, start: int, end: int, rights: tuple[int, ...]) -> None:
        """Turn regions whose memory is the engine's own into ours, whole: contents are copied, zero pages are not.

        They get what `rights` makes of theirs, like all our regions.
        """
        for low, high, region in self.regions.whole(start, end):
            if region.pointer:
                continue
            for place in range(low, high, _COPY):
                data = bytes(self.uc.mem_read(place, min(_COPY, high - place)))
                if data.count(0) != len(data):
                    self.pages.write(place, data)
            self._take(low, high, rights[region.rights])

    def drop_code(self, start: int, end: int) -> None:
        """Drop code translated from these pages. Only executable ones can have any: losing the right drops it as well."""
        for low, high, region in self.regions.inside(start, end):
            if region.rights & _EXEC:
                self.uc.ctl_remove_cache(low, high)

    # -- single calls -------------------------------------------------------------------------------------------------

    def _take(self, low: int, high: int, rights: int) -> None:
        self.uc.mem_unmap(low, high - low)
        self.regions.cut(low, high)
        self._undo.append(lambda: self.fill(low, high, rights, join=False))
        if rights:
            self.fill(low, high, rights, join=False)
        else:
            self.note_absent(low, high)

    def _join(self, start: int, end: int) -> None:
        """Make one region of equal neighbours in and around [start, end)."""
        around = self.regions.whole(max(start - 1, 0), end + 1)
        run: list[tuple[int, int, Region]] = []
        for item in around:
            if run and self._joins(run[-1], item) and item[1] - run[0][0] <= MERGE:
                run.append(item)
                continue
            self._make_one(run)
            run = [item]
        self._make_one(run)

    @staticmethod
    def _joins(left: tuple[int, int, Region], right: tuple[int, int, Region]) -> bool:
        one, two = left[2], right[2]
        continues = one.pointer and two.pointer == one.pointer + left[1] - left[0]
        return bool(left[1] == right[0] and one.rights == two.rights and continues)

    def _make_one(self, run: list[tuple[int, int, Region]]) -> None:
        if len(run) < 2:
            return
        self.clear(run[0][0], run[-1][1])
        self._map(run[0][0], run[-1][1], run[0][2])

    def _map(self, start: int, end: int, region: Region) -> None:
        self.uc.mem_map_ptr(start, end - start, region.rights, region.pointer)
        self.regions.put(start, end, region)
        absent = self.absent.cut(start, end)
        self._touched.append((start, end))
        self._undo.append(lambda: self._unmap_again(start, end, absent))

    def _unmap_again(self, start: int, end: int, absent: list[tuple[int, int, None]]) -> None:
        self.uc.mem_unmap(start, end - start)
        self.regions.cut(start, end)
        for low, high, _ in absent:
            self.absent.put(low, high, None)

    def _unmap(self, start: int, end: int, region: Region) -> None:
        self.uc.mem_unmap(start, end - start)
        self.regions.cut(start, end)
        self._touched.append((start, end))
        self._undo.append(lambda: self._map(start, end, region))

    def _protect(self, start: int, end: int, rights: int) -> None:
        parts = self.regions.inside(start, end)
        self.uc.mem_protect(start, end - start, rights)
        for low, high, region in parts:
            self.regions.put(low, high, Region(rights, region.pointer))

        def undo() -> None:
            for low, high, region in parts:
                self._protect(low, high, region.rights)

        self._touched.append((start, end))
        self._undo.append(undo)

    def _restore_absent(self, start: int, end: int, before: list[tuple[int, int, None]]) -> None:
        self.absent.cut(start, end)
        for low, high, _ in before:
            self.absent.put(low, high, None)
