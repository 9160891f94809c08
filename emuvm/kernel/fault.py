"""What becomes of memory faults and CPU exceptions: stack growth, or the signal Linux sends.

Owns: the decision of arch/*/mm/fault.c and of each architecture's traps, and what of the exception a signal frame will show
(`Signals.trap`). Must not know how signals are delivered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emuvm.abi.flags_mm import family
from emuvm.abi.signals import SIG_IGN, Code, Signal
from emuvm.engine.base import Access, FaultStop, Trap, TrapStop
from emuvm.kernel.siginfo import SignalInfo

if TYPE_CHECKING:
    from emuvm.kernel.process import Process

_PAGE_FAULT, _PROTECTION, _BREAKPOINT = 14, 13, 3
"""x86 exception numbers."""
_SIGSEGV, _ACCERR = Signal.SIGSEGV, Code.SEGV_ACCERR
_PRESENT, _WRITE, _USER, _FETCH = 1, 2, 4, 0x10
"""x86 page fault error code."""
_DATA_ABORT, _FETCH_ABORT, _LONG = 0x24 << 26, 0x20 << 26, 1 << 25
_PC_ALIGNMENT, _ALIGNMENT = 0x22 << 26, 0x21
_WRITES, _TRANSLATION, _PERMISSION = 0x40, 4, 0xC
"""arm64: ESR_EL1 of an abort from user code; the last two plus the level of the page table."""


def memory(proc: Process, stop: FaultStop) -> None:
    """Grow the stack, make a vsyscall, or send SIGSEGV or SIGBUS."""
    address = stop.address
    if stop.mapped and not stop.bus and stop.access is not Access.EXEC:
        _refused(proc, stop)
        return
    if stop.access is Access.EXEC and not stop.mapped:
        from emuvm.kernel import vsyscall

        if vsyscall.called(proc):
            return
    if not stop.mapped and address < proc.arch.task_size and proc.mm.grow_stack(address):
        return
    if stop.access is Access.EXEC and stop.mapped and not stop.bus and proc.arch.name == "x86_64":
        stop = _absent_first(proc, stop)
    if stop.bus and stop.access is Access.WRITE and (vma := proc.space.query(address)) is not None:
        proc.mm.written_beyond(vma)
    signal, code, shown = verdict(proc, stop)
    state = proc.signals
    if proc.arch.name == "x86_64":
        if code == Code.SI_KERNEL:
            state.trap = (0, _PROTECTION, state.trap[2])
        else:
            state.trap = (_error_code(proc, stop), _PAGE_FAULT, address)
        state.faulted = True
    elif proc.arch.name == "arm64":
        state.trap = (0, _PC_ALIGNMENT | _LONG, 0) if _misaligned_pc(proc, stop) else (address, _syndrome(proc, stop), 0)
    _send(proc, stop, signal, code, shown)


def _refused(proc: Process, stop: FaultStop) -> None:
    """`memory` for a load or store that the mapping forbids: write barriers, guard pages, lazy memory."""
    state, address = proc.signals, stop.address
    if proc.arch.name == "x86_64":
        state.trap = (_error_code(proc, stop), _PAGE_FAULT, address)
        state.faulted = True
    elif proc.arch.name == "arm64":
        state.trap = (address, _syndrome(proc, stop), 0)
    _send(proc, stop, _SIGSEGV, _ACCERR, address)


def _send(proc: Process, stop: FaultStop, signal: int, code: int, shown: int) -> None:
    """The signal: where nothing else is to be done first, its handler runs at once."""
    state = proc.signals
    action = state.actions.get(signal)
    if action is None or action.handler <= SIG_IGN or state.mask >> signal - 1 & 1:
        state.force(SignalInfo(signal, code, shown, _why(proc, stop)))
    elif state.due or proc.tracer is not None:
        state.force(SignalInfo(signal, code, shown))
    else:
        proc.delivery.enter(SignalInfo(signal, code, shown), action)
        if proc.handled is None:
            from emuvm.kernel.handled import Handled

            proc.handled = Handled(proc)


def _absent_first(proc: Process, stop: FaultStop) -> FaultStop:
    """x86 looks at the right to execute only when a page is there: fetching makes it present first, as reading would
    (arch/x86/mm/fault.c:access_error).
    """
    page = stop.address & -proc.space.page_size
    vma = proc.space.query(page)
    if vma is None or not vma.prot & 7:
        return stop
    if proc.mm.guards.first(page, page + proc.space.page_size) is not None:
        return stop._replace(mapped=False)
    if page >= proc.mm.end_of_file(vma):
        return stop._replace(bus=True)
    proc.engine.memory.populate(page, page + proc.space.page_size, write=False)
    return stop


def explain(proc: Process, stop: FaultStop) -> SignalInfo:
    """The signal for a fault that stays one."""
    return SignalInfo(*verdict(proc, stop), _why(proc, stop))


def verdict(proc: Process, stop: FaultStop) -> tuple[int, int, int]:
    """(signal, si_code, si_addr)."""
    if _not_canonical(proc, stop):
        return Signal.SIGSEGV, Code.SI_KERNEL, 0
    if _misaligned_pc(proc, stop):
        return Signal.SIGBUS, Code.BUS_ADRALN, stop.address
    if stop.bus:
        return Signal.SIGBUS, Code.BUS_ADRERR, stop.address
    return Signal.SIGSEGV, Code.SEGV_ACCERR if stop.mapped else Code.SEGV_MAPERR, stop.address


def _not_canonical(proc: Process, stop: FaultStop) -> bool:
    """x86-64 looks at all bytes of an access before it looks for any page."""
    return proc.arch.name == "x86_64" and stop.address + max(1, stop.size) > 1 << 47 and stop.address < (1 << 64) - (1 << 47)


def _misaligned_pc(proc: Process, stop: FaultStop) -> bool:
    """arm64 finds that the pc is no multiple of 4 before anything else."""
    return bool(stop.access is Access.EXEC and stop.address & 3 and proc.arch.name == "arm64")


def _why(proc: Process, stop: FaultStop) -> str:
    """For people."""
    address, access = stop.address, stop.access.value
    if stop.size:
        access += f" of {stop.size} byte{'s' if stop.size != 1 else ''}"
    if stop.access is Access.EXEC:
        access = "execution"
    if _not_canonical(proc, stop):
        return f"{access} at {address:#x}, which is not an address of this CPU"
    if stop.bus:
        return f"{access} behind the end of the mapped file"
    if stop.mapped:
        vma = proc.space.query(address)
        rights = "" if vma is None else " of a " + "".join(c if vma.prot & b else "-" for c, b in (("r", 1), ("w", 2), ("x", 4))) + " area"
        return f"{access}{rights} is forbidden"
    above = proc.space.region_above(address) if address < proc.space.end else None
    if above is not None and above.flags & 0x100 and above.end - address <= proc.mm.limits.stack + (16 << 20):
        return f"{access} of unmapped memory below a stack that may not grow"
    return f"{access} of unmapped memory"


# -- what the CPU tells -------------------------------------------------------------------------------------------------------


def _present(proc: Process, address: int, mapped: bool) -> bool:
    """Does the page table have the page? Not before the first access, nor without any right."""
    if not mapped:
        return False
    vma = proc.space.query(address)
    if vma is None or not vma.prot & 7:
        return False
    page = address & -proc.arch.page_size
    return bool(proc.engine.memory.residency(page, page + proc.arch.page_size)[0] & 1)


def _error_code(proc: Process, stop: FaultStop) -> int:
    """x86: what #PF pushes, as Linux shows it (sanitize_error_code)."""
    code = _USER
    if stop.access is Access.WRITE:
        code |= _WRITE
    elif stop.access is Access.EXEC:
        code |= _FETCH
    if stop.address >= proc.arch.task_size or (not stop.bus and _present(proc, stop.address, stop.mapped)):
        code |= _PRESENT
    return code


