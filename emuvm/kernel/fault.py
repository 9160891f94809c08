"""What becomes of memory faults and CPU exceptions: stack growth, or the signal Linux sends.

Owns: the decision of arch/*/mm/fault.c and of each architecture's traps. Must not know how signals are delivered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emuvm.abi.flags_mm import family
from emuvm.abi.signals import Code, Signal
from emuvm.engine.base import Access, FaultStop, Trap, TrapStop
from emuvm.kernel.siginfo import SignalInfo

if TYPE_CHECKING:
    from emuvm.kernel.process import Process


def memory(proc: Process, stop: FaultStop) -> None:
    """Grow the stack, make a vsyscall, or send SIGSEGV or SIGBUS."""
    address = stop.address
    if stop.access is Access.EXEC and not stop.mapped:
        from emuvm.kernel import vsyscall

        if vsyscall.called(proc):
            return
    if not stop.mapped and address < proc.arch.task_size and proc.mm.grow_stack(address):
        return
    proc.kill(explain(proc, stop), forced=True)


def explain(proc: Process, stop: FaultStop) -> SignalInfo:
    """The signal for a fault that stays one."""
    address, access = stop.address, f"{stop.access.value} of {stop.size} byte{'s' if stop.size != 1 else ''}"
    if stop.access is Access.EXEC:
        access = "execution"
    if proc.arch.name == "x86_64" and 1 << 47 <= address < (1 << 64) - (1 << 47):
        return SignalInfo(Signal.SIGSEGV, Code.SI_KERNEL, 0, f"{access} at {address:#x}, which is not an address of this CPU")
    if stop.bus:
        return SignalInfo(Signal.SIGBUS, Code.BUS_ADRERR, address, f"{access} behind the end of the mapped file")
    if stop.mapped:
        vma = proc.space.query(address)
        rights = "" if vma is None else " of a " + "".join(c if vma.prot & b else "-" for c, b in (("r", 1), ("w", 2), ("x", 4))) + " area"
        return SignalInfo(Signal.SIGSEGV, Code.SEGV_ACCERR, address, f"{access}{rights} is forbidden")
    above = proc.space.region_above(address) if address < proc.space.end else None
    if above is not None and above.flags & 0x100 and above.end - address <= proc.mm.limits.stack + (16 << 20):
        return SignalInfo(Signal.SIGSEGV, Code.SEGV_MAPERR, address, f"{access} of unmapped memory below a stack that may not grow")
    return SignalInfo(Signal.SIGSEGV, Code.SEGV_MAPERR, address, f"{access} of unmapped memory")


def trap(proc: Process, stop: TrapStop) -> None:
    """Send the signal of a CPU exception."""
    proc.kill(explain_trap(proc, stop), forced=True)


def explain_trap(proc: Process, stop: TrapStop) -> SignalInfo:
    """The signal for a CPU exception (arch/x86/kernel/traps.c, arch/arm64/kernel/traps.c)."""
    pc, x86 = proc.engine.get("pc"), family(proc.arch.name) == "x86"
    kind, why = stop.trap, stop.trap.value
    if kind is Trap.ILLEGAL:
        return SignalInfo(Signal.SIGILL, Code.ILL_ILLOPN if x86 else Code.ILL_ILLOPC, pc, why)
    if kind is Trap.BREAKPOINT:
        return SignalInfo(Signal.SIGTRAP, Code.SI_KERNEL if x86 else Code.TRAP_BRKPT, None if x86 else pc, why)
    if kind is Trap.DIVIDE:
        return SignalInfo(Signal.SIGFPE, Code.FPE_INTDIV, pc, why)
    if kind is Trap.ALIGNMENT:
        return SignalInfo(Signal.SIGBUS, Code.BUS_ADRALN, pc, why)
    if kind is Trap.PROTECTION:
        return SignalInfo(Signal.SIGSEGV, Code.SI_KERNEL, 0, why)
    return SignalInfo(Signal.SIGILL, Code.ILL_ILLOPN if x86 else Code.ILL_ILLOPC, pc, f"{why} number {stop.number}")
