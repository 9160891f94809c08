"""The signal frame of arm64: what the kernel puts on the stack for a handler, and what rt_sigreturn takes from it.

Owns: bytes and offsets. Must not know processes, memory or engines. Sources: arch/arm64/kernel/signal.c,
include/uapi/asm/{sigcontext,ucontext}.h.

    frame    0 siginfo   128 ucontext   304 sigcontext   592 records: fpsimd, esr (after a fault), end   4688
    record   a frame record {x29, x30} at the next multiple of 16 above, to which x29 points in the handler
"""

from __future__ import annotations

from struct import Struct, pack, unpack_from

REGISTERS = (*(f"x{n}" for n in range(31)), "sp", "pc", "nzcv")
"""In the order of struct sigcontext."""
SP, PC, PSTATE = 31, 32, 33
"""Places in REGISTERS."""
ENTRY = ("x0", "x29", "x30", "sp", "pc")
ENTRY_SIGINFO = (*ENTRY, "x1", "x2")
"""What the kernel sets for a handler, and for one with SA_SIGINFO."""

UCONTEXT = 128
RECORDS = 592
SIZE = 4688
MINIMUM = SIZE + 32
"""AT_MINSIGSTKSZ (minsigstksz_setup)."""
FPSIMD_SIZE = 528
NZCV = 0xF000_0000

FPSIMD_MAGIC, ESR_MAGIC = 0x4650_8001, 0x4553_5201
_EXTRA_MAGIC = 0x4558_5401
_HEAD = Struct("<3QI4xQQ128x35Q8x")
_ESR = Struct("<IIQ")
_END = bytes(8)
_FORBIDDEN = 0x3DF
"""PSTATE bits of another mode than EL0 with everything unmasked: M[4:0] and DAIF."""

TRAMPOLINE = pack("<4I", 0xD503201F, 0xD2801168, 0xD4000001, 0xD503201F)
"""nop; mov x8, #139; svc #0; nop: what the kernel's vDSO holds for handlers without SA_RESTORER. Unwinders know the middle two."""
RETURN = 4
"""Where the handler returns to in it."""


def build(
    registers: list[int], fpu: bytes, stack: tuple[int, int, int], fault: tuple[int, int], mask: int, siginfo: bytes
) -> bytes:
    """The frame up to the end of its records. `fault`: (address, ESR); without an ESR there is no record of it."""
    address, esr = fault
    head = _HEAD.pack(0, 0, *stack, mask, address, *registers)
    return b"".join((siginfo, head, fpu, _ESR.pack(ESR_MAGIC, 16, esr) if esr else b"", _END))


class Restored:
    """What a frame says. `registers` in the order of REGISTERS; `fpu` is a struct fpsimd_context, None: the frame is bad."""

    __slots__ = ("fpu", "mask", "registers", "stack")

    def __init__(self, data: bytes) -> None:
        """`data`: the frame, or as much of it as can be read; at least its first RECORDS bytes."""
        fields = _HEAD.unpack_from(data, UCONTEXT)
        self.stack: tuple[int, int, int] = fields[2:5]
        self.mask: int = fields[5]
        self.registers: list[int] = list(fields[7:])
        self.fpu = _fpsimd(data) if not self.registers[PSTATE] & _FORBIDDEN else None


def _fpsimd(data: bytes) -> bytes | None:
    """The floating-point record (parse_user_sigframe: no unknown records, no second one, an end)."""
    found, at = None, RECORDS
    while at + 8 <= len(data):
        magic, size = unpack_from("<II", data, at)
        if not magic:
            return None if size else found
        if magic == FPSIMD_MAGIC and found is None and size == FPSIMD_SIZE:
            found = data[at : at + size]
            if len(found) < size:
                return None
        elif magic != ESR_MAGIC:
            return None
        if size < 8 or size % 16 or at + size > SIZE:
            return None
        at += size
    return None