def _syndrome(proc: Process, stop: FaultStop) -> int:
    """arm64: ESR_EL1 (set_thread_esr hides what is beyond user addresses)."""
    code = _LONG | (_FETCH_ABORT if stop.access is Access.EXEC else _DATA_ABORT)
    if stop.access is Access.WRITE:
        code |= _WRITES
    if stop.address >= proc.arch.task_size:
        return code | _TRANSLATION
    if not stop.bus and _present(proc, stop.address, stop.mapped):
        return code | _PERMISSION + 3
    return code | _TRANSLATION + _depth(proc, stop.address)


def _depth(proc: Process, address: int) -> int:
    """The level at which the walk of the page tables ends: there are tables where there are regions."""
    for level, shift in ((3, 21), (2, 30), (1, 39)):
        low = address >> shift << shift
        if any(True for _ in proc.space.regions(low, 1 << shift)):
            return level
    return 0


def trap(proc: Process, stop: TrapStop) -> None:
    """Send the signal of a CPU exception."""
    info, state = explain_trap(proc, stop), proc.signals
    if proc.arch.name == "x86_64":
        number, error = _vector(stop)
        if stop.trap is Trap.OTHER and stop.number >= 32:
            # int n: a fault at the instruction.
            proc.engine.set("pc", proc.engine.get("pc") - 2)
        state.trap = (error, number, state.trap[2])
        state.faulted = number != _BREAKPOINT
    elif proc.engine.get("pc") & 3:
        state.trap = (0, _PC_ALIGNMENT | _LONG, 0)
    elif stop.trap is Trap.ALIGNMENT:
        address, stores = _misaligned(proc)
        state.trap = (address, _DATA_ABORT | _LONG | _ALIGNMENT | (_WRITES if stores else 0), 0)
    elif stop.trap is not Trap.BREAKPOINT:
        state.trap = (0, 0, 0)
    proc.kill(info, forced=True)


