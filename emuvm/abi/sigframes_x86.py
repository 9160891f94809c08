"""The signal frame of x86-64: what the kernel puts below the red zone, and what rt_sigreturn takes from it.

Owns: bytes and offsets. Must not know processes, memory or engines. Sources: arch/x86/kernel/{signal,signal_64}.c,
kernel/fpu/signal.c, include/uapi/asm/sigcontext.h.

    frame    0 pretcode   8 ucontext   312 siginfo   440      at 8 bytes below a multiple of 16
    fpstate  XSAVE area of 512 + 64 bytes and FP_XSTATE_MAGIC2, at a multiple of 64; always 456 bytes above the frame

The CPU has XCR0 = 3 (x87 and SSE), so the XSAVE area has no further components.
"""

from __future__ import annotations

from struct import Struct, pack, unpack_from

REGISTERS = (
    "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rdi", "rsi", "rbp", "rbx", "rdx", "rax", "rcx", "rsp", "rip", "eflags",
)  # fmt: skip
"""In the order of struct sigcontext."""
RAX, RSP, RIP, EFLAGS = 13, 15, 16, 17
"""Places in REGISTERS."""
ENTRY = ("rdi", "rsi", "rdx", "rax", "rsp", "rip", "eflags")
"""What the kernel sets for a handler."""

RED_ZONE = 128
UCONTEXT = 8
SIGINFO = 312
FPSTATE = 456
"""Offsets in the frame."""
SIZE = 440
XSTATE = 576
LENGTH = FPSTATE + XSTATE + 4
MINIMUM = 1216
"""AT_MINSIGSTKSZ (arch/x86/kernel/signal.c:init_sigframe_size)."""

UC_FP_XSTATE, UC_SIGCONTEXT_SS, UC_STRICT_RESTORE_SS = 1, 2, 4
_FLAGS = UC_FP_XSTATE | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS
CS, SS = 0x33, 0x2B
GENERAL_PROTECTION, PAGE_FAULT = 13, 14
TF, DF, AC, RF = 0x100, 0x400, 0x40000, 0x10000
FIX_EFLAGS = AC | 0x800 | DF | TF | 0x80 | 0x40 | 0x10 | 4 | 1 | RF
"""What sigreturn takes from the frame: AC OF DF TF SF ZF AF PF CF RF."""
ON_ENTRY = ~(DF | RF | TF)

_MAGIC1, _MAGIC2 = 0x4650_5853, 0x4650_5845
_HEAD = Struct("<4QI4xQ18Q4H5Q64xQ")
_SOFTWARE = 464
"""Where fx_sw_bytes lies in the FXSAVE image."""
_TAIL = pack("<IIQI28xQ56xI", _MAGIC1, XSTATE + 4, 3, XSTATE, 3, _MAGIC2)
"""Everything behind the image's last register: fx_sw_bytes, the XSAVE header, the second magic number."""
_INITIAL_X87 = pack("<HHBBH16x", 0x37F, 0, 0, 0, 0)
_MXCSR_MASK = 0xFFFF
INITIAL_FPU = _INITIAL_X87 + pack("<II480x", 0x1F80, _MXCSR_MASK)
"""The FPU as a handler finds it."""


def place(sp: int) -> int:
    """Where the frame goes, below `sp` (red zone already left)."""
    return (sp - XSTATE - 4 & -64) - FPSTATE


def build(
    at: int,
    registers: list[int],
    fpu: bytes,
    restorer: int,
    stack: tuple[int, int, int],
    trap: tuple[int, int, int],
    mask: int,
    siginfo: bytes,
    segments: tuple[int, int] = (CS, SS),
) -> bytes:
    """LENGTH bytes for `at`. `stack`: (sp, flags, size) of the alternate stack; `trap`: (error code, trap number, cr2)."""
    error, number, cr2 = trap
    code, data = segments
    flags = _FLAGS if code == CS else _FLAGS & ~UC_STRICT_RESTORE_SS
    head = _HEAD.pack(restorer, flags, 0, *stack, *registers, code, 0, 0, data, error, number, mask, cr2, at + FPSTATE, mask)
    return b"".join((head, siginfo, _GAP, fpu[:_SOFTWARE], _TAIL))


_GAP = bytes(FPSTATE - SIZE)
_BEHIND, _MXCSR_HIGH = FPSTATE + _SOFTWARE, FPSTATE + 26


class Restored:
    """What a frame says. `registers` in the order of REGISTERS; `fpu` is the address of the FPU's state, 0: initial."""

    __slots__ = ("code", "flags", "fpu", "mask", "registers", "stack", "stack_segment")

    def __init__(self, data: bytes) -> None:
        fields = _HEAD.unpack_from(data)
        self.flags: int = fields[1]
        self.stack: tuple[int, int, int] = fields[3:6]
        self.registers: list[int] = list(fields[6:24])
        self.code: int = fields[24]
        self.stack_segment: int = fields[27]
        self.fpu: int = fields[32]
        self.mask: int = fields[33]

    def segments(self) -> tuple[int, int]:
        """CS and SS as they will be: of user code, and a bad SS is repaired unless the frame says not to."""
        code, data = self.code | 3, self.stack_segment | 3
        return code, data if self.flags & UC_STRICT_RESTORE_SS or code != CS else SS

    def returnable(self) -> bool:
        """Can the CPU go there? What it cannot is not found in the frame, but when it leaves the kernel: a protection fault."""
        ip = self.registers[RIP]
        return self.segments() == (CS, SS) and not 1 << 47 <= ip < (1 << 64) - (1 << 47)


def plain(frame: bytes) -> bool:
    """Has the FPU's state in a frame the form that the kernel gave it, whatever the registers are?"""
    return frame[_BEHIND:] == _TAIL and frame[_MXCSR_HIGH : _MXCSR_HIGH + 2] == b"\0\0"


def is_extended(image: bytes) -> bool:
    """Do the software bytes of an FXSAVE image (512 bytes) promise an XSAVE area? (check_xstate_in_sigframe)"""
    magic, extended, _, size = unpack_from("<IIQI", image, _SOFTWARE)
    return bool(magic == _MAGIC1 and size == XSTATE and size <= extended)


def fpu_from(state: bytes) -> bytes | None:
    """The FXSAVE image that an XSAVE area stands for, or one without header (512 bytes); None: XRSTOR refuses it."""
    if state[_SOFTWARE:] == _TAIL:
        return None if state[26:28] != b"\0\0" else state[:512]
    if unpack_from("<I", state, 24)[0] & ~_MXCSR_MASK:
        return None
    if len(state) == 512 or unpack_from("<I", state, XSTATE)[0] != _MAGIC2:
        return state[:512]
    features = unpack_from("<Q", state, _SOFTWARE + 8)[0] & 3
    present, compacted, reserved = unpack_from("<3Q", state, 512)
    if compacted or reserved or present & ~3:
        return None
    present &= features
    x87 = present & 1
    mxcsr = state[24:32] if features & 2 else INITIAL_FPU[24:32]
    stack = state[32:160] if x87 else bytes(128)
    vectors = state[160:416] if present & 2 else bytes(256)
    return (state[:24] if x87 else _INITIAL_X87) + mxcsr + stack + vectors + bytes(96)
