"""Entering a handler and coming back: registers and frames of the architectures that run.

Owns: what setup_rt_frame and rt_sigreturn do with engine and stack. Must not know which signal is next, nor the layouts of
frames (`abi.sigframes_x86`, `abi.sigframes_arm64`). Sources: arch/{x86,arm64}/kernel/signal*.c.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from struct import Struct
from typing import TYPE_CHECKING

from emuvm.abi import sigframes_arm64 as arm64
from emuvm.abi import sigframes_x86 as x86
from emuvm.abi.errno import Errno
from emuvm.abi.sigframes import Sigaction, StackT, pack_siginfo, pack_siginfo_fault, pack_siginfo_kill
from emuvm.abi.signals import SA_EXPOSE_TAGBITS, SA_ONSTACK, SA_RESTORER, SA_SIGINFO, Code, Signal
from emuvm.errors import GuestError
from emuvm.kernel.siginfo import SignalInfo
from emuvm.kernel.signals import minimum_stack

if TYPE_CHECKING:
    from emuvm.kernel.process import Process

_WORD = (1 << 64) - 1
_FAULT_INFO = Struct("<iiiiQ104x")
"""siginfo_t of a fault on the architectures that run."""
_USER = (x86.CS, x86.SS)
_AT_RETURN = ("rsp", "eflags")


def siginfo(proc: Process, info: SignalInfo) -> bytes:
    """siginfo_t as a handler finds it."""
    if info.address is not None and info.fields is None:
        return _FAULT_INFO.pack(info.signal, info.errno, info.code, 0, info.address)
    if info.fields is not None:
        return pack_siginfo(proc.arch, info.signal, info.code, info.fields, info.errno)
    if info.address is None and info.code in (Code.SI_USER, Code.SI_TKILL):
        return pack_siginfo_kill(proc.arch, info.signal, info.code, proc.pid, proc.system.uid)
    return pack_siginfo_fault(proc.arch, info.signal, info.code, info.address or 0, info.errno)


class BadFrame(Exception):
    """rt_sigreturn found a frame that the kernel refuses: SIGSEGV, with this si_code and address. What it has taken of the frame before
    stays. `returned`: the whole of it, and it was the way back that failed; otherwise the call has a result, 0."""

    def __init__(self, code: int, address: int, why: str, *, returned: bool = False) -> None:
        super().__init__(why)
        self.returned = returned
        self.info = SignalInfo(Signal.SIGSEGV, code, address, why)


class Frames(ABC):
    """What the architectures share. `enter` raises GuestError when the frame cannot be made, `leave` BadFrame."""

    def __init__(self, proc: Process) -> None:
        self.proc = proc
        self.engine = proc.engine
        self.mem = proc.mem

    @abstractmethod
    def enter(self, info: SignalInfo, action: Sigaction, mask: int) -> None:
        """Make the frame and the handler's registers. `mask` goes into the frame."""

    @abstractmethod
    def leave(self) -> None:
        """Take mask, alternate stack and registers from the frame at sp."""

    def _restore(self, mask: int, stack: tuple[int, int, int], sp: int) -> None:
        """Mask and alternate stack (restore_altstack tells nobody that it may not be changed)."""
        signals = self.proc.signals
        signals.set_mask(mask)
        if stack != signals.altstack:
            try:
                signals.set_altstack(StackT(*stack), sp, minimum_stack(self.proc.arch))
            except GuestError:
                return

    def _top(self, sp: int, action: Sigaction) -> tuple[int, bool]:
        """Where the frame may begin, going down, and whether that is on the alternate stack now."""
        signals = self.proc.signals
        stack = signals.altstack
        if not stack.size:
            return sp, False
        if action.flags & SA_ONSTACK and not signals.on_stack(sp):
            return stack.sp + stack.size, True
        return sp, signals.on_stack(sp)


