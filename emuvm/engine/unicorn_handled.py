"""Faults that the guest handles itself, answered without Python: the state of native/handled.c, and what it works with.

Owns: that state, its registers and frames, the hooks. Must not know when a fault may be answered so: the kernel side arms it before
each run, and looks afterwards at what happened. There is no twin here: without it, the kernel side answers every fault.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from emuvm.abi import sigframes_arm64 as arm64
from emuvm.abi import sigframes_x86 as x86
from emuvm.abi.sigframes import pack_siginfo_fault
from emuvm.engine.native_code import native
from emuvm.engine.unicorn_fpu import FPSIMD, FULL_TAG, FXSAVE
from emuvm.engine.unicorn_raw import Batch, function

if TYPE_CHECKING:
    from emuvm.abi.arch import Arch
    from emuvm.engine.unicorn_calls import SystemCalls
    from emuvm.engine.unicorn_paged import PagedMemory
    from emuvm.engine.unicorn_raw import Raw

_FRAME_ROOM = 1152
_WIDEST = 64
_NO_TAG = 0xFFFF


_FUNCTIONS = "start stop read write call interrupt data".split()
_BATCHES = "number here reading writing entry initial witness".split()
_VALUES = (
    "x86 end armed mask bit adds handler restorer on_alternate with_info stack_sp stack_size sequence count address access code inside "
    "returning numbered"
).split()


class HandledState(ctypes.Structure):
    """struct handled_state of native/handled.c, where the fields are explained."""

    _fields_ = [
        *((name, ctypes.c_uint64) for name in ("uc", "pages", "blocks", "failed", *_FUNCTIONS)),
        *((name, Batch) for name in _BATCHES),
        *((name, ctypes.c_uint64) for name in _VALUES),
        ("at", ctypes.c_uint64 * 2),
        ("enter", ctypes.c_uint64 * 8),
        ("present", ctypes.c_uint64),
        ("witnessed", ctypes.c_uint64),
        ("then", ctypes.c_uint64 * len(arm64.REGISTERS)),
        ("tag_read", ctypes.c_uint64),
        ("tag_written", ctypes.c_uint64),
        ("fresh", ctypes.c_uint8 * 512),
        ("made", ctypes.c_uint8 * _FRAME_ROOM),
        ("taken", ctypes.c_uint8 * _FRAME_ROOM),
    ]


def fits() -> bool:
    """Is the C module there, and does it mean the same state?"""
    code = native()
    return code is not None and code.handled_state == ctypes.sizeof(HandledState)


class HandledFaults:
    """Those of one engine. Made while it stands still."""

    def __init__(self, arch: Arch, raw: Raw, paged: PagedMemory, number: Callable[[str], int], calls: SystemCalls) -> None:
        """`calls`: their hook is taken over."""
        code = native()
        assert code is not None
        self.state = state = HandledState(uc=raw.handle.value, pages=ctypes.addressof(paged.table.state))
        self._paged, self._number = paged, number
        self._kept: list[Any] = []
        """Memory that the state points to."""
        self.prepared: object = None
        self.usable = False
        self._arch = arch
        self.start: Callable[[int, int, int], int] = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64)(
            code.handled_run
        )
        self.address = ctypes.addressof(state)
        state.start, state.stop = function("uc_emu_start"), function("uc_emu_stop")
        state.read, state.write = function("uc_reg_read_batch"), function("uc_reg_write_batch")
        state.x86, state.end = arch.name == "x86_64", arch.task_size - _WIDEST
        state.number = self._batch([(arch.syscall_number, HandledState.numbered.offset)])
        paged.table.state.whom, paged.table.state.noting = self.address, code.handled_witness
        state.data = calls.data
        if state.x86:
            self._prepare_x86()
            state.call = calls.address
            calls.give_way(code.handled_call, self.address)
        else:
            self._prepare_arm64()
            state.interrupt = calls.address
            calls.give_way(code.handled_interrupt, self.address)

    def _batch(self, places: list[tuple[str, int]]) -> Batch:
        """`places`: (register, offset in the state), in the order in which they are written."""
        batch, kept = Batch.of([self._number(name) for name, _ in places], [self.address + offset for _, offset in places])
        self._kept.append(kept)
        return batch

    def _frames(self, registers: tuple[str, ...], first: int, fpu: dict[str, int], at: int) -> None:
        """The batches between registers and frames: `registers` from `first` on, the FPU's from `at` on."""
        for batch, frame, tag in (("reading", "made", "tag_read"), ("writing", "taken", "tag_written")):
            base = getattr(HandledState, frame).offset
            places = [(name, base + first + 8 * n) for n, name in enumerate(registers)]
            places += [(name, base + at + offset) for name, offset in fpu.items()]
            swapped = [(name, getattr(HandledState, tag).offset if name == "fptag" else place) for name, place in places]
            setattr(self.state, batch, self._batch(swapped))
        then = HandledState.then.offset
        self.state.witness = self._batch([(name, then + 8 * n) for n, name in enumerate(registers[:-1])])  # without the flags

    def _prepare_x86(self) -> None:
        state = self.state
        state.here = self._batch([(name, HandledState.at.offset + 8 * n) for n, name in enumerate(("rsp", "eflags"))])
        state.entry = self._batch([(name, HandledState.enter.offset + 8 * n) for n, name in enumerate(x86.ENTRY)])
        self._frames(x86.REGISTERS, x86.UCONTEXT + 40, FXSAVE, x86.FPSTATE)
        fresh = HandledState.fresh.offset
        state.initial = self._batch([(name, fresh + offset) for name, offset in FXSAVE.items()])
        ctypes.memmove(self.address + fresh, x86.INITIAL_FPU, len(x86.INITIAL_FPU))
        state.fresh[FULL_TAG : FULL_TAG + 2] = _NO_TAG.to_bytes(2, "little")

    def _prepare_arm64(self) -> None:
        state = self.state
        state.here = self._batch([("sp", HandledState.at.offset)])
        self._frames(arm64.REGISTERS, arm64.UCONTEXT + 184, FPSIMD, arm64.RECORDS)
        place = HandledState.enter.offset
        self._entries = [
            self._batch([(name, place + 8 * n) for n, name in enumerate(names)]) for names in (arm64.ENTRY, arm64.ENTRY_SIGINFO)
        ]

    def prepare(
        self, signal: int, code: int, handler: tuple[int, int, int], stack: tuple[int, int, int], *, alternate: bool, info: bool
    ) -> bool:
        """As engine.base.HandledFaults says."""
        state = self.state
        state.bit, state.enter[0] = 1 << signal - 1, signal
        state.handler, state.restorer, state.adds = handler
        state.stack_sp, _, state.stack_size = stack
        state.on_alternate, state.with_info = alternate, info
        siginfo = pack_siginfo_fault(self._arch, signal, code, 0)
        if state.x86:
            frame = x86.build(0, [0] * len(x86.REGISTERS), x86.INITIAL_FPU, handler[1], stack, (0, x86.PAGE_FAULT, 0), 0, siginfo)
        else:
            empty = arm64.FPSIMD_MAGIC.to_bytes(4, "little") + arm64.FPSIMD_SIZE.to_bytes(4, "little") + bytes(arm64.FPSIMD_SIZE - 8)
            frame = arm64.build([0] * len(arm64.REGISTERS), empty, stack, (0, 1), 0, siginfo if info else bytes(128))
            state.entry = self._entries[info]
        ctypes.memmove(self.address + HandledState.made.offset, frame, len(frame))
        state.failed = self._paged.refusals.field
        return bool(state.failed)

    def run(self, pc: int, until: int) -> int:
        """uc_emu_start, or as often as faults and returns can be dealt with; an error number, or GO_ON."""
        return self.start(self.address, pc, until)

    def attend_blocks(self, blocks: ctypes.Structure) -> None:
        """The blocks are counted from now on."""
        self.state.blocks = ctypes.addressof(blocks)
