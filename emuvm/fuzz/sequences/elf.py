"""The runner as a file: a static ELF program made of the listings, with no compiler.

Owns: the file's form, and the labels in the code. Must not know what the code does (code_*).
"""

from __future__ import annotations

import struct
from functools import cache
from typing import NamedTuple

from emuvm.errors import EmuvmError
from emuvm.fuzz.sequences import code_arm64, code_x86_64
from emuvm.fuzz.sequences.program import ALTSTACK, ARENA, CODE, END, STATE

_LISTINGS = {"x86_64": (62, code_x86_64.LISTING), "arm64": (183, code_arm64.LISTING)}
ARCHITECTURES = tuple(_LISTINGS)
_HEADERS = 0x1000
"""Bytes before the code: headers, in the same page-aligned segment."""
_SA_FLAGS = 0x4 | 0x0800_0000 | 0x4000_0000
"""SIGINFO, ONSTACK, NODEFER: the handler jumps out instead of returning, so the signal must not stay blocked."""
_SA_RESTORER = 0x0400_0000
"""x86-64 delivers no signal without one; nobody returns to it."""


class Runner(NamedTuple):
    """`labels`: addresses by name; 'ready': the program is in its place."""

    arch: str
    file: bytes
    labels: dict[str, int]


@cache
def runner(arch: str) -> Runner:
    """For an Arch.name. EmuvmError: there is none."""
    if arch not in _LISTINGS:
        raise EmuvmError(f"programs of system calls run on {' and '.join(_LISTINGS)}, not on {arch}")
    machine, listing = _LISTINGS[arch]
    code, labels = bytearray(), {}
    for line in listing.splitlines():
        if line.endswith(":"):
            labels[line[:-1]] = CODE + _HEADERS + len(code)
        else:
            code += bytes.fromhex(line.split()[0])
    flags, restorer = (_SA_FLAGS | _SA_RESTORER, labels["handler"]) if arch == "x86_64" else (_SA_FLAGS, 0)
    state = struct.pack("<QQQ8xQQQQ", ALTSTACK, 0, ARENA - ALTSTACK, labels["handler"], flags, restorer, 0)
    state = state.ljust(0x1000, b"\0")
    text = bytes(_HEADERS) + bytes(code)
    text += bytes(-len(text) % 0x1000)
    header = struct.pack("<4sBBBB8xHHIQQQIHHHHHH", b"\x7fELF", 2, 1, 1, 0, 2, machine, 1, labels["_start"], 64, 0, 0, 64, 56, 3, 64, 0, 0)
    segments = (
        struct.pack("<IIQQQQQQ", 1, 5, 0, CODE, CODE, len(text), len(text), 0x1000),
        struct.pack("<IIQQQQQQ", 1, 6, len(text), STATE, STATE, len(state), END - STATE, 0x1000),
        struct.pack("<IIQQQQQQ", 0x6474E551, 6, 0, 0, 0, 0, 0, 16),  # PT_GNU_STACK: the stack is not executable
    )
    front = header + b"".join(segments)
    return Runner(arch, front + text[len(front) :] + state, labels)
