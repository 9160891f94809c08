"""An outcome in words, with the process as it ended.

Owns: address classes, names of places, the lines that a person reads. Must not know files and command lines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emuvm.abi.signals import DESCRIPTIONS, name
from emuvm.engine.base import FaultStop
from emuvm.errors import EmuvmError
from emuvm.fuzz.outcome import Kind, Outcome
from emuvm.kernel.report import around, registers
from emuvm.mm.types import VmFlag
from emuvm_loaders import LoadError, printable
from emuvm_loaders.symbols import Symbols, symbols

if TYPE_CHECKING:
    from emuvm.fuzz.harness import Harness

_NEAR = 0x1_0000
_KERNEL = 1 << 56
"""The upper end of all addresses, which kernels have for themselves."""
_GUARD = 4096
_CODE = 32
"""Bytes of code that are shown, from pc on."""
_BEFORE = 512
"""A function that begins no further in front of pc is disassembled from its beginning: else nothing tells where instructions begin."""
_SHOWN = 6
"""Instructions in front of pc that are shown."""
_LONGEST = 120
"""Characters of a name that are shown."""


class Names:
    """Symbols of a harness's program, where it has any."""

    def __init__(self, harness: Harness) -> None:
        try:
            self._symbols: Symbols | None = symbols(harness.program)
        except LoadError:
            self._symbols = None
        self._bias = harness.bias

    def at(self, address: int) -> str:
        """'main+0x12', or '' for a place without a name. A file may call its symbols anything: what comes back can be printed."""
        found = self._symbols.name_at(address - self._bias) if self._symbols is not None else None
        if found is None:
            return ""
        text = printable(found[0])
        text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
        return f"{text}+{found[1]:#x}" if found[1] else text

    def begin(self, address: int, most: int) -> int:
        """Where the symbol of an address begins, if that is no more than `most` bytes in front; else the address."""
        found = self._symbols.name_at(address - self._bias) if self._symbols is not None else None
        return address - found[1] if found is not None and found[1] <= most else address

    def shown(self, address: int) -> str:
        """'0x401234 main+0x12'."""
        return f"{address:#x} {self.at(address)}".rstrip()


def fault_address(harness: Harness, outcome: Outcome) -> int | None:
    """What the instruction wanted to access; None without a fault of memory. The process must be as that run left it.

    x86 tells programs nothing of an address that is none of the CPU's (siginfo has 0): the engine knows it.
    """
    fault, stop = outcome.fault, harness.proc.fault
    if fault is None or fault.address is None or not fault.access:
        return None
    return stop.address if fault.code == "SI_KERNEL" and isinstance(stop, FaultStop) else fault.address


def address_class(harness: Harness, outcome: Outcome) -> str:
    """What kind of place the fault's address is: null, near null, non-canonical, kernel, stack end (below it), stack, guard, heap, code,
    read-only, mapped, beside a mapping, wild; '' without one.
    """
    proc = harness.proc
    address = fault_address(harness, outcome)
    if address is None:
        return ""
    if address < proc.arch.page_size:
        return "null"
    if address < _NEAR:
        return "near null"
    if address >= proc.arch.task_size:
        return "kernel" if address >= (1 << 64) - _KERNEL else "non-canonical"
    vma = proc.space.query(address)
    sp = harness.engine.get("sp")
    stack = next((region for region in proc.space if region.flags & VmFlag.GROWSDOWN), None)
    if vma is None:
        if stack is not None and stack.start - (8 << 20) <= address < stack.start and abs(address - sp) < 1 << 20:
            return "stack end"
        below, above = proc.space.query(max(0, address - _GUARD)), proc.space.query(address + _GUARD)
        return "beside a mapping" if below is not None or above is not None else "wild"
    if vma.flags & VmFlag.GROWSDOWN:
        return "stack"
    if not vma.prot & 7:
        return "guard"
    if proc.mm.start_brk <= address < max(proc.mm.brk_now, proc.mm.start_brk + 1):
        return "heap"
    return "code" if vma.prot & 4 else "read-only" if not vma.prot & 2 else "mapped"


def summary(harness: Harness, outcome: Outcome, names: Names | None = None) -> str:
    """One line: 'SIGSEGV (SEGV_MAPERR) write at 0x8, null, in main+0x12'."""
    if outcome.kind is Kind.EXIT:
        return f"exit code {outcome.code} after {outcome.blocks} blocks"
    where = (names or Names(harness)).shown(outcome.pc)
    if outcome.kind is Kind.HANG:
        return f"hang after {outcome.blocks} blocks, at {where}"
    fault, address = outcome.fault, fault_address(harness, outcome)
    text = name(outcome.signal)
    if fault is not None:
        text += f" ({fault.code})"
        if address is not None:
            text += f" {fault.access} at {address:#x}, {address_class(harness, outcome)},"
    return f"{text} in {where}"


def report(harness: Harness, outcome: Outcome) -> list[str]:
    """Everything about it, as lines. The process must be as that run left it."""
    names, proc = Names(harness), harness.proc
    lines = [summary(harness, outcome, names)]
    if outcome.kind is Kind.CRASH:
        lines.append(f"  signal     {int(outcome.signal)}, {DESCRIPTIONS.get(outcome.signal, 'real-time signal')}")
    if outcome.kind is Kind.EXIT:
        return lines
    lines += [f"  stack hash {outcome.stack_hash:016x}", f"  pc         {names.shown(outcome.pc)}"]
    lines += [f"  called by  {names.shown(frame)}" for frame in outcome.frames]
    lines += registers(proc)
    lines += code(harness, outcome.pc, names)
    places = [("pc", outcome.pc), ("sp", harness.engine.get("sp"))]
    address = fault_address(harness, outcome)
    if address is not None and address != outcome.pc:
        places.insert(0, ("address", address))
    for label, address in places:
        lines.append(f"  around {label} {address:#x}")
        lines += around(proc, address)
    return lines


def code(harness: Harness, pc: int, names: Names) -> list[str]:
    """The instructions around pc: disassembled where capstone is installed, else as bytes; nothing where there is no code."""
    vma = harness.proc.space.query(pc)
    if vma is None:
        return []
    start = max(vma.start, names.begin(pc, _BEFORE))
    try:
        data = harness.engine.memory.read(start, min(pc + _CODE, vma.end) - start)
    except EmuvmError:
        return []
    plain = [f"  code       {data[pc - start :].hex(' ')}"]
    try:
        import capstone
    except ImportError:
        return plain
    if harness.proc.arch.name == "x86_64":
        reader = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    else:
        reader = capstone.Cs(capstone.CS_ARCH_ARM64, capstone.CS_MODE_ARM)
    before = list(reader.disasm_lite(data[: pc - start], start))
    if sum(size for _, size, _, _ in before) != pc - start:
        before = []  # pc is not where an instruction begins
    after = list(reader.disasm_lite(data[pc - start :], pc))
    found = [f"  {'->' if at == pc else '  '} {at:#x}  {op} {args}".rstrip() for at, _, op, args in (*before[-_SHOWN:], *after)]
    return found if after else plain


def hexdump(data: bytes, most: int = 4096) -> list[str]:
    """16 bytes a line, with their text."""
    lines = []
    for at in range(0, min(len(data), most), 16):
        row = data[at : at + 16]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        lines.append(f"{at:08x}  {row.hex(' '):47}  {text}")
    if len(data) > most:
        lines.append(f"... {len(data)} bytes in all")
    return lines