class X86Frames(Frames):
    """x86-64."""

    def enter(self, info: SignalInfo, action: Sigaction, mask: int) -> None:
        if not action.flags & SA_RESTORER:
            raise GuestError(Errno.EFAULT, "a handler without SA_RESTORER has nowhere to return to")
        engine, signals = self.engine, self.proc.signals
        registers = engine.get_many(x86.REGISTERS)
        sp = registers[x86.RSP]
        flags = registers[x86.EFLAGS]
        if signals.faulted:
            # The CPU sets RF in what it saves at a fault.
            registers[x86.EFLAGS] = flags | x86.RF
        stack, top, alternate = signals.altstack, sp - x86.RED_ZONE, False
        if stack.size:
            top, alternate = self._top(top, action)
            alternate = alternate or signals.on_stack(sp)
        at = x86.place(top) & _WORD
        if alternate and not 0 < at - stack.sp <= stack.size:
            raise GuestError(Errno.EFAULT, "the alternate stack is full")
        segments, self._segments = self._segments, (x86.CS, x86.SS)
        shown = siginfo(self.proc, info)
        fpu = engine.fpu_state()
        data = x86.build(at, registers, fpu, action.restorer, stack, signals.trap, mask, shown, segments)
        self.mem.write(at, data)
        entry = (info.signal, at + x86.SIGINFO, at + x86.UCONTEXT, 0, at, action.handler, flags & x86.ON_ENTRY)
        engine.set_many(x86.ENTRY, entry)
        if fpu != x86.INITIAL_FPU:
            engine.set_fpu_state(x86.INITIAL_FPU)

    _segments = (x86.CS, x86.SS)
    """What the last sigreturn asked for, if the CPU refused it."""

    def leave(self) -> None:
        engine, mem = self.engine, self.mem
        sp, flags = engine.get_many(_AT_RETURN)
        at = sp - 8 & _WORD
        try:
            try:
                data = mem.read(at, x86.LENGTH)
            except GuestError:
                data = mem.read(at, x86.SIGINFO)
            frame = x86.Restored(data)
        except GuestError:
            raise BadFrame(Code.SI_KERNEL, 0, "the signal frame cannot be read") from None
        self._restore(frame.mask, frame.stack, sp)
        registers = frame.registers
        registers[x86.EFLAGS] = (flags & ~x86.FIX_EFLAGS | registers[x86.EFLAGS] & x86.FIX_EFLAGS) & ~x86.RF
        engine.set_many(x86.REGISTERS, registers)
        try:
            fpu = self._fpu_of(frame, at, data)
        except BadFrame:
            engine.set_fpu_state(x86.INITIAL_FPU)  # fpu__clear_user_states
            raise
        engine.set_fpu_state(fpu)
        if ((frame.code, frame.stack_segment) != _USER or registers[x86.RIP] >> 47) and not frame.returnable():
            self._segments = frame.segments()
            signals = self.proc.signals
            signals.trap = (0, x86.GENERAL_PROTECTION, signals.trap[2])
            raise BadFrame(Code.SI_KERNEL, 0, "the signal frame leads to no user code", returned=True)

    def _fpu_of(self, frame: x86.Restored, at: int, data: bytes) -> bytes:
        fpu: bytes | None
        if frame.fpu == at + x86.FPSTATE and x86.plain(data):
            fpu = data[x86.FPSTATE : x86.FPSTATE + 512]  # as the kernel left it, or with other registers
        elif frame.fpu == at + x86.FPSTATE and len(data) == x86.LENGTH:
            fpu = x86.fpu_from(data[x86.FPSTATE :]) if x86.is_extended(data[x86.FPSTATE : x86.FPSTATE + 512]) else self._fpu(frame.fpu)
        else:
            fpu = self._fpu(frame.fpu) if frame.fpu else x86.INITIAL_FPU
        if fpu is None:
            raise BadFrame(Code.SI_KERNEL, 0, "the FPU state of the signal frame is refused")
        return fpu

    def _fpu(self, at: int) -> bytes | None:
        """The FPU state that lies elsewhere than the kernel put it, or has another form."""
        try:
            state = self.mem.read(at, 512)
            if x86.is_extended(state):
                state += self.mem.read(at + 512, x86.XSTATE + 4 - 512)
        except GuestError:
            raise BadFrame(Code.SI_KERNEL, 0, "the FPU state of the signal frame cannot be read") from None
        return x86.fpu_from(state)


class Arm64Frames(Frames):
    """arm64."""

    def enter(self, info: SignalInfo, action: Sigaction, mask: int) -> None:
        engine, signals = self.engine, self.proc.signals
        registers = engine.get_many(arm64.REGISTERS)
        sp = registers[arm64.SP]
        top, _ = self._top(sp, action)
        record = top - 16 & -16
        at = record - arm64.SIZE
        if not 0 <= at:
            raise GuestError(Errno.EFAULT, "no room for the frame")
        if info.address is not None and not action.flags & SA_EXPOSE_TAGBITS:
            info = info._replace(address=_untagged(info.address))
        address, esr, _ = signals.trap
        shown = siginfo(self.proc, info) if action.flags & SA_SIGINFO else bytes(128)
        data = arm64.build(registers, engine.fpu_state(), signals.altstack, (address, esr), mask, shown)
        self.mem.check(at, record + 16 - at, 2)
        self.mem.write(at, data)
        self.mem.write_u64(record, registers[29])
        self.mem.write_u64(record + 8, registers[30])
        back = action.restorer if action.flags & SA_RESTORER else self.proc.vdso + arm64.RETURN
        entry = (info.signal, record, back, at, action.handler)
        if action.flags & SA_SIGINFO:
            engine.set_many(arm64.ENTRY_SIGINFO, (*entry, at, at + arm64.UCONTEXT))
        else:
            engine.set_many(arm64.ENTRY, entry)

    def leave(self) -> None:
        sp = self.engine.get("sp")
        try:
            if sp & 15:
                raise GuestError(Errno.EFAULT, "sp is misaligned")
            self.mem.check(sp, arm64.RECORDS, 1)
            frame = arm64.Restored(self.mem.read_some(sp, arm64.SIZE))
        except GuestError:
            raise self._bad(sp, "the signal frame cannot be read") from None
        self.proc.signals.set_mask(frame.mask)
        registers = frame.registers
        registers[arm64.PSTATE] &= arm64.NZCV
        self.engine.set_many(arm64.REGISTERS, registers)
        if frame.fpu is None:
            raise self._bad(registers[arm64.SP], "the signal frame is refused")
        self.engine.set_fpu_state(frame.fpu)
        self._restore(frame.mask, frame.stack, registers[arm64.SP])

    def _bad(self, sp: int, why: str) -> BadFrame:
        """The code depends on there being anything above sp (arm64_notify_segfault)."""
        space = self.proc.space
        known = sp < space.end and (space.query(sp) or space.region_above(sp)) is not None
        return BadFrame(Code.SEGV_ACCERR if known else Code.SEGV_MAPERR, sp, why)


def _untagged(address: int) -> int:
    """Without the byte that pointers may use for tags: bit 55 is what counts (sign_extend64)."""
    return address | 0xFF << 56 if address >> 55 & 1 else address & (1 << 56) - 1


_KINDS: dict[str, type[Frames]] = {"x86_64": X86Frames, "arm64": Arm64Frames}


def frames(proc: Process) -> Frames:
    """The frames of a process."""
    return _KINDS[proc.arch.name](proc)
