"""System calls as Unicorn's hooks tell of them: asked inside the hook, or handed on once the engine stands still.

Owns: the hook, its registers, and the state of native/calls.c. Must not know what calls mean, nor what else stops the engine.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from unicorn.unicorn_const import UC_HOOK_INSN, UC_HOOK_INTR

from emuvm.engine.native_code import native
from emuvm.engine.unicorn_raw import INSN, INTR, Batch, Raw, Registers, function

if TYPE_CHECKING:
    from emuvm.abi.arch import Arch
    from emuvm.engine.base import FastCall
    from emuvm.engine.unicorn_regs import Machine

_WORD = (1 << 64) - 1
_LENGTH = 2
"""Bytes of x86's instruction."""
_TRAP_FLAG = 0x100
_SAVED = ("rcx", "r11")
"""Where x86 leaves the return address and the flags."""


class CallState(ctypes.Structure):
    """struct call_state of native/state.h."""

    _fields_ = [
        *((name, ctypes.c_uint64) for name in ("uc", "read", "write")),
        *((name, Batch) for name in ("arguments", "back", "back_answered")),
        *((name, ctypes.c_uint64) for name in ("interrupt", "fast", "stopped", "fail", "other", "stepped")),
        ("values", ctypes.c_uint64 * 9),
        ("result", ctypes.c_uint64),
    ]


