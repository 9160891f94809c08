"""Floating point and vector registers as the bytes Linux puts into signal frames.

Owns: the two layouts, and how Unicorn's registers lie in them. Must not know signals.

    x86-64   FXSAVE64    0 fcw, 2 fsw, 4 abridged tag, 6 fop, 8 rip, 16 rdp, 24 mxcsr, 28 mask, 32 st0-7, 160 xmm0-15, to 512
    arm64    fpsimd_context    0 magic, 4 size, 8 fpsr, 12 fpcr, 16 v0-31, to 528
"""

from __future__ import annotations

from collections.abc import Callable
from ctypes import memmove
from struct import pack_into
from typing import Protocol

from emuvm.engine.unicorn_raw import Raw, State
from emuvm.errors import EngineError

_FXSAVE, _FPSIMD = 512, 528
_TAG = 4
FULL_TAG = 416
"""Where Unicorn's 16-bit tag word is kept meanwhile: bytes FXSAVE leaves to software."""
_MXCSR_MASK, _MASK = 28, 0xFFFF
_MAGIC = 0x4650_8001
_USED = bytes(sum(1 << n for n in range(4) if full >> 2 * n & 3 != 3) for full in range(256))
"""Half of the full tag word, two bits a register, 3: empty -> half of the abridged one, a bit a register, 0: empty."""
_EMPTY = bytes(sum(3 << 2 * n for n in range(4) if not used >> n & 1) for used in range(16))
"""And back; a register in use is called valid."""
# fsw comes before st0-7: those are numbered from its top of stack.
FXSAVE = {"fpcw": 0, "fpsw": 2, "fptag": FULL_TAG, "fop": 6, "fip": 8, "fdp": 16, "mxcsr": 24}
FXSAVE |= {f"st{n}": 32 + 16 * n for n in range(8)} | {f"xmm{n}": 160 + 16 * n for n in range(16)}
FPSIMD = {"fpsr": 8, "fpcr": 12} | {f"v{n}": 16 + 16 * n for n in range(32)}
"""Where each register lies, in the order in which they are written."""


class Fpu(Protocol):
    """The FPU of one engine."""

    def read(self) -> bytes: ...

    def write(self, state: bytes) -> None: ...


class Fxsave:
    """x86-64."""

    def __init__(self, raw: Raw, number: Callable[[str], int]) -> None:
        places = [(number(name), place) for name, place in FXSAVE.items()]
        # Two blocks: what is reserved stays zero in the one for reading.
        self._reading, self._writing = State(raw, _FXSAVE, places), State(raw, _FXSAVE, places)
        pack_into("<I", self._reading.block, _MXCSR_MASK, _MASK)

    def read(self) -> bytes:
        """The registers as FXSAVE64 stores them; reserved bytes are zero."""
        block = self._reading.block
        self._reading.read()
        block[_TAG] = _USED[block[FULL_TAG]] | _USED[block[FULL_TAG + 1]] << 4
        block[FULL_TAG] = block[FULL_TAG + 1] = 0
        return bytes(block)

    def write(self, state: bytes) -> None:
        """Load registers. Whether a full one is zero or special the hardware finds out again."""
        _check(state, _FXSAVE)
        block, used = self._writing.block, state[_TAG]
        memmove(block, bytes(state[:_FXSAVE]), _FXSAVE)
        block[FULL_TAG], block[FULL_TAG + 1] = _EMPTY[used & 15], _EMPTY[used >> 4]
        self._writing.write()


class Fpsimd:
    """arm64."""

    def __init__(self, raw: Raw, number: Callable[[str], int]) -> None:
        self._state = State(raw, _FPSIMD, [(number(name), place) for name, place in FPSIMD.items()])

    def read(self) -> bytes:
        """The registers as struct fpsimd_context."""
        self._state.read()
        pack_into("<II", self._state.block, 0, _MAGIC, _FPSIMD)
        return bytes(self._state.block)

    def write(self, state: bytes) -> None:
        """Load registers."""
        _check(state, _FPSIMD)
        memmove(self._state.block, bytes(state[:_FPSIMD]), _FPSIMD)
        self._state.write()


FPUS: dict[str, Callable[[Raw, Callable[[str], int]], Fpu]] = {"x86_64": Fxsave, "arm64": Fpsimd}


def _check(state: bytes, length: int) -> None:
    if len(state) < length:
        raise EngineError(f"a state of {len(state)} bytes is too short, it has {length}")
