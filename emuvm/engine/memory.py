"""An engine with no CPU: pages in a dict, for testing and fuzzing the kernel side without Unicorn.

Owns: page contents and the rights an engine would have, driven by the same updates as the real mirrors. Must not know
Unicorn nor the host's memory. Files behind shared mappings are read when mapped and never written back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from emuvm.engine.base import Access, FastCall, FaultStop, LimitStop, Residency, Stop, host_file, is_shared, no_peek, no_poke
from emuvm.engine.hostmem import read_file
from emuvm.errors import EmulatorBug, EngineError
from emuvm.mm.types import RIGHTS, Kind, Update, Vma

if TYPE_CHECKING:
    from emuvm.abi.arch import Arch
    from emuvm.mm.space import AddressSpace

_NEEDED = {Access.READ: 1, Access.WRITE: 2, Access.EXEC: 4}


@dataclass(slots=True)
class _Area:
    """What the engine side knows of a mapped piece."""

    start: int
    end: int
    rights: int


@dataclass(slots=True)
class _Undo:
    """An accepted update with the areas there were before it, and the file bytes it brings."""

    update: Update
    areas: list[_Area]
    content: dict[int, bytes] = field(default_factory=dict)


class PlainMemory:
    """Implements engine.base.Memory. `fail_at` n makes the n-th engine call from now fail with EngineError (1: the next)."""

    def __init__(self, space: AddressSpace, rights: tuple[int, ...]) -> None:
        self.space = space
        self.rights = rights
        self.calls = 0
        self.fail_at: int | None = None
        self.protects_in_hooks, self.in_call = True, False
        self.withheld: Callable[[int, int], list[tuple[int, int]]] | None = None
        self.peek: Callable[[int, int], bytes | None] = no_peek
        self.poke: Callable[[int, bytes], bool] = no_poke
        self._pages: dict[int, bytearray] = {}
        self._written: set[int] = set()
        """Private pages that were written, by number."""
        self._free: set[int] = set()
        """Those of them that `may_free` named and nobody has written since."""
        self._first: list[int] = []
        self._areas: list[_Area] = []
        self._pending: list[_Undo] = []
        self._unsubscribe = space.subscribe(self._update, committed=self._committed)

    def read(self, address: int, length: int) -> bytes:
        """Contents whatever the rights."""
        out = bytearray()
        for page, low, high in self._parts(address, length):
            stored = self._pages.get(page)
            out += stored[low:high] if stored is not None else bytes(high - low)
        return bytes(out)

    def write(self, address: int, data: bytes) -> None:
        """Store whatever the rights."""
        done = 0
        for page, low, high in self._parts(address, len(data)):
            stored = self._pages.get(page)
            if stored is None:
                stored = self._pages[page] = bytearray(self.space.page_size)
            self._note(page)
            stored[low:high] = data[done : done + high - low]
            done += high - low

    def discard(self, address: int, length: int) -> None:
        """MADV_DONTNEED, as engine.base.Memory says."""
        if length <= 0:
            return
        self._must_be_mapped(address, length)
        page = self.space.page_size
        start, end = address & -page, address + length + (-(address + length) % page)
        for vma in self.space.regions(start, end - start):
            if not is_shared(vma):
                low, high = max(start, vma.start), min(end, vma.end)
                self._forget(low, high)
                self._pages.update((n, bytearray(data)) for n, data in self._file_pages(vma, low, high).items())

    def punch(self, address: int, length: int) -> None:
        """MADV_REMOVE, as engine.base.Memory says; seen in this mapping only."""
        if length <= 0:
            return
        self._must_be_mapped(address, length)
        for vma in self.space.regions(address, length):
            if host_file(vma) is None or not is_shared(vma):
                raise EngineError(f"{vma} does not map an object that could lose pages")
        self._call()
        for page, low, high in self._parts(address, length):
            if page in self._pages:
                self._pages[page][low:high] = bytes(high - low)

    def may_free(self, start: int, end: int) -> None:
        """Pages that are not written again go with `page_out`."""
        self._free.update(n for n in self._present(start, end) if n in self._written)

    def page_out(self, start: int, end: int) -> None:
        """Nothing goes but what may be freed."""
        for number in self._present(start, end):
            if number in self._free:
                self._forget(number * self.space.page_size, (number + 1) * self.space.page_size)

    def withdraw(self, start: int, end: int) -> None:
        """Nothing is kept of what `withheld` said."""

    def take_written(self) -> list[int]:
        """First writes, as engine.base.Memory says."""
        pages, self._first = self._first, []
        return [page for page in pages if self.space.query(page) is not None]

    def residency(self, start: int, end: int) -> bytes:
        """`Residency` bits page by page."""
        out, size = bytearray((end - start) // self.space.page_size), self.space.page_size
        for low, _, bits in self.resident(start, end):
            out[(low - start) // size] = bits
        return bytes(out)

    def resident(self, start: int, end: int, *, cached: bool = True) -> list[tuple[int, int, int]]:
        """`Residency` bits of the pages there are, one by one."""
        self._call()
        size = self.space.page_size
        return [(n * size, n * size + size, self._residency(n)) for n in sorted(self._present(start, end))]

    def _residency(self, number: int) -> int:
        vma = self.space.query(number * self.space.page_size)
        if number in self._written:
            return Residency.PRESENT | Residency.PRIVATE | Residency.MAPPED
        if vma is not None and host_file(vma) is not None:
            return Residency.PRESENT | Residency.FILE | Residency.MAPPED
        return Residency.PRESENT

    def populate(self, start: int, end: int, *, write: bool) -> None:
        """Touch pages, as engine.base.Memory says."""
        parts = self._parts(start, end - start)
        self._call()
        for page, _, _ in parts:
            self._pages.setdefault(page, bytearray(self.space.page_size))
            if write:
                self._note(page)

    def _note(self, page: int) -> None:
        self._free.discard(page)
        vma = self.space.query(page * self.space.page_size)
        if page not in self._written and vma is not None and not is_shared(vma):
            self._written.add(page)
            self._first.append(page * self.space.page_size)

    def allows(self, address: int, access: Access) -> FaultStop | None:
        """The fault an access to one byte would cause, judged by what the updates said."""
        page = address & -self.space.page_size
        for area in self._areas:
            if area.start <= address < area.end:
                if not area.rights & _NEEDED[access]:
                    return FaultStop(address, access, 1, mapped=True)
                if self.withheld is None or not self.withheld(page, page + self.space.page_size):
                    return None
        return FaultStop(address, access, 1, mapped=False)

    def verify(self) -> None:
        """EmulatorBug unless the areas are those of the space and no page lies outside."""
        want = _coalesce([_Area(vma.start, vma.end, self.rights[vma.prot & RIGHTS]) for vma in self.space])
        have = _coalesce(sorted(self._areas, key=lambda area: area.start))
        if want != have:
            raise EmulatorBug(f"areas {have} differ from the space's {want}")
        for page in self._pages:
            if self.space.query(page * self.space.page_size) is None:
                raise EmulatorBug(f"page {page * self.space.page_size:#x} is kept although nothing is mapped there")

    def close(self) -> None:
        self._unsubscribe()
        self._pages.clear()

    def _call(self) -> None:
        self.calls += 1
        if self.fail_at is not None:
            self.fail_at -= 1
            if self.fail_at == 0:
                self.fail_at = None
                raise EngineError("refused, as asked")

    def _update(self, update: Update) -> None:
        if update.kind is Kind.PROTECT and update.old is not None and update.new is not None:
            if not (update.old.prot ^ update.new.prot) & RIGHTS:
                return
        if self._pending and update.old is self._pending[-1].update.new and update.new is self._pending[-1].update.old:
            self._areas = self._pending.pop().areas
            return
        self._call()
        undo = _Undo(update, self._areas)
        areas = self._areas
        if update.old is not None:
            areas = _without(areas, update.old.start, update.old.end)
        if update.new is not None:
            new = update.new
            if update.kind is Kind.MAP:
                undo.content = self._file_pages(new, new.start, new.end)
            areas = [*areas, _Area(new.start, new.end, self.rights[new.prot & RIGHTS])]
        self._areas = areas
        self._pending.append(undo)

    def _committed(self) -> None:
        pending, self._pending = self._pending, []
        size = self.space.page_size
        for item in pending:
            update = item.update
            if update.kind is Kind.UNMAP:
                self._forget(update.start, update.end)
            elif update.kind is Kind.MAP:
                self._pages.update((n, bytearray(data)) for n, data in item.content.items())
            elif update.kind is Kind.MOVE and update.new is not None:
                shift = (update.new.start - update.start) // size
                numbers = self._present(update.start, update.end)
                moved = {n + shift: self._pages.pop(n) for n in numbers}
                written = {n + shift for n in numbers if n in self._written}
                self._written.difference_update(numbers)
                self._pages.update(moved)
                self._written |= written
                self._free |= {n + shift for n in numbers if n in self._free}
                self._free.difference_update(numbers)

    def _file_pages(self, vma: Vma, start: int, end: int) -> dict[int, bytes]:
        """The pages of [start, end) that the region's file fills, by page number."""
        backing = host_file(vma)
        if backing is None:
            return {}
        size, found = self.space.page_size, {}
        for address in range(start, end, size):
            data = read_file(backing.file.fileno(), backing.offset + address - vma.start, size)
            if not data:
                break
            found[address // size] = data.ljust(size, b"\0")
        return found

    def _present(self, start: int, end: int) -> list[int]:
        first, last = start // self.space.page_size, end // self.space.page_size
        if last - first > len(self._pages):
            return [n for n in self._pages if first <= n < last]
        return [n for n in range(first, last) if n in self._pages]

    def _forget(self, start: int, end: int) -> None:
        for number in self._present(start, end):
            del self._pages[number]
            self._written.discard(number)
            self._free.discard(number)

    def _parts(self, address: int, length: int) -> list[tuple[int, int, int]]:
        """(page number, first, last byte in it) for a byte range, which must be mapped."""
        if length <= 0:
            return []
        self._must_be_mapped(address, length)
        size, end, parts = self.space.page_size, address + length, []
        while address < end:
            stop = min(end, (address & -size) + size)
            parts.append((address // size, address % size, stop - (address & -size)))
            address = stop
        return parts

    def _must_be_mapped(self, address: int, length: int) -> None:
        if not self.space.start <= address <= address + length <= self.space.end:
            raise EngineError(f"{address:#x}-{address + length:#x} is outside the space")
        for low, high in self.space.gaps(address, length):
            raise EngineError(f"nothing is mapped at {low:#x}-{high:#x}")


class MemoryEngine:
    """Implements engine.base.Engine: `run` returns the stops it was given with `script`, then LimitStop."""

    def __init__(self, arch: Arch, space: AddressSpace) -> None:
        self.arch = arch
        self.memory = PlainMemory(space, arch.rights)
        self.fast_call: FastCall | None = None
        self.registers: dict[str, int] = {}
        self.script: list[Stop | Callable[[], Stop]] = []
        self._stop = False
        self._fpu = bytes(528 if arch.name == "arm64" else 512)

    def run(self) -> Stop:
        """The next stop of the script; a callable is called for it."""
        if self._stop or not self.script:
            self._stop = False
            return LimitStop()
        step = self.script.pop(0)
        return step() if callable(step) else step

    def expect_stops(self) -> None:
        return

    def handled_faults(self) -> None:
        return

    def stop(self) -> None:
        """The next `run` returns LimitStop."""
        self._stop = True

    def get(self, register: str) -> int:
        """Registers nobody wrote read as 0."""
        return self.registers.get(self._name(register), 0)

    def set(self, register: str, value: int) -> None:
        self.registers[self._name(register)] = value & (1 << self.arch.bits) - 1

    def get_many(self, registers: tuple[str, ...]) -> list[int]:
        return [self.get(name) for name in registers]

    def set_many(self, registers: tuple[str, ...], values: Sequence[int]) -> None:
        for name, value in zip(registers, values, strict=True):
            self.set(name, value)

    def fpu_state(self) -> bytes:
        """Zeros until somebody sets it."""
        return self._fpu

    def set_fpu_state(self, state: bytes) -> None:
        if len(state) < len(self._fpu):
            raise EngineError(f"a state of {len(state)} bytes is too short")
        self._fpu = bytes(state[: len(self._fpu)])

    def reset(self) -> None:
        self.registers.clear()
        self._fpu = bytes(len(self._fpu))

    def set_result(self, value: int) -> None:
        self.set(self.arch.syscall_result, value)

    def close(self) -> None:
        self.memory.close()

    def _name(self, register: str) -> str:
        return {"pc": self.arch.pc, "sp": self.arch.sp}.get(register, register)


def _without(areas: list[_Area], start: int, end: int) -> list[_Area]:
    out = []
    for area in areas:
        if area.start < start:
            out.append(_Area(area.start, min(area.end, start), area.rights))
        if area.end > end:
            out.append(_Area(max(area.start, end), area.end, area.rights))
    return out


def _coalesce(areas: list[_Area]) -> list[_Area]:
    out: list[_Area] = []
    for area in areas:
        if out and out[-1].end == area.start and out[-1].rights == area.rights:
            out[-1] = _Area(out[-1].start, area.end, area.rights)
        else:
            out.append(area)
    return out