class SystemCalls:
    """The hook of one engine. `stopped(number, args)` is told of a call that nobody answered, before which the engine has to stop;
    `fail` of an exception; `other` of the exceptions of the CPU that are no calls; `illegal` of an instruction that there is not."""

    def __init__(
        self,
        arch: Arch,
        machine: Machine,
        raw: Raw,
        *,
        with_c: bool,
        stopped: Callable[[int, tuple[int, ...]], None],
        fail: Callable[[BaseException], None],
        other: Callable[[int], None],
        illegal: Callable[[], None],
    ) -> None:
        self._raw, self._stopped, self._fail, self._other = raw, stopped, fail, other
        self._fast: FastCall | None = None
        self._interrupt_number = machine.syscall_interrupt
        self._illegal, self._stepping = illegal, False
        names = [arch.syscall_number, *arch.syscall_args]
        self.is_instruction = machine.syscall_interrupt is None
        if self.is_instruction:
            names += [arch.pc, "eflags"]
        self._call = Registers(raw, [machine.number(name) for name in names])
        saved = [machine.number(name) for name in _SAVED] if self.is_instruction else []
        answered = [*saved, machine.number(arch.syscall_result)]
        self._back, self._answered = Registers(raw, saved), Registers(raw, answered)
        self._flags = Registers(raw, [machine.number("eflags")] if self.is_instruction else [])
        self._pc = Registers(raw, [machine.number(arch.pc)])
        interrupt = INTR(self._interrupt)
        self._kept: list[Any] = [interrupt]
        if self.is_instruction:
            self._kept.append(INSN(self._instruction()))
        self.state: CallState | None = None
        self.data = 0
        """What the hook's callback gets, which lies at `address`."""
        self.address = _address(interrupt)
        code = native()
        if with_c and code is not None and code.call_state == ctypes.sizeof(CallState):
            self._lay_out([machine.number(name) for name in names], saved, answered)
            self.address = code.call_instruction if self.is_instruction else code.call_interrupt
        elif self.is_instruction:
            self.address = _address(self._kept[1])
        self._handle = self.hook(self.address, self.data)
        if self.is_instruction:
            from unicorn.x86_const import UC_X86_INS_SYSENTER

            raw.hook(UC_HOOK_INTR, _address(interrupt))
            self._kept.append(INSN(self._sysenter))
            raw.hook(UC_HOOK_INSN, _address(self._kept[-1]), 0, UC_X86_INS_SYSENTER)

    def hook(self, address: int, data: int) -> int:
        """Have system calls told to a native function; the hook."""
        if not self.is_instruction:
            return self._raw.hook(UC_HOOK_INTR, address, data)
        from unicorn.x86_const import UC_X86_INS_SYSCALL

        return self._raw.hook(UC_HOOK_INSN, address, data, UC_X86_INS_SYSCALL)

    def give_way(self, address: int, data: int) -> None:
        """Have them told to this function, which hands on those that it does not want to `address` with `data`."""
        self._raw.unhook(self._handle)
        self._handle = self.hook(address, data)

    @property
    def fast(self) -> FastCall | None:
        """Asked first."""
        return self._fast

    @fast.setter
    def fast(self, fast: FastCall | None) -> None:
        if self.state is not None:
            self.state.fast = id(fast) if fast is not None else 0
        self._fast = fast

    def _lay_out(self, numbers: list[int], saved: list[int], answered: list[int]) -> None:
        self.state = state = CallState(uc=self._raw.handle.value, interrupt=self._interrupt_number or 0, other=self.address)
        state.read, state.write = function("uc_reg_read_batch"), function("uc_reg_write_batch")
        # The objects, which live as long as this one does.
        state.stopped, state.fail = id(self._stopped), id(self._fail)
        if self.is_instruction:
            state.stepped = _address(self._kept[1])
        self.data = ctypes.addressof(state)
        values, answer = self.data + CallState.values.offset, self.data + CallState.result.offset
        state.arguments = self._batch(numbers, [values + 8 * n for n in range(len(numbers))])
        places = [values + 8 * n for n in (7, 8)] if saved else []
        state.back = self._batch(saved, places)
        state.back_answered = self._batch(answered, [*places, answer])

    def _batch(self, numbers: list[int], places: list[int]) -> Batch:
        batch, kept = Batch.of(numbers, places)
        self._kept.append(kept)
        return batch

    # -- without the C module ---------------------------------------------------------------------------------------------

    def _instruction(self) -> Callable[[Any, Any], None]:
        """The hook, with everything it needs at hand: it runs at every system call."""
        call, back, answered, word = self._call, self._back, self._answered, _WORD

        def hook(_uch: Any, _data: Any) -> None:
            try:
                number, a, b, c, d, e, f, pc, flags = call.read()
                fast, args = self._fast, (a, b, c, d, e, f)
                if flags & _TRAP_FLAG:
                    # Linux comes back by iret: it is the next instruction that traps. The engine would, here.
                    self._flags.write(flags & ~_TRAP_FLAG)
                    self._stepping, fast = True, None
                result = fast(number & 0xFFFF_FFFF, args) if fast is not None else None
                if result is None:
                    self._stopped(number & 0xFFFF_FFFF, args)
                    back.write(pc + _LENGTH, flags)
                else:
                    answered.write(pc + _LENGTH, flags, result & word)
            except BaseException as error:  # noqa: BLE001 - ctypes would print and forget it
                self._fail(error)

        return hook

    def settle(self) -> None:
        """The engine stands still behind a system call: what could not be done in the hook."""
        if self._stepping:
            self._stepping = False
            self._flags.write(self._flags.read()[0] | _TRAP_FLAG)

    def _sysenter(self, _uch: Any, _data: Any) -> None:
        """There is no sysenter in long mode on CPUs of AMD, as the engine's says it is. Behind the hook it adds the length to the pc."""
        try:
            self._pc.write(self._pc.read()[0] - _LENGTH)
            self._illegal()
        except BaseException as error:  # noqa: BLE001 - ctypes would print and forget it
            self._fail(error)

    def _interrupt(self, _uch: Any, number: int, _data: Any) -> None:
        try:
            if number != self._interrupt_number:
                self._other(number)
                return
            number, *rest = self._call.read()
            fast, args = self._fast, tuple(rest)
            result = fast(number & 0xFFFF_FFFF, args) if fast is not None else None
            if result is None:
                self._stopped(number & 0xFFFF_FFFF, args)
            else:
                self._answered.write(result & _WORD)
        except BaseException as error:  # noqa: BLE001 - ctypes would print and forget it
            self._fail(error)


def _address(callback: Any) -> int:
    return ctypes.cast(callback, ctypes.c_void_p).value or 0
