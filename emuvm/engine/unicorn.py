"""The CPU driver: a Unicorn engine over a mirrored address space, as engine.base.Engine.

Owns: running, stopping, system-call and trap hooks, registers. Must not know how memory is mirrored (see unicorn_paged and
unicorn_regions), nor what a system call means.

    run()   until there is something to tell:  before_run -> emu_start -> hook notes a Stop, stops the engine -> return it
            a fast call is answered inside the hook, and the guest goes on

x86-64 code runs in ring 0 of Unicorn's CPU: `hlt` is told as a protection trap, other privileged instructions (cli, in,
mov to control registers) are not refused. Nothing of the host is within their reach.
"""

from __future__ import annotations

from _thread import allocate_lock, get_ident, start_new_thread
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from unicorn.unicorn_const import UC_ERR_EXCEPTION, UC_ERR_INSN_INVALID, UC_ERR_OK

from emuvm.engine.base import Access, BreakStop, BudgetStop, FastCall, FaultStop, LimitStop, Memory, Stop, SyscallStop, Trap, TrapStop
from emuvm.engine.native_code import native
from emuvm.engine.unicorn_calls import SystemCalls
from emuvm.engine.unicorn_exact import exact, make_first_page_present, modifies
from emuvm.engine.unicorn_raw import FLUSH_CODE, GO_ON, Raw, Registers, explain
from emuvm.engine.unicorn_regs import MACHINES
from emuvm.errors import EngineError

if TYPE_CHECKING:
    from emuvm.abi.arch import Arch
    from emuvm.engine.unicorn_blocks import Blocks
    from emuvm.engine.unicorn_counters import Counters
    from emuvm.engine.unicorn_fpu import Fpu
    from emuvm.engine.unicorn_handled import HandledFaults
    from emuvm.engine.unicorn_inflight import InFlight
    from emuvm.engine.unicorn_paged import PagedMemory
    from emuvm.engine.unicorn_regions import RegionsMemory
    from emuvm.mm.space import AddressSpace

_WORD = (1 << 64) - 1
_RETRY = 0.001
_HLT = b"\xf4"