def _misaligned(proc: Process) -> tuple[int, bool]:
    """arm64: (address, is it a store) of the access at the pc. Instructions that insist on alignment have a register and no offset."""
    pc = proc.engine.get("pc")
    if proc.space.query(pc) is None or proc.space.query(pc + 3) is None:
        return pc, False
    word = int.from_bytes(proc.engine.memory.read(pc, 4), "little")
    register = word >> 5 & 31
    return proc.engine.get("sp" if register == 31 else f"x{register}"), not word >> 22 & 1


_OWN = {Trap.ILLEGAL: 6, Trap.BREAKPOINT: 3, Trap.DIVIDE: 0, Trap.PROTECTION: 13, Trap.ALIGNMENT: 17}


def _vector(stop: TrapStop) -> tuple[int, int]:
    """x86: (exception number, error code). `int n` is a protection fault that names the number."""
    if stop.trap is Trap.OTHER and stop.number >= 0:
        return (_PROTECTION, stop.number * 8 + 2) if stop.number >= 32 else (stop.number, 0)
    return _OWN.get(stop.trap, 6), 0


def explain_trap(proc: Process, stop: TrapStop) -> SignalInfo:
    """The signal for a CPU exception (arch/x86/kernel/traps.c, arch/arm64/kernel/traps.c)."""
    pc, x86 = proc.engine.get("pc"), family(proc.arch.name) == "x86"
    kind, why = stop.trap, stop.trap.value
    if pc & 3 and proc.arch.name == "arm64":  # the engine decodes what lies there, where the CPU does not begin to
        return SignalInfo(Signal.SIGBUS, Code.BUS_ADRALN, pc, "misaligned pc")
    if kind is Trap.ILLEGAL:
        return SignalInfo(Signal.SIGILL, Code.ILL_ILLOPN if x86 else Code.ILL_ILLOPC, pc, why)
    if kind is Trap.BREAKPOINT:
        return SignalInfo(Signal.SIGTRAP, Code.SI_KERNEL if x86 else Code.TRAP_BRKPT, None if x86 else pc, why)
    if kind is Trap.DIVIDE:
        return SignalInfo(Signal.SIGFPE, Code.FPE_INTDIV, pc, why)
    if kind is Trap.ALIGNMENT:
        return SignalInfo(Signal.SIGBUS, Code.BUS_ADRALN, pc if x86 else _misaligned(proc)[0], why)
    if kind is Trap.PROTECTION or (x86 and stop.number >= 32):
        return SignalInfo(Signal.SIGSEGV, Code.SI_KERNEL, 0, why)
    return SignalInfo(Signal.SIGILL, Code.ILL_ILLOPN if x86 else Code.ILL_ILLOPC, pc, f"{why} number {stop.number}")
