"""The operands of compare instructions, while somebody listens.

Owns: the opcode hook. Must not know what the operands are good for.

Unicorn calls the hook for subtractions. On x86-64 it knows which of them compare; on arm64 it does not, and tells no pc: there every
subtraction is told, with pc 0. The compares inside vector instructions have no hook.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from unicorn.unicorn_const import UC_HOOK_TCG_OPCODE, UC_TCG_OP_FLAG_CMP, UC_TCG_OP_SUB

from emuvm.engine.unicorn_raw import FLUSH_CODE, Raw

_OPCODE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, *[ctypes.c_uint64] * 3, ctypes.c_uint32, ctypes.c_void_p)


def trace(raw: Raw, callback: Callable[[int, int, int, int], object], *, x86: bool) -> Callable[[], None]:
    """Call `callback(pc, left, right, size in bits)` at each compare. What detaches it again. The engine must stand still for both.

    Exceptions of the callback are lost.
    """

    def called(_uch: Any, pc: int, left: int, right: int, size: int, _data: Any) -> None:
        callback(pc, left, right, size)

    handle = raw.hook(UC_HOOK_TCG_OPCODE, _OPCODE(called), 0, UC_TCG_OP_SUB, UC_TCG_OP_FLAG_CMP if x86 else 0)
    raw.control(FLUSH_CODE)

    def detach() -> None:
        raw.unhook(handle)
        raw.control(FLUSH_CODE)

    return detach
