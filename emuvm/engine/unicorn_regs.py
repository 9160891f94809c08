"""What Unicorn calls things: constants of each machine by register name, traps, and the CPU state user code starts with.

Owns: the names, and LINUX-side CPU initialisation. Must not know memory or the run loop. Unicorn's integers are looked up
when needed: importing every table costs more than hello world.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

from unicorn import unicorn_const

from emuvm.abi.tuples import NamedTuple
from emuvm.engine.base import Trap
from emuvm.errors import EngineError

if TYPE_CHECKING:
    from unicorn.unicorn_py3.unicorn import Uc


class Machine(NamedTuple):
    """How one architecture appears in Unicorn."""

    arch: str
    mode: str
    module: str
    prefix: str
    prepare: Callable[[Uc, Machine], None]
    traps: dict[int, Trap]
    """Interrupt numbers that are exceptions."""
    illegal: int
    """The number to report for an undefined instruction that Unicorn reports as an error."""
    syscall_interrupt: int | None
    """The interrupt number of a system call; None: an instruction hook."""
    page_fault: int | None
    """The interrupt that follows a refused page."""
    page_size: int = 0
    """What the TLB is to hold where the engine's own choice is smaller: arm64 has 1 KiB, which costs up to half the speed."""

    def number(self, register: str) -> int:
        """Unicorn's number of a register. EngineError for a name it does not have."""
        found = getattr(import_module(f"unicorn.{self.module}"), self.prefix + register.upper(), None)
        if not isinstance(found, int):
            raise EngineError(f"no register {register!r} here")
        return found

    def open(self) -> Uc:
        """A new engine."""
        from unicorn.unicorn_py3.unicorn import Uc

        uc = Uc(getattr(unicorn_const, self.arch), getattr(unicorn_const, self.mode))
        if self.page_size:
            uc.ctl_set_page_size(self.page_size)
        return uc


def _prepare_x86_64(uc: Uc, machine: Machine) -> None:
    """x87 and SSE as Linux hands them over (arch/x86/kernel/fpu: fpu__init_*). Reset leaves precision and masks at 0.

    The CPU stays in ring 0: privileged instructions are not refused, see `UnicornEngine`.
    """
    for name, value in (("fpcw", 0x37F), ("fptag", 0xFFFF), ("mxcsr", 0x1F80), ("eflags", 0x202)):
        uc.reg_write(machine.number(name), value)


def _prepare_arm64(uc: Uc, machine: Machine) -> None:
    """EL0, with what Linux lets user code do: read CTR_EL0, DCZID_EL0 and the counter, dc zva, dc cvau, ic ivau, wfe."""
    system = machine.number("cp_reg")
    uc.reg_write(machine.number("pstate"), 0)
    sctlr = (1, 0, 3, 0, 0)
    allowed = 1 << 14 | 1 << 15 | 1 << 16 | 1 << 18 | 1 << 26
    uc.reg_write(system, (*sctlr, int(uc.reg_read(system, sctlr)) | allowed))
    uc.reg_write(system, (14, 1, 3, 0, 0, 3))


MACHINES = {
    "x86_64": Machine(
        arch="UC_ARCH_X86",
        mode="UC_MODE_64",
        module="x86_const",
        prefix="UC_X86_REG_",
        prepare=_prepare_x86_64,
        traps={0: Trap.DIVIDE, 1: Trap.BREAKPOINT, 3: Trap.BREAKPOINT, 6: Trap.ILLEGAL, 13: Trap.PROTECTION, 17: Trap.ALIGNMENT},
        illegal=6,
        syscall_interrupt=None,
        page_fault=14,
    ),
    "arm64": Machine(
        arch="UC_ARCH_ARM64",
        mode="UC_MODE_ARM",
        module="arm64_const",
        prefix="UC_ARM64_REG_",
        prepare=_prepare_arm64,
        traps={1: Trap.ILLEGAL, 4: Trap.ALIGNMENT, 7: Trap.BREAKPOINT},
        illegal=1,
        syscall_interrupt=2,
        page_fault=3,
        page_size=4096,
    ),
}
