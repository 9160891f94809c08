"""The default mirror: the engine asks us for every page it has not seen (UC_TLB_VIRTUAL), and we are its page table.

Owns: what the TLB gets, page contents, dirty pages, stale code. Must not know the kernel side.

    space     what is mapped             an update only withdraws page bytes; contents change when it is committed
    table     a byte a page              no right there: ask the space, and fill in a chunk around the page
    host      the contents               guest address = engine's physical address = host address - window base

A page the space refuses becomes a fault in unicorn_refusals. TLB flush and dropping translated code wait until no guest
instruction is running.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from unicorn.unicorn_const import UC_CTL_IO_WRITE, UC_CTL_TB_REMOVE_CACHE, UC_CTL_TLB_FLUSH, UC_HOOK_TLB_FILL, UC_TLB_VIRTUAL

from emuvm.abi.tuples import NamedTuple
from emuvm.engine.base import FaultStop, Residency, cannot_shrink, fresh_when_read, host_file, is_shared, no_peek, no_poke
from emuvm.engine.filepages import Extent, FilePages
from emuvm.engine.hostmem import FREE, PAGEOUT, WINDOW, WINDOW_BITS, HostMemory, Staged, host_unmap
from emuvm.engine.pagetable import DIRTY, FETCH, PAGE, READ, WRITE, PageTable, native_fill
from emuvm.engine.unicorn_again import prepare, protection
from emuvm.engine.unicorn_raw import FILL, FLUSH_CODE, Raw
from emuvm.engine.unicorn_refusals import Refusals
from emuvm.errors import EngineError
from emuvm.mm.delivery import undoes
from emuvm.mm.types import RIGHTS, File, Kind, Update, Vma

if TYPE_CHECKING:
    from unicorn.unicorn_py3.unicorn import Uc

    from emuvm.mm.space import AddressSpace

T = TypeVar("T")

CHUNK = 64 * PAGE
"""What one question fills in, aligned."""
_WRITTEN = bytes((Residency.PRESENT | Residency.PRIVATE | Residency.MAPPED,))
_EAGER_WINDOWS, _MANY_STALE, _NEEDED = 4, 512 * PAGE, {16: 1, 17: 2, 18: 4}
_REMOVE_CACHE = UC_CTL_TB_REMOVE_CACHE | 2 << 26 | UC_CTL_IO_WRITE << 30
_FLUSH_TLB = UC_CTL_TLB_FLUSH | UC_CTL_IO_WRITE << 30


class _Pending(NamedTuple):
    """An accepted update, and the file pages it will install."""

    update: Update
    staged: Staged | None


class PagedMemory:
    """Implements engine.base.Memory for a Uc. Subscribes to `space`; `rights` maps the three PROT bits to effective ones."""

    def __init__(self, uc: Uc, space: AddressSpace, rights: tuple[int, ...], *, native: bool = True) -> None:
        if space.page_size != PAGE:
            raise EngineError(f"the paged adapter has pages of {PAGE} bytes, the space of {space.page_size}")
        self.uc, self.space, self.rights = uc, space, rights
        self.host = HostMemory()
        self.table = PageTable()
        self.running = False  # set by the CPU driver around emu_start
        self.hook_error: BaseException | None = None  # the first one inside one of the adapter's hooks
        self.again = False  # the last run only found out how to tell a fault: the instruction is to be executed again
        self.protects_in_hooks, self.in_call = True, False
        self.withheld: Callable[[int, int], list[tuple[int, int]]] | None = None
        self.modifies: Callable[[], bool] | None = None  # does this instruction read memory and write it back? None: none does
        self._raw = Raw(uc)
        self.refusals = Refusals(self._raw, self.host, lambda address: bool(self.table.byte(address) & DIRTY), self.table.state)
        self._mapped: set[int] = set()
        self._extents = FilePages(self.host)
        self._pending: list[_Pending] = []
        self._flush = self._dropping = self._faulted = False  # after a fault the files are as they were when the run began
        self.freed = False  # there may be pages that the host may free
        self._stale: list[tuple[int, int]] = []
        uc.ctl_set_tlb_mode(UC_TLB_VIRTUAL)
        self.native = bool(fill := native_fill() if native else 0)
        self.peek, self.poke = self.table.copies() if fill else (no_peek, no_poke)
        if fill:
            self._raw.hook(UC_HOOK_TLB_FILL, fill, ctypes.addressof(self.table.state))
        self._raw.hook(UC_HOOK_TLB_FILL, FILL(self._fill))
        self._unsubscribe = space.subscribe(self._update, committed=self._committed, prepare=partial(prepare, self))

    # -- the Memory protocol ------------------------------------------------------------------------------------------

    def read(self, address: int, length: int) -> bytes:
        """Contents whatever the rights. Pages behind the end of a file read as zeros."""
        if length <= 0:
            return b""
        vma = self.space.query(address) if address >= 0 else None
        if vma is None or address + length > vma.end or (type(vma.backing) is File and not self._extents.covers(address, address + length)):
            self._must_be_mapped(address, length)
        return self.host.read(address, length)

    def write(self, address: int, data: bytes) -> None:
        """Store whatever the rights; bytes for pages behind the end of a file are lost."""
        if not data:
            return
        end = address + len(data)
        vma = self.space.query(address) if address >= 0 else None
        if vma is None or end > vma.end or (type(vma.backing) is File and not self._extents.covers(address, end, writable=True)):
            self._must_be_mapped(address, len(data))
            if self._extents:
                self._extents.must_be_writable(address, end)
        for window in range(address >> WINDOW_BITS, (end - 1 >> WINDOW_BITS) + 1):
            if window not in self._mapped:
                self._reserve(window)
        self.host.write(address, data)
        first, last = address & -PAGE, end + (-end % PAGE)
        if self.table.written(first, last):
            self.drop_code([(first, last)])

    def discard(self, address: int, length: int) -> None:
        """MADV_DONTNEED, as engine.base.Memory says. Whole pages."""
        if length <= 0:
            return
        self._must_be_mapped(address, length)
        start, end = address & -PAGE, address + length + (-(address + length) % PAGE)
        for vma in self.space.regions(start, end - start):
            low, high = max(vma.start, start), min(vma.end, end)
            if is_shared(vma):
                self.host.unload(low, high)
            else:
                self.host.discard(low, high)
                self.withdraw(low, high)
                self.table.clear(low, high)

    def punch(self, address: int, length: int) -> None:
        """MADV_REMOVE, as engine.base.Memory says. Whole pages."""
        if length <= 0:
            return
        self._must_be_mapped(address, length)
        start, end = address & -PAGE, address + length + (-(address + length) % PAGE)
        for vma in self.space.regions(start, end - start):
            if host_file(vma) is None or not is_shared(vma):
                raise EngineError(f"{vma} does not map an object that could lose pages")
        for low, high, _ in self._extents.inside(start, end):
            self.attempt(self.host.punch, low, high)
        self.table.forget(start, end)
        for low, high in self._extents.of_same_bytes(start, end):
            # Translated code of the lost pages, wherever they are seen.
            self.withdraw(low, high)

    def take_written(self) -> list[int]:
        """First writes, as engine.base.Memory says."""
        pages = self.table.take_written()
        if not pages:
            return pages
        told: list[int] = []
        seen: set[int] = set()
        low = high = 0
        for page in pages:
            if not low <= page < high:
                vma = self.space.query(page)
                if vma is not None:
                    low, high = vma.start, vma.end
                    if low not in seen and not is_shared(vma):
                        seen.add(low)
                        told.append(page)
        return told

    def residency(self, start: int, end: int) -> bytes:
        """`Residency` bits page by page."""
        if end - start == PAGE and self.table.byte(start) & DIRTY and self._extents.at(start) is None:
            return _WRITTEN  # asked at many a fault
        from emuvm.engine.residency import as_bytes

        return as_bytes(start, end, self.resident(start, end))

    def resident(self, start: int, end: int, *, cached: bool = True) -> list[tuple[int, int, int]]:
        """`Residency` bits as runs: the host's page table, and the page cache below file pages."""
        from emuvm.engine.residency import behind_the_end, of_guest

        behind: list[tuple[int, int, int]] = []
        for vma in self.space.regions(start, end - start) if cached and start < end else ():
            if host_file(vma) is not None:
                low, high = max(start, vma.start), min(end, vma.end)
                self._present(vma, low, high)
                behind += self.attempt(behind_the_end, vma, self._extents.gaps(low, high))
        found = of_guest(self.host, self.table, self._extents, self.attempt, start, end, cached)
        return sorted(found + behind) if behind else found

    def may_free(self, start: int, end: int) -> None:
        """MADV_FREE, as engine.base.Memory says. Writes are noticed again: nobody tells when the host takes the pages."""
        self.withdraw(start, end)
        self.table.clear(start, end)
        self.host.advise(start, end, FREE)
        self.freed = True

    def page_out(self, start: int, end: int) -> None:
        """A hint, as engine.base.Memory says."""
        if self.freed:
            self.withdraw(start, end)  # translated code of what goes now
        self.host.advise(start, end, PAGEOUT)

    def populate(self, start: int, end: int, *, write: bool) -> None:
        """Touch pages, as engine.base.Memory says."""
        if start >= end:
            return
        self._must_be_mapped(start, end - start)
        for window in range(start >> WINDOW_BITS, (end - 1 >> WINDOW_BITS) + 1):
            if window not in self._mapped:
                self._reserve(window)
        if self._extents:
            write = write and all(extent.writable for _, _, extent in self._extents.whole(start, end))
        self.attempt(self.host.populate, start, end, write)
        for vma in self.space.regions(start, end - start):
            # Present, so that what moves or goes moves or goes on the host too.
            low, high, rights = max(start, vma.start), min(end, vma.end), self.rights[vma.prot & RIGHTS]
            self.table.grant(low, high, rights, code=False, own=cannot_shrink(vma))
            if write and not is_shared(vma):
                self.table.note(low)

    def verify(self) -> None:
        """EmulatorBug unless page bytes, windows and file pages agree with the space."""
        from emuvm.engine.paged_check import verify

        verify(self, self._mapped, self._extents, len(self._pending))

    def close(self) -> None:
        """Stop mirroring. The engine must not run any more; `release` gives the memory back once it is closed."""
        self._unsubscribe()

    def release(self) -> None:
        """Give the host its memory back: only when the engine is closed."""
        self.table.close()
        self.host.close()

    # -- for the CPU driver -------------------------------------------------------------------------------------------

    def before_run(self) -> None:
        """To be called before each emu_start: what had to wait for the engine to stand still."""
        if self._extents and not self._faulted:
            self._notice_shrunk_files()
        self._faulted = False
        if self._stale:
            self._remove_stale_code()
        if self.refusals.before_run() or self._flush:
            self.attempt(self._raw.control, _FLUSH_TLB)
            self._flush = False

    def take_fault(self, error: int = 0) -> FaultStop | None:
        """The fault of the last run, which ended with this error number, once. An exception of the adapter's own hooks is raised here."""
        raised, self.hook_error = self.hook_error, None
        fault = self.refusals.take(error)
        self.again, self._faulted = self.refusals.again, fault is not None
        if raised is not None:
            raise raised
        return fault

    @property
    def disturbed(self) -> bool:
        """`before_run` has something to do: a run that ended without a reason was interrupted for it."""
        return self._flush

    def take_dirty(self) -> set[int]:
        """Addresses of the pages written, by guest or host, since the last call."""
        self.disturb()
        return self.table.take_dirty()

    def attempt(self, call: Callable[..., T], *args: Any) -> T:
        """Every call to engine or host that may be refused goes through here (tests make the n-th one fail)."""
        return call(*args)

    # -- updates ------------------------------------------------------------------------------------------------------

    def _update(self, update: Update) -> None:
        pending, old, new = self._pending, update.old, update.new
        if old is not None and new is not None and update.kind is Kind.PROTECT and not (old.prot ^ new.prot) & RIGHTS:
            return
        if pending and undoes(update, pending[-1].update):
            item = pending.pop()
            if item.staged is not None:
                host_unmap(item.staged.pointer, item.staged.length)
            return
        staged = None
        if update.kind is Kind.PROTECT:
            if new is not None and type(new.backing) is File and new.prot & _NEEDED[WRITE] and self._extents:
                self._extents.must_be_writable(new.start, new.end)
        else:
            if new is not None:
                staged = self._prepare(new, update.kind)
            if old is not None:
                self.withdraw(update.start, update.end)
        pending.append(_Pending(update, staged))

    def _prepare(self, vma: Vma, kind: Kind) -> Staged | None:
        """Everything about new pages that host or engine could refuse, with nothing changed for the guest."""
        windows = range(vma.start >> WINDOW_BITS, (vma.end - 1 >> WINDOW_BITS) + 1)
        if vma.prot & RIGHTS and len(windows) <= _EAGER_WINDOWS or kind is Kind.MOVE:
            for window in windows:
                if window not in self._mapped:
                    self._reserve(window)
        backing = host_file(vma)
        if backing is None or kind is Kind.MOVE:
            return None
        return self.attempt(self._extents.stage, vma, backing, vma.start, vma.end)

    def _committed(self) -> None:
        """Contents: forget, install, move. File pages the host refuses now are asked for again when touched."""
        pending, self._pending = self._pending, []
        start = end = 0
        for update, staged in pending:
            new = update.new
            if update.kind is Kind.UNMAP and update.start == end:
                end = update.end
                continue
            if start < end:
                self._forget(start, end)
                start = end = 0
            if update.kind is Kind.UNMAP:
                start, end = update.start, update.end
            elif update.kind is Kind.PROTECT and new is not None:
                self._protect(new)
            elif update.kind is Kind.MOVE and new is not None:
                self._move(update.start, update.end, new.start)
            elif staged is not None and new is not None:
                self._install(new, new.start, staged)
        if start < end:
            self._forget(start, end)

    def _forget(self, start: int, end: int) -> None:
        if self._extents:
            for low, high, _ in self._extents.cut(start, end):
                self.host.make_anonymous(low, high)
        self.table.clear(start, end)
        # Always: what was only read, by the kernel side perhaps, must not look touched to whoever comes next.
        self.host.discard(start, end)

    def _protect(self, vma: Vma) -> None:
        rights, only_written = protection(self, vma)
        less, code = self.table.protect(vma.start, vma.end, rights, only_written=only_written)
        if less and not (self.in_call and self._flush_at_once()):
            self.disturb()
        if code:
            self.drop_code(code)

    def _move(self, start: int, end: int, to: int) -> None:
        pieces = self._extents.cut(start, end) if self._extents else []
        self.table.move(start, end, to)
        place = start
        for low, high, extent in [*pieces, (end, end, None)]:
            if place < low:  # untouched by the guest, too: the kernel side may have read it
                self.host.move(place, low, to + place - start, anonymous=True)
            if extent is not None:
                self.host.move(low, high, to + low - start, anonymous=False)
                self._extents.put(to + low - start, to + high - start, extent)
            place = high

    def _install(self, vma: Vma, start: int, staged: Staged) -> bool:
        try:
            self.attempt(self._extents.install, vma, start, staged)
        except (EngineError, MemoryError):
            host_unmap(staged.pointer, staged.length)
            return False
        return True

    def _reserve(self, window: int) -> None:
        """Have a window: host pages, page bytes, an engine region."""
        pointer = self.attempt(self.host.reserve, window)
        self.attempt(self.table.reserve, window, pointer)
        self.attempt(self._raw.map_pointer, window << WINDOW_BITS, WINDOW, pointer)
        self._mapped.add(window)

    # -- asking -------------------------------------------------------------------------------------------------------

    def _fill(self, _uch: Any, address: int, access: int, entry: Any, _data: Any) -> bool:
        try:
            if self.table.count_fill(wait=access == WRITE):  # who is stopped in an access executes it twice: x86-64's loads may be
                self.disturb(stop=access == FETCH or self.modifies is not None)
            if self._dropping:
                rights = 5
            else:
                # The native fill has looked already; when it only wanted the TLB flushed, asking again does no harm.
                rights = (not self.native and self.table.lookup(address, access)) or self._ask(address, access)
            if rights:
                entry[0].paddr = address
                entry[0].perms = rights
                return True
            place = self.refusals.answer(address, access)
            if place:
                entry[0].paddr = place
                entry[0].perms = 7
            return bool(place)
        except BaseException as error:  # noqa: BLE001 - ctypes would print and forget it
            self.hook_error = self.hook_error or error
            return False

    def _ask(self, address: int, access: int) -> int:
        """Let the space decide about a page: fills in a chunk around it and returns the TLB's rights, or 0 after noting the refusal."""
        page = address & -PAGE
        vma = self.space.query(page)
        rights = self.rights[vma.prot & RIGHTS] if vma is not None else 0
        alone = not rights & 2 and self.modifies is not None
        if alone and access == READ and self.modifies and self.modifies():
            access = WRITE  # Unicorn reads first, the CPU faults for the write at once
        if vma is None or not rights & _NEEDED[access]:
            if vma is not None and not rights and self.withheld is None and not host_file(vma):
                self.table.refuse(page, vma.start, vma.end)
            return self.refusals.deny(page, access, mapped=vma is not None)
        low, high = max(vma.start, page & -CHUNK), min(vma.end, (page & -CHUNK) + CHUNK)
        if alone and fresh_when_read(vma):
            low, high = page, page + PAGE  # so that one that is read and written is refused before it is present
        for first, last in self.withheld(low, high) if self.withheld is not None else ():
            if first <= page < last:
                return self.refusals.deny(page, access, mapped=False)
            low, high = (last, high) if last <= page else (low, min(high, first))
        if host_file(vma) is not None:
            extent = self._extents.at(page) or self._extend(vma, page)
            if extent is None:
                return self.refusals.deny(page, access, mapped=True, bus=True)
            low, high = max(low, extent[0]), min(high, extent[1])
        window = page >> WINDOW_BITS
        if window not in self._mapped:
            self._reserve(window)
        self.table.grant(low, high, rights, code=access == FETCH, own=cannot_shrink(vma))
        return self.table.lookup(address, access)

    def _extend(self, vma: Vma, page: int) -> tuple[int, int, Extent] | None:
        """File pages from `page` on that were behind the end of the file when it was mapped, or that the host refused then."""
        following = self._extents.whole(page, vma.end)
        staged = self.attempt(self._extents.stage, vma, vma.backing, page, following[0][0] if following else vma.end)
        return None if staged is None or not self._install(vma, page, staged) else self._extents.at(page)

    # -- waiting for the engine to stand still --------------------------------------------------------------------------

    def withdraw(self, start: int, end: int) -> None:
        """Grant nothing there; ask again at the next access."""
        found, code = self.table.withdraw(start, end)
        if found:
            self.disturb()
        if code:
            self.drop_code(code)

    def drop_code(self, ranges: list[tuple[int, int]]) -> None:
        self._stale += ranges
        self.disturb()

    def disturb(self, stop: bool = True) -> None:
        """The TLB is out of date. A run in progress is interrupted; its driver goes on after `before_run`."""
        self._flush = self.table.state.attend = True
        if self.running and stop:
            self._raw.stop()

    def _flush_at_once(self) -> bool:
        try:
            self.attempt(self._raw.control, _FLUSH_TLB)
        except EngineError:
            return False
        return True

    def _remove_stale_code(self) -> None:
        """The engine looks the range up through the TLB, so the fill says yes to everything meanwhile."""
        self._dropping = True
        try:
            if sum(high - low for low, high in self._stale) > _MANY_STALE:
                self.attempt(self._raw.control, FLUSH_CODE)
            else:
                for low, high in self._stale:
                    self.attempt(self._raw.control, _REMOVE_CACHE, ctypes.c_uint64(low), ctypes.c_uint64(high))
        finally:
            self._dropping = False
            self._flush = True
        self._stale.clear()

    def _notice_shrunk_files(self) -> None:
        """Touching file pages behind the end would be the host's SIGBUS: let go of them."""
        for first, high in self._extents.shrunk():
            self._extents.cut(first, high)
            self.withdraw(first, high)
            self.table.clear(first, high)
            self.host.make_anonymous(first, high)

    def _must_be_mapped(self, address: int, length: int) -> None:
        end = address + length
        vma = self.space.query(address) if address >= 0 else None
        if vma is not None and end <= vma.end:
            if self._extents and host_file(vma) is not None:
                self._present(vma, address, end)
            return
        if not self.space.start <= address <= end <= self.space.end:
            raise EngineError(f"{address:#x}-{end:#x} is outside the space")
        for low, high in self.space.gaps(address, length):
            raise EngineError(f"nothing is mapped at {low:#x}-{high:#x}")
        if self._extents:
            self.catch_up(address, end)

    def catch_up(self, start: int, end: int) -> None:
        """Install the pages that files have gained in this range, instead of when they are touched."""
        for region in self.space.regions(start, end - start):
            if host_file(region) is not None:
                self._present(region, start, end)

    def _present(self, region: Vma, address: int, end: int) -> None:
        """Pages of a file that has grown since come into being, as far as they lie in [address, end)."""
        for first, _ in self._extents.gaps(max(region.start, address & -PAGE), min(region.end, end)):
            self._extend(region, first)
