"""What a fault's instruction tells of it: the byte of a fetch, the kind, width and address of an access that Unicorn tells in part.

Owns: these corrections of a FaultStop. Must not know how a fault is learned of. The engine stands still at the instruction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emuvm.engine.base import Access, FaultStop

if TYPE_CHECKING:
    from emuvm.engine.unicorn import UnicornEngine
    from emuvm.engine.unicorn_paged import PagedMemory

_WORD = (1 << 64) - 1
_HEARD, _WIDEST = (1 << 52) - 1, 64
_END = 1 << 47
"""The bits of an x86-64 address that Unicorn's memory hooks tell; bytes in its widest access; the end of user addresses."""


def modifies(engine: UnicornEngine) -> bool:
    """x86-64: does the instruction at pc read memory and write it back? Asked from within the fill callback, where pc is exact."""
    from emuvm.engine import x86_operand

    return x86_operand.modifies(_code(engine))


def _code(engine: UnicornEngine) -> bytes:
    """The instruction at pc, and what follows it, as far as there is memory."""
    pc = engine.get("pc")
    vma = engine.space.query(pc)
    return b"" if vma is None else engine.memory.read(pc, min(15, vma.end - pc))


def make_first_page_present(engine: UnicornEngine, paged: PagedMemory, border: int) -> None:
    """A store that was refused at a page border may have begun on the page before: the CPU has made that one present by then."""
    before = engine.space.query(border - 4096)
    if before is None or not before.prot & 2 or paged.table.last_written() != border - 4096:
        return  # it would have been refused itself, or was written to long ago: no need to know the instruction
    if engine.arch.name == "x86_64":
        from emuvm.engine.x86_operand import operand
    else:
        from emuvm.engine.arm64_operand import operand
    start = operand(_code(engine), engine.get("pc"), engine.get)
    if start is not None and 0 < border - start < 64:
        engine.memory.populate(border - 4096, border, write=True)


def exact(engine: UnicornEngine, fault: FaultStop) -> FaultStop:
    """A refused fetch is known by its page; the pc tells the byte, unless the instruction began on the page before."""
    if fault.access is Access.EXEC:
        pc = engine.get("pc")
        if fault.address < pc < (fault.address & -4096) + 4096:
            return FaultStop(pc, fault.access, fault.size, fault.mapped, fault.bus)
    if engine.is_paged:
        return fault if fault.size or not 0 < _END - fault.address < _WIDEST else _sized(engine, fault)
    if engine.arch.name != "x86_64":
        return fault
    if fault.access is Access.READ and modifies(engine):
        # Unicorn reads first; the CPU faults for the write at once, and a missing right comes before a missing page.
        vma = engine.space.query(fault.address)
        lacks = vma is not None and not engine.arch.rights[vma.prot & 7] & 2
        fault = FaultStop(fault.address, Access.WRITE, fault.size, fault.mapped or lacks, fault.bus and not lacks)
    return _whole(engine, fault)


def _sized(engine: UnicornEngine, fault: FaultStop) -> FaultStop:
    """At the end of user addresses it matters how far an access reaches."""
    if engine.arch.name != "x86_64":
        return fault
    from emuvm.engine import x86_operand

    return fault._replace(size=x86_operand.width(_code(engine)))


def _whole(engine: UnicornEngine, fault: FaultStop) -> FaultStop:
    """The regions adapter hears 52 bits of an address. The others are in the registers it was made of."""
    pc = engine.get("pc")
    places = [pc]
    if fault.access is not Access.EXEC:
        from emuvm.engine import x86_operand

        places = x86_operand.places(_code(engine), pc, engine.get)
    for place in places:
        beyond = fault.address - place & _HEARD
        if beyond < _WIDEST and (whole := place + beyond & _WORD) != fault.address:
            return FaultStop(whole, fault.access, fault.size, mapped=False)
    return fault
