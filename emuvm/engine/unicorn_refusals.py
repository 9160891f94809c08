"""From a page the space refuses to a FaultStop with the exact address.

Owns: the refusals of a run, and the two ways to learn the address of the byte that failed. Must not know why a page is refused.

The fill callback hears of a page only. Plain refusal ends the run with registers and pc exact, nothing stored, and the address in
a field of the engine's own structure; where that is known, the native fill refuses by itself. It is no part of Unicorn's interface:
where it lies is found by a fault at a known address in an engine made for that purpose, and what is read must agree with the page
that was refused.

Where it cannot be found, the page is answered with a physical address where nothing is, and a hook that exists only meanwhile
hears address and size: with a memory hook in place the engine translates every load and store into a form eight times slower.
This way is less exact: instructions that store more than once (fstp) may be followed by others before the run ends.

An access of two parts (movups, stp) whose second part alone is refused has stored its first part either way.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

from unicorn.unicorn_const import UC_ERR_EXCEPTION, UC_HOOK_MEM_UNMAPPED

from emuvm.abi.tuples import NamedTuple
from emuvm.engine.base import Access, FaultStop
from emuvm.engine.hostmem import HostMemory, heap_block
from emuvm.engine.pagetable import FillState
from emuvm.engine.unicorn_raw import INVALID, Raw
from emuvm.engine.unicorn_regs import MACHINES

PAGE = 4096
NOWHERE = 0xFF << 56
"""Physical addresses from here on: never mapped."""
TAIL = 64
"""More than the widest store: what a store across a page border may have left in the lower page."""
_KINDS = {16: Access.READ, 17: Access.WRITE, 18: Access.EXEC}
_FETCH, _WRITE = 18, 17


class Denial(NamedTuple):
    """A page the space refused during this run."""

    page: int
    access: Access
    mapped: bool
    bus: bool
    tail: bytes


class Refusals:
    """The refusals of one engine, run by run."""

    def __init__(self, raw: Raw, host: HostMemory, is_written: Callable[[int], bool], state: FillState) -> None:
        """`is_written(address)`: may the guest have written to the page?"""
        self._state = state
        self.fault: FaultStop | None = None
        self.again = False
        """The field did not hold what it should: the instruction is to be executed again, with the hook."""
        self.native_kinds = 3
        """What the native fill may refuse, as `FillState.refuses`."""
        self._always_hooked = False
        self._raw = raw
        self._host = host
        self._is_written = is_written
        self._field: ctypes.c_uint64 | None = None
        self._searched = False
        self._last: Denial | None = None
        self._denials: list[Denial] = []
        self._told = 0
        """The physical address the hook was last told."""
        self._call = INVALID(self._unmapped)
        self.watch = 0
        """The hook, while it is there."""

    @property
    def always_hooked(self) -> bool:
        """Do not read the field even if it is known (for tests)."""
        return self._always_hooked

    @always_hooked.setter
    def always_hooked(self, hooked: bool) -> None:
        self._always_hooked = hooked
        self._let_fill_refuse()

    @property
    def field(self) -> int:
        """The host address at which the engine keeps the guest address of a failed access; 0: not known, or not to be used."""
        return ctypes.addressof(self._field) if self._field is not None and not self._always_hooked else 0

    def _let_fill_refuse(self) -> None:
        self._state.refuses = self.native_kinds if self.field else 0

    def deny(self, page: int, access: int, *, mapped: bool, bus: bool = False) -> int:
        """Note a refused page; `answer` says what the engine is told. 0, the rights to it."""
        self._state.refused = 0  # the last one counts
        if access == _FETCH:
            self.fault = self.fault or FaultStop(page, Access.EXEC, 1, mapped, bus)
            return 0
        if not self._searched:
            self._searched = True
            offset, block = _field_offset(), self._raw.handle.value or 0
            if offset >= 0:
                self._field = ctypes.c_uint64.from_address(block + offset)
                self._let_fill_refuse()
        if self._field is not None and not self._always_hooked:
            self._last = Denial(page, _KINDS[access], mapped, bus, b"")
            return 0
        # Only if the lower page was written can the store have begun there; reading others would make them present.
        crossing = access == _WRITE and self._is_written(page - 1)
        tail = self._host.read(page - TAIL, TAIL) if crossing else b""
        self._denials.append(Denial(page, _KINDS[access], mapped, bus, tail))
        if not self.watch:
            address = ctypes.cast(self._call, ctypes.c_void_p).value
            assert address is not None
            self.watch = self._raw.hook(UC_HOOK_MEM_UNMAPPED, address)
        return 0

    def answer(self, address: int, access: int) -> int:
        """The physical address to give the TLB for the page just denied; 0: refuse plainly."""
        if access == _FETCH or self.fault is not None or not self._denials or self._last is not None:
            # The address is the pc's, or known, or will be read: the plain refusal leaves the pc right in every case (dc zva).
            return 0
        return NOWHERE + (len(self._denials) - 1 << 12) + (address & PAGE - 1)

    def before_run(self) -> bool:
        """Forget the last run. Must the TLB be flushed?"""
        self.fault = self._last = None
        self.again = False
        self._state.refused = 0
        if self.watch:
            self._raw.unhook(self.watch)
            self.watch = 0
        if not self._denials:
            return False
        self._denials.clear()
        return True

    def take(self, error: int) -> FaultStop | None:
        """The fault of the run that ended with this error number, once."""
        last, self._last = self._last, None
        if kind := self._state.refused:
            last = Denial(self._state.refused_page, _KINDS[kind], True, False, b"")
            self._state.refused = 0
        if last is not None and error == UC_ERR_EXCEPTION and self.fault is None:
            assert self._field is not None
            address = self._field.value
            if address & -PAGE == last.page:
                return FaultStop(address, last.access, 0, last.mapped, last.bus)
            self._field, self.again = None, True
            self._let_fill_refuse()
            return None
        fault, self.fault = self.fault, None
        if self._told:
            self._look_for_field()
        if fault is not None and fault.access is Access.WRITE and not fault.address & PAGE - 1:
            # A store across the page border may have stored its lower part: nothing ran since the first refusal, put it back.
            tail = next(denial.tail for denial in self._denials if denial.page == fault.address)
            if tail:
                self._host.write(fault.address - TAIL, tail)
        return fault

    def _look_for_field(self) -> None:
        """Physical addresses up there occur nowhere else: one match in the engine's structure is the field."""
        wanted, self._told = self._told, 0
        if self._field is None:
            block = self._raw.handle.value or 0
            at = _only_place(block, wanted)
            if at >= 0:
                self._field = ctypes.c_uint64.from_address(block + at)
                self._let_fill_refuse()

    def _unmapped(self, _uch: object, _kind: int, address: int, size: int, _value: int, _data: object) -> bool:
        """The engine touches a refused page: now the exact address is known."""
        address &= (1 << 64) - 1
        number = address - NOWHERE >> 12
        if self.fault is None and 0 <= number < len(self._denials):
            denial = self._denials[number]
            self.fault = FaultStop(denial.page + (address & PAGE - 1), denial.access, size, denial.mapped, denial.bus)
            self._told = address
        return False


_KNOWN = 0x5A3C_96F1_1238
_LOAD = bytes.fromhex("488b07")  # mov rax, [rdi]
_offsets: list[int] = []


def _field_offset() -> int:
    """Where in an engine's structure the address of a failed access is, in every engine of this library; -1: unknown."""
    if not _offsets:
        machine = MACHINES["x86_64"]
        uc = machine.open()
        uc.mem_map(PAGE, PAGE)
        uc.mem_write(PAGE, _LOAD)
        uc.reg_write(machine.number("rdi"), _KNOWN)
        raw = Raw(uc)
        raw.start(PAGE, 0)
        _offsets.append(_only_place(raw.handle.value or 0, _KNOWN))
    return _offsets[0]


def _only_place(block: int, value: int) -> int:
    """The offset of the only 64-bit word of a heap block that has this value; -1."""
    data, wanted = ctypes.string_at(block, heap_block(block)), value.to_bytes(8, "little")
    at = data.find(wanted)
    return at if at >= 0 and not at % 8 and data.find(wanted, at + 1) < 0 else -1