class UnicornEngine:
    """An engine for one guest thread. Close it when done: Unicorn and the guest's memory are freed then."""

    def __init__(
        self, arch: Arch, space: AddressSpace, *, adapter: Literal["paged", "regions"] = "paged", native: bool = True
    ) -> None:
        machine = MACHINES.get(arch.name)
        if machine is None:
            raise EngineError(f"{arch.name} cannot be executed")
        self.arch = arch
        self.space = space
        self.uc = machine.open()
        self._machine = machine
        self._raw = raw = Raw(self.uc)
        self._mirror: PagedMemory | RegionsMemory
        self.is_paged = adapter == "paged"
        if adapter == "paged":
            from emuvm.engine.unicorn_paged import PagedMemory

            self._paged: PagedMemory | None = PagedMemory(self.uc, space, arch.rights, native=native)
            self._mirror = self._paged
        else:
            from emuvm.engine.unicorn_regions import RegionsMemory

            self._paged = None
            self._mirror = RegionsMemory(self.uc, space, arch.rights, track_writes=True)
        self.memory: Memory = self._mirror
        if self._paged is not None and arch.name == "x86_64":
            self._paged.modifies = self._modifies
            self._paged.refusals.native_kinds = 2  # a load may be half of an instruction that stores
        machine.prepare(self.uc, machine)
        self._fresh = self.uc.context_save()
        self._numbers: dict[str, Registers] = {}
        self._sets: dict[tuple[str, ...], tuple[Registers, Registers]] = {}
        self._fpu: Fpu | None = None
        self._event: Stop | None = None
        self._trapped: int | None = None
        """The number of an exception that Unicorn may believe to be in flight."""
        self._in_flight: InFlight | None = None
        self._error: BaseException | None = None
        self._runner = 0
        self._stop = False
        self._native = native
        self._expecting = False
        self._blocks: Blocks | None = None
        self._counters: Counters | None = None
        self._handled: HandledFaults | None = None
        self._break: int | None = None
        self._closed = False
        self._until = 0
        self._lock = allocate_lock()
        self._pc = self._registers(arch.pc)
        self._result = self._registers(arch.syscall_result)
        self._calls = SystemCalls(
            arch, machine, raw, with_c=native, stopped=self._called, fail=self.fail, other=self._interrupt, illegal=self._illegal
        )

    # -- running ------------------------------------------------------------------------------------------------------

    def run(self) -> Stop:
        """Execute from pc until something happens. An exception raised in any hook is re-raised here, unchanged."""
        if self._runner:
            raise EngineError("run() inside run(): a hook must not run the engine it was called from")
        if self._closed:
            raise EngineError("the engine is closed")
        self._runner = get_ident()
        try:
            while True:
                if self._paged is not None:
                    self._paged.table.state.attend = 0
                if self._stop:
                    self._stop = False
                    if self._blocks is not None:
                        self._blocks.want(False)
                    return LimitStop()
                if self._expecting:
                    with self._lock:  # who is about to stop the engine otherwise does it now, while it stands still, or no more
                        self._expecting = False
                        blocks = self.blocks()
                    if self._stop:
                        blocks.want(True)
                stop = self._run_once()
                if stop is not None:
                    return stop
        finally:
            self._runner = 0

    def _run_once(self) -> Stop | None:
        """One emu_start. None: nothing happened that the caller should know, go on."""
        memory, paged = self._mirror, self._paged
        memory.before_run()
        self._event = None
        if self._trapped is not None:
            self._forget_trap(self._trapped)
        if paged is not None:
            paged.running = True
        pc = self._pc.read()[0]
        if self._blocks is not None:
            self._blocks.resume(pc)
        try:
            handled = self._handled
            error = self._raw.start(pc, self._until) if handled is None else handled.run(pc, self._until)
        finally:
            if paged is not None:
                paged.running = False
        if self._error is not None:
            raised, self._error = self._error, None
            memory.take_fault()
            raise raised
        fault = memory.take_fault(error)
        if memory.again or error == GO_ON:
            return None
        if fault is not None:
            pc = self._pc.read()[0] if fault.access is Access.EXEC else fault.address
            if 0 < fault.address - pc < 2 * 4096:
                self._walk_to(fault.address, pc)
                if self._error is not None:
                    raised, self._error = self._error, None
                    raise raised
                if self._event is not None:
                    return self._event
                here = self._pc.read()[0]
                if here != pc and not 0 < fault.address - here < 16:
                    return None  # the code before the border led somewhere else
            if fault.access is Access.WRITE and not fault.address & 0xFFF and paged is not None:
                make_first_page_present(self, paged, fault.address)
            return exact(self, fault)
        if self._event is not None:
            self._calls.settle()
            return self._event
        if error == UC_ERR_OK:
            if self._blocks is not None and self._blocks.state.spent:
                self._blocks.state.spent = 0
                return BudgetStop()
            if self._counters is not None and self._counters.due:
                self._counters.step()
                return None
            if self._blocks is not None and self._blocks.state.wanted:
                # Before `_stop` is looked at, which is set first. It was, or somebody was late: its stop has been told already.
                self._blocks.want(False)
                return None
            return None if self._stop or (paged is not None and paged.disturbed) else self._stopped_by_itself()
        if error == UC_ERR_INSN_INVALID:
            return TrapStop(Trap.ILLEGAL, self._machine.illegal)
        if error == UC_ERR_EXCEPTION:
            return TrapStop(Trap.OTHER, -1)
        raise EngineError(f"Unicorn at pc {self.get('pc'):#x}: {explain(error)}")

    def _walk_to(self, border: int, pc: int) -> None:
        """The translator met a refused page behind the block at pc, of which nothing was executed: execute what lies before.

        An instruction lies across the border. Where it begins is found by trying: an end in the middle of it is refused again.
        """
        for back in range(min(16, border - pc)):
            self._mirror.before_run()
            error = self._raw.start(pc, border - back)
            self._mirror.take_fault()
            if error == UC_ERR_OK or self._pc.read()[0] != pc:
                return

    def _modifies(self) -> bool:
        """x86-64: does the instruction at pc read memory and write it back? Asked from within the fill callback, where pc is exact."""
        return modifies(self)

    def _stopped_by_itself(self) -> Stop | None:
        """The engine ended without a reason of ours: address 0, `hlt`, or an interruption that only wanted `before_run`."""
        pc = self._pc.read()[0]
        if pc == self._break:
            self.break_at(None)
            return BreakStop(pc)
        if pc == self._until:
            vma = self.space.query(pc)
            if vma is None or not self.arch.rights[vma.prot & 7] & 4:
                return FaultStop(pc, Access.EXEC, 1, vma is not None)
            self._until = _WORD - 1
        elif self.arch.name == "x86_64" and self.space.query(pc - 1) is not None and self.memory.read(pc - 1, 1) == _HLT:
            self._pc.write(pc - 1)
            return TrapStop(Trap.PROTECTION, 13)
        return None

    def expect_stops(self) -> None:
        """From now on a stop that comes from another thread takes effect between two instructions, so that the guest may go on (without
        the C module: nearly always, see `unicorn_blocks`)."""
        if self._native and self._blocks is None and native() is not None:
            self._expecting = True
            if self._runner and self._paged is not None:
                self._paged.table.state.attend = 1
            if self._runner:
                self._raw.stop()

    def blocks(self) -> Blocks:
        """The callback at the beginning of each block: counts, edges, budget. From now on it is called; the engine stands still."""
        if self._blocks is None:
            from emuvm.engine.unicorn_blocks import Blocks

            self._blocks = Blocks(self._raw, use_native=self._native)
            if self._handled is not None:
                self._handled.attend_blocks(self._blocks.state)
        return self._blocks

    def handled_faults(self) -> HandledFaults | None:
        """See engine.base."""
        if self._handled is None and self._paged is not None and self._paged.native:
            from emuvm.engine.unicorn_handled import HandledFaults, fits

            if not fits():
                return None
            self._handled = HandledFaults(self.arch, self._raw, self._paged, self._machine_number, self._calls)
            if self._blocks is not None:
                self._handled.attend_blocks(self._blocks.state)
        return self._handled

    def _machine_number(self, name: str) -> int:
        return self._machine.number(self._real(name))

    def trace_blocks(self, callback: Callable[[int, int], object]) -> Callable[[], None]:
        """See `unicorn_blocks.trace`."""
        from emuvm.engine.unicorn_blocks import trace

        return trace(self._raw, callback)

    def trace_compares(self, callback: Callable[[int, int, int, int], object]) -> Callable[[], None]:
        """See `unicorn_compares.trace`."""
        from emuvm.engine.unicorn_compares import trace

        return trace(self._raw, callback, x86=self.arch.name == "x86_64")

    def trace_code(self, addresses: Iterable[int], callback: Callable[[int], object]) -> Callable[[], None]:
        """Call `callback(address)` whenever one of the addresses is about to be executed. What detaches it again. Exceptions are lost."""
        from emuvm.engine.unicorn_blocks import trace_code

        return trace_code(self._raw, addresses, callback)

    def replace_counters(self, ticks: Callable[[], int], random: Callable[[int], bytes]) -> None:
        """Have the time stamp and random instructions in today's code answered by these (`unicorn_counters`). The engine stands still."""
        from emuvm.engine.unicorn_counters import Counters

        counters = self._counters = Counters(self, self._raw, ticks, random)
        for vma in self.space:
            if vma.prot & 4:
                counters.find(vma.start, self.memory.read(vma.start, vma.size))
        self._raw.control(FLUSH_CODE)

    def break_at(self, address: int | None) -> None:
        """Have `run` return a BreakStop, once, when pc comes to be `address` (not 0); None: no more."""
        self._break, self._until = address, address or 0

    def stop(self) -> None:
        """Make the current (or next) run return LimitStop soon. Safe from other threads and signal handlers."""
        self._stop = True
        if self._paged is not None:
            self._paged.table.state.attend = 1
        if self._blocks is not None:
            self._blocks.want(True)
            return
        self._raw_stop()
        if self._runner:
            # emu_start forgets a stop that came just before it: repeat until run() has seen the flag.
            start_new_thread(self._insist, ())

    def _insist(self) -> None:
        pause = allocate_lock()
        pause.acquire()
        while self._stop and self._runner:
            self._raw_stop()
            pause.acquire(timeout=_RETRY)

    def _raw_stop(self) -> None:
        # Reentrant for a signal handler that interrupts the holder: then the holder is about to stop it anyway.
        if self._lock.acquire(blocking=False):
            try:
                if self._blocks is not None:
                    self._blocks.want(True)
                elif not self._closed:
                    self._raw.stop()
            finally:
                self._lock.release()

    # -- hooks --------------------------------------------------------------------------------------------------------

    @property
    def fast_call(self) -> FastCall | None:
        """Asked first at every system call, inside the engine's hook."""
        return self._calls.fast

    @fast_call.setter
    def fast_call(self, fast: FastCall | None) -> None:
        self._calls.fast = fast

    def _called(self, number: int, args: tuple[int, ...]) -> None:
        """A system call that is to be served outside."""
        self._event = SyscallStop(number, args)
        self._raw.stop()

    def _illegal(self) -> None:
        self._event = TrapStop(Trap.ILLEGAL, self._machine.illegal)
        self._raw.stop()

    def _interrupt(self, number: int) -> None:
        """An exception of the CPU."""
        if number != self._machine.page_fault:
            # Behind an instruction that there is not the engine may see the trap flag: the CPU did not get so far.
            self._event = self._event or TrapStop(self._machine.traps.get(number, Trap.OTHER), number)
            self._trapped = number
        self._raw.stop()

    def _forget_trap(self, number: int) -> None:
        self._trapped = None
        if self.arch.name == "x86_64":
            if self._in_flight is None:
                from emuvm.engine.unicorn_inflight import InFlight

                self._in_flight = InFlight(self.uc, self._fresh)
            self._in_flight.forget(number)

    def fail(self, error: BaseException) -> None:
        """An exception in a hook: kept, the first one wins."""
        self._error = self._error or error
        self._raw.stop()

    # -- registers ----------------------------------------------------------------------------------------------------

    def get(self, register: str) -> int:
        """Read a register by its ABI name in lower case; also 'pc' and 'sp'."""
        return self._registers(register).read()[0]

    def set(self, register: str, value: int) -> None:
        """Write a register; the value is taken modulo 2**64."""
        self._registers(register).write(value & _WORD)

    def get_many(self, registers: tuple[str, ...]) -> list[int]:
        """Several general registers by one call."""
        return (self._sets.get(registers) or self._set_of(registers))[0].read()

    def set_many(self, registers: tuple[str, ...], values: Sequence[int]) -> None:
        """Store several general registers by one call, in order; values are taken modulo 2**64."""
        (self._sets.get(registers) or self._set_of(registers))[1].write(*values)

    def _set_of(self, names: tuple[str, ...]) -> tuple[Registers, Registers]:
        """(for reading, for writing): not one, so that no wide value stays above a narrow register."""
        numbers = [self._machine_number(name) for name in names]
        found = self._sets[names] = Registers(self._raw, numbers), Registers(self._raw, numbers)
        return found

    def fpu_state(self) -> bytes:
        """Floating point and vector registers: see engine.base."""
        return (self._fpu or self._open_fpu()).read()

    def set_fpu_state(self, state: bytes) -> None:
        """Load what `fpu_state` gave."""
        (self._fpu or self._open_fpu()).write(state)

    def _open_fpu(self) -> Fpu:
        from emuvm.engine.unicorn_fpu import FPUS

        self._fpu = FPUS[self.arch.name](self._raw, self._machine.number)
        return self._fpu

    def set_result(self, value: int) -> None:
        """Store a system call's raw result (negative: -errno)."""
        self._result.write(value & _WORD)

    def reset(self) -> None:
        """Every register, of the FPU and the vector units too, as in a new engine. Memory stays."""
        self.uc.context_restore(self._fresh)

    def save(self) -> Any:
        """The state of the CPU, for `restore`; memory is not part of it."""
        return self.uc.context_save(), self._trapped, self._until

    def restore(self, saved: Any) -> None:
        """The CPU as it was when `saved` was made by this engine."""
        context, self._trapped, self._until = saved
        self._break = self._until or None
        self._raw.restore(context.context)

    def _registers(self, name: str) -> Registers:
        found = self._numbers.get(name)
        if found is None:
            found = self._numbers[name] = Registers(self._raw, [self._machine_number(name)])
        # Unicorn stores narrow registers with their own width.
        found.values[0] = 0
        return found

    def _real(self, name: str) -> str:
        return {"pc": self.arch.pc, "sp": self.arch.sp}.get(name, name)

    def close(self) -> None:
        """Free the engine and the guest's memory. The space stays, unmirrored."""
        if self._runner:
            raise EngineError("close() inside run()")
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self.memory.close()
        getattr(self.uc, "_Uc__finalizer")()  # noqa: B009 - the only way to close a Uc now instead of at some collection
        if self._paged is not None:
            self._paged.release()
