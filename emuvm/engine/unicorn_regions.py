"""The classical mirror: the address space as Unicorn memory regions (mem_map_ptr, mem_protect, mem_unmap).

Owns: what the engine gets of the space and when, page contents, faults, stale code. Must not know the kernel side, nor who
runs the engine: it may be somebody else (see `emuvm.attach`).

    space     [ r-x ][ rw- ][ rw- file ][ --- ][ rw-  64 GiB               ]
    engine    [ r-x ][ rw-      ][ rw- ]            [rw-]    [rw-]            what is equal and contiguous on the host is
                                                                             one region; --- and untouched GiBs are none
Three things differ from a CPU, because no hook is early enough. A store across a page end into a page that is missing or
forbidden has stored the part before it when it faults: Unicorn does it byte by byte. An x86-64 instruction that reads and
writes memory that may be read only has made the page present when it faults. Unicorn drops bits 52-63 of x86-64 addresses:
where that gives a mapped one, it is accessed.

With `track_writes` a private writable area has no right to write until it is written to: that ends the run, the first write is
noted, the area gets the right, and the instruction is executed again.

An update changes engine regions only; page contents change when the operation is committed. Everything the engine lacks
although the space has it is noted as absent and is mapped when touched, so a refusal after the commit loses nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from unicorn import UC_HOOK_MEM_INVALID, UC_QUERY_PAGE_SIZE
from unicorn.unicorn_const import UC_MEM_FETCH_PROT, UC_MEM_FETCH_UNMAPPED, UC_MEM_WRITE_PROT, UC_MEM_WRITE_UNMAPPED

from emuvm.abi.tuples import NamedTuple
from emuvm.engine.base import Access, FaultStop, Residency, host_file, is_shared, no_peek, no_poke
from emuvm.engine.firstwrites import FirstWrites
from emuvm.engine.intervals import Intervals
from emuvm.engine.portable import MADV_FREE, MADV_PAGEOUT, PortablePages, Table
from emuvm.engine.regions_files import grown, source_of
from emuvm.engine.unicorn_mirror import Mirror, Region
from emuvm.errors import EngineError
from emuvm.mm.delivery import undoes
from emuvm.mm.space import AddressSpace
from emuvm.mm.types import RIGHTS, Kind, Update, Vma

if TYPE_CHECKING:
    from collections.abc import Callable

    from unicorn.unicorn_py3.unicorn import Uc

EAGER = 16 << 20
"""Areas up to this many bytes are in the engine at once; larger ones where they are touched."""
CHUNK = 16 << 20
"""What a touch maps, aligned, in bytes. The host gives real memory page by page all the same."""

T = TypeVar("T")
_OWNED = Residency.PRESENT | Residency.PRIVATE | Residency.MAPPED
_WRITE = 2
_KERNEL_HALF, _LOST = 0x1F, 0xFFF << 52
"""x86-64: the hook hears 52 bits of an address; these come with the canonical ones of the upper half."""
_NEEDED = {Access.READ: 1, Access.WRITE: 2, Access.EXEC: 4}
_WRITES = (UC_MEM_WRITE_UNMAPPED, UC_MEM_WRITE_PROT)
_FETCHES = (UC_MEM_FETCH_UNMAPPED, UC_MEM_FETCH_PROT)


class _Pending(NamedTuple):
    """An accepted update, and the file pages it will install."""

    update: Update
    table: Table | None


class RegionsMemory:
    """Implements engine.base.Memory for a Uc. Subscribes to `space`; `rights` maps the three PROT bits to effective ones."""

    def __init__(
        self, uc: Uc, space: AddressSpace, rights: tuple[int, ...], pages: PortablePages | None = None, *, track_writes: bool = False
    ) -> None:
        """`track_writes`: for `take_written`, which tells nothing otherwise. The driver must run again when `again` says so."""
        page = int(uc.query(UC_QUERY_PAGE_SIZE))
        if space.page_size % page:
            raise EngineError(f"the engine's pages have {page} bytes, the space's {space.page_size}: not a multiple")
        self.uc, self.space, self.rights = uc, space, rights
        self.pages = pages if pages is not None else PortablePages(space.page_size)
        self.mirror = Mirror(uc, self.pages)
        self._pinned: Intervals[str] = Intervals(lambda why, offset: why)
        self._pending: list[_Pending] = []
        self._files = self._adopting = self._adopted = False
        self.withheld: Callable[[int, int], list[tuple[int, int]]] | None = None
        self.peek: Callable[[int, int], bytes | None] = no_peek
        self.poke: Callable[[int, bytes], bool] = no_poke
        self.protects_in_hooks = self.in_call = self.again = False  # again: the last run ended only to get an area the right to write
        self.writes = FirstWrites(space) if track_writes else None
        self._wanted = -1
        self._fault: FaultStop | None = None
        self.hook_error: BaseException | None = None
        """The first exception inside the adapter's own hook: the binding hides it behind a UcError."""
        self._unsubscribe = space.subscribe(self._update, committed=self._committed)
        self._hook = uc.hook_add(UC_HOOK_MEM_INVALID, self._invalid)

    # -- the Memory protocol ------------------------------------------------------------------------------------------

    def read(self, address: int, length: int) -> bytes:
        """Contents whatever the rights. Pages behind the end of a file read as zeros."""
        if length <= 0:
            return b""
        self._must_be_mapped(address, length)
        contents = self.pages.read(address, length)
        owned = self._engine_owned(address, address + length)
        if not owned:
            return contents
        out = bytearray(contents)
        for low, high in owned:
            out[low - address : high - address] = self.uc.mem_read(low, high - low)
        return bytes(out)

    def write(self, address: int, data: bytes) -> None:
        """Store whatever the rights; afterwards the engine has the pages, and no code translated from the old bytes."""
        if not data:
            return
        self._must_be_mapped(address, len(data))
        end = address + len(data)
        place = address
        for low, high in [*self._engine_owned(address, end), (end, end)]:
            if place < low:
                self.pages.write(place, data[place - address : low - address])
            if low < high:
                self.uc.mem_write(low, bytes(data[low - address : high - address]))
            place = high
        if self.writes is not None:
            self.writes.note(address, end)
        start, end = self._page_range(address, len(data))
        self._touch(start, end)
        self.mirror.drop_code(start, end)

    def discard(self, address: int, length: int) -> None:
        """MADV_DONTNEED, as engine.base.Memory says. Whole pages."""
        if length <= 0:
            return
        self._must_be_mapped(address, length)
        start, end = self._page_range(address, length)
        for vma in self.space.regions(start, end - start):
            low, high = max(vma.start, start), min(vma.end, end)
            if is_shared(vma):
                self.pages.unload(low, high)
                continue
            for first, last in self._engine_owned(low, high):
                self.uc.mem_write(first, bytes(last - first))
            self.pages.discard(low, high)
        self.mirror.drop_code(start, end)

    def punch(self, address: int, length: int) -> None:
        """MADV_REMOVE, as engine.base.Memory says. Whole pages."""
        if length <= 0:
            return
        self._must_be_mapped(address, length)
        start, end = self._page_range(address, length)
        for vma in self.space.regions(start, end - start):
            if host_file(vma) is None or not is_shared(vma):
                raise EngineError(f"{vma} does not map an object that could lose pages")
        self.attempt(self.pages.punch, start, end)
        for low, high, _ in self.mirror.regions.inside(self.space.start, self.space.end):
            self.mirror.drop_code(low, high)  # code of the lost pages may be mapped elsewhere too

    def may_free(self, start: int, end: int) -> None:
        """A hint, passed on for plain memory."""
        self.pages.advise(start, end, MADV_FREE)

    def page_out(self, start: int, end: int) -> None:
        """A hint, passed on for plain memory."""
        self.pages.advise(start, end, MADV_PAGEOUT)
        self.mirror.drop_code(start, end)

    def withdraw(self, start: int, end: int) -> None:
        """`withheld` says something else now: the engine gets the pages when they are touched, if it may have them."""
        for low, _, why in self._pinned.whole(start, end):
            raise EngineError(f"{low:#x}: {why}")
        with self.mirror:
            for vma in self.space.regions(start, end - start):
                low, high = max(start, vma.start), min(end, vma.end)
                self.mirror.take_over(low, high, self.rights)
                self.mirror.clear(low, high)
                self.mirror.note_absent(low, high)

    def take_written(self) -> list[int]:
        """First writes, as engine.base.Memory says; nothing without `track_writes`."""
        return self.writes.take() if self.writes is not None else []

    def residency(self, start: int, end: int) -> bytes:
        """`Residency` bits page by page."""
        from emuvm.engine.residency import as_bytes

        return as_bytes(start, end, self.resident(start, end), self.space.page_size)

    def resident(self, start: int, end: int, *, cached: bool = True) -> list[tuple[int, int, int]]:
        """`Residency` bits as runs. What the engine itself owns counts as written."""
        owned = [(low, high, _OWNED) for low, high in self._engine_owned(start, end)]
        if cached and self._files and start < end:
            from emuvm.engine.regions_files import behind_the_end

            regions = list(self.space.regions(start, end - start))
            grown(self.pages, regions, start, end)
            owned += self.attempt(behind_the_end, self.pages, regions, start, end)
        runs = self.attempt(self.pages.resident, start, end, cached)
        return sorted(owned + runs) if owned else runs

    def populate(self, start: int, end: int, *, write: bool) -> None:
        """Touch pages, as engine.base.Memory says."""
        if start >= end:
            return
        self._must_be_mapped(start, end - start)
        self._touch(start, end)
        self.attempt(self.pages.populate, start, end, write)
        if write and self.writes is not None:
            self.writes.note(start, end)

    def attempt(self, call: Callable[..., T], *args: Any) -> T:
        """Host calls that may be refused, beyond those of updates, go through here (tests make them fail)."""
        return call(*args)

    def verify(self) -> None:
        """EmulatorBug unless the engine's regions are those noted here, and those are what the space says."""
        from emuvm.engine.regions_check import check

        check(self)

    def close(self) -> None:
        """Stop mirroring. The engine keeps its regions: who closes keeps `pages` alive as long as the engine."""
        self._unsubscribe()
        self.uc.hook_del(self._hook)

    # -- for the CPU driver and attach ----------------------------------------------------------------------------------

    def before_run(self) -> None:
        """Call before each emu_start. Forgets an old fault; lets go of file pages that a truncation took away."""
        self._fault = None
        self.hook_error = None
        self.again = False
        if self._files:
            for low, high in self.pages.shrunk():
                with self.mirror:
                    self.mirror.clear(low, high)
                    self.mirror.note_absent(low, high)
                self.pages.hollow(low, high)

    def take_fault(self, error: int = 0) -> FaultStop | None:
        """The fault of the last run, once. An exception of the adapter's own hook is raised here."""
        fault, failed = self._fault, self.hook_error
        self._fault = self.hook_error = None
        wanted, self._wanted = self._wanted, -1
        if failed is not None:
            raise failed
        if wanted >= 0 and fault is None:
            self._allow_writes(wanted)
            self.again = True
        return fault

    def adopt(self, start: int, end: int, rights: int, flags: int = 0, *, pinned: str = "") -> None:
        """Enter a region into the space that the engine already has and the space has not; the engine is not touched.

        `pinned`: why it cannot be changed; operations on it are then refused with that text.
        """
        self._adopting = True
        try:
            self.space.map_at(start, end - start, rights, flags, replace=False)
        finally:
            self._adopting = False
        self._adopted = True
        self.mirror.regions.put(start, end, Region(rights, 0))
        if pinned:
            self._pinned.put(start, end, pinned)

    def complete(self) -> None:
        """Give the engine everything it was to get when touched, as far as host and engine can hold it."""
        for low, high, _ in list(self.mirror.absent):
            for vma in self.space.regions(low, high - low):
                try:
                    with self.mirror:
                        for first, last, rights in self.parts(vma, max(low, vma.start), min(high, vma.end)):
                            self.mirror.fill(first, last, rights)
                except EngineError:
                    continue

    @property
    def engine_regions(self) -> list[tuple[int, int, int]]:
        """(start, end, rights) as noted, ascending."""
        return [(start, end, region.rights) for start, end, region in self.mirror.regions]

    # -- updates ------------------------------------------------------------------------------------------------------

    def _update(self, update: Update) -> None:
        if self._adopting:
            return
        if update.kind is Kind.PROTECT and update.old is not None and update.new is not None:
            if not (update.old.prot ^ update.new.prot) & RIGHTS:
                return
        undone = bool(self._pending) and undoes(update, self._pending[-1].update)
        table = None
        new = update.new
        source = source_of(new) if update.kind is Kind.MAP and new is not None else None
        if new is not None and source is not None and not undone:
            table = self.pages.open_file(source, update.length, writable=bool(new.prot & _WRITE))
        if new is not None and update.kind is Kind.PROTECT and new.prot & _WRITE:
            self.pages.must_be_writable(new.start, new.end)
        for region in (update.old, update.new):
            for low, _, why in self._pinned.whole(region.start, region.end) if region is not None else ():
                raise EngineError(f"{low:#x}: {why}")
        with self.mirror:
            self._apply(update, undone)
        if undone:
            self._pending.pop()
        else:
            self._pending.append(_Pending(update, table))

    def _apply(self, update: Update, undone: bool) -> None:
        mirror, old, new = self.mirror, update.old, update.new
        if update.kind is Kind.PROTECT and old is not None and new is not None:
            mirror.take_over(old.start, old.end, self.rights)
            self._protect(old, new)
            return
        if old is not None:
            mirror.take_over(old.start, old.end, self.rights)
            mirror.clear(old.start, old.end)
            mirror.forget_absent(old.start, old.end)
        if new is not None:
            # Where a move goes, and what is mapped in the place it left, gets its pages at the commit.
            left = [item.update for item in self._pending if item.update.kind is Kind.MOVE]
            wait = not undone and (update.kind is Kind.MOVE or any(u.start < new.end and new.start < u.end for u in left))
            self._map(new, wait=wait, fresh=not undone)

    def _map(self, vma: Vma, *, wait: bool = False, fresh: bool = False) -> None:
        """Give the engine a region, or note that it is to come: large ones, and pages that take their place at the commit."""
        self.mirror.note_absent(vma.start, vma.end)
        if self.effective(vma) and not wait and vma.size <= EAGER and self.pages.is_backed(vma.start, vma.end, source_of(vma)):
            for low, high, rights in self.parts(vma, vma.start, vma.end, fresh=fresh):
                self.mirror.fill(low, high, rights)

    def _protect(self, old: Vma, new: Vma) -> None:
        if not self.effective(new):
            self.mirror.clear(new.start, new.end)
            self.mirror.note_absent(new.start, new.end)
        elif self.effective(old):
            for low, high, rights in self.parts(new, new.start, new.end):
                self.mirror.protect(low, high, rights)
        else:
            self._map(new)

    def _committed(self) -> None:
        """Contents: forget, install, move. Then the engine gets what had to wait; if it refuses, a touch asks again."""
        pending, self._pending = self._pending, []
        kept: Table = []
        fresh: list[Vma] = []
        for item in pending:
            old, new = item.update.old, item.update.new
            if item.update.kind is Kind.PROTECT:
                continue
            if self.writes is not None:
                self.writes.follow(old, new)
            if item.update.kind is Kind.MOVE and old is not None and new is not None:
                kept += self.pages.move(old.start, old.end, new.start)
            elif old is not None:
                replaced = self.space.overlaps(old.start, old.size)
                kept += (self.pages.clear if replaced else self.pages.release)(old.start, old.end)
            elif new is not None and item.table is not None:
                kept += self.pages.install(new.start, item.table)
                self._files = True
            if new is not None:
                fresh.append(new)
        for vma in fresh:
            try:
                with self.mirror:
                    self._settle(vma)
            except EngineError:
                continue
        del kept  # not earlier: the engine has only now let go of these pages

    def _settle(self, vma: Vma) -> None:
        """Make the engine's regions in a changed range point to the pages that are there now."""
        for low, high, region in self.mirror.regions.inside(vma.start, vma.end):
            if region.pointer and list(self.pages.spans(low, high)) != [(low, high, region.pointer)]:
                self.mirror.clear(low, high)
                self.mirror.note_absent(low, high)
        if vma.size <= EAGER:
            for low, high in self.mirror.regions.gaps(vma.start, vma.end):
                for first, last, rights in self.parts(vma, low, high):
                    self.mirror.fill(first, last, rights)

    # -- touching -----------------------------------------------------------------------------------------------------

    def _touch(self, start: int, end: int) -> None:
        """Bring what the engine lacks of [start, end) and has a right to. What it refuses stays absent."""
        for low, high, _ in self.mirror.absent.inside(start, end):
            for vma in self.space.regions(low, high - low):
                place, stop = max(low, vma.start), min(high, vma.end)
                while place < stop:
                    try:
                        self._touch_chunk(place)
                    except EngineError:
                        return
                    place = (place & -CHUNK) + CHUNK

    def _touch_chunk(self, address: int) -> bool:
        """Map what is absent around `address`, as far as one region and one chunk go. Is there a page then?"""
        mirror = self.mirror
        vma, here = self.space.query(address), mirror.absent.at(address)
        if vma is None or here is None or not self.effective(vma):
            return False
        low = max(vma.start, here[0], address & -CHUNK)
        high = min(vma.end, here[1], (address & -CHUNK) + CHUNK)
        if not self.pages.pointer(address):
            grown(self.pages, (vma,), low, high)
        with mirror:
            # Not joined: this may run inside the access that waits for the page.
            for first, last, rights in self.parts(vma, low, high):
                mirror.fill(first, last, rights, join=False)
        return mirror.regions.at(address) is not None

    def _invalid(self, uc: Uc, kind: int, address: int, size: int, value: int, data: Any) -> bool:
        """The engine has no page for an access, or not the right: bring the page, or note the fault."""
        if address >> 47 == _KERNEL_HALF:
            address |= _LOST
        access = Access.WRITE if kind in _WRITES else Access.EXEC if kind in _FETCHES else Access.READ
        try:
            came = False
            first, last = self._page_range(address, max(size, 1))
            for page in range(first, last, self.space.page_size):
                vma = self.space.query(page)
                if vma is None or not self.effective(vma) & _NEEDED[access]:
                    return self._refuse(FaultStop(max(page, address), access, size, vma is not None))
                if self.withheld is not None and self.withheld(page, page + self.space.page_size):
                    return self._refuse(FaultStop(max(page, address), access, size, mapped=False))
                if self.mirror.regions.at(page) is None:
                    if not self._touch_chunk(page):
                        return self._refuse(FaultStop(max(page, address), access, size, True, bus=source_of(vma) is not None))
                    came = True
                region = self.mirror.regions.at(page)
                if access is Access.WRITE and self.writes is not None and region is not None and not region[2].rights & _WRITE:
                    # Changing rights here would lose the store: it is done when the engine stands still.
                    self._wanted = max(page, address) if self._wanted < 0 else self._wanted
                    return False
            return came
        except BaseException as error:
            self.hook_error = self.hook_error or error
            raise

    def _refuse(self, fault: FaultStop) -> bool:
        """Note a fault. A store across a page end comes byte by byte, all of them: the first one names the address."""
        last = self._fault
        continues = last is not None and fault.size == 1 and fault.address == last.address + last.size
        if last is not None and continues and fault.access is last.access is Access.WRITE:
            fault = FaultStop(last.address, last.access, last.size + 1, last.mapped, last.bus)
        self._fault = fault
        return False

    def _allow_writes(self, address: int) -> None:
        """The guest writes to an area for the first time, or the kernel side has before."""
        assert self.writes is not None
        vma = self.space.query(address)
        assert vma is not None
        self.writes.note(address, address + 1)
        with self.mirror:
            for low, high, rights in self.parts(vma, vma.start, vma.end):
                self.mirror.protect(low, high, rights)

    # -- small things -------------------------------------------------------------------------------------------------

    def effective(self, vma: Vma) -> int:
        return self.rights[vma.prot & RIGHTS]

    def parts(self, vma: Vma, low: int, high: int, *, fresh: bool = False) -> list[tuple[int, int, int]]:
        """(start, end, rights) of what the engine is to have of [low, high), a part of the region. `fresh`: of a new mapping."""
        rights = self.effective(vma)
        if not rights:
            return []
        pieces = [(low, high)]
        if self.withheld is not None:
            pieces = []
            for first, last in [*self.withheld(low, high), (high, high)]:
                if low < first:
                    pieces.append((low, first))
                low = last
        if self.writes is None:
            return [(first, last, rights) for first, last in pieces]
        return [part for first, last in pieces for part in self.writes.rights(vma, first, last, rights, fresh=fresh) if part[2]]

    def _engine_owned(self, start: int, end: int) -> list[tuple[int, int]]:
        """The parts of [start, end) whose memory is the engine's own: adopted, and not touched yet."""
        regions = self.mirror.regions.inside(start, end) if self._adopted else ()
        return [(low, high) for low, high, region in regions if not region.pointer]

    def _page_range(self, address: int, length: int) -> tuple[int, int]:
        page, end = self.space.page_size, address + length
        return address & -page, end + (-end % page)

    def _must_be_mapped(self, address: int, length: int) -> None:
        vma = self.space.query(address)
        if vma is not None and address + length <= vma.end:
            if self._files:
                grown(self.pages, (vma,), *self._page_range(address, length))
            return
        if not self.space.start <= address <= address + length <= self.space.end:
            raise EngineError(f"{address:#x}-{address + length:#x} is outside the space")
        for low, high in self.space.gaps(address, length):
            raise EngineError(f"nothing is mapped at {low:#x}-{high:#x}")
        if self._files:
            grown(self.pages, self.space.regions(address, length), *self._page_range(address, length))
